"""What measurements become, and a triangle of nodes that goes by them."""

import itertools
from hashlib import blake2s

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine.measure import LAST_HOLD, Damping, Loss, Srtt
from netmgr.engine.routing import Choice, Graph, Route, best_detours, best_paths, prefer
from netmgr.wire.objects import RELAYS, Edge

A, B, R = b"a" * 8, b"b" * 8, b"r" * 8


def jittered(us: int, share: float, *seed: object) -> int:
    """Return a value off by up to a share of it, the same for an equal seed."""
    (noise,) = blake2s(repr(seed).encode(), digest_size=1).digest()
    return round(us * (1 + share * (noise / 127.5 - 1)))


# --- round trips ---


def test_the_first_sample_is_the_round_trip():
    srtt = Srtt()
    assert srtt.us is None
    assert srtt.add(7000) == 7000
    assert srtt.us == 7000


def test_the_least_of_three_counts_with_a_weight():
    srtt = Srtt()
    for sample in [100_000] * 8 + [90_000]:
        srtt.add(sample)
    assert srtt.us == round(100_000 - 42 / 256 * 10_000)


def test_of_the_first_few_each_counts_alike():
    srtt = Srtt()
    for sample in (120_000, 100_000, 95_000):
        srtt.add(sample)
    assert srtt.us == 105_000


def test_two_late_answers_count_for_nothing():
    srtt = Srtt()
    for sample in (50_000, 900_000, 900_000, 50_000, 900_000):
        assert srtt.add(sample) == 50_000


@pytest.mark.parametrize("other", [40_000, 120_000, 251_000, 900_000])
def test_three_in_a_row_are_another_path(other):
    srtt = Srtt()
    for _ in range(5):
        srtt.add(200_000)
    for _ in range(3):
        srtt.add(other)
    assert srtt.us == other


def test_on_a_short_path_a_millisecond_is_no_other_path():
    srtt = Srtt()
    for sample in [300] * 6 + [1900] * 3:
        srtt.add(sample)
    assert srtt.us == round(300 + 42 / 256 * 1600)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_the_round_trip_stays_within_what_was_measured(samples):
    srtt = Srtt()
    for sample in samples:
        srtt.add(sample)
        assert srtt.us is not None and min(samples) <= srtt.us <= max(samples)


# --- loss ---


def test_nothing_known_is_nothing_lost():
    loss = Loss()
    assert loss.octet == 0
    loss.count(0, 0, 0.0)
    assert loss.octet == 0


def test_loss_is_the_share_of_the_last_32_reports():
    loss = Loss()
    for number in range(64):
        loss.count(1, int(number >= 40), float(number))
    assert loss.octet == round(7 / 32 * 255), "what is lost once proves nothing"
    for number in range(64, 70):
        loss.count(1, 1, float(number))
    assert loss.octet == round(1 / 32 * 255)
    loss.count(1, 1, 70.0)
    assert loss.octet == 0


def test_five_percent_of_a_stream_are_known_within_half_a_minute():
    loss = Loss()
    for second in range(60):
        loss.count(20, 20, float(second))
    for second in range(60, 90):
        loss.count(20, 19, float(second))
        assert (loss.octet > 0) == (second >= 72)
    assert loss.octet == 12


def test_a_line_in_full_use_that_drops_two_in_a_hundred_loses_nothing():
    loss = Loss()
    for at in range(40):
        loss.count(4000, 3930, float(at))
    assert loss.octet == 0
    loss.count(8000, 4000, 40.0)
    assert loss.octet < 10, "one bad moment is not all"


def test_reports_of_one_second_are_one():
    loss = Loss()
    for at in range(100):
        loss.count(1, int(at % 10 != 0), at / 100)
    for at in range(1, 32):
        loss.count(100, 100, float(at))
    assert loss.octet == 0
    for at in range(32, 40):
        loss.count(100, 50, float(at))
    assert loss.octet == round((400 - 1) / 3200 * 255)


def test_what_is_lost_once_is_told_to_nobody():
    loss = Loss()
    for at, came in enumerate((1, 0, 1)):
        loss.count(1, came, float(at))
    assert loss.octet == 0
    loss.count(1, 0, 3.0)
    assert loss.octet == 8


