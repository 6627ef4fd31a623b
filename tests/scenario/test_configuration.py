"""Cryptokey routing, and what a change of configuration does to tunnels in use."""

import pytest

from tests.sim.tunnel import (
    DATA,
    INITIATION,
    PORT,
    Node,
    Tunnel,
    allowed,
    packet,
    prefix,
    secret,
    v4,
)
from tests.sim.world import World
from wgpy.engine.crypto import public_key
from wgpy.events import DatagramReceived, InnerReceived, SessionEnded
from wgpy.model import AllowedIPChange, Burst, DeviceChange, Endpoint, PeerChange

ELSEWHERE = Endpoint(v4("203.0.113.7"), 4242)


@pytest.fixture
def star():
    """Alice in the middle, with Bob and Carol."""
    world = World()
    alice, bob, carol = (
        Node(world, name, f"10.0.0.{n}", f"192.0.2.{n}")
        for n, name in enumerate(("alice", "bob", "carol"), 1)
    )
    for other in (bob, carol):
        alice.meet(other, endpoint=other.host.endpoint)
        other.meet(alice, endpoint=alice.host.endpoint, more=["0.0.0.0/0"])
    for node in (alice, bob, carol):
        node.set_up()
    return alice, bob, carol


def settle(*nodes: Node) -> None:
    nodes[0].world.run_for(1.0)


def test_a_packet_goes_to_the_owner_of_the_longest_prefix(star):
    alice, bob, carol = star
    alice.change(PeerChange(bob.public, allowed_ips=allowed("10.1.0.0/16")))
    alice.change(PeerChange(carol.public, allowed_ips=allowed("10.1.2.0/24")))
    alice.send("10.1.2.3", [1])
    alice.send("10.1.3.3", [2])
    settle(alice)
    assert (bob.numbers, carol.numbers) == ([2], [1])


def test_a_prefix_moves_to_the_peer_that_was_given_it_last(star):
    alice, bob, carol = star
    alice.change(PeerChange(bob.public, allowed_ips=allowed("10.1.0.0/16")))
    alice.send("10.1.2.3", [1])
    settle(alice)
    alice.change(PeerChange(carol.public, allowed_ips=allowed("10.1.0.0/16")))
    alice.send("10.1.2.3", [2])
    settle(alice)
    assert (bob.numbers, carol.numbers) == ([1], [2])
    assert alice.peer(bob.public).allowed_ips == (prefix("10.0.0.2"),)
    assert alice.peer(carol.public).allowed_ips == (
        prefix("10.0.0.3"),
        prefix("10.1.0.0/16"),
    )


def test_a_prefix_is_taken_away_from_its_owner_only(star):
    alice, bob, carol = star
    taken = [AllowedIPChange(prefix("10.0.0.2"), remove=True)]
    alice.change(PeerChange(carol.public, allowed_ips=taken))
    assert alice.peer(bob.public).allowed_ips == (prefix("10.0.0.2"),)
    alice.change(PeerChange(bob.public, allowed_ips=taken))
    assert alice.peer(bob.public).allowed_ips == ()
    alice.change(
        PeerChange(bob.public, replace_allowed_ips=True, allowed_ips=allowed("10.7.0.0/16"))
    )
    assert alice.peer(bob.public).allowed_ips == (prefix("10.7.0.0/16"),)


def test_a_source_of_another_peer_is_dropped_but_still_tells_where_the_sender_is(star):
    alice, bob, carol = star
    bob.send("10.0.0.1", [1])
    settle(alice)
    bob.host.endpoint = ELSEWHERE
    alice.world.send(bob.host, [packet(carol.address, alice.address, 66)])
    settle(alice)
    assert alice.numbers == [1]
    assert alice.drops() == {"inner source not allowed for the peer": 1}
    assert alice.peer(bob.public).endpoint == ELSEWHERE
    # And arms the keepalive that every data packet arms.
    start = alice.world.now
    alice.world.run_for(12.0)
    assert len(alice.sent(DATA, start)) == 1


