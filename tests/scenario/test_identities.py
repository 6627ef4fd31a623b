"""Machines that are reinstalled, and names that are taken: three whole nodes and people."""

from hashlib import blake2s

import pytest

from netmgr import events
from netmgr.engine.signing import Identity, fingerprint
from netmgr.engine.trust import How
from netmgr.model import RefusalView
from tests.sim.meshes import Node, everybody_reaches_everybody, static
from tests.sim.world import World
from wgpy.model import Secret

SEEDS = [static("192.0.2.1", 50001, "10.1.1.1")]


def fleet() -> list[Node]:
    """Return vps, office and laptop, which have met each other."""
    world = World()
    made = [
        Node(world, name, f"10.1.1.{at}", f"192.0.2.{at}", SEEDS)
        for at, name in enumerate(("vps", "office", "laptop"), 1)
    ]
    meet(*made)
    return made


def meet(*nodes: Node, limit: float = 30.0) -> None:
    """Let all reach each other, and talk."""
    world = nodes[0].world
    assert world.run_while(lambda: not everybody_reaches_everybody(nodes), limit)
    for number in range(20):
        for one in nodes:
            for other in nodes:
                if one is not other:
                    one.send(other, number)
        world.run_for(0.1)


def reinstall(node: Node) -> str:
    """Give a node a new identity; return its fingerprint."""
    node.seed = Secret(blake2s(words(node).encode()).digest())
    node.numbers.next = 1
    node.restart(remembers=False)
    return words(node)


def words(node: Node) -> str:
    return fingerprint(Identity(node.seed).public)


def people(node: Node, what: str, *arguments: str) -> None:
    """Let a person type a command on a node."""
    getattr(node.inner.mesh, what)(*arguments, node.world.now)
    node.inner.settle(node.world.now)


def how(node: Node, other: Node) -> How | None:
    return node.inner.mesh.context.trust.how(Identity(other.seed).public)


@pytest.mark.parametrize("rest", [0.0, 600.0])
def test_who_was_reinstalled_and_accepted_is_met_again_after_its_name_is_forgotten(rest):
    vps, office, laptop = fleet()
    new = reinstall(laptop)
    vps.world.run_for(40.0)
    assert laptop.way(vps) == ""
    for node in (vps, office):
        people(node, "accept", "laptop", new)
    meet(vps, office, laptop)
    vps.world.run_for(rest)
    for node in (vps, office):
        people(node, "forget", "laptop")
        meet(vps, office, laptop)
        assert how(node, laptop) is How.MET
        assert not node.inner.mesh.members.conflicts.current(vps.world.now)


def test_who_was_reinstalled_is_met_where_its_name_is_forgotten():
    vps, office, laptop = fleet()
    reinstall(laptop)
    vps.world.run_for(40.0)
    for node in (vps, office):
        people(node, "forget", "laptop")
    meet(vps, office, laptop)
    for node in (vps, office):
        assert how(node, laptop) is How.MET
        node.restart()
    meet(vps, office, laptop)


def test_who_joins_later_finds_the_one_of_two_with_one_name_that_is_there():
    vps, office, laptop = fleet()
    new = reinstall(laptop)
    vps.world.run_for(40.0)
    for node in (vps, office):
        people(node, "accept", "laptop", new)
    meet(vps, office, laptop)
    late = Node(vps.world, "late", "10.1.1.4", "192.0.2.4", SEEDS)
    meet(vps, office, laptop, late)
    assert how(late, laptop) is How.MET


def refusals(node: Node) -> list[RefusalView]:
    return list(node.inner.mesh.members.refusals.views(node.world.now))


@pytest.mark.parametrize("runs", [True, False])
def test_a_newcomer_with_a_taken_name_is_told_whether_the_owner_runs_or_not(runs):
    vps, office, laptop = fleet()
    office.host.up = runs
    old = words(office)
    newcomer = Node(vps.world, "office", "10.1.1.4", "192.0.2.4", SEEDS)
    newcomer.seed = Secret(blake2s(b"another").digest())
    newcomer.restart(remembers=False)
    vps.world.run_for(10.0)
    (refusal,) = refusals(newcomer)
    assert (refusal.fingerprint, refusal.own) == (old, words(newcomer))
    assert refusal.todo.startswith("choose another -n, or, if")
    assert [one for one in newcomer.told if isinstance(one, events.NodeRefused)]
    for node in (vps, laptop):
        people(node, "accept", "office", words(newcomer))
    meet(vps, laptop, newcomer)
    assert not refusals(newcomer)
    assert not refusals(vps)
