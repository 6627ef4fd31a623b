"""Whether a node answers: pings regular and in doubt, patience, late answers."""

from collections.abc import Callable

import pytest

from netmgr.engine.liveness import (
    FAST_INTERVAL,
    FIRST_INTERVAL,
    FIRST_SAMPLES,
    MISSES,
    MISSES_WHILE_HEARD,
    PATIENCE,
    PING_INTERVAL,
    TRAFFIC_LIFE,
    Liveness,
)


def run(
    pings: Liveness,
    until: float,
    *,
    interval: float | None = PING_INTERVAL,
    each: Callable[[float], None] | None = None,
) -> float | None:
    """Ping as upkeep does; return when the way was dead, None if it never was."""
    number, now = 0, 0.0
    while now < until:
        if each is not None:
            each(now)
        if pings.miss(now):
            return now
        at = pings.ping_at(interval)
        if at is not None and at <= now:
            pings.pinged(b"%d" % number, PING_INTERVAL, now)
            number += 1
        now += 0.05
    return None


@pytest.fixture
def pings():
    return Liveness(0.0)


def test_without_regular_pings_nothing_is_asked(pings):
    assert (pings.ping_at(None), pings.overdue_at()) == (None, None)
    assert pings.ping_at(PING_INTERVAL) == 0.0


def test_an_answered_ping_is_followed_by_the_next_regular_one(pings):
    pings.pinged(b"1", PING_INTERVAL, 0.0)
    assert pings.overdue_at() == PATIENCE
    assert pings.ponged(b"1", PING_INTERVAL, 0.1) == 0.0
    assert pings.ping_at(PING_INTERVAL) == FIRST_INTERVAL
    assert pings.ponged(b"1", PING_INTERVAL, 0.2) is None, "once"
    for _ in range(8):
        pings.measure(0.1)
    pings.pinged(b"2", PING_INTERVAL, 1.0)
    assert pings.ponged(b"2", PING_INTERVAL, 1.1) == 1.0
    assert pings.ping_at(PING_INTERVAL) == 1.0 + PING_INTERVAL


def test_three_in_a_row_without_an_answer_are_a_death_within_two_seconds(pings):
    assert run(pings, 10.0) == pytest.approx(2 * PATIENCE + FAST_INTERVAL, abs=0.11)
    assert pings.missed == MISSES


def test_while_something_is_heard_it_takes_twice_as_many(pings):
    def hear(now):
        pings.observe(now, rx_grew=True, tx_grew=False)

    dead_at = run(pings, 10.0, each=hear)
    assert pings.missed == MISSES_WHILE_HEARD
    assert dead_at == pytest.approx(2.3, abs=0.3)


def test_who_says_that_it_does_not_reach_us_is_asked_thrice_at_once(pings):
    pings.next_at = 100.0
    pings.suspect(0.0)
    assert pings.ping_at(None) <= 0.0
    dead_at = run(pings, 10.0, each=lambda now: pings.observe(now, rx_grew=True, tx_grew=False))
    assert pings.missed == MISSES
    assert dead_at == pytest.approx(1.4, abs=0.2)


def test_to_be_told_again_changes_nothing(pings):
    pings.suspect(5.0)
    first = pings.ping_at(None)
    pings.suspect(5.0)
    assert pings.ping_at(None) == first


def test_an_answer_ends_the_suspicion(pings):
    pings.suspect(0.0)
    pings.pinged(b"1", PING_INTERVAL, 0.0)
    pings.ponged(b"1", PING_INTERVAL, 0.1)
    assert pings.ping_at(None) is None
    pings.observe(0.2, rx_grew=True, tx_grew=False)
    pings.missed = MISSES
    assert not pings.miss(0.3)


def test_traffic_without_an_answer_is_a_death_within_three_seconds(pings):
    def send(now):
        pings.observe(now, rx_grew=False, tx_grew=True)

    assert run(pings, 10.0, interval=None, each=send) == pytest.approx(1.45, abs=0.2)


def test_traffic_that_is_answered_asks_nothing(pings):
    pings.observe(0.0, rx_grew=False, tx_grew=True)
    assert pings.ping_at(None) == PATIENCE / 2
    pings.observe(0.3, rx_grew=True, tx_grew=True)
    assert pings.ping_at(None) is None


def test_traffic_is_over_after_a_while(pings):
    assert not pings.busy(0.0)
    pings.observe(0.0, rx_grew=False, tx_grew=True)
    assert pings.busy(TRAFFIC_LIFE - 1)
    assert not pings.busy(TRAFFIC_LIFE)


