"""A mesh of real nodes while the world changes: addresses, seeds, links and relays go away."""

import json
import re
from collections.abc import Callable

import pytest

from tests.lab import wait_until
from tests.namespaces.mesh import Box, Mesh, Secrecy, says
from tests.namespaces.underlay import V4, Internet, masquerading
from wgpy.io import clock

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timed,
    pytest.mark.needs("nft", "ss", "tcpdump", "iperf3"),
]


def apart(mesh: Mesh, internet: Internet, *names: str) -> list[Box]:
    """Return boxes without a LAN in common; those named s... are the static peers."""
    boxes = []
    for name in names:
        number = len(mesh.boxes) + 1
        boxes.append(mesh.box(name, number, internet.host()))
    seeds = [box for box in boxes if box.name.startswith("s")]
    mesh.write([(f"{V4}.{box.number}.1:{50000 + box.number}", box.address) for box in seeds])
    return boxes


def wait_direct(mesh: Mesh, *boxes: Box) -> None:
    """Wait until all reach each other without a relay."""
    for one in boxes:
        for other in boxes:
            if one is not other:
                mesh.wait_path(one, other, "direct", 10)


def roam(mesh: Mesh, a: Box, b: Box, s1: Box, move: Callable[[], None]) -> float:
    """Let one end of flows and of a TCP stream move; return the longest gap of the flows."""
    mesh.start()
    mesh.wait_all(10)
    mesh.wait_path(a, b, "direct", 10)
    mesh.wait_path(b, a, "direct", 10)
    flows = [mesh.flow(a, b), mesh.flow(b, a), mesh.flow(a, s1)]
    server = mesh.lab.spawn(b.ns, "iperf3", "-s", "-1", "-B", b.address, "--forceflush")
    server.wait_log("Server listening")
    client = mesh.lab.spawn(a.ns, "iperf3", "-J", "-c", b.address, "-t", 5, "-b", "2M")
    wait_until(lambda: all(len(flow.came) >= 10 for flow in flows))
    move()
    moved_at = clock.now()
    assert client.wait(20) == 0, client.log()
    amounts = [each["sum"]["bytes"] for each in json.loads(client.log())["intervals"]]
    assert amounts[-1] > 100_000, amounts
    return max(flow.gap(moved_at) for flow in flows)


def test_a_node_that_changes_its_network_is_away_for_a_moment_only(mesh: Mesh):
    lab, internet = mesh.lab, Internet(mesh.lab)
    s1, a, b = apart(mesh, internet, "s1", "a", "b")

    def move() -> None:
        lab.ip(a.ns, "address", "flush", "dev", internet.outer[a.ns])
        internet.host(a.ns)

    gap = roam(mesh, a, b, s1, move)
    says(10, "roaming", gap=gap)
    assert b.peers()["a"].endpoint == f"{V4}.4.1:{50000 + a.number}", "it has moved"
    assert gap <= 1.5
    mesh.finish()


def test_a_node_whose_router_changes_its_network_is_not_told_and_goes_on(mesh: Mesh):
    lab, internet = mesh.lab, Internet(mesh.lab)
    s1, b = apart(mesh, internet, "s1", "b")
    a = mesh.box("a", 3, lab.ns())
    router = internet.lan(a.ns, nat=True)

    def move() -> None:
        lab.ip(router, "address", "flush", "dev", internet.outer[router])
        internet.host(router)
        lab.nft(router, masquerading(internet.outer[router]))

    gap = roam(mesh, a, b, s1, move)
    says(10, "roaming blind", gap=gap)
    endpoint = b.peers()["a"].endpoint or ""
    assert endpoint.startswith(f"{V4}.4.1:"), "it has moved"
    assert gap <= 3
    mesh.finish()


def names(listing: str) -> list[str]:
    """Return the interfaces that `ip -o link` lists."""
    return re.findall(r"^\d+: ([^:@]+)", listing, re.MULTILINE)


