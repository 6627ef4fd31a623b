"""A mesh of real nodes: how soon they find each other, wherever they stand."""

import random  # noqa: TID251  (seeded)

import pytest

from tests.lab import wait_until
from tests.namespaces.mesh import Mesh, Secrecy, says
from tests.namespaces.underlay import Internet, firewall
from wgpy.io import clock

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timed,
    pytest.mark.needs("nft", "ss", "tcpdump"),
]


@pytest.mark.parametrize("seed", [1, 2])
def test_three_boxes_reach_each_other_within_three_seconds_of_the_last_start(trio: Mesh, seed):
    order = list(trio.boxes)
    random.Random(seed).shuffle(order)
    for box in order:
        box.start()
    took = trio.wait_all(10)
    says(1, "three boxes, cold start", all=took)
    assert took <= 3
    bob, charlie = trio.boxes[1:]
    trio.wait_path(bob, charlie, "lan", 5)
    trio.finish()


def test_three_boxes_without_ipv6_reach_each_other(trio: Mesh):
    for box in trio.boxes:
        for part in ("all", "default"):
            trio.lab.sysctl(box.ns, f"net.ipv6.conf.{part}.disable_ipv6", 1)
    trio.start()
    took = trio.wait_all(10)
    says("-", "three boxes without IPv6", all=took)
    assert took <= 3
    trio.finish()


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
        wait_until(lambda: near.came and far.came)
        direct = clock.now() - began
    first = max(near.took or 0, far.took or 0)
    gap = max(flow.gap(min(flow.came.values())) for flow in (near, far))
    says(3, "a LAN behind NAT", on_lan=on_lan, direct=direct, first=first, gap=gap)
    assert on_lan <= 5 and direct <= 10 and gap < 1
    mesh.finish()
