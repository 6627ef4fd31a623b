"""Traffic between two nodes: sockets in one namespace, interfaces in two others."""

import pytest

from tests.lab import Lab
from tests.namespaces.nodes import (
    INITIATION_SIZE,
    KEEPALIVE_SIZE,
    MARKS,
    ONE_PORT,
    ONE_V4,
    ONE_V6,
    PING_SIZE,
    RESPONSE_SIZE,
    TWO_PORT,
    TWO_V4,
    TWO_V6,
    Node,
    cabled,
    outside,
    tunnel,
)

pytestmark = [*MARKS, pytest.mark.needs("iperf3")]
PINGS = 10
JUMBO = 34736
USUAL = 1420


def exchange(one: Node, two: Node) -> None:
    """Ping as fast as answers come, then fill the tunnel, each with both families."""
    for node, ip in ((two, ONE_V4), (one, TWO_V4), (two, ONE_V6), (one, TWO_V6)):
        assert node.flood(ip, PINGS) == PINGS
    lab = one.lab
    for client, server, ip in ((one, two, TWO_V4), (two, one, ONE_V6)):
        assert lab.iperf(client.ns, server.ns, ip, 1).bits_per_second > 1e6
    for client, server, ip in ((one, two, TWO_V4), (two, one, ONE_V6)):
        # All that fits is sent, most of it is lost: something must arrive.
        assert lab.iperf(client.ns, server.ns, ip, 1, udp="0").lost_percent < 100
    # What the flood left in queues may still be in the way of the first.
    lab.wait_ping(one.ns, TWO_V4)
    assert one.flood(TWO_V4, PINGS) == PINGS


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_both_families_pass_at_any_mtu_over_either_family(lab, host):
    one, two = tunnel(lab)
    one.set("peer", two.public, "endpoint", f"{host}:{TWO_PORT}")
    two.set("peer", one.public, "endpoint", f"{host}:{ONE_PORT}")
    exchange(one, two)
    for node in (one, two):
        node.mtu(JUMBO)
    assert one.ping(TWO_V4, 2, size=JUMBO - 28) == 2
    exchange(one, two)
    for node in (one, two):
        node.mtu(USUAL)
    exchange(one, two)
    assert one.endpoint(two) == f"{host}:{TWO_PORT}"


def test_parallel_streams_all_get_through(lab):
    one, two = tunnel(lab)
    done = lab.iperf(one.ns, two.ns, TWO_V4, 2, options=("-P", 4))
    assert all(stream["receiver"]["bytes"] for stream in done.report["end"]["streams"])
    back = lab.iperf(one.ns, two.ns, TWO_V6, 2, options=("-P", 4, "-R"))
    assert all(stream["receiver"]["bytes"] for stream in back.report["end"]["streams"])


def test_every_byte_is_counted(lab):
    one, two = tunnel(lab)
    assert two.handshake_at(one) == 0
    assert two.ping(ONE_V4, PINGS) == PINGS
    received, sent = two.transfer(one)
    assert received == RESPONSE_SIZE + PINGS * PING_SIZE == 1372
    assert sent - INITIATION_SIZE - PINGS * PING_SIZE in (0, KEEPALIVE_SIZE)
    assert one.transfer(two) == (sent, received)
    assert one.handshake_at(two) > 0
    assert two.handshake_at(one) > 0
    for node in (one, two):
        # The kernel may add a router solicitation or two.
        assert PINGS * 84 <= node.counter("rx_bytes") < 2500
        assert PINGS * 84 <= node.counter("tx_bytes") < 2500


@pytest.mark.parametrize("lay", [tunnel, cabled])
def test_padding_stays_below_the_mtu_of_the_route(lab, lay):
    one, two = lay(lab)
    two.mtu(1300)
    lab.ip(two.ns, "route", "add", f"{ONE_V4}/32", "dev", two.name, "mtu", 1299)
    lab.nft(
        outside(one),
        """table ip wide {
            chain input {
                type filter hook input priority 0;
                ip length 1360 counter drop;
            }
        }""",
    )
    assert two.ping(ONE_V4) == 1
    # 1297 bytes, 1299 padded and no 1312: 1359 outside, where 1360 is not let through.
    assert two.ping(ONE_V4, size=1269) == 1
    lab.ip(two.ns, "route", "del", f"{ONE_V4}/32", "dev", two.name, "mtu", 1299)
    assert two.ping(ONE_V4, size=1269) == 0
    assert "packets 0 " not in lab.run(outside(one), "nft", "list", "ruleset").stdout


def test_nodes_that_do_not_know_where_the_other_is_are_found_by_it(lab: Lab):
    one, two = tunnel(lab)
    lab.wg("set", two.name, "peer", one.public, "remove")
    two.set("peer", one.public, "allowed-ips", f"{ONE_V4}/32")
    one.set("peer", two.public, "preshared-key", "/dev/null")
    assert two.ping(ONE_V4) == 0
    assert one.ping(TWO_V4) == 1
    assert two.ping(ONE_V4) == 1
    assert two.endpoint(one) == f"127.0.0.1:{ONE_PORT}"
