"""One other node as seen from here: its way, whether it answers, where else it may be.

Two ways lead to a node: direct, from endpoint to endpoint, or sealed through relays. A direct
way is used when it is proven (a probe or a handshake came back on it) and given up when it does
not answer (see `liveness`).

What is decided here is returned as values: pings and probes to send.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from netmgr.engine.liveness import FIRST_INTERVAL, PING_INTERVAL, Liveness
from netmgr.engine.measure import SHIFT_SHARE
from netmgr.engine.pace import spend
from netmgr.engine.places import Places, Trial
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, Kind
from netmgr.wire.objects import Record
from wgpy.model import Endpoint, PublicKey

# Seconds between two comparisons of what two neighbours hold.
COMPARE_INTERVAL: Final = 2.0
# Seconds after which a difference is looked at though it is not the same all the time.
DIFFERENT_FOR: Final = 30.0
# So often a node is asked because others lost it: seconds each takes, and at once.
DOUBT_RATE: Final = (5.0, 4)
# Seconds from hearing of a node until it is called: it has to hear of us first.
FIRST_CALL: Final = 0.5
# A place on the LAN is taken at once, unless it is so much slower (a share, and seconds); any
# other only if it is so much faster, and not soon after the last change.
LAN_SHARE: Final = 2.0
LAN_BONUS: Final = 0.01
BETTER_SHARE: Final = 0.8
NOISE: Final = 0.002
SETTLED: Final = 10.0


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
class Checks:
    """Probes of the direct place while relays are used: the next, and those not answered.

    `moved_at` is when the place was taken.
    """

    next_at: float
    unanswered: int = 0
    moved_at: float = float("-inf")


@dataclass(slots=True)
class Calls:
    """What goes between the two of us, and when.

    `next_at` is when it is asked through relays to probe us, `compared_at` when our objects
    were last compared, `digests` our digest and its at the last look and since when they were
    different, None if they were equal, `wants_us` whether it told us that it wants to be a
    neighbour. What was asked before `session_at`, the beginning of the first session, waited
    for it. `spent` is how far the bucket of each kind of message is used up, `doubts` that of
    the times that it was asked because others lost it.
    """

    next_at: float
    tries: int = 0
    doubts: float = 0.0
    compared_at: float = float("-inf")
    digests: tuple[bytes, bytes, float] | None = None
    wants_us: bool = False
    session_at: float | None = None
    spent: dict[int, float] = field(default_factory=dict)


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
        # When its direct place was given up the last two times, the later one last.
        self.downs = (float("-inf"), float("-inf"))
        self.pings = Liveness(now)
        self.places = Places()
        self.checks = Checks(now)
        self.calls = Calls(now + FIRST_CALL)

    @property
    def name(self) -> str:
        """Its name, empty before its Record is known."""
        return "" if self.record is None else self.record.name

    @property
    def rtt(self) -> float | None:
        """The round trip of the direct way, in seconds; None if it was not measured."""
        return self.pings.rtt

    @property
    def loss(self) -> int:
        """The share lost on the direct way to us, in 1/255."""
        return self.pings.loss

    @property
    def trials(self) -> dict[Endpoint, Trial]:
        """The places where it may be."""
        return self.places.trials

    @property
    def wants_us(self) -> bool:
        """Whether it told us that it wants to be a neighbour."""
        return self.calls.wants_us

    def differs(self, own: bytes, its: bytes, now: float) -> bool:
        """Follow the digests of both; return whether to compare what is held.

        What is under way makes a difference, too; one that stays as it is, or lasts for long,
        is to be looked at, and any on a direct way or in a session that is new.
        """
        calls = self.calls
        before = calls.digests
        if own == its:
            calls.digests = None
            return False
        since = now if before is None else before[2]
        calls.digests = own, its, since
        fresh = calls.compared_at < max(calls.session_at or 0.0, self.checks.moved_at)
        stays = before is not None and before[:2] == (own, its)
        lasts = now - max(since, calls.compared_at) >= DIFFERENT_FOR
        return fresh or lasts or (stays and now - calls.compared_at >= COMPARE_INTERVAL)

    def lost_by_another(self, now: float) -> None:
        """Ask whether it is there, unless that was asked often: a neighbour lost it."""
        spent = spend(self.calls.doubts, now, *DOUBT_RATE)
        if spent is not None:
            self.calls.doubts = spent
            self.pings.ask(now)

    def limit(self, kind: int, rate: tuple[float, int], now: float) -> None:
        """Count a message of a kind; `rate` is the seconds each takes, and how many at once.

        Raises:
            Rejected: TOO_FAST.
        """
        spent = spend(self.calls.spent.get(kind, 0.0), now, *rate)
        if spent is None:
            raise Rejected(Reason.TOO_FAST)
        self.calls.spent[kind] = spent

    def arrived(self, sent: int, came: int, now: float) -> bool:
        """Take how many packets of its session came; return whether the loss is another now.

        They came on the direct way if that is in use, and count for nothing if not.
        """
        before = self.loss
        if self.up and isinstance(self.way, Direct):
            self.pings.count(sent, came, now)
        return self.loss != before

    # --- places ---

    def offer(self, candidates: Iterable[Candidate], now: float) -> None:
        """Take note of places where it may be; known ones keep their state."""
        self.places.offer(candidates, self.endpoint, now)

    def try_now(self, now: float) -> None:
        """Probe every place soon, as if never tried: something has changed."""
        self.places.try_now(now)

    def probe_at(self) -> float | None:
        """Return when a place is to be probed, None if there is none worth it.

        While it answers, only better places than the one in use are.
        """
        return None if self._is_settled() else self.places.next_at(self._is_worth_trying)

    def due_probes(self, now: float) -> list[Endpoint]:
        """Return the places to probe now."""
        return [] if self._is_settled() else self.places.due(self._is_worth_trying, now)

    def check_at(self) -> float | None:
        """Return when the direct place is to be probed though relays are used."""
        return self.checks.next_at if self.up and isinstance(self.way, Via) else None

    def due_check(self, now: float) -> Endpoint | None:
        """Return the direct place if it is to be probed now."""
        at = self.check_at()
        if at is None or at > now:
            return None
        if self.checks.unanswered:
            self.pings.count(1, 0, now)
        self.checks.unanswered += 1
        self.checks.next_at = now + 1.0
        return self.endpoint

    def answered(self, txid: bytes, now: float) -> Endpoint | None:
        """Take the answer to a probe; return the place it proves, None if it proves none."""
        found = self.places.answered(txid, now)
        if found is None:
            return None
        endpoint, rtt = found
        if self.up and endpoint == self.endpoint:
            self.pings.measure(rtt)
            if isinstance(self.way, Via):
                self.pings.count(1, 1, now)
            # Something else than before is looked at again before it is believed.
            shifted = abs(rtt - (self.rtt or 0.0)) > SHIFT_SHARE * rtt + NOISE
            pause = FIRST_INTERVAL if shifted else PING_INTERVAL
            self.checks.next_at, self.checks.unanswered = now + pause, 0
        return endpoint

    def prefers(self, endpoint: Endpoint, now: float) -> bool:
        """Tell whether a proven place is better than the one in use."""
        if not self.up or self.endpoint is None:
            return True
        new, old = self.trials.get(endpoint), self.trials.get(self.endpoint)
        if endpoint == self.endpoint or new is None or new.rtt is None:
            return False
        if (new.kind is Kind.LOCAL) != (old is not None and old.kind is Kind.LOCAL):
            limit = float("inf") if self.rtt is None else LAN_SHARE * self.rtt + LAN_BONUS
            return new.kind is Kind.LOCAL and new.rtt < limit
        if now - self.checks.moved_at < SETTLED or self.rtt is None:
            return False
        return new.rtt < BETTER_SHARE * self.rtt - NOISE

    # --- whether it answers ---

    def take_up(self, endpoint: Endpoint, now: float) -> bool:
        """Use a proven place; return whether it was not in use."""
        if self.up and endpoint == self.endpoint:
            return False
        self.endpoint = endpoint
        self.up = True
        self.checks = Checks(now + PING_INTERVAL, moved_at=now)
        if isinstance(self.way, Direct):
            self.pings.begin(now)
        trial = self.trials.get(endpoint)
        if self.rtt is None and trial is not None and trial.rtt is not None:
            self.pings.measure(trial.rtt)
        return True

    def give_up(self, now: float) -> None:
        """Do without the direct place: it does not answer."""
        self.up = False
        self.downs = (self.downs[1], now)
        self.calls.wants_us = False
        self.calls.next_at, self.calls.tries = now, 0
        self.pings.forget()
        if isinstance(self.way, Direct):
            self.pings.begin(now)
        self.try_now(now)

    def doubt(self, now: float) -> None:
        """Ask at once whether it still answers, and try other places: the network changed."""
        self.try_now(now)
        self.pings.next_at = now
        self.calls.next_at, self.calls.tries = now, 0

    # --- inside ---

    def _is_settled(self) -> bool:
        """Tell whether no place can be better than the one in use."""
        return self.up and self.places.is_local(self.endpoint)

    def _is_worth_trying(self, endpoint: Endpoint) -> bool:
        if not self.up:
            return True
        return endpoint != self.endpoint and self.places.is_local(endpoint)
