"""Microseconds of the engine for packets, handshakes and cookies; see `inprocess`."""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from time import thread_time

from wgpy.engine.cookie import CookieChecker, CookieHolder
from wgpy.engine.crypto import StaticKey, clamp, public_key
from wgpy.engine.device import Device
from wgpy.engine.handshake import Handshake, open_initiation_untrusted
from wgpy.engine.session import PAPER_LIMITS, Session
from wgpy.model import (
    AllowedIPChange,
    Buffer,
    Burst,
    DeviceChange,
    Endpoint,
    PeerChange,
    Prefix,
    Secret,
    TunBurst,
)
from wgpy.wire.messages import Initiation, data_fields_untrusted

SIZES = (64, 512, 1420)
BURSTS = (1, 64)
PACKETS = 512
ROUNDS = 25
MTU = 1420
NOW = 1000.0
HOSTS = (bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2]))
OUTER = (Endpoint(bytes([192, 0, 2, 1]), 51820), Endpoint(bytes([192, 0, 2, 2]), 51820))

Figures = dict[str, tuple[float, str]]


def best(work: Callable[[], float]) -> float:
    """Return the least of some rounds; `work` returns the seconds of one."""
    return min(work() for _ in range(ROUNDS))


def timed(work: Callable[[], object], count: int = 1) -> float:
    """Return the seconds of each of `count` calls."""
    began = thread_time()
    for _ in range(count):
        work()
    return (thread_time() - began) / count


def ip_packet(size: int) -> bytes:
    """Return an IPv4 packet of `size` bytes from the first host to the second."""
    header = bytes([0x45, 0]) + size.to_bytes(2) + bytes(4) + bytes([64, 17, 0, 0])
    return header + HOSTS[0] + HOSTS[1] + bytes(size - 20)


# --- sessions ---


def sessions() -> tuple[Session, Session]:
    one, other = bytes(range(32)), bytes(range(32, 64))
    return (
        Session((one, other, 2), 1, NOW, PAPER_LIMITS, initiator=True),
        Session((other, one, 1), 2, NOW, PAPER_LIMITS, initiator=False),
    )


def sealing(packet: bytes, burst: int) -> tuple[float, float]:
    """Return the seconds a packet of sealing and of opening by a session."""
    alice, bob = sessions()
    bursts = [[packet] * burst for _ in range(PACKETS // burst)]
    began = thread_time()
    sealed: list[list[Buffer]] = [alice.seal(one, MTU) for one in bursts]
    middle = thread_time()
    for messages in sealed:
        bob.open_untrusted([(data_fields_untrusted(one)[2], one) for one in messages], NOW, {})
    return (middle - began) / PACKETS, (thread_time() - middle) / PACKETS


# --- devices ---


def devices() -> tuple[Device, Device]:
    """Return two devices that have shaken hands."""
    secrets = [clamp(Secret(bytes([number]) * 32)) for number in (1, 2)]
    pair = (Device(os.urandom, 0.0), Device(os.urandom, 0.0))
    for at, other in ((0, 1), (1, 0)):
        allowed = (AllowedIPChange(Prefix(HOSTS[other], 32)),)
        peer = PeerChange(
            public_key(secrets[other]), endpoint=OUTER[other], allowed_ips=allowed
        )
        pair[at].set_up(NOW, up=True)
        pair[at].configure(DeviceChange(secrets[at], peers=(peer,)), NOW)
    pair[0].receive_packets([TunBurst(ip_packet(64))], NOW)
    for at in (0, 1, 0, 1):
        pair[1 - at].receive_bursts(arrived(pair[at].take_bursts(), at), NOW)
    assert pair[1].take_packets(), "the devices have shaken hands"
    return pair


def arrived(bursts: Sequence[Burst], sender: int) -> list[Burst]:
    """Return what the other side gets of what the sender sends."""
    return [
        Burst(list(burst.segments()), burst.segment_size, OUTER[sender], None, burst.tos)
        for burst in bursts
    ]


def carrying(pair: tuple[Device, Device], packet: bytes, burst: int) -> tuple[float, float]:
    """Return the seconds a packet from TUN to UDP and from UDP to TUN."""
    alice, bob = pair
    packets = [TunBurst(packet)] * burst
    out = into = 0.0
    for _ in range(PACKETS // burst):
        began = thread_time()
        alice.receive_packets(packets, NOW)
        sent = alice.take_bursts()
        out += thread_time() - began
        datagrams = arrived(sent, 0)
        began = thread_time()
        bob.receive_bursts(datagrams, NOW)
        got = bob.take_packets()
        into += thread_time() - began
        assert len(got) == burst
    return out / PACKETS, into / PACKETS


# --- handshakes ---


def handshake_seconds() -> float:
    """Return the seconds of a handshake, both sides together, with a fresh ephemeral each."""
    alice, bob = StaticKey(Secret(bytes([1]) * 32)), StaticKey(Secret(bytes([2]) * 32))
    alice.remember(bob.public)
    bob.remember(alice.public)
    psk = Secret(bytes(32))
    initiator, responder = Handshake(bob.public), Handshake(alice.public)
    count = 30
    began = thread_time()
    for number in range(count):
        sent = initiator.create_initiation(alice, 1, os.urandom(32), 10**9 * number)
        raw = Initiation.decode_untrusted(sent.encode())
        opened = open_initiation_untrusted(bob, raw)
        responder.accept(opened, NOW + number)
        response, _ = responder.create_response(opened, 2, os.urandom(32), psk)
        initiator.consume_response(response, psk)
    return (thread_time() - began) / count


def macs() -> Figures:
    """Return what it costs to refuse and to answer a stranger's handshake message."""
    public = public_key(Secret(bytes([2]) * 32))
    message = CookieHolder(public).seal(bytes([1]) + bytes(147), NOW)
    checker = CookieChecker(public, os.urandom)
    source = OUTER[0]
    return {
        "mac1 check": (
            best(lambda: timed(lambda: checker.mac1_matches(message), 500)) * 1e6,
            "us",
        ),
        "cookie reply": (
            best(lambda: timed(lambda: checker.reply(message, source, NOW), 200)) * 1e6,
            "us",
        ),
    }


def pairs(work: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Return the least of some rounds of each of two figures, in microseconds."""
    first, second = zip(*(work() for _ in range(ROUNDS)), strict=True)
    return min(first) * 1e6, min(second) * 1e6


def main() -> None:
    figures: Figures = {}
    pair = devices()
    for size in SIZES:
        packet = ip_packet(size)
        for burst in BURSTS:
            tail = f"{size} bytes, bursts of {burst}"
            sealed, opened = pairs(partial(sealing, packet, burst))
            figures[f"seal {tail}"] = (sealed, "us")
            figures[f"open {tail}"] = (opened, "us")
            out, into = pairs(partial(carrying, pair, packet, burst))
            figures[f"TUN to UDP {tail}"] = (out, "us")
            figures[f"UDP to TUN {tail}"] = (into, "us")
    figures["handshake, both sides"] = (best(handshake_seconds) * 1e3, "ms")
    print(json.dumps(figures | macs()))


if __name__ == "__main__":
    main()
