"""What comes in, each fault with its counter; the rest is in the scenarios."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.tunnel import (
    COOKIE_REPLY,
    DATA,
    EPOCH,
    INITIATION,
    PORT,
    RESPONSE,
    Tunnel,
    packet,
    prefix,
    secret,
)
from tests.sim.world import Sent
from wgpy.engine.cookie import CookieChecker, CookieHolder
from wgpy.engine.crypto import public_key
from wgpy.errors import Drop
from wgpy.events import DatagramReceived, InnerReceived, MessageRejected, Roamed
from wgpy.model import Burst, DeviceChange, Endpoint, Local, PeerChange, Secret, TunBurst
from wgpy.wire.messages import Initiation

ELSEWHERE = Endpoint(bytes([203, 0, 113, 7]), 4242)


def states(tunnel: Tunnel):
    """Return all that a message could change."""
    return [
        (
            node.device.next_deadline(),
            node.device.status().peers,
            len(node.device._common.indices),  # noqa: SLF001
        )
        for node in (tunnel.alice, tunnel.bob)
    ]


def captured(kind: int):
    """Run until a message of a kind leaves; return it, its way, and the world held there."""
    tunnel = Tunnel()
    if kind == COOKIE_REPLY:
        tunnel.alice.send("10.0.0.2", [1])
        sealed = tunnel.world.trace[0].payload
        checker = CookieChecker(tunnel.bob.public, tunnel.world.entropy())
        reply = checker.reply(sealed, tunnel.alice.host.endpoint, 0.0)
        return tunnel, reply, tunnel.alice, tunnel.bob
    held: list[Sent] = []

    def hold(sent: Sent) -> bool:
        if sent.kind == kind:
            held.append(sent)
        return sent.kind != kind

    tunnel.world.filter = hold
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_while(lambda: not held, 5.0)
    receiver = tunnel.alice if kind == RESPONSE else tunnel.bob
    sender = tunnel.bob if kind == RESPONSE else tunnel.alice
    return tunnel, held[0].payload, receiver, sender


@pytest.mark.parametrize("kind", [INITIATION, RESPONSE, COOKIE_REPLY, DATA])
def test_a_flipped_bit_in_any_byte_changes_nothing_and_the_genuine_completes(kind):
    tunnel, message, receiver, sender = captured(kind)
    before = states(tunnel)
    # What mac2 is does not matter while there is no load.
    end = len(message) - 16 if kind in (INITIATION, RESPONSE) else len(message)
    for at in range(end):
        bad = bytearray(message)
        bad[at] ^= 1 << at % 8
        tunnel.world.inject(receiver.host, bytes(bad), ELSEWHERE)
        assert receiver.device.take_bursts() == []
    assert states(tunnel) == before
    assert sum(receiver.drops().values()) == end
    tunnel.world.filter = lambda sent: True
    tunnel.world.inject(receiver.host, message, sender.host.endpoint)
    if kind == COOKIE_REPLY:
        assert states(tunnel) == before, "a cookie shows in the next message only"
    tunnel.world.run_for(0.2)
    assert tunnel.bob.numbers == [1]


@pytest.mark.parametrize("kind", [INITIATION, RESPONSE, COOKIE_REPLY, DATA])
def test_every_prefix_and_extension_of_a_message_is_refused(kind):
    tunnel, message, receiver, _ = captured(kind)
    before = states(tunnel)
    for size in range(len(message)):
        tunnel.world.inject(receiver.host, message[:size], ELSEWHERE)
    tunnel.world.inject(receiver.host, message + b"\0", ELSEWHERE)
    assert states(tunnel) == before
    assert sum(receiver.drops().values()) == len(message) + 1


@settings(max_examples=100)
@given(garbage=st.lists(st.binary(max_size=200), max_size=5), head=st.integers(0, 5))
def test_garbage_is_counted_and_harms_nobody(garbage, head):
    tunnel = Tunnel()
    for payload in garbage:
        shaped = bytes([head, 0, 0, 0]) + payload
        tunnel.world.inject(tunnel.bob.host, shaped, ELSEWHERE)
        tunnel.world.inject(tunnel.bob.host, payload, ELSEWHERE)
    assert sum(tunnel.bob.drops().values()) == 2 * len(garbage)
    assert tunnel.world.trace == []


def test_a_run_of_data_from_two_places_moves_the_peer_twice():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.bob.take_events()
    start = len(tunnel.world.trace)
    tunnel.alice.send("10.0.0.2", range(4))
    one, two, three, four = (sent.payload for sent in tunnel.world.trace[start:])
    here, local = tunnel.alice.host.endpoint, Local(bytes([192, 0, 2, 2]), 1)
    tunnel.world.filter = lambda sent: False
    tunnel.bob.device.receive_bursts(
        [
            Burst(one + two, len(one), here, local),
            Burst(three, len(three), here, local),
            Burst(four, len(four), ELSEWHERE),
        ],
        tunnel.world.now,
    )
    assert len(tunnel.bob.device.take_packets()) == 4
    assert tunnel.bob.take_events() == [Roamed(tunnel.alice.public, here, ELSEWHERE)]


def test_a_source_address_that_is_gone_is_left():
    tunnel = Tunnel()
    tunnel.exchange()
    local = Local(bytes([192, 0, 2, 2]), 1)

    def deliver() -> Local | None:
        start = len(tunnel.world.trace)
        tunnel.alice.send("10.0.0.2", [1])
        payload = tunnel.world.trace[start].payload
        burst = Burst(payload, len(payload), tunnel.alice.host.endpoint, local)
        tunnel.bob.device.receive_bursts([burst], tunnel.world.now)
        return local

    def leaves_from() -> Local | None:
        sending = [TunBurst(packet("10.0.0.2", "10.0.0.1"))]
        tunnel.bob.device.receive_packets(sending, tunnel.world.now)
        (burst,) = tunnel.bob.device.take_bursts()
        return burst.local

    deliver()
    assert leaves_from() == local
    tunnel.bob.device.source_lost(bytes([192, 0, 2, 9]))
    assert leaves_from() == local
    tunnel.bob.device.source_lost(local.host)
    assert leaves_from() is None
    deliver()
    tunnel.bob.device.source_lost(None)
    assert leaves_from() is None


def test_an_interface_that_is_down_takes_nothing():
    tunnel = Tunnel()
    tunnel.bob.set_up(up=False)
    tunnel.world.inject(tunnel.bob.host, b"garbage", ELSEWHERE)
    tunnel.bob.send("10.0.0.1")
    assert tunnel.bob.drops() == {}
    tunnel.bob.change(private_key=Secret(bytes(32)))
    tunnel.bob.set_up()
    tunnel.bob.set_up(up=False)
    assert tunnel.bob.device.next_deadline() is None


def test_a_node_without_identity_answers_nobody():
    tunnel = Tunnel()
    tunnel.bob.change(private_key=Secret(bytes(32)))
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.drops() == {"handshake from a key that is no peer": 1}
    assert tunnel.bob.device.status().private_key is None


def test_a_change_can_be_checked_beforehand_and_ports_are_noted():
    tunnel = Tunnel()
    tunnel.alice.device.configure(DeviceChange(listen_port=7, fwmark=9), 0.0)
    tunnel.alice.set_up()
    assert (tunnel.alice.device.status().listen_port, tunnel.alice.device.fwmark) == (7, 9)
    change = DeviceChange(peers=[PeerChange(public_key(secret("x")))])
    tunnel.alice.device.check(change)
    assert len(tunnel.alice.device.status().peers) == 1


def test_the_way_out_keeps_order_pads_to_the_route_and_refuses():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.device.set_route_mtus([(prefix("10.0.0.2"), 1299)])
    tunnel.alice.device.set_mtu(1400)
    tunnel.alice.device.set_wall_offset(5.0)
    packets = [
        packet("10.0.0.1", "10.0.0.2", 1, 1297),
        b"\x50",
        packet("10.0.0.1", "10.9.9.9"),
        packet("10.0.0.1", "10.0.0.2", 2, 84, tos=2),
        packet("10.0.0.1", "10.0.0.2", 3, 84, tos=2),
        packet("0.0.0.0", "10.9.9.9"),
    ]
    tunnel.world.send(tunnel.alice.host, packets)
    assert [len(sent.payload) for sent in tunnel.world.trace[-3:]] == [1331, 128, 128]
    tunnel.world.run_for(1.0)
    assert tunnel.bob.numbers[1:] == [1, 2, 3]
    assert tunnel.alice.drops() == {
        "packet of the host is not IP": 1,
        "no peer has the destination in its allowed IPs": 2,
    }
    assert len([p for p in tunnel.alice.host.received if p[9] == 1]) == 1


def test_a_node_whose_clock_was_set_back_is_answered_if_it_knows_what_it_stamped_last():
    tunnel = Tunnel()
    tunnel.alice.send(tunnel.bob.address)
    tunnel.world.run_for(1)
    last = tunnel.alice.device.stamped
    assert last == pytest.approx(EPOCH, abs=2)
    tunnel.alice.restart()
    assert tunnel.alice.device.stamped == 0
    tunnel.alice.device.stamp_after(last + 300)
    tunnel.alice.device.stamp_after(last)
    tunnel.alice.device.set_wall_offset(0.0)
    tunnel.alice.set_up()
    tunnel.alice.meet(tunnel.bob, endpoint=tunnel.bob.host.endpoint)
    tunnel.alice.send(tunnel.bob.address, [7])
    tunnel.world.run_for(1)
    assert 7 in tunnel.bob.numbers
    # Each handshake is a tick later than the last: time does not go on until it has caught up.
    assert last + 300 < tunnel.alice.device.stamped < last + 301


def test_a_peer_that_is_one_again_is_heard_though_the_clock_was_set_back_meanwhile():
    tunnel = Tunnel()
    tunnel.alice.send(tunnel.bob.address)
    tunnel.world.run_for(1)
    for number in range(1, 4):
        tunnel.alice.device.set_wall_offset(EPOCH - 7200)
        tunnel.alice.change(PeerChange(tunnel.bob.public, remove=True))
        tunnel.alice.meet(tunnel.bob, endpoint=tunnel.bob.host.endpoint)
        tunnel.alice.send(tunnel.bob.address, [number])
        tunnel.world.run_for(6)
        assert tunnel.bob.numbers[-1] == number


def test_who_embeds_the_node_gets_what_is_not_wireguard():
    tunnel = Tunnel(embedded=True)
    tunnel.exchange()
    tunnel.bob.take_events()
    tunnel.alice.device.send_datagram(Burst(b"\xffx", 2, tunnel.bob.host.endpoint))
    assert tunnel.alice.device.send_inner(tunnel.bob.public, [b"\x01" * 16], tunnel.world.now)
    assert not tunnel.alice.device.send_inner(tunnel.alice.public, [b"\x01"], 0.0)
    assert tunnel.alice.device.send_inner(tunnel.bob.public, [], tunnel.world.now)
    # What claims to be IP and is not is no message of the program's.
    tunnel.alice.device.send_inner(tunnel.bob.public, [b"\x45" * 16], tunnel.world.now)
    tunnel.world.run_for(1.0)
    assert [type(event) for event in tunnel.bob.take_events()] == [
        DatagramReceived,
        InnerReceived,
    ]
    assert tunnel.bob.drops() == {"decrypted to no IP packet": 1}
    for _ in range(300):
        tunnel.bob.device.receive_bursts([Burst(b"\xff", 1, ELSEWHERE)], tunnel.world.now)
    tunnel.alice.device.send_inner(tunnel.bob.public, [b"\x01" * 16], tunnel.world.now)
    tunnel.world.run_for(1.0)
    assert len(tunnel.bob.take_events()) == 256


def test_a_spoofed_inner_source_and_an_unknown_sender_are_counted():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.world.send(tunnel.alice.host, [packet("10.8.8.8", "10.0.0.2")])
    tunnel.world.run_for(1.0)
    tunnel.alice.change(private_key=secret("stranger"))
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.drops() == {
        "inner source not allowed for the peer": 1,
        "handshake from a key that is no peer": 1,
    }
    told = [e for e in tunnel.bob.device.take_events() if isinstance(e, MessageRejected)]
    here, stranger = tunnel.alice.host.endpoint, public_key(secret("stranger"))
    assert told == [
        MessageRejected(Drop.NOT_ALLOWED, here, tunnel.alice.public, bytes([10, 8, 8, 8])),
        MessageRejected(Drop.UNKNOWN_PEER, here, stranger),
    ]


def test_deadlines_are_acted_on_and_a_stale_response_is_for_nobody():
    tunnel = Tunnel()
    tunnel.exchange()
    (response,) = [s.payload for s in tunnel.world.trace if s.kind == RESPONSE]
    tunnel.world.inject(tunnel.alice.host, response, ELSEWHERE)
    assert tunnel.alice.drops() == {"receiver index not ours": 1}
    tunnel.world.run_for(700.0)
    assert tunnel.alice.device.next_deadline() is None


def test_a_datagram_of_ours_goes_no_second_round():
    """The route to Bob's own address leads into the tunnel, and so does what we send there."""
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.meet(tunnel.bob, more=["192.0.2.2"])
    outer = bytearray(packet("192.0.2.1", "192.0.2.2"))
    outer[22:24] = PORT.to_bytes(2)
    start = len(tunnel.world.trace)
    tunnel.alice.send("10.0.0.2", [1])
    payload = tunnel.world.trace[start].payload
    outer[28 : 28 + len(payload[:56])] = payload[:56]
    tunnel.world.send(tunnel.alice.host, [bytes(outer)])
    assert len(tunnel.world.trace) == start + 1
    assert tunnel.alice.drops() == {
        "a datagram of ours, led back into its own tunnel by a route": 1
    }


def test_the_earlier_of_backlog_and_timers_is_next():
    tunnel = Tunnel()
    holder = CookieHolder(tunnel.bob.public)
    sealed = holder.seal(Initiation(1, bytes(32), bytes(48), bytes(28)).encode(), 0.0)
    tunnel.bob.device.receive_bursts([Burst(sealed, 148, ELSEWHERE)] * 10, 0.0)
    deadline = tunnel.bob.device.next_deadline()
    assert deadline is not None
    assert deadline.why == "handshakes are waiting"
