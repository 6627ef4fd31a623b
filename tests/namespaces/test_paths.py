"""Where datagrams leave and arrive: roaming, NAT, addresses and routes that change outside."""

import pytest

from tests.lab import Lab, keypair, wait_until
from tests.namespaces.nodes import (
    KEEPALIVE_SIZE,
    MARKS,
    ONE_PORT,
    ONE_V4,
    ONE_V6,
    PORTS,
    TWO_PORT,
    TWO_V4,
    TWO_V6,
    Node,
    cabled,
    cables,
    introduce,
    outside,
    start,
    tunnel,
    up,
)

pytestmark = MARKS


# --- roaming ---------------------------------------------------------------------------------


def test_a_peer_is_followed_to_another_address_port_and_family(lab):
    one, two = tunnel(lab)
    assert one.ping(TWO_V4) == 1
    assert two.endpoint(one) == f"127.0.0.1:{ONE_PORT}"
    lab.ip(outside(one), "address", "del", "127.0.0.1/8", "dev", "lo")
    lab.ip(outside(one), "address", "add", "127.212.121.99/8", "dev", "lo")
    one.set("listen-port", 9999)
    assert one.ping(TWO_V6) == 1
    assert two.endpoint(one) == "127.212.121.99:9999"
    one.set("listen-port", 9998, "peer", two.public, "endpoint", f"[::1]:{TWO_PORT}")
    assert one.ping(TWO_V4) == 1
    assert two.endpoint(one) == "[::1]:9998"
    # And the other way round over what was learned.
    assert two.ping(ONE_V6) == 1


def test_a_packet_from_a_source_of_another_peer_is_dropped_but_moves_the_endpoint(lab):
    one, two = tunnel(lab)
    one.set("peer", two.public, "allowed-ips", "192.168.241.0/24,fd00::/112")
    assert two.ping(ONE_V4) == 1
    stranger = keypair()[1]
    one.set("peer", stranger, "allowed-ips", f"{TWO_V4}/32")
    two.set("listen-port", 9997)
    delivered, received = one.counter("rx_bytes"), one.transfer(two)[0]
    assert two.ping(ONE_V4) == 0
    assert one.counter("rx_bytes") == delivered
    # The packet was authentic, and authentic packets tell where the peer is.
    assert one.endpoint(two) == "127.0.0.1:9997"
    assert one.transfer(two)[0] == received
    one.set("peer", stranger, "remove")
    # What was moved to the stranger is gone with it; the shorter prefix is left.
    assert two.ping(ONE_V4) == 1


# --- NAT -------------------------------------------------------------------------------------


@pytest.fixture
def behind_nat(lab: Lab) -> tuple[Node, Node, str]:
    """Return a node behind NAT at 10.0.0.1, one at 10.0.0.100, and the router between them."""
    router, inside, outside = lab.ns(), lab.ns(), lab.ns()
    lab.veth(inside, router, ("192.168.1.100/24",), ("192.168.1.1/24",))
    lab.veth(router, outside, ("10.0.0.1/24",), ("10.0.0.100/24",))
    lab.ip(inside, "route", "add", "default", "via", "192.168.1.1")
    lab.sysctl(router, "net.ipv4.ip_forward", 1)
    lab.nft(
        router,
        """table ip nat {
            chain post {
                type nat hook postrouting priority 100;
                ip saddr 192.168.1.0/24 ip daddr 10.0.0.0/24 snat to 10.0.0.1;
            }
        }""",
    )
    for name in ("udp_timeout", "udp_timeout_stream"):
        lab.sysctl(router, f"net.netfilter.nf_conntrack_{name}", 2)
    one, two = (
        start(lab, ns, port=port) for ns, port in zip((inside, outside), PORTS, strict=True)
    )
    introduce(one, two, None, "10.0.0.100")
    up(one, two)
    return one, two, router


