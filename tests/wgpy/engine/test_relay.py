"""A gateway between peers: every rule of a router, packet by packet and in bursts."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.tunnel import EPOCH, secret
from tests.wgpy.engine.test_incoming import Entropy, kernels
from tests.wgpy.kernels.packets import (
    A4,
    A6,
    B4,
    B6,
    ip4,
    super_tcp,
    super_udp,
    take_apart,
    tcp,
    udp,
)
from wgpy.engine import constants
from wgpy.engine.crypto import public_key
from wgpy.engine.device import Device
from wgpy.errors import Drop
from wgpy.model import (
    AllowedIPChange,
    Burst,
    DeviceChange,
    Endpoint,
    InterfaceAddress,
    PeerChange,
    PeerStatus,
    Prefix,
    Relayed,
    TunBurst,
)
from wgpy.wire import hop, vnet
from wgpy.wire.ip import checksum, ecn_to_outer

KINDS = ["none", "portable", "jit"]
MTU = 1420
WHERE = {
    name: Endpoint(ip_address(f"10.9.0.{number}").packed, 51820)
    for number, name in enumerate(("alice", "gate", "bob", "carol"), 1)
}
OUTSIDE = {endpoint: name for name, endpoint in WHERE.items()}
GATE4, GATE6 = ip_address("192.0.2.254").packed, ip_address("2001:db8::fe").packed
CAROL4 = ip_address("192.0.2.3").packed
EVERYTHING = (Prefix(bytes(4), 0), Prefix(bytes(16), 0))
OWN = ("192.0.2.254/24", "2001:db8::fe/64", "fe80::1/64", "127.0.0.1/8")


def packed(text: str) -> bytes:
    return ip_address(text).packed


def single(*addresses: bytes) -> tuple[Prefix, ...]:
    return tuple(Prefix(address, 8 * len(address)) for address in addresses)


def peer(name: str, prefixes: Iterable[Prefix], *, known: bool = True) -> PeerChange:
    return PeerChange(
        public_key(secret(name)),
        endpoint=WHERE[name] if known else None,
        allowed_ips=[AllowedIPChange(prefix) for prefix in prefixes],
    )


class Three:
    """Alice and Bob, who know the gate only; the gate knows Carol, who is nowhere."""

    def __init__(self, kind: str = "none", *, forward: bool = True) -> None:
        self.now = 1.0
        gate = peer("gate", EVERYTHING)
        self.devices = {
            "alice": self._device("alice", gate),
            "bob": self._device("bob", gate),
            "gate": self._device(
                "gate",
                peer("alice", single(A4, A6)),
                peer("bob", single(B4, B6)),
                peer("carol", single(CAROL4), known=False),
                forward=forward,
            ),
        }
        self.alice, self.gate, self.bob = (
            self.devices[name] for name in ("alice", "gate", "bob")
        )
        self.gate.set_own_addresses([InterfaceAddress(*_interface(text)) for text in OWN])
        if kind != "none":
            for device in self.devices.values():
                device.set_kernels(kernels(kind))
        self.got: dict[str, list[bytes]] = {name: [] for name in self.devices}
        # What the gate sent to Bob, as it left.
        self.bursts: list[Burst] = []

    def _device(self, name: str, *peers: PeerChange, forward: bool = False) -> Device:
        device = Device(Entropy(name), EPOCH, forward=forward)
        device.configure(DeviceChange(secret(name), 51820, peers=peers), self.now)
        device.set_up(self.now, up=True)
        device.set_mtu(MTU)
        return device

    def connect(self) -> "Three":
        """Let all sessions stand."""
        self.send("alice", udp(4, b"first"))
        self.gate_sends(TunBurst(ip4_between(GATE4, B4)))
        self.take("gate")
        self.take("bob")
        self.take("alice")
        self.bursts.clear()
        return self

    def send(self, name: str, *packets: bytes | TunBurst, tos: int | None = None) -> None:
        """Let a host send packets, one burst, and carry everything until nothing moves."""
        self.devices[name].receive_packets(
            [each if isinstance(each, TunBurst) else TunBurst(each) for each in packets],
            self.now,
        )
        self.carry(tos)

    def gate_sends(self, packet: TunBurst) -> None:
        self.gate.receive_packets([packet], self.now)
        self.carry()

    def carry(self, tos: int | None = None) -> None:
        """Deliver what was sent; packets of one size arrive as one burst (GRO)."""
        while self._step(tos):
            # Handshakes are worked off a few at a time.
            self.now += constants.BACKLOG_DELAY
            for device in self.devices.values():
                device.handle_deadline(self.now)

    def _step(self, tos: int | None) -> bool:
        moved = False
        for name, device in self.devices.items():
            for burst in device.take_bursts():
                moved = True
                if name == "gate" and burst.remote == WHERE["bob"]:
                    self.bursts.append(burst)
                self._arrive(name, burst, burst.tos if tos is None else tos)
            for packet in device.take_packets():
                self.got[name] += wire(packet)
        return moved

    def _arrive(self, sender: str, burst: Burst, tos: int) -> None:
        device = self.devices.get(OUTSIDE[burst.remote])
        if device is not None:
            arriving = [
                Burst(payload, size, WHERE[sender], None, tos)
                for payload, size in coalesced([bytes(each) for each in burst.segments()])
            ]
            device.receive_bursts(arriving, self.now)

    def take(self, name: str) -> list[bytes]:
        """Return and forget what a host got."""
        taken, self.got[name] = self.got[name], []
        return taken

    def drops(self, name: str = "gate") -> dict[str, int]:
        return dict(self.devices[name].status().drops)

    def relayed(self) -> Relayed:
        relayed = self.gate.status().relayed
        assert relayed is not None
        return relayed

    def status(self, name: str) -> PeerStatus:
        (found,) = [
            each
            for each in self.gate.status().peers
            if each.public_key == public_key(secret(name))
        ]
        return found


def _interface(text: str) -> tuple[bytes, int]:
    interface = ip_interface(text)
    return interface.ip.packed, interface.network.prefixlen


def coalesced(payloads: Sequence[bytes]) -> Iterable[tuple[bytes, int]]:
    """Yield runs of one size, each with a shorter one at its end, as the kernel's GRO does."""
    run: list[bytes] = []
    for payload in payloads:
        if run and (len(payload) > len(run[0]) or len(run[-1]) != len(run[0])):
            yield b"".join(run), len(run[0])
            run = []
        run.append(payload)
    if run:
        yield b"".join(run), len(run[0])


