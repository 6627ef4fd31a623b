"""What happens, told to any number of readers until there is an end."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")

# Events kept for a reader that is slow; the oldest go first.
MAX_EVENTS: Final = 1024


class News(Generic[_T]):
    """What happens, told to any number of readers until there is an end."""

    def __init__(self) -> None:
        self._readers: set[_Reader[_T]] = set()
        self._ended = False

    def tell(self, happened: Iterable[_T]) -> None:
        """Let all readers know."""
        events = tuple(happened)
        for reader in self._readers:
            reader.events.extend(events)
            reader.arrival.set()

    def end(self) -> None:
        """Let all readers come to their end, once they have read what was told before."""
        self._ended = True
        for reader in self._readers:
            reader.arrival.set()

    async def read(self) -> AsyncIterator[_T]:
        """Yield what is told from now on until the end."""
        reader = _Reader[_T]()
        self._readers.add(reader)
        try:
            while reader.events or not self._ended:
                await reader.arrival.wait()
                reader.arrival.clear()
                while reader.events:
                    yield reader.events.popleft()
        finally:
            self._readers.discard(reader)


class _Reader(Generic[_T]):
    """What one reader has not read yet."""

    def __init__(self) -> None:
        self.events: deque[_T] = deque(maxlen=MAX_EVENTS)
        self.arrival = asyncio.Event()
