"""Cables with delay, where the kernel has no netem: each joins two interfaces of a namespace.

`python -m tests.namespaces.delays FIFO A B [C D ...]` joins A to B, C to D and so on. A line
`NUMBER SECONDS` in the FIFO sets the delay, one way, of the cable of that number.
"""

import os
import select
import socket
import sys
from heapq import heappop, heappush

from tests.lab import Lab
from wgpy.io import clock

# <linux/if_packet.h>: frames that we sent; frames with what the kernel has left to do on them.
_OUTGOING = 4
_SOL_PACKET, _VNET_HEADER = 263, 15
_EVERY_PROTOCOL = 3
_SIZE = 1 << 17
_AT_ONCE = 64


class Delays:
    """Cables of a lab, by the order in which they were laid; `start` joins them."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.ns = lab, lab.ns()
        self.fifo = lab.directory / "delays"
        self.ends: list[str] = []

    def cable(self, a: str, a_address: str, b: str, b_address: str) -> None:
        """Lay a cable between two namespaces."""
        for ns, address in ((a, a_address), (b, b_address)):
            self.ends.append(self.lab.veth(self.ns, ns, (), [address])[0])

    def start(self, *seconds: float) -> None:
        """Join the ends, with the delay of each cable."""
        os.mkfifo(self.fifo)
        child = self.lab.python(self.ns, "-m", "tests.namespaces.delays", self.fifo, *self.ends)
        child.wait_log("joined")
        for number, delay in enumerate(seconds):
            self.set(number, delay)

    def set(self, number: int, seconds: float) -> None:
        """Give a cable another delay."""
        with self.fifo.open("w") as fifo:
            fifo.write(f"{number} {seconds}\n")


def main(fifo: str, *names: str) -> None:
    ends = [opened(name) for name in names]
    delays = [0.0] * (len(ends) // 2)
    orders = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    numbers = {end.fileno(): number for number, end in enumerate(ends)}
    waiting: list[tuple[float, int, int, bytes]] = []
    count = 0
    print("joined", flush=True)
    while True:
        now = clock.now()
        while waiting and waiting[0][0] <= now:
            _, _, number, frame = heappop(waiting)
            try:
                ends[number].send(frame)
            except OSError:
                continue  # its cable is gone or full
        left = max(0.0, waiting[0][0] - now) if waiting else 1.0
        for ready in select.select([*numbers, orders], [], [], left)[0]:
            if ready == orders:
                for line in os.read(orders, _SIZE).decode().splitlines():
                    cable, seconds = line.split()
                    delays[int(cable)] = float(seconds)
                continue
            number = numbers[ready]
            for frame in frames(ends[number]):
                count += 1
                heappush(waiting, (clock.now() + delays[number // 2], count, number ^ 1, frame))


def opened(interface: str) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    one.bind((interface, 0))
    one.setsockopt(_SOL_PACKET, _VNET_HEADER, 1)
    one.setblocking(False)
    return one


def frames(end: socket.socket) -> list[bytes]:
    """Return what has come from the cable, some frames at most."""
    found = []
    for _ in range(_AT_ONCE):
        try:
            frame, address = end.recvfrom(_SIZE)
        except BlockingIOError:
            break
        if address[2] != _OUTGOING:
            found.append(frame)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
