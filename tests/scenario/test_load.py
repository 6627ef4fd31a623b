"""Floods of handshakes: cookies are demanded, memory is bounded, sessions go on."""

import pytest

from tests.sim.tunnel import (
    COOKIE_REPLY,
    INITIATION,
    RESPONSE,
    Node,
    Tunnel,
    v4,
)
from tests.sim.world import Link
from wgpy.engine.constants import MAX_QUEUED_HANDSHAKES, UNDER_LOAD_QUEUE
from wgpy.engine.cookie import CookieHolder
from wgpy.events import LoadChanged
from wgpy.model import Burst, Endpoint
from wgpy.wire.messages import CookieReply, Initiation, Response

COOKIE_DEMANDED = "answered with a cookie: under load"


class Flood:
    """Handshake messages that anybody can make who knows a public key."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._random = tunnel.world.random
        self._cookie = CookieHolder(tunnel.bob.public)
        self.sent = 0

    def message(self, kind: int = INITIATION) -> bytes:
        draw = self._random.randbytes
        sender = self._random.getrandbits(32)
        if kind == INITIATION:
            blank = Initiation(sender, draw(32), draw(48), draw(28)).encode()
        else:
            blank = Response(sender, self._random.getrandbits(32), draw(32), draw(16)).encode()
        return self._cookie.seal(blank, 0.0)

    def burst(self, message: bytes) -> Burst:
        source = Endpoint(self._random.randbytes(4), self._random.getrandbits(16))
        return Burst(message, len(message), source)

    def strike(self, count: int, kind: int = INITIATION) -> None:
        """Let so many arrive at Bob's at once, in batches as a socket delivers them."""
        world, device = self._tunnel.world, self._tunnel.bob.device
        for _ in range(count // 32):
            device.receive_bursts(
                [self.burst(self.message(kind)) for _ in range(32)], world.now
            )
            self.sent += 32
        device.take_bursts()

    def go_on(self, seconds: float) -> None:
        """Strike every quarter of a second, hard enough to keep the node under load."""
        for _ in range(round(seconds / 0.25)):
            self.strike(128)
            self._tunnel.world.run_for(0.25)


@pytest.fixture
def tunnel():
    made = Tunnel(link=Link(0.02))
    made.exchange()
    made.bob.take_events()
    return made


@pytest.mark.parametrize("kind", [INITIATION, RESPONSE])
def test_a_flood_is_answered_with_cookies_and_few_of_it_wait(tunnel, kind):
    flood = Flood(tunnel)
    flood.strike(960, kind)
    drops = tunnel.bob.drops()
    assert drops[COOKIE_DEMANDED] >= 960 - UNDER_LOAD_QUEUE - 4 * 30
    # What waits is worked off, a few at a time, and never costs more than was admitted.
    tunnel.world.run_for(0.9)
    refused = "does not decrypt" if kind == INITIATION else "receiver index not ours"
    drops = tunnel.bob.drops()
    assert drops[COOKIE_DEMANDED] + drops[refused] == 960
    assert tunnel.bob.take_events() == [LoadChanged(True)]
    tunnel.world.run_for(1.2)
    assert tunnel.bob.take_events() == [LoadChanged(False)]


def test_a_session_goes_on_under_a_flood_as_if_nothing_were(tunnel):
    flood = Flood(tunnel)
    for number in range(16):
        tunnel.alice.send("10.0.0.2", [number])
        tunnel.bob.send("10.0.0.1", [number])
        flood.go_on(0.25)
    tunnel.world.run_for(0.1)
    assert tunnel.bob.numbers[1:] == tunnel.alice.numbers[1:] == list(range(16))
    assert tunnel.bob.drops()[COOKIE_DEMANDED] > 0.7 * flood.sent


def test_a_new_peer_gets_through_a_flood_by_its_cookie(tunnel):
    carol = Node(tunnel.world, "carol", "10.0.0.3", "192.0.2.3")
    tunnel.bob.meet(carol)
    carol.meet(tunnel.bob, endpoint=tunnel.bob.host.endpoint)
    carol.set_up()
    flood = Flood(tunnel)
    flood.go_on(0.25)
    start = len(tunnel.world.trace)
    carol.send("10.0.0.2", [7])
    flood.go_on(5.75)
    ours = [
        sent
        for sent in tunnel.world.trace[start:]
        if carol.host.endpoint in (sent.source, sent.destination)
    ]
    assert [sent.kind for sent in ours[:4]] == [INITIATION, COOKIE_REPLY, INITIATION, RESPONSE]
    assert ours[0].payload[-16:] == bytes(16)
    assert ours[2].payload[-16:] != bytes(16)
    assert tunnel.bob.numbers[-1] == 7


def test_a_session_is_renewed_under_a_flood(tunnel):
    tunnel.world.run_for(119.0)
    flood = Flood(tunnel)
    for number in range(8):
        tunnel.alice.send("10.0.0.2", [number])
        flood.go_on(1.0)
    assert tunnel.bob.numbers[1:] == list(range(8))
    assert len(tunnel.alice.sent(INITIATION)) == 3
    assert len(tunnel.bob.sent(RESPONSE)) == 2


def test_messages_without_our_public_key_cost_nothing_and_get_no_answer(tunnel):
    start, waiting = len(tunnel.world.trace), tunnel.bob.device.next_deadline()
    for number in range(1000):
        kind = (INITIATION, RESPONSE)[number % 2]
        size = 148 if kind == INITIATION else 92
        message = bytes([kind, 0, 0, 0]) + tunnel.world.random.randbytes(size - 4)
        tunnel.world.inject(tunnel.bob.host, message, Endpoint(v4("203.0.113.1"), number))
    assert tunnel.bob.drops() == {"first MAC does not verify": 1000}
    assert len(tunnel.world.trace) == start
    assert tunnel.bob.device.next_deadline() == waiting
    assert tunnel.bob.take_events() == []


def test_one_source_with_a_cookie_is_limited(tunnel):
    """Whoever proves its address may ask for twenty handshakes a second, five at once."""
    flood = Flood(tunnel)
    flood.strike(640)
    source, holder = Endpoint(v4("203.0.113.1"), 9), CookieHolder(tunnel.bob.public)
    blank = Initiation(1, bytes(32), bytes(48), bytes(28)).encode()
    burst = Burst(holder.seal(blank, 0.0), 148, source)
    tunnel.bob.device.receive_bursts([burst], tunnel.world.now)
    (reply,) = [b for b in tunnel.bob.device.take_bursts() if b.remote == source]
    (payload,) = reply.segments()
    from_bob = bytes(payload)
    assert from_bob[0] == COOKIE_REPLY
    assert reply.tos == 0
    holder.consume(CookieReply.decode_untrusted(from_bob), tunnel.world.now)
    sealed = holder.seal(blank, tunnel.world.now)
    for _ in range(8):
        tunnel.bob.device.receive_bursts([Burst(sealed, 148, source)], tunnel.world.now)
    assert tunnel.bob.drops()["handshakes from one source too fast"] == 3


def test_the_queue_is_bounded_though_all_have_cookies(tunnel):
    flood = Flood(tunnel)
    flood.strike(640)
    blank = Initiation(1, bytes(32), bytes(48), bytes(28)).encode()
    bursts = []
    for number in range(MAX_QUEUED_HANDSHAKES + 100):
        holder = CookieHolder(tunnel.bob.public)
        source = Endpoint(number.to_bytes(4), 9)
        first = Burst(holder.seal(blank, 0.0), 148, source)
        tunnel.bob.device.receive_bursts([first], tunnel.world.now)
        replies = [b for b in tunnel.bob.device.take_bursts() if b.remote == source]
        (payload,) = replies[0].segments()
        holder.consume(CookieReply.decode_untrusted(payload), tunnel.world.now)
        bursts.append(Burst(holder.seal(blank, tunnel.world.now), 148, source))
    tunnel.bob.device.receive_bursts(bursts, tunnel.world.now)
    assert tunnel.bob.drops()["too many handshakes waiting"] >= 100
