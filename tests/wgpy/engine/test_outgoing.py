"""Where the packets of the host go."""

import struct
from collections import Counter

import pytest

from wgpy.engine.common import Common
from wgpy.engine.crypto import StaticKey, public_key
from wgpy.engine.indices import IndexTable
from wgpy.engine.outgoing import Outgoing
from wgpy.engine.peer import Peer
from wgpy.engine.roster import Roster
from wgpy.engine.session import PAPER_LIMITS
from wgpy.errors import Drop
from wgpy.events import MessageRejected
from wgpy.model import (
    AllowedIPChange,
    Buffer,
    DeviceChange,
    Endpoint,
    PeerChange,
    Prefix,
    Secret,
    TunBurst,
)

KEYS = [public_key(Secret(bytes([number]) * 32)) for number in (1, 2, 3)]
NETS = [Prefix(bytes([10, number, 0, 0]), 16) for number in range(3)]
NET6 = Prefix(bytes([0xFD]) + bytes(15), 8)
OUTER = [Endpoint(bytes([192, 0, 2, number]), 51820) for number in range(2)]
# A peer's endpoint inside its own allowed IPs: what goes there may be a loop.
INSIDE = Endpoint(bytes([10, 1, 0, 9]), 51820)
NOW = 1000.0


def entropy(size: int) -> bytes:
    return bytes(size)


@pytest.fixture
def common() -> Common[Peer]:
    return Common(entropy, 0.0, PAPER_LIMITS, IndexTable(entropy))


@pytest.fixture
def outgoing(common: Common[Peer]) -> Outgoing:
    """Return one with three peers: the second is in its own network, the third nowhere."""
    roster = Roster(common)
    endpoints = (OUTER[0], INSIDE, None)
    roster.apply(
        DeviceChange(
            peers=[
                PeerChange(key, endpoint=endpoint, allowed_ips=[AllowedIPChange(net)])
                for key, endpoint, net in zip(KEYS, endpoints, NETS, strict=True)
            ]
        ),
        NOW,
    )
    roster.routes.insert(NET6, roster.peers[KEYS[0]])
    return Outgoing(common, roster)


def v4(destination: bytes, number: int = 0, tos: int = 0, payload: bytes = b"") -> TunBurst:
    """Return a UDP packet of IPv4 from 10.0.0.7."""
    size = 28 + len(payload)
    head = struct.pack(">BBHHHBBH", 0x45, tos, size, number, 0, 64, 17, 0)
    ports = struct.pack(">HHHH", 51820, 51820, 8 + len(payload), 0)
    return TunBurst(head + bytes([10, 0, 0, 7]) + destination + ports + payload)


def v6(tos: int = 0) -> TunBurst:
    head = struct.pack(">IHBB", 6 << 28 | tos << 20, 0, 59, 64)
    return TunBurst(
        head + bytes([0xFD]) + bytes(14) + b"\1" + bytes([0xFD]) + bytes(14) + b"\2"
    )


def to(net: int, host: int = 2) -> bytes:
    return NETS[net].address[:3] + bytes([host])


Sorted = tuple[bytes, int, int, list[Buffer]]


def sorted_(outgoing: Outgoing, packets: list[TunBurst]) -> list[Sorted]:
    return [
        (run.peer.public_key, run.tos, run.mtu, run.packets)
        for run in outgoing.runs(packets, NOW)
    ]


def test_packets_of_one_flow_are_one_run_in_order(outgoing):
    packets = [v4(to(0), number) for number in range(5)]
    expected = [packet.packet for packet in packets]
    assert sorted_(outgoing, packets) == [(KEYS[0], 0, 1420, expected)]


def test_flows_of_one_peer_share_a_run_as_they_came(outgoing):
    packets = [v4(to(0, host), number) for number, host in enumerate([2, 3, 3, 2, 2])]
    packets.append(v6())
    expected = [packet.packet for packet in packets]
    assert sorted_(outgoing, packets) == [(KEYS[0], 0, 1420, expected)]


def test_packets_of_two_peers_are_two_runs(outgoing):
    one, two = [v4(to(0), number) for number in range(2)], [v4(to(1)), v4(to(1), 1)]
    assert sorted_(outgoing, [one[0], two[0], one[1], two[1]]) == [
        (KEYS[0], 0, 1420, [packet.packet for packet in one]),
        (KEYS[1], 0, 1420, [packet.packet for packet in two]),
    ]


@pytest.mark.parametrize("build", [lambda tos: v4(to(0), tos=tos), v6])
def test_a_mark_of_its_own_is_a_run_of_its_own_in_order(outgoing, build):
    packets = [build(0), build(1), build(1), build(0)]
    assert [(tos, len(together)) for _, tos, _, together in sorted_(outgoing, packets)] == [
        (0, 1),
        (1, 2),
        (0, 1),
    ]


def test_the_mtu_of_the_route_separates(outgoing):
    outgoing.set_route_mtus([(Prefix(to(0, 3), 32), 1300)])
    packets = [v4(to(0, 2)), v4(to(0, 3)), v4(to(0, 3))]
    assert [(mtu, len(together)) for _, _, mtu, together in sorted_(outgoing, packets)] == [
        (1420, 1),
        (1300, 2),
    ]


def test_what_has_no_way_is_answered_and_the_flow_around_it_goes_on(outgoing, common):
    strangers = [TunBurst(b"\x45short"), v4(bytes([172, 16, 0, 1])), v4(to(2))]
    flow = [v4(to(0), number) for number in range(4)]
    packets = [flow[0], strangers[0], flow[1], strangers[1], flow[2], strangers[2], flow[3]]
    ((_, _, _, together),) = sorted_(outgoing, packets)
    assert together == [packet.packet for packet in flow]
    assert common.out.drops == Counter([Drop.NOT_IP, Drop.NO_PEER, Drop.NO_ENDPOINT])
    assert common.out.events == [
        MessageRejected(Drop.NO_PEER, inner=bytes([172, 16, 0, 1])),
        MessageRejected(Drop.NO_ENDPOINT, None, KEYS[2], to(2)),
    ]
    assert [answer.packet[20] for answer in common.out.packets] == [3, 3]  # unreachable


def test_what_waits_for_kernels_that_nobody_has_is_dropped_alone(outgoing, common):
    """A TUN that was handed over still holds what its last user asked for."""
    flow = [v4(to(0), number) for number in range(2)]
    left = [flow[0]._replace(csum_start=20), flow[0]._replace(gso_type=1, csum_start=20)]
    ((_, _, _, together),) = sorted_(outgoing, [flow[0], *left, flow[1]])
    assert together == [packet.packet for packet in flow]
    assert common.out.drops == Counter({Drop.NO_KERNELS: 2})


def test_answers_are_limited_by_rate(outgoing, common):
    assert sorted_(outgoing, [v4(to(2), number) for number in range(200)]) == []
    assert common.out.drops[Drop.NO_ENDPOINT] == 200
    assert 0 < len(common.out.packets) < 200


def test_every_packet_to_where_the_peer_is_is_looked_at(outgoing, common):
    common.static, common.up = StaticKey(Secret(bytes([9]) * 32)), True
    outgoing.runs([v4(to(1))], NOW)[0].peer.initiate(NOW)
    (ours,) = common.out.bursts[0].segments()
    theirs = ours[:4] + b"\xff" + ours[5:]
    packets = [v4(INSIDE.host, payload=payload) for payload in (theirs, ours, theirs, ours)]
    ((_, _, _, together),) = sorted_(outgoing, packets)
    assert together == [packets[0].packet, packets[2].packet]
    assert common.out.drops == Counter({Drop.LOOPED: 2})
