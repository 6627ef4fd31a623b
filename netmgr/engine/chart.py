"""The links of the network as this node goes by them: what nodes tell, and its own.

Of its own links a node knows more than it tells. Still they change here only by what matters
(see `measure`), as they do for others: the noise of measurements is no reason for another way.
"""

from netmgr.engine import routing
from netmgr.engine.common import Context
from netmgr.engine.measure import matters
from netmgr.engine.remote import Remote
from netmgr.engine.routing import Graph, Route
from netmgr.wire.objects import Edge
from wgpy.model import PublicKey


class Chart:
    """All links; `graph` is as of the last call of `follow`."""

    def __init__(self, context: Context) -> None:
        self.graph = Graph({}, {})
        self._context = context
        # Our own, by short id.
        self._edges: dict[bytes, Edge] = {}
        self._doubted: set[bytes] = set()

    def hold(self, remote: Remote) -> bool:
        """Take note of the direct place of a node; return whether it matters to ways."""
        edge = None
        if remote.up and remote.rtt is not None:
            edge = Edge(remote.short, int(remote.rtt * 1_000_000), remote.loss)
        if not matters(self._edges.get(remote.short), edge):
            return False
        self._edges.pop(remote.short, None)
        if edge is not None:
            self._edges[remote.short] = edge
        return True

    def follow(self) -> None:
        """Take in what nodes tell by now."""
        context = self._context
        own = context.identity.short
        nodes = context.remotes.values()
        links = {one.short: context.objects.links(one.identity) for one in nodes}
        up = {one.short for one in nodes if one.up}
        self._edges = {short: edge for short, edge in self._edges.items() if short in up}
        for short, edge in self._edges.items():
            back = [each for each in links[short] if each.peer != own]
            links[short] = (*back, edge._replace(peer=own))
        links[own] = tuple(self._edges.values())
        features = {one.short: one.record.features for one in nodes if one.record}
        lost = self.graph.follow(links, features)
        self._doubted |= {node for node in lost if self.graph.is_left(node, own)}

    def direct(self, remote: Remote) -> Route | None:
        """Return the direct path to a node, None if it does not answer or was not measured."""
        edge = self._edges.get(remote.short)
        if edge is None or not remote.up:
            return None
        return Route((), routing.edge_cost(edge.rtt_us, edge.loss))

    def is_cut_off(self, remote: Remote) -> bool:
        """Tell whether a node has neighbours, as we have, but nobody relays between us.

        The same for both, so that both seek a direct way.
        """
        costs, relays = self.graph.costs, self.graph.tolls.keys()
        own = self._context.identity.short
        its = costs.get(remote.short, {}).keys() - {own}
        ours = costs.get(own, {}).keys() - {remote.short}
        if not its or not ours:
            return False
        return relays.isdisjoint(its) or relays.isdisjoint(ours)

    def near(self) -> dict[bytes, PublicKey]:
        """Return the nodes that are reached directly: keys by short ids."""
        by_short = self._context.by_short
        return {short: by_short[short].public_key for short in self._edges if short in by_short}

    def take_doubted(self) -> list[Remote]:
        """Return and forget the nodes that neighbours of theirs have lost, and that are up."""
        found = (self._context.by_short.get(short) for short in sorted(self._doubted))
        doubted = [one for one in found if one is not None and one.up]
        self._doubted.clear()
        return doubted
