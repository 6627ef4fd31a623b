"""What is made of measurements of an edge: smoothed round trips, loss, what is told of both.

The round trip is an average, each time with weight 42/256 once there are some, of the least of
the last three, so that one late answer counts for nothing. Three in a row that are all off by a
quarter in one direction are another path, not noise, and are taken at once. Loss is a share of
what the other end should have had: probes, or the counters of WireGuard.

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
PACKETS: Final = 256

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
    """The share of packets lost: of the last 32 reports, or fewer that are of 256 packets."""

    __slots__ = ("_reports",)

    def __init__(self) -> None:
        self._reports: list[tuple[int, int]] = []

    def probe(self, *, answered: bool) -> None:
        """Take what became of one probe."""
        self.count(1, int(answered))

    def count(self, sent: int, received: int) -> None:
        """Take what the other end had of so many packets; more than sent were duplicates."""
        if sent <= 0:
            return
        self._reports.append((sent, min(received, sent)))
        del self._reports[:-REPORTS]
        total = sum(each for each, _ in self._reports)
        while total - self._reports[0][0] >= PACKETS:
            total -= self._reports.pop(0)[0]

    @property
    def share(self) -> float:
        """The share lost, 0.0 if nothing is known."""
        sent = sum(each for each, _ in self._reports)
        received = sum(each for _, each in self._reports)
        return 1 - received / sent if sent else 0.0

    @property
    def octet(self) -> int:
        """The share in 1/255, as an Edge tells it; what is lost once proves nothing yet.

        Of fewer than 32 packets it is the share of 32.
        """
        sent = sum(each for each, _ in self._reports)
        lost = sent - sum(each for _, each in self._reports)
        return round(max(lost - 1, 0) / max(sent, REPORTS) * MAX_LOSS)


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
