"""Who begins a handshake, when, how often, and what comes of it."""

from itertools import pairwise

import pytest

from tests.sim.tunnel import (
    COOKIE_REPLY,
    DATA,
    EPOCH,
    INITIATION,
    RESPONSE,
    Node,
    Tunnel,
    secret,
    v4,
)
from tests.sim.world import Link, World
from wgpy.events import HandshakeCompleted, HandshakeGaveUp
from wgpy.model import DeviceChange, Endpoint, PeerChange, PublicKey, Secret

# Points of low order (RFC 7748, 6.1 wants their shared secret, zero, to be noticed).
LOW_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes([0xEC]) + bytes([0xFF]) * 30 + bytes([0x7F]),
    bytes([0xED]) + bytes([0xFF]) * 30 + bytes([0x7F]),
    bytes([0xEE]) + bytes([0xFF]) * 30 + bytes([0x7F]),
]


def is_not_data(sent):
    return sent.kind != DATA


def test_an_unanswered_handshake_is_tried_twenty_times_and_given_up():
    tunnel = Tunnel(seed=5)
    tunnel.world.filter = lambda sent: False
    tunnel.alice.send("10.0.0.2", range(200))
    assert tunnel.alice.drops() == {"too many packets waiting for a handshake": 72}
    tunnel.world.run_for(200.0)
    times = tunnel.alice.sent(INITIATION)
    assert len(times) == len(tunnel.world.trace) == 20
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(5.0 < gap <= 5.0 + 1 / 3 + 1e-6 for gap in gaps)
    assert len({round(gap, 4) for gap in gaps}) > 10
    assert tunnel.alice.take_events() == [HandshakeGaveUp(tunnel.bob.public)]
    # Given up means purged: what waited is not sent when the peer is back.
    tunnel.world.filter = lambda sent: True
    tunnel.alice.send("10.0.0.2", [777])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.numbers == [777]


def test_after_giving_up_the_keys_are_zeroed_too_and_nothing_is_due():
    tunnel = Tunnel()
    tunnel.world.filter = lambda sent: False
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(110.0)
    deadline = tunnel.alice.device.next_deadline()
    assert deadline is not None
    assert deadline.why == "keys are too old to keep"
    assert 600 < deadline.at < 660
    tunnel.world.run_for(600.0)
    assert tunnel.alice.device.next_deadline() is None


def test_who_goes_on_sending_is_never_given_up():
    tunnel = Tunnel()
    tunnel.world.filter = lambda sent: False
    for number in range(300):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.world.run_for(1.0)
    assert len(tunnel.alice.sent(INITIATION)) >= 300 / 5.4
    assert tunnel.alice.take_events() == []
    tunnel.world.filter = lambda sent: True
    tunnel.world.run_for(6.0)
    # The latest 128 waited, the oldest went.
    assert tunnel.bob.numbers == list(range(300 - 128, 300))


def test_packets_wait_in_order_and_the_oldest_go():
    tunnel = Tunnel()
    tunnel.alice.send("10.0.0.2", range(100))
    tunnel.alice.send("10.0.0.2", range(100, 150))
    tunnel.world.run_for(1.0)
    assert tunnel.bob.numbers == list(range(22, 150))


@pytest.mark.parametrize("latency", [0.0, 0.001, 0.05, 0.4, 2.0])
def test_exactly_simultaneous_handshakes_are_decided_in_one_round_trip(latency):
    for seed in range(10):
        tunnel = Tunnel(seed, Link(latency))
        tunnel.alice.send("10.0.0.2", [1])
        tunnel.bob.send("10.0.0.1", [2])
        tunnel.world.run_for(4 * latency + 0.1)
        assert (tunnel.bob.numbers, tunnel.alice.numbers) == ([1], [2]), seed
        kinds = [sent.kind for sent in tunnel.world.trace]
        assert kinds[:4] == [INITIATION, INITIATION, RESPONSE, RESPONSE]
        assert kinds.count(INITIATION) == 2
        began = [
            event.initiator
            for node in (tunnel.alice, tunnel.bob)
            for event in node.take_events()
            if isinstance(event, HandshakeCompleted)
        ]
        assert sorted(began) == [False, True], "one session, not one each"


@pytest.mark.parametrize("seed", range(20))
def test_simultaneous_handshakes_are_decided_though_messages_get_lost(seed):
    tunnel = Tunnel(seed, Link(0.2, jitter=0.2, loss=0.3))
    for number in range(15):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.bob.send("10.0.0.1", [number])
        tunnel.world.run_for(3.0)
    tunnel.world.link = Link(0.2)
    tunnel.world.run_for(16.0)
    tunnel.exchange()