def wire(burst: TunBurst) -> list[bytes]:
    if not burst.gso_type:
        return [bytes(burst.whole())]
    whole = TunBurst(burst.whole(), *burst[1:])
    return [bytes(each) for each in kernels("portable").segment(whole)]


def ip4_between(source: bytes, destination: bytes, hops: int = 64, size: int = 28) -> bytes:
    packet = bytearray(ip4(17, bytes(size - 20), ttl=hops))
    packet[12:20] = source + destination
    return _summed(packet)


def ip6_between(source: bytes, destination: bytes, hops: int = 64, size: int = 48) -> bytes:
    packet = bytearray(udp(6, bytes(size - 48), ttl=hops))
    packet[8:40] = source + destination
    return bytes(packet)


def between(source: bytes, destination: bytes, hops: int = 64, size: int = 60) -> bytes:
    make = ip4_between if len(source) == 4 else ip6_between
    return make(source, destination, hops, size)


def _summed(packet: bytearray) -> bytes:
    packet[10:12] = bytes(2)
    packet[10:12] = checksum(packet[:20]).to_bytes(2)
    return bytes(packet)


def icmp_of(packet: bytes) -> tuple[bytes, int, int, int, bytes]:
    """Return source, type, code, the word that follows, and the quote of an ICMP error."""
    start = 20 if packet[0] >> 4 == 4 else 40
    source = packet[12:16] if start == 20 else packet[8:24]
    word = int.from_bytes(packet[start + 4 : start + 8])
    return source, packet[start], packet[start + 1], word, packet[start + 8 :]


