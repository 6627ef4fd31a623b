"""The receiver indices of a device: random, unique, and what each stands for (paper 5.4.2).

One entry for the handshake under way of a peer; when its session begins, the same index is
pointed to the session. A random index tells an onlooker nothing about peers or their number.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

_INDEX_SIZE = 4
T = TypeVar("T")


class IndexTable(Generic[T]):
    """Index to entry; `T` is what the device keeps for handshakes and sessions."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._entries: dict[int, T] = {}
        # The lookup of the packet path, without a method of ours in between.
        self.lookup = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: T) -> int:
        """Return a new index for an entry."""
        while True:
            index = int.from_bytes(self._entropy(_INDEX_SIZE), "little")
            if index not in self._entries:
                self._entries[index] = entry
                return index

    def point(self, index: int, entry: T) -> None:
        """Let an index stand for something else."""
        self._entries[index] = entry

    def drop(self, index: int) -> None:
        """Free an index; one that is free already stays so."""
        self._entries.pop(index, None)