def test_a_wish_for_a_handshake_within_five_seconds_of_the_last_is_not_lost():
    """Bob answered Alice, who then died: his one packet must go out by a handshake of his."""
    tunnel = Tunnel()
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.filter = lambda sent: sent.kind == INITIATION
    tunnel.world.run_for(1.0)
    assert len(tunnel.bob.sent(RESPONSE)) == 1
    tunnel.alice.restart()
    tunnel.alice.meet(tunnel.bob)
    tunnel.alice.set_up()
    tunnel.world.filter = lambda sent: True
    tunnel.bob.send("10.0.0.1", [2])
    tunnel.world.run_for(10.0)
    (initiation,) = tunnel.bob.sent(INITIATION)
    assert 5.0 <= initiation <= 5.0 + 1 / 3 + 0.02
    assert tunnel.alice.numbers == [2]


def test_a_peer_without_an_endpoint_only_answers():
    tunnel = Tunnel(bob_knows_endpoint=False)
    tunnel.bob.send("10.0.0.1", [1])
    tunnel.world.run_for(30.0)
    assert tunnel.world.trace == []
    assert tunnel.bob.drops() == {"endpoint of the peer unknown": 1}
    tunnel.exchange()
    assert tunnel.bob.peer(tunnel.alice.public).endpoint == tunnel.alice.host.endpoint


def test_a_responder_reports_its_handshake_when_it_is_confirmed():
    tunnel = Tunnel()
    tunnel.world.filter = is_not_data
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.peer(tunnel.alice.public).last_handshake == 0.0
    assert tunnel.alice.peer(tunnel.bob.public).last_handshake == EPOCH + 0.02
    tunnel.world.filter = lambda sent: True
    tunnel.alice.send("10.0.0.2", [2])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.peer(tunnel.alice.public).last_handshake == EPOCH + 1.01


def test_a_responder_does_not_send_before_it_is_confirmed():
    tunnel = Tunnel()
    tunnel.world.filter = is_not_data
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(0.1)
    tunnel.bob.send("10.0.0.1", [5])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.sent(DATA) == []
    tunnel.world.filter = lambda sent: True
    tunnel.alice.send("10.0.0.2", [2])
    tunnel.world.run_for(0.1)
    assert tunnel.alice.numbers == [5]


@pytest.mark.parametrize("who", ["initiator", "responder"])
def test_a_restart_of_one_side_is_survived_by_traffic_of_the_other(who):
    tunnel = Tunnel()
    tunnel.exchange()
    dead, alive = tunnel.alice, tunnel.bob
    if who == "responder":
        dead, alive = alive, dead
    tunnel.world.run_for(20.0)
    dead.restart()
    dead.meet(alive)
    dead.set_up()
    dead.host.received.clear()
    start = tunnel.world.now
    for number in range(40):
        alive.send(dead.address, [number])
        tunnel.world.run_for(0.5)
    resumed = dead.host.received_at[-len(dead.numbers)]
    assert 15.0 <= resumed - start <= 15.0 + 1 / 3 + 0.6
    assert dead.numbers[-1] == 39


def test_who_restarted_resumes_at_once_by_sending():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.world.run_for(20.0)
    tunnel.alice.restart()
    tunnel.alice.meet(tunnel.bob, endpoint=tunnel.bob.host.endpoint)
    tunnel.alice.set_up()
    tunnel.exchange()


def test_a_wall_clock_that_steps_back_locks_nobody_out():
    tunnel = Tunnel()
    tunnel.exchange()
    for back in (1.0, 3600.0, 10 * 365 * 86400.0):
        tunnel.alice.device.set_wall_offset(EPOCH - back)
        tunnel.world.run_for(200.0)
        tunnel.exchange()
    assert "handshake replayed" not in str(tunnel.bob.drops())


def test_a_restart_with_a_clock_that_is_behind_waits_until_the_other_side_begins():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.restart()
    tunnel.alice.device.set_wall_offset(EPOCH - 3600)
    tunnel.alice.meet(tunnel.bob, endpoint=tunnel.bob.host.endpoint)
    tunnel.alice.set_up()
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(3.0)
    assert tunnel.bob.drops()["handshake replayed, or the sender's clock stepped back"] == 1
    tunnel.bob.send("10.0.0.1", [2])
    tunnel.world.run_for(17.0)
    assert tunnel.bob.numbers[-1] == 1


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_a_peer_of_low_order_is_never_spoken_to(point):
    tunnel = Tunnel()
    tunnel.alice.change(
        PeerChange(
            PublicKey(point),
            endpoint=tunnel.bob.host.endpoint,
            persistent_keepalive=1,
            allowed_ips=[],
        )
    )
    tunnel.world.run_for(600.0)
    assert tunnel.world.trace == []


def test_a_node_without_a_key_is_silent_until_it_has_one():
    tunnel = Tunnel()
    tunnel.alice.change(private_key=Secret(bytes(32)))
    assert tunnel.alice.device.status().public_key is None
    tunnel.bob.send("10.0.0.1", [1])
    tunnel.alice.send("10.0.0.2", [2])
    tunnel.world.run_for(20.0)
    assert tunnel.alice.sent() == []
    tunnel.alice.change(private_key=tunnel.alice.secret)
    tunnel.alice.send("10.0.0.2", [3])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.numbers == [2, 3]


