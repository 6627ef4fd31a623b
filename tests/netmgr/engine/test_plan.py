"""The plan of a gateway, against a model of a host that does as the kernel."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine.plan import (
    FORWARDING,
    Quarrels,
    RoutesWanted,
    accept_ra,
    plan,
    withdrawal,
)
from wgpy.hostmodel import (
    MAIN_TABLE,
    SRC_VALID_MARK,
    V4,
    V6,
    AddAddress,
    AddRoute,
    AddRule,
    AddUnreachable,
    HostState,
    InterfaceState,
    Rule,
    SetFirewall,
    SetSysctl,
    Step,
    Undo,
)
from wgpy.model import InterfaceAddress, Prefix
from wgpy.wire.text import parse_address, parse_interface_address, parse_prefix

NAME = "mesh0"
ADDRESSES = ("10.1.1.1/24", "fd00:77::1/64")
OVERLAY = ("10.1.1.0/24", "fd00:77::/64")
RULES = (
    *(Rule(4, 0, 255), Rule(4, 32766, 254), Rule(4, 32767, 253)),
    *(Rule(6, 0, 255), Rule(6, 32766, 254)),
)
OFF = {SRC_VALID_MARK: "0", FORWARDING[V4]: "0", FORWARDING[V6]: "0"}


def prefixes(*texts: str) -> tuple[Prefix, ...]:
    return tuple(map(parse_prefix, texts))


def wanted(
    through: tuple[str, ...] = (), offered: tuple[str, ...] = (), **more: Any
) -> RoutesWanted:
    base = RoutesWanted(
        NAME,
        prefixes(*OVERLAY),
        tuple(map(parse_interface_address, ADDRESSES)),
        prefixes(*through),
        prefixes(*offered),
    )
    return replace(base, **more)


def host(*neighbours: str, **more: Any) -> HostState:
    """Return a host with the interface, and others `eth0 192.0.2.1/24`."""
    addresses = frozenset(map(parse_interface_address, ADDRESSES))
    others = tuple(
        (name, parse_interface_address(text)) for name, text in map(str.split, neighbours)
    )
    state = HostState(
        interface=InterfaceState(None, True, 1420, addresses),
        rules=RULES,
        sysctls=OFF,
        neighbours=others,
    )
    return replace(state, **more)


def apply(state: HostState, steps: tuple[Step, ...]) -> HostState:
    """Return the host after the steps."""
    assert state.interface is not None
    routes, rules = set(state.interface.routes), set(state.rules)
    closed = set(state.unreachable)
    sysctls, firewalls, done = dict(state.sysctls), set(state.firewalls), list(state.done)
    for step in steps:
        change = step.change if isinstance(step, Undo) else step
        undo = isinstance(step, Undo)
        match change:
            case AddRoute(_, prefix, table):
                (routes.discard if undo else routes.add)((prefix, table))
            case AddRule(family, priority, table, mark):
                rule = Rule(family, priority, table, mark, mark is None)
                (rules.discard if undo else rules.add)(rule)
            case AddUnreachable(family, table):
                (closed.discard if undo else closed.add)((family, table))
            case SetSysctl(name, value, old):
                sysctls[name] = old if undo else value
            case SetFirewall(_, family):
                done = [each for each in done if not _same_table(each, change)]
                (firewalls.discard if undo else firewalls.add)(family)
            case _:
                raise AssertionError(f"{step} is not a gateway's")
        done = [each for each in done if each != change]
        if not undo:
            done.append(change)
    return replace(
        state,
        interface=replace(state.interface, routes=frozenset(routes)),
        rules=tuple(sorted(rules)) if rules != set(state.rules) else state.rules,
        sysctls=sysctls,
        firewalls=frozenset(firewalls),
        unreachable=frozenset(closed),
        done=tuple(done),
    )


def _same_table(one: object, other: SetFirewall) -> bool:
    return isinstance(one, SetFirewall) and (one.table, one.family) == (
        other.table,
        other.family,
    )


def routes(state: HostState) -> set[str]:
    assert state.interface is not None
    return {str(prefix) for prefix, table in state.interface.routes if table == MAIN_TABLE}


def after(want: RoutesWanted, state: HostState) -> HostState:
    return apply(state, plan(want, state).steps)


def texts(state: HostState) -> dict[int, str]:
    return {each.family: each.text for each in state.done if isinstance(each, SetFirewall)}


# --- routes to others ------------------------------------------------------------------------


def test_prefixes_of_others_lead_into_the_interface():
    result = plan(wanted(("192.168.5.0/24", "2001:db8:5::/48")), host("eth0 192.0.2.1/24"))
    assert set(result.steps) == {
        AddRoute(NAME, parse_prefix("192.168.5.0/24")),
        AddRoute(NAME, parse_prefix("2001:db8:5::/48")),
    }
    assert (result.refused, result.mark) == ((), 0)


def test_what_is_not_wanted_any_more_goes_and_what_is_not_ours_stays():
    state = after(wanted(("192.168.5.0/24", "192.168.6.0/24")), host())
    assert state.interface is not None
    foreign = (parse_prefix("172.30.0.0/16"), MAIN_TABLE)
    present = state.interface.routes | {foreign}
    state = replace(state, interface=replace(state.interface, routes=present))
    state = after(wanted(("192.168.6.0/24",)), state)
    assert routes(state) == {"192.168.6.0/24", "172.30.0.0/16"}
    assert routes(after(wanted(), state)) == {"172.30.0.0/16"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.0.2.0/24", "overlaps 192.0.2.0/24, a network of this host on eth0"),
        ("192.0.0.0/16", "overlaps 192.0.2.0/24, a network of this host on eth0"),
        ("192.0.2.128/25", "overlaps 192.0.2.0/24, a network of this host on eth0"),
        ("192.0.2.77/32", "overlaps 192.0.2.0/24, a network of this host on eth0"),
        ("128.0.0.0/1", "is no network of hosts"),
        ("198.51.100.0/24", "holds 198.51.100.1, the gateway of this host"),
        ("203.0.113.0/24", "holds 203.0.113.9, where a node is reached"),
        ("10.1.1.0/24", "is part of the overlay itself"),
        ("10.1.1.64/26", "is part of the overlay itself"),
        ("127.0.0.0/16", "is no network of hosts"),
        ("224.0.0.0/8", "is no network of hosts"),
        ("fe80::/64", "is no network of hosts"),
        ("2001:db8::/32", "overlaps 2001:db8:1::/64, a network of this host on eth0"),
    ],
)
def test_a_prefix_that_would_cut_the_host_off_is_refused_alone(text: str, why: str):
    want = wanted((text, "192.168.5.0/24"), endpoints=(parse_address("203.0.113.9"),))
    present = host("eth0 192.0.2.1/24", "eth0 2001:db8:1::1/64")
    result = plan(want, present, (parse_address("198.51.100.1"),))
    assert [str(each) for each in result.refused] == [f"{text} {why}"]
    assert result.steps == (AddRoute(NAME, parse_prefix("192.168.5.0/24")),)


def test_a_network_around_the_overlay_is_fine():
    result = plan(wanted(("10.0.0.0/8",)), host())
    assert (len(result.steps), result.refused) == (1, ())


def test_a_route_that_has_become_dangerous_is_taken_back():
    want = wanted(("192.168.5.0/24",))
    state = after(want, host())
    moved = replace(state, neighbours=host("wlan0 192.168.5.7/24").neighbours)
    result = plan(want, moved)
    assert result.steps == (Undo(AddRoute(NAME, parse_prefix("192.168.5.0/24"))),)
    assert len(result.refused) == 1


def test_without_ipv6_the_rest_is_planned():
    result = plan(
        wanted(("2001:db8::/32", "192.168.5.0/24"), ("fd00:5::/64",)), host(ipv6=False)
    )
    assert [each.why for each in result.refused] == ["is left out: this host has no IPv6"] * 2
    assert result.steps == (AddRoute(NAME, parse_prefix("192.168.5.0/24")),)


# --- the default route -----------------------------------------------------------------------


def test_an_exit_has_the_rules_of_a_full_tunnel_and_tells_the_mark():
    result = plan(wanted(("0.0.0.0/0",)), host("eth0 192.0.2.1/24"))
    rules = [step for step in result.steps if isinstance(step, AddRule)]
    assert rules == [
        AddRule(4, 32765, 51820, 51820),
        AddRule(4, 32764, MAIN_TABLE, None),
        AddRule(6, 32765, 51820, 51820),
        AddRule(6, 32764, MAIN_TABLE, None),
    ]
    assert AddRoute(NAME, parse_prefix("0.0.0.0/0"), 51820) in result.steps
    assert SetSysctl(SRC_VALID_MARK, "1", "0") in result.steps
    assert result.mark == 51820
    assert "10.1.1.1" in texts(after(wanted(("0.0.0.0/0",)), host()))[V4]


def test_the_mark_that_the_node_has_is_kept_and_one_in_use_is_not_taken():
    assert plan(wanted(("0.0.0.0/0",), mark=7), host()).mark == 7
    assert plan(wanted(("0.0.0.0/0",)), host(tables=frozenset({51820}))).mark == 51821


def test_where_the_default_route_takes_nothing_nothing_leaves():
    steps = plan(wanted(("0.0.0.0/0",)), host()).steps
    closed = [step for step in steps if isinstance(step, AddUnreachable)]
    assert closed == [AddUnreachable(V4, 51820), AddUnreachable(V6, 51820)]
    # Before the rules that lead there: packets would fall through to the host's own routes.
    for each in closed:
        assert steps.index(each) < steps.index(AddRule(each.family, 32765, 51820, 51820))


def test_ipv6_is_closed_only_where_the_host_has_some():
    want = wanted(("0.0.0.0/0",))
    v4_alone = host("eth0 192.0.2.1/24", "lo ::1/128", ipv6=False)
    assert AddUnreachable(V6, 51820) not in plan(want, v4_alone).steps
    elsewhere = host("eth0 2001:db8::1/64", ipv6=False)
    assert AddUnreachable(V6, 51820) in plan(want, elsewhere).steps
    asked = plan(wanted(("0.0.0.0/0", "::/0")), host())
    assert AddRoute(NAME, parse_prefix("::/0"), 51820) in asked.steps
    assert len([each for each in asked.steps if isinstance(each, AddRule)]) == 4
    assert not any(
        isinstance(each, AddUnreachable)
        for each in plan(wanted(("192.168.5.0/24",)), host()).steps
    )


# --- what others take away -------------------------------------------------------------------


def test_rules_that_are_gone_are_made_again_as_they_were():
    state = after(wanted(("0.0.0.0/0",)), host())
    flushed = replace(state, rules=RULES, unreachable=frozenset())
    steps = plan(wanted(("0.0.0.0/0",)), flushed).steps
    assert [type(each) for each in steps] == [AddUnreachable, AddRule, AddRule] * 2
    assert apply(flushed, steps).rules == state.rules


def test_the_own_address_comes_back_with_the_routes():
    want = wanted(("192.168.5.0/24",))
    state = after(want, host())
    assert state.interface is not None
    bare = replace(state.interface, addresses=frozenset(), routes=frozenset())
    assert plan(want, replace(state, interface=bare)).steps == (
        *(AddAddress(NAME, each) for each in want.addresses),
        AddRoute(NAME, parse_prefix("192.168.5.0/24")),
    )


def test_an_interface_that_is_down_or_gone_stays_so_and_what_is_closed_stays_closed():
    want = wanted(("0.0.0.0/0", "192.168.5.0/24"))
    state = after(want, host())
    assert state.interface is not None
    down = replace(state, interface=InterfaceState(None, False, 1420))
    assert plan(want, down).steps == ()
    assert plan(want, replace(state, interface=None)).steps == ()


def test_a_setting_is_set_again_once_and_then_left_to_who_insists():
    want = wanted(offered=("192.168.7.0/24",))
    first = plan(want, host())
    quarrels = Quarrels()
    assert quarrels.settle(first.steps, host(), 0.0) == (first.steps, ())
    state = replace(after(want, host()), sysctls=OFF, firewalls=frozenset())
    steps = plan(want, state).steps
    assert quarrels.settle(steps, state, 1.0) == (steps, ())
    kept, lines = quarrels.settle(steps, state, 3600.0)
    assert [type(each) for each in kept] == [SetFirewall]
    name = FORWARDING[V4]
    assert lines == (f"{name} is 0, set by somebody else, and left so; this node needs 1",)
    # Who started the firewall anew in the morning and in the evening does not insist.
    assert quarrels.settle(steps, state, 3601.0) == (steps, ())
    assert quarrels.settle(steps, state, 3602.0) == (kept, lines)


def test_a_setting_that_was_on_before_this_node_is_never_set_again():
    want = wanted(offered=("192.168.7.0/24",))
    state = after(want, host(sysctls={**OFF, FORWARDING[V4]: "1"}))
    state = replace(state, sysctls=OFF)
    kept, lines = Quarrels().settle(plan(want, state).steps, state, 0.0)
    assert (kept, len(lines)) == ((), 1)


# --- what this node offers -------------------------------------------------------------------


def test_an_offered_network_is_masqueraded_for_the_overlay_alone():
    state = after(wanted(offered=("192.168.7.0/24", "192.168.7.128/25")), host())
    text = texts(state)[V4]
    assert "ip saddr { 10.1.1.0/24 }" in text
    assert "ip daddr { 192.168.7.0/24 } masquerade" in text
    assert 'iifname "mesh0" oifname != "mesh0" ip daddr != { 192.168.7.0/24 } drop' in text
    assert state.sysctls == {**OFF, FORWARDING[V4]: "1"}
    assert set(texts(state)) == {V4}


def test_an_exit_is_masqueraded_to_anywhere_but_the_overlay():
    text = texts(after(wanted(offered=("0.0.0.0/0", "192.168.7.0/24")), host()))[V4]
    assert "ip daddr != { 10.1.1.0/24 } masquerade" in text
    assert "drop" not in text


def test_both_families_and_a_full_tunnel_share_one_table_a_family():
    want = wanted(("0.0.0.0/0",), ("192.168.7.0/24", "fd00:5::/64"))
    found = texts(after(want, host()))
    assert set(found) == {V4, V6}
    assert found[V4].count("delete table") == found[V6].count("delete table") == 1
    assert "preraw" in found[V4]
    assert "masquerading" in found[V4]
    assert "ip6 saddr { fd00:77::/64 }" in found[V6]


def test_interfaces_that_listen_to_routers_go_on_to():
    present = host("eth0 2001:db8::1/64", "eth1 192.0.2.1/24", "eth0 192.0.2.1/24")
    listening = {**OFF, accept_ra("eth0"): "1", accept_ra("eth1"): "0"}
    present = replace(present, sysctls=listening)
    want = wanted(offered=("fd00:5::/64",))
    state = after(want, present)
    assert state.sysctls[accept_ra("eth0")] == "2"
    assert state.sysctls[accept_ra("eth1")] == "0"
    assert plan(want, state).steps == ()
    assert dict(after(wanted(), state).sysctls) == listening
    # One that comes later goes on as well, though this host forwards by then.
    neighbours = (*state.neighbours, ("eth2", parse_interface_address("198.51.100.1/24")))
    later = replace(
        state, neighbours=neighbours, sysctls={**state.sysctls, accept_ra("eth2"): "1"}
    )
    assert plan(want, later).steps == (SetSysctl(accept_ra("eth2"), "2", "1"),)


def test_settings_that_were_on_before_stay_on():
    present = host(sysctls={**OFF, FORWARDING[V4]: "1", FORWARDING[V6]: "1"})
    state = after(wanted(offered=("192.168.7.0/24", "fd00:5::/64")), present)
    assert dict(after(wanted(), state).sysctls) == dict(present.sysctls)


def test_a_setting_that_somebody_took_back_is_set_again_and_restored_as_first_found():
    want = wanted(offered=("192.168.7.0/24",))
    state = replace(after(want, host()), sysctls=OFF)
    assert plan(want, state).steps == (SetSysctl(FORWARDING[V4], "1", "0"),)


def test_a_table_that_somebody_flushed_is_made_again():
    want = wanted(offered=("192.168.7.0/24",))
    state = replace(after(want, host()), firewalls=frozenset())
    assert [type(step) for step in plan(want, state).steps] == [SetFirewall]


def test_another_offer_replaces_the_table_without_a_gap():
    state = after(wanted(offered=("192.168.7.0/24",)), host())
    steps = plan(wanted(offered=("192.168.8.0/24",)), state).steps
    assert [type(step) for step in steps] == [SetFirewall]


def test_without_nft_there_is_forwarding_and_no_masquerading():
    state = after(wanted(offered=("192.168.7.0/24",)), host(nft=False))
    assert texts(state) == {}
    assert state.sysctls[FORWARDING[V4]] == "1"


def test_a_kernel_without_a_setting_is_left_alone():
    present = host(sysctls={FORWARDING[V4]: "0"})
    state = after(wanted(offered=("fd00:5::/64",)), present)
    assert dict(state.sysctls) == {FORWARDING[V4]: "0"}


def test_what_is_offered_and_asked_of_another_is_refused():
    result = plan(wanted(("0.0.0.0/0",), ("0.0.0.0/0",)), host())
    assert [str(each) for each in result.refused] == [
        "0.0.0.0/0 is offered by this node and asked of another"
    ]


# --- properties ------------------------------------------------------------------------------

some = st.sets(
    st.sampled_from(
        [
            *(
                "192.168.5.0/24",
                "192.168.5.128/25",
                "172.16.0.0/12",
                "0.0.0.0/0",
                "10.1.1.0/25",
            ),
            *("fd00:5::/64", "::/0", "192.0.2.0/24", "2001:db8:9::/48"),
        ]
    )
).map(lambda texts: tuple(sorted(texts)))
wishes = st.builds(wanted, some, some)


@given(st.lists(wishes, min_size=1, max_size=4))
def test_a_plan_that_is_carried_out_is_empty(wants: list[RoutesWanted]):
    state = host("eth0 192.0.2.1/24")
    for want in wants:
        state = after(want, state)
        assert plan(want, state).steps == ()


@given(st.lists(wishes, min_size=1, max_size=4))
def test_the_way_back_leads_to_where_it_began(wants: list[RoutesWanted]):
    first = state = host("eth0 192.0.2.1/24")
    for want in wants:
        state = after(want, state)
    assert apply(state, withdrawal(state.done)) == first
    assert after(wanted(), state) == first


@given(wishes)
def test_refusals_do_not_depend_on_what_is_set(want: RoutesWanted):
    state = host("eth0 192.0.2.1/24")
    assert plan(want, after(want, state)).refused == plan(want, state).refused


def test_an_address_of_a_neighbour_alone_counts():
    present = replace(host(), neighbours=(("lo", InterfaceAddress(b"\xc6\x33\x64\x01", 32)),))
    assert len(plan(wanted(("198.51.100.0/24",)), present).refused) == 1
