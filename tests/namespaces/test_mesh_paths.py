"""A mesh of real nodes where the way matters: delays, chains, families of addresses, clocks."""

import math
import re
from collections.abc import Callable

import pytest

from tests.lab import wait_until
from tests.namespaces.delays import Delays
from tests.namespaces.mesh import Box, Mesh, Secrecy, says
from tests.namespaces.underlay import Internet
from wgpy.io import clock

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timed,
    pytest.mark.needs("ping", "ss", "tcpdump", "iperf3"),
]


def test_traffic_takes_the_faster_way_and_comes_back(mesh: Mesh):
    a, b, r = (mesh.box(name, n, mesh.lab.ns()) for n, name in enumerate(("a", "b", "r"), 1))
    delays = Delays(mesh.lab)
    delays.cable(a.ns, "10.128.12.1/24", b.ns, "10.128.12.2/24")
    delays.cable(a.ns, "10.128.13.1/24", r.ns, "10.128.13.3/24")
    delays.cable(r.ns, "10.128.23.3/24", b.ns, "10.128.23.2/24")
    delays.start(0.1, 0.015, 0.015)
    mesh.start()
    mesh.wait_all(10)
    # Relays have to prove that they are better: until then the slow way is the one in use.
    wait_until(lambda: 0.2 <= measured(a, b) < 0.3, 5, "the direct way to be measured")
    away = mesh.wait_path(a, b, "r", 30)
    flow = mesh.flow(a, b)
    delays.set(0, 0.02)
    changed_at = clock.now()
    back = mesh.wait_path(a, b, "lan", 60)
    lost = flow.lost(changed_at)
    says(
        17,
        "direct 200 ms, via R 60 ms, direct 40 ms",
        away=away,
        back=back,
        lost=lost,
    )
    assert 5 <= away <= 15, "not before it was proven"
    assert 5 <= back <= 30
    assert lost == 0
    mesh.finish()


def measured(a: Box, b: Box) -> float:
    """Return the round trip that one has measured on the direct way to another, if it has."""
    peer = a.peers().get(b.name)
    if peer is None or peer.path not in ("lan", "direct") or peer.rtt is None:
        return math.inf
    return peer.rtt


def test_a_chain_of_three_hops_carries_everything(mesh: Mesh):
    lab = mesh.lab
    names = ("a", "r1", "r2", "b")
    a, r1, r2, b = (mesh.box(name, n, lab.ns()) for n, name in enumerate(names, 1))
    outer = ""
    for number, (one, two) in enumerate(((a, r1), (r1, r2), (r2, b)), 1):
        ends = ([f"10.128.{number}.1/24"], [f"10.128.{number}.2/24"])
        outer = lab.veth(one.ns, two.ns, *ends)[0]
    mesh.start()
    took = mesh.wait_all(15)
    mesh.wait_path(a, b, "r1 r2", 1)
    mesh.wait_path(b, a, "r2 r1", 1)
    with Secrecy(lab, r2.ns, outer):
        assert lab.ping(a.ns, b.address, 3) == 3
        mesh.wait_pairs(3, [(a, b)])
    big = ("ping", "-n", "-c", 2, "-i", 0.2, "-W", 1, "-M", "do", "-s", 1372, b.address)
    found = re.search(r"mtu ?= ?(\d+)", lab.run(a.ns, *big, check=False).stdout)
    assert found is not None, lab.run(a.ns, *big, check=False).stdout
    mtu = int(found[1])
    exact = ("-M", "do", "-s", mtu - 28)
    assert lab.ping(a.ns, b.address, 2, options=exact) == 2
    rate = lab.iperf(a.ns, b.ns, b.address, 2).bits_per_second / 1e6
    says(19, "three hops", all=took, mtu=mtu, mbps=rate)
    assert rate > 1
    mesh.finish()


def test_nodes_of_two_families_of_addresses_meet_at_one_that_has_both(mesh: Mesh):
    internet, lab = Internet(mesh.lab), mesh.lab
    s1 = mesh.box("s1", 1, internet.host(v6=True))
    six = mesh.box("six", 2, internet.host(v4=False, v6=True))
    four = mesh.box("four", 3, internet.host())
    for box in mesh.boxes:
        names = "10.128.1.1 seed.example\n2001:db8:1::1 seed.example\n"
        lab.etc(box.ns, "hosts", names)
    mesh.write([("seed.example:50001", s1.address)])
    s1.start()
    six.start()
    mesh.wait_pairs(10, [(six, s1), (s1, six)])
    four.start()
    both = mesh.wait_pairs(10, [(four, s1), (s1, four)])
    took = mesh.wait_pairs(10, [(four, six), (six, four)])
    says(22, "IPv6 only with IPv4 only", relayed=took, start=both)
    assert took <= 2
    assert (four.path(six), six.path(four)) == ("s1", "s1")
    mesh.finish()


def test_nodes_with_wrong_clocks_join_and_stay(trio: Mesh):
    wall = clock.now() + clock.wall_offset()
    alice, bob, charlie = trio.boxes
    wrong = "tests.namespaces.shifted"
    in_1970, tomorrow = (("-m", wrong, shift) for shift in (100 - wall, 86400))
    alice.start(program=in_1970)
    bob.start(program=tomorrow)
    charlie.start()
    took = trio.wait_all(10)
    trio.wait_same()
    alice.kill()
    alice.start(program=in_1970)
    again = trio.wait_all(20)
    says(23, "one in 1970, one of tomorrow", all=took, again=again)
    assert took <= 3
    assert again <= 3
    trio.finish()


@pytest.mark.parametrize("end", [Box.kill, Box.stop])
def test_a_node_whose_clock_was_set_right_while_it_ran_is_met_at_once_by_its_next_run(
    trio: Mesh, end: Callable[[Box], None]
):
    alice, bob, charlie = trio.boxes
    alice.start()
    charlie.start()
    bob.start(program=("-m", "tests.namespaces.shifted", "7200:4"))
    began = clock.now()
    trio.wait_all(10)
    wait_until(lambda: clock.now() - began > 6, 10)
    end(bob)
    bob.start()
    again = trio.wait_all(20)
    says(23, f"two hours ahead, then set right, {end.__name__}", again=again)
    assert again <= 3
    trio.finish()
