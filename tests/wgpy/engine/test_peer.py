"""What the scenarios of two engines do not show of one peer; the rules are told there."""

import pytest

from tests.sim.tunnel import DATA, INITIATION, RESPONSE, Tunnel
from wgpy.engine.common import Path
from wgpy.engine.peer import Peer
from wgpy.errors import Drop, Rejected
from wgpy.events import (
    HandshakeAnswered,
    HandshakeCompleted,
    HandshakeGaveUp,
    HandshakeSent,
    HandshakeUnanswered,
    Roamed,
    SessionEnded,
)
from wgpy.model import Endpoint, Local, PeerChange, PublicKey, Secret
from wgpy.wire.messages import CookieReply, Response, data_fields_untrusted

ELSEWHERE = Endpoint(bytes([203, 0, 113, 7]), 4242)


@pytest.fixture
def tunnel():
    return Tunnel()


@pytest.fixture
def peer(tunnel):
    """Alice's Bob."""
    return alice_s(tunnel)


def alice_s(tunnel: Tunnel) -> Peer:
    return tunnel.alice.device._roster.peers[tunnel.bob.public]  # noqa: SLF001


def bob_s(tunnel: Tunnel) -> Peer:
    return tunnel.bob.device._roster.peers[tunnel.alice.public]  # noqa: SLF001


def test_a_peer_begins_with_nothing(peer):
    assert (peer.persistent_keepalive, peer.next_deadline()) == (0, None)
    assert peer.traffic.last_handshake == 0.0
    assert peer.preshared_key.is_zero


def test_flushing_nothing_sends_nothing(tunnel, peer):
    peer.flush(0.0)
    peer.came_up(0.0)
    assert tunnel.alice.device.take_bursts() == []


def test_the_local_address_is_followed_and_forgotten_on_a_retry(tunnel, peer):
    tunnel.exchange()
    local = Local(bytes([192, 0, 2, 1]), 3)
    peer.path = Path(tunnel.bob.host.endpoint, local)
    peer.forget_local()
    assert peer.path == Path(tunnel.bob.host.endpoint)
    peer.path = Path(tunnel.bob.host.endpoint, local)
    peer.set_endpoint(ELSEWHERE)
    assert peer.path == Path(ELSEWHERE)


def test_the_unanswered_peer_tries_another_source(tunnel, peer):
    tunnel.exchange()
    tunnel.world.filter = lambda sent: False
    tunnel.alice.send("10.0.0.2", [1])
    peer.path = Path(peer.path.endpoint, Local(bytes([192, 0, 2, 1]), 3))
    tunnel.world.run_for(16.0)
    assert peer.path.local is None
    peer.path = Path(peer.path.endpoint, Local(bytes([192, 0, 2, 1]), 3))
    tunnel.world.run_for(5.5)
    assert peer.path.local is None


def test_every_moment_of_a_life_is_reported(tunnel):
    tunnel.exchange()
    tunnel.bob.host.endpoint = ELSEWHERE
    tunnel.bob.send("10.0.0.1", [1])
    tunnel.world.run_for(1.0)
    tunnel.world.filter = lambda sent: False
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(800.0)
    assert [type(event) for event in tunnel.alice.take_events()] == [
        HandshakeCompleted,
        Roamed,
        HandshakeGaveUp,
        SessionEnded,
    ]


def test_another_address_of_ours_is_noted_but_no_move_of_the_peer(tunnel, peer):
    tunnel.exchange()
    tunnel.alice.take_events()
    start = len(tunnel.world.trace)
    tunnel.world.filter = lambda sent: False
    tunnel.bob.send("10.0.0.1", [1])
    payload = tunnel.world.trace[start].payload
    local = Local(bytes([192, 0, 2, 1]), 3)
    path = Path(tunnel.bob.host.endpoint, local)
    session = peer._slots.current  # noqa: SLF001
    counter = data_fields_untrusted(payload)[2]
    assert len(peer.receive_data(session, [(counter, payload)], path, tunnel.world.now)) == 1
    assert peer.path == path
    assert tunnel.alice.take_events() == []


def test_a_keepalive_is_switched_on_while_up_only(tunnel, peer):
    tunnel.alice.set_up(up=False)
    peer.set_persistent_keepalive(25, 0.0)
    assert tunnel.alice.device.take_bursts() == []
    tunnel.alice.set_up()
    assert len(tunnel.world.trace) == 1


def test_a_renewal_is_asked_for_on_receiving(tunnel, peer):
    tunnel.exchange()
    tunnel.world.run_until(170.0)
    start = len(tunnel.world.trace)
    tunnel.bob.send("10.0.0.1", [1])
    tunnel.world.run_for(1.0)
    assert [sent.kind for sent in tunnel.world.trace[start:]][:2] == [DATA, INITIATION]


