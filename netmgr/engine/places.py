"""Places where another node may be: tried by probes, ever more rarely; an answer proves one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from netmgr.model import Candidate, Kind
from wgpy.model import Endpoint

# Seconds between probes of a place: doubled from the first to the last.
FIRST_PROBE: Final = 0.25
LAST_PROBE: Final = 30.0
MAX_CANDIDATES: Final = 24
# Seconds a probe's answer counts, and probes whose answers are waited for at once.
PROBE_LIFE: Final = 10.0
MAX_PROBES: Final = 64


@dataclass(slots=True)
class Trial:
    """A place being tried: when it is probed next, how often it was since it last answered."""

    kind: Kind
    next_at: float
    tries: int = 0
    rtt: float | None = None
    probed_at: float = float("-inf")


class Places:
    """The places of one node, and the probes under way."""

    def __init__(self) -> None:
        self.trials: dict[Endpoint, Trial] = {}
        # Seconds between probes of a place in the end.
        self.last_probe = LAST_PROBE
        self._probes: dict[bytes, tuple[Endpoint, float]] = {}

    def offer(self, candidates: Iterable[Candidate], used: Endpoint | None, now: float) -> None:
        """Take note of places; known ones keep their state, and the one in use its room."""
        for endpoint, kind in candidates:
            trial = self.trials.get(endpoint)
            if trial is None:
                if len(self.trials) >= MAX_CANDIDATES and not self._make_room(used):
                    return
                self.trials[endpoint] = Trial(kind, now)
            elif kind is Kind.LOCAL:
                trial.kind = kind

    def try_now(self, now: float) -> None:
        """Probe every place soon, as if never tried: something has changed."""
        for trial in self.trials.values():
            trial.next_at, trial.tries = max(now, trial.probed_at + FIRST_PROBE), 0

    def heard_from(self, endpoint: Endpoint, now: float) -> None:
        """Probe a place soon: something of the node came from there."""
        trial = self.trials.get(endpoint)
        if trial is not None:
            soon = max(now, trial.probed_at + FIRST_PROBE)
            trial.next_at = min(trial.next_at, soon)

    def next_at(self, is_wanted: Callable[[Endpoint], bool]) -> float | None:
        """Return when a place is to be probed, None if there is none worth it."""
        times = [trial.next_at for one, trial in self.trials.items() if is_wanted(one)]
        return min(times, default=None)

    def due(self, is_wanted: Callable[[Endpoint], bool], now: float) -> list[Endpoint]:
        """Return the places to probe now."""
        due = []
        for endpoint, trial in self.trials.items():
            if trial.next_at <= now and is_wanted(endpoint):
                due.append(endpoint)
                pause = min(self.last_probe, FIRST_PROBE * 2 ** min(trial.tries, 16))
                trial.next_at, trial.tries = now + pause, trial.tries + 1
        return due

    def probed(self, txid: bytes, endpoint: Endpoint, now: float) -> None:
        """Remember a probe that was sent; of too many the oldest is forgotten."""
        for old in [one for one, (_, at) in self._probes.items() if now - at > PROBE_LIFE]:
            del self._probes[old]
        if len(self._probes) >= MAX_PROBES:
            del self._probes[next(iter(self._probes))]
        self._probes[txid] = endpoint, now
        trial = self.trials.get(endpoint)
        if trial is not None:
            trial.probed_at = now

    def answered(self, txid: bytes, now: float) -> tuple[Endpoint, float] | None:
        """Take the answer to a probe; return the place it proves and the round trip."""
        found = self._probes.pop(txid, None)
        if found is None or now - found[1] > PROBE_LIFE:
            return None
        endpoint, at = found
        trial = self.trials.get(endpoint)
        if trial is not None:
            trial.rtt, trial.tries = now - at, 0
            trial.next_at = now + LAST_PROBE
        return endpoint, now - at

    def are_silent(self, tries: int) -> bool:
        """Tell whether each place was probed so often since it last answered."""
        return all(trial.tries >= tries for trial in self.trials.values())

    def is_local(self, endpoint: Endpoint | None) -> bool:
        """Tell whether a place is on our LAN."""
        trial = None if endpoint is None else self.trials.get(endpoint)
        return trial is not None and trial.kind is Kind.LOCAL

    def _make_room(self, used: Endpoint | None) -> bool:
        """Forget the place that was tried most and never answered; False if there is none."""
        silent = [
            (trial.tries, endpoint)
            for endpoint, trial in self.trials.items()
            if trial.rtt is None and trial.kind is not Kind.STATIC
            if trial.tries and endpoint != used
        ]
        if not silent:
            return False
        del self.trials[max(silent)[1]]
        return True
