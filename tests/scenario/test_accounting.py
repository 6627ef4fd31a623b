"""Bytes counted, bytes padded: the known answers of the kernel's own tests."""

import pytest

from tests.sim.tunnel import DATA, Tunnel, packet, prefix
from wgpy.wire.messages import DATA_OVERHEAD


@pytest.mark.parametrize(("wait", "tx_bytes"), [(0.0, 1428), (12.0, 1460)])
def test_ten_pings_and_their_handshake_are_counted_as_by_the_kernel(wait, tx_bytes):
    tunnel = Tunnel()
    for number in range(10):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.world.run_for(0.05)
        tunnel.bob.send("10.0.0.1", [number])
        tunnel.world.run_for(0.05)
    tunnel.world.run_for(wait)
    alice = tunnel.alice.peer(tunnel.bob.public)
    bob = tunnel.bob.peer(tunnel.alice.public)
    assert (alice.tx_bytes, alice.rx_bytes) == (tx_bytes, 1372)
    assert (bob.rx_bytes, bob.tx_bytes) == (tx_bytes, 1372)


def test_both_sides_count_the_same_whatever_is_sent():
    tunnel = Tunnel(keepalive=3)
    for size in (20, 21, 84, 100, 1419, 1420):
        tunnel.alice.send("10.0.0.2", [1, 2], size)
        tunnel.world.run_for(11.0)
    alice = tunnel.alice.peer(tunnel.bob.public)
    bob = tunnel.bob.peer(tunnel.alice.public)
    assert (alice.tx_bytes, alice.rx_bytes) == (bob.rx_bytes, bob.tx_bytes)
    assert alice.tx_bytes == sum(
        len(sent.payload)
        for sent in tunnel.world.trace
        if sent.source == tunnel.alice.host.endpoint
    )


@pytest.mark.parametrize(
    ("size", "mtu", "padded"),
    [
        (20, 1420, 32),
        (32, 1420, 32),
        (33, 1420, 48),
        (1400, 1420, 1408),
        (1408, 1420, 1408),
        (1409, 1420, 1420),
        (1420, 1420, 1420),
        (1297, 1299, 1299),
        (1297, 1420, 1312),
        (1421, 1420, 1436),
        (100, 0, 112),
    ],
)
def test_packets_are_padded_to_sixteen_but_not_above_the_mtu(size, mtu, padded):
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.device.set_mtu(mtu)
    start = len(tunnel.world.trace)
    tunnel.alice.send("10.0.0.2", [1], size)
    assert [len(s.payload) - DATA_OVERHEAD for s in tunnel.world.trace[start:]] == [padded]
    tunnel.world.run_for(1.0)
    assert len(tunnel.bob.host.received[-1]) == size


def test_padding_does_not_exceed_the_mtu_of_the_route():
    tunnel = Tunnel()
    tunnel.alice.meet(tunnel.bob, more=["10.0.1.0/24"])
    tunnel.alice.device.set_route_mtus([(prefix("10.0.1.0/24"), 1299)])
    # Staged and sent at once alike.
    for expected in (1312, 1299, 1312, 1299):
        start = len(tunnel.world.trace)
        last = 2 if expected == 1312 else 1
        destination = "10.0.0.2" if last == 2 else "10.0.1.2"
        tunnel.world.send(tunnel.alice.host, [packet("10.0.0.1", destination, 1, 1297)])
        tunnel.world.run_for(1.0)
        sizes = [len(s.payload) for s in tunnel.world.trace[start:] if s.kind == DATA]
        assert sizes == [expected + DATA_OVERHEAD]


def test_what_is_not_allowed_is_not_counted_as_received():
    tunnel = Tunnel()
    tunnel.exchange()
    before = tunnel.bob.peer(tunnel.alice.public).rx_bytes
    tunnel.world.send(tunnel.alice.host, [packet("10.9.9.9", "10.0.0.2")])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.peer(tunnel.alice.public).rx_bytes == before
