"""Routes of the host that lead into, around and through a tunnel, and packets without a way."""

import pytest

from tests.lab import Lab, wait_until
from tests.namespaces.nodes import (
    MARKS,
    ONE_PORT,
    ONE_V4,
    TWO_V4,
    TWO_V6,
    Node,
    cabled,
    introduce,
    outside,
    start,
    tunnel,
)

pytestmark = MARKS
FAR_V4, FAR_V6 = "192.168.99.7", "abab::1111"


# --- marks and bound sockets -----------------------------------------------------------------


def test_everything_goes_through_the_tunnel_but_what_is_marked(lab):
    one, two = cabled(lab)
    inside, mark = outside(one), 51820
    lab.ip(inside, "route", "add", "default", "via", "10.0.0.2")
    lab.ip(inside, "route", "add", "default", "via", "fd00:aa::2")
    two.up(f"{FAR_V4}/32", f"{FAR_V6}/128")
    one.set("fwmark", mark, "peer", two.public, "allowed-ips", "0.0.0.0/0,::/0")
    for family in ("-4", "-6"):
        lab.ip(inside, family, "route", "add", "default", "dev", one.name, "table", mark)
        lab.ip(inside, family, "rule", "add", "not", "fwmark", mark, "table", mark)
        lab.ip(inside, family, "rule", "add", "table", "main", "suppress_prefixlength", 0)
    for host in ("10.0.0.2", "[fd00:aa::2]"):
        one.set("peer", two.public, "endpoint", f"{host}:20000")
        before = one.transfer(two)[1]
        assert one.flood(FAR_V4, 100) == 100
        assert one.flood(FAR_V6, 100) == 100
        assert one.transfer(two)[1] - before >= 200 * 128
        assert one.endpoint(two) == f"{host}:20000"
    assert one.show("fwmark") == hex(mark)


def test_a_mark_taken_away_makes_no_storm_and_given_again_lets_all_through(lab):
    one, two = cabled(lab)
    two.up(f"{FAR_V4}/32")
    one.set("fwmark", 7, "peer", two.public, "allowed-ips", "0.0.0.0/0")
    lab.ip(outside(one), "route", "add", "default", "dev", one.name, "table", 7)
    lab.ip(outside(one), "rule", "add", "not", "fwmark", 7, "table", 7)
    assert one.flood(FAR_V4, 5) == 5
    one.set("fwmark", 0)
    sent = one.transfer(two)[1]
    ten_pings(one, FAR_V4, 56)
    ten_pings(one, FAR_V4, 1392)
    assert 0 < one.transfer(two)[1] - sent < 70_000
    one.set("fwmark", 7)
    assert one.flood(FAR_V4, 5) == 5


@pytest.mark.needs("nft")
def test_a_socket_bound_to_the_interface_passes_also_when_rerouted_by_a_mark(lab):
    one, _ = tunnel(lab)
    bound = ("-I", one.name)
    assert lab.ping(one.ns, TWO_V4, 1, options=bound) == 1
    lab.nft(
        one.ns,
        """table inet marks {
            chain output {
                type route hook output priority -150;
                meta mark set 1;
            }
        }""",
    )
    assert lab.ping(one.ns, TWO_V4, 1) == 1
    assert lab.ping(one.ns, TWO_V4, 1, options=bound) == 1
    assert lab.ping(one.ns, TWO_V6, 1, options=bound) == 1


# --- tunnels in tunnels ----------------------------------------------------------------------


