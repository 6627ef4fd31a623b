"""Bursts through two devices: with kernels, and with none, the host sees the same packets."""

import gc
from collections.abc import Iterable
from hashlib import shake_128
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.tunnel import EPOCH, secret
from tests.wgpy.kernels.packets import A4, B4, take_apart, tcp, udp
from wgpy.engine.crypto import public_key
from wgpy.engine.device import Device
from wgpy.errors import Drop
from wgpy.kernels import compiler
from wgpy.kernels.bursts import BurstKernels
from wgpy.kernels.lanes import Lanes
from wgpy.kernels.segment import Segmenter
from wgpy.model import (
    AllowedIPChange,
    Burst,
    DeviceChange,
    Endpoint,
    PeerChange,
    Prefix,
    TunBurst,
)
from wgpy.wire import vnet

ALICE, BOB = Endpoint(bytes([10, 0, 0, 1]), 1), Endpoint(bytes([10, 0, 0, 2]), 2)
SIZE = 1000


def _lanes() -> Lanes | None:
    outcome: object = compiler.load()
    if isinstance(outcome, compiler.Compiling):
        outcome = outcome.finish(60)
    return outcome if isinstance(outcome, Lanes) else None


LANES = _lanes()
KINDS = ["portable", "jit"]


def kernels(kind: str) -> BurstKernels:
    if kind == "jit" and LANES is None:
        pytest.skip("no compiled kernels here")
    return BurstKernels(udp=True, lanes=LANES if kind == "jit" else None)


class Entropy:
    """Bytes that look random and are always the same."""

    def __init__(self, name: str) -> None:
        self._name, self._count = name, 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return shake_128(f"{self._name} {self._count}".encode()).digest(size)


class Pair:
    """Alice, who sends super packets, and Bob; `arrive` carries Alice's bursts to Bob."""

    def __init__(self, sender: BurstKernels | None, receiver: BurstKernels | None) -> None:
        self.now = 1.0
        self.alice = self._device("alice", "bob", BOB, B4)
        self.bob = self._device("bob", "alice", ALICE, A4)
        self.alice.set_kernels(sender)
        self.bob.set_kernels(receiver)

    def _device(self, own: str, other: str, remote: Endpoint, inner: bytes) -> Device:
        device = Device(Entropy(own), EPOCH)
        peer = PeerChange(
            public_key(secret(other)),
            endpoint=remote,
            allowed_ips=(AllowedIPChange(Prefix(inner, 32)),),
        )
        device.configure(DeviceChange(private_key=secret(own), peers=(peer,)), self.now)
        device.set_up(self.now, up=True)
        return device

    def connect(self) -> None:
        self.alice.receive_packets([TunBurst(udp(4, b"first"))], self.now)
        self.pump()
        self.bob.take_packets()
        self.alice.take_packets()

    def pump(self) -> None:
        for _ in range(4):
            self.bob.receive_bursts(self.leaving(), self.now)
            back = [burst._replace(remote=BOB) for burst in self.bob.take_bursts()]
            self.alice.receive_bursts(back, self.now)

    def leaving(self) -> list[Burst]:
        return [burst._replace(remote=ALICE) for burst in self.alice.take_bursts()]

    def arrive(self, bursts: Iterable[Burst]) -> list[TunBurst]:
        self.bob.receive_bursts(list(bursts), self.now)
        return self.bob.take_packets()

    def drops(self, device: Device) -> dict[str, int]:
        return dict(device.status().drops)


def super_tcp(payload: bytes, gso_size: int = SIZE, seq: int = 7) -> TunBurst:
    packet = bytearray(tcp(4, payload, seq))
    # The host leaves the sum of the pseudo header where the checksum belongs.
    pseudo = int.from_bytes(A4[:2]) + int.from_bytes(A4[2:])
    pseudo += int.from_bytes(B4[:2]) + int.from_bytes(B4[2:]) + 6 + len(packet) - 20
    packet[36:38] = ((pseudo & 0xFFFF) + (pseudo >> 16)).to_bytes(2)
    return TunBurst(bytes(packet), vnet.GSO_TCPV4, gso_size, 20, 16)


def wire(packets: Iterable[TunBurst]) -> list[bytes]:
    """Return packets for the host as a network would have carried them, in their order."""
    singles: list[bytes] = []
    for burst in packets:
        if burst.gso_type:
            whole = TunBurst(burst.whole(), *burst[1:])
            singles += [bytes(each) for each in Segmenter().segment_untrusted(whole)]
        else:
            singles.append(bytes(burst.whole()))
    return singles


