"""From links to ways: chains, relays that die, who relays nothing."""

import pytest

from netmgr import events
from netmgr.engine.remote import Via
from netmgr.engine.ways import DEAD_FOR
from tests.netmgr.engine.scenes import (
    NAMES,
    SEED,
    Stream,
    cut,
    cut_one_way,
    meet,
    nodes,
    seen,
    until,
)
from tests.sim.meshes import Node, static
from tests.sim.world import Link, World


def test_a_chain_of_three_hops_works_both_ways():
    world = World(1)
    everybody = [
        static(f"192.0.2.{number}", 50000 + number, f"10.1.1.{number}")
        for number in range(1, 5)
    ]
    made = [
        Node(world, name, f"10.1.1.{number}", f"192.0.2.{number}", everybody)
        for number, name in enumerate(NAMES[:4], 1)
    ]
    for at, one in enumerate(made):
        for other in made[at + 2 :]:
            cut(one, other)
    alice, _, _, dave = made
    until(alice, dave, ["bob carol"], 10.0)
    until(dave, alice, ["carol bob"], 2.0)
    stream = Stream(alice, dave)
    stream.run(5.0)
    assert stream.lost == []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_relay_in_use_that_dies_is_left_within_three_seconds(seed):
    alice, bob, carol, dave = nodes(4, seed=seed)
    cut(bob, carol)
    stream = Stream(bob, carol)
    stream.run(10.0)
    relay = {"alice": alice, "dave": dave}[bob.way(carol)]
    relay.host.up, first = False, stream.sent
    stream.run(8.0)
    lost = [stream.sent_at[number] for number in stream.lost if number >= first]
    assert lost[-1] - stream.sent_at[first] <= 3.0
    assert bob.way(carol) == carol.way(bob) == ({"alice", "dave"} - {relay.name}).pop()


def test_a_relay_that_cannot_hand_on_is_done_without_at_once():
    alice, bob, carol, _ = nodes(4)
    cut(bob, carol)
    until(bob, carol, ["alice", "dave"], 15.0)
    remote, mesh, now = seen(bob, carol), bob.inner.mesh, alice.world.now
    way = remote.way
    assert isinstance(way, Via)
    for destination, failed in (
        (bytes(8), way.hops[0]),
        (seen(bob, alice).short, way.hops[0]),
        (remote.short, bytes(8)),
    ):
        mesh.relay_failed(destination, failed, now)
        alice.world.run_for(0.3)
        assert remote.way == way, "it is no news of a way in use"
    mesh.relay_failed(remote.short, remote.short, alice.world.now)
    mesh.relay_failed(remote.short, remote.short, alice.world.now)
    alice.world.run_for(0.3)
    assert remote.way not in (way, None)
    assert bob.way(carol) in ("alice", "dave")


def test_the_only_relay_is_kept_though_it_seems_dead():
    alice, bob, carol = nodes()
    cut(bob, carol)
    until(bob, carol, ["alice"], 15.0)
    alice.world.run_for(10.0)
    remote = seen(bob, carol)
    bob.inner.mesh.relay_failed(remote.short, remote.short, alice.world.now)
    alice.world.run_for(0.3)
    assert isinstance(remote.way, Via)
    assert not bob.inner.mesh.ways.is_reachable(remote)
    assert bob.inner.mesh.ways.in_use() == {seen(bob, alice).identity}
    alice.world.run_for(DEAD_FOR + 0.5)
    assert bob.way(carol) == "alice"


def test_the_only_relay_counts_again_as_soon_as_something_comes_through_it():
    alice, bob, carol = nodes()
    cut(bob, carol)
    until(bob, carol, ["alice"], 15.0)
    remote, ways = seen(bob, carol), bob.inner.mesh.ways
    alice.world.run_for(10.0)
    bob.inner.mesh.relay_failed(remote.short, remote.short, alice.world.now)
    alice.world.run_for(0.3)
    assert not ways.is_reachable(remote)
    Stream(bob, carol).run(0.8)
    assert ways.is_reachable(remote)


def test_a_slow_relay_is_waited_for():
    alice, bob, carol = nodes()
    for node in (bob, carol):
        slow = Link(latency=0.25)
        alice.world.links[node.host, alice.host] = slow
        alice.world.links[alice.host, node.host] = slow
    alice.world.run_for(30.0)
    cut(bob, carol)
    stream = Stream(bob, carol)
    stream.run(10.0)
    before = len(bob.told)
    stream.run(30.0)
    assert bob.told[before:] == []


def test_metered_nodes_relay_nothing():
    world = World(1)
    alice = Node(world, "alice", "10.1.1.1", "192.0.2.1", [SEED], metered=True)
    bob = Node(world, "bob", "10.1.1.2", "192.0.2.2", [SEED])
    carol = Node(world, "carol", "10.1.1.3", "192.0.2.3", [SEED])
    meet(world, [alice, bob, carol])
    cut(bob, carol)
    world.run_for(20.0)
    stream = Stream(bob, carol)
    stream.run(10.0)
    assert bob.way(carol) == ""
    assert stream.lost
    assert alice.inner.device.status().detoured.carried_packets == 0


def test_what_is_clearly_faster_through_a_relay_goes_there():
    alice, bob, carol = nodes()
    for node in (bob, carol):
        fast = Link(latency=0.001)
        alice.world.links[node.host, alice.host] = fast
        alice.world.links[alice.host, node.host] = fast
    slow = Link(latency=0.2)
    alice.world.links[bob.host, carol.host] = alice.world.links[carol.host, bob.host] = slow
    until(bob, carol, ["alice"], 120.0)
    until(carol, bob, ["alice"], 60.0)


def test_every_change_is_told_in_words():
    _, bob, carol = nodes()
    cut(bob, carol)
    until(bob, carol, ["alice"], 15.0)
    moves = [event for event in bob.told if isinstance(event, events.WayChanged)]
    assert moves[-1].new == "via alice"
    assert moves[-1].old.startswith("directly at 192.0.2.3")
    ways = bob.inner.mesh.ways
    assert ways._words(Via((bytes(8), bytes(8)))) == "via ?"  # noqa: SLF001


def test_ways_of_nodes_that_are_gone_are_forgotten():
    alice, bob, carol = nodes()
    remote = seen(bob, carol)
    bob.inner.mesh.members.drop(remote.identity, "gone", bob.world.now)
    bob.inner.settle(alice.world.now)
    cut_one_way(carol, bob)
    alice.world.run_for(0.5)
    assert bob.inner.mesh.ways.next_at() > alice.world.now
    assert SEED.address is not None
