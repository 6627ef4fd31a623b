"""Numbered datagrams, and who counts them.

`python -m tests.namespaces.numbered send IP PORT RATE BATCH SIZE` sends RATE a second, BATCH in
one send, until it is ended; then `sent N` is its last line. `... receive IP PORT` says
`listens`, and when it is ended, as a line of JSON, what came.
"""

import json
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass

from wgpy.io import clock
from wgpy.io.udp_sockets import SO_RCVBUFFORCE, UDP_SEGMENT

HEAD = struct.Struct("<Qd")
TICK = 0.002
ROOM = 64 << 20
# How soon a receiver hears that it is to end, seconds.
ATTENTION = 0.1


@dataclass
class Came:
    """What a receiver has seen: datagrams, how many numbers were skipped, steps back."""

    received: int = 0
    highest: int = -1
    reordered: int = 0
    repeated: int = 0
    slowest: float = 0.0

    def take(self, number: int, delay: float) -> None:
        self.received += 1
        self.slowest = max(self.slowest, delay)
        if number > self.highest:
            self.highest = number
        elif number == self.highest:
            self.repeated += 1
        else:
            self.reordered += 1


ended = threading.Event()


def send(ip: str, port: str, rate: str, batch: str, size: str) -> None:
    pause, sent, together = threading.Event(), 0, int(batch)
    rest = bytes(int(size) - HEAD.size)
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", int(size)))]
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as to:
        to.connect((ip, int(port)))
        print("begins", flush=True)
        start = clock.now()
        while not ended.is_set():
            now = clock.now()
            while sent + together <= (now - start) * int(rate):
                numbers = range(sent, sent + together)
                batch_of = [HEAD.pack(number, now) + rest for number in numbers]
                to.sendmsg(batch_of, control if together > 1 else [])
                sent += together
            pause.wait(TICK)
    print(f"sent {sent}", flush=True)


def receive(ip: str, port: str) -> None:
    came = Came()
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as at:
        at.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        at.bind((ip, int(port)))
        at.settimeout(ATTENTION)
        print("listens", flush=True)
        while not ended.is_set():
            with suppress(TimeoutError):
                number, sent_at = HEAD.unpack_from(at.recv(65535))
                came.take(number, clock.now() - sent_at)
    print("came", json.dumps(asdict(came)), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    if sys.argv[1] == "send":
        send(*sys.argv[2:])
    else:
        receive(*sys.argv[2:])
