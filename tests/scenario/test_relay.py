"""Alice and Bob, who meet through a gate that relays: loss, renewal, roaming, restarts."""

import pytest

from tests.sim.tunnel import DATA, Node, packet, v4
from tests.sim.world import Link, World
from wgpy.engine.constants import REKEY_AFTER_TIME
from wgpy.errors import Drop
from wgpy.model import Endpoint, InterfaceAddress, PeerStatus


class Star:
    """Three nodes; `send` and `numbers` of Alice and Bob are end to end."""

    def __init__(self, seed: int = 0, link: Link | None = None) -> None:
        self.world = World(seed, link)
        self.gate = Node(self.world, "gate", "10.0.0.254", "192.0.2.254", forward=True)
        self.alice = Node(self.world, "alice", "10.0.0.1", "192.0.2.1")
        self.bob = Node(self.world, "bob", "10.0.0.2", "192.0.2.2")
        self.gate.device.set_own_addresses([InterfaceAddress(v4("10.0.0.254"), 24)])
        for node in (self.alice, self.bob):
            self.gate.meet(node, endpoint=node.host.endpoint)
            node.meet(self.gate, endpoint=self.gate.host.endpoint, more=["10.0.0.0/24"])
        for node in (self.alice, self.gate, self.bob):
            node.set_up()

    def chat(self, seconds: int) -> None:
        """Let both send a numbered packet a second."""
        for number in range(seconds):
            self.alice.send("10.0.0.2", [number])
            self.world.run_for(0.5)
            self.bob.send("10.0.0.1", [number])
            self.world.run_for(0.5)
        self.world.run_for(2.0)

    def status(self, node: Node) -> PeerStatus:
        """Return the gate's view of a node."""
        return self.gate.peer(node.public)


@pytest.mark.parametrize("latency", [0.0, 0.01, 0.3])
def test_a_clean_network_loses_nothing_while_keys_of_both_ways_are_renewed(latency):
    star = Star(link=Link(latency))
    star.chat(600)
    assert star.alice.numbers == star.bob.numbers == list(range(600))
    assert star.gate.host.received == []
    for node in (star.alice, star.gate, star.bob):
        assert node.drops() == {}
    relayed = star.gate.device.status().relayed
    assert relayed is not None
    assert relayed == (1200, 1200 * 84)


@pytest.mark.parametrize("seed", range(5))
def test_what_a_bad_network_loses_is_in_proportion_and_nothing_is_invented(seed):
    link = Link(latency=0.02, jitter=0.03, loss=0.1, duplication=0.1, reordering=0.1)
    star = Star(seed, link)
    star.chat(600)
    for numbers in (star.alice.numbers, star.bob.numbers):
        assert len(set(numbers)) == len(numbers)
        assert len(numbers) > 600 * 0.6
    assert set(star.gate.drops()) <= {
        "data packet replayed or too late",
        "handshake replayed, or the sender's clock stepped back",
        "receiver index not ours",
        "initiations of one peer too fast",
    }


@pytest.mark.parametrize("marked", [False, True])
def test_congestion_on_the_way_is_told_end_to_end(marked):
    """The inner packets are capable of ECN; the first of the two ways is congested."""
    star = Star()
    star.world.links[star.alice.host, star.gate.host] = Link(congested=marked)
    star.world.send(star.alice.host, [packet("10.0.0.1", "10.0.0.2", 1, tos=2)])
    star.world.run_for(1.0)
    (arrived,) = star.bob.host.received
    assert arrived[1] & 3 == (3 if marked else 2)


def test_packets_for_a_peer_that_moved_follow_it():
    star = Star()
    star.chat(5)
    star.bob.host.endpoint = Endpoint(v4("198.51.100.9"), 4444)
    star.bob.send("10.0.0.1", [7])
    star.world.run_for(1.0)
    star.alice.send("10.0.0.2", [8])
    star.world.run_for(1.0)
    assert star.alice.numbers[-1] == 7
    assert star.bob.numbers[-1] == 8


def test_a_peer_that_restarts_is_met_again():
    star = Star()
    star.chat(5)
    star.bob.restart()
    star.bob.meet(star.gate, endpoint=star.gate.host.endpoint, more=["10.0.0.0/24"])
    star.bob.set_up()
    star.world.run_for(1.0)
    star.alice.send("10.0.0.2", [100])
    star.world.run_for(20.0)
    star.alice.send("10.0.0.2", [101])
    star.world.run_for(20.0)
    assert star.bob.numbers[-1] == 101


def test_a_gate_that_restarts_is_met_again():
    star = Star()
    star.chat(5)
    star.gate.restart()
    for node in (star.alice, star.bob):
        star.gate.meet(node, endpoint=node.host.endpoint)
    star.gate.set_up()
    for number in range(100, 140):
        star.alice.send("10.0.0.2", [number])
        star.world.run_for(1.0)
    assert star.bob.numbers[-1] == 139


def test_a_silent_peer_is_greeted_again_by_the_gate_though_only_relayed_packets_go_to_it():
    star = Star()
    star.chat(2)
    star.bob.host.up = False
    before = star.status(star.bob).tx_bytes
    for number in range(20):
        star.alice.send("10.0.0.2", [number])
        star.world.run_for(1.0)
    initiations = [sent for sent in star.world.trace if sent.at > 5 and sent.kind == 1]
    assert initiations
    assert star.status(star.bob).tx_bytes > before
    star.bob.host.up = True
    star.world.run_for(10.0)
    star.alice.send("10.0.0.2", [99])
    star.world.run_for(5.0)
    assert star.bob.numbers[-1] == 99


def test_each_way_renews_its_keys_by_itself():
    star = Star()
    star.chat(int(REKEY_AFTER_TIME) + 60)
    ages = [
        star.world.now - (star.status(node).last_handshake % 1_700_000_000)
        for node in (star.alice, star.bob)
    ]
    assert all(age < REKEY_AFTER_TIME for age in ages)


def test_a_loop_of_allowed_ips_ends_with_the_hop_limit():
    """Two gates that each take the other for the way to one address."""
    world = World()
    one = Node(world, "one", "10.0.0.1", "192.0.2.1", forward=True)
    two = Node(world, "two", "10.0.0.2", "192.0.2.2", forward=True)
    for node, other in ((one, two), (two, one)):
        node.device.set_own_addresses([InterfaceAddress(v4(node.address), 32)])
        node.meet(other, endpoint=other.host.endpoint, more=["10.1.0.0/16"])
        node.set_up()
    world.send(one.host, [packet("10.1.0.5", "10.1.0.9")])
    world.run_for(60.0)
    data = [sent for sent in world.trace if sent.kind == DATA]
    assert 64 <= len(data) <= 70, "a hop each, and keepalives"
    spent = [node.drops().get(Drop.HOP_LIMIT.value, 0) for node in (one, two)]
    assert sum(spent) == 1
