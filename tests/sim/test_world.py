import pytest

from tests.sim.nat import Nat
from tests.sim.tunnel import DATA, EPOCH, INITIATION, PORT, Node, Tunnel, v4
from tests.sim.world import Link, Sent, World
from wgpy.model import Burst, Deadline, Endpoint, TunBurst

HERE, THERE = Endpoint(v4("192.0.2.1"), 1), Endpoint(v4("192.0.2.2"), 2)
BAD = Link(latency=0.05, jitter=0.2, loss=0.2, duplication=0.2, reordering=0.2)


class Idle:
    """An engine that keeps what it hears and sends what it is told to send."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes, Endpoint, int]] = []
        self.bursts: list[Burst] = []
        self.woken: list[float] = []
        self.deadline: Deadline | None = None
        self.is_hot = False

    def receive_bursts(self, bursts, now):
        for burst in bursts:
            self.heard += [(now, bytes(p), burst.remote, burst.tos) for p in burst.segments()]

    def receive_packets(self, packets, now):
        for packet in packets:
            self.bursts.append(Burst(packet.packet, 2, THERE))

    def handle_deadline(self, now):
        self.woken.append(now)
        if not self.is_hot:
            self.deadline = None

    def next_deadline(self):
        return self.deadline

    def take_bursts(self):
        taken, self.bursts = self.bursts, []
        return taken

    def take_packets(self) -> list[TunBurst]:
        return []


def pair(link: Link, seed: int = 0):
    world, here, there = World(seed, link), Idle(), Idle()
    return world, world.add(here, HERE), world.add(there, THERE), here, there


def history(seed: int):
    tunnel = Tunnel(seed, BAD)
    for number in range(30):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.bob.send("10.0.0.1", [number])
        tunnel.world.run_for(7.0)
    return tunnel.world.trace, tunnel.alice.host.received_at, tunnel.bob.host.received_at


def test_the_same_seed_gives_the_same_history():
    assert history(3) == history(3)
    assert history(3) != history(4)


def test_many_peers_of_one_node_act_in_an_order_of_their_own():
    def star() -> list[Sent]:
        world = World(7)
        middle = Node(world, "middle", "10.0.0.1", "192.0.2.1")
        middle.set_up()
        for n in range(2, 12):
            other = Node(world, f"{n}", f"10.0.0.{n}", f"192.0.2.{n}")
            middle.meet(other, endpoint=other.host.endpoint, keepalive=1)
        world.run_for(30.0)
        return world.trace

    assert star() == star()


def test_a_burst_arrives_as_its_segments_after_the_latency():
    world, here, _, _, there = pair(Link(latency=0.25))
    world.send(here, [b"aabbc"])
    world.run_for(0.2)
    assert there.heard == []
    world.run_for(0.1)
    assert there.heard == [(0.25, p, HERE, 0) for p in (b"aa", b"bb", b"c")]
    assert world.now == pytest.approx(0.3)


def test_links_lose_duplicate_and_reorder():
    world, here, _, _, there = pair(Link(loss=1.0))
    world.send(here, [b"a"])
    world.link = Link(duplication=1.0)
    world.send(here, [b"b"])
    world.link = Link(reordering=1.0)
    world.send(here, [b"c"])
    world.link = Link()
    world.send(here, [b"d"])
    world.run_for(1.0)
    assert [payload for _, payload, _, _ in there.heard] == [b"b", b"b", b"d", b"c"]
    assert [sent.payload for sent in world.trace] == [b"a", b"b", b"c", b"d"]


def test_a_link_may_differ_by_direction():
    world, here, there_host, here_engine, there = pair(Link())
    world.links[here, there_host] = Link(loss=1.0)
    world.send(here, [b"a"])
    there.bursts.append(Burst(b"b", 1, HERE))
    world.run_for(1.0)
    assert there.heard == []
    assert [payload for _, payload, _, _ in here_engine.heard] == [b"b"]


def test_a_congested_link_marks_what_can_be_marked():
    world, _, _, here_engine, there = pair(Link(congested=True))
    here_engine.bursts = [Burst(b"a", 1, THERE, tos=2), Burst(b"b", 1, THERE, tos=0)]
    world.run_for(1.0)
    assert [tos for _, _, _, tos in there.heard] == [3, 0]


def test_a_host_that_sleeps_hears_nothing_and_wakes_late():
    world, here, there_host, _, there = pair(Link())
    there.deadline = Deadline(5.0, "test")
    world.suspend(there_host, 60.0)
    world.send(here, [b"a"])
    world.run_for(100.0)
    assert there.heard == []
    assert there.woken == [60.0]


def test_a_host_that_is_disconnected_neither_sends_nor_hears():
    world, here, there_host, here_engine, there = pair(Link())
    there_host.up = False
    world.send(here, [b"a"])
    there.bursts = [Burst(b"b", 1, HERE)]
    world.run_for(1.0)
    assert (here_engine.heard, there.heard) == ([], [])


def test_what_is_filtered_is_traced_and_lost():
    world, here, _, _, there = pair(Link())
    world.filter = lambda sent: sent.payload != b"a"
    world.send(here, [b"a", b"b"])
    world.run_for(1.0)
    assert [payload for _, payload, _, _ in there.heard] == [b"b"]
    assert len(world.trace) == 2


def test_an_engine_that_is_due_after_it_was_woken_fails_the_test():
    world, _, _, _, there = pair(Link())
    there.deadline, there.is_hot = Deadline(5.0, "test"), True
    with pytest.raises(AssertionError, match="hot loop"):
        world.run_for(10.0)


def test_run_while_ends_when_the_condition_does():
    world, here, _, _, there = pair(Link(latency=0.5))
    world.send(here, [b"a"])
    assert world.run_while(lambda: not there.heard, 1.0)
    assert world.now == 0.5
    assert not world.run_while(lambda: True, 1.0)


def test_anything_can_be_injected():
    world, here, _, here_engine, _ = pair(Link())
    world.inject(here, b"x", THERE, tos=1)
    assert here_engine.heard == [(0.0, b"x", THERE, 1)]


def test_a_nat_maps_lets_in_and_forgets():
    nat = Nat(v4("198.51.100.1"), expiry=30.0)
    outside = nat.outward(HERE, THERE, 0.0)
    assert outside == nat.outward(HERE, Endpoint(THERE.host, 9), 0.0)
    assert nat.inward(outside, THERE, 29.9) == HERE
    assert nat.inward(outside, Endpoint(THERE.host, 8), 1.0) is None
    assert nat.inward(Endpoint(nat.host, 1), THERE, 1.0) is None
    assert nat.inward(outside, THERE, 30.0) is None
    assert nat.outward(HERE, THERE, 30.0) != outside


def test_a_symmetric_nat_has_a_mapping_for_each_destination():
    nat = Nat(v4("198.51.100.1"), symmetric=True)
    assert nat.outward(HERE, THERE, 0.0) != nat.outward(HERE, Endpoint(THERE.host, 9), 0.0)


def test_a_tunnel_carries_packets_both_ways():
    tunnel = Tunnel()
    tunnel.exchange()
    assert len(tunnel.alice.sent(INITIATION)) == 1
    assert tunnel.bob.sent(DATA) != []
    assert tunnel.bob.peer(tunnel.alice.public).last_handshake == pytest.approx(
        EPOCH + 0.03, abs=0.1
    )


def test_a_node_behind_a_nat_is_found_where_the_nat_put_it():
    world = World()
    nat = Nat(v4("198.51.100.1"))
    inside = Node(world, "alice", "10.0.0.1", "192.168.0.2", nat=nat)
    outside = Node(world, "bob", "10.0.0.2", "192.0.2.2")
    inside.meet(outside, endpoint=outside.host.endpoint)
    outside.meet(inside)
    inside.set_up()
    outside.set_up()
    inside.send("10.0.0.2", [1])
    world.run_for(1.0)
    endpoint = outside.peer(inside.public).endpoint
    assert endpoint is not None
    assert endpoint.host == nat.host
    assert endpoint.port != PORT
    outside.send("10.0.0.1", [2])
    world.run_for(1.0)
    assert (outside.numbers, inside.numbers) == ([1], [2])
