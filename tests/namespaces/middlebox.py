"""A relay of UDP that can change one byte of one datagram in a burst.

`python -m tests.namespaces.middlebox LEFT RIGHT COUNT AT`: nodes at 127.0.0.1 that listen on
LEFT and RIGHT find each other by LEFT + 1 and RIGHT + 1. Bursts stay bursts. In the first one
of COUNT datagrams from the left a byte of the datagram AT is changed, and a line tells so.
"""

import select
import socket
import struct
import sys

from wgpy.io.udp_sockets import UDP_GRO, UDP_SEGMENT

HOST = "127.0.0.1"
INSIDE = 500


def relay(at: socket.socket) -> tuple[bytearray, int]:
    """Return what has come, and the size of its datagrams, 0 if it is one."""
    content, control, _, _ = at.recvmsg(65535, socket.CMSG_SPACE(4))
    sizes = [
        struct.unpack("=i", value)[0]
        for level, kind, value in control
        if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO)
    ]
    return bytearray(content), sizes[0] if sizes else 0


def main(left: str, right: str, count: str, at: str) -> None:
    ports = int(left), int(right)
    # Each node sends to the socket that stands for the other.
    as_left, as_right = (standing_for(port) for port in ports)
    print("relays", flush=True)
    waits = True
    while True:
        for ready in select.select([as_left, as_right], [], [])[0]:
            content, size = relay(ready)
            datagrams = -(-len(content) // size) if size else 1
            if waits and ready is as_right and datagrams == int(count):
                content[int(at) * size + INSIDE] ^= 1
                waits = False
                print(f"changed {at} of {datagrams}", flush=True)
            control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))]
            out, to = (as_left, ports[1]) if ready is as_right else (as_right, ports[0])
            out.sendmsg([content], control if datagrams > 1 else [], 0, (HOST, to))


def standing_for(port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((HOST, port + 1))
    one.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    return one


if __name__ == "__main__":
    main(*sys.argv[1:])