def test_a_handshake_wanted_too_soon_is_made_later(tunnel, peer):
    peer.send_keepalive(0.0)
    peer.initiate(1.0)
    deadline = peer.next_deadline()
    assert deadline is not None
    assert 5.0 < deadline.at <= 5.0 + 1 / 3


def test_who_is_told_of_a_new_way_does_not_wait_for_its_turn(tunnel, peer):
    tunnel.alice.device.hurry(PublicKey(bytes(32)), 0.0)
    tunnel.alice.device.hurry(tunnel.bob.public, 0.0)
    assert tunnel.alice.sent(INITIATION) == [], "nothing waits"
    tunnel.world.filter = lambda sent: sent.kind != INITIATION
    tunnel.alice.send(tunnel.bob.address, [1])
    tunnel.world.run_for(1.0)
    tunnel.world.filter = lambda sent: True
    tunnel.alice.device.hurry(tunnel.bob.public, tunnel.world.now)
    tunnel.world.run_for(1.0)
    assert len(tunnel.alice.sent(INITIATION)) == 2
    assert tunnel.bob.numbers == [1]
    tunnel.alice.device.hurry(tunnel.bob.public, tunnel.world.now)
    tunnel.world.run_for(1.0)
    assert len(tunnel.alice.sent(INITIATION)) == 2, "there is a session"


def test_who_wins_a_tie_keeps_its_initiation_and_the_other_does_not(tunnel):
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.bob.send("10.0.0.1", [1])
    tunnel.world.run_for(0.015)
    kinds = [sent.kind for sent in tunnel.world.trace]
    assert kinds == [INITIATION, INITIATION, RESPONSE, RESPONSE]
    by = {sent.source: sent.payload for sent in tunnel.world.trace[2:]}
    to_alice = Response.decode_untrusted(by[tunnel.bob.host.endpoint])
    to_bob = Response.decode_untrusted(by[tunnel.alice.host.endpoint])
    pairs = [
        (tunnel.alice, alice_s(tunnel), to_alice, tunnel.bob),
        (tunnel.bob, bob_s(tunnel), to_bob, tunnel.alice),
    ]
    if tunnel.alice.public < tunnel.bob.public:
        pairs.reverse()
    (_, winner, accepted, _), (_, loser, refused, _) = pairs
    path = Path(ELSEWHERE)
    with pytest.raises(Rejected) as caught:
        loser.receive_response(refused, path, tunnel.world.now)
    assert caught.value.drop is Drop.UNKNOWN_INDEX
    winner.receive_response(accepted, path, tunnel.world.now)


def test_a_cookie_that_answers_nothing_changes_nothing(peer):
    with pytest.raises(Rejected):
        peer.receive_cookie(CookieReply(1, bytes(24), bytes(32)), 0.0)


def test_forged_data_changes_nothing(tunnel, peer):
    tunnel.exchange()
    session = peer._slots.current  # noqa: SLF001
    before = peer.path, peer.next_deadline()
    forged = bytes([4, 0, 0, 0]) + bytes(44)
    assert peer.receive_data(session, [(0, forged)], Path(ELSEWHERE), tunnel.world.now) == []
    assert (peer.path, peer.next_deadline()) == before


def test_without_an_endpoint_messages_go_nowhere_and_are_counted(tunnel):
    bob = Tunnel(bob_knows_endpoint=False).bob
    (peer,) = bob.device._roster.peers.values()  # noqa: SLF001
    peer.send_keepalive(0.0)
    assert bob.device.take_bursts() == []
    assert bob.drops() == {"endpoint of the peer unknown": 1}
    assert peer.traffic.tx_bytes == 0


def test_without_an_identity_or_while_down_nothing_begins(tunnel, peer):
    tunnel.alice.set_up(up=False)
    peer.send([b"x"], 0, 0, 0.0)
    tunnel.alice.set_up()
    tunnel.alice.change(private_key=Secret(bytes(32)))
    tunnel.world.run_for(10.0)
    start = len(tunnel.world.trace)
    peer.send([b"x"], 0, 0, tunnel.world.now)
    tunnel.world.settle()
    assert len(tunnel.world.trace) == start


def test_a_low_order_peer_costs_no_index(tunnel):
    tunnel.alice.change(PeerChange(PublicKey(bytes(32)), endpoint=ELSEWHERE))
    peer = tunnel.alice.device._roster.peers[PublicKey(bytes(32))]  # noqa: SLF001
    peer.send_keepalive(0.0)
    assert len(tunnel.alice.device._common.indices) == 0  # noqa: SLF001
    assert peer.next_deadline() is None


