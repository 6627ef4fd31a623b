"""A mesh of real nodes: how soon they find each other, wherever they stand."""

import random  # noqa: TID251  (seeded)

import pytest

from tests.lab import wait_until
from tests.namespaces.mesh import Mesh, Secrecy, says
from tests.namespaces.underlay import Internet, firewall
from wgpy.io import clock

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("nft", "ss", "tcpdump")]


def three_boxes(mesh: Mesh) -> None:
    """The ancestor's set-up: alice static, bob and charlie, on one bridge."""
    lab, hub = mesh.lab, mesh.lab.ns()
    bridge = lab.bridge(hub)
    mesh.write([("10.128.1.1:50001", "10.1.1.1")])
    for number, name in enumerate(("alice", "bob", "charlie"), 1):
        ns = lab.ns()
        lab.plug(hub, bridge, ns, f"10.128.1.{number}/24")
        mesh.box(name, number, ns)


@pytest.mark.parametrize("seed", [1, 2])
def test_three_boxes_reach_each_other_within_three_seconds_of_the_last_start(mesh: Mesh, seed):
    three_boxes(mesh)
    order = list(mesh.boxes)
    random.Random(seed).shuffle(order)
    for box in order:
        box.start()
    took = mesh.wait_all(10)
    says(1, "three boxes, cold start", all=took)
    assert took <= 3
    bob, charlie = mesh.boxes[1:]
    mesh.wait_path(bob, charlie, "lan", 5)
    mesh.finish()


def test_three_boxes_without_ipv6_reach_each_other(mesh: Mesh):
    three_boxes(mesh)
    for box in mesh.boxes:
        for part in ("all", "default"):
            mesh.lab.sysctl(box.ns, f"net.ipv6.conf.{part}.disable_ipv6", 1)
    mesh.start()
    took = mesh.wait_all(10)
    says("-", "three boxes without IPv6", all=took)
    assert took <= 3
    mesh.finish()


def test_ten_that_know_one_other_each_are_one_network_within_ten_seconds(mesh: Mesh):
    internet = Internet(mesh.lab)
    for number in range(1, 11):
        mesh.box(f"n{number}", number, internet.host())
    chance = random.Random(7)
    for box in mesh.boxes:
        others = [one for one in mesh.boxes if one is not box]
        other = chance.choice(others)
        box.start("--peer", f"10.128.{other.number}.1:{50000 + other.number}")
    took = mesh.wait_all(30)
    says(2, "ten start at once", all=took)
    assert took <= 10
    mesh.finish()


def test_nodes_behind_routers_meet_by_relay_at_once_and_directly_soon(mesh: Mesh):
    internet, lab = Internet(mesh.lab), mesh.lab
    s1 = mesh.box("s1", 9, internet.host())
    a = mesh.box("a", 1, internet.host())
    lab.nft(a.ns, firewall(internet.outer[a.ns]))
    c, d = mesh.box("c", 3, lab.ns()), mesh.box("d", 4, lab.ns())
    internet.lan(c.ns, d.ns, nat=True)
    mesh.write([("10.128.1.1:50009", s1.address)])
    began = clock.now()
    with Secrecy(lab, s1.ns, internet.outer[s1.ns]):
        mesh.start()
        near, far = mesh.flow(c, d), mesh.flow(a, c)
        mesh.wait_path(c, d, "lan", 10)
        on_lan = clock.now() - began
        mesh.wait_path(a, c, "direct", 15)
        direct = clock.now() - began
    first = [wait_until(lambda flow=flow: flow.took) for flow in (near, far)]
    gap = max(flow.gap(min(flow.came.values())) for flow in (near, far))
    says(3, "a LAN behind NAT", on_lan=on_lan, direct=direct, first=max(first), gap=gap)
    assert on_lan <= 5 and direct <= 10 and gap < 1
    mesh.finish()
