"""Which data counters were seen: the sliding window of RFC 6479 over a ring of bytes.

A counter is fresh if it is above the greatest one, or at most REPLAY_WINDOW below it and not
marked. The ring has one byte per counter where the RFC has a bit: the interpreter stores a byte
faster than it masks a word, and as many words as small integers would take the same memory.
"""

from typing import Final

from wgpy.engine.constants import REJECT_AFTER_MESSAGES, REPLAY_WINDOW

# The power of two above the window, as in the RFC, so that a place in the ring is one `&`.
_RING_SIZE: Final = 8192
_MASK: Final = _RING_SIZE - 1


class ReplayWindow:
    """The counters accepted in one session, greatest and window below it; 8 KiB."""

    __slots__ = ("_next", "_ring")

    def __init__(self) -> None:
        # One above the greatest counter accepted, and 1 at every place in reach of the window.
        self._next = 0
        self._ring = bytearray(_RING_SIZE)

    def accept(self, counter: int) -> bool:
        """Mark an authenticated counter; return False if it is a replay, too old or spent."""
        # hot path: a counter in its order marks its byte and nothing else.
        if counter >= REJECT_AFTER_MESSAGES:
            return False
        upcoming = self._next
        if counter == upcoming:
            self._ring[counter & _MASK] = 1
            self._next = counter + 1
            return True
        if counter > upcoming:
            self._clear(upcoming, counter)
            self._ring[counter & _MASK] = 1
            self._next = counter + 1
            return True
        place = counter & _MASK
        if counter + 1 + REPLAY_WINDOW < upcoming or self._ring[place]:
            return False
        self._ring[place] = 1
        return True

    def accept_run(self, first: int, count: int) -> bool:
        """Mark `count` counters from `first` on, if all are above the greatest and not spent.

        Otherwise nothing is marked and the answer is False: then ask one by one.
        """
        end = first + count
        if first < self._next or end > REJECT_AFTER_MESSAGES or not 0 < count <= REPLAY_WINDOW:
            return False
        self._clear(self._next, first)
        start, stop = first & _MASK, end & _MASK
        if start < stop:
            self._ring[start:stop] = b"\1" * count
        else:
            self._ring[start:] = b"\1" * (_RING_SIZE - start)
            self._ring[:stop] = b"\1" * stop
        self._next = end
        return True

    @property
    def upcoming(self) -> int:
        """One above the greatest counter accepted."""
        return self._next

    def arrived(self, start: int, stop: int) -> tuple[int, int]:
        """Return how many counters from `start` to before `stop` it holds, how many came."""
        start, stop = max(start, self._next - _RING_SIZE), min(stop, self._next)
        if start >= stop:
            return 0, 0
        first, last = start & _MASK, stop & _MASK
        if first < last:
            return stop - start, self._ring.count(1, first, last)
        return stop - start, self._ring.count(1, first) + self._ring.count(1, 0, last)

    def _clear(self, start: int, stop: int) -> None:
        """Unmark the places of the counters from `start` to before `stop`."""
        if stop - start >= _RING_SIZE:
            self._ring[:] = bytes(_RING_SIZE)
            return
        first, last = start & _MASK, stop & _MASK
        if first <= last:
            self._ring[first:last] = bytes(last - first)
        else:
            self._ring[first:] = bytes(_RING_SIZE - first)
            self._ring[:last] = bytes(last)
