"""Echo requests between many namespaces at once, sent and timed by one thread of the test.

They cost next to nothing, so that what they measure is the network's and not their own.
"""

import selectors
import socket
import struct
import threading
from itertools import pairwise
from typing import Self

from wgpy.io import clock, namespaces
from wgpy.wire.echo import request

# In the payload of each, for whom looks whether a relay can read it.
MARKER = b"this is for nobody but its addressee"
# Whose echo it is: the thread's own bytes, the flow, the number in it.
_TAIL = struct.Struct(">8sII")
_V4_HEADER, _HEADER = 20, 8
_REPLY, _SIZE = 0, 4096
_TICK = 0.005


class Flow:
    """Requests from one namespace to an address, `interval` seconds apart."""

    def __init__(self, number: int, address: str, interval: float, *, once: bool):
        self.number, self.address, self.interval, self.once = number, address, interval, once
        self.next_at = self.began_at = clock.now()
        self.sent: list[float] = []
        self.came: dict[int, float] = {}
        self.ended = False

    @property
    def took(self) -> float | None:
        """Seconds from the beginning to the first answer."""
        return min(self.came.values()) - self.began_at if self.came else None

    def lost(self, since: float = 0.0) -> int:
        """Return how many sent since then were not answered; a second is left for each."""
        until = clock.now() - 1
        counted = [at for at in enumerate(self.sent) if since <= at[1] <= until]
        return sum(number not in self.came for number, _ in counted)

    def gap(self, since: float) -> float:
        """Return the longest time without an answer from then until this moment."""
        times = sorted(at for at in self.came.values() if at > since)
        return max(b - a for a, b in pairwise([since, *times, clock.now()]))


class Echoes:
    """A thread that sends for all flows; each namespace has one raw socket."""

    def __init__(self) -> None:
        self.flows: list[Flow] = []
        self._own = clock.entropy(8)
        self._sockets: dict[str, socket.socket] = {}
        self._senders: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for one in self._sockets.values():
            one.close()
        self._selector.close()

    def flow(self, ns: str, address: str, *, interval: float = 0.1, once: bool = False) -> Flow:
        """Begin to send; `once` ends with the first answer."""
        if ns not in self._sockets:
            with namespaces.inside(ns):
                echo = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            echo.setblocking(False)
            self._sockets[ns] = echo
            self._selector.register(echo, selectors.EVENT_READ)
        self._senders.append(self._sockets[ns])
        self.flows.append(Flow(len(self.flows), address, interval, once=once))
        return self.flows[-1]

    # --- the thread ---

    def _run(self) -> None:
        while not self._over.is_set():
            now = clock.now()
            for flow in list(self.flows):
                if flow.next_at <= now and not flow.ended:
                    self._send(flow, now)
            if not self._sockets:
                self._over.wait(_TICK)
                continue
            for key, _ in self._selector.select(_TICK):
                self._receive(key.fileobj)  # type: ignore[arg-type]

    def _send(self, flow: Flow, now: float) -> None:
        flow.next_at = max(flow.next_at + flow.interval, now)
        tail = _TAIL.pack(self._own, flow.number, len(flow.sent))
        flow.sent.append(now)
        message = request(len(flow.sent) & 0xFFFF, MARKER + tail, v6=False)
        try:
            self._senders[flow.number].sendto(message, (flow.address, 0))
        except OSError:
            return  # no way there: as good as lost

    def _receive(self, echo: socket.socket) -> None:
        for _ in range(64):
            try:
                packet = echo.recv(_SIZE)
            except BlockingIOError:
                return
            message = packet[_V4_HEADER:]
            if message[:1] == bytes([_REPLY]) and message[_HEADER:].startswith(MARKER):
                self._take(message[-_TAIL.size :])

    def _take(self, tail: bytes) -> None:
        own, number, count = _TAIL.unpack(tail)
        if own == self._own:
            flow = self.flows[number]
            flow.came.setdefault(count, clock.now())
            flow.ended = flow.ended or flow.once
