import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.wire.tai64n import NEVER, TICK_NS, encode, next_timestamp

MICROSECOND = 1000
MILLISECOND = 1000 * MICROSECOND
SECOND = 1000 * MILLISECOND
YEAR_2100 = 4_102_444_800 * SECOND
TIMES = st.integers(0, YEAR_2100)


@pytest.mark.parametrize(
    ("unix_nanoseconds", "timestamp"),
    [
        (0, "400000000000000a00000000"),
        (SECOND, "400000000000000b00000000"),
        (TICK_NS - 1, "400000000000000a00000000"),
        (TICK_NS, "400000000000000a01000000"),
        (SECOND - 1, "400000000000000a3b000000"),
        (-1, "40000000000000093b000000"),
        (1_700_000_000 * SECOND + 123_456_789, "400000006553f10a07000000"),
    ],
)
def test_times_have_their_encoding(unix_nanoseconds, timestamp):
    assert encode(unix_nanoseconds).hex() == timestamp


@pytest.mark.parametrize(
    ("later_by", "after"),
    [
        (0, False),
        (10, False),
        (10 * MICROSECOND, False),
        (MILLISECOND, False),
        (10 * MILLISECOND, False),
        (20 * MILLISECOND, True),
    ],
)
def test_times_within_a_tick_are_the_same(later_by, after):
    start = encode(123_456_789)
    assert (encode(123_456_789 + later_by) > start) == after
    assert start <= encode(123_456_789 + later_by)


@given(TIMES, TIMES)
def test_timestamps_compare_as_times_to_the_tick(one, other):
    if one // SECOND != other // SECOND or one % SECOND // TICK_NS != other % SECOND // TICK_NS:
        assert (encode(one) > encode(other)) == (one > other)
    else:
        assert encode(one) == encode(other)


@given(TIMES)
def test_a_timestamp_is_less_than_a_tick_behind(unix_nanoseconds):
    timestamp = encode(unix_nanoseconds)
    seconds = int.from_bytes(timestamp[:8]) - 2**62 - 10
    nanoseconds = int.from_bytes(timestamp[8:])
    assert 0 <= unix_nanoseconds - seconds * SECOND - nanoseconds < TICK_NS
    assert nanoseconds % TICK_NS == 0
    assert timestamp > NEVER


@given(st.lists(st.integers(-10 * SECOND, SECOND) | TIMES, min_size=1, max_size=100), TIMES)
def test_own_timestamps_rise_whatever_the_clock_does(steps, clock):
    previous = NEVER
    for step in steps:
        clock = max(0, clock + step) if step < SECOND else step
        timestamp = next_timestamp(previous, clock)
        assert timestamp > previous
        assert timestamp >= encode(clock)
        assert int.from_bytes(timestamp[8:]) % TICK_NS == 0
        assert int.from_bytes(timestamp[8:]) < SECOND
        previous = timestamp


def test_a_clock_that_runs_is_followed():
    assert next_timestamp(encode(SECOND), 3 * SECOND) == encode(3 * SECOND)


def test_a_clock_that_stands_is_left_behind_by_one_tick():
    start = encode(SECOND)
    assert next_timestamp(start, SECOND) == encode(SECOND + TICK_NS)
    assert next_timestamp(start, 0) == encode(SECOND + TICK_NS)


def test_the_tick_after_the_last_of_a_second_is_the_next_second():
    assert next_timestamp(encode(2 * SECOND - 1), SECOND) == encode(2 * SECOND)