def test_the_source_is_looked_up_in_the_whole_table_not_in_the_peer_s(star):
    alice, bob, carol = star
    alice.change(PeerChange(bob.public, allowed_ips=allowed("10.1.0.0/16")))
    alice.change(PeerChange(carol.public, allowed_ips=allowed("10.1.2.0/24")))
    alice.world.send(bob.host, [packet("10.1.2.3", alice.address, 1)])
    alice.world.send(bob.host, [packet("10.1.3.3", alice.address, 2)])
    settle(alice)
    assert alice.numbers == [2]


def test_garbage_in_a_genuine_packet_is_dropped(star):
    alice, bob, _ = star
    bob.send("10.0.0.1", [1])
    settle(alice)
    # The interior of a packet that claims more than there is, by a peer that is not honest.
    short = bytearray(packet(bob.address, alice.address, size=84))
    short[2:4] = (2000).to_bytes(2)
    bob.world.send(bob.host, [bytes(short)])
    settle(alice)
    assert alice.drops() == {"decrypted to no IP packet": 1}


def test_a_removed_peer_is_gone_in_the_middle_of_its_session():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.bob.take_events()
    tunnel.bob.change(PeerChange(tunnel.alice.public, remove=True))
    assert tunnel.bob.take_events() == [
        SessionEnded(tunnel.alice.public, "the peer was removed")
    ]
    assert tunnel.bob.device.next_deadline() is None
    start = tunnel.world.now
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.bob.send("10.0.0.1", [1])
    tunnel.world.run_for(40.0)
    assert tunnel.bob.sent(since=start) == []
    drops = tunnel.bob.drops()
    assert drops["receiver index not ours"] == 1
    assert drops["handshake from a key that is no peer"] >= 3
    tunnel.bob.meet(tunnel.alice)
    tunnel.world.run_for(6.0)
    tunnel.exchange()


def test_a_peer_may_be_removed_while_its_initiation_waits():
    tunnel = Tunnel()
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(0.005)
    tunnel.bob.change(PeerChange(tunnel.alice.public, remove=True))
    tunnel.world.run_for(1.0)
    assert tunnel.bob.drops() == {"handshake from a key that is no peer": 1}


def test_replacing_the_peers_forgets_all_that_were_there():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.bob.change(PeerChange(tunnel.alice.public), replace_peers=True)
    (status,) = tunnel.bob.device.status().peers
    assert (status.endpoint, status.rx_bytes, status.allowed_ips) == (None, 0, ())
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.drops() == {"receiver index not ours": 1}


def test_a_peer_with_our_own_key_is_ignored_and_removed():
    tunnel = Tunnel()
    tunnel.alice.change(PeerChange(tunnel.alice.public, endpoint=ELSEWHERE))
    assert [p.public_key for p in tunnel.alice.device.status().peers] == [tunnel.bob.public]
    tunnel.alice.change(private_key=tunnel.bob.secret)
    assert tunnel.alice.device.status().peers == ()


def test_update_only_makes_no_peer():
    tunnel = Tunnel()
    stranger = public_key(secret("stranger"))
    tunnel.alice.change(
        PeerChange(stranger, update_only=True), PeerChange(stranger, remove=True)
    )
    assert len(tunnel.alice.device.status().peers) == 1


def test_an_interface_that_is_down_is_silent_and_forgets_its_sessions():
    tunnel = Tunnel(keepalive=5)
    tunnel.exchange()
    tunnel.alice.take_events()
    tunnel.alice.set_up(up=False)
    assert tunnel.alice.take_events() == [
        SessionEnded(tunnel.bob.public, "the interface is down")
    ]
    start = tunnel.world.now + 0.001
    tunnel.world.run_for(1.0)
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.bob.send("10.0.0.1", [2])
    tunnel.world.run_for(100.0)
    assert tunnel.alice.sent(since=start) == []
    assert tunnel.alice.numbers == [4_000_001]
    assert tunnel.alice.device.next_deadline() is None
    tunnel.alice.set_up()
    tunnel.alice.set_up()
    tunnel.world.run_for(0.1)
    assert len(tunnel.alice.sent(INITIATION, start)) == 1, "its keepalive begins at once"
    tunnel.exchange()