def test_old_sessions_free_their_indices(tunnel):
    for _ in range(10):
        tunnel.exchange()
        tunnel.world.run_for(130.0)
    for node in (tunnel.alice, tunnel.bob):
        assert len(node.device._common.indices) <= 3  # noqa: SLF001
    tunnel.world.run_for(600.0)
    for node in (tunnel.alice, tunnel.bob):
        assert len(node.device._common.indices) == 0  # noqa: SLF001


def test_timers_act_each_in_its_way(tunnel):
    """Passive keepalive, retry, giving up, zeroing and the persistent keepalive in one life."""
    tunnel.exchange()
    tunnel.alice.change(PeerChange(tunnel.bob.public, persistent_keepalive=60))
    tunnel.bob.send("10.0.0.1", [1, 2])
    tunnel.world.run_for(1.0)
    tunnel.bob.send("10.0.0.1", [3])
    tunnel.world.run_for(200.0)
    assert len(tunnel.alice.sent(DATA)) >= 4
    tunnel.world.filter = lambda sent: False
    tunnel.alice.change(PeerChange(tunnel.bob.public, persistent_keepalive=0))
    tunnel.alice.send("10.0.0.2", range(200))
    tunnel.world.run_for(1000.0)
    assert tunnel.alice.device.next_deadline() is None


def test_of_too_many_that_wait_the_oldest_go(tunnel, peer):
    peer.send([bytes([n]) for n in range(130)], 0, 0, 0.0)
    assert tunnel.alice.drops() == {"too many packets waiting for a handshake": 2}


def test_a_peer_knows_the_indices_that_it_sends_with(tunnel, peer):
    assert not peer.sends_with(0)
    tunnel.exchange()
    (data,) = [s.payload for s in tunnel.world.trace if s.kind == DATA and s.at == 0.02]
    receiver = data_fields_untrusted(data)[1]
    assert peer.sends_with(receiver)
    assert not peer.sends_with(receiver ^ 1)


def traces(tunnel: Tunnel) -> list[HandshakeSent | HandshakeUnanswered]:
    """Return what Alice tells of her initiations."""
    events = tunnel.alice.device.take_events()
    return [e for e in events if isinstance(e, HandshakeSent | HandshakeUnanswered)]


def test_both_sides_of_a_handshake_are_told(tunnel):
    tunnel.exchange()
    bob, alice = tunnel.bob, tunnel.alice
    assert alice.device.take_events() == [
        HandshakeSent(bob.public, bob.host.endpoint, 1),
        HandshakeCompleted(bob.public, bob.host.endpoint, True),
    ]
    assert bob.device.take_events()[:2] == [
        HandshakeAnswered(alice.public, alice.host.endpoint),
        HandshakeCompleted(alice.public, alice.host.endpoint, False),
    ]


def test_no_answer_is_told_after_15_seconds_though_packets_set_the_attempts_back(tunnel):
    tunnel.world.filter = lambda sent: False
    where = tunnel.bob.host.endpoint
    for number in range(110):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.world.run_for(1.0)
    told = traces(tunnel)
    assert told[:4] == [HandshakeSent(tunnel.bob.public, where, n) for n in (1, 2, 3, 4)]
    first, second = [event for event in told if isinstance(event, HandshakeUnanswered)]
    assert told.index(first) == 4
    assert (first.peer, first.endpoint) == (tunnel.bob.public, where)
    assert 15 <= first.seconds < 17
    assert second.seconds >= first.seconds + 90


def test_another_endpoint_gets_its_time_to_answer_and_none_is_told_as_none(tunnel, peer):
    tunnel.world.filter = lambda sent: False
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(12.0)
    peer.set_endpoint(tunnel.bob.host.endpoint)
    tunnel.world.run_for(4.5)
    assert any(isinstance(event, HandshakeUnanswered) for event in traces(tunnel))
    peer.set_endpoint(ELSEWHERE)
    tunnel.world.run_for(5.0)
    assert traces(tunnel)[-1] == HandshakeSent(tunnel.bob.public, ELSEWHERE, 1)
    tunnel.world.run_for(16.0)
    told = traces(tunnel)
    assert [e.endpoint for e in told if isinstance(e, HandshakeUnanswered)] == [ELSEWHERE]
    peer.path = Path()
    tunnel.world.run_for(6.0)
    assert traces(tunnel) == [HandshakeSent(tunnel.bob.public, None, 5)]
