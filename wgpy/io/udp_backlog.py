"""Sends for which a socket has no room: a few, for a moment, and the oldest go first.

A queue that only grows hides from whoever sends too much that it is too much; what arrives is
late. Here packets are lost instead, soon, as every router has it (RFC 7567).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from wgpy.io.counters import UdpCounters
from wgpy.model import Buffer

# Sends that are kept, and for how many seconds.
LIMIT: Final = 128
PATIENCE: Final = 0.1

P = TypeVar("P")


class Waiting(NamedTuple, Generic[P]):
    """The copy of a send: datagrams of `size` bytes, 0 if it is one; kept since an instant."""

    payload: bytes
    size: int
    path: P
    since: float


class Backlog(Generic[P]):
    """What waits for room in one socket; what has to go is counted."""

    __slots__ = ("_counters", "_waiting")

    def __init__(self, counters: UdpCounters) -> None:
        self._counters = counters
        self._waiting: deque[Waiting[P]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, buffers: Sequence[Buffer], size: int, path: P, now: float) -> None:
        """Keep a copy of a send."""
        self._drop_overdue(now)
        if len(self._waiting) >= LIMIT:
            self._drop_oldest()
        self._waiting.append(Waiting(b"".join(buffers), size, path, now))

    def oldest(self, now: float) -> Waiting[P] | None:
        """Return the oldest send that is still worth it, None if there is none."""
        self._drop_overdue(now)
        return self._waiting[0] if self._waiting else None

    def sent(self) -> None:
        """Forget the oldest."""
        self._waiting.popleft()

    def divide(self) -> None:
        """Make the oldest, a burst, so many sends of a datagram each, in its place."""
        payload, size, path, since = self._waiting.popleft()
        pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
        self._waiting.extendleft(Waiting(piece, 0, path, since) for piece in pieces[::-1])

    def clear(self) -> None:
        """Drop everything."""
        while self._waiting:
            self._drop_oldest()

    def _drop_overdue(self, now: float) -> None:
        while self._waiting and now - self._waiting[0].since > PATIENCE:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        payload, size, *_ = self._waiting.popleft()
        self._counters.backlog_dropped += datagrams([payload], size)


def datagrams(buffers: Iterable[Buffer], size: int) -> int:
    """Return how many datagrams a send is."""
    return -(-sum(map(len, buffers)) // size) if size else 1
