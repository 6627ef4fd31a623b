"""Prefixes behind nodes: who is given which, and what is given to nobody."""

from dataclasses import replace

import pytest

from netmgr import events
from netmgr.effects import SendDatagram
from netmgr.engine.signing import address6
from netmgr.wire import objects
from netmgr.wire.objects import Offer
from tests.netmgr.engine.scenes import NAMES, SEED, meet, nodes, seen
from tests.sim.meshes import Node, Numbers
from tests.sim.tunnel import packet, prefix, v4
from tests.sim.world import World
from wgpy.model import Endpoint, Prefix

SITE = prefix("172.16.0.0/16")
DEFAULT = prefix("0.0.0.0/0")


def made(*options: dict[str, object]) -> list[Node]:
    world = World(1)
    found = [
        Node(world, name, f"10.1.1.{number}", f"192.0.2.{number}", [SEED], **given)  # type: ignore[arg-type]
        for number, (name, given) in enumerate(zip(NAMES, options, strict=False), 1)
    ]
    meet(world, found)
    return found


def given(node: Node) -> dict[Prefix, str]:
    return {one: remote.name for one, remote in node.inner.mesh.ways.chosen()}


def offer(node: Node, *offers: Offer) -> None:
    """Sign offers whatever the settings say."""
    mesh, now = node.inner.mesh, node.world.now
    mesh.announcer._sign(objects.ROUTES, objects.encode_routes(offers), now)  # noqa: SLF001
    mesh._settle(now)  # noqa: SLF001
    node.inner.settle(now)
    node.world.run_for(1.0)


def refused(node: Node) -> list[str]:
    return [one.prefix for one in node.told if isinstance(one, events.RouteRefused)]


def test_of_two_gateways_one_serves_and_the_other_takes_over():
    alice, bob, carol = made({}, {"routes": (SITE,)}, {"routes": (SITE,)})
    first = given(alice)[SITE]
    gateway, other = (bob, carol) if first == "bob" else (carol, bob)
    world = alice.world
    world.send(alice.host, [packet(alice.address, "172.16.3.4", 1)])
    world.run_for(0.5)
    assert len(gateway.host.received) == 1
    gateway.host.up = False
    assert world.run_while(lambda: given(alice).get(SITE) != other.name, 12.0)
    world.send(alice.host, [packet(alice.address, "172.16.3.4", 2)])
    world.run_for(0.5)
    assert len(other.host.received) == 1
    gateway.host.up = True
    world.run_for(60.0)
    assert given(alice) == {SITE: other.name}, "it stays where it is"


def test_a_gateway_that_is_silent_while_ways_die_gives_way_to_another():
    via = {"via": ((SITE, "bob"), (SITE, "carol"))}
    alice, bob, carol = made(dict(via), {"routes": (SITE,)}, {"routes": (SITE,)})
    mesh, pings = alice.inner.mesh, seen(alice, bob).pings
    for deaths, gateway in ((1, "bob"), (2, "carol")):
        pings.died(alice.world.now)
        assert pings.deaths == deaths
        mesh.ways.handle(alice.world.now)
        assert given(alice) == {SITE: gateway}
    pings.observe(alice.world.now, rx_grew=True, tx_grew=False)
    mesh.ways.handle(alice.world.now)
    assert given(alice) == {SITE: "bob"}
    for other in (bob, carol):
        for _ in range(2):
            seen(alice, other).pings.died(alice.world.now)
    mesh.ways.handle(alice.world.now)
    assert given(alice) == {SITE: "bob"}, "one that may be gone is better than none"


def test_a_gateway_that_leaves_loses_its_prefixes_at_once():
    alice, bob, _ = made({}, {"routes": (SITE,)}, {})
    assert given(alice) == {SITE: "bob"}
    bob.inner.mesh.leave(bob.world.now)
    bob.inner.settle(bob.world.now)
    bob.world.run_for(0.4)
    assert given(alice) == {}
    assert alice.way(bob) == ""


