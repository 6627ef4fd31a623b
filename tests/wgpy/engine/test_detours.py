"""Bursts through relays, with kernels and without; packets that are too big; floods."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.tunnel import EPOCH, secret
from tests.wgpy.engine.test_incoming import Entropy, kernels
from tests.wgpy.engine.test_relay import KINDS, between, coalesced, icmp_of, peer, wire
from tests.wgpy.kernels.packets import A4, A6, B4, B6, super_tcp, take_apart, tcp, udp
from wgpy.engine import constants
from wgpy.engine.crypto import public_key
from wgpy.engine.device import Device
from wgpy.errors import Drop
from wgpy.events import RelayFailed
from wgpy.model import Burst, DeviceChange, Endpoint, PeerChange, Prefix, PublicKey, TunBurst
from wgpy.wire import detour, vnet
from wgpy.wire.detour import VIA_MTU, Head, via

NAMES = ("alice", "one", "two", "three", "bob")
WHERE = {name: Endpoint(bytes([10, 9, 0, number]), 51820) for number, name in enumerate(NAMES)}
OUTSIDE = {endpoint: name for name, endpoint in WHERE.items()}
INNER = {"alice": (A4, A6), "bob": (B4, B6)}
MTU = 1420
DONT_FRAGMENT = 0x4000


def key(name: str) -> PublicKey:
    return public_key(secret(name))


def node_id(name: str) -> bytes:
    return key(name)[:8]


def change(name: str, *, endpoint: Endpoint | None = None) -> PeerChange:
    inner = [Prefix(address, 8 * len(address)) for address in INNER.get(name, ())]
    return PeerChange(
        key(name), endpoint=endpoint, allowed_ips=peer("bob", inner, known=False).allowed_ips
    )


class Row:
    """Alice, one to three relays and Bob; each knows its neighbours, the ends a way."""

    def __init__(self, kind: str = "none", relays: int = 1, *, forward: bool = False) -> None:
        self.now = 1.0
        self.names = ["alice", *NAMES[1 : 1 + relays], "bob"]
        self.devices: dict[str, Device] = {}
        for number, name in enumerate(self.names):
            near = self.names[max(number - 1, 0) : number] + self.names[number + 1 : number + 2]
            far = [end for end in ("alice", "bob") if end != name and end not in near]
            far = far if name in ("alice", "bob") else []
            peers = [change(other, endpoint=WHERE[other]) for other in near]
            peers += [change(other, endpoint=via(node_id(other))) for other in far]
            device = Device(Entropy(name), EPOCH, embedded=True, forward=forward)
            device.configure(DeviceChange(secret(name), 51820, peers=peers), self.now)
            device.set_up(self.now, up=True)
            device.set_mtu(MTU)
            if kind != "none":
                device.set_kernels(kernels(kind))
            way = self.names if name == "alice" else self.names[::-1]
            paths = {node_id(other): tuple(map(node_id, way[1:])) for other in far}
            known = {node_id(other): key(other) for other in near}
            device.set_detours(node_id(name), known, paths, carries=True)
            self.devices[name] = device
        self.got: dict[str, list[bytes]] = {name: [] for name in self.names}
        # What left, and from whom.
        self.left: list[tuple[str, Burst]] = []
        for one, other in zip(self.names, self.names[1:], strict=False):
            self.devices[one].send_inner(key(other), [b"\x00"], self.now)
        self.carry()
        self.send("alice", udp(4, b"first"))
        assert len(self.take("bob")) == 1
        self.left.clear()

    def send(self, name: str, *packets: bytes | TunBurst) -> None:
        """Let a host send packets, one burst, and carry everything until nothing moves."""
        self.devices[name].receive_packets(
            [each if isinstance(each, TunBurst) else TunBurst(each) for each in packets],
            self.now,
        )
        self.carry()

    def carry(self) -> None:
        while self._step():
            self.now += constants.BACKLOG_DELAY
            for device in self.devices.values():
                device.handle_deadline(self.now)

    def _step(self) -> bool:
        moved = False
        for name, device in self.devices.items():
            for burst in device.take_bursts():
                moved = True
                assert burst.remote.port, "nothing leaves for who is behind relays"
                self.left.append((name, burst))
                self._arrive(name, burst)
            for packet in device.take_packets():
                self.got[name] += wire(packet)
        return moved

    def _arrive(self, sender: str, burst: Burst) -> None:
        if OUTSIDE[burst.remote] in self.devices:
            arriving = [
                Burst(payload, size, WHERE[sender], None, burst.tos)
                for payload, size in coalesced([bytes(each) for each in burst.segments()])
            ]
            self.devices[OUTSIDE[burst.remote]].receive_bursts(arriving, self.now)

    def take(self, name: str) -> list[bytes]:
        """Return and forget what a host got."""
        taken, self.got[name] = self.got[name], []
        return taken

    def drops(self, name: str) -> dict[str, int]:
        return dict(self.devices[name].status().drops)


def payloads(packets: Sequence[bytes]) -> list[bytes]:
    """Return what packets carry; those that were joined have other identifications then."""
    return [take_apart(packet).payload for packet in packets]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relays", [1, 2, 3])
@pytest.mark.parametrize("last", [1, 700, 1200])
def test_a_super_packet_goes_through_relays_as_one(kind, relays, last):
    row = Row(kind, relays)
    payload = bytes(number % 251 for number in range(1200 * 19 + last))
    burst = super_tcp(4, payload, 1200)
    packets = wire(burst)
    row.send("alice", *(packets if kind == "none" else [burst]))
    assert row.take("bob") == packets
    for name in row.names:
        assert row.drops(name) == {}
        bursts = [each for sender, each in row.left if sender == name and name != "bob"]
        if kind != "none" and name != "bob":
            sizes = [sum(1 for _ in each.segments()) for each in bursts]
            assert max(sizes) == 20, "what came as one leaves as one"
    size = sum(-(-len(packet) // 16) * 16 + 32 for packet in packets)
    for name in row.names[1:-1]:
        carried = row.devices[name].status().detoured
        assert carried.carried_packets >= 20
        assert carried.carried_bytes >= size
    sent = row.devices["alice"].status().detoured
    assert sent.sent_packets == row.devices["one"].status().detoured.carried_packets - 1


@pytest.mark.parametrize("kind", KINDS)
@given(sizes=st.lists(st.sampled_from([40, 100, 100, 100, 1000]), min_size=1, max_size=40))
@settings(max_examples=15, deadline=None)
def test_packets_of_any_sizes_arrive_in_their_order(kind, sizes):
    row = Row(kind, 2)
    packets = [udp(4, bytes([number]) * size) for number, size in enumerate(sizes)]
    row.send("alice", *packets)
    assert payloads(row.take("bob")) == payloads(packets)
    row.send("bob", *[between(B4, A4, size=60 + size) for size in sizes])
    assert [len(packet) for packet in row.take("alice")] == [60 + size for size in sizes]


@pytest.mark.parametrize("relays", [1, 2, 3])
def test_nothing_larger_than_the_underlay_carries_leaves(relays):
    row = Row(relays=relays)
    row.send("alice", between(A6, B6, size=VIA_MTU), between(A4, B4, size=VIA_MTU))
    assert len(row.take("bob")) == 2
    assert max(max(map(len, burst.segments())) for _, burst in row.left) <= 1500 - 48


@pytest.mark.parametrize(("source", "target"), [(A4, B4), (A6, B6)])
def test_a_packet_too_big_for_relays_is_answered(source, target):
    row = Row()
    big = between(source, target, size=VIA_MTU + 1)
    if len(source) == 4:
        big = udp(4, bytes(VIA_MTU + 1 - 28), fragment=DONT_FRAGMENT)
    row.send("alice", big)
    assert row.take("bob") == []
    (answer,) = row.take("alice")
    speaker, kind, code, word, _ = icmp_of(answer)
    assert (speaker, kind, code) == ((target, 3, 4) if len(source) == 4 else (target, 2, 0))
    assert word == VIA_MTU
    assert row.drops("alice") == {Drop.TOO_BIG.value: 1}


def test_a_packet_without_df_goes_through_relays_in_fragments():
    row = Row()
    row.send("alice", between(A4, B4, size=MTU))
    fragments = row.take("bob")
    assert len(fragments) == 2
    assert max(map(len, fragments)) <= VIA_MTU
    assert sum(map(len, fragments)) == MTU + 20
    assert row.take("alice") == []


@pytest.mark.parametrize("kind", ["portable", "jit"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_super_packet_of_packets_too_big_is_answered_once(kind, version):
    row = Row(kind)
    payload = bytes(1360 * 10 + 40)
    burst = super_tcp(6, payload, 1360)
    if version == 4:
        burst = super_tcp(4, payload, 1360, fragment=DONT_FRAGMENT)
    row.send("alice", burst)
    assert [len(packet) < 200 for packet in row.take("bob")] == [True], "but for the last"
    answers = row.take("alice")
    assert len(answers) == 1
    assert icmp_of(answers[0])[3] == VIA_MTU
    assert row.drops("alice") == {Drop.TOO_BIG.value: 10}


@pytest.mark.parametrize("kind", ["portable", "jit"])
def test_a_super_packet_without_df_goes_in_fragments(kind):
    row = Row(kind)
    row.send("alice", super_tcp(4, bytes(1360 * 10 + 40), 1360))
    assert len(row.take("bob")) == 21
    assert row.take("alice") == []


def test_a_super_packet_that_is_malformed_is_dropped():
    row = Row("portable")
    burst = super_tcp(4, bytes(5000), 1000)
    row.send("alice", burst._replace(gso_size=0))
    assert row.drops("alice") == {Drop.MALFORMED.value: 1}


def test_a_packet_that_no_router_would_cut_is_dropped():
    row = Row()
    broken = bytearray(between(A4, B4, size=MTU))
    broken[10] ^= 1
    row.send("alice", bytes(broken))
    assert row.take("bob") == []
    assert row.drops("alice") == {Drop.TOO_BIG.value: 1}


def test_small_packets_leave_together():
    row = Row("jit")
    packets = [tcp(4, bytes([number]) * 100, 1 + 100 * number) for number in range(30)]
    row.send("alice", *packets)
    assert payloads(row.take("bob")) == payloads(packets)
    sealed = [burst for sender, burst in row.left if sender == "alice"]
    assert sum(1 for _ in sealed[0].segments()) == 30


# --- handshakes through relays ---


def initiation(row: Row) -> bytes:
    """Return an initiation of somebody who is no peer of Bob's, with a valid mac1."""
    mallory = Device(Entropy("mallory"), EPOCH)
    peers = [change("bob", endpoint=WHERE["bob"])]
    mallory.configure(DeviceChange(secret("mallory"), peers=peers), row.now)
    mallory.set_up(row.now, up=True)
    mallory.send_inner(key("bob"), [b"\x00"], row.now)
    (burst,) = mallory.take_bursts()
    return bytes(next(burst.segments()))


