"""Whether another node answers on the way in use: pings, patience, and what traffic tells.

Three pings in a row without an answer mean that a way is dead; six, while packets of the node
still come in: those may take another way than ours. After the first one that is missed, and
when traffic stays without an answer, pings go every quarter of a second, so that a death is
known within three seconds under traffic and twelve without.
"""

from typing import Final

from netmgr.engine.measure import SHIFT_SHARE, Loss, Srtt

PING_INTERVAL: Final = 7.5
FAST_INTERVAL: Final = 0.25
# A direct way is measured so often before the regular interval begins: the first round trips,
# of hosts that have just started, say little.
FIRST_SAMPLES: Final = 4
FIRST_INTERVAL: Final = 1.0
# Who is asked asks so many intervals later itself, if it has measured the round trip in so
# many, and what the two have measured differs by a share or so many seconds at most.
_PASSIVE: Final = 1.08
_MEASURED: Final = 7
_SHIFT: Final = 0.002
# A ping is missed after so many seconds and round trips.
PATIENCE: Final = 0.6
PATIENCE_ROUND_TRIPS: Final = 4
# The share of that after which traffic without an answer is a reason to ask.
DOUBT_AFTER: Final = 0.5
MISSES: Final = 3
MISSES_WHILE_HEARD: Final = 6
# Seconds after which traffic is over.
TRAFFIC_LIFE: Final = 45.0
# Pings whose answers still count when they come late.
_LATE: Final = 8


