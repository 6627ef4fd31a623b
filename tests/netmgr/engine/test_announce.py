"""What a node says about itself: when it signs anew, and what it makes of its own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr import events
from netmgr.engine.announce import LEAST_INTERVAL, REFRESH, TWIN_JUMPS, Announcer
from netmgr.engine.common import Context
from netmgr.engine.flood import OwnEcho
from netmgr.engine.members import Members
from netmgr.engine.remote import Remote
from netmgr.model import Candidate, Kind
from netmgr.wire import objects
from netmgr.wire.objects import Accept, Edge, Offer, Record
from tests.netmgr.engine.surroundings import (
    ME,
    NEIGHBOUR,
    Numbers,
    Other,
    static,
    surroundings,
    told,
)
from tests.sim.tunnel import v4
from wgpy.model import Endpoint, Prefix

LAN = Endpoint(v4("192.168.0.1"), 50001)
SEEN = Endpoint(v4("203.0.113.1"), 7777)
BOB = Other("bob")
NET = Prefix(v4("192.168.7.0"), 24)


def made(start: int = 1, **options: object) -> tuple[Announcer, Context]:
    context = surroundings(numbers=Numbers(start), **options)  # type: ignore[arg-type]
    return Announcer(context, 0.0), context


def said(context: Context) -> list[tuple[int, int]]:
    """Return kind and part of what was signed since the last call."""
    signed = [objects.split_untrusted(blob) for blob, _ in context.objects.take_floods()]
    return [(one.kind, one.part) for one in signed]


def own_record(context: Context) -> Record:
    record = context.objects.record(ME.public)
    assert record is not None
    return record


def linked(other: Other, rtt: float | None = 0.01) -> Remote:
    remote = Remote(other.public, other.short, other.key, 0.0)
    if rtt is not None:
        remote.pings.measure(rtt)
    return remote


# --- the Record ---


def test_a_node_says_who_it_is_at_once():
    _, context = made()
    assert said(context) == [(objects.RECORD, 0)]
    assert own_record(context) == Record("me", v4("10.1.1.1"), objects.RELAYS)
    assert objects.split_untrusted(context.own_record).seq == 1


@pytest.mark.parametrize(
    ("options", "features"),
    [
        ({}, objects.RELAYS),
        ({"metered": True}, objects.METERED),
        ({"routes": (NET,)}, objects.RELAYS | objects.GATEWAY),
        ({"exit_node": True}, objects.RELAYS | objects.GATEWAY),
        ({"peers": [static(address=v4("10.1.1.1"))]}, objects.RELAYS | objects.SEED),
    ],
)
def test_a_node_says_what_it_does(options, features):
    _, context = made(**options)
    assert own_record(context).features == features


def test_what_has_changed_is_said_not_more_than_once_a_second():
    one, context = made()
    said(context)
    context.local = (LAN,)
    assert one.next_at() == LEAST_INTERVAL
    one.handle(0.5)
    assert said(context) == []
    one.handle(LEAST_INTERVAL)
    assert said(context) == [(objects.RECORD, 0)]
    assert one.next_at() > LEAST_INTERVAL
    one.handle(5.0)
    assert said(context) == []


def test_places_are_told_those_that_others_saw_first():
    one, context = made()
    context.local = tuple(LAN._replace(port=number) for number in range(1, 12))
    context.observed = (SEEN, LAN._replace(port=1))
    one.record(1.0)
    told_of = own_record(context).candidates
    assert told_of[:2] == (
        Candidate(SEEN, Kind.OBSERVED),
        Candidate(context.local[0], Kind.LOCAL),
    )
    assert len(told_of) == objects.MAX_CANDIDATES


def test_a_record_is_said_again_every_few_hours():
    one, context = made()
    said(context)
    assert one.next_at() == REFRESH
    one.handle(REFRESH)
    assert said(context) == [(objects.RECORD, 0)]
    assert 0.75 * REFRESH <= one.next_at() - REFRESH <= 1.25 * REFRESH


# --- links and routes ---


def test_edges_are_told_at_once_and_small_changes_are_not():
    one, context = made()
    said(context)
    one.links([linked(BOB), linked(Other("carol"), None)], 0.0)
    assert said(context) == [(objects.LINKS, 0)]
    assert context.objects.links(ME.public) == (Edge(BOB.short, 10_000, 0),)
    one.links([linked(BOB, 0.0101)], 5.0)
    assert said(context) == []


def test_a_change_that_comes_too_soon_is_told_later():
    one, context = made()
    for number in range(3):
        one.links([linked(BOB, 0.1 * (number + 1))], 0.0)
    said(context)
    one.links([linked(BOB, 0.2)], 0.1)
    assert said(context) == []
    at = one.next_at()
    assert at < 10
    one.handle(at)
    assert (objects.LINKS, 0) in said(context)


def test_many_edges_go_out_in_parts_of_one_number():
    one, context = made()
    said(context)
    one.links([linked(Other(f"{number}")) for number in range(65)], 0.0)
    assert said(context) == [(objects.LINKS, 0), (objects.LINKS, 1)]
    assert len(context.objects.links(ME.public)) == 65


def test_routes_are_told_once():
    one, context = made(routes=(NET,), exit_node=True)
    exit_node = Offer(Prefix(bytes(4), 0), 0, exit=True)
    assert context.objects.offers(ME.public) == (exit_node, Offer(NET, 0))
    said(context)
    one.routes(1.0)
    assert said(context) == []


def test_more_routes_than_fit_are_left_out():
    nets = tuple(Prefix(bytes([172, 16, number, 0]), 24) for number in range(40))
    _, context = made(routes=nets)
    assert len(context.objects.offers(ME.public)) == objects.MAX_OFFERS


def test_a_goodbye_is_said():
    one, context = made()
    one.leave(1.0)
    assert context.objects.has_left(ME.public)


# --- accept ---


def accept(name: str, other: Other) -> bytes:
    return objects.encode_accept(Accept(name, v4("10.1.1.2"), other.public))


def test_each_name_that_is_given_away_has_a_part_of_its_own():
    one, context = made()
    said(context)
    for name, other in (("bob", BOB), ("carol", ME), ("bob", ME)):
        one.accept(accept(name, other), 1.0)
    assert said(context) == [(objects.ACCEPT, 0), (objects.ACCEPT, 1)]
    known = context.objects.accepts(ME.public)
    assert [(each.name, each.identity) for each in known] == [
        ("bob", ME.public),
        ("carol", ME.public),
    ]


def test_the_oldest_part_is_used_anew_when_all_are():
    one, context = made()
    for number in range(66):
        one.accept(accept(f"n{number}", BOB), 1.0)
    names = [each.name for each in context.objects.accepts(ME.public)]
    assert len(names) == 64 and names[0] == "n65"


# --- our own words from elsewhere ---


def echo(one: Announcer, context: Context, blob: bytes, now: float) -> None:
    """Hear an object of ours from a neighbour."""
    found = Members(context).receive_untrusted(blob, NEIGHBOUR, now)
    assert found is not None
    one.echoed(found, now)


def test_words_of_a_former_run_are_ended_without_worry():
    one, context = made(100)
    said(context)
    for now, blob in (
        (1.0, ME.links(50, Edge(BOB.short, 1))),
        (1.0, ME.routes(51, Offer(NET, 0))),
        (2.0, ME.accept(52, "bob", "10.1.1.2", BOB.public)),
        (2.0, ME.said(200, 53)),
    ):
        echo(one, context, blob, now)
    assert not one.silent
    assert told(context, events.TwinSeen) == []
    assert said(context) == [
        (objects.LINKS, 0),
        (objects.ROUTES, 0),
        (objects.ACCEPT, 0),
        (200, 0),
    ]
    assert not context.objects.links(ME.public) and not context.objects.offers(ME.public)
    assert context.objects.newest(ME.public, objects.LINKS) > 100


def test_a_restored_backup_goes_on_behind_what_it_said_before():
    one, context = made()
    one.links([linked(BOB)], 0.0)
    later = [ME.record(100), ME.links(110), ME.routes(120), ME.leave(130), ME.said(99, 140)]
    for number, blob in enumerate(later):
        echo(one, context, blob, 5.0 + number / 10)
    assert not one.silent
    assert told(context, events.TwinSeen) == [events.TwinSeen(silent=False)]
    for kind, seq in ((objects.RECORD, 130), (objects.LINKS, 110), (objects.ROUTES, 120)):
        assert context.objects.newest(ME.public, kind) > seq
    assert own_record(context).name == "me"
    assert context.objects.links(ME.public) == (Edge(BOB.short, 10_000, 0),)


def test_a_twin_makes_a_node_silent():
    one, context = made()
    said(context)
    for number in range(TWIN_JUMPS + 2):
        one.echoed(OwnEcho(objects.RECORD, 1000 * (number + 1)), 10.0 + 2 * number)
    assert one.silent
    seen = [events.TwinSeen(silent=False)] * (TWIN_JUMPS - 1)
    assert told(context, events.TwinSeen) == [*seen, events.TwinSeen(silent=True)]
    said(context)
    context.local = (LAN,)
    one.record(100.0)
    one.links([linked(BOB)], 100.0)
    one.leave(100.0)
    assert said(context) == []
    assert one.next_at() > 100.0


def test_jumps_that_are_far_apart_are_no_twin():
    one, context = made()
    for number in range(10):
        one.echoed(OwnEcho(objects.RECORD, 1000 * (number + 1)), 31.0 * number)
    assert not one.silent
    assert context.objects.newest(ME.public, objects.RECORD) > 10_000


def test_a_number_that_cannot_be_passed_makes_a_node_silent():
    one, context = made()
    one.echoed(OwnEcho(objects.RECORD, 2**64 - 1), 1.0)
    assert one.silent
    assert events.TwinSeen(silent=True) in context.out.events


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1), st.floats(0, 5)), max_size=9
    )
)
def test_whatever_of_ours_is_heard_nothing_breaks(echoes):
    one, context = made()
    now = 0.0
    for kind, seq, later in echoes:
        now += later
        one.echoed(OwnEcho(kind, seq), now)
        one.handle(now)
    assert one.next_at() > now or one.next_at() <= now + LEAST_INTERVAL
    assert context.objects.newest(ME.public, objects.RECORD) > 0
