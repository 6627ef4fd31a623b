from collections.abc import Callable
from random import Random  # noqa: TID251  (seeded)

import pytest

from wgpy.engine.constants import (
    HANDSHAKES_PER_WAKE,
    MAX_QUEUED_HANDSHAKES,
    UNDER_LOAD_QUEUE,
)
from wgpy.engine.cookie import CookieHolder
from wgpy.engine.intake import Intake, Waiting
from wgpy.errors import Drop, Rejected
from wgpy.model import Endpoint
from wgpy.wire.detour import via
from wgpy.wire.messages import CookieReply, Initiation

BOB = bytes(range(32))
BLANK = Initiation(1, bytes(32), bytes(48), bytes(28)).encode()
SEALED = CookieHolder(BOB).seal(BLANK, 0.0)


def host(number: int) -> Endpoint:
    return Endpoint(number.to_bytes(4), 1)


@pytest.fixture
def intake():
    return Intake(BOB, Random(1).randbytes)


def fill(intake: Intake, now: float = 0.0) -> None:
    for number in range(UNDER_LOAD_QUEUE):
        assert intake.admit_untrusted(SEALED, host(number), None, now) is None


def rejection(call: Callable[[], object]) -> Drop:
    with pytest.raises(Rejected) as caught:
        call()
    return caught.value.drop


def proven(intake: Intake, source: Endpoint, now: float) -> bytes:
    """Return a message with the cookie of its source."""
    holder = CookieHolder(BOB)
    reply = intake.admit_untrusted(holder.seal(BLANK, now), source, None, now)
    assert reply is not None
    holder.consume(CookieReply.decode_untrusted(reply), now)
    return holder.seal(BLANK, now)


def test_a_message_without_our_key_never_waits(intake):
    assert rejection(lambda: intake.admit_untrusted(BLANK, host(1), None, 0.0)) is Drop.BAD_MAC1
    assert len(intake) == 0
    fill(intake)
    assert rejection(lambda: intake.admit_untrusted(BLANK, host(1), None, 0.0)) is Drop.BAD_MAC1


def test_messages_wait_in_order_and_a_few_are_taken_at_a_time(intake):
    fill(intake)
    taken = []
    while batch := intake.take():
        assert len(batch) <= HANDSHAKES_PER_WAKE
        taken += batch
    assert taken == [Waiting(SEALED, host(n), None) for n in range(UNDER_LOAD_QUEUE)]


def test_a_cookie_is_demanded_while_many_wait_and_a_second_longer(intake):
    assert not intake.is_under_load(0.0)
    fill(intake)
    assert intake.admit_untrusted(SEALED, host(999), None, 5.0) is not None
    while intake.take():
        pass
    assert intake.is_under_load(5.9)
    assert intake.admit_untrusted(SEALED, host(999), None, 5.9) is not None
    assert not intake.is_under_load(6.0)
    assert intake.admit_untrusted(SEALED, host(999), None, 6.0) is None


def test_with_its_cookie_a_source_is_admitted_a_few_times(intake):
    fill(intake)
    message = proven(intake, host(999), 0.0)
    for _ in range(5):
        assert intake.admit_untrusted(message, host(999), None, 0.0) is None
    refused = rejection(lambda: intake.admit_untrusted(message, host(999), None, 0.0))
    assert refused is Drop.RATE_LIMITED
    assert intake.admit_untrusted(message, host(998), None, 0.0) is not None
    assert intake.admit_untrusted(message, host(999), None, 0.05) is None


def test_the_queue_is_bounded(intake):
    fill(intake)
    for number in range(MAX_QUEUED_HANDSHAKES - UNDER_LOAD_QUEUE):
        message = proven(intake, host(10_000 + number), 0.0)
        assert intake.admit_untrusted(message, host(10_000 + number), None, 0.0) is None
    assert len(intake) == MAX_QUEUED_HANDSHAKES
    message = proven(intake, host(1), 0.0)
    refused = rejection(lambda: intake.admit_untrusted(message, host(1), None, 0.0))
    assert refused is Drop.HANDSHAKE_QUEUE_FULL
    assert len(intake) == MAX_QUEUED_HANDSHAKES


def test_a_message_that_waits_is_a_copy(intake):
    buffer = bytearray(SEALED)
    intake.admit_untrusted(memoryview(buffer), host(1), None, 0.0)
    buffer[:] = bytes(len(buffer))
    assert intake.take()[0].message == SEALED


def test_under_load_each_node_behind_relays_has_a_rate_of_its_own(intake):
    fill(intake)
    somebody, another = via(b"somebody"), via(b"another1")
    assert somebody.host[:8] == another.host[:8]
    message = proven(intake, somebody, 0.0)
    for _ in range(5):
        assert intake.admit_untrusted(message, somebody, None, 0.0) is None
    refused = rejection(lambda: intake.admit_untrusted(message, somebody, None, 0.0))
    assert refused is Drop.RATE_LIMITED
    message = proven(intake, another, 0.0)
    assert intake.admit_untrusted(message, another, None, 0.0) is None