def test_a_long_way_is_waited_for(pings):
    pings.measure(0.5)
    assert pings.patience == PATIENCE + 2.0
    pings.begin(0.0, expected=0.25)
    assert pings.patience == PATIENCE + 1.0
    pings.begin(0.0)
    assert (pings.patience, pings.rtt) == (PATIENCE + 2.0, 0.5)
    pings.forget()
    assert (pings.patience, pings.rtt) == (PATIENCE, None)


def test_so_many_pings_at_most_are_under_way(pings):
    pings.measure(2.0)
    pings.suspect(0.0)
    most = 0
    for step in range(160):
        now = step * 0.05
        if pings.ping_at(None) <= now:
            pings.pinged(b"%d" % step, PING_INTERVAL, now)
        most = max(most, step)
    assert pings.overdue_at() == pytest.approx(pings.patience)
    assert pings.ping_at(None) >= pings.patience


def test_an_answer_that_comes_late_is_one_all_the_same(pings):
    pings.pinged(b"1", PING_INTERVAL, 0.0)
    pings.miss(PATIENCE)
    assert pings.missed == 1
    assert pings.ponged(b"1", PING_INTERVAL, 1.0) == 0.0
    assert pings.missed == 0


def test_of_late_answers_few_are_remembered(pings):
    for number in range(20):
        pings.pinged(b"%d" % number, PING_INTERVAL, 0.0)
    pings.miss(10.0)
    assert pings.ponged(b"0", PING_INTERVAL, 10.0) is None
    assert pings.ponged(b"19", PING_INTERVAL, 10.0) == 0.0


def test_an_answer_stands_for_those_asked_before(pings):
    for number in range(3):
        pings.pinged(b"%d" % number, PING_INTERVAL, 0.1 * number)
    pings.ponged(b"1", PING_INTERVAL, 0.3)
    assert pings.overdue_at() == pytest.approx(0.2 + PATIENCE)


def test_another_way_begins_without_the_misses_of_the_last(pings):
    run(pings, 1.0)
    assert pings.missed
    pings.begin(1.0)
    assert (pings.missed, pings.overdue_at(), pings.next_at) == (0, None, 1.0)


# --- one of two asks ---


def measured(pings: Liveness, rtt: float = 0.1) -> Liveness:
    """Let the round trip be known since 0.0."""
    for _ in range(FIRST_SAMPLES):
        pings.measure(rtt)
    pings.measured_at = 0.0
    return pings


@pytest.mark.parametrize("said", [0.0, 0.1, 0.12])
def test_who_is_asked_asks_later_itself(pings, said):
    measured(pings).asked(said, 100.0, 10.0)
    assert 110.0 < pings.next_at < 130.0


@pytest.mark.parametrize(("said", "now"), [(0.2, 10.0), (0.1, 1000.0)])
def test_who_measured_something_else_or_long_ago_asks_itself_all_the_same(pings, said, now):
    measured(pings).asked(said, 100.0, now)
    assert pings.next_at == 0.0


def test_who_has_measured_nothing_or_misses_an_answer_asks_itself(pings):
    pings.asked(0.1, 100.0, 10.0)
    assert pings.next_at == 0.0
    measured(pings).missed = 1
    pings.asked(0.1, 100.0, 10.0)
    assert pings.next_at == 0.0


def test_what_was_sent_or_heard_last_is_known(pings):
    assert pings.lively_at == float("-inf")
    pings.observe(1.0, rx_grew=False, tx_grew=True)
    assert pings.lively_at == 1.0
    pings.observe(2.0, rx_grew=True, tx_grew=False)
    assert pings.lively_at == 2.0


def test_ways_that_died_are_counted_until_something_comes_in():
    pings = Liveness(0.0)
    for deaths in (1, 2):
        pings.died(0.0)
        assert (pings.deaths, pings.missed) == (deaths, 0)
        assert pings.ping_at(None) == 2.0**deaths, "asked ever later, traffic or not"
    pings.observe(1.0, rx_grew=False, tx_grew=True)
    assert pings.deaths == 2
    pings.observe(1.0, rx_grew=True, tx_grew=False)
    assert pings.deaths == 0
    assert pings.ping_at(None) is None
    pings.died(1.0)
    pings.pinged(b"1", PING_INTERVAL, 2.0)
    pings.ponged(b"1", PING_INTERVAL, 2.1)
    assert pings.deaths == 0
