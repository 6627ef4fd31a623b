"""What is made of measurements of an edge: smoothed round trips, loss, what is told of both.

The round trip is an average, each time with weight 42/256 once there are some, of the least of
the last three, so that one late answer counts for nothing. Three in a row that are all off by a
quarter in one direction are another path, not noise, and are taken at once. Loss is the share
of what the other end sent that did not come, by the counters of WireGuard: each end tells that
of its own direction, and the worse one counts. What a full line loses is none.

Of edges only what matters is told: a change of the cost by 20 % and 5 ms, an edge more or less;
once a second in the long run and three times at once, and the return of an edge that comes and
goes ever later.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from netmgr.engine.pace import free_at, spend
from netmgr.engine.routing import edge_cost
from netmgr.wire.objects import MAX_LOSS, Edge

LEAST_OF: Final = 3
WEIGHT: Final = 42 / 256
SHIFT_SHARE: Final = 0.25
# Below this a change of the round trip is noise of the host.
SHIFT_US: Final = 2000

REPORTS: Final = 32
REPORT_TIME: Final = 1.0
PACKETS: Final = 128
PAUSE: Final = 10.0
SKIPPED: Final = 2
# The share that a line in full use may lose, as senders slow down by it (RFC 5681).
FULL_LINE: Final = 0.02

CHANGE_SHARE: Final = 0.20
CHANGE_COST: Final = 50
ANNOUNCE_INTERVAL: Final = 1.0
ANNOUNCE_BURST: Final = 3
FIRST_HOLD: Final = 1.0
LAST_HOLD: Final = 32.0
# An edge that stayed for so long has not come and gone.
STABLE_TIME: Final = 64.0

_ROUNDING: Final = 1e-6


class Srtt:
    """The smoothed round trip of one edge; `us` is None until there is a sample.

    `samples` is how many there were.
    """

    __slots__ = ("_last", "samples", "us")

    def __init__(self) -> None:
        self._last: tuple[int, ...] = ()
        self.samples = 0
        self.us: int | None = None

    def add(self, rtt_us: int) -> int:
        """Take a sample; return the round trip."""
        self._last = (*self._last, rtt_us)[-LEAST_OF:]
        self.samples += 1
        least = min(self._last)
        if self.us is None or self._has_shifted(self.us):
            self.us = least
        else:
            weight = max(WEIGHT, 1 / self.samples)
            self.us = round(self.us + weight * (least - self.us))
        return self.us

    def _has_shifted(self, us: int) -> bool:
        if len(self._last) < LEAST_OF:
            return False
        by = max(SHIFT_SHARE * us, SHIFT_US)
        return max(self._last) < us - by or min(self._last) > us + by


class Loss:
    """The share of packets lost: of the last 32 reports, each of a second at least.

    A report counts as 128 packets at most, so that one bad moment of a full line is not all.
    """

    __slots__ = ("_from", "_reports", "_skipped")

    def __init__(self) -> None:
        self._from = float("-inf")
        # Reports still to be skipped: the newest packets wait for a second look.
        self._skipped = 0
        # When each began; packets that the other sent, and those that came.
        self._reports: list[tuple[float, float, float]] = []

    def pause(self, now: float) -> None:
        """Take no reports for a while: what comes now took several ways."""
        self._from, self._skipped = now + PAUSE, SKIPPED

    def count(self, sent: int, came: int, now: float) -> None:
        """Take how many packets came of so many; more than sent were duplicates."""
        if sent <= 0 or now < self._from:
            return
        if self._skipped:
            self._skipped -= 1
            return
        came = min(came, sent)
        if self._reports and now - self._reports[-1][0] < REPORT_TIME:
            at, before, arrived = self._reports.pop()
            self._reports.append((at, before + sent, arrived + came))
            return
        self._reports.append((now, sent, came))
        del self._reports[:-REPORTS]

    @property
    def octet(self) -> int:
        """The share in 1/255, as an Edge tells it; what is lost once proves nothing yet.

        Of fewer than 32 packets it is the share of 32.
        """
        sent = lost = 0.0
        for _, each, came in self._reports:
            weight = min(1.0, PACKETS / each)
            sent, lost = sent + weight * each, lost + weight * (each - came)
        if lost <= max(1.0, FULL_LINE * sent):
            return 0
        return round((lost - 1) / max(sent, REPORTS) * MAX_LOSS)


def matters(told: Edge | None, edge: Edge | None) -> bool:
    """Tell whether an edge, None if there is none, is another one than what was told of it."""
    if told is None or edge is None:
        return told is not edge
    old, new = edge_cost(told.rtt_us, told.loss), edge_cost(edge.rtt_us, edge.loss)
    return abs(new - old) >= max(CHANGE_SHARE * old, CHANGE_COST)


class _Flaps(NamedTuple):
    """When an edge last went away, and how long it is to be back before that is told."""

    gone_at: float
    hold: float


class Damping:
    """What was last told of the own edges, and whether there is something else to tell."""

    __slots__ = ("_due_at", "_flaps", "_spent", "_told")

    def __init__(self) -> None:
        self._told: dict[bytes, Edge] = {}
        # How far the bucket of what may be told is used up.
        self._spent = 0.0
        self._flaps: dict[bytes, _Flaps] = {}
        self._due_at: float | None = None

    @property
    def due_at(self) -> float | None:
        """When `update` may have something to tell that it holds back; None if nothing."""
        return self._due_at

    def update(self, edges: Mapping[bytes, Edge], now: float) -> tuple[Edge, ...] | None:
        """Return the edges to tell, by id, None if nothing is to be told now.

        `edges` are all that are up, by the short id of the neighbour.
        """
        self._due_at = None
        up = {peer: edge for peer, edge in edges.items() if self._may_return(peer, now)}
        lost = self._told.keys() - up.keys()
        if not (lost or any(matters(self._told.get(peer), edge) for peer, edge in up.items())):
            return None
        spent = spend(self._spent, now, ANNOUNCE_INTERVAL, ANNOUNCE_BURST)
        if spent is None:
            self._wake(free_at(self._spent, ANNOUNCE_INTERVAL, ANNOUNCE_BURST))
            return None
        for peer in lost:
            self._flaps[peer] = self._flapped(peer, now)
        self._told, self._spent = up, spent
        self._flaps = {
            peer: flaps
            for peer, flaps in self._flaps.items()
            if now < flaps.gone_at + flaps.hold + STABLE_TIME
        }
        return tuple(up[peer] for peer in sorted(up))

    def _may_return(self, peer: bytes, now: float) -> bool:
        flaps = self._flaps.get(peer)
        if flaps is None or peer in self._told or now + _ROUNDING >= flaps.gone_at + flaps.hold:
            return True
        self._wake(flaps.gone_at + flaps.hold)
        return False

    def _flapped(self, peer: bytes, now: float) -> _Flaps:
        before = self._flaps.get(peer)
        if before is None or now >= before.gone_at + before.hold + STABLE_TIME:
            return _Flaps(now, FIRST_HOLD)
        return _Flaps(now, min(2 * before.hold, LAST_HOLD))

    def _wake(self, at: float) -> None:
        self._due_at = at if self._due_at is None else min(self._due_at, at)
