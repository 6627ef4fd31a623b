"""Names of nodes to addresses, without the event loop waiting for a name server.

The system's resolver blocks and cannot be cancelled. It is asked in threads that end with the
program; a bounded number of them, so one name server that is silent costs no more.
"""

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

from netmgr.model import HostPort
from wgpy.errors import ConfigError
from wgpy.model import Endpoint
from wgpy.wire.text import parse_address, unmap

DEADLINE: Final = 10.0
MAX_THREADS: Final = 8
MAX_WAITING: Final = 1024

Lookup: TypeAlias = Callable[[str, int], tuple[Endpoint, ...]]
OnAnswer: TypeAlias = Callable[[HostPort, tuple[Endpoint, ...]], None]


def look_up(host: str, port: int) -> tuple[Endpoint, ...]:
    """Return all addresses of a host in the order of the system; none if there are none.

    Blocks for as long as the name servers are silent.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, ValueError):  # no such name, no answer, no name at all
        return ()
    return tuple(
        dict.fromkeys(_endpoint(family, address) for family, _, _, _, address in found)
    )


class Resolver:
    """Answers each question once, on the running loop, within `deadline` seconds.

    One question for a name is under way at a time. The answer is empty if there is no address,
    or none in time; asking again is for the caller to decide.
    """

    def __init__(
        self, on_answer: OnAnswer, *, deadline: float = DEADLINE, lookup: Lookup = look_up
    ) -> None:
        self._on_answer = on_answer
        self._deadline = deadline
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        # What is to be answered, and when at the latest.
        self._open: dict[HostPort, asyncio.TimerHandle] = {}
        # What threads are busy with, also after the deadline.
        self._busy: set[HostPort] = set()
        self._waiting: deque[HostPort] = deque()

    def ask(self, host: str, port: int) -> None:
        """Have `on_answer` called once, later; an address in digits needs no name server."""
        place = HostPort(host, port)
        if place in self._open:
            return
        with suppress(ConfigError):
            self._soon(place, (Endpoint(unmap(parse_address(host)), port),))
            return
        if len(self._open) >= MAX_WAITING:
            self._soon(place, ())
            return
        self._open[place] = self._loop.call_later(self._deadline, self._answer, place, ())
        if place not in self._busy:  # a thread that is late answers this question as well
            self._waiting.append(place)
            self._start_threads()

    def close(self) -> None:
        """Answer nothing any more; threads that are stuck end with the program."""
        for timer in self._open.values():
            timer.cancel()
        self._open.clear()
        self._waiting.clear()

    def _soon(self, place: HostPort, endpoints: tuple[Endpoint, ...]) -> None:
        self._open[place] = self._loop.call_later(0, self._answer, place, endpoints)

    def _answer(self, place: HostPort, endpoints: tuple[Endpoint, ...]) -> None:
        timer = self._open.pop(place, None)
        if timer is None:
            return  # too late
        timer.cancel()
        with suppress(ValueError):
            self._waiting.remove(place)
        self._on_answer(place, endpoints)

    # --- threads ---

    def _start_threads(self) -> None:
        while self._waiting and len(self._busy) < MAX_THREADS:
            place = self._waiting.popleft()
            self._busy.add(place)
            threading.Thread(
                target=self._work, args=(place,), name=f"resolve {place.host}", daemon=True
            ).start()

    def _work(self, place: HostPort) -> None:
        endpoints = self._lookup(place.host, place.port)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._done, place, endpoints)

    def _done(self, place: HostPort, endpoints: tuple[Endpoint, ...]) -> None:
        self._busy.discard(place)
        self._answer(place, endpoints)
        self._start_threads()


def _endpoint(
    family: int, address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
) -> Endpoint:
    packed = socket.inet_pton(family, str(address[0]).partition("%")[0])
    scope = int(address[3]) if len(address) > 3 else 0
    return Endpoint(unmap(packed), int(address[1]), scope)