ENDS = [(A4, B4, GATE4), (A6, B6, GATE6)]


# --- the way ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_of_one_peer_reaches_another_a_hop_further(kind, version):
    three = Three(kind).connect()
    before = three.relayed()
    packet = udp(version, b"payload", ttl=9)
    three.send("alice", packet)
    assert three.take("bob") == [udp(version, b"payload", ttl=8)]
    assert three.take("gate") == []
    assert three.relayed() == (before.packets + 1, before.inner_bytes + len(packet))


def test_nothing_is_relayed_unless_asked_for():
    three = Three(forward=False).connect()
    three.send("alice", udp(4, b"payload"))
    assert three.take("bob") == []
    assert three.take("gate") == [udp(4, b"payload")]
    assert three.gate.status().relayed is None


@pytest.mark.parametrize("kind", ["portable", "jit"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tail", [1, 16, 999, 1000])
@pytest.mark.parametrize("make", [super_tcp, super_udp])
def test_a_burst_goes_on_as_one_and_whole(kind, version, tail, make):
    three = Three(kind).connect()
    data = bytes(range(256)) * 200
    data = data[: 20 * 1000 + tail]
    before = three.relayed()
    three.send("alice", make(version, data, 1000))
    (burst,) = three.bursts
    assert not isinstance(burst.payload, list)
    arrived = three.take("bob")
    assert len(arrived) == 21
    assert b"".join(take_apart(each).payload for each in arrived) == data
    assert {hop.hops_left(each) for each in arrived} == {63}
    relayed = three.relayed()
    assert relayed.packets - before.packets == 21
    assert relayed.inner_bytes - before.inner_bytes == sum(map(len, arrived))
    assert three.drops() == three.drops("bob") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_all_ways_lead_to_the_same_packets(kind):
    """With kernels and without, in a burst or singly: the same leaves and is counted."""
    three = Three(kind).connect()
    packets = [udp(4, bytes([n]) * 100, identification=n) for n in range(9)]
    packets.append(udp(4, b"short", identification=9))
    before = three.status("bob").tx_bytes
    three.send("alice", *packets)
    assert three.take("bob") == [bytes(hop.take_hop(each)) for each in packets]
    # 16 + 16 bytes of WireGuard around plaintexts padded to 16.
    sizes = sum(32 + -(-len(each) // 16) * 16 for each in packets)
    assert three.status("bob").tx_bytes - before == sizes


@pytest.mark.parametrize("kind", KINDS)
def test_byte_counters_of_both_peers_are_exact(kind):
    three = Three(kind).connect()
    before = three.status("alice").rx_bytes, three.status("bob").tx_bytes
    for _ in range(3):
        three.send("alice", *[udp(4, b"x" * 100)] * 10)
    size = 32 + 128
    assert three.status("alice").rx_bytes - before[0] == 30 * size
    assert three.status("bob").tx_bytes - before[1] == 30 * size
    assert three.status("alice").tx_bytes, "the handshake"


@pytest.mark.parametrize("kind", KINDS)
def test_one_burst_for_host_and_peers_is_sorted(kind):
    three = Three(kind).connect()
    for_bob = [between(A4, B4, size=100) for _ in range(4)]
    for_gate = [between(A4, GATE4, size=100) for _ in range(3)]
    mixed = [for_gate[0], for_bob[0], for_bob[1], for_gate[1], for_bob[2], for_gate[2]]
    three.send("alice", *mixed, for_bob[3])
    assert len(three.take("bob")) == 4
    assert three.take("gate") == for_gate


@pytest.mark.parametrize("kind", KINDS)
def test_a_packet_may_go_back_to_where_it_came_from(kind):
    three = Three(kind).connect()
    packet = between(A4, A4, hops=5)
    three.send("alice", packet)
    assert three.take("alice") == [bytes(hop.take_hop(packet))]


def test_without_a_session_packets_wait_for_the_handshake():
    three = Three()
    three.send("alice", udp(4, b"payload"))
    assert three.take("bob") == [udp(4, b"payload", ttl=63)]
    assert three.status("bob").last_handshake


@pytest.mark.parametrize("kind", ["portable", "jit"])
def test_a_burst_without_a_session_waits_for_the_handshake(kind):
    three = Three(kind)
    three.send("alice", between(A4, GATE4))
    three.send("alice", super_tcp(4, bytes(5000), 1000))
    assert len(three.take("bob")) == 5


def test_what_waits_for_a_handshake_is_bounded():
    three = Three().connect()
    three.gate.configure(DeviceChange(peers=[peer("carol", (), known=True)]), three.now)
    for _ in range(20):
        three.send("alice", *[between(A4, CAROL4)] * 10)
    assert three.drops() == {Drop.STAGED_OVERFLOW.value: 200 - 128}


# --- what is the host's ---


@pytest.mark.parametrize(
    "destination",
    [
        *("192.0.2.254", "192.0.2.255", "224.0.0.1", "255.255.255.255", "127.0.0.1"),
        *("0.0.0.0", "2001:db8::fe", "fe80::2", "ff02::1", "::1"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_for_us_or_stays_on_its_link_goes_to_the_host(kind, destination):
    """Though the prefixes of a peer cover it."""
    three = Three(kind).connect()
    three.gate.configure(DeviceChange(peers=[peer("bob", EVERYTHING)]), three.now)
    address = packed(destination)
    packets = [between(A4 if len(address) == 4 else A6, address)] * 3
    three.send("alice", *packets)
    assert three.take("gate") == packets
    assert three.take("bob") == []


def test_what_no_peer_has_goes_to_the_host():
    three = Three().connect()
    three.send("alice", between(A4, packed("198.51.100.1")))
    assert len(three.take("gate")) == 1


def test_the_last_address_of_a_small_subnet_is_a_host():
    three = Three().connect()
    three.gate.set_own_addresses([InterfaceAddress(packed("192.0.2.3"), 31)])
    three.send("alice", between(A4, B4), between(A4, packed("192.0.2.3")))
    assert (len(three.take("bob")), len(three.take("gate"))) == (1, 1)


# --- what is dropped ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_cannot_speak_as_another(kind):
    three = Three(kind).connect()
    three.send("bob", *[between(A4, B4)] * 6)
    three.send("bob", between(A6, B6))
    three.send("bob", *[between(CAROL4, A4)] * 6)
    assert three.take("alice") == three.take("bob") == three.take("gate") == []
    assert three.drops() == {Drop.NOT_ALLOWED.value: 13}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "source", ["192.0.2.254", "127.0.0.1", "224.0.0.1", "0.0.0.0", "fe80::9", "ff02::1", "::1"]
)
def test_a_source_of_ours_or_of_no_host_is_dropped(kind, source):
    """Though the prefixes of the sender cover it."""
    three = Three(kind).connect()
    three.gate.configure(DeviceChange(peers=[peer("alice", EVERYTHING)]), three.now)
    address = packed(source)
    three.send("alice", *[between(address, B4 if len(address) == 4 else B6)] * 4)
    assert three.take("bob") == three.take("gate") == three.take("alice") == []
    assert three.drops() == {Drop.MARTIAN.value: 4}


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_does_not_verify_is_dropped(kind):
    three = Three(kind).connect()
    broken = bytearray(udp(4, b"payload"))
    broken[11] ^= 1
    three.send("alice", udp(4, b"payload"), bytes(broken), udp(4, b"payload"))
    assert len(three.take("bob")) == 2
    assert three.drops() == {Drop.BAD_INNER.value: 1}


def test_a_datagram_of_the_tunnel_to_a_peer_does_not_go_round_in_it():
    three = Three().connect()
    outside = WHERE["bob"].host
    three.gate.configure(DeviceChange(peers=[peer("bob", single(B4, outside))]), three.now)
    three.gate.receive_packets([TunBurst(between(GATE4, B4))], three.now)
    (own,) = three.gate.take_bursts()
    (message,) = own.segments()
    carried = bytearray(udp(4, bytes(message)))
    carried[16:20] = outside
    three.send("alice", _summed(carried), between(A4, outside))
    assert three.drops() == {Drop.LOOPED.value: 1}
    assert len(three.take("bob")) == 1


# --- what is answered ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hops", [0, 1])
@pytest.mark.parametrize(("source", "destination", "gate"), ENDS)
def test_a_packet_without_hops_left_is_answered_by_us(kind, hops, source, destination, gate):
    three = Three(kind).connect()
    packet = between(source, destination, hops=hops)
    three.send("alice", packet)
    (answer,) = three.take("alice")
    assert icmp_of(answer) == (gate, 11 if len(gate) == 4 else 3, 0, 0, packet)
    assert three.take("bob") == []
    assert three.drops() == {Drop.HOP_LIMIT.value: 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_burst_without_hops_left_is_answered_within_the_rate(kind):
    three = Three(kind).connect()
    three.send("alice", *[between(A4, B4, hops=1)] * 40)
    assert len(three.take("alice")) == 5
    assert three.drops() == {Drop.HOP_LIMIT.value: 40}
    three.now += 1
    three.send("alice", *[between(A4, B4, hops=1)] * 40)
    assert 5 <= len(three.take("alice")) <= 20


def test_who_has_many_addresses_gets_no_more_answers_and_takes_none_from_others():
    three = Three().connect()
    many = [packed(f"100.0.0.{number}") for number in range(40)]
    three.gate.configure(
        DeviceChange(peers=(peer("alice", [Prefix(packed("100.0.0.0"), 8)]),)), three.now
    )
    three.send("alice", *[between(source, B4, hops=1) for source in many])
    assert len(three.take("alice")) == 5
    three.send("bob", between(B4, A4, hops=1))
    assert len(three.take("bob")) == 1


def test_an_error_is_not_answered():
    three = Three().connect()
    three.send("alice", between(A4, B4, hops=1))
    (error,) = three.take("alice")
    swapped = bytearray(error)
    swapped[8], swapped[12:20] = 1, A4 + B4
    three.send("alice", _summed(swapped))
    assert three.take("alice") == []
    assert three.drops() == {Drop.HOP_LIMIT.value: 2}


def test_a_later_fragment_is_not_answered():
    three = Three().connect()
    three.send("alice", ip4(17, bytes(8), fragment=5, ttl=1))
    assert three.take("alice") == []
    assert three.drops() == {Drop.HOP_LIMIT.value: 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_that_is_nowhere_is_told_to_the_sender(kind):
    three = Three(kind).connect()
    packet = between(A4, CAROL4)
    three.send("alice", packet, packet)
    answers = three.take("alice")
    assert {icmp_of(each) for each in answers} == {(GATE4, 3, 1, 0, packet)}
    assert three.drops() == {Drop.NO_ENDPOINT.value: 2}


def test_without_an_address_of_ours_errors_come_from_the_destination():
    three = Three().connect()
    three.gate.set_own_addresses([])
    three.send("alice", between(A4, B4, hops=1))
    (answer,) = three.take("alice")
    assert icmp_of(answer)[0] == B4


def test_errors_come_from_the_first_routable_address():
    three = Three().connect()
    addresses = [_interface(text) for text in ("fe80::5/64", "fd00::5/64", "fd00::6/64")]
    three.gate.set_own_addresses([InterfaceAddress(*each) for each in addresses])
    three.send("alice", between(A6, B6, hops=1))
    (answer,) = three.take("alice")
    assert icmp_of(answer)[0] == packed("fd00::5")


# --- sizes ---


def dont_fragment(packet: bytes) -> bytes:
    changed = bytearray(packet)
    changed[6] |= 0x40
    return _summed(changed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("source", "destination", "gate"), ENDS)
def test_what_is_too_big_for_the_way_on_is_told_how_big_it_may_be(
    kind, source, destination, gate
):
    three = Three(kind).connect()
    three.gate.set_mtu(1300)
    packet = between(source, destination, size=1301)
    if len(source) == 4:
        packet = dont_fragment(packet)
    three.send("alice", *[packet] * 6)
    answers = three.take("alice")
    assert len(answers) == 5
    kind_of_error = (3, 4) if len(source) == 4 else (2, 0)
    said, *error, mtu, quote = icmp_of(answers[0])
    assert (said, *error, mtu) == (gate, *kind_of_error, 1300)
    assert packet.startswith(quote)
    assert three.take("bob") == []
    assert three.drops() == {Drop.TOO_BIG.value: 6}
    three.send("alice", between(source, destination, size=1300))
    assert len(three.take("bob")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_ipv4_that_may_be_fragmented_is(kind):
    three = Three(kind).connect()
    three.gate.set_mtu(576)
    packets = [between(A4, B4, size=1400)] * 5
    before = three.relayed()
    three.send("alice", *packets)
    arrived = three.take("bob")
    assert len(arrived) == 15
    assert max(map(len, arrived)) <= 576
    assert sum(len(each) - 20 for each in arrived) == 5 * 1380
    assert all(hop.is_sound(each) and hop.hops_left(each) == 63 for each in arrived)
    assert three.drops() == {}
    assert three.relayed().packets - before.packets == 15


def test_an_mtu_that_nobody_means_makes_no_flood_of_fragments():
    three = Three().connect()
    three.gate.set_mtu(1)
    three.send("alice", between(A4, B4, size=1400))
    assert len(three.take("bob")) == -(-1380 // 48)


@pytest.mark.parametrize("kind", KINDS)
def test_ipv6_of_1280_bytes_passes_whatever_the_mtu_and_larger_is_told_of_1280(kind):
    """No host sends less: to be told of 1,000 bytes would be a black hole."""
    three = Three(kind).connect()
    three.gate.set_mtu(1000)
    three.send("alice", *[between(A6, B6, size=1280)] * 6)
    assert [len(each) for each in three.take("bob")] == [1280] * 6
    three.send("alice", *[between(A6, B6, size=1281)] * 6)
    assert three.take("bob") == []
    assert icmp_of(three.take("alice")[0])[1:4] == (2, 0, 1280)


@pytest.mark.parametrize("kind", KINDS)
def test_a_route_with_an_mtu_of_its_own_counts(kind):
    three = Three(kind).connect()
    three.gate.set_route_mtus([(Prefix(B4, 32), 1000)])
    three.send("alice", *[dont_fragment(between(A4, B4, size=1001))] * 3)
    assert icmp_of(three.take("alice")[0])[1:4] == (3, 4, 1000)
    three.send("bob", *[dont_fragment(between(B4, A4, size=1400))] * 3)
    assert len(three.take("alice")) == 3


def test_an_unknown_mtu_limits_nothing():
    three = Three("portable").connect()
    three.gate.set_mtu(0)
    three.send("alice", super_tcp(4, bytes(5000), 1000))
    three.send("alice", between(A4, B4, size=1400))
    assert len(three.take("bob")) == 6


@pytest.mark.parametrize("kind", ["portable", "jit"])
def test_padding_of_one_tunnel_does_not_make_bursts_too_big_for_the_other(kind):
    """A packet of 1,000 bytes is padded to 1,008 by a sender whose MTU is greater."""
    three = Three(kind).connect()
    three.gate.set_mtu(1000)
    three.send("alice", *[between(A4, B4, size=1000)] * 6)
    assert len(three.take("bob")) == 6
    sizes = {len(each) for burst in three.bursts for each in burst.segments()}
    assert sizes == {1000 + 32}


# --- congestion ---


@pytest.mark.parametrize("kind", KINDS)
def test_congestion_on_the_first_way_is_told_on_the_second(kind):
    three = Three(kind).connect()
    three.send("alice", *[udp(4, b"payload", tos=2)] * 6, tos=3)
    assert {each[1] & 3 for each in three.take("bob")} == {3}
    assert {burst.tos for burst in three.bursts} == {2}, "CE of before travels as ECT(0)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [4, 6])
def test_the_outer_class_is_that_of_the_packet_without_its_dscp(kind, version):
    three = Three(kind).connect()
    packets = [udp(version, b"payload", tos=0xB8 | ecn) for ecn in (0, 0, 2, 2, 1, 0)]
    three.send("alice", *packets)
    assert [each[:2] for each in three.take("bob")] == [each[:2] for each in packets]
    assert {burst.tos for burst in three.bursts} == {*map(ecn_to_outer, packets)}


# --- anything ---


@pytest.mark.parametrize("kind", KINDS)
def test_any_inner_packets_may_come(kind):
    three = Three(kind).connect()
    alice = public_key(secret("gate"))

    @given(
        st.lists(
            st.binary(max_size=100)
            | st.tuples(
                st.sampled_from([between(A4, B4), between(A6, B6), tcp(4, b"x" * 50)]),
                st.integers(0, 60),
                st.binary(max_size=4),
            ).map(lambda part: mutated(*part)),
            min_size=1,
            max_size=8,
        )
    )
    def feed(payloads: list[bytes]) -> None:
        three.alice.send_inner(alice, payloads, three.now)
        three.carry()
        for packet in three.take("bob"):
            assert hop.is_sound(packet)
            assert hop.is_routable(hop.source(packet))
        three.take("gate")
        three.take("alice")

    feed()


def mutated(packet: bytes, at: int, garbage: bytes) -> bytes:
    changed = bytearray(packet)
    changed[at : at + len(garbage)] = garbage
    return bytes(changed[: len(packet)])


def test_the_gate_goes_down_and_up_again():
    three = Three().connect()
    three.gate.set_up(three.now, up=False)
    three.send("alice", udp(4, b"payload"))
    assert three.take("bob") == []
    three.gate.set_up(three.now, up=True)
    three.now += constants.REKEY_TIMEOUT
    three.alice.set_up(three.now, up=False)
    three.alice.set_up(three.now, up=True)
    three.send("alice", udp(4, b"payload"))
    assert three.take("bob") == [udp(4, b"payload", ttl=63)]


def test_a_peer_that_is_removed_gets_nothing_more():
    three = Three().connect()
    bob = public_key(secret("bob"))
    three.gate.configure(DeviceChange(peers=[PeerChange(bob, remove=True)]), three.now)
    three.send("alice", udp(4, b"payload"))
    assert three.take("bob") == []
    assert three.take("gate") == [udp(4, b"payload")]


def test_the_timers_of_the_peer_that_gets_packets_run():
    """Bob's silence is noticed though nothing came from the gate's host."""
    three = Three().connect()
    three.devices["bob"].set_up(three.now, up=False)
    three.send("alice", udp(4, b"payload"))
    deadline = three.gate.next_deadline()
    assert deadline is not None
    assert deadline.at - three.now < 20


def test_the_burst_type_of_udp_is_the_one_that_the_tests_mean():
    assert super_udp(4, b"12", 1).gso_type == vnet.GSO_UDP_L4