def payload(count: int, tail: int = SIZE) -> bytes:
    return shake_128(b"payload").digest((count - 1) * SIZE + tail)


def segments(burst: Burst) -> list[bytes]:
    return [bytes(each) for each in burst.segments()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", [1, 16, 999, SIZE])
@pytest.mark.parametrize("count", [1, 2, 5, 45, 60])
def test_a_super_packet_arrives_as_one_and_whole(kind, count, tail):
    pair = Pair(kernels(kind), kernels(kind))
    pair.connect()
    data = payload(count, tail)
    pair.alice.receive_packets([super_tcp(data)], pair.now)
    (burst,) = pair.leaving()
    assert len(segments(burst)) == count
    arrived = pair.arrive([burst])
    assert len(arrived) == 1
    assert b"".join(take_apart(each).payload for each in wire(arrived)) == data
    assert pair.drops(pair.alice) == pair.drops(pair.bob) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_with_and_without_kernels_the_same_datagrams_leave_and_the_same_packets_arrive(kind):
    fast, slow = Pair(kernels(kind), kernels(kind)), Pair(None, None)
    for pair in (fast, slow):
        pair.connect()
    burst = super_tcp(payload(20, 333))
    fast.alice.receive_packets([burst], fast.now)
    singles = [bytes(each) for each in Segmenter().segment_untrusted(burst)]
    slow.alice.receive_packets([TunBurst(each) for each in singles], slow.now)
    left, right = fast.leaving(), slow.leaving()
    assert [*chain.from_iterable(map(segments, left))] == [
        *chain.from_iterable(map(segments, right))
    ]
    assert wire(fast.arrive(left)) == wire(slow.arrive(right)) == singles
    assert fast.alice.status().peers == slow.alice.status().peers
    assert fast.bob.status().peers == slow.bob.status().peers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [0, 17, 44])
