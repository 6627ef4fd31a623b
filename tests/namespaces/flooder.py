"""A stranger: sends recorded, forged or random datagrams at a steady rate.

`python -m tests.namespaces.flooder KIND TARGET PORT RATE SECONDS KEY RECORDING` sends from raw
sockets, so that every datagram may claim another source, and prints how many it sent. RECORDING
has a datagram in hexadecimal a line. The seed is fixed.
"""

import itertools
import random  # noqa: TID251 - nothing here is a key of anybody
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from wgpy.engine.cookie import CookieHolder
from wgpy.engine.crypto import StaticKey
from wgpy.engine.handshake import Handshake
from wgpy.io import clock
from wgpy.model import PublicKey, Secret
from wgpy.wire import messages

# Routed back to the stranger; nobody has them.
SPOOFED = bytes([10, 99])
PEER = bytes([192, 0, 2, 2])
TICK = 0.002
# Handshakes made beforehand and used in turn: nobody remembers those of an unknown key.
POOL = 300

Datagrams = Iterator[bytes]
dice = random.Random(7)


def garbage(_: "Victim") -> Datagrams:
    """All lengths from 0 to 1400, and first bytes of all types."""
    for size in itertools.cycle(range(0, 1400, 7)):
        first = bytes([dice.choice((0, 1, 2, 3, 4, 5, 127))]) + bytes(3)
        yield (first + dice.randbytes(size))[:size]


def foreign(_: "Victim") -> Datagrams:
    """What a program that embeds the node might want."""
    while True:
        yield bytes([dice.randrange(0x80, 0x100)]) + dice.randbytes(dice.randrange(200))


def bad_mac1(_: "Victim") -> Datagrams:
    """Initiations of one who does not know the key."""
    while True:
        yield b"\1\0\0\0" + dice.randbytes(messages.INITIATION_SIZE - 4)


def valid_mac1(victim: "Victim") -> Datagrams:
    """Initiations of unknown keys, perfect but for that."""
    macs = CookieHolder(victim.key)
    pool, wall = [], int((clock.now() + clock.wall_offset()) * 10**9)
    for number in range(POOL):
        static = StaticKey(Secret(dice.randbytes(32)))
        made = Handshake(victim.key).create_initiation(static, number, dice.randbytes(32), wall)
        pool.append(macs.seal(made.encode(), 0.0))
    yield from itertools.cycle(pool)


def recorded(victim: "Victim") -> Datagrams:
    """What was heard, as it was, cut short, with another tag, of a later counter."""
    while True:
        for datagram in victim.recording:
            yield datagram
            yield datagram[: dice.randrange(len(datagram))]
            yield datagram[:-16] + dice.randbytes(16)
            if datagram[0] == messages.TYPE_DATA:
                yield datagram[:8] + dice.randbytes(8) + datagram[16:]


def answers(victim: "Victim") -> Datagrams:
    """Responses and cookie replies, with valid mac1 and to indices that are in use."""
    macs = CookieHolder(victim.key)
    indices = [d[4:8] for d in victim.recording if d[0] == messages.TYPE_DATA]
    while True:
        index = dice.choice([*indices, dice.randbytes(4)])
        response = b"\2\0\0\0" + dice.randbytes(4) + index + dice.randbytes(80)
        yield macs.seal(response, 0.0)
        yield b"\3\0\0\0" + index + dice.randbytes(56)


def mix(victim: "Victim") -> Datagrams:
    """All of it in turn."""
    kinds = [kind(victim) for name, kind in KINDS.items() if name != "mix"]
    for kind in kinds:  # what they make beforehand, and not in the middle of the flood
        next(kind)
    while True:
        for kind in kinds:
            yield next(kind)


KINDS: dict[str, Callable[["Victim"], Datagrams]] = {
    "garbage": garbage,
    "foreign": foreign,
    "bad_mac1": bad_mac1,
    "valid_mac1": valid_mac1,
    "recorded": recorded,
    "answers": answers,
    "mix": mix,
}


class Victim:
    """Whom to send to, its public key, and what was recorded of it."""

    def __init__(self, host: str, port: str, key: str, recording: str) -> None:
        self.host = socket.inet_aton(host)
        self.port = int(port)
        self.key = PublicKey(bytes.fromhex(key))
        self.recording = [bytes.fromhex(line) for line in Path(recording).read_text().split()]


def packet(victim: Victim, source: bytes, port: int, payload: bytes) -> bytes:
    """Return an IPv4 packet; the kernel fills in its length and checksum, UDP has none."""
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, source, victim.host)
    udp = struct.pack(">4H", port, victim.port, 8 + len(payload), 0)
    return header + udp + payload


def source(number: int) -> tuple[bytes, int]:
    """Return an address and port: mostly another each time, now and then the peer's own."""
    if number % 8 == 0:
        return PEER, 51822
    return SPOOFED + (number * 7919 % 65000 + 1).to_bytes(2), number % 64512 + 1024


def main(kind: str, host: str, port: str, rate: str, seconds: str, *rest: str) -> None:
    victim = Victim(host, port, *rest)
    datagrams = KINDS[kind](victim)
    first = next(datagrams)
    pause = threading.Event()
    sent = refused = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        print("begins", flush=True)
        start = clock.now()
        while (elapsed := clock.now() - start) < float(seconds):
            while sent < elapsed * int(rate):
                address, from_port = source(sent)
                payload = next(datagrams) if sent else first
                try:
                    raw.sendto(packet(victim, address, from_port, payload), (host, 0))
                except OSError:
                    refused += 1
                sent += 1
            pause.wait(TICK)
    print(f"sent {sent - refused} refused {refused}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