@pytest.mark.parametrize("text", ["8.8.8.8/32", "128.0.0.0/1", "100.0.0.0/8"])
def test_what_is_public_is_taken_only_where_the_file_says_so(text):
    public = prefix(text)
    alice, bob, _ = made({}, {"via": ((public, "any"),)}, {"routes": (public,)})
    assert given(alice) == {} and refused(alice) == [text]
    assert given(bob) == {public: "carol"}


def test_a_default_route_is_taken_only_where_the_file_says_so():
    alice, bob, _ = made({"via": ((DEFAULT, "carol"),)}, {}, {"exit_node": True})
    assert given(alice) == {DEFAULT: "carol"}
    assert given(bob) == {}


def test_the_file_names_who_serves_in_its_order_and_nobody_else():
    alice, bob, _, dave = made(
        {"via": ((SITE, "nobody"), (SITE, "carol"))},
        {"routes": (SITE,), "via": ((SITE, "any"),)},
        {"routes": (SITE,)},
        {"via": ((SITE, "nobody"),)},
    )
    assert given(alice) == {SITE: "carol"}
    assert given(bob) == {SITE: "carol"}
    assert given(dave) == {}


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_a_gateway_that_lost_its_state_offers_again_what_it_offered(says_goodbye: bool):
    alice, bob, carol = made({}, {}, {"routes": (SITE,)})
    world = alice.world
    assert given(alice) == {SITE: "carol"}
    if says_goodbye:
        carol.inner.mesh.leave(world.now)
        carol.inner.settle(world.now)
        world.run_for(1.0)
        assert given(alice) == {}
    carol.numbers = Numbers()
    carol.restart(remembers=False)
    world.run_for(5.0)
    assert given(alice) == given(bob) == {SITE: "carol"}


def closed(node: Node) -> list[tuple[str, tuple[str, ...]]]:
    return [(e.prefix, e.names) for e in node.told if isinstance(e, events.PrefixClosed)]


def test_what_went_where_the_file_says_goes_nowhere_while_nobody_of_it_is_reached():
    alice, bob, carol = made(
        {"via": ((DEFAULT, "bob"), (DEFAULT, "carol"), (SITE, "bob"))},
        {"exit_node": True, "routes": (SITE,)},
        {"exit_node": True, "routes": (SITE,)},
    )
    world, ways = alice.world, alice.inner.mesh.ways
    assert given(alice) == {DEFAULT: "bob", SITE: "bob"}
    bob.host.up = False
    assert world.run_while(lambda: given(alice) != {DEFAULT: "carol"}, 15.0)
    assert ways.closed() == (SITE,)
    assert set(alice.prefixes) == {DEFAULT, SITE}
    carol.host.up = False
    assert world.run_while(lambda: given(alice) != {}, 15.0)
    assert ways.closed() == (DEFAULT, SITE)
    assert set(alice.prefixes) == {DEFAULT, SITE}
    assert closed(alice) == [(str(SITE), ("bob",)), (str(DEFAULT), ("bob", "carol"))]
    bob.host.up = True
    assert world.run_while(lambda: given(alice) != {DEFAULT: "bob", SITE: "bob"}, 60.0)
    assert ways.closed() == ()
    opened = [event for event in alice.told if isinstance(event, events.PrefixOpened)]
    assert {(one.prefix, one.name) for one in opened} == {
        (str(DEFAULT), "bob"),
        (str(SITE), "bob"),
    }
    assert len(opened) == 2


def test_what_the_file_does_not_ask_for_any_more_is_open_again():
    alice, bob, _ = made({"via": ((DEFAULT, "bob"),)}, {"exit_node": True}, {})
    bob.inner.mesh.leave(bob.world.now)
    bob.inner.settle(bob.world.now)
    bob.world.run_for(0.4)
    mesh = alice.inner.mesh
    assert mesh.ways.closed() == (DEFAULT,)
    mesh.set_settings(replace(mesh.context.settings, via=()), alice.world.now)
    alice.inner.settle(alice.world.now)
    alice.world.run_for(0.4)
    assert mesh.ways.closed() == alice.prefixes == ()


def test_what_never_went_through_a_node_is_not_closed():
    (alice,) = made({"via": ((DEFAULT, "bob"),)})
    assert alice.inner.mesh.ways.closed() == alice.prefixes == ()


