"""What bringing an interface up means for the host (wg-quick(8)): wanted, present, changes.

Pure. `plan` lists what is missing, in order, and takes back what is on record and not wanted
any more; it is empty once its changes are made. `teardown` is the way back from a record.

Policy routing of a default route follows wg-quick: the daemon's own packets carry a mark and
skip the tunnel's table, and more specific routes of the main table keep their effect.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from wgpy.engine.sync import allowed_after, sync
from wgpy.hostmodel import (
    FIRST_POLICY_TABLE,
    MAIN_TABLE,
    SRC_VALID_MARK,
    V4,
    V6,
    AddAddress,
    AddRoute,
    AddRule,
    AddUnreachable,
    Change,
    CreateInterface,
    HostState,
    InterfaceState,
    Recorded,
    Routing,
    Rule,
    RunHook,
    SetDns,
    SetFirewall,
    SetMtu,
    SetSysctl,
    SetUp,
    SetWireGuard,
    Step,
    Undo,
    Wanted,
)
from wgpy.model import NO_KEY, DeviceChange, InterfaceAddress, Prefix
from wgpy.wire.text import covers, format_address, mask

# Outer IPv6 and UDP header, WireGuard header and tag.
TUNNEL_OVERHEAD: Final = 80
USUAL_MTU: Final = 1500
# RFC 8200, section 5: with less the kernel takes IPv6 from an interface.
IPV6_MIN_MTU: Final = 1280
_LINK_LOCAL: Final = Prefix(b"\xfe\x80" + bytes(14), 64)
_V6_SIZE: Final = 16
_OfInterface: TypeAlias = (
    CreateInterface | AddAddress | AddRoute | SetMtu | SetUp | SetWireGuard | RunHook
)
# Characters of interface names that nft takes in no name of a table.
_NFT_ESCAPES: Final = str.maketrans({"=": "_3d", "+": "_2b"})


def plan(wanted: Wanted, present: HostState) -> tuple[Step, ...]:
    """Return the steps, in order, from what is present to what is wanted.

    Hooks run only where the interface has to be created.
    """
    target = tuple(_target(wanted, present))
    kept = {change for change in target if isinstance(change, Recorded)}
    stale = [change for change in present.done if change not in kept]
    flushed = _loses_v4_routes(stale, present)
    missing = [
        change
        for change in target
        if not _holds(change, present) or (flushed and _is_v4_route(change))
    ]
    return (*(Undo(change) for change in reversed(stale)), *missing)


def teardown(done: Sequence[Recorded]) -> tuple[Undo, ...]:
    """Return the way back, last change first; what vanishes with the interface is left out."""
    created = {change.name for change in done if isinstance(change, CreateInterface)}
    return tuple(
        Undo(change)
        for change in reversed(done)
        if not (isinstance(change, AddAddress | AddRoute) and change.name in created)
    )


def cut_ssh(wanted: Wanted, present: HostState) -> bool:
    """Return whether the plan would send replies to the present ssh session into the tunnel.

    The mark exempts the daemon's own packets only, not those of the session.
    """
    session = present.ssh
    if session is None or session.route_length is None:
        return False
    host = Prefix(session.client, len(session.client) * 8)
    ours = [
        length
        for step in plan(wanted, present)
        for length in _lengths_towards(step, host)
        if length > 0 or wanted.table is Routing.AUTO
    ]
    return any(length >= session.route_length for length in ours)


def warnings(wanted: Wanted, present: HostState) -> Iterator[str]:
    """Yield what the host lacks for all that is wanted; the rest is planned without."""
    prefixes = _routed_prefixes(wanted, ipv6=True)
    if not present.nft and _default_families(wanted, prefixes):
        yield "nft does not work here: no protection from spoofed packets to the tunnel address"
    asked = [*(each.address for each in wanted.addresses), *(each[0] for each in prefixes)]
    if V6 not in map(_family, asked) or _carries_ipv6(wanted, present):
        return
    if present.ipv6:
        mtu = f"the MTU {_mtu_after(wanted, present)} is below the {IPV6_MIN_MTU} of IPv6"
        yield f"{mtu}: its addresses and routes are left out"
    else:
        yield "this host has no IPv6: its addresses and routes are left out"


def tunnel_mtu(wanted: Wanted, present: HostState) -> int:
    """Return the MTU: as asked, else what the narrowest path to an endpoint leaves."""
    if wanted.mtu is not None:
        return wanted.mtu
    path = min(present.path_mtus, default=present.default_mtu or USUAL_MTU)
    return path - TUNNEL_OVERHEAD


def _mtu_after(wanted: Wanted, present: HostState) -> int:
    """Return the MTU that the interface will have; one that stands keeps what nobody asks."""
    if wanted.mtu is None and present.interface is not None:
        return present.interface.mtu
    return tunnel_mtu(wanted, present)


def _carries_ipv6(wanted: Wanted, present: HostState) -> bool:
    return present.ipv6 and _mtu_after(wanted, present) >= IPV6_MIN_MTU


def nft_table(name: str) -> str:
    """Return the name of the nft table of an interface."""
    return "wgpy_" + name.translate(_NFT_ESCAPES)


# --- the target, in the order of wg-quick ---


def _target(wanted: Wanted, present: HostState) -> Iterator[Change]:
    """Yield all that is to be true in the end, whether or not it is true already."""
    name, create = wanted.name, present.interface is None
    ipv6 = _carries_ipv6(wanted, present)
    prefixes = _routed_prefixes(wanted, ipv6=ipv6)
    families = _default_families(wanted, prefixes)
    mark = _mark(wanted, present) if families else wanted.device.fwmark
    if create:
        yield from _hooks(wanted.hooks.pre_up, name)
    yield CreateInterface(name)
    yield from _wireguard(wanted, present, mark)
    if create or wanted.mtu is not None:  # before addresses: IPv6 may need the greater one
        yield SetMtu(name, tunnel_mtu(wanted, present))
    for address in wanted.addresses:
        if ipv6 or _family(address.address) == V4:
            yield AddAddress(name, address)
    yield SetUp(name)
    if wanted.dns_servers:
        yield _dns(wanted, present)
    for prefix in prefixes:
        if prefix.length == 0 and wanted.table is Routing.AUTO:
            yield from _default_route(wanted, present, prefix, mark or 0)
        else:
            table = MAIN_TABLE if isinstance(wanted.table, Routing) else wanted.table
            yield AddRoute(name, prefix, table)
    if wanted.fails_closed and families == [V4] and _has_ipv6(present):
        yield AddUnreachable(V6, mark or 0)
        yield from _policy_rules(present, V6, mark or 0)
    if create:
        yield from _hooks(wanted.hooks.post_up, name)


def _hooks(commands: Sequence[str], name: str) -> Iterator[RunHook]:
    for command in commands:
        yield RunHook(expand_hook(command, name))


def expand_hook(command: str, name: str) -> str:
    """Return the command with the interface in place of `%i`."""
    return command.replace("%i", name)


def _wireguard(wanted: Wanted, present: HostState, mark: int | None) -> Iterator[SetWireGuard]:
    device = wanted.device
    complete = DeviceChange(
        private_key=device.private_key or NO_KEY,
        listen_port=device.listen_port or 0,
        fwmark=mark or 0,
        replace_peers=True,
        peers=device.peers,
    )
    status = None if present.interface is None else present.interface.device
    change = complete if status is None else sync(complete, status)
    if change is not None:
        yield SetWireGuard(wanted.name, change)


def _routed_prefixes(wanted: Wanted, *, ipv6: bool) -> list[Prefix]:
    """Return what needs a route: long prefixes first, without what is connected anyway."""
    if wanted.table is Routing.OFF:
        return []
    owned = allowed_after(wanted.device.peers)
    allowed = {prefix for blocks in owned.values() for prefix in blocks}
    connected = [_LINK_LOCAL] + [
        mask(address, length)
        for address, length in wanted.addresses
        # A lone IPv4 address is local, not connected; a lone IPv6 one gets a route.
        if length < len(address) * 8 or _family(address) == V6
    ]
    return [
        prefix
        for prefix in sorted(allowed, key=lambda prefix: (-prefix.length, prefix.address))
        if (ipv6 or _family(prefix.address) == V4)
        and not (
            wanted.table is Routing.AUTO
            and prefix.length > 0
            and any(covers(block, prefix) for block in connected)
        )
    ]


def _default_families(wanted: Wanted, prefixes: Sequence[Prefix]) -> list[int]:
    if wanted.table is not Routing.AUTO:
        return []
    return [_family(prefix.address) for prefix in prefixes if prefix.length == 0]


def _mark(wanted: Wanted, present: HostState) -> int:
    """Return the mark, which is also the table: as asked, in use by us, or the first free."""
    if wanted.device.fwmark:
        return wanted.device.fwmark
    for change in present.done:
        if isinstance(change, AddRule) and change.unless_mark == change.table:
            return change.table
    table = FIRST_POLICY_TABLE
    while table in present.tables:
        table += 1
    return table


def _default_route(
    wanted: Wanted, present: HostState, prefix: Prefix, table: int
) -> Iterator[Change]:
    name, family = wanted.name, _family(prefix.address)
    yield AddRoute(name, prefix, table)
    if wanted.fails_closed:
        yield AddUnreachable(family, table)
    yield from _policy_rules(present, family, table)
    if family == V4:
        old = present.sysctls.get(SRC_VALID_MARK, "0")
        recorded = [change for change in present.done if isinstance(change, SetSysctl)]
        yield recorded[0] if recorded else SetSysctl(SRC_VALID_MARK, "1", old)
    if present.nft:
        addresses = [each for each in wanted.addresses if _family(each.address) == family]
        text = _firewall_text(name, family, table, addresses)
        yield SetFirewall(nft_table(name), family, text)


def _has_ipv6(present: HostState) -> bool:
    """Return whether the host has IPv6, be it on other interfaces alone."""
    others = (address for name, address in present.neighbours if name != "lo")
    return present.ipv6 or any(_family(each.address) == V6 for each in others)


def _policy_rules(present: HostState, family: int, table: int) -> Iterator[AddRule]:
    first = _next_priority(present, family)
    yield _rule(present, AddRule(family, first, table, table))
    yield _rule(present, AddRule(family, max(first - 1, 0), MAIN_TABLE, None))


def _rule(present: HostState, rule: AddRule) -> AddRule:
    """Return the rule as it is on record, else as proposed: priorities stay what they are."""
    for change in present.done:
        if isinstance(change, AddRule) and _rule_kind(change) == _rule_kind(rule):
            return change
    return rule


def _rule_kind(rule: AddRule) -> tuple[int, int, int | None]:
    return rule.family, rule.table, rule.unless_mark


def _next_priority(present: HostState, family: int) -> int:
    """Return the priority that the kernel would choose: one before the second rule."""
    priorities = sorted(rule.priority for rule in present.rules if rule.family == family)
    return max(priorities[1] - 1, 0) if len(priorities) > 1 else 0


def _firewall_text(
    name: str, family: int, number: int, addresses: Sequence[InterfaceAddress]
) -> str:
    """Return the nft table: no packets to our addresses by another way in, marks on replies."""
    nft_family = "ip" if family == V4 else "ip6"
    table = f"table {nft_family} {nft_table(name)}"
    spoofed = "".join(
        f'  iifname != "{name}" {nft_family} daddr {format_address(each.address)}'
        " fib saddr type != local drop\n"
        for each in addresses
    )
    return (
        f"{table}\ndelete {table}\n{table} {{\n"
        " chain preraw {\n  type filter hook prerouting priority -300\n"
        f"{spoofed} }}\n"
        " chain premangle {\n  type filter hook prerouting priority -150\n"
        "  meta l4proto udp meta mark set ct mark\n }\n"
        " chain postmangle {\n  type filter hook postrouting priority -150\n"
        f"  meta l4proto udp meta mark {number} ct mark set meta mark\n }}\n"
        "}\n"
    )


def _dns(wanted: Wanted, present: HostState) -> SetDns:
    recorded = [change for change in present.done if isinstance(change, SetDns)]
    through = recorded[0].through if recorded else present.dns_backend
    old = recorded[0].old if recorded else present.resolv_conf
    return SetDns(wanted.name, wanted.dns_servers, wanted.dns_search, through, old)


# --- present ---


def _holds(change: Change, present: HostState) -> bool:
    if isinstance(change, SetSysctl | SetFirewall | SetDns):
        return change in present.done and _lasts(change, present)
    if isinstance(change, AddUnreachable):
        return (change.family, change.table) in present.unreachable
    if isinstance(change, AddRule):
        suppress = change.unless_mark is None
        return Rule(*_rule_key(change), suppress=suppress) in present.rules
    return present.interface is not None and _is_set(change, present.interface)


def _rule_key(rule: AddRule) -> tuple[int, int, int, int | None]:
    return rule.family, rule.priority, rule.table, rule.unless_mark


def _is_set(change: _OfInterface, interface: InterfaceState) -> bool:
    match change:
        case CreateInterface():
            return True
        case AddAddress(_, address):
            return address in interface.addresses
        case AddRoute(_, prefix, table):
            return (prefix, table) in interface.routes
        case SetMtu(_, mtu):
            return interface.mtu == mtu
        case SetUp():
            return interface.up
        case SetWireGuard() | RunHook():
            return False


def _lasts(change: SetSysctl | SetFirewall | SetDns, present: HostState) -> bool:
    match change:
        case SetSysctl(name, value):
            return present.sysctls.get(name) == value
        case SetFirewall(_, family):
            return family in present.firewalls
        case SetDns():
            return True


def _loses_v4_routes(stale: Sequence[Recorded], present: HostState) -> bool:
    """Return whether the last IPv4 address goes: the kernel flushes the routes with it."""
    if present.interface is None:
        return False
    going = {
        change.address
        for change in stale
        if isinstance(change, AddAddress) and _family(change.address.address) == V4
    }
    there = {each for each in present.interface.addresses if _family(each.address) == V4}
    return bool(going) and there <= going


def _is_v4_route(change: Change) -> bool:
    return isinstance(change, AddRoute) and _family(change.prefix.address) == V4


def _lengths_towards(step: Step, host: Prefix) -> Iterator[int]:
    """Yield the lengths of the prefixes of a step that lead to the host."""
    if isinstance(step, AddRoute):
        block = step.prefix
        if (step.table == MAIN_TABLE or block.length == 0) and covers(block, host):
            yield block.length
    elif isinstance(step, AddAddress):
        block = mask(step.address.address, step.address.length)
        if covers(block, host):
            yield block.length


def _family(address: bytes) -> int:
    return V6 if len(address) == _V6_SIZE else V4
