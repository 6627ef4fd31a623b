"""When to wake next, among the deadlines of many owners: a heap that forgets lazily."""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, NamedTuple, TypeVar

from wgpy.model import Deadline

# Overtaken entries are swept when they outnumber the live ones and these.
_SPARED: Final = 64

Owner = TypeVar("Owner", bound=Hashable)


class _Entry(NamedTuple, Generic[Owner]):
    """What the heap orders: by time, then by order of setting, which no two share."""

    at: float
    number: int
    deadline: Deadline
    owner: Owner


class Deadlines(Generic[Owner]):
    """At most one deadline per owner; setting and taking cost O(log owners)."""

    def __init__(self) -> None:
        self._live: dict[Owner, _Entry[Owner]] = {}
        # Holds every live entry, and overtaken ones: not more than live ones and _SPARED.
        self._heap: list[_Entry[Owner]] = []
        self._number = 0

    def set(self, owner: Owner, deadline: Deadline | None) -> None:
        """Replace the owner's deadline; None takes it away."""
        entry = self._live.get(owner)
        if deadline is None:
            self._live.pop(owner, None)
        elif entry is None or entry.deadline != deadline:
            self._number += 1
            entry = _Entry(deadline.at, self._number, deadline, owner)
            self._live[owner] = entry
            heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._live) + _SPARED:
            self._heap = list(self._live.values())
            heapify(self._heap)

    def next(self) -> Deadline | None:
        """Return the earliest deadline, None if there is none."""
        heap = self._heap
        while heap and self._live.get(heap[0].owner) is not heap[0]:
            heappop(heap)
        return heap[0].deadline if heap else None

    def pop_due(self, now: float) -> list[Owner]:
        """Remove the deadlines up to `now`; return whose they are, earliest first.

        Of two at one time, that which was set first comes first.
        """
        due: list[Owner] = []
        while (deadline := self.next()) is not None and deadline.at <= now:
            owner = heappop(self._heap).owner
            del self._live[owner]
            due.append(owner)
        return due
