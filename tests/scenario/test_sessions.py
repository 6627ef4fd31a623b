"""The life of sessions over hours: renewed in time, never used too long, zeroed in the end."""

from itertools import pairwise

import pytest

from tests.sim.tunnel import DATA, INITIATION, KEEPALIVE_SIZE, RESPONSE, Tunnel
from tests.sim.world import Link
from wgpy.engine.constants import REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_TIMEOUT
from wgpy.engine.session import Limits
from wgpy.events import HandshakeCompleted, SessionEnded


def chat(tunnel: Tunnel, seconds: int, every: float = 1.0) -> int:
    """Let both send numbered packets, in turns at a steady pace; return how many each sent."""
    count = int(seconds / every)
    for number in range(count):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.world.run_for(every / 2)
        tunnel.bob.send("10.0.0.1", [number])
        tunnel.world.run_for(every / 2)
    tunnel.world.run_for(2.0)
    return count


@pytest.mark.parametrize("latency", [0.0, 0.01, 0.4])
def test_a_clean_link_loses_nothing_while_keys_are_renewed(latency):
    tunnel = Tunnel(link=Link(latency))
    count = chat(tunnel, 1000)
    assert tunnel.alice.numbers == tunnel.bob.numbers == list(range(count))
    assert tunnel.alice.drops() == tunnel.bob.drops() == {}


@pytest.mark.slow
def test_hours_on_a_clean_link_lose_nothing():
    tunnel = Tunnel(seed=1, link=Link(0.05))
    count = chat(tunnel, 3 * 3600)
    assert tunnel.alice.numbers == tunnel.bob.numbers == list(range(count))
    initiations = len(tunnel.alice.sent(INITIATION)) + len(tunnel.bob.sent(INITIATION))
    assert initiations == pytest.approx(3 * 3600 / REKEY_AFTER_TIME, abs=2)


def test_only_the_initiator_renews_and_every_two_minutes():
    tunnel = Tunnel()
    tunnel.exchange()
    chat(tunnel, 605)
    times = tunnel.alice.sent(INITIATION)
    assert tunnel.bob.sent(INITIATION) == []
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) == 5
    assert all(REKEY_AFTER_TIME <= gap <= REKEY_AFTER_TIME + 1.1 for gap in gaps)


def test_an_initiator_that_only_receives_renews_by_its_keepalives():
    tunnel = Tunnel()
    tunnel.exchange()
    for number in range(300):
        tunnel.bob.send("10.0.0.1", [number])
        tunnel.world.run_for(1.0)
    assert tunnel.alice.numbers[1:] == list(range(300))
    assert len(tunnel.alice.sent(INITIATION)) == 3
    assert tunnel.bob.sent(INITIATION) == []


def test_an_initiator_that_does_not_send_renews_shortly_before_the_end_on_receiving():
    tunnel = Tunnel()
    tunnel.exchange()
    began = tunnel.alice.sent(INITIATION)[0]
    # Keepalives only arm nothing at the receiver, so that it does not send by itself.
    tunnel.bob.meet(tunnel.alice, keepalive=7)
    tunnel.world.run_until(began + REJECT_AFTER_TIME - 20)
    assert len(tunnel.alice.sent(INITIATION)) == 1
    tunnel.world.run_until(began + REJECT_AFTER_TIME - 1)
    times = tunnel.alice.sent(INITIATION)
    assert len(times) == 2
    assert 165.0 <= times[1] - began <= 165.0 + 7.1


def test_the_last_minute_renewal_is_asked_for_once():
    tunnel = Tunnel()
    tunnel.exchange()
    began = tunnel.alice.sent(INITIATION)[0]
    tunnel.world.run_until(began + 166)
    tunnel.world.filter = lambda sent: sent.kind != INITIATION
    tunnel.bob.send("10.0.0.1", [1])
    tunnel.world.run_for(0.1)
    assert len(tunnel.alice.sent(INITIATION)) == 2
    tunnel.world.run_for(5.4)
    # The retransmission, and none for the further packets.
    tunnel.bob.send("10.0.0.1", [1, 2, 3])
    tunnel.world.run_for(0.1)
    assert len(tunnel.alice.sent(INITIATION)) == 3


def test_an_expired_session_neither_sends_nor_receives():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.world.filter = lambda sent: sent.kind == DATA
    tunnel.world.run_until(REJECT_AFTER_TIME + 1)
    before = len(tunnel.alice.sent(DATA))
    tunnel.alice.send("10.0.0.2", [7])
    tunnel.world.run_for(60.0)
    assert len(tunnel.alice.sent(DATA)) == before
    tunnel.world.filter = lambda sent: True
    tunnel.world.run_for(6.0)
    assert tunnel.bob.numbers[-1] == 7