@pytest.mark.needs("iperf3")
def test_a_tunnel_goes_through_a_tunnel(lab):
    one, two = tunnel(lab)
    # The sockets of the second pair are where the interfaces of the first are.
    inner = start(lab, one.ns, port=ONE_PORT), start(lab, two.ns, port=20000)
    introduce(*inner, ONE_V4, TWO_V4)
    addresses = ("192.168.242.1/24", "fd42::1/112"), ("192.168.242.2/24", "fd42::2/112")
    for node, pair in zip(inner, addresses, strict=True):
        node.mtu(1340)
        node.up(*pair)
    left, right = inner
    left.set("peer", right.public, "allowed-ips", "192.168.242.2/32,fd42::2/128")
    right.set("peer", left.public, "allowed-ips", "192.168.242.1/32,fd42::1/128")
    assert left.flood("192.168.242.2", 10) == 10
    assert right.flood("fd42::1", 10) == 10
    assert left.ping("192.168.242.2", size=1312) == 1
    assert lab.iperf(one.ns, two.ns, "192.168.242.2", 1).bits_per_second > 1e6
    assert lab.iperf(two.ns, one.ns, "fd42::1", 1).bits_per_second > 1e6
    # What the inner one sent may be lost before the outer one gets it; what came, came by it.
    assert one.transfer(two)[1] > right.transfer(left)[0]


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_tunnel_that_leads_into_itself_stays_bounded(lab, family):
    one, two = cabled(lab)
    host, far = {"-4": ("10.0.0.2", "10.0.0.2"), "-6": ("[fd00:aa::2]", "fd00:aa::2")}[family]
    one.set("peer", two.public, "endpoint", f"{host}:20000")
    assert one.ping(TWO_V4) == 1
    # The datagrams have to go through the tunnel that they are, and nowhere else.
    one.set("peer", two.public, "allowed-ips", "0.0.0.0/0,::/0")
    lab.ip(outside(one), family, "route", "add", far, "dev", one.name)
    one.set("peer", two.public, "endpoint", f"{host}:20000")
    sent = one.transfer(two)[1]
    ten_pings(one, TWO_V4, 56)
    ten_pings(one, TWO_V6, 1372)
    assert 0 < one.transfer(two)[1] - sent < 70_000
    lab.ip(outside(one), family, "route", "del", far, "dev", one.name)
    wait_until(lambda: one.ping(TWO_V4) == 1, 10, "the tunnel to work again")
    assert "Traceback" not in one.child.log()


def test_two_peers_in_each_others_way_do_no_harm(lab):
    one, two = tunnel(lab)
    third = start(lab, outside(one), port=30000)
    # The third is where the tunnel's own datagrams come from, inside that tunnel.
    one.set(
        *("peer", third.public, "allowed-ips", "192.168.242.2/32"),
        *("endpoint", f"{TWO_V4}:30000"),
    )
    two.set("peer", one.public, "allowed-ips", f"{ONE_V4}/32,127.0.0.0/8")
    lab.ip(one.ns, "route", "add", "192.168.242.2/32", "dev", one.name)
    assert one.ping("192.168.242.2", 5) == 0
    assert one.flood(TWO_V4, 5) == 5
    assert one.transfer(third)[1] < 70_000


def ten_pings(node: Node, ip: str, size: int) -> None:
    """Send ten pings that nobody answers; `ping -w` would go on until they are."""
    words = ("ping", "-n", "-q", "-c", 10, "-i", 0.01, "-W", 1, "-s", size, ip)
    said = node.lab.run(node.ns, *words, check=False).stdout
    assert "10 packets transmitted, 0 received" in said


# --- no way ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ip", "words"),
    [("192.168.241.77", "Destination Host Unreachable"), ("fd00::77", "Address unreachable")],
)
def test_an_address_of_no_peer_is_unreachable(lab, ip, words):
    one, _ = tunnel(lab)
    assert words in said_by_ping(lab, one, ip)


@pytest.mark.parametrize(
    ("ip", "words"),
    [(TWO_V4, "Destination Host Unreachable"), (TWO_V6, "Address unreachable")],
)
def test_a_peer_nobody_knows_where_is_unreachable(lab, ip, words):
    one, two = tunnel(lab)
    one.set("peer", two.public, "remove")
    one.set("peer", two.public, "allowed-ips", f"{TWO_V4}/32,{TWO_V6}/128")
    assert words in said_by_ping(lab, one, ip)


def said_by_ping(lab: Lab, node: Node, ip: str) -> str:
    return lab.run(node.ns, "ping", "-n", "-c", 1, "-W", 2, ip, check=False).stdout
