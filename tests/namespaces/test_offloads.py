"""Traffic with each part of the fast data path off alone, with all off, and with all on.

`python -m tests.check --matrix` runs all tests of this folder so.
"""

import pytest

from tests import offloads
from tests.lab import Lab
from tests.namespaces.nodes import (
    MARKS,
    ONE_V6,
    TWO_V4,
    Node,
    cabled,
    cables,
    introduce,
    outside,
    start,
    tunnel,
    up,
)

pytestmark = [*MARKS, pytest.mark.needs("iperf3")]


def pair(lab: Lab, left: str, right: str) -> tuple[Node, Node]:
    """Return two nodes, each with something switched off, both up."""
    return tunnel(lab, ({offloads.VARIABLE: left}, {offloads.VARIABLE: right}))


def exchange(one: Node, two: Node) -> None:
    """Fill the tunnel with TCP and UDP, large and small, and ping at the end."""
    lab = one.lab
    one.lab.wait_ping(one.ns, TWO_V4)
    for client, server, ip in ((one, two, TWO_V4), (two, one, ONE_V6)):
        assert lab.iperf(client.ns, server.ns, ip, 1).bits_per_second > 20e6
    for length, rate in (("64", "2M"), ("1200", "5M")):
        options = ("-l", length)
        assert lab.iperf(one.ns, two.ns, TWO_V4, 1, udp=rate, options=options).lost_percent < 10
    assert one.ping(TWO_V4, 10) == 10
    assert "Traceback" not in one.child.log() + two.child.log()


@pytest.mark.parametrize(("off", "said"), offloads.WAYS.values(), ids=list(offloads.WAYS))
def test_traffic_passes_with_each_part_off(lab, off, said):
    one, two = pair(lab, off, off)
    assert one.wait_data_path() == two.wait_data_path() == said
    exchange(one, two)


@pytest.mark.parametrize(("left", "right"), [("", "all"), ("all", "jit")])
def test_nodes_that_work_in_different_ways_understand_each_other(lab, left, right):
    exchange(*pair(lab, left, right))


@pytest.mark.parametrize("host", ["10.0.0.2", "[fd00:aa::2]"])
def test_a_path_smaller_than_the_tunnel_is_no_black_hole(lab, host):
    """A burst whose datagrams need fragments is refused by the kernel: they go singly."""
    one, two = cabled(lab)
    for node in (one, two):
        (cable,) = cables(lab, outside(node))
        lab.ip(outside(node), "link", "set", cable, "mtu", 1300)
    one.set("peer", two.public, "endpoint", f"{host}:20000")
    one.lab.wait_ping(one.ns, TWO_V4)
    assert lab.iperf(one.ns, two.ns, TWO_V4, 2).bits_per_second > 10e6
    assert lab.iperf(two.ns, one.ns, ONE_V6, 2).bits_per_second > 10e6


@pytest.mark.parametrize("family", [4, 6])
def test_a_path_that_narrows_beyond_a_router_is_no_black_hole(lab, family):
    """By IPv4 the router cuts datagrams up; by IPv6 it says so, and the host has to."""
    left, router, right = lab.ns(), lab.ns(), lab.ns()
    lab.veth(left, router, ("10.1.0.1/24", "fd00:1::1/64"), ("10.1.0.2/24", "fd00:1::2/64"))
    narrow = ("10.2.0.2/24", "fd00:2::2/64"), ("10.2.0.1/24", "fd00:2::1/64")
    lab.veth(router, right, *narrow, mtu=1300)
    for which in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
        lab.sysctl(router, f"net.{which}", 1)
    for ns, net in ((left, 1), (right, 2)):
        lab.ip(ns, "route", "add", "default", "via", f"10.{net}.0.2")
        lab.ip(ns, "route", "add", "default", "via", f"fd00:{net}::2")
    hosts = ("10.1.0.1", "10.2.0.1") if family == 4 else ("[fd00:1::1]", "[fd00:2::1]")
    env = {offloads.VARIABLE: ""}
    one, two = (
        start(lab, ns, port=port, env=env) for ns, port in ((left, 10000), (right, 20000))
    )
    introduce(one, two, *hosts)
    up(one, two)
    assert all("UDP GSO" in node.wait_data_path() for node in (one, two))
    lab.wait_ping(one.ns, TWO_V4)
    for client, server, ip in ((one, two, TWO_V4), (two, one, ONE_V6)):
        assert lab.iperf(client.ns, server.ns, ip, 2).bits_per_second > 10e6
        assert lab.ping(client.ns, ip, 3, options=("-s", 1372, "-M", "do")) == 3