@pytest.mark.needs("conntrack", "nft")
def test_keepalives_hold_a_way_through_nat_open(lab, behind_nat):
    one, two, router = behind_nat
    assert two.ping(ONE_V4) == 0
    one.set("peer", two.public, "persistent-keepalive", 1)
    assert one.ping(TWO_V4) == 1
    assert two.ping(ONE_V4) == 1
    assert two.endpoint(one) == f"10.0.0.1:{ONE_PORT}"
    seen = two.transfer(one)[0]
    # Longer than the router remembers a flow: it is kept by one keepalive a second.
    wait_until(lambda: two.transfer(one)[0] >= seen + 3 * KEEPALIVE_SIZE, 8, "keepalives")
    assert two.ping(ONE_V4) == 1
    one.set("peer", two.public, "persistent-keepalive", 0)
    assert one.show("persistent-keepalive").endswith("\toff")

    def forgotten() -> bool:
        return not lab.run(router, "conntrack", "-L", "-p", "udp").stdout

    wait_until(forgotten, 10, "the router to forget the flow")
    assert two.ping(ONE_V4) == 0
    assert one.ping(TWO_V4) == 1


# --- sources ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remote", "old", "new"),
    [
        (f"10.0.0.2:{TWO_PORT}", "10.0.0.1/24", "10.0.0.10/24"),
        (f"[fd00:aa::2]:{TWO_PORT}", "fd00:aa::1/96", "fd00:aa::10/96"),
    ],
)
def test_the_next_packet_leaves_from_another_address_once_the_one_in_use_is_gone(
    lab, remote, old, new
):
    one, two = cabled(lab)
    inside, (cable,) = outside(one), cables(lab, outside(one))
    lab.sysctl(inside, f"net.ipv4.conf.{cable}.promote_secondaries", 1)
    one.set("peer", two.public, "endpoint", remote)
    assert one.ping(TWO_V4) == 1
    lab.ip(inside, "address", "add", new, "dev", cable, *(["nodad"] if ":" in new else []))
    lab.ip(inside, "address", "del", old, "dev", cable)
    assert one.ping(TWO_V4) == 1
    host = new.partition("/")[0]
    assert two.endpoint(one) in (f"{host}:{ONE_PORT}", f"[{host}]:{ONE_PORT}")
    assert two.ping(ONE_V6) == 1


def test_answers_leave_from_the_address_that_was_asked(lab):
    one, two = cabled(lab)
    inside, (cable,) = outside(one), cables(lab, outside(one))
    lab.ip(inside, "address", "add", "10.0.0.3/24", "dev", cable)
    lab.ip(inside, "address", "add", "fd00:aa::3/96", "dev", cable, "nodad")
    for host in ("10.0.0.1", "[fd00:aa::1]", "10.0.0.3", "[fd00:aa::3]"):
        two.set("peer", one.public, "endpoint", f"{host}:{ONE_PORT}")
        assert two.ping(ONE_V4) == 1
        assert two.ping(ONE_V6) == 1
        assert two.endpoint(one) == f"{host}:{ONE_PORT}"


def test_an_address_of_another_interface_than_the_way_out_answers_too(lab):
    one, two = cabled(lab)
    (cable,) = cables(lab, outside(two))
    lab.bridge(outside(one), "10.50.0.1/24", "fd00:bb::1/96")
    lab.ip(outside(two), "route", "add", "10.50.0.0/24", "dev", cable)
    lab.ip(outside(two), "route", "add", "fd00:bb::/96", "via", "fd00:aa::1")
    for host in ("10.50.0.1", "[fd00:bb::1]"):
        two.set("peer", one.public, "endpoint", f"{host}:{ONE_PORT}")
        assert two.ping(ONE_V4) == 1
        assert two.endpoint(one) == f"{host}:{ONE_PORT}"