def test_a_new_private_key_begins_a_new_handshake_at_once():
    tunnel = Tunnel()
    tunnel.exchange()
    fresh = secret("alice's next")
    tunnel.alice.change(private_key=fresh)
    after = tunnel.alice.device.status().public_key
    assert after is not None
    tunnel.bob.change(
        PeerChange(tunnel.alice.public, remove=True),
        PeerChange(after, endpoint=tunnel.alice.host.endpoint),
    )
    start = tunnel.world.now
    tunnel.alice.send("10.0.0.2", [9])
    tunnel.world.run_for(1.0)
    assert len(tunnel.alice.sent(INITIATION, start)) == 1
    assert tunnel.bob.peer(after).last_handshake > 0


def test_the_same_private_key_again_changes_nothing():
    tunnel = Tunnel()
    tunnel.exchange()
    start = tunnel.world.now
    unclamped = bytearray(tunnel.alice.secret.reveal())
    unclamped[0] ^= 1
    tunnel.alice.change(private_key=Secret(bytes(unclamped)))
    tunnel.exchange()
    assert tunnel.alice.sent(INITIATION, start) == []


def test_a_new_preshared_key_counts_from_the_next_handshake():
    tunnel = Tunnel()
    tunnel.exchange()
    psk = Secret(bytes([7]) * 32)
    tunnel.alice.meet(tunnel.bob, psk=psk)
    tunnel.exchange()
    tunnel.world.run_for(200.0)
    start = tunnel.world.now
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(11.0)
    assert tunnel.bob.sent(RESPONSE, start) != []
    assert tunnel.alice.drops() == {"does not decrypt": 3}
    tunnel.bob.meet(tunnel.alice, psk=psk)
    tunnel.world.run_for(6.0)
    assert tunnel.bob.numbers[-1] == 1


def test_three_nodes_talk_with_each_other():
    world = World()
    names = ("alice", "bob", "carol")
    nodes = [Node(world, name, f"10.0.0.{n}", f"192.0.2.{n}") for n, name in enumerate(names)]
    for node in nodes:
        for other in nodes:
            if node is not other:
                node.meet(other, endpoint=other.host.endpoint)
        node.set_up()
    for node in nodes:
        for n in range(3):
            node.send(f"10.0.0.{n}", [n])
    world.run_for(12.0)
    assert [node.numbers for node in nodes] == [[0, 0], [1, 1], [2, 2]]
    assert [
        node.drops()["no peer has the destination in its allowed IPs"] for node in nodes
    ] == [
        1,
        1,
        1,
    ]


def test_a_replayed_initiation_moves_nothing_and_is_not_answered():
    tunnel = Tunnel()
    tunnel.exchange()
    replayed = tunnel.world.trace[0]
    assert replayed.kind == INITIATION
    start = len(tunnel.bob.sent())
    for _ in range(3):
        tunnel.world.inject(tunnel.bob.host, replayed.payload, Endpoint(v4("203.0.113.9"), 9))
        tunnel.world.run_for(1.0)
    assert len(tunnel.bob.sent()) == start
    assert tunnel.bob.peer(tunnel.alice.public).endpoint == tunnel.alice.host.endpoint
    tunnel.exchange()


def test_a_replayed_response_changes_nothing():
    tunnel = Tunnel()
    tunnel.exchange()
    (replayed,) = [sent for sent in tunnel.world.trace if sent.kind == RESPONSE]
    tunnel.world.inject(tunnel.alice.host, replayed.payload, Endpoint(v4("203.0.113.9"), 9))
    assert tunnel.alice.peer(tunnel.bob.public).endpoint == tunnel.bob.host.endpoint
    assert tunnel.alice.drops() == {"receiver index not ours": 1}
    tunnel.exchange()
    assert tunnel.alice.sent(COOKIE_REPLY) == []


def test_initiations_of_one_peer_within_twenty_milliseconds_are_dropped():
    tunnel = Tunnel()
    for _ in range(2):
        tunnel.alice.set_up(up=False)
        tunnel.alice.set_up()
        tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.drops() == {"initiations of one peer too fast": 1}
    assert len(tunnel.bob.sent(RESPONSE)) == 1


def test_configuration_may_come_in_any_order():
    world = World()
    alice = Node(world, "alice", "10.0.0.1", "192.0.2.1")
    bob = Node(world, "bob", "10.0.0.2", "192.0.2.2")
    bob.meet(alice)
    bob.set_up()
    alice.set_up()
    alice.meet(bob)
    alice.send("10.0.0.2", [1])
    alice.device.configure(
        DeviceChange(
            peers=[PeerChange(bob.public, endpoint=bob.host.endpoint, persistent_keepalive=5)]
        ),
        world.now,
    )
    world.run_for(1.0)
    assert bob.peer(alice.public).rx_bytes == 148 + 32