def flood(row: Row, sources: list[bytes]) -> None:
    """Let the relay hand Bob one initiation of each of these sources."""
    message = initiation(row)
    made: list[bytes] = []
    for source in sources:
        head = Head(detour.RELAY, 1, source, (node_id("one"), node_id("bob")))
        made += detour.wrap(head, [message])
    row.devices["one"].send_inner(key("bob"), made, row.now)


def test_a_relay_hands_over_so_many_handshakes_a_second_whoever_they_are_of():
    row = Row()
    flood(row, [number.to_bytes(8) for number in range(200)])
    row.carry()
    limited = row.drops("bob")[Drop.RATE_LIMITED.value]
    assert limited == 201 - constants.HANDSHAKES_THROUGH_RELAY, "one was genuine"


@pytest.mark.parametrize("kind", KINDS)
def test_a_burst_of_handshakes_is_limited_too(kind):
    row = Row(kind)
    flood(row, [b"somebody"] * 100)
    row.carry()
    limited = row.drops("bob")[Drop.RATE_LIMITED.value]
    assert limited == 101 - constants.HANDSHAKES_THROUGH_RELAY, "one was genuine"


# --- errors on their way back ---


def error(turn: int, *, source: str = "alice", ids: tuple[str, ...]) -> Head:
    return Head(detour.RELAY_ERROR, turn, node_id(source), tuple(map(node_id, ids)))


