"""Places where a node may be: offered, probed ever more rarely, proven."""

from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine.places import (
    FIRST_PROBE,
    LAST_PROBE,
    MAX_CANDIDATES,
    MAX_PROBES,
    PROBE_LIFE,
    Places,
)
from netmgr.model import Candidate, Kind
from wgpy.model import Endpoint


def place(number: int) -> Endpoint:
    return Endpoint(bytes([10, 0, number // 256, number % 256]), 51820)


HERE, THERE = place(1), place(2)


def every(_: Endpoint) -> bool:
    return True


def made(*kinds: Kind) -> Places:
    places = Places()
    places.offer(
        [Candidate(place(number), kind) for number, kind in enumerate(kinds, 1)], None, 0.0
    )
    return places


def test_nothing_is_due_where_nothing_is_known():
    assert Places().next_at(every) is None
    assert Places().due(every, 0.0) == []


def test_a_place_keeps_its_state_and_takes_the_better_kind():
    places = made(Kind.OBSERVED)
    assert places.due(every, 0.0) == [HERE]
    places.offer([Candidate(HERE, Kind.LOCAL)], None, 1.0)
    assert (places.trials[HERE].kind, places.trials[HERE].tries) == (Kind.LOCAL, 1)
    places.offer([Candidate(HERE, Kind.CACHED)], None, 1.0)
    assert places.is_local(HERE)
    assert not places.is_local(THERE)
    assert not places.is_local(None)


def test_probes_become_rarer_up_to_a_limit():
    places, now, pauses = made(Kind.OBSERVED), 0.0, []
    for _ in range(12):
        assert places.due(every, now) == [HERE]
        following = places.next_at(every)
        assert following is not None
        pauses.append(following - now)
        now = following
    assert pauses[:3] == [FIRST_PROBE, 2 * FIRST_PROBE, 4 * FIRST_PROBE]
    assert pauses[-1] == LAST_PROBE


def test_only_places_that_are_wanted_are_probed():
    places = made(Kind.OBSERVED, Kind.LOCAL)
    assert places.due(places.is_local, 0.0) == [THERE]


def test_a_change_lets_all_be_tried_anew_but_not_at_once_again():
    places = made(Kind.OBSERVED)
    for now in (0.0, 0.25, 0.75):
        places.due(every, now)
    places.probed(b"1", HERE, 0.75)
    places.try_now(0.8)
    assert (places.next_at(every), places.trials[HERE].tries) == (0.75 + FIRST_PROBE, 0)


def test_a_place_that_was_heard_from_is_probed_soon_within_the_rate():
    places = made(Kind.OBSERVED)
    for now in (0.0, 0.25, 0.75, 1.75):
        places.due(every, now)
        places.probed(b"%f" % now, HERE, now)
    places.heard_from(HERE, 1.8)
    assert places.next_at(every) == 2.0
    places.heard_from(THERE, 1.8)
    assert THERE not in places.trials


def test_the_answer_proves_the_place_that_was_probed():
    places = made(Kind.OBSERVED)
    places.probed(b"1", HERE, 0.0)
    assert places.answered(b"2", 0.1) is None
    assert places.answered(b"1", 0.1) == (HERE, 0.1)
    assert places.answered(b"1", 0.1) is None
    assert places.trials[HERE].rtt == 0.1
    assert places.next_at(every) == 0.1 + LAST_PROBE


def test_a_place_not_on_the_list_is_proven_as_well():
    places = Places()
    places.probed(b"1", HERE, 0.0)
    assert places.answered(b"1", 0.5) == (HERE, 0.5)
    assert places.trials == {}


def test_an_answer_that_comes_too_late_proves_nothing():
    places = made(Kind.OBSERVED)
    places.probed(b"1", HERE, 0.0)
    assert places.answered(b"1", PROBE_LIFE + 0.1) is None
    places.probed(b"2", HERE, 0.0)
    places.probed(b"3", HERE, PROBE_LIFE + 0.1)
    assert places.answered(b"2", 1.0) is None


def test_of_too_many_probes_the_oldest_is_forgotten():
    places = made(Kind.OBSERVED)
    for number in range(MAX_PROBES + 1):
        places.probed(b"%d" % number, HERE, 0.0)
    assert places.answered(b"0", 0.1) is None
    assert places.answered(b"1", 0.1) is not None
    assert places.answered(b"%d" % MAX_PROBES, 0.1) is not None


def test_of_too_many_places_what_was_tried_most_and_never_answered_goes():
    places = made(Kind.STATIC, *[Kind.OBSERVED] * (MAX_CANDIDATES - 1))
    places.offer([Candidate(place(100), Kind.LOCAL)], None, 0.0)
    assert place(100) not in places.trials, "nothing was tried yet"
    places.due(every, 0.0)
    places.trials[place(3)].tries = 5
    places.trials[place(1)].tries = 9
    places.offer([Candidate(place(100), Kind.LOCAL)], place(3), 0.0)
    assert place(100) in places.trials
    assert {place(1), place(3)} <= set(places.trials), "static, and in use"


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from(Kind)), max_size=200))
def test_offers_without_end_grow_nothing(offers):
    places = Places()
    for now, (number, kind) in enumerate(offers):
        places.offer([Candidate(place(number), kind)], None, float(now))
        places.due(every, float(now))
        assert len(places.trials) <= MAX_CANDIDATES