def test_one_bad_packet_in_a_burst_loses_exactly_one(kind, bad):
    pair = Pair(kernels(kind), kernels(kind))
    pair.connect()
    pair.alice.receive_packets([super_tcp(payload(45))], pair.now)
    (burst,) = pair.leaving()
    whole = bytearray(b"".join(segments(burst)))
    whole[bad * burst.segment_size + 500] ^= 1
    arrived = wire(pair.arrive([burst._replace(payload=bytes(whole))]))
    assert len(arrived) == 44
    assert pair.drops(pair.bob) == {Drop.NOT_AUTHENTIC.value: 1}
    assert [take_apart(each).sequence for each in arrived] == [
        7 + number * SIZE for number in range(45) if number != bad
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_burst_that_comes_again_is_replayed_packet_by_packet(kind):
    pair = Pair(kernels(kind), kernels(kind))
    pair.connect()
    pair.alice.receive_packets([super_tcp(payload(10))], pair.now)
    (burst,) = pair.leaving()
    first = segments(burst)[3]
    assert len(wire(pair.arrive([Burst([first], len(first), ALICE)]))) == 1
    assert len(wire(pair.arrive([burst]))) == 9
    assert pair.arrive([burst]) == []
    assert pair.drops(pair.bob) == {Drop.REPLAYED.value: 11}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_burst_of_one_session_goes_packet_by_packet(kind):
    pair = Pair(kernels(kind), kernels(kind))
    pair.connect()
    pair.alice.receive_packets([super_tcp(payload(4))], pair.now)
    (burst,) = pair.leaving()
    good = segments(burst)
    garbage = b"\x04\0\0\0" + bytes(len(good[0]) - 4)
    mixed = Burst(
        b"".join([good[0], garbage, good[1], b"\x09" * len(good[0])]), len(good[0]), ALICE
    )
    assert len(wire(pair.arrive([mixed]))) == 2
    assert pair.drops(pair.bob) == {Drop.UNKNOWN_INDEX.value: 1, Drop.MALFORMED.value: 1}
    unknown = Burst(garbage * 3, len(garbage), ALICE)
    assert pair.arrive([unknown]) == []
    assert pair.drops(pair.bob)[Drop.UNKNOWN_INDEX.value] == 4


def test_an_expired_session_opens_no_burst():
    pair = Pair(kernels("portable"), kernels("portable"))
    pair.connect()
    pair.alice.receive_packets([super_tcp(payload(4))], pair.now)
    leaving = pair.leaving()
    pair.now += 181
    assert pair.arrive(leaving) == []
    assert pair.drops(pair.bob) == {Drop.KEY_EXPIRED.value: 4}


def test_a_burst_from_a_source_that_is_not_the_peers_is_dropped_whole():
    pair = Pair(kernels("portable"), kernels("portable"))
    pair.connect()
    nobody = PeerChange(public_key(secret("alice")), replace_allowed_ips=True)
    pair.bob.configure(DeviceChange(peers=(nobody,)), pair.now)
    pair.alice.receive_packets([super_tcp(payload(4))], pair.now)
    assert pair.arrive(pair.leaving()) == []
    assert pair.drops(pair.bob) == {Drop.NOT_ALLOWED.value: 4}


def test_congestion_outside_marks_each_packet_of_a_burst():
    pair = Pair(kernels("portable"), kernels("portable"))
    pair.connect()
    ect = bytearray(super_tcp(payload(3)).whole())
    ect[1] |= 2
    ect[10:12] = bytes(2)
    total = sum(int.from_bytes(ect[at : at + 2]) for at in range(0, 20, 2))
    ect[10:12] = (0xFFFF - (total & 0xFFFF) - (total >> 16)).to_bytes(2)
    pair.alice.receive_packets([TunBurst(bytes(ect), vnet.GSO_TCPV4, SIZE, 20, 16)], pair.now)
    (burst,) = pair.leaving()
    assert burst.tos == 2
    arrived = wire(pair.arrive([burst._replace(tos=3)]))
    assert [each[1] & 3 for each in arrived] == [3, 3, 3]


def test_a_super_packet_without_a_session_waits_as_packets():
    pair = Pair(kernels("portable"), kernels("portable"))
    pair.alice.receive_packets([super_tcp(payload(5))], pair.now)
    pair.pump()
    assert len(wire(pair.bob.take_packets())) == 5


def test_a_malformed_super_packet_of_the_host_is_dropped():
    pair = Pair(kernels("portable"), kernels("portable"))
    pair.connect()
    pair.alice.receive_packets([super_tcp(payload(5))._replace(csum_offset=3)], pair.now)
    assert pair.leaving() == []
    assert pair.drops(pair.alice) == {Drop.MALFORMED.value: 1}


def test_a_checksum_that_the_host_left_open_is_filled_in():
    pair = Pair(kernels("portable"), None)
    pair.connect()
    (packet, *_) = super_tcp(b"hello")
    pair.alice.receive_packets([TunBurst(packet, 0, 0, 20, 16)], pair.now)
    (arrived,) = wire(pair.arrive(pair.leaving()))
    assert take_apart(arrived).payload == b"hello"


def test_packets_that_come_singly_are_merged_for_the_host():
    pair = Pair(None, kernels("portable"))
    pair.connect()
    singles = [tcp(4, bytes([n]) * SIZE, 1 + n * SIZE) for n in range(3)]
    pair.alice.receive_packets([TunBurst(each) for each in singles], pair.now)
    arrived = pair.arrive(pair.leaving())
    assert len(arrived) == 1
    assert b"".join(take_apart(each).payload for each in wire(arrived)) == b"".join(
        bytes([n]) * SIZE for n in range(3)
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6), st.sampled_from(KINDS))
def test_bytes_of_a_stream_arrive_in_order_whatever_their_bursts(lengths, kind):
    pair = Pair(kernels(kind), kernels(kind))
    pair.connect()
    stream, seq, arrived = b"", 7, []
    for number, length in enumerate(lengths):
        data = shake_128(bytes([number])).digest(length)
        sent = super_tcp(data, seq=seq) if length > SIZE else TunBurst(tcp(4, data, seq))
        pair.alice.receive_packets([sent], pair.now)
        stream, seq = stream + data, seq + length
        arrived += wire(pair.arrive(pair.leaving()))
    assert b"".join(take_apart(each).payload for each in arrived) == stream


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_that_is_renewed_again_and_again_leaves_nothing_behind(kind):
    pair = Pair(kernels(kind), kernels(kind))
    pair.connect()
    shaken: set[float] = set()

    def renew(times: int) -> int:
        """Return how many objects there are after a session for each two minutes."""
        for _ in range(times):
            pair.now += 121
            for device in (pair.alice, pair.bob):
                device.handle_deadline(pair.now)
            for _ in range(2):
                pair.alice.receive_packets([super_tcp(payload(10))], pair.now)
                pair.pump()
            assert len(wire(pair.bob.take_packets())) == 20
            pair.alice.take_packets()
            for device in (pair.alice, pair.bob):
                device.take_events()
            shaken.add(pair.alice.status().peers[0].last_handshake)
        gc.collect()
        return len(gc.get_objects())

    before = renew(5)
    assert abs(renew(60) - before) < 60
    assert len(shaken) == 65
