"""From links to ways: which nodes are reached how, who is given which prefix.

Ways are computed anew a moment after something that matters has changed, not more often than
five times a second, nor than once in as many milliseconds as there are nodes. A node whose
direct place answers is reached there, unless relays are clearly faster for a while (see
`routing.Choice`); any other through the relays of the cheapest path. Who has no path keeps the
way it had last, so that what is sent to it may find it where it was.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from netmgr import events
from netmgr.effects import ChangePeers, Hurry, SetDetours
from netmgr.engine import routing
from netmgr.engine.chart import Chart
from netmgr.engine.common import Context
from netmgr.engine.members import Members
from netmgr.engine.prefixes import Prefixes
from netmgr.engine.remote import Direct, NoWay, Remote, Via, Way
from netmgr.engine.routing import Choice, Pair, Route
from wgpy.model import Endpoint, PeerChange, Prefix
from wgpy.wire.detour import via

# Seconds from a change to the computation, and between computations: at least, and by nodes.
DELAY: Final = 0.05
GAP: Final = 0.2
GAP_PER_NODE: Final = 0.001
# Seconds that a link counts as dead after a relay said so.
DEAD_FOR: Final = 5.0
# Seconds from the death of a link in use to the computation.
SOON: Final = 0.005
# The round trip of a path is told in these, and its loss as a longer one: seconds at most.
_COST_UNIT: Final = 0.0001
_LONGEST: Final = 1.0
_NEVER: Final = float("inf")


class Ways:
    """The ways to all nodes, and the prefixes behind them."""

    def __init__(self, context: Context, members: Members) -> None:
        self._context = context
        self._at: float | None = None
        self._computed_at = float("-inf")
        self._chart = Chart(context)
        self._detours: dict[bytes, Route] = {}
        self._choices: dict[bytes, Choice] = {}
        self._dead: dict[Pair, float] = {}
        self._due_at = float("inf")
        self._moved: list[Remote] = []
        self._told: tuple[object, ...] = ()
        self._prefixes = Prefixes(context, members, self.route)

    # --- the clock ---

    def stale(self, now: float) -> None:
        """Compute anew soon."""
        if self._at is None:
            gap = max(GAP, GAP_PER_NODE * len(self._context.remotes))
            self._at = max(now + DELAY, self._computed_at + gap)

    def next_at(self) -> float:
        """Return when `handle` has something to do."""
        times = [self._due_at, *self._dead.values()]
        return min(times if self._at is None else [self._at, *times])

    def handle(self, now: float) -> None:
        """Compute everything anew."""
        self._at, self._computed_at = None, now
        self._dead = {pair: at for pair, at in self._dead.items() if at > now}
        self._chart.follow()
        own = self._context.identity.short
        self._detours = routing.best_detours(self._chart.graph, own, dead=frozenset(self._dead))
        ways = [(remote, self._way(remote, now)) for remote in self._nodes()]
        self._tell_detours(ways)
        for remote, way in ways:
            if not isinstance(way, NoWay):
                self._move(remote, way, now)
        known = self._context.remotes
        self._choices = {one: each for one, each in self._choices.items() if one in known}
        # Who is not there by the last that was heard is asked again where there is a way.
        self._moved += [remote for remote, _ in ways if remote.pings.deaths]
        due = [each.due_at for each in self._choices.values()]
        self._due_at = min((at for at in due if at is not None and at > now), default=_NEVER)
        self._prefixes.choose()

    def follow(self, remote: Remote, now: float) -> None:
        """Follow a node's direct place; it is taken at once if nothing better led there."""
        if remote.up and remote.endpoint is not None and not isinstance(remote.way, Via):
            self._move(remote, Direct(remote.endpoint), now)
        if self._chart.hold(remote):
            self.stale(now)

    def keep(self, remote: Remote, moved: Endpoint) -> bool:
        """Set the device, which heard a node from where there is no way, back to its way.

        Return whether that is a direct one.
        """
        if isinstance(remote.way, Via) and moved != via(remote.short):
            self._point(remote, via(remote.short))
        if not isinstance(remote.way, Direct):
            return False
        self._point(remote, remote.way.endpoint)
        return True

    def forget(self, remote: Remote) -> None:
        """Choose the way to a node without regard for the one in use: a direct one is new."""
        self._choices.pop(remote.identity, None)

    # --- what is asked ---

    def route(self, remote: Remote) -> Route | None:
        """Return the way to a node as the path it takes, None if there is none."""
        match remote.way:
            case Direct():
                return self._chart.direct(remote)
            case Via(hops):
                route = Route(hops[:-1], 0)
                cost = self._cost_now(remote, route)
                return None if cost is None else route._replace(cost=cost)
            case _:
                return None

    def has_way(self, remote: Remote) -> bool:
        """Tell whether some way leads to a node, be it one that is still to be asked."""
        return self.route(remote) is not None

    def is_reachable(self, remote: Remote) -> bool:
        """Tell whether a node is reached, as far as is known.

        Where one way died the next one counts once something came back.
        """
        return not remote.pings.deaths and self.has_way(remote)

    def is_cut_off(self, remote: Remote) -> bool:
        """Tell whether a node is there, but nobody relays between it and us."""
        return self._chart.is_cut_off(remote)

    def in_use(self) -> set[bytes]:
        """Return the identities of nodes with a usable link."""
        return {one.identity for one in self._nodes() if one.up or one.short in self._detours}

    def chosen(self) -> list[tuple[Prefix, Remote]]:
        """Return who is given which prefix."""
        return list(self._prefixes.chosen.items())

    def closed(self) -> tuple[Prefix, ...]:
        """Return the prefixes that go nowhere: none of whom the file names is reached."""
        return self._prefixes.closed

    def unheard(self) -> tuple[str, ...]:
        """Return what is to go through a node that was never heard of, PREFIX=NAME."""
        return self._prefixes.unheard()

    def take_moved(self) -> list[Remote]:
        """Return and forget the nodes whose way has changed, or is to be asked again."""
        taken, self._moved = self._moved, []
        return taken

    def take_doubted(self) -> list[Remote]:
        """Return and forget the nodes that neighbours of theirs have lost, and that are up."""
        return self._chart.take_doubted()

    # --- what died ---

    def relay_failed(self, destination: bytes, failed: bytes, now: float) -> None:
        """Do without a link for a while: a relay says that it cannot hand on."""
        remote = self._context.by_short.get(destination)
        if remote is None or not isinstance(remote.way, Via):
            return
        hops = remote.way.hops
        if failed not in hops:
            return
        at = hops.index(failed)
        before = hops[at - 1] if at else self._context.identity.short
        self._lose(before, failed, now)

    def relayed_dead(self, remote: Remote, now: float) -> None:
        """Do without the last link to a node for a while: it does not answer."""
        if isinstance(remote.way, Via):
            hops = (self._context.identity.short, *remote.way.hops)
            self._lose(hops[-2], hops[-1], now)

    def heard(self, remote: Remote, now: float) -> None:
        """Trust the links of the way in use again: something of the node came in."""
        if self._dead and isinstance(remote.way, Via):
            path = (self._context.identity.short, *remote.way.hops)
            used = {frozenset(pair) for pair in pairwise(path)}
            dead = {pair: at for pair, at in self._dead.items() if frozenset(pair) not in used}
            if len(dead) < len(self._dead):
                self._dead, self._at = dead, now + SOON

    def _lose(self, one: bytes, other: bytes, now: float) -> None:
        if (one, other) not in self._dead:
            self._dead[one, other] = now + DEAD_FOR
            self._at = now + SOON

    # --- inside ---

    def _nodes(self) -> Iterable[Remote]:
        return self._context.remotes.values()

    def _way(self, remote: Remote, now: float) -> Way:
        choice = self._choices.setdefault(remote.identity, Choice())
        relayed = self._detours.get(remote.short)
        if remote.up and remote.rtt is None and remote.endpoint is not None:
            return Direct(remote.endpoint)
        direct = self._chart.direct(remote)
        # The first measurements are noise: relays have to prove that they are better.
        wanted = direct if choice.route is None and direct else routing.prefer(direct, relayed)
        cost = self._cost_now(remote, choice.route)
        chosen = choice.update(wanted, cost is not None, now, cost=cost)
        if chosen is None:
            return remote.way
        if chosen.is_direct and remote.endpoint is not None:
            return Direct(remote.endpoint)
        return Via((*chosen.hops, remote.short))

    def _cost_now(self, remote: Remote, route: Route | None) -> int | None:
        """Return what a path in use costs as things are, None if it is dead."""
        if route is None or (route.is_direct and not remote.up):
            return None
        path = (self._context.identity.short, *route.hops, remote.short)
        dead = self._dead
        if dead and any(pair in dead or pair[::-1] in dead for pair in pairwise(path)):
            return None
        return self._chart.graph.cost_of(path[0], path[-1], route.hops)

    def _move(self, remote: Remote, way: Direct | Via, now: float) -> None:
        if way == remote.way:
            return
        context = self._context
        old, remote.way = remote.way, way
        if isinstance(way, Direct):
            endpoint, expected = way.endpoint, None
        else:
            endpoint, expected = via(remote.short), self._round_trip(remote)
        self._point(remote, endpoint)
        context.out.effects.append(Hurry(remote.public_key))
        if old.__class__ is not way.__class__ or isinstance(way, Via):
            remote.pings.begin(now, expected)
        self._moved.append(remote)
        before, after = self._words(old), self._words(way)
        context.out.events.append(events.WayChanged(remote.name, before, after))

    def _point(self, remote: Remote, endpoint: Endpoint) -> None:
        change = PeerChange(remote.public_key, update_only=True, endpoint=endpoint)
        self._context.out.effects.append(ChangePeers((change,)))

    def _round_trip(self, remote: Remote) -> float:
        """Return what to expect of a path through relays, in seconds."""
        route = self.route(remote)
        return _LONGEST if route is None else min(_LONGEST, route.cost * _COST_UNIT)

    def _words(self, way: Way) -> str:
        match way:
            case Direct(endpoint):
                return f"directly at {endpoint}"
            case Via(hops):
                nodes = (self._context.by_short.get(hop) for hop in hops[:-1])
                return "via " + ", ".join("?" if one is None else one.name for one in nodes)
            case NoWay():
                return "nowhere"

    def _tell_detours(self, ways: Iterable[tuple[Remote, Way]]) -> None:
        context = self._context
        neighbours = self._chart.near()
        paths = {short: (*route.hops, short) for short, route in self._detours.items()}
        for one, way in ways:
            if isinstance(way, Via):
                paths[one.short] = way.hops
        # Who pays carries nothing for others.
        told = (neighbours, paths, context.settings.metered)
        if told != self._told:
            self._told = told
            context.out.effects.append(SetDetours(neighbours, paths))
