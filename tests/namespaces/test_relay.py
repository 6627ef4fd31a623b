"""A hub that sends on what its peers have for each other, while its kernel forwards nothing."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.lab import Lab, wait_until
from tests.namespaces.nodes import MARKS, Node, start

pytestmark = MARKS
PORTS = (10001, 10002, 10003)
ALICE, BOB, HUB = "10.77.0.1", "10.77.0.2", "10.77.0.254"
ALICE6, BOB6, HUB6 = "fd77::1", "fd77::2", "fd77::fe"
EVERYTHING = "0.0.0.0/0,::/0"


class Star(NamedTuple):
    """Alice and Bob, who know the hub only."""

    alice: Node
    hub: Node
    bob: Node

    def said(self) -> dict[str, Any]:
        """Return what `wgpy show --json` tells of the hub."""
        words = (sys.executable, "-m", "wgpy", "show", self.hub.name, "--json")
        told: dict[str, Any] = json.loads(self.hub.lab.run(None, *words).stdout)
        shown: dict[str, Any] = told[self.hub.name]
        return shown


def star(lab: Lab, env: Mapping[str, str], *, moved: bool = True) -> Star:
    """Return three nodes, their sockets in one namespace and their interfaces in three others.

    The hub's stays where its sockets are unless it is `moved`.
    """
    outside = lab.ns()
    alice, hub, bob = (
        start(lab, outside, port=port, env=env if port == PORTS[1] else _without(env))
        for port in PORTS
    )
    where = f"127.0.0.1:{PORTS[1]}"
    for node in (alice, bob):
        node.set("peer", hub.public, "endpoint", where, "allowed-ips", EVERYTHING)
    for node, port, ips in (
        (alice, PORTS[0], f"{ALICE},{ALICE6}"),
        (bob, PORTS[2], f"{BOB},{BOB6}"),
    ):
        hub.set("peer", node.public, "endpoint", f"127.0.0.1:{port}", "allowed-ips", ips)
    for node, v4, v6 in ((alice, ALICE, ALICE6), (hub, HUB, HUB6), (bob, BOB, BOB6)):
        if moved or node is not hub:
            node.move(lab.ns())
        node.up(f"{v4}/24", f"{v6}/64")
    lab.sysctl(hub.ns, "net.ipv4.ip_forward", 0)
    lab.sysctl(hub.ns, "net.ipv6.conf.all.forwarding", 0)
    return Star(alice, hub, bob)


def _without(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != "WGPY_FORWARD"}


def forwarding(lab: Lab, off: str = "") -> Star:
    """Return three nodes that can reach each other, some of the fast path switched off."""
    three = star(lab, {"WGPY_FORWARD": "1", "WGPY_OFF": off})
    lab.wait_ping(three.alice.ns, BOB)
    lab.wait_ping(three.bob.ns, ALICE6)
    return three


@pytest.mark.needs("iperf3")
@pytest.mark.parametrize(
    ("off", "said"),
    [
        ("", "jit, TSO and USO, UDP GSO, UDP GRO"),
        ("jit", "portable, TSO and USO, UDP GSO, UDP GRO"),
        ("all", "packet by packet"),
    ],
)
def test_peers_reach_each_other_and_the_host_sees_nothing(lab, off, said):
    three = forwarding(lab, off)
    wait_until(lambda: three.said()["data_path"] == said, 30, f"{said} in use")
    alice, hub, bob = three
    before = hub.counter("rx_packets")
    for ip, size in ((BOB, 56), (BOB, 1392), (BOB6, 56), (BOB6, 1372)):
        assert alice.ping(ip, 3, size=size) == 3
    for client, server, ip in ((alice, bob, BOB), (bob, alice, ALICE6)):
        assert lab.iperf(client.ns, server.ns, ip, 1).bits_per_second > 20e6
    for length, rate in (("64", "2M"), ("1200", "5M")):
        options = ("-l", length)
        assert lab.iperf(alice.ns, bob.ns, BOB, 1, udp=rate, options=options).lost_percent < 10
    assert hub.counter("rx_packets") - before < 20
    relayed = three.said()["relayed"]
    assert relayed["packets"] > 2000
    assert relayed["bytes"] > 2_000_000
    assert "Traceback" not in hub.child.log()


def test_what_came_from_one_peer_went_to_the_other_to_the_byte(lab):
    three = forwarding(lab)
    before = three.hub.transfer(three.alice)[0], three.hub.transfer(three.bob)[1]
    assert three.alice.ping(BOB, 10) == 10
    after = three.hub.transfer(three.alice)[0], three.hub.transfer(three.bob)[1]
    assert after[0] - before[0] == after[1] - before[1] == 10 * 128


def test_nothing_is_sent_on_unless_asked_for(lab):
    three = star(lab, {})
    lab.wait_ping(three.alice.ns, HUB)
    lab.wait_ping(three.bob.ns, HUB6)
    assert three.alice.ping(BOB, 2) == 0
    assert three.bob.ping(ALICE6, 2) == 0
    assert three.said()["relayed"] is None


@pytest.mark.parametrize("moved", [True, False])
def test_the_hub_is_a_hop_on_the_way_and_keeps_what_is_its_own(lab, moved):
    """Also with an address that came later, and with prefixes of Bob that cover it all."""
    three = star(lab, {"WGPY_FORWARD": "1"}, moved=moved)
    alice, hub, bob = three
    lab.wait_ping(alice.ns, BOB)
    for ip, speaker in ((BOB, HUB), (BOB6, HUB6)):
        told = lab.run(alice.ns, "ping", "-n", "-c1", "-W2", "-t1", ip, check=False).stdout
        assert re.search(rf"From {speaker}.*exceeded", told), told
    hub.set("peer", bob.public, "allowed-ips", EVERYTHING)
    lab.ip(hub.ns, "address", "add", "10.78.0.1/32", "dev", "lo")
    lab.ip(alice.ns, "route", "add", "10.78.0.0/24", "dev", alice.name)
    wait_until(lambda: alice.ping("10.78.0.1") == 1, 10, "the hub's new address to be its own")
    assert alice.ping(HUB, 3) == 3
    lab.ip(hub.ns, "address", "del", "10.78.0.1/32", "dev", "lo")
    lab.ip(bob.ns, "address", "add", "10.78.0.1/32", "dev", "lo")
    wait_until(lambda: alice.ping("10.78.0.1") == 1, 10, "Bob to have the hub's old address")


@pytest.mark.needs("iperf3")
def test_a_narrower_way_on_is_told_and_no_black_hole(lab):
    three = forwarding(lab)
    three.hub.mtu(1300)

    def told(ip: str, *options: object) -> str:
        words = ("ping", "-n", "-c1", "-W2", "-s1320", *options, ip)
        return str(lab.run(three.alice.ns, *words, check=False).stdout)

    assert re.search(rf"From {HUB}.*mtu = 1300", told(BOB, "-M", "do"))
    lab.ip(three.alice.ns, "route", "flush", "cache")
    assert re.search(rf"From {HUB6}.*mtu=1300", told(BOB6))
    lab.ip(three.alice.ns, "route", "flush", "cache")
    assert "1 received" in told(BOB, "-M", "dont"), "in fragments"
    for ip in (BOB, BOB6):
        assert lab.iperf(three.alice.ns, three.bob.ns, ip, 1).bits_per_second > 5e6
    assert three.said()["drops"]["too big for the way to another peer"] >= 2


def test_a_peer_cannot_speak_as_another_nor_as_the_hub(lab):
    three = forwarding(lab)
    alice, _, bob = three
    before = alice.counter("rx_packets")
    for address in ("10.77.0.9", HUB):
        lab.ip(bob.ns, "address", "add", f"{address}/32", "dev", "lo")
        assert lab.ping(bob.ns, ALICE, 3, options=("-I", address)) == 0
    # The kernel's router solicitations, from link-local addresses, are among them.
    assert three.said()["drops"]["inner source not allowed for the peer"] >= 6
    assert alice.counter("rx_packets") == before