class Liveness:
    """Pings under way on the way in use, those missed in a row, and what they measured."""

    def __init__(self, now: float) -> None:
        self.next_at = now
        self.missed = 0
        # Ways that died, one after the other, since something of the node came in.
        self.deaths = 0
        self.traffic_at = float("-inf")
        # When the round trip of the direct way was measured here.
        self.measured_at = float("-inf")
        self._measured = (Srtt(), Loss())
        # Of the way through relays in use, None while none is.
        self._expected: float | None = None
        # When something was sent that nothing came back for; None if all is well.
        self._unanswered_at: float | None = None
        self._heard_at = float("-inf")
        # Whether it told us that it does not reach us, and has not answered since.
        self._suspected = False
        self._waiting: dict[bytes, float] = {}
        self._late: dict[bytes, float] = {}

    def begin(self, now: float, expected: float | None = None) -> None:
        """Follow another way; `expected` is its round trip if it leads through relays."""
        self._expected = expected
        self._let_wait_no_more(list(self._waiting))
        self.missed, self._unanswered_at, self.next_at = 0, None, now
        self._suspected = False
        self._loss.pause(now)

    def died(self, now: float) -> None:
        """Count the way in use as dead; the next one is asked at once, the same ever later."""
        self.missed, self.deaths = 0, self.deaths + 1
        self.next_at = now + min(PING_INTERVAL, 2.0**self.deaths)

    def forget(self) -> None:
        """Forget what was measured of the direct way: it is dead."""
        self._measured = (Srtt(), Loss())

    def measure(self, rtt: float) -> None:
        """Take a round trip of the direct way, in seconds."""
        self._srtt.add(int(rtt * 1_000_000))

    def count(self, sent: int, came: int, now: float) -> None:
        """Take how many packets of the direct way came, of so many that were sent."""
        self._loss.count(sent, came, now)

    @property
    def rtt(self) -> float | None:
        """The round trip of the direct way, in seconds; None if it was not measured."""
        us = self._srtt.us
        return None if us is None else us / 1_000_000

    @property
    def lively_at(self) -> float:
        """When something was last sent or heard; minus infinity: never."""
        return max(self.traffic_at, self._heard_at)

    @property
    def is_calm(self) -> bool:
        """Whether the round trip is known, and no answer is missed."""
        return self.is_settled and not self.missed

    @property
    def is_settled(self) -> bool:
        """Whether the round trip of the direct way is more than a first impression."""
        return self._srtt.samples >= FIRST_SAMPLES

    @property
    def loss(self) -> int:
        """The share lost of what the other sent directly, in 1/255."""
        return self._loss.octet

    @property
    def patience(self) -> float:
        """Seconds after which an answer is missed."""
        rtt = self.rtt if self._expected is None else self._expected
        return PATIENCE + PATIENCE_ROUND_TRIPS * (rtt or 0.0)

    def observe(self, now: float, *, rx_grew: bool, tx_grew: bool) -> None:
        """Follow the traffic of the tunnel since the last look."""
        if rx_grew:
            self._heard_at, self._unanswered_at, self.deaths = now, None, 0
        if tx_grew:
            self.traffic_at = now
            if not rx_grew and self._unanswered_at is None:
                self._unanswered_at = now

    def suspect(self, now: float) -> None:
        """Ask at once, thrice if need be: the node says that it does not reach us."""
        self._suspected = True
        self._loss.pause(now)
        self.ask(now)

    def ask(self, now: float) -> None:
        """Ask at once, and more often until there is an answer."""
        if self._unanswered_at is None or self._unanswered_at > now - self.patience:
            self._unanswered_at = now - self.patience
            self.next_at = now

    def busy(self, now: float) -> bool:
        """Tell whether there was traffic of late."""
        return now - self.traffic_at < TRAFFIC_LIFE

    # --- pings ---

    def ping_at(self, interval: float | None) -> float | None:
        """Return when a ping is to be sent, None: not at all.

        `interval` is that of regular ones, None if there are none.
        """
        pending = self.missed or (self._waiting and self._in_doubt)
        if interval is not None or pending or self.deaths:
            at = self.next_at
        elif self._unanswered_at is None:
            return None
        else:
            at = float("inf")
        if self._unanswered_at is not None and not self.missed and not self._waiting:
            at = min(at, self._unanswered_at + DOUBT_AFTER * self.patience)
        return at

    def overdue_at(self) -> float | None:
        """Return when a ping under way is missed, None if none is."""
        return min(self._waiting.values()) + self.patience if self._waiting else None

    def pinged(self, txid: bytes, interval: float, now: float) -> None:
        """Remember a ping that was sent."""
        self._waiting[txid] = now
        if not self._in_doubt:
            soon = interval if self.is_settled else FIRST_INTERVAL
            self.next_at = now + min(interval, soon)
        elif len(self._waiting) < MISSES_WHILE_HEARD:
            self.next_at = now + FAST_INTERVAL
        else:
            self.next_at = now + self.patience

    def asked(self, said: float, interval: float, now: float) -> None:
        """Follow a ping of the other: one of two need ask, each learns as much from it.

        `said` is the round trip as the other has measured it, 0 if it has not. It is not
        believed, or who says so would be as near as it likes.
        """
        rtt = self.rtt
        if rtt is None or not self.is_calm or now - self.measured_at >= _MEASURED * interval:
            return
        if not said or abs(said - rtt) <= max(SHIFT_SHARE * rtt, _SHIFT):
            self.next_at = max(self.next_at, now + interval * _PASSIVE)

    def miss(self, now: float) -> bool:
        """Count pings whose answers are overdue; return whether the way is dead."""
        overdue = [txid for txid, at in self._waiting.items() if at + self.patience <= now]
        for _ in overdue:
            self.next_at = min(self.next_at, now)
        self.missed += len(overdue)
        self._let_wait_no_more(overdue)
        heard = now - self._heard_at < self.patience and not self._suspected
        return self.missed >= (MISSES_WHILE_HEARD if heard else MISSES)

    def ponged(self, txid: bytes, interval: float, now: float) -> float | None:
        """Take the answer to a ping; return when it was asked, None if it was not."""
        sent_at = self._waiting.pop(txid, None)
        if sent_at is None:
            sent_at = self._late.pop(txid, None)
        if sent_at is None:
            return None
        if self._in_doubt:
            self.next_at = max(self.next_at, sent_at + interval)
        self.missed, self._unanswered_at, self._heard_at = 0, None, now
        self._suspected, self.deaths = False, 0
        self._let_wait_no_more([one for one, at in self._waiting.items() if at <= sent_at])
        return sent_at

    # --- inside ---

    @property
    def _srtt(self) -> Srtt:
        return self._measured[0]

    @property
    def _loss(self) -> Loss:
        return self._measured[1]

    @property
    def _in_doubt(self) -> bool:
        return self.missed > 0 or self._unanswered_at is not None

    def _let_wait_no_more(self, txids: list[bytes]) -> None:
        for txid in txids:
            self._late[txid] = self._waiting.pop(txid)
        while len(self._late) > _LATE:
            del self._late[next(iter(self._late))]