def test_an_error_is_handed_back_by_relays():
    row = Row(relays=3)
    row.devices["three"].configure(
        DeviceChange(peers=[PeerChange(key("bob"), remove=True)]), row.now
    )
    row.devices["alice"].take_events()
    row.send("alice", udp(4, b"x"))
    events = row.devices["alice"].take_events()
    assert RelayFailed(node_id("bob"), node_id("bob")) in events


@pytest.mark.parametrize(
    ("failed", "carries", "drop"),
    [
        ("one", True, Drop.BAD_DETOUR),
        ("alice", True, Drop.BAD_DETOUR),
        ("bob", False, Drop.NOT_CARRIED),
        ("bob", True, None),
    ],
)
def test_an_error_on_its_way_names_who_was_not_reached(failed, carries, drop):
    row = Row(relays=2)
    one = row.devices["one"]
    near = {node_id(name): key(name) for name in ("alice", "two")}
    one.set_detours(node_id("one"), near, {}, carries=carries)
    head = error(1, ids=("one", "two", "bob"))
    (made,) = detour.wrap(head, [node_id(failed)])
    row.devices["two"].send_inner(key("one"), [made], row.now)
    row.carry()
    assert row.drops("one") == ({} if drop is None else {drop.value: 1})


def test_an_error_for_a_node_without_a_session_ends():
    row = Row(relays=2)
    one = row.devices["one"]
    one.configure(DeviceChange(peers=[PeerChange(key("alice"), remove=True)]), row.now)
    head = error(1, ids=("one", "two", "bob"))
    (made,) = detour.wrap(head, [node_id("bob")])
    row.devices["two"].send_inner(key("one"), [made], row.now)
    row.carry()
    assert row.drops("one") == {}


