from hypothesis import given
from hypothesis import strategies as st

from wgpy.engine.deadlines import Deadlines
from wgpy.model import Deadline


def at(instant: float) -> Deadline:
    return Deadline(instant, "test")


def test_the_earliest_deadline_is_next():
    deadlines: Deadlines[str] = Deadlines()
    assert deadlines.next() is None
    deadlines.set("a", Deadline(3.0, "rekey"))
    deadlines.set("b", Deadline(1.0, "keepalive"))
    deadlines.set("c", at(2.0))
    assert deadlines.next() == Deadline(1.0, "keepalive")
    assert deadlines.next() == Deadline(1.0, "keepalive")


def test_due_owners_come_earliest_first_and_once():
    deadlines: Deadlines[str] = Deadlines()
    for owner, instant in zip("abcd", (3.0, 1.0, 2.0, 4.0), strict=True):
        deadlines.set(owner, at(instant))
    assert deadlines.pop_due(0.9) == []
    assert deadlines.pop_due(3.0) == ["b", "c", "a"]
    assert deadlines.pop_due(3.0) == []
    assert deadlines.next() == at(4.0)


def test_owners_of_one_instant_come_as_they_were_set():
    deadlines: Deadlines[str] = Deadlines()
    for owner in "zyxabc":
        deadlines.set(owner, at(1.0))
    deadlines.set("y", at(2.0))
    deadlines.set("y", at(1.0))
    deadlines.set("z", at(1.0))
    assert deadlines.pop_due(1.0) == ["z", "x", "a", "b", "c", "y"]


def test_a_deadline_can_move_both_ways_and_go():
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", at(5.0))
    deadlines.set("b", at(6.0))
    deadlines.set("a", at(7.0))
    assert deadlines.next() == at(6.0)
    deadlines.set("a", at(1.0))
    assert deadlines.next() == at(1.0)
    deadlines.set("a", None)
    deadlines.set("nobody", None)
    assert deadlines.pop_due(10.0) == ["b"]
    assert deadlines.next() is None


def test_an_owner_needs_no_order_but_a_hash():
    deadlines: Deadlines[object] = Deadlines()
    owners = [object(), object(), object()]
    for owner in owners:
        deadlines.set(owner, at(1.0))
    assert deadlines.pop_due(1.0) == owners


def test_deadlines_put_off_for_ever_hold_little_memory():
    deadlines: Deadlines[int] = Deadlines()
    for owner in range(10):
        deadlines.set(owner, at(1e9))
    for instant in range(10_000):
        deadlines.set(instant % 10, at(float(instant)))
        assert len(deadlines._heap) <= 2 * 10 + 64  # noqa: SLF001
    assert deadlines.pop_due(9_995.0) == [0, 1, 2, 3, 4, 5]
    for owner in range(6, 10):
        deadlines.set(owner, None)
    assert deadlines.next() is None


def test_the_order_is_kept_while_one_owner_puts_off_again_and_again():
    deadlines: Deadlines[int] = Deadlines()
    for owner in range(10):
        deadlines.set(owner, at(100.0 - owner))
    for instant in range(200, 500):
        deadlines.set(5, at(float(instant)))
        assert deadlines.next() == at(91.0)
    assert deadlines.pop_due(498.0) == [9, 8, 7, 6, 4, 3, 2, 1, 0]
    assert deadlines.pop_due(499.0) == [5]


INSTANTS = st.integers(0, 9).map(float)
STEPS = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 5), INSTANTS | st.none()),
    st.tuples(st.just("pop"), INSTANTS),
)


@given(st.lists(STEPS, max_size=300))
def test_every_history_is_that_of_a_sorted_list(steps):
    deadlines: Deadlines[int] = Deadlines()
    model: dict[int, tuple[float, int]] = {}
    for number, (name, *arguments) in enumerate(steps):
        if name == "set":
            owner, instant = arguments
            deadlines.set(owner, None if instant is None else at(instant))
            if instant is None:
                model.pop(owner, None)
            elif owner not in model or model[owner][0] != instant:
                model[owner] = (instant, number)
        else:
            due = sorted((when, who) for who, when in model.items() if when[0] <= arguments[0])
            assert deadlines.pop_due(arguments[0]) == [who for _, who in due]
            model = {who: when for who, when in model.items() if when[0] > arguments[0]}
        earliest = min(model.values(), default=None)
        assert deadlines.next() == (None if earliest is None else at(earliest[0]))
