"""What networks do to tunnels: loss, reordering, roaming, NAT, marks, and clocks that jump."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.nat import Nat
from tests.sim.tunnel import (
    DATA,
    EPOCH,
    INITIATION,
    PORT,
    RESPONSE,
    Node,
    Tunnel,
    number_of,
    packet,
    v4,
)
from tests.sim.world import Link, World
from wgpy.events import HandshakeCompleted, Roamed, SessionEnded
from wgpy.model import Endpoint, PeerChange

ELSEWHERE = Endpoint(v4("203.0.113.7"), 4242)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    link=st.builds(
        Link,
        latency=st.floats(0, 1),
        jitter=st.floats(0, 0.5),
        loss=st.floats(0, 0.3),
        duplication=st.floats(0, 0.3),
        reordering=st.floats(0, 0.3),
    ),
    jumps=st.lists(
        st.tuples(st.booleans(), st.floats(1, 1000), st.floats(-1e6, 1e6)), max_size=4
    ),
)
def test_traffic_always_resumes(seed, link, jumps):
    tunnel = Tunnel(seed, link)
    world, number = tunnel.world, 0
    for is_alice, sleep, step in [*jumps, (True, 0.0, 0.0)]:
        for _ in range(20):
            tunnel.alice.send("10.0.0.2", [number])
            tunnel.bob.send("10.0.0.1", [number])
            number += 1
            world.run_for(2.0)
        node = tunnel.alice if is_alice else tunnel.bob
        node.device.set_wall_offset(EPOCH + step)
        world.suspend(node.host, sleep)
        world.run_for(sleep)
    world.link = Link(link.latency)
    for _ in range(12):
        tunnel.alice.send("10.0.0.2", [10**6])
        tunnel.bob.send("10.0.0.1", [10**6])
        world.run_for(2.0)
    world.run_for(3.0)
    for node in (tunnel.alice, tunnel.bob):
        assert 10**6 in node.numbers
        assert len([n for n in node.numbers if n < 10**6]) == len(
            {n for n in node.numbers if n < 10**6}
        ), "nothing arrives twice"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_an_hour_of_bad_weather_loses_no_more_than_the_link_does(seed):
    loss = 0.1
    tunnel = Tunnel(seed, Link(0.03, jitter=0.05, loss=loss, duplication=0.1, reordering=0.1))
    for number in range(3600):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.bob.send("10.0.0.1", [number])
        tunnel.world.run_for(1.0)
    for node in (tunnel.alice, tunnel.bob):
        assert len(set(node.numbers)) == len(node.numbers)
        assert len(node.numbers) > 3600 * (1 - loss) * 0.97


def test_a_replayed_or_reordered_packet_is_taken_once():
    tunnel = Tunnel(link=Link(duplication=1.0))
    tunnel.alice.send("10.0.0.2", range(20))
    tunnel.world.run_for(1.0)
    tunnel.world.link = Link(reordering=0.5, duplication=0.5)
    tunnel.alice.send("10.0.0.2", range(20, 40))
    tunnel.world.run_for(1.0)
    assert sorted(tunnel.bob.numbers) == list(range(40))
    assert tunnel.bob.drops()["data packet replayed or too late"] >= 20


def test_a_peer_that_moves_is_followed_by_its_first_packet():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.bob.take_events()
    old = tunnel.alice.host.endpoint
    tunnel.alice.host.endpoint = ELSEWHERE
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    tunnel.bob.send("10.0.0.1", [2])
    tunnel.world.run_for(1.0)
    assert tunnel.alice.numbers[-1] == 2
    assert tunnel.bob.take_events() == [Roamed(tunnel.alice.public, old, ELSEWHERE)]
    # Under way all the time, without a new handshake.
    assert [sent.kind for sent in tunnel.world.trace].count(INITIATION) == 1


def test_peers_that_move_at_once_lose_each_other_until_one_is_told():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.host.endpoint = ELSEWHERE
    tunnel.bob.host.endpoint = Endpoint(v4("203.0.113.8"), 4243)
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.bob.send("10.0.0.1", [1])
    tunnel.world.run_for(40.0)
    assert 1 not in tunnel.alice.numbers + tunnel.bob.numbers
    tunnel.alice.meet(tunnel.bob, endpoint=tunnel.bob.host.endpoint)
    tunnel.world.run_for(6.0)
    tunnel.exchange()


def test_forged_packets_from_elsewhere_move_nobody():
    tunnel = Tunnel()
    tunnel.exchange()
    (real,) = [s for s in tunnel.world.trace if s.kind == DATA and s.at == 1.0]
    forged = bytearray(real.payload)
    forged[-1] ^= 1
    tunnel.world.inject(tunnel.alice.host, bytes(forged), ELSEWHERE)
    tunnel.world.inject(tunnel.alice.host, real.payload, ELSEWHERE)
    assert tunnel.alice.peer(tunnel.bob.public).endpoint == tunnel.bob.host.endpoint
    assert tunnel.alice.drops() == {
        "does not decrypt": 1,
        "data packet replayed or too late": 1,
    }


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_persistent_keepalive_holds_a_nat_open(symmetric):
    world = World()
    nat = Nat(v4("198.51.100.1"), expiry=30.0, symmetric=symmetric)
    inside = Node(world, "alice", "10.0.0.1", "192.168.0.2", nat=nat)
    outside = Node(world, "bob", "10.0.0.2", "192.0.2.2")
    outside.meet(inside)
    outside.set_up()
    inside.meet(outside, endpoint=outside.host.endpoint, keepalive=25)
    inside.set_up()
    world.run_for(1.0)
    for number in range(20):
        world.run_for(61.0)
        outside.send("10.0.0.1", [number])
    world.run_for(1.0)
    assert inside.numbers == list(range(20))
    # 25 s after anything was sent or received, so that it is never longer than that.
    times = inside.sent()
    assert max(b - a for a, b in zip(times, times[1:], strict=False)) <= 35.1  # noqa: RUF007


def test_without_it_the_mapping_expires_and_the_inside_opens_a_new_one():
    world = World()
    nat = Nat(v4("198.51.100.1"), expiry=30.0)
    inside = Node(world, "alice", "10.0.0.1", "192.168.0.2", nat=nat)
    outside = Node(world, "bob", "10.0.0.2", "192.0.2.2")
    outside.meet(inside)
    outside.set_up()
    inside.meet(outside, endpoint=outside.host.endpoint)
    inside.set_up()
    inside.send("10.0.0.2", [1])
    world.run_for(60.0)
    outside.send("10.0.0.1", [2])
    world.run_for(1.0)
    assert inside.numbers == []
    inside.send("10.0.0.2", [3])
    world.run_for(1.0)
    outside.send("10.0.0.1", [4])
    world.run_for(1.0)
    assert (inside.numbers, outside.numbers) == ([4], [1, 3])


def test_a_persistent_keepalive_goes_out_at_its_interval():
    tunnel = Tunnel(keepalive=20)
    tunnel.world.run_for(100.0)
    data = tunnel.alice.sent(DATA)
    assert data == pytest.approx([0.02, 20.02, 40.02, 60.02, 80.02], abs=0.001)
    assert tunnel.bob.sent(DATA) == []


def test_a_keepalive_that_is_switched_on_goes_out_at_once_and_off_for_good():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.world.run_for(60.0)
    start = tunnel.world.now
    tunnel.alice.change(PeerChange(tunnel.bob.public, persistent_keepalive=30))
    assert tunnel.alice.sent(DATA, start) == [start]
    tunnel.alice.change(PeerChange(tunnel.bob.public, persistent_keepalive=40))
    assert tunnel.alice.sent(DATA, start) == [start]
    tunnel.alice.change(PeerChange(tunnel.bob.public, persistent_keepalive=0))
    tunnel.world.run_for(200.0)
    assert tunnel.alice.sent(since=start) == [start]


def test_a_persistent_keepalive_never_gives_up_and_finds_the_peer_again():
    tunnel = Tunnel(keepalive=25)
    tunnel.world.run_for(1.0)
    tunnel.bob.host.up = False
    tunnel.world.run_for(3600.0)
    tunnel.bob.host.up = True
    tunnel.world.run_for(25.0 + 10.0)
    tunnel.exchange()


@pytest.mark.parametrize("interval", [1, 3, 5, 6, 25])
def test_a_responder_with_a_keepalive_goes_on_though_the_initiator_died(interval):
    tunnel = Tunnel()
    tunnel.bob.meet(tunnel.alice, keepalive=interval)
    tunnel.alice.host.up = False
    tunnel.world.run_for(3.0)
    tunnel.alice.host.up = True
    tunnel.world.filter = lambda sent: sent.kind == INITIATION
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    tunnel.alice.host.up = False
    tunnel.alice.restart()
    tunnel.alice.meet(tunnel.bob)
    tunnel.alice.set_up()
    tunnel.world.filter = lambda sent: True
    tunnel.world.run_for(3600.0)
    tunnel.alice.host.up = True
    tunnel.world.run_for(interval + 10.0)
    assert tunnel.alice.peer(tunnel.bob.public).last_handshake > 0


@pytest.mark.parametrize("sleep", [30.0, 170.0, 400.0, 4000.0])
@pytest.mark.parametrize("who", ["alice", "bob", "both"])
def test_sleep_is_no_hindrance(who, sleep):
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.send("10.0.0.2", [1])
    for name in ("alice", "bob"):
        if who in (name, "both"):
            tunnel.world.suspend(getattr(tunnel, name).host, sleep)
    tunnel.world.run_for(sleep)
    tunnel.world.run_for(0.5)
    sleeper = tunnel.bob if who == "bob" else tunnel.alice
    other = tunnel.alice if who == "bob" else tunnel.bob
    sleeper.send(other.address, [2])
    tunnel.world.run_for(0.5)
    assert other.numbers[-1] == 2, "the first packet after it goes through at once"


def test_what_is_begun_on_waking_is_not_swept_away_with_the_old_keys():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.world.run_for(30.0)
    tunnel.alice.take_events()
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.suspend(tunnel.alice.host, 3600.0)
    tunnel.world.run_for(3600.0 + 1.0)
    events = tunnel.alice.take_events()
    assert [type(event) for event in events] == [SessionEnded, HandshakeCompleted]
    assert len(tunnel.alice.sent(INITIATION)) == 2


@pytest.mark.parametrize(
    ("inner", "outer"), [(0, 0), (0b1011_1000, 0), (1, 1), (2, 2), (3, 2), (0b101, 1)]
)
def test_the_outer_header_carries_ecn_and_no_dscp(inner, outer):
    tunnel = Tunnel()
    tunnel.exchange()
    start = len(tunnel.world.trace)
    tunnel.world.send(tunnel.alice.host, [packet("10.0.0.1", "10.0.0.2", 1, tos=inner)])
    assert [sent.tos for sent in tunnel.world.trace[start:]] == [outer]
    tunnel.world.run_for(1.0)
    assert tunnel.bob.host.received[-1][1] == inner


@pytest.mark.parametrize(("inner", "after"), [(0, 0), (1, 3), (2, 3), (3, 3), (0xB9, 0xBB)])
def test_congestion_on_the_way_shows_in_the_packet(inner, after):
    tunnel = Tunnel(link=Link(congested=True))
    sent = packet("10.0.0.1", "10.0.0.2", 1, tos=inner)
    tunnel.world.send(tunnel.alice.host, [sent])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.host.received == [packet("10.0.0.1", "10.0.0.2", 1, tos=after)]


def test_packets_of_one_peer_keep_their_order_whatever_their_marks():
    tunnel = Tunnel()
    tunnel.exchange()
    marks = [2, 0, 2, 2, 1, 0, 0, 2]
    tunnel.world.send(
        tunnel.alice.host,
        [packet("10.0.0.1", "10.0.0.2", n, tos=tos) for n, tos in enumerate(marks)],
    )
    tunnel.world.run_for(1.0)
    assert tunnel.bob.numbers[1:] == list(range(8))
    assert [received[1] for received in tunnel.bob.host.received[1:]] == marks


def test_staged_packets_keep_their_order_and_marks_too():
    tunnel = Tunnel()
    marks = [2, 0, 2, 2, 1, 0, 0, 2]
    tunnel.world.send(
        tunnel.alice.host,
        [packet("10.0.0.1", "10.0.0.2", n, tos=tos) for n, tos in enumerate(marks)],
    )
    tunnel.world.run_for(1.0)
    assert [(number_of(p), p[1]) for p in tunnel.bob.host.received] == list(enumerate(marks))


def test_handshakes_are_marked_and_cookies_and_keepalives_are_not():
    tunnel = Tunnel(keepalive=10)
    tunnel.world.run_for(30.0)
    marks = {sent.kind: sent.tos for sent in tunnel.world.trace}
    assert marks == {INITIATION: 0x88, RESPONSE: 0x88, DATA: 0}


def test_a_packet_for_nobody_is_answered_by_icmp_a_few_times_a_second():
    tunnel = Tunnel()
    lost = packet("10.0.0.1", "10.0.0.9")
    tunnel.world.send(tunnel.alice.host, [lost] * 10)
    answers = tunnel.alice.host.received
    assert len(answers) == 5
    assert answers[0][20:22] == bytes([3, 1])
    assert answers[0][12:20] == v4("10.0.0.9") + v4("10.0.0.1")
    assert lost in answers[0]
    assert tunnel.alice.drops() == {"no peer has the destination in its allowed IPs": 10}


def test_a_packet_for_a_peer_without_an_endpoint_is_answered_by_icmp():
    tunnel = Tunnel(bob_knows_endpoint=False)
    tunnel.bob.send("10.0.0.1")
    assert [answer[20:22] for answer in tunnel.bob.host.received] == [bytes([3, 1])]


@pytest.mark.parametrize(
    "garbage", [b"", b"\x45", bytes(19), b"\x60" + bytes(38), b"\x50" * 60]
)
def test_what_is_no_ip_packet_is_dropped(garbage):
    tunnel = Tunnel()
    tunnel.world.send(tunnel.alice.host, [garbage])
    assert tunnel.alice.drops() == {"packet of the host is not IP": 1}
    assert tunnel.alice.host.received == []
    assert tunnel.world.trace == []


def test_the_port_that_a_peer_is_at_is_part_of_where_it_is():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.host.endpoint = Endpoint(v4("192.0.2.1"), PORT + 1)
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.peer(tunnel.alice.public).endpoint == tunnel.alice.host.endpoint
