"""Each timer, pending or not, at each moment; and what each moment leaves alone."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from wgpy.engine.timers import Timer, Timers

RETRANSMIT, KEEPALIVE, NEW = (
    Timer.RETRANSMIT_HANDSHAKE,
    Timer.SEND_KEEPALIVE,
    Timer.NEW_HANDSHAKE,
)
ZERO, PERSISTENT = Timer.ZERO_KEYS, Timer.PERSISTENT_KEEPALIVE
FIRST, SECOND = 100.0, 101.0
JITTER = 0.25


def entropy(size: int) -> bytes:
    """The jitter of this is a quarter of a second."""
    assert size == 64
    return bytes([191]) * size


def make() -> Timers:
    return Timers(entropy)


def due(timers: Timers) -> dict[Timer, float]:
    """Return all deadlines, by letting them expire one after another."""
    found = {}
    while (deadline := timers.next_deadline()) is not None:
        for timer in timers.pop_expired(deadline.at):
            found[timer] = deadline.at
    return found


def armed() -> Timers:
    """Return timers of which each is pending, since FIRST."""
    timers = make()
    timers.persistent_keepalive_changed(25)
    timers.data_sent(FIRST)
    timers.data_received(FIRST)
    timers.handshake_initiated(FIRST)
    timers.session_derived(FIRST)
    timers.traversed(FIRST)
    return timers


Due: TypeAlias = dict[Timer, float | None]

ALL: dict[Timer, float] = {
    NEW: FIRST + 15 + JITTER,
    KEEPALIVE: FIRST + 10,
    RETRANSMIT: FIRST + 5 + JITTER,
    ZERO: FIRST + 540,
    PERSISTENT: FIRST + 25,
}

# The moment; what it leaves due if nothing was pending, and what it changes if all were.
MOMENTS: dict[str, tuple[Callable[[Timers], object], Due, Due]] = {
    "data sent": (lambda t: t.data_sent(SECOND), {NEW: SECOND + 15 + JITTER}, {}),
    "data received": (lambda t: t.data_received(SECOND), {KEEPALIVE: SECOND + 10}, {}),
    "authenticated sent": (lambda t: t.authenticated_sent(), {}, {KEEPALIVE: None}),
    "authenticated received": (lambda t: t.authenticated_received(), {}, {NEW: None}),
    "traversed": (lambda t: t.traversed(SECOND), {}, {PERSISTENT: SECOND + 25}),
    "initiated": (
        lambda t: t.handshake_initiated(SECOND),
        {RETRANSMIT: SECOND + 5 + JITTER},
        {RETRANSMIT: SECOND + 5 + JITTER},
    ),
    "postponed": (
        lambda t: t.handshake_postponed(SECOND + 3),
        {RETRANSMIT: SECOND + 3 + JITTER},
        {},
    ),
    "complete": (lambda t: t.handshake_complete(), {}, {RETRANSMIT: None}),
    "derived": (
        lambda t: t.session_derived(SECOND),
        {ZERO: SECOND + 540},
        {ZERO: SECOND + 540},
    ),
    "given up": (
        lambda t: t.handshake_given_up(SECOND),
        {ZERO: SECOND + 540},
        {KEEPALIVE: None},
    ),
    "keepalive sent": (lambda t: t.keepalive_sent(SECOND), {}, {}),
    "keepalive off": (
        lambda t: t.persistent_keepalive_changed(0),
        {},
        {PERSISTENT: None},
    ),
    "keepalive on": (lambda t: t.persistent_keepalive_changed(7), {}, {}),
    "stop": (lambda t: t.stop(), {}, dict.fromkeys(Timer)),
}


def test_all_are_armed_for_the_table():
    assert due(armed()) == ALL


@pytest.mark.parametrize("name", MOMENTS)
def test_a_moment_when_nothing_is_pending(name):
    moment, expected, _ = MOMENTS[name]
    timers = make()
    moment(timers)
    assert due(timers) == expected


@pytest.mark.parametrize("name", MOMENTS)
def test_a_moment_when_all_are_pending(name):
    moment, _, changes = MOMENTS[name]
    timers = armed()
    moment(timers)
    expected = {timer: changes.get(timer, at) for timer, at in ALL.items()}
    assert due(timers) == {timer: at for timer, at in expected.items() if at is not None}


def test_data_received_while_a_keepalive_is_pending_asks_for_another():
    timers = make()
    timers.data_received(0.0)
    timers.data_received(4.0)
    assert timers.pop_expired(10.0) == [KEEPALIVE]
    timers.authenticated_sent()
    timers.keepalive_sent(10.0)
    assert due(timers) == {KEEPALIVE: 20.0}
    timers.keepalive_sent(20.0)
    assert due(timers) == {}


def test_stopping_forgets_that_another_keepalive_was_wanted():
    timers = make()
    timers.data_received(0.0)
    timers.data_received(4.0)
    timers.stop()
    timers.keepalive_sent(10.0)
    assert due(timers) == {}


def test_a_completed_handshake_begins_the_count_of_attempts_anew():
    timers = make()
    timers.attempts = 7
    timers.handshake_complete()
    assert timers.attempts == 0


@pytest.mark.parametrize(
    ("was", "interval", "switched_on"),
    [(0, 5, True), (5, 7, False), (5, 0, False), (0, 0, False)],
)
def test_a_change_of_the_interval_tells_whether_it_was_switched_on(was, interval, switched_on):
    timers = make()
    timers.persistent_keepalive_changed(was)
    assert timers.persistent_keepalive_changed(interval) is switched_on
    assert timers.persistent_keepalive == interval


def test_what_is_due_at_once_begins_with_the_old_keys():
    assert armed().pop_expired(1e9) == [ZERO, RETRANSMIT, KEEPALIVE, NEW, PERSISTENT]


def test_what_is_due_is_due_once_and_not_before():
    timers = armed()
    assert timers.pop_expired(FIRST + 5) == []
    assert timers.pop_expired(FIRST + 10) == [RETRANSMIT, KEEPALIVE]
    assert timers.pop_expired(FIRST + 10) == []
    deadline = timers.next_deadline()
    assert deadline == (FIRST + 15 + JITTER, NEW.value)


@pytest.mark.parametrize("byte", [0, 1, 128, 255])
def test_jitter_is_above_zero_and_at_most_a_third_of_a_second(byte):
    timers = Timers(lambda size: bytes([byte]))
    timers.handshake_initiated(0.0)
    assert 5.0 < due(timers)[RETRANSMIT] <= 5.0 + 1 / 3


@pytest.mark.parametrize("start", [2.0**n - 2.5 for n in range(3, 40)])
def test_a_retry_is_never_early_by_a_rounding(start):
    timers = Timers(lambda size: bytes([0]))
    timers.handshake_initiated(start)
    assert due(timers)[RETRANSMIT] - start >= 5.0
