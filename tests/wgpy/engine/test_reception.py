"""Which handshake messages come through to whom; what each does is told in test_peer."""

from tests.sim.tunnel import RESPONSE, Tunnel, secret
from wgpy.engine.constants import UNDER_LOAD_QUEUE
from wgpy.engine.cookie import CookieHolder
from wgpy.events import Event, LoadChanged
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