def test_a_box_that_got_another_address_is_reached_by_a_relay_once_the_cable_is_cut(
    trio: Mesh,
):
    """What it sent in between has the address of the mesh itself as its source."""
    lab = trio.lab
    _, bob, charlie = trio.boxes
    trio.start()
    trio.wait_all(10)
    trio.wait_path(bob, charlie, "lan", 10)
    flow = trio.flow(bob, charlie)
    wait_until(lambda: len(flow.came) >= 10)
    (cable,) = names(lab.ip(charlie.ns, "-o", "link", "show", "type", "veth"))
    lab.ip(charlie.ns, "address", "del", "10.128.1.3/24", "dev", cable)
    began = clock.now()
    wait_until(lambda: clock.now() - began > 2)
    lab.ip(charlie.ns, "address", "add", "10.128.1.33/24", "dev", cable)
    began = clock.now()
    wait_until(lambda: clock.now() - began > 10, 15)
    hub, bridge = trio.hub
    for port in names(lab.ip(hub, "-o", "link", "show", "master", bridge))[1:]:
        lab.run(hub, "bridge", "link", "set", "dev", port, "isolated", "on")
    cut_at = clock.now()
    trio.wait_path(bob, charlie, "alice", 10)
    wait_until(lambda: clock.now() - cut_at > 6, 10)
    says("2 a.m.", "another address, then a cut", gap=flow.gap(cut_at))
    assert flow.gap(cut_at) <= 4
    for box in trio.boxes:
        assert " 10.1.1." not in " ".join(re.findall(r"directly at \S+", box.log()))
    trio.finish()


def test_a_dead_seed_costs_nothing_and_new_nodes_meet_at_another(mesh: Mesh):
    internet = Internet(mesh.lab)
    s1, s2, a, b, c = apart(mesh, internet, "s1", "s2", "a", "b", "c")
    for box in (s1, s2, a, b):
        box.start()
    mesh.wait_all(10, (s1, s2, a, b))
    wait_direct(mesh, a, b, s2)
    flows = [mesh.flow(a, b), mesh.flow(b, a), mesh.flow(a, s2)]
    killed_at = clock.now()
    s1.kill()
    c.start()
    took = mesh.wait_pairs(10, [(c, a), (b, c), (c, s2)])
    wait_until(lambda: clock.now() - killed_at > 4)
    lost = sum(flow.lost(killed_at) for flow in flows)
    says(12, "a seed is killed", new=took, lost=lost)
    assert took <= 3
    assert lost == 0
    mesh.finish()


def test_nodes_that_reboot_meet_without_any_seed(mesh: Mesh):
    internet = Internet(mesh.lab)
    _, _, a, b = apart(mesh, internet, "s1", "s2", "a", "b")
    c, d = (mesh.box(name, number, mesh.lab.ns()) for name, number in (("c", 5), ("d", 6)))
    internet.lan(c.ns, d.ns, nat=True)
    mesh.start()
    mesh.wait_all(10)
    wait_direct(mesh, a, b)
    mesh.wait_same()
    for box in mesh.boxes:
        box.stop()
    rebooted = (a, b, c, d)
    for box in rebooted:
        box.start()
    everybody = [(x, y) for x in rebooted for y in rebooted if x is not y]
    lan = mesh.wait_pairs(20, [(c, d), (d, c)])
    took = mesh.wait_pairs(20, everybody)
    says(13, "reboot without seeds", lan=lan, all=lan + took)
    assert lan <= 3
    assert lan + took <= 10
    mesh.finish()


