"""A bucket of tokens: so many at once, one an interval in the long run."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine.pace import free_at, spend


def test_three_go_at_once_and_the_fourth_when_there_is_a_token_again():
    due = 0.0
    for _ in range(3):
        after = spend(due, 10.0, 2.0, 3)
        assert after is not None
        due = after
    assert spend(due, 10.0, 2.0, 3) is None
    assert free_at(due, 2.0, 3) == 12.0
    assert spend(due, 11.9, 2.0, 3) is None
    assert spend(due, 12.0, 2.0, 3) == 18.0


@given(st.lists(st.floats(0, 10), max_size=60))
def test_no_history_spends_more_than_burst_and_rate(waits):
    due, now, spent = 0.0, 0.0, []
    for wait in waits:
        now += wait
        if (after := spend(due, now, 2.0, 3)) is not None:
            due = after
            spent.append(now)
    for first, last in itertools.combinations(range(len(spent)), 2):
        assert last - first + 1 <= 3 + (spent[last] - spent[first]) / 2 + 0.001