def test_a_packet_late_by_more_than_the_age_of_keys_is_dropped():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.alice.send("10.0.0.2", [1])
    late = tunnel.world.trace[-1]
    got = len(tunnel.bob.host.received)
    tunnel.world.run_for(REJECT_AFTER_TIME)
    tunnel.world.inject(tunnel.bob.host, late.payload, late.source)
    assert tunnel.bob.drops() == {"session too old": 1}
    assert len(tunnel.bob.host.received) == got + 1


def test_keys_are_zeroed_after_nine_idle_minutes():
    tunnel = Tunnel()
    tunnel.exchange()
    derived = tunnel.alice.peer(tunnel.bob.public).last_handshake - 1_700_000_000
    tunnel.alice.take_events()
    tunnel.world.run_until(derived + 539.9)
    assert tunnel.alice.take_events() == []
    tunnel.world.run_until(derived + 540.1)
    assert tunnel.alice.take_events() == [SessionEnded(tunnel.bob.public, "keys are too old")]
    assert tunnel.alice.device.next_deadline() is None
    tunnel.exchange()


def test_idle_peers_are_silent():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.world.run_for(60.0)
    quiet = len(tunnel.world.trace)
    tunnel.world.run_for(24 * 3600.0)
    assert len(tunnel.world.trace) == quiet
    # The exchange itself: two handshake messages, a confirmation, data each way, a keepalive.
    assert quiet <= 7


def test_data_is_answered_by_one_keepalive_after_ten_seconds():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.world.run_for(60.0)
    start = tunnel.world.now
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(60.0)
    (answer,) = [sent for sent in tunnel.world.trace if sent.at > start]
    assert len(answer.payload) == KEEPALIVE_SIZE
    assert answer.at == pytest.approx(start + 10.01)


def test_data_that_goes_on_is_answered_by_a_keepalive_every_ten_seconds():
    tunnel = Tunnel()
    tunnel.exchange()
    tunnel.world.run_for(30.0)
    start = tunnel.world.now
    for number in range(35):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.world.run_for(1.0)
    answers = [at - start for at in tunnel.bob.sent(DATA, start)]
    assert answers == pytest.approx([10.01, 20.01, 30.01])


def test_a_session_is_renewed_after_so_many_messages():
    limits = Limits(rekey_after_messages=100)
    tunnel = Tunnel(limits=limits)
    tunnel.exchange()
    for number in range(60):
        tunnel.alice.send("10.0.0.2", [number, number])
        tunnel.world.run_for(0.2)
    assert len(tunnel.alice.sent(INITIATION)) == 2
    assert len(tunnel.bob.numbers) == 121
    assert tunnel.bob.drops() == {}


def test_a_responder_renews_after_so_many_messages_too():
    tunnel = Tunnel(limits=Limits(rekey_after_messages=100))
    tunnel.exchange()
    tunnel.world.run_for(10.0)
    for number in range(60):
        tunnel.bob.send("10.0.0.1", [number, number])
        tunnel.world.run_for(0.2)
    assert len(tunnel.bob.sent(INITIATION)) == 1
    assert len(tunnel.alice.numbers) == 121


def test_a_session_ends_after_so_many_messages():
    limits = Limits(rekey_after_messages=10**9, reject_after_messages=60)
    tunnel = Tunnel(limits=limits)
    tunnel.exchange()
    tunnel.world.run_for(30.0)
    tunnel.world.filter = lambda sent: sent.kind == DATA
    start = tunnel.world.now
    for number in range(100):
        tunnel.alice.send("10.0.0.2", [number])
    assert len(tunnel.alice.sent(DATA)) == 60
    tunnel.world.run_for(1.0)
    tunnel.world.filter = lambda sent: True
    tunnel.world.run_for(10.0)
    # What waited for the new session follows in order and none is missing.
    assert tunnel.bob.numbers[1:] == list(range(100))
    assert len(tunnel.alice.sent(RESPONSE)) == 0
    assert len(tunnel.alice.sent(INITIATION, start)) == 2


def test_keys_that_expire_by_messages_are_renewed_though_a_handshake_was_just_sent():
    """Demands within REKEY_TIMEOUT of the last handshake are not lost, only late."""
    tunnel = Tunnel(limits=Limits(rekey_after_messages=10))
    tunnel.alice.send("10.0.0.2", range(40))
    tunnel.world.run_for(20.0)
    assert len(tunnel.alice.sent(INITIATION)) == 2
    assert tunnel.alice.sent(INITIATION)[1] < REKEY_TIMEOUT + 0.5


def test_each_side_reports_a_session_and_who_began_it():
    tunnel = Tunnel()
    tunnel.exchange()
    (at_alice,) = tunnel.alice.take_events()
    assert at_alice == HandshakeCompleted(tunnel.bob.public, tunnel.bob.host.endpoint, True)
    (at_bob,) = tunnel.bob.take_events()
    assert at_bob == HandshakeCompleted(tunnel.alice.public, tunnel.alice.host.endpoint, False)
