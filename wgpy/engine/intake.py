"""Where handshake messages wait, and who must show a cookie first (paper 5.3).

A handshake costs a hundred times what a data packet costs, and anybody who knows our public
key can ask for one. So: a message without a valid mac1 never waits; of those that wait a few
are taken in a turn, between data, and turns have a rate; and when many wait, senders must prove
their address with a cookie, and each address gets a limited number a second.

Deviation: the kernel decides when it takes a message from its queue, here it is decided on
arrival; so a flood fills the queue only as far as the threshold of being under load.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from wgpy.engine import constants
from wgpy.engine.cookie import CookieChecker
from wgpy.engine.ratelimit import RateLimiter
from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, Endpoint, Local
from wgpy.wire.detour import via_id


class Waiting(NamedTuple):
    """A handshake message whose mac1 is valid, and where it came from and to."""

    message: bytes
    remote: Endpoint
    local: Local | None


class Intake:
    """The queue of handshake messages of one identity."""

    def __init__(self, public_key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._checker = CookieChecker(public_key, entropy)
        self._limiter = RateLimiter()
        self._queue: deque[Waiting] = deque()
        self._loaded_until = float("-inf")
        self._demanded = 0

    def __len__(self) -> int:
        return len(self._queue)

    def is_under_load(self, now: float) -> bool:
        """Tell whether a cookie is demanded: for a second after the queue was long.

        And for another if in the last one as many were sent away as make it long.
        """
        since_end = now - self._loaded_until
        goes_on = (
            0 <= since_end < constants.UNDER_LOAD_HYSTERESIS
            and self._demanded >= constants.UNDER_LOAD_QUEUE
        )
        if goes_on or len(self._queue) >= constants.UNDER_LOAD_QUEUE:
            self._loaded_until = now + constants.UNDER_LOAD_HYSTERESIS
            self._demanded = 0
        return now < self._loaded_until

    def admit_untrusted(
        self, message: Buffer, remote: Endpoint, local: Local | None, now: float
    ) -> bytes | None:
        """Let an initiation or response of the right length wait, or return a cookie reply.

        Raises:
            Rejected: BAD_MAC1, RATE_LIMITED or HANDSHAKE_QUEUE_FULL.
        """
        if not self._checker.mac1_matches(message):
            raise Rejected(Drop.BAD_MAC1)
        if self.is_under_load(now):
            if not self._checker.mac2_matches(message, remote, now):
                self._demanded += 1
                return self._checker.reply(message, remote, now)
            # All who come through relays have one /64: there the id tells them apart.
            if not self._limiter.allow(via_id(remote) or remote.host, now):
                raise Rejected(Drop.RATE_LIMITED)
        if len(self._queue) >= constants.MAX_QUEUED_HANDSHAKES:
            raise Rejected(Drop.HANDSHAKE_QUEUE_FULL)
        self._queue.append(Waiting(bytes(message), remote, local))
        return None

    def take(self) -> list[Waiting]:
        """Return the few messages whose turn it is."""
        count = min(len(self._queue), constants.HANDSHAKES_PER_WAKE)
        return [self._queue.popleft() for _ in range(count)]