def test_what_comes_while_ways_change_tells_nothing():
    loss = Loss()
    loss.pause(5.0)
    loss.count(100, 50, 5.0)
    for at in (14.9, 15.0, 20.0):
        loss.count(100, 50, at)
        assert loss.octet == 0
    loss.count(100, 50, 21.0)
    assert loss.octet > 100


def test_duplicates_make_no_negative_loss():
    loss = Loss()
    loss.count(10, 12, 0.0)
    loss.count(10, 0, 2.0)
    assert loss.octet == round(9 / 32 * 255)


@given(st.lists(st.tuples(st.integers(-1, 500), st.integers(0, 500), st.floats(0.0, 1e6))))
def test_loss_is_a_share(reports):
    loss = Loss()
    for sent, came, now in reports:
        loss.count(sent, came, now)
        assert 0 <= loss.octet <= 255


# --- what is told ---


def up(ms: float, loss: int = 0, peer: bytes = B) -> dict[bytes, Edge]:
    return {peer: Edge(peer, round(ms * 1000), loss)}


def test_the_first_edge_is_told_at_once_and_in_order_of_ids():
    damping = Damping()
    assert damping.update({}, 0.0) is None
    both = up(10) | up(20, peer=A)
    assert damping.update(both, 0.0) == (both[A], both[B])
    assert damping.update(both, 5.0) is None
    assert damping.due_at is None


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((100, 0), (119, 0), False),
        ((100, 0), (122, 0), True),
        ((100, 0), (79, 0), True),
        ((1, 0), (5.9, 0), False),
        ((1, 0), (6.1, 0), True),
        ((100, 0), (100, 2), False),
        ((100, 0), (100, 13), True),
        ((100, 13), (100, 0), True),
    ],
)
def test_a_change_of_20_percent_and_5_ms_is_told(before, after, told):
    damping = Damping()
    damping.update(up(*before), 0.0)
    assert damping.update(up(*after), 10.0) == (tuple(up(*after).values()) if told else None)


def test_what_is_told_goes_out_three_times_at_once_and_then_once_a_second():
    damping = Damping()
    for number in range(3):
        assert damping.update(up(100 * (number + 1)), 0.1 * number) is not None
    assert damping.update(up(10), 0.4) is None
    assert damping.due_at == 1.0
    assert damping.update(up(20), 0.9) is None
    assert damping.update(up(20), 1.0) == (Edge(B, 20_000),)
    assert damping.due_at is None


def test_an_edge_that_is_gone_is_told_at_once_and_its_return_later_each_time():
    damping = Damping()
    now = 0.0
    holds = []
    damping.update(up(10), now)
    for _ in range(8):
        now += 2.0
        assert damping.update({}, now) == ()
        gone_at = now
        assert damping.update(up(10), now) is None
        assert damping.due_at is not None
        now = damping.due_at
        assert damping.update(up(10), now - 0.01) is None
        assert damping.update(up(10), now) == (Edge(B, 10_000),)
        holds.append(now - gone_at)
    assert holds == [1, 2, 4, 8, 16, 32, 32, LAST_HOLD]


def test_an_edge_that_stayed_is_trusted_again():
    damping = Damping()
    damping.update(up(10), 0.0)
    damping.update({}, 10.0)
    damping.update(up(10), 11.0)
    damping.update({}, 12.0)
    assert damping.update(up(10), 14.0)
    assert damping.update({}, 14.0 + 64.0) == ()
    damping.update(up(10), 78.0)
    assert damping.due_at == 79.0


def test_an_edge_that_was_gone_for_long_is_forgotten():
    damping = Damping()
    damping.update(up(10) | up(10, peer=A), 0.0)
    damping.update(up(10, peer=A), 10.0)
    damping.update(up(100, peer=A), 100.0)
    assert damping.update(up(10) | up(100, peer=A), 101.0)
    damping.update(up(100, peer=A), 102.0)
    damping.update(up(10) | up(100, peer=A), 102.5)
    assert damping.due_at == 103.0


