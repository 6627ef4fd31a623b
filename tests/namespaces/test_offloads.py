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
    outside,
    tunnel,
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
    for length in ("64", "1200"):
        options = ("-l", length)
        assert lab.iperf(one.ns, two.ns, TWO_V4, 1, udp="5M", options=options).lost_percent < 5
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