def test_up_and_down_many_times_is_no_hindrance():
    tunnel = Tunnel()
    for _ in range(50):
        tunnel.alice.set_up(up=False)
        tunnel.bob.set_up(up=False)
        tunnel.world.run_for(0.1)
        tunnel.alice.set_up()
        tunnel.bob.set_up()
        tunnel.alice.send("10.0.0.2", [1])
        tunnel.world.run_for(0.1)
    assert tunnel.bob.numbers == [1] * 50
    assert len(tunnel.world.trace) == 50 * 3


def test_an_endpoint_that_is_set_holds_until_the_peer_is_heard_elsewhere():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.meet(tunnel.bob, endpoint=ELSEWHERE)
    tunnel.alice.send("10.0.0.2", [1])
    assert tunnel.world.trace[-1].destination == ELSEWHERE
    tunnel.bob.send("10.0.0.1", [2])
    tunnel.world.run_for(1.0)
    assert tunnel.alice.peer(tunnel.bob.public).endpoint == tunnel.bob.host.endpoint


def test_foreign_datagrams_are_handed_over_where_the_node_is_embedded():
    tunnel = Tunnel(embedded=True)
    tunnel.exchange()
    tunnel.bob.take_events()
    to = tunnel.bob.host.endpoint
    tunnel.alice.device.send_datagram(Burst(b"\x80hello", 6, to))
    tunnel.world.run_for(1.0)
    assert tunnel.bob.take_events() == [
        DatagramReceived(b"\x80hello", Endpoint(v4("192.0.2.1"), PORT), None)
    ]
    tunnel.world.inject(tunnel.bob.host, b"\x7fhello", ELSEWHERE)
    tunnel.world.inject(tunnel.bob.host, b"", ELSEWHERE)
    assert tunnel.bob.drops() == {"wrong length or type": 2}


def test_inner_payloads_travel_in_the_session_where_the_node_is_embedded():
    tunnel = Tunnel(embedded=True)
    assert tunnel.alice.device.send_inner(tunnel.bob.public, [b"\x01" * 16], tunnel.world.now)
    tunnel.world.run_for(1.0)
    events = tunnel.bob.take_events()
    assert InnerReceived(tunnel.alice.public, b"\x01" * 16) in events
    bob, alice = (
        tunnel.bob.peer(tunnel.alice.public),
        tunnel.alice.peer(tunnel.bob.public),
    )
    assert bob.rx_bytes == alice.tx_bytes == 148 + 48
    nobody = public_key(secret("nobody"))
    assert not tunnel.alice.device.send_inner(nobody, [b"\x01"], tunnel.world.now)
    tunnel.alice.set_up(up=False)
    assert not tunnel.alice.device.send_inner(tunnel.bob.public, [b"\x01"], tunnel.world.now)


def test_a_node_that_is_not_embedded_knows_neither():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.bob.take_events()
    tunnel.world.inject(tunnel.bob.host, b"\x80hello", ELSEWHERE)
    tunnel.alice.device.send_inner(tunnel.bob.public, [b"\x01" * 16], tunnel.world.now)
    tunnel.world.run_for(1.0)
    assert tunnel.bob.take_events() == []
    assert tunnel.bob.drops() == {"wrong length or type": 1, "decrypted to no IP packet": 1}


def test_events_that_strangers_cause_are_bounded():
    tunnel = Tunnel(embedded=True)
    tunnel.exchange()
    tunnel.bob.take_events()
    for _ in range(300):
        burst = Burst(b"\x80", 1, ELSEWHERE)
        tunnel.bob.device.receive_bursts([burst], tunnel.world.now)
    tunnel.alice.device.send_inner(tunnel.bob.public, [b"\x01"] * 5, tunnel.world.now)
    tunnel.world.run_for(1.0)
    assert len(tunnel.bob.take_events()) == 256
    assert tunnel.bob.drops() == {
        "too many datagrams waiting for the embedding program": 300 - 256 + 5
    }


def test_marks_and_ports_are_noted():
    tunnel = Tunnel()
    tunnel.alice.device.configure(DeviceChange(listen_port=7, fwmark=9), tunnel.world.now)
    status = tunnel.alice.device.status()
    assert (status.listen_port, status.fwmark) == (7, 9)
    assert status.private_key == tunnel.alice.device.status().private_key
