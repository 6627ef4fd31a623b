"""Cables with delay, where the kernel has no netem: each joins two interfaces of a namespace.

`python -m tests.namespaces.delays A B [C D ...]` joins A to B, C to D and so on. A line
`NUMBER SECONDS` on a FIFO named by DELAYS sets the delay, one way, of the cable of that number.
"""

import os
import select
import socket
import sys
from heapq import heappop, heappush

from wgpy.io import clock

_OUTGOING = 4
_ALL = 3


def opened(interface: str) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    one.bind((interface, 0))
    one.setblocking(False)
    return one


def main(fifo: str, *names: str) -> None:
    ends = [opened(name) for name in names]
    delays = [0.0] * (len(ends) // 2)
    orders = open(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))  # noqa: SIM115 - to the end
    waiting: list[tuple[float, int, int, bytes]] = []
    count = 0
    print("joined", flush=True)
    while True:
        now = clock.now()
        while waiting and waiting[0][0] <= now:
            _, _, end, frame = heappop(waiting)
            try:
                ends[end].send(frame)
            except OSError:
                continue  # its cable is gone or full
        left = max(0.0, waiting[0][0] - now) if waiting else 1.0
        for ready in select.select([*ends, orders], [], [], left)[0]:
            if ready is orders:
                number, seconds = orders.readline().split()
                delays[int(number)] = float(seconds)
                continue
            end = ends.index(ready)
            for frame in frames(ready):
                count += 1
                heappush(waiting, (clock.now() + delays[end // 2], count, end ^ 1, frame))


def frames(end: socket.socket) -> list[bytes]:
    """Return what has come from the cable, 64 frames at most."""
    found = []
    for _ in range(64):
        try:
            frame, address = end.recvfrom(65535)
        except BlockingIOError:
            break
        if address[2] != _OUTGOING:
            found.append(frame)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
