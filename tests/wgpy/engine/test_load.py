"""What a flood of handshakes may take of a device, and when it is over."""

import pytest

from tests.fuzz.device import HERE, SERVER_KEY, Arena
from wgpy.engine import constants
from wgpy.engine.cookie import LABEL_MAC1
from wgpy.engine.crypto import hash_, mac
from wgpy.errors import Drop
from wgpy.events import LoadChanged
from wgpy.model import Burst, Endpoint
from wgpy.wire.messages import INITIATION_SIZE

MAC1_KEY = hash_(LABEL_MAC1 + SERVER_KEY)


def initiation(number: int) -> bytes:
    """Return an initiation that is good to the first MAC, which everybody can make."""
    body = b"\1\0\0\0" + number.to_bytes(4) + bytes(INITIATION_SIZE - 40)
    return body + mac(MAC1_KEY, body) + bytes(16)


def flood(arena: Arena, rate: int, seconds: float) -> tuple[int, list[bool], float]:
    """Return how many were worked off, the changes of load, and when the last one was."""
    loads: list[bool] = []
    start, changed_at = arena.now, arena.now
    before = dict(arena.server.status().drops).get(Drop.NOT_AUTHENTIC.value, 0)

    def note() -> None:
        nonlocal changed_at
        for event in arena.server.take_events():
            if isinstance(event, LoadChanged):
                loads.append(event.under_load)
                changed_at = arena.now

    def sleep_until(at: float) -> None:
        while (deadline := arena.server.next_deadline()) and deadline.at <= at:
            arena.now = max(arena.now, deadline.at)
            arena.server.handle_deadline(arena.now)
            note()
        arena.now = at

    for number in range(int(rate * seconds)):
        sleep_until(start + number / rate)
        source = Endpoint(bytes([198, 51, number >> 8 & 255, number & 255]), 1000)
        payload = initiation(number)
        arena.server.receive_bursts([Burst(payload, len(payload), source, HERE)], arena.now)
        arena.server.take_bursts()
        note()
    worked_off = dict(arena.server.status().drops).get(Drop.NOT_AUTHENTIC.value, 0) - before
    sleep_until(start + seconds + 3)
    return worked_off, loads, changed_at - start - seconds


@pytest.mark.parametrize("rate", [1000, 5000])
def test_a_flood_is_answered_by_cookies_all_the_time_and_ends_once(rate):
    arena = Arena(embedded=False)
    worked_off, loads, ended = flood(arena, rate, 3.0)
    assert worked_off <= 5 * constants.UNDER_LOAD_QUEUE
    assert loads == [True, False]
    assert 0 < ended <= 2 * constants.UNDER_LOAD_HYSTERESIS + 0.01
    assert arena.server.next_deadline() is None or arena.ping()


def test_what_the_turns_can_take_needs_no_cookie():
    rate = constants.HANDSHAKES_PER_WAKE / constants.BACKLOG_DELAY * 0.9
    worked_off, loads, _ = flood(Arena(embedded=False), int(rate), 1.0)
    assert loads == []
    assert worked_off >= rate - 5


def test_the_first_handshake_after_a_rest_does_not_wait():
    arena = Arena(embedded=False)
    arena.wait(1.0)
    counted = arena.drops()
    payload = initiation(0)
    arena.server.receive_bursts(
        [Burst(payload, len(payload), Endpoint(b"\1" * 4, 1))], arena.now
    )
    assert arena.drops() == counted + 1
