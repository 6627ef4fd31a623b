"""How fast one source may cause handshakes under load: a token bucket per source (paper 5.3).

A source is an IPv4 address or an IPv6 /64: who has one address of a /64 has them all. Behind
relays it is the node's id, of 8 bytes as well. Each may send RATELIMIT_BURST at once and
RATELIMIT_PER_SECOND in the long run, unless a limiter has numbers of its own.
"""

from collections import OrderedDict
from typing import Final

from wgpy.engine.constants import (
    MAX_RATELIMIT_ENTRIES,
    RATELIMIT_BURST,
    RATELIMIT_PER_SECOND,
)

_NETWORK_SIZE: Final = 8
# Instants are floats; a token that is due must not be missed by a rounding.
_ROUNDING: Final = 1e-6
# Seconds without a handshake after which a source is forgotten; its bucket is full by then.
_IDLE: Final = 1.0
# One call adds one source at most, so what is idle goes faster than it comes.
_COLLECTED_PER_CALL: Final = 4


class RateLimiter:
    """The buckets of the sources heard in the last second, at most MAX_RATELIMIT_ENTRIES.

    When there is no room, a new source is refused, as by the kernel: under such a flood the
    sources that have a bucket keep being served.
    """

    def __init__(
        self, per_second: int = RATELIMIT_PER_SECOND, burst: int = RATELIMIT_BURST
    ) -> None:
        assert burst <= per_second * _IDLE, "who was forgotten has a full bucket"
        # Tokens are kept as the seconds that they take to come.
        self._cost = 1 / per_second
        self._full = burst * self._cost
        # Tokens and when they were counted, by source, longest idle first.
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allow(self, host: bytes, now: float) -> bool:
        """Take a token from the bucket of a packed address; return False if there is none.

        A key or an id is as good, of which the first 8 bytes count.
        """
        self._collect(now)
        source = host[:_NETWORK_SIZE]
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= MAX_RATELIMIT_ENTRIES:
                return False
            self._buckets[source] = (self._full - self._cost, now)
            return True
        tokens, counted_at = bucket
        tokens = min(self._full, tokens + now - counted_at)
        allowed = tokens + _ROUNDING >= self._cost
        self._buckets[source] = (tokens - self._cost if allowed else tokens, now)
        self._buckets.move_to_end(source)
        return allowed

    def _collect(self, now: float) -> None:
        for _ in range(_COLLECTED_PER_CALL):
            source = next(iter(self._buckets), None)
            if source is None or now - self._buckets[source][1] <= _IDLE:
                return
            del self._buckets[source]