def test_of_two_held_back_the_first_is_waited_for():
    damping = Damping()
    both = up(10) | up(20, peer=A)
    damping.update(both, 0.0)
    damping.update(up(10), 5.0)
    damping.update({}, 6.0)
    damping.update(both, 6.0)
    assert damping.due_at == 7.0


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.integers(1, 500)), max_size=80))
def test_no_edge_makes_more_than_three_words_and_one_a_second(steps):
    damping = Damping()
    now, told = 0.0, []
    for wait, there, ms in steps:
        now += wait
        if damping.update(up(ms) if there else {}, now) is not None:
            told.append(now)
        assert damping.due_at is None or damping.due_at > now
    for first, last in itertools.combinations(range(len(told)), 2):
        assert last - first + 1 <= 3 + told[last] - told[first] + 0.001


# --- three nodes ---


class Triangle:
    """A and B directly, and by R: what A and R measure every 3 s, and the path A takes."""

    def __init__(self, direct_ms: float, half_ms: float, jitter: float = 0.0) -> None:
        self.direct_us, self.half_us = round(direct_ms * 1000), round(half_ms * 1000)
        self.jitter = jitter
        self.now = 0.0
        self.choice = Choice()
        self.changes = 0
        self._srtts = {
            pair: Srtt() for pair in ((A, B), (A, R), (R, B), (R, A), (B, R), (B, A))
        }
        self._damping = {node: Damping() for node in (A, B, R)}
        self._told: dict[bytes, tuple[Edge, ...]] = {A: (), B: (), R: ()}

    def run(self, seconds: float, seed: int = 0) -> list[tuple[float, Route | None]]:
        """Go on for so long; return when the path changed, and to what."""
        changes: list[tuple[float, Route | None]] = []
        for _ in range(round(seconds)):
            if self.now % 3 == 0:
                self._measure(seed)
            before = self.choice.route
            after = self._choose()
            if before is None or after is None or before.hops != after.hops:
                changes.append((self.now, after))
            self.now += 1.0
        return changes

    def _measure(self, seed: int) -> None:
        for (one, other), srtt in self._srtts.items():
            us = self.half_us if R in (one, other) else self.direct_us
            srtt.add(jittered(us, self.jitter, one, other, self.now, seed))

    def _choose(self) -> Route | None:
        for node, damping in self._damping.items():
            edges = {
                other: Edge(other, srtt.us or 0)
                for (one, other), srtt in self._srtts.items()
                if one == node
            }
            self._told[node] = damping.update(edges, self.now) or self._told[node]
        graph = Graph(self._told, dict.fromkeys((A, B, R), RELAYS))
        best, detour = best_paths(graph, A)[B], best_detours(graph, A).get(B)
        cost = graph.cost_of(A, B, ())
        direct = None if cost is None else Route((), cost)
        assert best in (direct, detour)
        used = self.choice.route
        price = None if used is None else graph.cost_of(A, B, used.hops)
        wanted = prefer(direct, detour)
        return self.choice.update(wanted, price is not None, self.now, cost=price)


def test_a_path_over_a_relay_is_taken_within_15_s_and_left_within_30():
    net = Triangle(200, 30)
    net.choice.update(Route((), 2015), True, 0.0)
    ((at, route),) = net.run(60)
    assert route is not None and route.hops == (R,) and at <= 15.0
    net.direct_us = 40_000
    since = net.now
    ((at, route),) = net.run(60)
    assert route is not None and route.is_direct and at - since <= 30.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("direct", "half"),
    [(20, 30), (60, 30), (70, 30), (100, 30), (200, 30), (10, 4), (10, 3), (2, 0.5), (120, 60)],
)
def test_jitter_of_10_percent_changes_no_path_in_5_minutes(direct, half, seed):
    net = Triangle(direct, half, 0.10)
    net.run(30, seed)
    assert net.run(300, seed) == []


@pytest.mark.parametrize("direct", range(74, 92, 3))
def test_where_both_paths_are_as_good_one_is_settled_on(direct):
    """Once an hour at most, and never back and forth."""
    net = Triangle(direct, 30, 0.10)
    net.run(30)
    assert len(net.run(3600)) <= 1
