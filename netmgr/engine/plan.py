"""What the routes of a mesh mean for this host: wanted, present, changes. Pure.

Prefixes of others lead into the interface; one of length 0 is the default route, with the rules
of wg-quick(8), by which the host keeps its own networks. Prefixes that this node offers are
masqueraded for the overlay, so that the hosts behind need no route back.

A prefix that would cut this host off is refused, alone: the others are planned. What others
have set is never touched, but for kernel settings, whose old value is on record.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from wgpy.engine import quick
from wgpy.hostmodel import (
    SRC_VALID_MARK,
    V4,
    V6,
    AddAddress,
    AddRoute,
    CreateInterface,
    HostState,
    Recorded,
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
from wgpy.model import (
    KEY_SIZE,
    AllowedIPChange,
    DeviceChange,
    InterfaceAddress,
    PeerChange,
    Prefix,
    PublicKey,
)
from wgpy.wire.text import covers, format_address, format_prefix, mask

FORWARDING: Final = {V4: "net.ipv4.ip_forward", V6: "net.ipv6.conf.all.forwarding"}
_NFT_FAMILIES: Final = {V4: "ip", V6: "ip6"}
_NOBODY: Final = PublicKey(bytes(KEY_SIZE))
_V4_SIZE: Final = 4
# Of this host, of one link, of many hosts (RFC 6890): no network that others are behind.
_SPECIAL: Final = (
    Prefix(bytes(4), 8),
    Prefix(b"\x7f" + bytes(3), 8),
    Prefix(b"\xa9\xfe" + bytes(2), 16),
    Prefix(b"\xe0" + bytes(3), 3),
    Prefix(bytes(16), 127),
    Prefix(b"\xfe\x80" + bytes(14), 10),
    Prefix(b"\xff" + bytes(15), 8),
)
_Ours: TypeAlias = SetSysctl | SetFirewall
# Seconds in which a setting that was set back once is not set twice.
_TRUCE: Final = 3600.0
# What quick plans for an interface that is not ours to make.
_NotOurs: TypeAlias = CreateInterface | SetWireGuard | SetUp | RunHook | SetDns | SetFirewall


@dataclass(frozen=True, slots=True)
class RoutesWanted:
    """What the routes of the mesh shall be on this host.

    `overlay` are the subnets of the mesh, `addresses` the own ones in them; `through` is
    reached through the interface, `offered` is behind this node. `endpoints` are the packed
    addresses at which nodes are reached outside of the tunnel. `mark` is that of the node's
    own packets, None if it may be chosen; `mtu` the interface's, None if that is left alone.
    """

    interface: str
    overlay: tuple[Prefix, ...]
    addresses: tuple[InterfaceAddress, ...]
    through: tuple[Prefix, ...] = ()
    offered: tuple[Prefix, ...] = ()
    endpoints: tuple[bytes, ...] = ()
    mark: int | None = None
    mtu: int | None = None


class Refused(NamedTuple):
    """A prefix that is left out, and why, in words that follow it."""

    prefix: Prefix
    why: str

    def __str__(self) -> str:
        return f"{format_prefix(self.prefix)} {self.why}"


class RoutesPlan(NamedTuple):
    """Steps in order; prefixes left out; the mark that the node's packets must carry before.

    `mark` 0 is none.
    """

    steps: tuple[Step, ...]
    refused: tuple[Refused, ...]
    mark: int


def plan(
    wanted: RoutesWanted, present: HostState, gateways: Sequence[bytes] = ()
) -> RoutesPlan:
    """Return the changes; none once they are made. `gateways` are those of default routes."""
    refused = tuple(_refusals(wanted, present, gateways))
    without = {each.prefix for each in refused}
    accepted = replace(
        wanted,
        through=tuple(each for each in wanted.through if each not in without),
        offered=tuple(each for each in wanted.offered if each not in without),
    )
    ours = [change for change in present.done if _is_ours(change)]
    rest = replace(
        present, done=tuple(change for change in present.done if not _is_ours(change))
    )
    steps = quick.plan(_as_of_quick(accepted), rest)
    marks = [step.change.fwmark or 0 for step in steps if isinstance(step, SetWireGuard)]
    protection = {step.family: step for step in steps if isinstance(step, SetFirewall)}
    target: tuple[_Ours, ...] = (
        *_firewalls(accepted, present, protection),
        *_settings(accepted, present),
    )
    return RoutesPlan(
        (
            *(Undo(change) for change in reversed(ours) if not _is_kept(change, target)),
            *(step for step in steps if _is_possible(step, present)),
            *(change for change in target if not _holds(change, present)),
        ),
        refused,
        marks[0] if marks else 0,
    )


def _is_possible(step: Step, present: HostState) -> bool:
    """Return whether a step of quick is ours; an interface that is down is left alone."""
    if isinstance(step, AddAddress | AddRoute | SetMtu):
        return present.interface is not None and present.interface.up
    return not isinstance(step, _NotOurs)


class Quarrels:
    """Settings of ours that somebody else sets back: set again once an hour, else left to them.

    What was on before, and not by us, is theirs from the first time on.
    """

    def __init__(self) -> None:
        self._set_at: dict[str, float] = {}

    def settle(
        self, steps: Sequence[Step], present: HostState, now: float
    ) -> tuple[tuple[Step, ...], tuple[str, ...]]:
        """Return the steps that remain, and a line for each setting that is left."""
        kept: list[Step] = []
        lines: list[str] = []
        for step in steps:
            if not isinstance(step, SetSysctl) or step not in present.done:
                kept.append(step)
                continue
            since = now - self._set_at.get(step.name, float("-inf"))
            if step.old != step.value and since >= _TRUCE:
                self._set_at[step.name] = now
                kept.append(step)
            else:
                it_is = f"{step.name} is {present.sysctls.get(step.name)}, set by somebody else"
                lines.append(f"{it_is}, and left so; this node needs {step.value}")
        return tuple(kept), tuple(lines)


def forwarding(offered: Sequence[Prefix]) -> list[str]:
    """Return the names of the settings without which nothing is forwarded there."""
    return [name for family, name in FORWARDING.items() if _of(family, offered)]


def withdrawal(done: Sequence[Recorded]) -> tuple[Undo, ...]:
    """Return the way back from all that is on record, last change first."""
    return tuple(Undo(change) for change in reversed(done))


# --- refusals ---


def _refusals(
    wanted: RoutesWanted, present: HostState, gateways: Sequence[bytes]
) -> Iterator[Refused]:
    for prefix in dict.fromkeys(wanted.through):
        why = _refusal(prefix, wanted, present, gateways)
        if why is not None:
            yield Refused(prefix, why)
    for prefix in dict.fromkeys(wanted.offered):
        if _family(prefix) == V6 and not present.ipv6:
            yield Refused(prefix, "is left out: this host has no IPv6")
        elif prefix in wanted.through:
            yield Refused(prefix, "is offered by this node and asked of another")


def _refusal(
    prefix: Prefix, wanted: RoutesWanted, present: HostState, gateways: Sequence[bytes]
) -> str | None:
    if _family(prefix) == V6 and not present.ipv6:
        return "is left out: this host has no IPv6"
    if prefix.length == 0:
        return None
    if any(_overlap(prefix, block) for block in _SPECIAL):
        return "is no network of hosts"
    if any(covers(block, prefix) for block in wanted.overlay):
        return "is part of the overlay itself"
    return next(_cut(prefix, wanted, present, gateways), None)


def _cut(
    prefix: Prefix, wanted: RoutesWanted, present: HostState, gateways: Sequence[bytes]
) -> Iterator[str]:
    """Yield what the host could reach no more, or only by way of the tunnel itself."""
    for name, (address, length) in present.neighbours:
        network = mask(address, length)
        if _overlap(prefix, network):
            yield f"overlaps {format_prefix(network)}, a network of this host on {name}"
    for address in gateways:
        if _holds_address(prefix, address):
            yield f"holds {format_address(address)}, the gateway of this host"
    for address in wanted.endpoints:
        if _holds_address(prefix, address):
            yield f"holds {format_address(address)}, where a node is reached"


def _overlap(one: Prefix, other: Prefix) -> bool:
    return covers(one, other) or covers(other, one)


def _holds_address(prefix: Prefix, address: bytes) -> bool:
    return covers(prefix, Prefix(address, len(address) * 8))


# --- the target ---


def _as_of_quick(wanted: RoutesWanted) -> Wanted:
    """Return the routes as those of a tunnel with one peer."""
    allowed = tuple(AllowedIPChange(prefix) for prefix in wanted.through)
    device = DeviceChange(fwmark=wanted.mark, peers=(PeerChange(_NOBODY, allowed_ips=allowed),))
    return Wanted(wanted.interface, device, wanted.addresses, mtu=wanted.mtu, fails_closed=True)


def _firewalls(
    wanted: RoutesWanted, present: HostState, protection: dict[int, SetFirewall]
) -> Iterator[SetFirewall]:
    if not present.nft:
        return
    for family in (V4, V6):
        offered = _of(family, wanted.offered)
        text = protection[family].text if family in protection else ""
        if offered:
            text += _gateway_text(wanted, family, offered, fresh=not text)
        if text:
            yield SetFirewall(quick.nft_table(wanted.interface), family, text)


def _gateway_text(
    wanted: RoutesWanted, family: int, offered: Sequence[Prefix], *, fresh: bool
) -> str:
    """Return chains that let the overlay reach what is offered, and nothing else behind us.

    `fresh` also replaces the table, if there is one.
    """
    ip, name = _NFT_FAMILIES[family], wanted.interface
    table = f"table {ip} {quick.nft_table(name)}"
    overlay = _set(_of(family, wanted.overlay))
    exits = any(prefix.length == 0 for prefix in offered)
    away = f'iifname "{name}" oifname != "{name}"'
    barrier = (
        ""
        if exits
        else f"  {away} ct state established,related accept\n"
        f"  {away} ct status dnat accept\n"
        f"  {away} {ip} daddr != {_set(offered)} drop\n"
    )
    to = f"{ip} daddr != {overlay}" if exits else f"{ip} daddr {_set(offered)}"
    return (
        f"{f'{table}{chr(10)}delete {table}{chr(10)}' if fresh else ''}{table} {{\n"
        f" chain forwarding {{\n  type filter hook forward priority 0\n{barrier} }}\n"
        " chain masquerading {\n  type nat hook postrouting priority 100\n"
        f'  {ip} saddr {overlay} oifname != "{name}" {to} masquerade\n }}\n'
        "}\n"
    )


def _set(prefixes: Sequence[Prefix]) -> str:
    """Return an nft set; it takes no prefix that another one covers."""
    least = [
        prefix
        for prefix in sorted(set(prefixes))
        if not any(covers(other, prefix) for other in prefixes if other != prefix)
    ]
    return f"{{ {', '.join(map(format_prefix, least))} }}"


def _settings(wanted: RoutesWanted, present: HostState) -> Iterator[SetSysctl]:
    for family, name in FORWARDING.items():
        old = present.sysctls.get(name)
        if not _of(family, wanted.offered) or old is None:
            continue
        change = _setting(name, "1", old, present)
        if family == V6:
            yield from _router_advertisements(present, forwarding=change.old == "1")
        yield change


def _router_advertisements(present: HostState, *, forwarding: bool) -> Iterator[SetSysctl]:
    """Let interfaces go on to listen to routers, which a host that forwards does not do.

    The value 2 says so (Linux, networking/ip-sysctl).
    """
    for change in present.done:
        if isinstance(change, SetSysctl) and change.name.endswith(".accept_ra"):
            yield change
    if forwarding:
        return
    for name in dict.fromkeys(name for name, _ in present.neighbours):
        setting = accept_ra(name)
        recorded = any(
            isinstance(change, SetSysctl) and change.name == setting for change in present.done
        )
        if present.sysctls.get(setting) == "1" and not recorded:
            yield SetSysctl(setting, "2", "1")


def accept_ra(interface: str) -> str:
    """Return the name of the setting by which an interface listens to routers.

    In the names of settings a dot of an interface is a slash (sysctl(8)).
    """
    return f"net.ipv6.conf.{interface.replace('.', '/')}.accept_ra"


def _setting(name: str, value: str, old: str, present: HostState) -> SetSysctl:
    """Return the change as it is on record, with the value found then, else a new one."""
    for change in present.done:
        if isinstance(change, SetSysctl) and change.name == name:
            return change
    return SetSysctl(name, value, old)


# --- present ---


def _is_ours(change: Recorded) -> bool:
    """Return whether this module plans it, not quick."""
    if isinstance(change, SetSysctl):
        return change.name != SRC_VALID_MARK
    return isinstance(change, SetFirewall)


def _is_kept(change: Recorded, target: Sequence[_Ours]) -> bool:
    """Return whether a change on record stays, or is replaced by one that needs no undoing."""
    if isinstance(change, SetFirewall):
        return any(
            isinstance(other, SetFirewall)
            and (other.table, other.family) == (change.table, change.family)
            for other in target
        )
    return change in target


def _holds(change: _Ours, present: HostState) -> bool:
    if change not in present.done:
        return False
    match change:
        case SetSysctl(name, value):
            return present.sysctls.get(name) == value
        case SetFirewall(_, family):
            return family in present.firewalls


def _of(family: int, prefixes: Sequence[Prefix]) -> list[Prefix]:
    return [prefix for prefix in prefixes if _family(prefix) == family]


def _family(prefix: Prefix) -> int:
    return V4 if len(prefix.address) == _V4_SIZE else V6
