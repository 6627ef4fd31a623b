from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.engine.constants import REJECT_AFTER_MESSAGES as REJECT
from wgpy.engine.constants import REPLAY_WINDOW
from wgpy.engine.replay import ReplayWindow

LIMIT = REPLAY_WINDOW + 1

# The table that the tests of other implementations share, in its order.
NUMBERED = [
    (0, True),
    (1, True),
    (1, False),
    (9, True),
    (8, True),
    (7, True),
    (7, False),
    (LIMIT, True),
    (LIMIT - 1, True),
    (LIMIT - 1, False),
    (LIMIT - 2, True),
    (2, True),
    (2, False),
    (LIMIT + 16, True),
    (3, False),
    (LIMIT + 16, False),
    (LIMIT * 4, True),
    (LIMIT * 4 - (LIMIT - 1), True),
    (10, False),
    (LIMIT * 4 - LIMIT, False),
    (LIMIT * 4 - (LIMIT + 1), False),
    (LIMIT * 4 - (LIMIT - 2), True),
    (LIMIT * 4 + 1 - LIMIT, False),
    (0, False),
    (REJECT, False),
    (REJECT - 1, True),
    (REJECT, False),
    (REJECT - 1, False),
    (REJECT - 2, True),
    (REJECT + 1, False),
    (REJECT + 2, False),
    (REJECT - 2, False),
    (REJECT - 3, True),
    (0, False),
]


def accepted(counters: Iterable[int]) -> list[bool]:
    window = ReplayWindow()
    return [window.accept(counter) for counter in counters]


def test_the_numbered_cases_have_their_answers():
    assert len(NUMBERED) == 34
    assert accepted(counter for counter, _ in NUMBERED) == [fresh for _, fresh in NUMBERED]


@pytest.mark.parametrize(
    ("fresh", "after"),
    [
        (range(1, REPLAY_WINDOW + 1), [(0, True), (0, False)]),
        (range(2, REPLAY_WINDOW + 2), [(1, True), (0, False)]),
        (range(REPLAY_WINDOW + 1, 0, -1), []),
        (range(REPLAY_WINDOW + 2, 1, -1), [(0, False)]),
        (range(REPLAY_WINDOW, 0, -1), [(REPLAY_WINDOW + 1, True), (0, False)]),
        (range(REPLAY_WINDOW, 0, -1), [(0, True), (REPLAY_WINDOW + 1, True)]),
    ],
    ids=["up", "up from 2", "down", "down to 2", "down, hole above", "down, hole below"],
)
def test_a_run_through_the_whole_window_is_accepted_once(fresh, after):
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in fresh)
    assert [window.accept(counter) for counter, _ in after] == [answer for _, answer in after]
    assert not any(window.accept(counter) for counter in fresh)


def test_the_spent_counter_is_refused_in_its_order():
    assert accepted([REJECT - 1, REJECT, REJECT + 1]) == [True, False, False]


@pytest.mark.parametrize("start", [0, 5, 8191, 8192, 20_000])
@pytest.mark.parametrize("jump", [2, 4000, 8128, 8129, 8191, 8192, 8193, 30_000])
def test_what_a_jump_skipped_is_accepted_once_while_in_the_window(start, jump):
    window = ReplayWindow()
    before = range(max(0, start - 9000), start + 1)
    for counter in before:
        assert window.accept(counter)
    greatest = start + jump
    assert window.accept(greatest)
    for counter in range(max(0, greatest - 9000), greatest + 1):
        late = greatest - counter > REPLAY_WINDOW
        seen = counter <= start or counter == greatest
        assert window.accept(counter) == (not late and not seen), counter
        assert not window.accept(counter)


NEAR_EDGES = st.builds(
    lambda edge, distance: max(0, edge + distance),
    st.sampled_from([0, REPLAY_WINDOW, 8192, 3 * 8192, REJECT]),
    st.integers(-70, 70),
)
STEPS = st.one_of(st.just(1), st.integers(-REPLAY_WINDOW - 3, 9000), st.integers(-3, 3))


@given(NEAR_EDGES, st.lists(STEPS | NEAR_EDGES.map(str), max_size=100))
def test_every_history_is_that_of_a_set(start, steps):
    window, seen, counter, greatest = ReplayWindow(), set[int](), start, -1
    for step in [0, *steps]:
        # A number is a distance from the last counter, a string a counter.
        counter = int(step) if isinstance(step, str) else max(0, counter + step)
        fresh = counter < REJECT and counter not in seen and counter + REPLAY_WINDOW >= greatest
        assert window.accept(counter) == fresh
        if fresh:
            seen.add(counter)
            greatest = max(greatest, counter)


@given(
    st.sampled_from([0, 8000, 8191, REJECT - 20_000]),
    st.lists(st.tuples(st.integers(-9000, 9000), st.integers(0, 8200)), max_size=12),
)
def test_a_run_is_marked_as_its_counters_one_by_one(start, runs):
    window, single = ReplayWindow(), ReplayWindow()
    greatest = start
    for step, count in runs:
        first = max(0, greatest + step)
        if window.accept_run(first, count):
            assert [single.accept(first + number) for number in range(count)] == [True] * count
            greatest = first + count - 1
        for counter in (first, first + count, greatest - REPLAY_WINDOW, greatest):
            if counter >= 0:
                assert window.accept(counter) == single.accept(counter)
                greatest = max(greatest, counter) if counter < REJECT else greatest


def test_a_run_that_is_spent_old_or_none_is_not_marked():
    window = ReplayWindow()
    assert not window.accept_run(REJECT - 5, 6)
    assert not window.accept_run(0, 0)
    assert not window.accept_run(0, REPLAY_WINDOW + 1)
    assert window.accept_run(5, 3)
    assert not window.accept_run(7, 3)
    assert window.accept(8)


@given(
    st.integers(0, 3 * REPLAY_WINDOW),
    st.lists(st.integers(-5, 40), max_size=60),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_what_came_from_one_counter_to_another_is_counted(start, steps, back, until):
    window, came = ReplayWindow(), set()
    counter = start
    for step in steps:
        counter = max(0, counter + step)
        if window.accept(counter):
            came.add(counter)
    assert window.upcoming == max(came, default=-1) + 1
    first = max(0, window.upcoming - back)
    stop = min(first + until, window.upcoming)
    expected = sum(first <= each < stop for each in came)
    assert window.arrived(first, first + until) == (stop - first, expected)


def test_of_more_than_the_ring_holds_the_last_are_counted():
    window = ReplayWindow()
    assert window.arrived(0, 10) == (0, 0)
    assert window.accept_run(0, REPLAY_WINDOW)
    assert window.accept_run(REPLAY_WINDOW + 10, 90)
    end, held = REPLAY_WINDOW + 100, 8192
    assert window.arrived(0, end) == (held, held - 10)
    assert window.arrived(end - 95, end) == (95, 90)
    assert window.arrived(end + 5, end + 9) == (0, 0), "of another session"
