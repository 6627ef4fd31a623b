"""What a node that pays for its bytes spares, and how soon its death is known all the same."""

import pytest

from netmgr.engine.contacts import LAST_KNOCK
from netmgr.engine.places import LAST_PROBE
from netmgr.engine.signing import fingerprint
from netmgr.engine.thrift import LAST_TRIAL, METERED_INTERVAL, QUIET
from tests.netmgr.engine.scenes import Stream, seen
from tests.sim.meshes import Node, static
from tests.sim.world import Sent, World

PEERS = [static(f"192.0.2.{number}", 50000 + number, f"10.1.1.{number}") for number in (1, 2)]
NAMES = ("alice", "bob", "carol", "dave")
# A day's allowance, in bytes a second; frames have 14 bytes more than packets.
ALLOWED = 1_000_000 / 86400
OUTSIDE = 28 + 14
INITIATION = 148


def mesh(count: int = 4, *, peers: int = 2, lan: str | None = None) -> list[Node]:
    """Return nodes that have met, the last one of them metered."""
    world = World(1)
    made = [
        Node(
            world,
            name,
            f"10.1.1.{number}",
            f"192.0.2.{number}",
            PEERS[:peers],
            lan=lan,
            metered=number == count,
        )
        for number, name in enumerate(NAMES[:count], 1)
    ]
    world.run_while(lambda: not all(a.way(b) for a in made for b in made if a is not b), 10.0)
    return made


def sent(node: Node, seconds: float) -> list[Sent]:
    """Return what a node sends in so many seconds from now."""
    world = node.world
    before = len(world.trace)
    world.run_for(seconds)
    return [one for one in world.trace[before:] if one.source == node.host.endpoint]


def down(node: Node) -> None:
    """Let a node neither hear nor say anything."""
    node.host.up = False


def test_at_rest_it_sends_less_than_a_megabyte_a_day():
    *_, dave = mesh()
    dave.world.run_for(60.0)
    found = sent(dave, 2000.0)
    assert sum(len(one.payload) + OUTSIDE for one in found) / 2000 <= 0.8 * ALLOWED


def test_it_has_two_neighbours_and_one_of_each_two_asks():
    alice, bob, carol, dave = mesh()
    dave.world.run_for(60.0)
    began = dave.world.now
    found = sent(dave, 3.2 * METERED_INTERVAL)
    assert {one.destination for one in found} == {alice.host.endpoint, bob.host.endpoint}
    for node in (alice, bob):
        asked = [seen(node, dave).pings.measured_at, seen(dave, node).pings.measured_at]
        assert min(asked) < began < max(asked)
    assert not carol.inner.mesh.upkeep.is_neighbour(seen(carol, dave))


def test_what_it_hears_of_others_it_passes_on_to_nobody():
    alice, *_, dave = mesh()
    dave.world.run_for(QUIET)
    alice.inner.mesh.announcer.handle(alice.world.now)
    alice.inner.mesh.accept("carol", seen_words(alice, "carol"), alice.world.now)
    alice.inner.settle(alice.world.now)
    assert max(len(one.payload) for one in sent(dave, 5.0)) <= INITIATION
    assert dave.inner.mesh.context.objects.total_digest() == (
        alice.inner.mesh.context.objects.total_digest()
    )


def seen_words(node: Node, name: str) -> str:
    """Return the fingerprint of a node as another one shows it."""
    remotes = node.inner.mesh.context.remotes.values()
    return next(fingerprint(one.identity) for one in remotes if one.name == name)


def test_a_way_to_no_neighbour_is_let_go_of_when_nothing_goes_there():
    *_, carol, dave = mesh()
    Stream(carol, dave).run(2.0)
    assert (carol.way(dave), dave.way(carol)) == ("direct", "direct")
    dave.world.run_for(METERED_INTERVAL + QUIET + 20.0)
    assert carol.way(dave) in ("alice", "bob")
    assert dave.way(carol) in ("alice", "bob")
    stream = Stream(carol, dave)
    stream.run(10.0)
    assert stream.lost == []
    assert (carol.way(dave), dave.way(carol)) == ("direct", "direct")


def test_its_death_is_known_in_two_minutes_and_under_traffic_in_three_seconds():
    *others, dave = mesh()
    dave.world.run_for(60.0)
    down(dave)
    dave.world.run_for(120.0)
    assert [node.way(dave) for node in others] == ["", "", ""]


@pytest.mark.parametrize("number", [0, 2])
def test_under_traffic_its_death_is_known_in_three_seconds(number):
    *others, dave = mesh()
    dave.world.run_for(60.0)
    stream = Stream(others[number], dave)
    stream.run(5.0)
    down(dave)
    stream.run(3.2)
    assert others[number].way(dave) != "direct"
    stream.run(6.0)
    assert [node.way(dave) for node in others] == ["", "", ""]


def test_it_takes_another_neighbour_for_one_that_died_and_seeks_that_rarely():
    alice, _, carol, dave = mesh()
    dave.world.run_for(60.0)
    down(alice)
    dave.world.run_for(120.0)
    assert seen(dave, carol).up
    assert seen(carol, dave).wants_us
    dave.world.run_for(2 * LAST_TRIAL)
    found = sent(dave, 2 * LAST_TRIAL)
    assert 1 <= sum(one.destination == alice.host.endpoint for one in found) <= 8
    alice.host.up = True
    dave.world.run_for(LAST_TRIAL + 5.0)
    assert dave.way(alice) == alice.way(dave) == "direct"


def test_who_is_alone_seeks_as_often_as_everybody():
    alice, *others, dave = mesh(peers=1)
    for node in (alice, *others):
        down(node)
    dave.world.run_for(400.0)
    found = sent(dave, 2 * LAST_KNOCK)
    assert len([one for one in found if one.destination == alice.host.endpoint]) >= 2
    assert LAST_PROBE < LAST_TRIAL