# --- forwarding and relays together ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_without_a_plan_reports_relay_messages(kind):
    device = Device(Entropy("x"), EPOCH, embedded=True)
    assert device.status().detoured == (0, 0, 0, 0)
    row = Row(kind)
    made = detour.wrap(Head(detour.RELAY, 0, b"somebody", (b"a" * 8, b"b" * 8)), [b"\x04" * 64])
    row.devices["one"].send_inner(key("alice"), made * 2, row.now)
    row.carry()
    assert row.drops("alice") == {Drop.BAD_DETOUR.value: 2}


def test_rows_that_are_not_alike_go_one_by_one():
    row = Row("portable")
    head = Head(detour.RELAY, 0, node_id("alice"), (node_id("one"), node_id("bob")))
    data = bytes([4, 0, 0, 0]) + bytes(60)
    first, second = detour.wrap(head, [data, data])
    garbled = second[:2] + b"\x09" + second[3:]
    row.devices["alice"].send_inner(key("one"), [first, garbled, first], row.now)
    row.devices["alice"].send_inner(key("one"), [garbled, first], row.now)
    row.carry()
    assert row.drops("one") == {Drop.BAD_DETOUR.value: 2}
    assert row.drops("bob") == {Drop.UNKNOWN_INDEX.value: 3}


