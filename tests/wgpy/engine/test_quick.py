"""The plan of `wgpy up`, against a model of a host that does as the kernel."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from wgpy.engine.quick import (
    cut_ssh,
    nft_table,
    plan,
    teardown,
    warnings,
)
from wgpy.hostmodel import (
    MAIN_TABLE,
    AddAddress,
    AddRoute,
    AddRule,
    AddUnreachable,
    Change,
    CreateInterface,
    Hooks,
    HostState,
    InterfaceState,
    Routing,
    Rule,
    RunHook,
    SetDns,
    SetFirewall,
    SetMtu,
    SetSysctl,
    SetUp,
    SetWireGuard,
    SshSession,
    Step,
    Undo,
    Wanted,
)
from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    InterfaceAddress,
    PeerChange,
    PeerStatus,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.wire.steps import describe
from wgpy.wire.text import parse_address, parse_prefix

KEYS = [PublicKey(bytes([n]) * 32) for n in range(1, 5)]
BASE_RULES = (
    Rule(4, 0, 255),
    Rule(4, 32766, 254),
    Rule(4, 32767, 253),
    Rule(6, 0, 255),
    Rule(6, 32766, 254),
)
EMPTY = HostState(rules=BASE_RULES)


def address(text: str) -> InterfaceAddress:
    host, _, length = text.partition("/")
    return InterfaceAddress(parse_address(host), int(length))


def peer(number: int, *allowed: str, endpoint: Endpoint | None = None) -> PeerChange:
    return PeerChange(
        KEYS[number],
        endpoint=endpoint,
        replace_allowed_ips=True,
        allowed_ips=tuple(AllowedIPChange(parse_prefix(each)) for each in allowed),
    )


def wanted(*peers: PeerChange, addresses: tuple[str, ...] = ("10.9.0.2/24",), **more) -> Wanted:
    device = DeviceChange(private_key=Secret(bytes([7]) * 32), peers=peers)
    return Wanted("wg0", device, tuple(map(address, addresses)), **more)


# --- the model ---


def carry_out(steps: tuple[Step, ...], state: HostState) -> HostState:
    for step in steps:
        state = undone(step.change, state) if isinstance(step, Undo) else done(step, state)
    return state


def done(change: Change, state: HostState) -> HostState:  # noqa: C901
    link = state.interface or InterfaceState(None)
    match change:
        case CreateInterface():
            assert state.interface is None
            empty = DeviceStatus(None, None, 0, 0, ())
            state = replace(state, interface=InterfaceState(empty, mtu=1420))
        case SetWireGuard(_, device):
            assert link.device is not None
            state = replace(
                state, interface=replace(link, device=configured(device, link.device))
            )
        case AddAddress(_, each):
            state = replace(state, interface=replace(link, addresses=link.addresses | {each}))
        case SetMtu(_, mtu):
            state = replace(state, interface=replace(link, mtu=mtu))
        case SetUp():
            state = replace(state, interface=replace(link, up=True))
        case AddRoute(_, prefix, table):
            state = replace(
                state,
                interface=replace(link, routes=link.routes | {(prefix, table)}),
                tables=state.tables | {table},
            )
        case AddRule(family, priority, table, mark):
            rule = Rule(family, priority, table, mark, mark is None)
            assert rule not in state.rules
            state = replace(state, rules=tuple(sorted((*state.rules, rule), key=str)))
        case AddUnreachable(family, table):
            state = replace(state, unreachable=state.unreachable | {(family, table)})
        case SetSysctl(name, value):
            state = replace(state, sysctls={**state.sysctls, name: value})
        case SetFirewall(_, family):
            state = replace(state, firewalls=state.firewalls | {family})
        case SetDns() | RunHook():
            pass
    if isinstance(change, SetWireGuard | SetMtu | SetUp | RunHook) or change in state.done:
        return state
    return replace(state, done=(*state.done, change))


def undone(change: Change, state: HostState) -> HostState:
    link = state.interface or InterfaceState(None)
    match change:
        case CreateInterface():
            state = replace(state, interface=None)
        case AddAddress(_, each):
            left = link.addresses - {each}
            routes = link.routes
            if len(each.address) == 4 and not any(len(other.address) == 4 for other in left):
                routes = frozenset(r for r in routes if len(r[0].address) != 4)
            state = replace(state, interface=replace(link, addresses=left, routes=routes))
        case AddRoute(_, prefix, table):
            left_routes = link.routes - {(prefix, table)}
            tables = frozenset(number for _, number in left_routes)
            state = replace(state, interface=replace(link, routes=left_routes), tables=tables)
        case AddRule(family, priority, table, mark):
            rule = Rule(family, priority, table, mark, mark is None)
            state = replace(state, rules=tuple(r for r in state.rules if r != rule))
        case AddUnreachable(family, table):
            state = replace(state, unreachable=state.unreachable - {(family, table)})
        case SetSysctl(name, _, old):
            state = replace(state, sysctls={**state.sysctls, name: old})
        case SetFirewall(_, family):
            state = replace(state, firewalls=state.firewalls - {family})
        case _:
            pass
    return replace(state, done=tuple(c for c in state.done if c != change))


def configured(change: DeviceChange, old: DeviceStatus) -> DeviceStatus:
    peers = {} if change.replace_peers else {each.public_key: each for each in old.peers}
    for each in change.peers:
        if each.remove:
            peers.pop(each.public_key, None)
            continue
        before = peers.get(each.public_key) or PeerStatus(
            each.public_key, Secret(bytes(32)), None, 0.0, 0, 0, 0, ()
        )
        now_allowed = tuple(each.prefix for each in each.allowed_ips)
        for key, other in peers.items():
            kept = tuple(p for p in other.allowed_ips if p not in now_allowed)
            peers[key] = replace(other, allowed_ips=kept)
        keepalive = each.persistent_keepalive
        peers[each.public_key] = replace(
            before,
            preshared_key=each.preshared_key or before.preshared_key,
            endpoint=each.endpoint or before.endpoint,
            persistent_keepalive=before.persistent_keepalive
            if keepalive is None
            else keepalive,
            allowed_ips=now_allowed if each.replace_allowed_ips else before.allowed_ips,
        )
    return DeviceStatus(
        change.private_key or old.private_key,
        None,
        old.listen_port if change.listen_port is None else change.listen_port or 40000,
        old.fwmark if change.fwmark is None else change.fwmark,
        tuple(peers.values()),
    )


# --- properties ---

prefixes = st.sampled_from(
    [
        *("0.0.0.0/0", "10.0.0.0/8", "10.9.0.0/24", "10.9.0.7/32", "192.0.2.0/24"),
        *("::/0", "fd00:9::/64", "fd00::/16", "2001:db8::1/128"),
    ]
)
tables: st.SearchStrategy[Routing | int] = st.sampled_from([*Routing, 99])
texts = st.lists(
    st.sampled_from(["10.9.0.2/24", "10.9.0.3/32", "fd00:9::2/64", "fd00::3/128"]),
    unique=True,
)


@st.composite
def wants(draw: st.DrawFn) -> Wanted:
    blocks = draw(st.lists(prefixes, unique=True))
    owner = draw(
        st.lists(st.sets(st.integers(0, 3)), min_size=len(blocks), max_size=len(blocks))
    )
    numbers = draw(st.sets(st.integers(0, 3)))
    host = Endpoint(b"\x01\x02\x03\x04", 5)
    peers = [
        PeerChange(
            KEYS[number],
            preshared_key=draw(st.sampled_from([None, Secret(bytes([3]) * 32)])),
            endpoint=draw(st.sampled_from([None, host])),
            persistent_keepalive=draw(st.sampled_from([None, 0, 25])),
            replace_allowed_ips=True,
            allowed_ips=tuple(
                AllowedIPChange(parse_prefix(block))
                for block, its in zip(blocks, owner, strict=True)
                if number in its
            ),
        )
        for number in sorted(numbers)
    ]
    device = DeviceChange(
        private_key=draw(st.sampled_from([None, Secret(bytes([7]) * 32)])),
        listen_port=draw(st.sampled_from([None, 51820])),
        fwmark=draw(st.sampled_from([None, 0, 77])),
        peers=tuple(peers),
    )
    return Wanted(
        "wg0",
        device,
        tuple(map(address, draw(texts))),
        draw(st.sampled_from([None, 1280])),
        draw(tables),
        tuple(draw(st.lists(st.sampled_from(["192.0.2.53", "fd00::53"]), unique=True))),
        ("example.org",),
        Hooks(pre_up=("echo %i",), post_up=("true",)),
    )


hosts = st.builds(
    HostState,
    rules=st.sampled_from([BASE_RULES, (*BASE_RULES, Rule(4, 10, 7)), ()]),
    tables=st.frozensets(st.sampled_from([254, 255, 51820, 51821])),
    sysctls=st.sampled_from([{}, {"net.ipv4.conf.all.src_valid_mark": "1"}]),
    nft=st.booleans(),
    ipv6=st.booleans(),
    resolv_conf=st.sampled_from([None, "nameserver 192.0.2.1\n"]),
)


@given(wants(), hosts)
def test_a_plan_carried_out_leaves_nothing_to_do(want, host):
    after = carry_out(plan(want, host), host)
    assert plan(want, after) == ()


@given(wants(), wants(), hosts)
def test_changing_to_another_configuration_leaves_nothing_to_do(first, second, host):
    up = carry_out(plan(first, host), host)
    after = carry_out(plan(second, up), up)
    assert plan(second, after) == ()


@given(wants(), wants(), hosts)
def test_teardown_leaves_the_host_as_it_was(first, second, host):
    up = carry_out(plan(first, host), host)
    up = carry_out(plan(second, up), up)
    down = carry_out(teardown(up.done), up)
    assert down.interface is None
    assert set(down.rules) == set(host.rules)
    assert down.firewalls == host.firewalls
    before = {"net.ipv4.conf.all.src_valid_mark": "0", **host.sysctls}
    assert {**before, **down.sysctls} == before


@given(wants(), hosts, st.data())
def test_teardown_cleans_up_from_any_point(want, host, data):
    steps = plan(want, host)
    half = carry_out(steps[: data.draw(st.integers(0, len(steps)))], host)
    down = carry_out(teardown(half.done), half)
    assert down.interface is None
    assert set(down.rules) == set(host.rules)


@given(wants(), hosts)
def test_every_step_has_a_line_without_secrets(want, host):
    for step in plan(want, host):
        line = describe(step)
        assert "\n" not in line
        assert Secret(bytes([7]) * 32).to_base64() not in line


# --- examples ---


def routes(steps: tuple[Step, ...]) -> list[tuple[Prefix, int]]:
    return [(s.prefix, s.table) for s in steps if isinstance(s, AddRoute)]


def test_routes_go_longest_first_without_what_is_connected():
    want = wanted(
        peer(0, "192.0.2.0/24", "10.9.0.7/32"),
        peer(1, "10.0.0.0/8", "fe80::7/128", "198.51.100.1/32"),
    )
    assert routes(plan(want, EMPTY)) == [
        (parse_prefix("198.51.100.1/32"), MAIN_TABLE),
        (parse_prefix("192.0.2.0/24"), MAIN_TABLE),
        (parse_prefix("10.0.0.0/8"), MAIN_TABLE),
    ]


def test_a_lone_ipv4_address_covers_no_route_but_a_lone_ipv6_one_does():
    want = wanted(
        peer(0, "10.9.0.2/32", "fd00::2/128"), addresses=("10.9.0.2/32", "fd00::2/128")
    )
    assert routes(plan(want, EMPTY)) == [(parse_prefix("10.9.0.2/32"), MAIN_TABLE)]


def test_a_default_route_gets_policy_routing_as_wg_quick_does_it():
    steps = plan(wanted(peer(0, "0.0.0.0/0")), replace(EMPTY, tables=frozenset({51820})))
    assert routes(steps) == [(parse_prefix("0.0.0.0/0"), 51821)]
    assert [step for step in steps if isinstance(step, AddRule)] == [
        AddRule(4, 32765, 51821, 51821),
        AddRule(4, 32764, MAIN_TABLE, None),
    ]
    assert SetSysctl("net.ipv4.conf.all.src_valid_mark", "1", "0") in steps
    [firewall] = [step for step in steps if isinstance(step, SetFirewall)]
    assert firewall.table == "wgpy_wg0"
    assert "daddr 10.9.0.2 fib saddr type != local drop" in firewall.text
    [wireguard] = [step for step in steps if isinstance(step, SetWireGuard)]
    assert wireguard.change.fwmark == 51821


def test_a_default_route_may_fail_closed_in_both_families():
    want = wanted(peer(0, "0.0.0.0/0"), fails_closed=True)
    steps = plan(want, EMPTY)
    closed = [step for step in steps if isinstance(step, AddUnreachable)]
    assert closed == [AddUnreachable(4, 51820), AddUnreachable(6, 51820)]
    rules = {step.family for step in steps if isinstance(step, AddRule)}
    assert rules == {4, 6}
    state = carry_out(steps, EMPTY)
    assert plan(want, state) == ()
    assert carry_out(plan(replace(want, fails_closed=False), state), state).unreachable == set()
    without = plan(want, replace(EMPTY, ipv6=False))
    assert AddUnreachable(6, 51820) not in without
    both = plan(wanted(peer(0, "0.0.0.0/0", "::/0"), fails_closed=True), EMPTY)
    assert len([step for step in both if isinstance(step, AddUnreachable)]) == 2
    assert not [step for step in plan(wanted(peer(0, "0.0.0.0/0")), EMPTY) if step in closed]


def test_a_mark_of_the_file_is_the_table():
    want = wanted(peer(0, "::/0"))
    want = replace(want, device=replace(want.device, fwmark=1234))
    assert routes(plan(want, EMPTY)) == [(parse_prefix("::/0"), 1234)]


def test_a_numbered_table_takes_every_route_and_off_none():
    blocks = ("0.0.0.0/0", "10.9.0.0/24")
    numbered = plan(wanted(peer(0, *blocks), table=99), EMPTY)
    assert routes(numbered) == [
        (parse_prefix("10.9.0.0/24"), 99),
        (parse_prefix("0.0.0.0/0"), 99),
    ]
    assert not any(isinstance(step, AddRule) for step in numbered)
    assert routes(plan(wanted(peer(0, *blocks), table=Routing.OFF), EMPTY)) == []


def mtu(steps: tuple[Step, ...]) -> int:
    [found] = [step.mtu for step in steps if isinstance(step, SetMtu)]
    return found


def test_the_mtu_is_that_of_the_narrowest_path_less_the_overhead():
    want = wanted()
    assert mtu(plan(want, EMPTY)) == 1420
    assert mtu(plan(want, replace(EMPTY, default_mtu=1400))) == 1320
    assert mtu(plan(want, replace(EMPTY, default_mtu=1400, path_mtus=(1492, 1480)))) == 1400
    assert mtu(plan(wanted(mtu=1300), EMPTY)) == 1300


def test_hooks_run_first_and_last_with_the_name_filled_in():
    steps = plan(wanted(hooks=Hooks(pre_up=("a %i",), post_up=("b %i%i",))), EMPTY)
    assert steps[0] == RunHook("a wg0")
    assert steps[-1] == RunHook("b wg0wg0")


def test_a_host_without_ipv6_or_nft_gets_the_rest():
    host = replace(EMPTY, ipv6=False, nft=False)
    steps = plan(
        wanted(peer(0, "0.0.0.0/0", "::/0"), addresses=("10.9.0.2/24", "fd00::2/64")), host
    )
    assert routes(steps) == [(parse_prefix("0.0.0.0/0"), 51820)]
    assert AddAddress("wg0", address("fd00::2/64")) not in steps
    assert not any(isinstance(step, SetFirewall) for step in steps)


def test_what_a_host_lacks_is_warned_about_only_where_it_matters():
    bare = replace(EMPTY, ipv6=False, nft=False)
    assert [line.split()[0] for line in warnings(wanted(peer(0, "0.0.0.0/0")), bare)] == ["nft"]
    six = wanted(peer(0, "fd00::/8"))
    assert ["IPv6" in line for line in warnings(six, bare)] == [True]
    assert list(warnings(wanted(peer(0, "10.0.0.0/8")), bare)) == []
    assert list(warnings(wanted(peer(0, "0.0.0.0/0", "::/0")), EMPTY)) == []


def test_what_came_by_other_hands_is_left_alone():
    want = wanted(peer(0, "192.0.2.0/24"))
    up = carry_out(plan(want, EMPTY), EMPTY)
    assert up.interface is not None
    foreign = (parse_prefix("203.0.113.0/24"), MAIN_TABLE)
    link = replace(
        up.interface,
        routes=up.interface.routes | {foreign},
        addresses=up.interface.addresses | {address("10.77.0.1/24")},
    )
    assert plan(want, replace(up, interface=link)) == ()


def test_replacing_the_only_address_restores_the_routes_that_go_with_it():
    up = carry_out(plan(wanted(peer(0, "192.0.2.0/24")), EMPTY), EMPTY)
    steps = plan(wanted(peer(0, "192.0.2.0/24"), addresses=("10.9.0.3/24",)), up)
    assert steps == (
        Undo(AddAddress("wg0", address("10.9.0.2/24"))),
        AddAddress("wg0", address("10.9.0.3/24")),
        AddRoute("wg0", parse_prefix("192.0.2.0/24"), MAIN_TABLE),
    )


def test_a_vanished_interface_is_planned_anew():
    up = carry_out(plan(wanted(), EMPTY), EMPTY)
    steps = plan(wanted(), replace(up, interface=None))
    assert CreateInterface("wg0") in steps
    moved = plan(wanted(addresses=("10.1.1.1/32",)), replace(up, interface=None))
    assert AddAddress("wg0", address("10.1.1.1/32")) in moved


# --- ssh ---

CLIENT = parse_address("203.0.113.9")


def via(length: int | None) -> HostState:
    return replace(EMPTY, ssh=SshSession(CLIENT, length))


def test_a_full_tunnel_cuts_a_session_that_comes_by_the_default_route():
    full = wanted(peer(0, "0.0.0.0/0"))
    assert cut_ssh(full, via(0))
    assert not cut_ssh(full, via(24))
    assert not cut_ssh(full, via(None))
    assert not cut_ssh(full, EMPTY)
    assert not cut_ssh(wanted(peer(0, "::/0")), via(0))
    assert not cut_ssh(wanted(peer(0, "0.0.0.0/0"), table=99), via(0))


def test_a_narrower_route_or_subnet_cuts_it_too():
    assert cut_ssh(wanted(peer(0, "203.0.113.0/24")), via(0))
    assert cut_ssh(wanted(addresses=("203.0.113.1/24",)), via(0))
    assert not cut_ssh(wanted(peer(0, "203.0.0.0/16")), via(24))
    assert not cut_ssh(wanted(peer(0, "198.51.100.0/24")), via(0))


def test_a_tunnel_that_stands_cuts_nothing_more():
    full = wanted(peer(0, "0.0.0.0/0"))
    assert not cut_ssh(full, carry_out(plan(full, via(0)), via(0)))


def test_names_that_nft_does_not_take_are_spelled_out():
    assert nft_table("a=b+c") == "wgpy_a_3db_2bc"


def test_an_mtu_too_small_for_ipv6_leaves_it_out_and_says_so():
    small = Wanted(
        "wg0",
        DeviceChange(peers=(peer(0, "10.0.0.0/8", "fd00::/8"),)),
        addresses=(address("10.0.0.1/24"), address("fd01::1/64")),
        mtu=1279,
    )
    kinds = [describe(step) for step in plan(small, EMPTY)]
    assert not any("fd0" in line for line in kinds)
    assert list(warnings(small, EMPTY)) == [
        "the MTU 1279 is below the 1280 of IPv6: its addresses and routes are left out"
    ]
    enough = replace(small, mtu=1280)
    assert sum("fd0" in describe(step) for step in plan(enough, EMPTY)) == 2
    assert list(warnings(enough, EMPTY)) == []


def test_an_interface_that_stands_keeps_its_mtu_and_with_it_ipv6():
    want = Wanted("wg0", DeviceChange(), addresses=(address("fd01::1/64"),))
    low = HostState(rules=BASE_RULES, interface=InterfaceState(None, up=True, mtu=1200))
    assert AddAddress("wg0", address("fd01::1/64")) not in plan(want, low)
    wide = replace(low, interface=InterfaceState(None, up=True, mtu=1420))
    assert AddAddress("wg0", address("fd01::1/64")) in plan(want, wide)


def test_a_raised_mtu_comes_before_the_addresses_that_need_it():
    want = Wanted("wg0", DeviceChange(), addresses=(address("fd01::1/64"),), mtu=1280)
    low = HostState(rules=BASE_RULES, interface=InterfaceState(None, up=True, mtu=1200))
    kinds = [type(step) for step in plan(want, low)]
    assert kinds.index(SetMtu) < kinds.index(AddAddress)
