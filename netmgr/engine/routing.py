"""Which way to another node: costs of edges, cheapest paths, and when to change.

The cost of an edge, in units of 0.1 ms, is its round trip, 1.5 ms for the work of a hop, and
LOSS_WEIGHT * (1 / (1 - p)^2 - 1) for the share p of packets lost, at most 0.9. The weight is
such that 5 % of loss makes a path without give way to another up to 150 ms away, in spite of
what holds back a change. An edge counts if both ends tell of it, with the worse of what they
tell. A path has at most three relays; none is a node that does not relay, and one on a metered
line costs half a second more.

A change is held back so that it is one: a path that is better by 20 % and 2 ms, for 10 s.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from netmgr.wire.objects import MAX_LOSS, METERED, RELAYS, Edge

Pair: TypeAlias = tuple[bytes, bytes]

HOP_COST: Final = 15
METERED_COST: Final = 5000
LOSS_WEIGHT: Final = 4500
MAX_LOSS_SHARE: Final = 0.9
US_PER_UNIT: Final = 100
MAX_EDGES: Final = 4

# So many nodes that it tells of, and that tell of it no more, say that a node may be gone.
GONE: Final = 2

BETTER_SHARE: Final = 0.80
BETTER_BY: Final = 20
PROOF_TIME: Final = 10.0
EVALUATE_INTERVAL: Final = 1.0
DIRECT_SHARE: Final = 1.25
DIRECT_BY: Final = 50

_ROUNDING: Final = 1e-6
_NONE: Final[frozenset[Pair]] = frozenset()
_NOWHERE: Final[Mapping[bytes, int]] = MappingProxyType({})


class Route(NamedTuple):
    """A path: the short ids of the relays in their order, none if it is direct."""

    hops: tuple[bytes, ...]
    cost: int

    @property
    def is_direct(self) -> bool:
        """Whether there is no relay."""
        return not self.hops


def _loss_cost(loss: int) -> int:
    share = min(loss / MAX_LOSS, MAX_LOSS_SHARE)
    return round(LOSS_WEIGHT * (1 / (1 - share) ** 2 - 1))


_LOSS_COSTS: Final = tuple(map(_loss_cost, range(MAX_LOSS + 1)))


def edge_cost(rtt_us: int, loss: int) -> int:
    """Return the cost of an edge; `loss` is in 1/255."""
    return rtt_us // US_PER_UNIT + HOP_COST + _LOSS_COSTS[loss]


class Graph:
    """The edges that both ends tell of, and what it costs to pass a relay."""

    __slots__ = ("_links", "_told", "costs", "tolls")

    def __init__(
        self, links: Mapping[bytes, Sequence[Edge]], features: Mapping[bytes, int]
    ) -> None:
        self.costs: dict[bytes, dict[bytes, int]] = {}
        self.tolls: dict[bytes, int] = {}
        self._links: dict[bytes, Sequence[Edge]] = {}
        self._told: dict[bytes, dict[bytes, int]] = {}
        self.follow(links, features)

    def follow(
        self, links: Mapping[bytes, Sequence[Edge]], features: Mapping[bytes, int]
    ) -> set[bytes]:
        """Take what has changed since the last time; return who was lost by a neighbour.

        `links` are the edges of each node, `features` the bits of its RECORD, both by short id.
        """
        self.tolls = {
            node: METERED_COST if bits & METERED else 0
            for node, bits in features.items()
            if bits & RELAYS
        }
        before = self._links
        concerned = before.keys() - links.keys()
        concerned |= {node for node, edges in links.items() if before.get(node) != edges}
        told = self._told
        nothing: dict[bytes, int] = {}
        lost: set[bytes] = set()
        for node in tuple(concerned):
            old = told.pop(node, nothing)
            if node in links:
                told[node] = _told(links[node])
                lost.update(old.keys() - told[node].keys())
                concerned |= told[node].keys()
            concerned |= old.keys()
        self._links = dict(links)
        for node in concerned:
            both = {}
            for peer, cost in told.get(node, nothing).items():
                back = told.get(peer, nothing).get(node)
                if back is not None and peer != node:
                    both[peer] = cost if cost > back else back
            self.costs[node] = both
            if node not in told:
                del self.costs[node]
        return lost

    def is_left(self, node: bytes, own: bytes) -> bool:
        """Tell whether others than us that a node tells of tell of it no more: two, or all.

        A single one may have chosen another neighbour, and be left by the node in turn soon.
        """
        told = self._told
        peers = told.get(node, _NOWHERE).keys() - {own}
        gone = sum(node not in told.get(peer, _NOWHERE) for peer in peers)
        return gone >= min(GONE, len(peers))

    def cost_of(self, source: bytes, destination: bytes, hops: tuple[bytes, ...]) -> int | None:
        """Return what a path costs as things are, None if an edge or relay of it is gone."""
        total, node = 0, source
        for peer in (*hops, destination):
            if node != source:
                toll = self.tolls.get(node)
                if toll is None:
                    return None
                total += toll
            cost = self.costs.get(node, _NOWHERE).get(peer)
            if cost is None:
                return None
            total, node = total + cost, peer
        return total


def _told(edges: Iterable[Edge]) -> dict[bytes, int]:
    """Return the cost of each edge of a node; of one that is told twice the last."""
    losses = _LOSS_COSTS
    return {peer: rtt // US_PER_UNIT + HOP_COST + losses[loss] for peer, rtt, loss in edges}


# --- paths ---

# Cost, edges, relays: the smallest is the best, and equal for whoever computes it.
_Label: TypeAlias = tuple[int, int, tuple[bytes, ...]]


def best_paths(
    graph: Graph, source: bytes, *, dead: frozenset[Pair] = _NONE
) -> dict[bytes, Route]:
    """Return the cheapest path to each node that can be reached.

    `dead` are edges not to be used, the ends in any order. Of paths that cost the same the one
    of fewer hops is taken, then the one of smaller ids.
    """
    usable = _usable(dead)
    best: dict[bytes, _Label] = {source: (0, 0, ())}
    changed = [source]
    for edges in range(1, MAX_EDGES + 1):
        found: dict[bytes, _Label] = {}
        for node in changed:
            cost, _, relays = best[node]
            if node != source:
                toll = graph.tolls.get(node)
                if toll is None:
                    continue
                cost += toll
                relays = (*relays, node)
            for peer, more in graph.costs.get(node, _NOWHERE).items():
                total = cost + more
                old = found.get(peer) or best.get(peer)
                if (old is None or total <= old[0]) and usable(node, peer):
                    label = (total, edges, relays)
                    if old is None or label < old:
                        found[peer] = label
        best.update(found)
        changed = list(found)
    del best[source]
    return {node: Route(relays, cost) for node, (cost, _, relays) in best.items()}


def best_detours(
    graph: Graph, source: bytes, *, dead: frozenset[Pair] = _NONE
) -> dict[bytes, Route]:
    """Return the cheapest path to each node that does not use the edge to it from here.

    Two labels a node are followed, the best and the best that leaves by another edge: one of
    them does not leave by the edge to the destination.
    """
    usable = _usable(dead)
    best: dict[bytes, list[_Label]] = {}
    changed: dict[bytes, list[_Label]] = {source: [(0, 0, ())]}
    for edges in range(1, MAX_EDGES + 1):
        found: dict[bytes, list[_Label]] = {}
        for node, labels in changed.items():
            onward = _onward(graph, source, node, labels)
            for peer, more in graph.costs.get(node, _NOWHERE).items() if onward else ():
                if peer == source or not usable(node, peer):
                    continue
                known = merged = found.get(peer) or best.get(peer, [])
                for cost, relays in onward:
                    merged = _merge(merged, (cost + more, edges, relays), peer)
                if merged is not known:
                    found[peer] = merged
        best.update(found)
        changed = {
            node: [label for label in labels if label[1] == edges]
            for node, labels in found.items()
        }
    return {
        node: Route(relays, cost)
        for node, labels in best.items()
        for cost, _, relays in reversed(labels)
        if relays
    }


def _onward(
    graph: Graph, source: bytes, node: bytes, labels: list[_Label]
) -> list[tuple[int, tuple[bytes, ...]]]:
    """Return cost and relays of paths that go on from a node; none if it does not relay."""
    if node == source:
        return [(0, ())]
    toll = graph.tolls.get(node)
    if toll is None:
        return []
    return [(cost + toll, (*relays, node)) for cost, _, relays in labels]


def _merge(labels: list[_Label], new: _Label, node: bytes) -> list[_Label]:
    """Return the best label, and the best that leaves by another edge than that.

    The same list, if the new label is neither.
    """
    if len(labels) == 2 and new >= labels[1]:
        return labels
    first = new[2][0] if new[2] else node
    kept: list[_Label] = []
    for label in labels:
        if (label[2][0] if label[2] else node) != first:
            kept.append(label)
        elif label <= new:
            return labels
    return sorted([*kept, new])[:2]


def _usable(dead: frozenset[Pair]) -> Callable[[bytes, bytes], bool]:
    if not dead:
        return lambda _node, _peer: True
    return lambda node, peer: (node, peer) not in dead and (peer, node) not in dead


# --- when to change ---


def prefer(direct: Route | None, relayed: Route | None) -> Route | None:
    """Return the one to want of the direct path and the best with relays."""
    if direct is None or relayed is None:
        return direct or relayed
    if direct.cost <= DIRECT_SHARE * relayed.cost + DIRECT_BY:
        return direct
    return relayed


class Choice:
    """The path in use to one destination."""

    __slots__ = ("_better_since", "_evaluated_at", "_passed_over", "route")

    def __init__(self) -> None:
        self.route: Route | None = None
        self._better_since: float | None = None
        self._evaluated_at: float | None = None
        # Whether something else than then was seen since, too early to count.
        self._passed_over = False

    @property
    def due_at(self) -> float | None:
        """When to look again though nothing has changed; None if there is no need."""
        times = []
        if self._better_since is not None:
            times.append(self._better_since + PROOF_TIME)
        if self._passed_over and self._evaluated_at is not None:
            times.append(self._evaluated_at + EVALUATE_INTERVAL)
        return min(times, default=None)

    def update(
        self,
        new_route: Route | None,
        current_alive: bool,  # noqa: FBT001 - the state of the path in use
        now: float,
        *,
        cost: int | None = None,
    ) -> Route | None:
        """Return the path to use; `new_route` is the one to want by `prefer`.

        `cost` is what the path in use costs as things are, None if as when it was taken.
        """
        if self.route is None or not current_alive:
            return self._install(new_route, now)
        if self._is_early(now):
            is_better = new_route is not None and _is_better(new_route, self.route)
            self._passed_over = is_better is (self._better_since is None)
            return self.route
        self._passed_over = False
        self._evaluated_at = now
        if cost is not None:
            self.route = self.route._replace(cost=cost)
        if new_route is None or not _is_better(new_route, self.route):
            self._better_since = None
            return self.route
        if self._better_since is None:
            self._better_since = now
        if now + _ROUNDING < self._better_since + PROOF_TIME:
            return self.route
        return self._install(new_route, now)

    def _install(self, route: Route | None, now: float) -> Route | None:
        self.route, self._better_since, self._evaluated_at = route, None, now
        self._passed_over = False
        return route

    def _is_early(self, now: float) -> bool:
        """Tell whether a look is not due: once a second, and when a proof is complete."""
        since = self._better_since
        if since is not None and now + _ROUNDING >= since + PROOF_TIME:
            return False
        at = self._evaluated_at
        return at is not None and now + _ROUNDING < at + EVALUATE_INTERVAL


def _is_better(new: Route, old: Route) -> bool:
    """Tell whether a change is worth it; back to the direct path it is at equal cost."""
    if new.hops == old.hops:
        return False
    if new.is_direct and new.cost <= old.cost:
        return True
    return new.cost < BETTER_SHARE * old.cost - BETTER_BY