@pytest.mark.parametrize("size", [VIA_MTU, VIA_MTU + 1])
def test_a_gateway_tells_a_peer_what_has_no_room_on_the_way_through_relays(size, monkeypatch):
    row = Row(forward=True)
    source, outside = A6[:-1] + b"\x77", Endpoint(bytes([10, 9, 0, 77]), 51820)
    monkeypatch.setitem(WHERE, "carol", outside)
    monkeypatch.setitem(OUTSIDE, outside, "carol")
    carol = row.devices["carol"] = Device(Entropy("carol"), EPOCH)
    row.got["carol"] = []
    gate = replace(_also("alice", B6), endpoint=WHERE["alice"])
    carol.configure(DeviceChange(secret("carol"), 51820, peers=[gate]), row.now)
    carol.set_up(row.now, up=True)
    row.devices["alice"].configure(DeviceChange(peers=[_also("carol", source)]), row.now)
    row.devices["bob"].configure(DeviceChange(peers=[_also("alice", source)]), row.now)
    row.send("carol", between(source, B6, size=size))
    fits = size == VIA_MTU
    assert len(row.take("bob")) == fits
    answers = row.take("carol")
    assert [icmp_of(answer)[1:4] for answer in answers] == ([] if fits else [(2, 0, VIA_MTU)])


def test_a_burst_of_udp_through_relays_is_one_for_the_host():
    row = Row("jit", 1)
    packets = [tcp(4, bytes(1000), 1 + 1000 * number) for number in range(10)]
    device = row.devices["alice"]
    device.receive_packets([super_tcp(4, bytes(10_000), 1000)], row.now)
    (burst,) = device.take_bursts()
    relay, bob = row.devices["one"], row.devices["bob"]
    relay.receive_bursts([burst._replace(remote=WHERE["alice"])], row.now)
    (burst,) = relay.take_bursts()
    bob.receive_bursts([burst._replace(remote=WHERE["one"])], row.now)
    (packet,) = bob.take_packets()
    assert packet.gso_type & ~vnet.GSO_ECN
    assert len(wire(packet)) == len(packets)


# --- what is not there ---


def plan(row: Row, name: str, *near: str, carries: bool = True) -> None:
    """Tell a device of neighbours, and of no ways."""
    known = {node_id(other): key(other) for other in near}
    row.devices[name].set_detours(node_id(name), known, {}, carries=carries)


def remove(row: Row, name: str, other: str) -> None:
    gone = PeerChange(key(other), remove=True)
    row.devices[name].configure(DeviceChange(peers=[gone]), row.now)


def test_without_a_way_all_is_dropped_and_told_at_a_limited_rate():
    row = Row()
    plan(row, "alice", "one")
    row.devices["alice"].take_events()
    for _ in range(50):
        row.send("alice", udp(4, b"x"))
    assert row.drops("alice") == {Drop.NO_DETOUR.value: 50}
    told = row.devices["alice"].take_events()
    failure = RelayFailed(node_id("bob"), node_id("bob"))
    assert told == [failure] * constants.RATELIMIT_BURST


def test_events_that_nobody_takes_are_bounded():
    row = Row()
    plan(row, "alice", "one")
    alice = row.devices["alice"]
    for number in range(400):
        peers = [PeerChange(key("bob"), endpoint=via(number.to_bytes(8)))]
        alice.configure(DeviceChange(peers=peers), row.now)
        alice.receive_packets([TunBurst(udp(4, b"x"))], row.now)
    assert len(alice.take_events()) == constants.MAX_FOREIGN


def test_without_the_first_relay_all_is_dropped_and_told():
    row = Row()
    remove(row, "alice", "one")
    row.devices["alice"].take_events()
    row.send("alice", udp(4, b"x"), udp(4, b"y"))
    assert row.drops("alice") == {Drop.NO_RELAY.value: 2}
    assert RelayFailed(node_id("bob"), node_id("one")) in row.devices["alice"].take_events()


def test_a_first_relay_without_a_session_is_greeted():
    row = Row()
    remove(row, "alice", "one")
    fresh = [change("one", endpoint=WHERE["one"])]
    row.devices["alice"].configure(DeviceChange(peers=fresh), row.now)
    row.send("alice", udp(4, b"lost"))
    assert row.drops("alice") == {Drop.NO_RELAY.value: 1}
    row.send("alice", udp(4, b"found"))
    assert payloads(row.take("bob")) == [b"found"]


