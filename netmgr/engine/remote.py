"""One other node as seen from here: its path, whether it answers, where else it may be.

Two ways lead to a node: direct, from endpoint to endpoint, or sealed through relays. A direct
way is used when it is proven (a probe or a handshake came back on it) and given up when three
pings in a row stay unanswered; traffic without an answer makes pings come early, so that a
death is known within three seconds under traffic and twelve without.

What is decided here is returned as values: pings and probes to send.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from netmgr.engine.measure import SHIFT_SHARE, Loss, Srtt
from netmgr.model import Candidate, Kind
from netmgr.wire.objects import Record
from wgpy.model import Endpoint, PublicKey

# Seconds between pings of a neighbour, and of one whose way is in doubt.
PING_INTERVAL: Final = 8.5
METERED_INTERVAL: Final = 110.0
FAST_INTERVAL: Final = 0.25
# A new way is measured so often before the regular interval begins: the first round trips,
# of hosts that have just started, say little.
FIRST_PINGS: Final = 4
FIRST_INTERVAL: Final = 1.0
# A ping is missed after so many seconds and round trips.
PATIENCE: Final = 0.6
PATIENCE_ROUND_TRIPS: Final = 4
MISSES: Final = 3
# Of who was heard within so many seconds twice as many are to be missed: it may only be slow.
JUST_HEARD: Final = 1.0
# Seconds between probes of a place: doubled from the first to the last.
# Seconds from hearing of a node until it is called: it has to hear of us first.
FIRST_CALL: Final = 0.5
FIRST_PROBE: Final = 0.25
LAST_PROBE: Final = 30.0
MAX_CANDIDATES: Final = 24
# Seconds a probe's answer counts.
PROBE_LIFE: Final = 10.0
# Seconds after which traffic is over.
TRAFFIC_LIFE: Final = 45.0
# A place is not left for one that is faster by less than so many seconds, nor soon after the
# last change; one on the LAN is taken at once.
NOISE: Final = 0.002
SETTLED: Final = 10.0
_PROBES: Final = 64


class NoWay(NamedTuple):
    """Nothing leads there."""


class Direct(NamedTuple):
    """From endpoint to endpoint."""

    endpoint: Endpoint


class Via(NamedTuple):
    """Through relays: the short ids on the way, the node itself last."""

    hops: tuple[bytes, ...]


Way: TypeAlias = NoWay | Direct | Via


@dataclass(slots=True)
class Trial:
    """A place being tried: when it is probed next, how often it was since it last answered."""

    kind: Kind
    next_at: float
    tries: int = 0
    rtt: float | None = None


@dataclass(slots=True)
class Pings:
    """Pings under way on the way in use, and those missed in a row."""

    next_at: float
    missed: int = 0
    answered: int = 0
    waiting: dict[bytes, float] = field(default_factory=dict)
    # When something was sent that nothing came back for; None if all is well.
    unanswered_at: float | None = None
    heard_at: float = float("-inf")
    traffic_at: float = float("-inf")


@dataclass(slots=True)
class Checks:
    """Probes of the direct place while relays are used: the next, and those not answered."""

    next_at: float
    unanswered: int = 0


@dataclass(slots=True)
class Calls:
    """When it is asked through relays to probe us, and when our objects are compared next."""

    next_at: float
    tries: int = 0
    compared_at: float = float("-inf")
    differs: bool = False


class Remote:
    """What this node knows of another one."""

    def __init__(
        self, identity: bytes, short: bytes, public_key: PublicKey, now: float
    ) -> None:
        self.identity = identity
        self.short = short
        self.public_key = public_key
        self.record: Record | None = None
        self.way: Way = NoWay()
        # The direct place in use, or last used; `up` tells if it answers.
        self.endpoint: Endpoint | None = None
        self.up = False
        self.pings = Pings(now)
        self.trials: dict[Endpoint, Trial] = {}
        self.probes: dict[bytes, tuple[Endpoint, float]] = {}
        self.rtt: float | None = None
        # Whether it told us that it wants to be a neighbour.
        self.wants_us = False
        # When the first session began: what was asked before waited for it.
        self.session_at: float | None = None
        self.calls = Calls(now + FIRST_CALL)
        self.checks = Checks(now)
        self.down_at = self.moved_at = float("-inf")
        self._srtt, self._loss = Srtt(), Loss()

    @property
    def name(self) -> str:
        """Its name, empty before its Record is known."""
        return "" if self.record is None else self.record.name

    @property
    def loss(self) -> int:
        """The share of pings lost on the direct way, in 1/255."""
        return self._loss.octet

    # --- places ---

    def offer(self, candidates: Iterable[Candidate], now: float) -> None:
        """Take note of places where it may be; known ones keep their state."""
        for endpoint, kind in candidates:
            trial = self.trials.get(endpoint)
            if trial is None:
                if len(self.trials) >= MAX_CANDIDATES and not self._make_room():
                    return
                self.trials[endpoint] = Trial(kind, now)
            elif kind is Kind.LOCAL:
                trial.kind = kind

    def try_now(self, now: float) -> None:
        """Probe every place soon, as if never tried: something has changed."""
        for trial in self.trials.values():
            trial.next_at, trial.tries = now, 0

    def probe_at(self) -> float | None:
        """Return when a place is to be probed, None if there is none worth it.

        While it answers, only better places than the one in use are.
        """
        return min((self.trials[one].next_at for one in self._worth_trying()), default=None)

    def check_at(self) -> float | None:
        """Return when the direct place is to be probed though relays are used."""
        return self.checks.next_at if self.up and isinstance(self.way, Via) else None

    def due_check(self, now: float) -> Endpoint | None:
        """Return the direct place if it is to be probed now."""
        at = self.check_at()
        if at is None or at > now:
            return None
        self.checks.unanswered += 1
        self.checks.next_at = now + (1.0 if self.checks.unanswered > 1 else self.patience)
        return self.endpoint

    def due_probes(self, now: float) -> list[Endpoint]:
        """Return the places to probe now."""
        due = [one for one in self._worth_trying() if self.trials[one].next_at <= now]
        for endpoint in due:
            trial = self.trials[endpoint]
            pause = min(LAST_PROBE, FIRST_PROBE * 2 ** min(trial.tries, 16))
            trial.next_at, trial.tries = now + pause, trial.tries + 1
        return due

    def probed(self, txid: bytes, endpoint: Endpoint, now: float) -> None:
        """Remember a probe that was sent."""
        for old in [one for one, (_, at) in self.probes.items() if now - at > PROBE_LIFE]:
            del self.probes[old]
        if len(self.probes) < _PROBES:
            self.probes[txid] = endpoint, now

    def answered(self, txid: bytes, now: float) -> Endpoint | None:
        """Take the answer to a probe; return the place it proves, None if it proves none."""
        found = self.probes.pop(txid, None)
        if found is None or now - found[1] > PROBE_LIFE:
            return None
        endpoint, at = found
        trial = self.trials.get(endpoint)
        if trial is not None:
            trial.rtt, trial.tries = now - at, 0
            trial.next_at = now + LAST_PROBE
        if self.up and endpoint == self.endpoint:
            self.measure(now - at)
            shifted = abs(now - at - (self.rtt or 0.0)) > SHIFT_SHARE * (now - at) + NOISE
            self.checks = Checks(now + (FIRST_INTERVAL if shifted else PING_INTERVAL))
        return endpoint

    def prefers(self, endpoint: Endpoint, now: float) -> bool:
        """Tell whether a proven place is better than the one in use."""
        if not self.up or self.endpoint is None:
            return True
        new, old = self.trials.get(endpoint), self.trials.get(self.endpoint)
        if endpoint == self.endpoint or new is None or new.rtt is None:
            return False
        if (new.kind is Kind.LOCAL) != (old is not None and old.kind is Kind.LOCAL):
            return new.kind is Kind.LOCAL
        if now - self.moved_at < SETTLED or self.rtt is None:
            return False
        return new.rtt < 0.8 * self.rtt - NOISE

    def measure(self, rtt: float) -> None:
        """Take a round trip of the direct way, in seconds."""
        self.rtt = self._srtt.add(int(rtt * 1_000_000)) / 1_000_000

    # --- whether it answers ---

    def take_up(self, endpoint: Endpoint, now: float) -> bool:
        """Use a proven place; return whether it was not in use."""
        news = not self.up or endpoint != self.endpoint
        self.endpoint = endpoint
        self.up = True
        if news:
            self.moved_at = now
            self.pings = Pings(now, traffic_at=self.pings.traffic_at)
            self.checks = Checks(now + PING_INTERVAL)
            trial = self.trials.get(endpoint)
            if self.rtt is None and trial is not None and trial.rtt is not None:
                self.measure(trial.rtt)
        return news

    def give_up(self, now: float) -> None:
        """Do without the direct place: it does not answer."""
        self.up = False
        self.down_at = now
        self.rtt = None
        self._srtt, self._loss = Srtt(), Loss()
        self.wants_us = False
        self.pings = Pings(now, traffic_at=self.pings.traffic_at)
        self.try_now(now)

    def doubt(self, now: float) -> None:
        """Ask at once whether it still answers, and try other places: the network changed."""
        self.try_now(now)
        self.pings.next_at = now
        self.calls.next_at, self.calls.tries = now, 0

    def suspect(self, now: float) -> None:
        """Ask at once, and often, whether the way in use still answers."""
        self.pings.missed = max(self.pings.missed, 1)
        self.pings.next_at = now

    def observe(self, now: float, *, rx_grew: bool, tx_grew: bool) -> None:
        """Follow the traffic of the tunnel since the last look."""
        pings = self.pings
        if rx_grew:
            pings.heard_at = now
            pings.unanswered_at = None
        if tx_grew:
            pings.traffic_at = now
            if not rx_grew and pings.unanswered_at is None:
                pings.unanswered_at = now

    @property
    def patience(self) -> float:
        """Seconds after which an answer is missed."""
        return PATIENCE + PATIENCE_ROUND_TRIPS * (self.rtt or 0.0)

    def busy(self, now: float) -> bool:
        """Tell whether there was traffic of late."""
        return now - self.pings.traffic_at < TRAFFIC_LIFE

    def ping_at(self, interval: float | None) -> float | None:
        """Return when a ping is to be sent, None: not at all.

        `interval` is that of regular ones, None if there are none.
        """
        pings = self.pings
        if isinstance(self.way, NoWay):
            return None
        urgent = pings.missed or (pings.unanswered_at is not None and pings.waiting)
        due = [pings.next_at] if interval is not None or urgent else []
        if pings.unanswered_at is not None and not pings.missed and not pings.waiting:
            due.append(pings.unanswered_at + self.patience)
        return min(due, default=None)

    def overdue_at(self) -> float | None:
        """Return when a ping under way is missed, None if none is."""
        waiting = self.pings.waiting
        return min(waiting.values()) + self.patience if waiting else None

    def pinged(self, txid: bytes, interval: float, now: float) -> None:
        """Remember a ping that was sent."""
        pings = self.pings
        pings.waiting[txid] = now
        silent_at = pings.unanswered_at
        if pings.missed or (silent_at is not None and silent_at + self.patience <= now):
            interval = FAST_INTERVAL
        elif pings.answered < FIRST_PINGS:
            interval = min(interval, FIRST_INTERVAL)
        pings.next_at = now + interval

    def miss(self, now: float) -> bool:
        """Count pings whose answers are overdue; return whether the way is dead."""
        pings = self.pings
        overdue = [txid for txid, at in pings.waiting.items() if at + self.patience <= now]
        for txid in overdue:
            del pings.waiting[txid]
            pings.missed += 1
            self._loss.probe(answered=False)
            pings.next_at = min(pings.next_at, now)
        just_heard = now - pings.heard_at < JUST_HEARD
        return pings.missed >= (2 * MISSES if just_heard else MISSES)

    def ponged(self, txid: bytes, now: float) -> float | None:
        """Take the answer to a ping; return when it was asked, None if it was not."""
        pings = self.pings
        sent_at = pings.waiting.pop(txid, None)
        if sent_at is None:
            return None
        self._loss.probe(answered=True)
        pings.missed = 0
        pings.answered += 1
        pings.waiting = {one: at for one, at in pings.waiting.items() if at > sent_at}
        pings.unanswered_at = None
        pings.heard_at = now
        return sent_at

    # --- inside ---

    def _worth_trying(self) -> list[Endpoint]:
        if not self.up:
            return list(self.trials)
        used = self.trials.get(self.endpoint) if self.endpoint is not None else None
        if used is not None and used.kind is Kind.LOCAL:
            return []
        return [
            endpoint
            for endpoint, trial in self.trials.items()
            if trial.kind is Kind.LOCAL and endpoint != self.endpoint
        ]

    def _make_room(self) -> bool:
        """Forget the place that was tried most and never answered; False if there is none."""
        silent = [
            (trial.tries, endpoint)
            for endpoint, trial in self.trials.items()
            if trial.rtt is None and trial.kind is not Kind.STATIC
            if trial.tries and endpoint != self.endpoint
        ]
        if not silent:
            return False
        del self.trials[max(silent)[1]]
        return True
