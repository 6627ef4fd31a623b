"""What this node says about itself: its Record, its Links, its Routes, and goodbye.

Each is signed anew when it has changed, at most once a second, the Record also every few hours;
sequence numbers are never used twice. Of Links only changes that matter are told (`measure`).

What others hold of a run before this one is older than all that this run signs: it is signed
anew, or ended, and is no reason for worry. What is newer tells of a restored backup or a twin.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from netmgr import events
from netmgr.engine.common import Context
from netmgr.engine.flood import OwnEcho
from netmgr.engine.holding import MAX_ACCEPTS
from netmgr.engine.measure import Damping
from netmgr.engine.remote import Remote
from netmgr.model import DEFAULT_ROUTE, Candidate, Kind
from netmgr.wire import objects
from netmgr.wire.objects import Accept, Edge, Offer, Record

# Seconds between two Records of one node at least, and at most.
LEAST_INTERVAL: Final = 1.0
REFRESH: Final = 4 * 3600.0
# Jumps of our own sequence number within a minute that mean a twin; what others hold comes in
# several objects, so jumps within a second are one.
TWIN_JUMPS: Final = 3
JUMP_INTERVAL: Final = 1.0
_MINUTE: Final = 60.0
# No number of this size is reached by counting: whoever used it has our key.
_MAX_SEQ: Final = 1 << 62


class Announcer:
    """Signs and floods what this node says; `silent` once a twin of it was seen."""

    def __init__(self, context: Context, now: float) -> None:
        self._context = context
        self.silent = False
        self._record: Record | None = None
        # What the Record was made of.
        self._source: tuple[object, ...] = ()
        self._record_at = float("-inf")
        self._refresh_at = now + REFRESH
        self._damping = Damping()
        self._edges: dict[bytes, Edge] = {}
        self._offers: tuple[Offer, ...] = ()
        self._jumps: list[float] = []
        # The highest sequence number signed since the start.
        self._newest = -1
        self.record(now)
        self.routes(now)

    def next_at(self) -> float:
        """Return when `handle` has something to do."""
        due = [self._refresh_at]
        if self._record is None or self._source != self._sources():
            due.append(self._record_at + LEAST_INTERVAL)
        if self._damping.due_at is not None:
            due.append(self._damping.due_at)
        return min(due)

    def handle(self, now: float) -> None:
        """Sign what has changed, or has become old."""
        if self._refresh_at <= now:
            self._refresh_at = now + REFRESH * self._context.share(0.75, 1.25)
            self._record = None
        if self._record_at + LEAST_INTERVAL <= now:
            self.record(now)
        if self._damping.due_at is not None and self._damping.due_at <= now:
            self._tell_links(now)

    def record(self, now: float) -> None:
        """Sign the Record if it has changed."""
        wanted, self._source = self._wanted_record(), self._sources()
        if wanted != self._record:
            self._record, self._record_at = wanted, now
            self._sign(objects.RECORD, objects.encode_record(wanted), now)

    def links(self, remotes: Iterable[Remote], now: float) -> None:
        """Follow the edges that there are to tell of."""
        self._edges = {
            remote.short: Edge(remote.short, int(remote.rtt * 1_000_000), remote.loss)
            for remote in remotes
            if remote.rtt is not None
        }
        self._tell_links(now)

    def routes(self, now: float) -> None:
        """Sign the prefixes behind this node if they have changed."""
        settings = self._context.settings
        offers = [Offer(prefix, 0) for prefix in settings.routes]
        if settings.exit_node:
            offers.insert(0, Offer(DEFAULT_ROUTE, 0, exit=True))
        if tuple(offers) != self._offers:
            self._offers = tuple(offers)
            self._sign_routes(now)

    def leave(self, now: float) -> None:
        """Say goodbye."""
        self._sign(objects.LEAVE, objects.encode_leave(), now)

    def accept(self, body: bytes, now: float) -> None:
        """Sign that a name is another identity's from now on, in place of the word before."""
        said = self._context.objects.accept_parts(self._context.identity.public)
        name = objects.decode_accept_untrusted(body).name
        same = [
            part for part, one in said.items() if isinstance(one, Accept) and one.name == name
        ]
        free = [part for part in range(MAX_ACCEPTS) if part not in said]
        self._sign(objects.ACCEPT, body, now, part=(*same, *free, 0)[0])

    def echoed(self, echo: OwnEcho, now: float) -> None:
        """Answer an object of ours from elsewhere: of a former run, a backup, or a twin.

        If it is newer than all that was signed in this run, that may have been passed over, by
        those who hold a goodbye: then all is signed anew.
        """
        if self.silent:
            return
        jumped = echo.seq >= self._newest
        if jumped:
            self._jumped(echo, now)
        if self.silent:
            return
        if jumped or echo.kind in (objects.RECORD, objects.LEAVE):
            self._record = None
            self.record(now)
        if jumped or echo.kind == objects.LINKS:
            self._damping = Damping()
            self._sign_links(self._damping.update(self._edges, now) or (), now)
        if (jumped and self._offers) or echo.kind == objects.ROUTES:
            self._sign_routes(now)

    # --- inside ---

    def _jumped(self, echo: OwnEcho, now: float) -> None:
        """Go on behind a number that we do not know to have used; be silent if that recurs."""
        self._jumps = [at for at in self._jumps if now - at < _MINUTE]
        if not self._jumps or now - self._jumps[-1] >= JUMP_INTERVAL:
            self._jumps.append(now)
            self.silent = len(self._jumps) >= TWIN_JUMPS
            self._context.out.events.append(events.TwinSeen(silent=self.silent))
        if echo.seq >= _MAX_SEQ and not self.silent:
            self.silent = True
            self._context.out.events.append(events.TwinSeen(silent=True))
        if not self.silent:
            self._context.next_seq(echo.seq + 1)

    def _sources(self) -> tuple[object, ...]:
        context = self._context
        return context.settings, context.local, context.observed

    def _wanted_record(self) -> Record:
        context = self._context
        settings = context.settings
        features = objects.METERED if settings.metered else objects.RELAYS
        if settings.routes or settings.exit_node:
            features |= objects.GATEWAY
        if context.is_seed:
            features |= objects.SEED
        # Many interfaces do not displace the places where others have seen us.
        places = dict.fromkeys(context.observed, Kind.OBSERVED)
        places |= dict.fromkeys(context.local, Kind.LOCAL)
        chosen = tuple(map(Candidate._make, places.items()))[: objects.MAX_CANDIDATES]
        return Record(settings.name, settings.address, features, candidates=chosen)

    def _tell_links(self, now: float) -> None:
        edges = self._damping.update(self._edges, now)
        if edges is not None:
            self._sign_links(edges, now)

    def _sign_links(self, edges: Sequence[Edge], now: float) -> None:
        seq = self._context.next_seq(0)
        bodies = objects.encode_links(edges)
        for part, body in enumerate(bodies):
            self._sign(objects.LINKS, body, now, part=part, seq=seq)

    def _sign_routes(self, now: float) -> None:
        offers = self._offers[: objects.MAX_OFFERS]
        self._sign(objects.ROUTES, objects.encode_routes(offers), now)

    def _sign(
        self, kind: int, body: bytes, now: float, *, part: int = 0, seq: int | None = None
    ) -> None:
        if self.silent:
            return
        context = self._context
        number = context.next_seq(0) if seq is None else seq
        self._newest = max(self._newest, number)
        identity = context.identity
        blob = objects.encode(
            kind, part, identity.public, number, body, context.keys.net_id, identity.sign
        )
        if kind == objects.RECORD:
            context.own_record = blob
        context.objects.receive_untrusted(blob, None, now)