def test_a_first_relay_behind_relays_is_none():
    row = Row()
    peers = [PeerChange(key("one"), endpoint=via(node_id("one")))]
    row.devices["alice"].configure(DeviceChange(peers=peers), row.now)
    row.send("alice", udp(4, b"x"))
    assert row.drops("alice") == {Drop.NO_RELAY.value: 1}


@pytest.mark.parametrize("kind", KINDS)
def test_who_does_not_carry_drops(kind):
    row = Row(kind)
    plan(row, "one", "alice", "bob", carries=False)
    row.send("alice", *[udp(4, bytes(100))] * 5)
    assert row.drops("one") == {Drop.NOT_CARRIED.value: 5}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_message_of_wireguard_does_not_arrive(kind):
    row = Row(kind)
    head = Head(detour.RELAY, 0, node_id("alice"), (node_id("one"), node_id("bob")))
    made = detour.wrap(head, [b"\x80" * 64] * 3)
    row.devices["alice"].send_inner(key("one"), made, row.now)
    row.carry()
    assert row.drops("bob") == {Drop.BAD_DETOUR.value: 3}


def test_errors_to_one_neighbour_are_limited():
    row = Row()
    remove(row, "one", "bob")
    began = row.now
    for _ in range(50):
        row.send("alice", udp(4, b"x"))
    assert row.drops("one") == {Drop.NO_RELAY.value: 50}
    answers = [burst for sender, burst in row.left if sender == "one"]
    most = constants.RATELIMIT_BURST + (row.now - began) * constants.RATELIMIT_PER_SECOND
    assert constants.RATELIMIT_BURST <= len(answers) <= most


def test_an_error_of_a_way_not_in_use_is_dropped():
    row = Row()
    (made,) = detour.wrap(error(0, ids=("one", "two", "bob")), [node_id("bob")])
    row.devices["one"].send_inner(key("alice"), [made], row.now)
    row.carry()
    assert row.drops("alice") == {Drop.BAD_DETOUR.value: 1}


def test_nothing_comes_from_the_network_with_the_address_of_who_is_behind_relays():
    row = Row()
    one = row.devices["one"]
    places = via(node_id("bob")), Endpoint(bytes([192, 0, 2, 9]), 0)
    one.receive_bursts([Burst(b"\x80", 1, place) for place in places], row.now)
    assert row.drops("one") == {Drop.BAD_DETOUR.value: 1}
    one.receive_bursts([Burst(b"\x80", 1, places[1])], row.now)
    assert row.drops("one") == {Drop.BAD_DETOUR.value: 1}


def test_a_datagram_of_a_program_is_not_for_relays():
    row = Row()
    row.devices["alice"].send_datagram(Burst(b"\x80", 1, via(node_id("bob"))))
    assert row.devices["alice"].take_bursts() == []
    assert row.drops("alice") == {Drop.NO_DETOUR.value: 1}
    row.devices["alice"].send_datagram(Burst(b"\x80", 1, WHERE["bob"]))
    assert len(row.devices["alice"].take_bursts()) == 1


def test_what_goes_past_relays_goes_as_ever():
    """A device with ways has bursts of both kinds to send at once."""
    row = Row()
    alice = row.devices["alice"]
    alice.configure(DeviceChange(peers=[_also("one", A6)]), row.now)
    inside = bytearray(udp(6, b"direct"))
    inside[24:40] = A6
    alice.receive_packets([TunBurst(udp(4, b"relayed")), TunBurst(bytes(inside))], row.now)
    bursts = alice.take_bursts()
    assert [burst.remote for burst in bursts] == [WHERE["one"]] * 2


def _also(name: str, address: bytes) -> PeerChange:
    prefixes = peer("bob", [Prefix(address, 128)], known=False).allowed_ips
    return PeerChange(key(name), allowed_ips=prefixes)
