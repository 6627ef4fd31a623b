"""Which handshake messages come through to whom; what each does is told in test_peer."""

from tests.sim.tunnel import INITIATION, RESPONSE, Tunnel, secret
from wgpy.engine.constants import REJECTIONS_PER_SECOND, UNDER_LOAD_QUEUE
from wgpy.engine.cookie import CookieHolder
from wgpy.engine.crypto import public_key
from wgpy.errors import Drop
from wgpy.events import Event, LoadChanged, MessageRejected
from wgpy.model import Burst, Endpoint, Secret
from wgpy.wire.messages import CookieReply, Initiation

ELSEWHERE = Endpoint(bytes([203, 0, 113, 7]), 4242)


def flood(tunnel: Tunnel, count: int) -> None:
    holder = CookieHolder(tunnel.bob.public)
    sealed = holder.seal(Initiation(1, bytes(32), bytes(48), bytes(28)).encode(), 0.0)
    tunnel.bob.device.receive_bursts([Burst(sealed, 148, ELSEWHERE)] * count, tunnel.world.now)


def load(events: list[Event]) -> list[bool]:
    return [event.under_load for event in events if isinstance(event, LoadChanged)]


def test_load_is_reported_and_its_end_too_and_the_backlog_wakes():
    tunnel = Tunnel()
    tunnel.alice.send("10.0.0.2", [1])
    holder = CookieHolder(tunnel.bob.public)
    sealed = holder.seal(Initiation(1, bytes(32), bytes(48), bytes(28)).encode(), 0.0)
    bursts = [Burst(sealed, 148, ELSEWHERE)] * (UNDER_LOAD_QUEUE + 1)
    tunnel.bob.device.receive_bursts(bursts, 0.0)
    (reply,) = tunnel.bob.device.take_bursts()
    assert CookieReply.decode_untrusted(bytes(next(reply.segments()))).receiver == 1
    deadline = tunnel.bob.device.next_deadline()
    assert deadline is not None
    assert deadline.why == "handshakes are waiting"
    tunnel.world.run_for(2.0)
    assert [e for e in tunnel.bob.take_events() if isinstance(e, LoadChanged)] == [
        LoadChanged(under_load=True),
        LoadChanged(under_load=False),
    ]


def test_an_identity_that_goes_while_handshakes_wait_takes_them_along():
    tunnel = Tunnel()
    sealed = CookieHolder(tunnel.bob.public).seal(
        Initiation(1, bytes(32), bytes(48), bytes(28)).encode(), 0.0
    )
    tunnel.bob.device.receive_bursts([Burst(sealed, 148, ELSEWHERE)] * 10, 0.0)
    tunnel.bob.change(private_key=Secret(bytes(32)))
    tunnel.world.run_for(1.0)
    assert tunnel.bob.device.next_deadline() is None


def test_load_ends_with_the_identity_or_the_interface():
    tunnel = Tunnel()
    flood(tunnel, UNDER_LOAD_QUEUE)
    tunnel.bob.set_up(up=False)
    assert load(tunnel.bob.take_events()) == [True, False]
    tunnel.bob.set_up()
    assert tunnel.bob.device.next_deadline() is None


def test_a_handshake_is_for_whom_its_keys_and_its_index_name():
    tunnel = Tunnel()
    tunnel.exchange()
    (response,) = [s.payload for s in tunnel.world.trace if s.kind == RESPONSE]
    tunnel.world.inject(tunnel.alice.host, response, ELSEWHERE)
    assert tunnel.alice.drops() == {"receiver index not ours": 1}
    tunnel.world.inject(tunnel.alice.host, response + b"x", ELSEWHERE)
    assert tunnel.alice.drops()["wrong length or type"] == 1
    tunnel.alice.change(private_key=secret("stranger"))
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert tunnel.bob.drops() == {"handshake from a key that is no peer": 1}


def test_without_an_identity_nothing_waits():
    tunnel = Tunnel()
    tunnel.bob.change(private_key=Secret(bytes(32)))
    flood(tunnel, 1)
    assert tunnel.bob.drops() == {"handshake from a key that is no peer": 1}
    assert len(tunnel.bob.device._reception) == 0  # noqa: SLF001
    tunnel.bob.change(private_key=tunnel.bob.secret)
    flood(tunnel, 10)
    assert len(tunnel.bob.device._reception) == 6  # noqa: SLF001


def rejected(events: list[Event]) -> list[MessageRejected]:
    return [event for event in events if isinstance(event, MessageRejected)]


def test_a_stranger_is_told_by_key_and_address():
    tunnel = Tunnel()
    tunnel.alice.change(private_key=secret("stranger"))
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert rejected(tunnel.bob.device.take_events()) == [
        MessageRejected(
            Drop.UNKNOWN_PEER, tunnel.alice.host.endpoint, public_key(secret("stranger"))
        )
    ]


def test_another_preshared_key_is_told_as_an_answer_that_does_not_decrypt():
    tunnel = Tunnel()
    tunnel.alice.meet(tunnel.bob, psk=secret("psk"))
    tunnel.alice.send("10.0.0.2", [1])
    tunnel.world.run_for(1.0)
    assert rejected(tunnel.alice.device.take_events()) == [
        MessageRejected(Drop.NOT_AUTHENTIC, tunnel.bob.host.endpoint, tunnel.bob.public)
    ]


def test_a_replay_is_told_with_the_peer_whose_it_was():
    tunnel = Tunnel()
    tunnel.exchange()
    (initiation,) = [s.payload for s in tunnel.world.trace if s.kind == INITIATION]
    tunnel.bob.device.take_events()
    tunnel.world.inject(tunnel.bob.host, initiation, ELSEWHERE)
    assert rejected(tunnel.bob.device.take_events()) == [
        MessageRejected(Drop.OLD_TIMESTAMP, ELSEWHERE, tunnel.alice.public)
    ]


def test_of_a_flood_a_few_a_second_are_told_and_all_are_counted():
    tunnel = Tunnel()
    sealed = CookieHolder(tunnel.alice.public).seal(
        Initiation(1, bytes(32), bytes(48), bytes(28)).encode(), 0.0
    )
    bursts = [Burst(sealed, 148, ELSEWHERE)] * 100
    for _ in range(3):
        tunnel.bob.device.receive_bursts(bursts, tunnel.world.now)
    told = rejected(tunnel.bob.device.take_events())
    assert told == [MessageRejected(Drop.BAD_MAC1, ELSEWHERE)] * REJECTIONS_PER_SECOND
    assert tunnel.bob.drops() == {"first MAC does not verify": 300}
    tunnel.world.run_for(1.0)
    tunnel.bob.device.receive_bursts(bursts, tunnel.world.now)
    assert len(rejected(tunnel.bob.device.take_events())) == REJECTIONS_PER_SECOND