def test_a_better_route_by_another_interface_is_taken(lab):
    left, right = lab.pair(("10.0.0.1/24",), ("10.0.0.2/24",))
    first, _ = (cables(lab, ns)[0] for ns in (left, right))
    second, far = lab.veth(left, right, ("10.0.0.3/24",))
    for ns, name in ((left, first), (left, second), (right, far)):
        lab.sysctl(ns, f"net.ipv4.conf.{name}.rp_filter", 0)
    lab.ip(left, "route", "flush", "dev", first)
    lab.ip(left, "route", "flush", "dev", second)
    route = ("route", "add", "10.0.0.0/24", "dev")
    lab.ip(left, *route, first, "src", "10.0.0.1", "metric", 2)
    one, two = (
        start(lab, ns, port=port) for ns, port in zip((left, right), PORTS, strict=True)
    )
    introduce(one, two, "10.0.0.1", "10.0.0.2")
    up(one, two)
    assert one.ping(TWO_V4) == 1
    assert two.endpoint(one) == f"10.0.0.1:{ONE_PORT}"
    lab.ip(left, *route, second, "src", "10.0.0.3", "metric", 1)
    assert one.ping(TWO_V4) == 1
    assert two.endpoint(one) == f"10.0.0.3:{ONE_PORT}"


def test_a_pulled_cable_that_is_put_back_carries_the_same_session(lab):
    one, two = cabled(lab)
    inside, (cable,) = outside(one), cables(lab, outside(one))
    assert one.ping(TWO_V4) == 1
    shaken_at = one.handshake_at(two), one.transfer(two)[0]
    lab.ip(inside, "link", "set", cable, "down")
    assert one.ping(TWO_V4, 3) == 0
    lab.ip(inside, "link", "set", cable, "up")
    wait_until(lambda: one.ping(TWO_V4) == 1, 5, "a ping by the cable")
    assert two.ping(ONE_V4) == 1
    assert one.handshake_at(two) == shaken_at[0]


@pytest.mark.parametrize("host", ["10.0.0.2", "[fd00:aa::2]"])
def test_datagrams_that_are_too_big_for_the_cable_arrive_in_pieces(lab, host):
    one, two = cabled(lab)
    for node in (one, two):
        (cable,) = cables(lab, outside(node))
        lab.ip(outside(node), "link", "set", cable, "mtu", 1280)
    one.set("peer", two.public, "endpoint", f"{host}:{TWO_PORT}")
    assert one.ping(TWO_V4) == 1
    for size in (1180, 1240, 1300, 1392):
        assert lab.ping(one.ns, TWO_V4, 3, options=("-s", size, "-M", "do")) == 3
        assert lab.ping(two.ns, ONE_V4, 3, options=("-s", size, "-M", "do")) == 3


def test_a_peer_on_the_link_is_reached_by_its_link_local_address(lab):
    one, two = cabled(lab)
    ends = [(outside(node), *cables(lab, outside(node))) for node in (one, two)]
    for number, (ns, cable) in enumerate(ends, 1):
        lab.ip(ns, "address", "add", f"fe80::{number}/64", "dev", cable, "nodad")
    ns, cable = ends[0]
    remote = f"[fe80::2%{cable}]:{TWO_PORT}"
    # Interfaces are known by name only where they are.
    lab.wg("set", one.name, "peer", two.public, "endpoint", remote, ns=ns)
    assert lab.wg("show", one.name, "endpoints", ns=ns).split()[1] == remote
    assert one.ping(TWO_V4) == 1
    assert two.ping(ONE_V6) == 1
    assert two.endpoint(one).startswith("[fe80::")


def test_a_host_without_ipv6_has_ipv4(lab):
    ends = lab.ns(), lab.ns()
    for ns in ends:
        for which in ("all", "default"):
            lab.sysctl(ns, f"net.ipv6.conf.{which}.disable_ipv6", 1)
    lab.veth(*ends, ("10.0.0.1/24",), ("10.0.0.2/24",))
    one, two = (start(lab, ns, port=port) for ns, port in zip(ends, PORTS, strict=True))
    introduce(one, two, "10.0.0.1", "10.0.0.2")
    one.up(f"{ONE_V4}/24")
    two.up(f"{TWO_V4}/24")
    assert one.ping(TWO_V4) == 1
    # An endpoint nobody can reach from here is no reason to fail.
    one.set("peer", two.public, "endpoint", f"[fd00::2]:{TWO_PORT}")
    assert one.ping(TWO_V4) == 0
    assert two.ping(ONE_V4) == 1