def test_the_least_metric_wins_and_an_offer_made_twice_is_one():
    alice, bob, carol = nodes()
    offer(carol, Offer(SITE, 5), Offer(SITE, 5), Offer(SITE, 9))
    assert given(alice) == {SITE: "carol"}
    offer(carol)
    assert given(alice) == {}
    offer(bob, Offer(SITE, 7), Offer(SITE, 7))
    assert given(alice) == {SITE: "bob"}


def test_a_place_behind_a_gateway_is_no_way_round_the_tunnel():
    """The host would send what is for it through the gateway: a tunnel within the tunnel."""
    alice, bob, carol = made({}, {"routes": (SITE,)}, {})
    inside = Endpoint(v4("172.16.0.3"), 50003)
    for one, probed in ((alice, False), (bob, True)):
        mesh = one.inner.mesh
        mesh.upkeep.found(seen(one, carol), inside, one.world.now)
        sent = [each.remote for each in mesh.take_effects() if isinstance(each, SendDatagram)]
        assert (inside in sent) is probed
    context = alice.inner.mesh.context
    context.networks = (prefix("172.16.0.0/24"),)
    assert not context.is_tunnelled(inside), "it is on our LAN"


def test_what_overlaps_the_network_is_refused_and_told_once():
    alice, bob, _ = nodes()
    net_id = alice.inner.mesh.context.keys.net_id
    own6 = address6(net_id, seen(bob, alice).identity)
    wide6 = Prefix(own6[:6] + bytes(10), 48)
    for bad in (
        prefix("10.1.1.0/24"),
        prefix("10.0.0.0/8"),
        prefix("10.1.1.3"),
        Prefix(own6, 128),
        wide6,
        prefix("192.0.0.0/8"),
        prefix("192.0.2.3"),
        prefix("128.0.0.0/1"),
    ):
        before = refused(alice)
        offer(bob, Offer(bad, 0))
        offer(bob, Offer(bad, 1))
        assert given(alice) == {}
        assert refused(alice) == [*before, str(bad)]
    alice.send(bob, 1)
    alice.world.run_for(0.5)
    assert bob.got(alice) == [1]


def test_a_refusal_says_what_would_be_cut_off():
    alice, bob, _ = nodes()
    for bad in ("192.0.2.1", "192.0.2.3"):
        offer(bob, Offer(prefix(bad), 0))
    why = [each.why for each in alice.told if isinstance(each, events.RouteRefused)]
    assert why == [
        "it holds 192.0.2.1, an address of this host",
        "it holds 192.0.2.3, where carol is reached",
    ]


def test_places_outside_may_be_covered_where_the_file_wants_it():
    wide = prefix("192.0.0.0/8")
    alice, _, _ = made({"via": ((wide, "bob"),)}, {"routes": (wide,)}, {})
    assert given(alice) == {wide: "bob"}


def test_prefixes_of_the_other_family_are_looked_at_apart():
    alice, bob, _ = nodes()
    site6 = Prefix(bytes([0x20, 1, 0x0D, 0xB8]) + bytes(12), 32)
    offer(bob, Offer(site6, 0), Offer(SITE, 0))
    assert given(alice) == {site6: "bob", SITE: "bob"}


def test_who_is_dropped_takes_no_prefix_along():
    alice, bob, carol = nodes()
    offer(bob, Offer(SITE, 0))
    alice.inner.mesh.members.drop(seen(alice, bob).identity, "gone", alice.world.now)
    alice.inner.settle(alice.world.now)
    alice.world.run_for(0.01)
    alice.inner.mesh.ways.handle(alice.world.now)
    assert given(alice) == {}
    assert alice.way(carol) == "direct"


def test_a_name_that_nobody_ever_had_is_told_with_its_prefix():
    via = ((DEFAULT, "vsp"), (DEFAULT, "bob"), (SITE, "vsp"), (SITE, "any"), (SITE, "vsp"))
    alice, _ = made({"via": via}, {})
    assert alice.inner.mesh.ways.unheard() == (f"{DEFAULT}=vsp", f"{SITE}=vsp")