@pytest.mark.parametrize(
    "seconds", [20, pytest.param(600, marks=pytest.mark.long)], ids=["short", "ten minutes"]
)
def test_two_halves_that_were_apart_become_one_again(mesh: Mesh, seconds: int):
    """On both sides somebody new is called twin meanwhile: that is told, and never merged."""
    lab, middle = mesh.lab, mesh.lab.ns()
    lab.sysctl(middle, "net.ipv4.ip_forward", 1)
    twins = []
    for side in (1, 2):
        bridge = lab.bridge(middle, f"10.128.{side}.254/24")
        spaces = [lab.ns() for _ in range(6)]
        for last, ns in enumerate(spaces, 1):
            lab.plug(middle, bridge, ns, f"10.128.{side}.{last}/24")
            lab.ip(ns, "route", "add", "default", "via", f"10.128.{side}.254")
        for last, ns in enumerate(spaces[:5], 1):
            mesh.box(f"n{side}{last}", 10 * side + last, ns)
        twins.append(Box(mesh, "twin", 99, spaces[5]))
        twins[-1].state = lab.directory / f"state-twin{side}"
    mesh.write([("10.128.1.1:50011", "10.1.1.11"), ("10.128.2.1:50021", "10.1.1.21")])
    mesh.start()
    first = mesh.wait_all(20)
    left, right = mesh.boxes[:5], mesh.boxes[5:]
    lab.sysctl(middle, "net.ipv4.ip_forward", 0)
    cut_at = clock.now()
    for twin, half in zip(twins, (left, right), strict=True):
        twin.start()
        mesh.wait_pairs(10, [(box, twin) for box in half])
    wait_until(lambda: all(met(box) for box in mesh.boxes), 10, "the twins to be met")
    before = {box: met(box) for box in mesh.boxes}
    assert len(set(before.values())) == 2
    wait_until(lambda: clock.now() - cut_at > seconds, seconds + 10)
    inside = max(mesh.wait_all(3, left), mesh.wait_all(3, right))
    assert not left[1].peers()[right[1].name].reachable
    lab.sysctl(middle, "net.ipv4.ip_forward", 1)
    healed_at = clock.now()
    wait_until(lambda: all(knows_all(box, mesh) for box in mesh.boxes), 50, "one network")
    again = clock.now() - healed_at + mesh.wait_all(5)
    says(14, f"5 + 5 apart for {seconds} s", first=first, inside=inside, again=again)
    assert again <= 35
    for box in mesh.boxes:
        other = before[right[0] if box in left else left[0]]
        wait_refused(box, other)
        assert met(box) == before[box]
    for twin in twins:
        twin.stop()
    mesh.finish()


def met(box: Box) -> str:
    """Return the identity that a box has met as twin, "" if none."""
    peer = box.peers().get("twin")
    return peer.fingerprint if peer is not None and peer.trust == "met" else ""


def wait_refused(box: Box, identity: str) -> None:
    """Wait until a box has told that an identity claims what is another's."""

    def is_told() -> bool:
        found = box.snapshot()
        return found is not None and identity in {one.fingerprint for one in found.conflicts}

    wait_until(is_told, 10, f"{box.name} to refuse the other twin")


def knows_all(box: Box, mesh: Mesh) -> bool:
    """Tell whether a box knows a way to all others, of which it has heard without asking."""
    reachable = [one for one in box.peers().values() if one.reachable and one.name != "twin"]
    return len(reachable) == len(mesh.boxes) - 1


def test_relays_replace_a_link_of_one_direction_and_each_other(mesh: Mesh):
    lab, internet = mesh.lab, Internet(mesh.lab)
    s1, s2, a, b = apart(mesh, internet, "s1", "s2", "a", "b")
    mesh.start()
    mesh.wait_all(10)
    wait_direct(mesh, a, b)
    there, back = mesh.flow(a, b), mesh.flow(b, a)
    wait_until(lambda: min(len(there.came), len(back.came)) >= 10)
    cut_at = clock.now()
    outer = internet.outer
    with Secrecy(lab, s1.ns, outer[s1.ns]), Secrecy(lab, s2.ns, outer[s2.ns]):
        internet.block(a.ns, b.ns)
        mesh.wait_path(a, b, r"s\d", 15)
        took = clock.now() - cut_at
        wait_until(lambda: clock.now() - cut_at > took + 3)
    gap = max(there.gap(cut_at), back.gap(cut_at))
    says(15, "one direction dead", withdrawn=took, gap=gap)
    assert took <= 10 and gap <= 10
    used = {s1.name: s1, s2.name: s2}[a.path(b)]
    killed_at = clock.now()
    used.kill()
    other = ({s1, s2} - {used}).pop()
    mesh.wait_path(a, b, other.name, 15)
    wait_until(lambda: clock.now() - killed_at > 4, 15)
    gap = max(there.gap(killed_at), back.gap(killed_at))
    says(18, "the relay in use dies", gap=gap)
    assert gap <= 3
    mesh.finish()
