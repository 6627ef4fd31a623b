"""What people are shown of a mesh."""

from netmgr import events
from netmgr.engine.views import name_of, snapshot
from netmgr.model import Snapshot
from netmgr.wire import objects
from netmgr.wire.objects import Record
from tests.netmgr.engine.scenes import NAMES, SEED, cut, meet, nodes, seen, until
from tests.sim.meshes import Node
from tests.sim.tunnel import prefix
from tests.sim.world import World

SITE = prefix("172.16.0.0/16")


def shown(node: Node) -> Snapshot:
    return snapshot(
        node.inner.mesh, interface="wg0", uptime=5.0, data_path="plain", now=node.world.now
    )


def test_a_node_alone_shows_itself():
    (alice,) = nodes(1)
    view = shown(alice)
    assert (view.name, view.address, view.listen_port) == ("alice", "10.1.1.1", 50001)
    assert view.address6.startswith("fd")
    assert (view.peers, view.routes, view.conflicts, view.subnet) == ((), (), (), "10.1.1.0/24")


def test_peers_are_shown_by_address_with_their_ways():
    world = World(1)
    options: list[dict[str, object]] = [{}, {}, {"routes": (SITE,), "exit_node": True}]
    made = [
        Node(world, name, f"10.1.1.{at}", f"192.0.2.{at}", [SEED], **given)  # type: ignore[arg-type]
        for at, (name, given) in enumerate(zip(NAMES, options, strict=False), 1)
    ]
    meet(world, made)
    _, bob, carol = made
    cut(bob, carol)
    until(bob, carol, ["alice"], 15.0)
    view = shown(bob)
    alice_view, carol_view = view.peers
    assert (alice_view.name, alice_view.path, alice_view.trust) == ("alice", "direct", "met")
    assert alice_view.endpoint == "192.0.2.1:50001"
    assert alice_view.reachable
    assert alice_view.rtt is not None
    assert alice_view.loss == 0.0
    assert (carol_view.path, carol_view.via, carol_view.rtt) == ("relayed", ("alice",), None)
    assert carol_view.routes == ("0.0.0.0/0", "172.16.0.0/16")
    assert [(one.destination, one.to, one.path, one.kind) for one in view.routes] == [
        ("10.1.1.1", "alice", (), "node"),
        ("10.1.1.3", "carol", ("alice",), "node"),
        ("172.16.0.0/16", "carol", ("alice",), "subnet"),
    ]
    assert view.seeds == ("192.0.2.1:50001",)


def test_a_prefix_that_is_closed_goes_to_nobody():
    world = World(1)
    alice = Node(world, "alice", "10.1.1.1", "192.0.2.1", [SEED], via=((SITE, "bob"),))
    bob = Node(world, "bob", "10.1.1.2", "192.0.2.2", [SEED], routes=(SITE,))
    meet(world, [alice, bob])
    bob.host.up = False
    assert world.run_while(lambda: not alice.inner.mesh.ways.closed(), 15.0)
    (route,) = shown(alice).routes
    assert (route.destination, route.to, route.kind) == (str(SITE), "", "subnet")


def test_a_node_that_does_not_answer_has_no_path():
    alice, bob = nodes(2)
    cut(alice, bob)
    assert alice.world.run_while(lambda: seen(alice, bob).up, 15.0)
    (view,) = shown(alice).peers
    assert (view.path, view.reachable, view.rtt) == ("none", False, None)


def test_a_node_that_said_goodbye_has_left_and_who_was_pinned_by_hand_is_not_of_the_file():
    alice, bob = nodes(2)
    mesh, now = alice.inner.mesh, alice.world.now
    mesh.pin("bob", shown(bob).fingerprint, now)
    assert [(one.trust, one.left) for one in shown(alice).peers] == [("person", False)]
    bob.inner.mesh.leave(now)
    bob.inner.settle(now)
    alice.world.run_for(1.0)
    (view,) = shown(alice).peers
    assert (view.left, view.reachable) == (True, False)


def test_nodes_without_a_record_or_not_known_are_shown_all_the_same():
    alice, bob = nodes(2)
    seen(alice, bob).record = None
    (view,) = shown(alice).peers
    assert (view.name, view.address) == ("", "")
    assert shown(alice).routes == ()
    assert name_of(alice.inner.mesh, bytes(8)) == bytes(8).hex()


def test_refused_claims_are_shown():
    alice, bob, carol = nodes()
    body = objects.encode_record(Record("alice", bob.settings.address, 0))
    mesh, now = carol.inner.mesh, carol.world.now
    mesh.announcer._sign(objects.RECORD, body, now)  # noqa: SLF001
    mesh._flood(0.0)  # noqa: SLF001
    carol.inner.settle(now)
    alice.world.run_for(1.0)
    (view,) = shown(alice).conflicts
    assert (view.name, view.address, view.count) == ("alice", "10.1.1.2", 1)
    assert any(isinstance(event, events.ClaimRefused) for event in alice.told)
