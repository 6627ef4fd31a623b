"""Scenes of a few nodes: what they share, and links that are cut."""

from collections.abc import Iterable

from netmgr.engine.remote import Remote
from tests.sim.meshes import Node, everybody_reaches_everybody, static
from tests.sim.world import Link, World

SEED = static("192.0.2.1", 50001, "10.1.1.1")
DEAD = Link(loss=1.0)
NAMES = ("alice", "bob", "carol", "dave", "eve")


def nodes(
    count: int = 3,
    *,
    world: World | None = None,
    seed: int = 1,
    met: bool = True,
    **options: object,
) -> list[Node]:
    """Return the first so many nodes, the first in everybody's file; if `met`, all have."""
    world = world or World(seed)
    made = [
        Node(
            world,
            name,
            f"10.1.1.{number}",
            f"192.0.2.{number}",
            [SEED],
            **options,  # type: ignore[arg-type]
        )
        for number, name in enumerate(NAMES[:count], 1)
    ]
    if met:
        meet(world, made)
    return made


def meet(world: World, made: list[Node], limit: float = 10.0) -> None:
    """Run until everybody reaches everybody directly."""
    assert world.run_while(lambda: not everybody_reaches_everybody(made), limit)
    assert world.run_while(lambda: not all_direct(made), limit)
    world.run_for(1.0)


def all_direct(made: list[Node]) -> bool:
    """Tell whether all ways are direct."""
    return all(a.way(b) == "direct" for a in made for b in made if a is not b)


def seen(one: Node, other: Node) -> Remote:
    """Return what one knows of another."""
    remote = one.remote(other)
    assert remote is not None
    return remote


def cut(one: Node, other: Node) -> None:
    """Let nothing pass between two nodes."""
    cut_one_way(one, other)
    cut_one_way(other, one)


def cut_one_way(one: Node, other: Node) -> None:
    """Let nothing pass from one node to another."""
    one.world.links[one.host, other.host] = DEAD


def mend(one: Node, other: Node) -> None:
    """Let everything pass between two nodes again."""
    for pair in ((one.host, other.host), (other.host, one.host)):
        one.world.links.pop(pair, None)


def until(one: Node, other: Node, ways: Iterable[str], limit: float) -> float:
    """Run until one reaches another in one of some ways; return how long it took."""
    world, wanted = one.world, set(ways)
    began = world.now
    assert world.run_while(lambda: one.way(other) not in wanted, limit), one.way(other)
    return world.now - began


class Stream:
    """Packets of one node for another, every 50 ms, that are answered or not."""

    def __init__(self, one: Node, other: Node, *, answered: bool = True) -> None:
        self.one, self.other, self.answered = one, other, answered
        self.sent = 0
        self.sent_at: list[float] = []

    def run(self, seconds: float, step: float = 0.05) -> None:
        """Send for a while."""
        world = self.one.world
        end = world.now + seconds
        while world.now < end - 1e-9:
            self.one.send(self.other, self.sent)
            self.sent_at.append(world.now)
            if self.answered:
                self.other.send(self.one, self.sent)
            self.sent += 1
            world.run_for(step)

    @property
    def lost(self) -> list[int]:
        """The numbers of those that did not arrive."""
        return sorted(set(range(self.sent)) - set(self.other.got(self.one)))

    @property
    def gap(self) -> float:
        """Seconds between the first and the last packet lost."""
        lost = self.lost
        return self.sent_at[lost[-1]] - self.sent_at[lost[0]] if lost else 0.0
