"""What is held of one identity, object by object."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine import holding
from netmgr.engine.holding import Held, Holding, Routes, Standing
from netmgr.errors import Reason, Rejected
from netmgr.wire import objects
from netmgr.wire.objects import Accept, Edge, Offer, Record, Signed
from wgpy.model import Prefix

WHO = b"w" * 32
RECORD = objects.encode_record(Record("alice", None, 0))
OFFER = Offer(Prefix(bytes([10, 0, 0, 0]), 8), 1)
ROUTES = objects.encode_routes([OFFER])
ACCEPT = Accept("bob", bytes(4), b"b" * 32)
UNKNOWN = 77


def of(kind: int, seq: int, body: bytes = b"", part: int = 0) -> Signed:
    return objects.split_untrusted(
        objects.encode(kind, part, WHO, seq, body, bytes(8), lambda _: bytes(64))
    )


def record(seq: int, name: str = "alice") -> Signed:
    return of(objects.RECORD, seq, objects.encode_record(Record(name, None, 0)))


def edges(count: int, first: int = 0) -> tuple[Edge, ...]:
    return tuple(Edge(number.to_bytes(8), 1000) for number in range(first, first + count))


def links(seq: int, given: tuple[Edge, ...]) -> list[Signed]:
    bodies = objects.encode_links(given)
    return [of(objects.LINKS, seq, body, part) for part, body in enumerate(bodies)]


def routes(seq: int) -> Signed:
    return of(objects.ROUTES, seq, ROUTES)


def empty() -> Holding:
    return Holding(WHO, b"s" * 8, 0.0)


def put(to: Holding, signed: Signed, now: float = 0.0) -> tuple[Held, list[Held]]:
    return to.put(signed, holding.read_untrusted(signed), None, now)


def held_blobs(of_one: Holding) -> set[bytes]:
    return {held.blob for held in of_one.held()}


# --- reading ---


def test_what_is_known_is_read_and_the_rest_is_not():
    assert holding.read_untrusted(record(1)) == Record("alice", None, 0)
    assert holding.read_untrusted(links(1, edges(1))[0]) == objects.Links(1, edges(1))
    assert holding.read_untrusted(routes(1)) == Routes((OFFER,))
    accept = of(objects.ACCEPT, 1, objects.encode_accept(ACCEPT), 5)
    assert holding.read_untrusted(accept) == ACCEPT
    assert holding.read_untrusted(of(objects.LEAVE, 1)) is None
    assert holding.read_untrusted(of(UNKNOWN, 1, b"\xff", 9)) is None


@pytest.mark.parametrize("kind", [objects.RECORD, objects.ROUTES, objects.LEAVE])
def test_a_kind_of_one_part_has_no_other(kind):
    body = {objects.RECORD: RECORD, objects.ROUTES: ROUTES}.get(kind, b"")
    with pytest.raises(Rejected) as caught:
        holding.read_untrusted(of(kind, 1, body, 1))
    assert caught.value.reason is Reason.MALFORMED


# --- every kind, older, equal, another of equal seq, newer ---


@pytest.mark.parametrize(
    ("kind", "body", "other"),
    [
        (objects.RECORD, RECORD, RECORD + b"\xff\0"),
        (objects.LINKS, b"\0\1\0", b"\0\1\0\xff\0"),
        (objects.ROUTES, ROUTES, ROUTES + b"\xff\0"),
        (objects.LEAVE, b"", b"\xff\0"),
        (
            objects.ACCEPT,
            objects.encode_accept(ACCEPT),
            objects.encode_accept(ACCEPT) + b"\xff\0",
        ),
        (UNKNOWN, b"", b"\xff\0"),
    ],
)
def test_what_an_object_is_to_the_one_held(kind, body, other):
    one = empty()
    assert one.standing(of(kind, 5, body)) is Standing.NEW
    new, old = put(one, of(kind, 5, body))
    assert new.blob == of(kind, 5, body).blob and new.mark == objects.mark(new.blob)
    assert old == []
    assert one.newest(kind) == 5
    assert one.standing(of(kind, 4, body)) is Standing.OLDER
    assert one.standing(of(kind, 5, body)) is Standing.SAME
    assert one.standing(of(kind, 5, other)) is Standing.RIVAL
    assert one.standing(of(kind, 6, body)) is Standing.NEW
    newer = of(kind, 6, body)
    assert put(one, newer)[1] == [new]
    assert held_blobs(one) == {newer.blob}


def test_the_smaller_of_two_rivals_counts():
    one = empty()
    small, great = sorted((record(1, "alice"), record(1, "bob")), key=lambda each: each.blob)
    assert one.yields_to(small)
    put(one, great)
    assert one.yields_to(small)
    put(one, small)
    assert not one.yields_to(great)
    assert held_blobs(one) == {small.blob}


# --- links ---


def test_the_last_whole_set_of_links_is_in_use():
    one = empty()
    first = links(1, edges(130))
    for signed in first[:2]:
        put(one, signed)
        assert one.edges == ()
    put(one, first[2])
    assert one.edges == edges(130)
    second = links(2, edges(100, 500))
    put(one, second[1])
    assert one.edges == edges(130)
    assert one.standing(first[2]) is Standing.SAME
    assert one.standing(first[1]) is Standing.OLDER
    _, old = put(one, second[0])
    assert one.edges == edges(100, 500)
    assert {held.blob for held in old} == {first[0].blob, first[2].blob}
    assert held_blobs(one) == {signed.blob for signed in second}
    assert one.standing(first[2]) is Standing.OLDER


@given(st.permutations(range(5)), st.integers(0, 320), st.integers(0, 320))
def test_parts_come_in_any_order(order, before, after):
    one = empty()
    for seq, count in enumerate((before, after)):
        parts = links(seq, edges(count))
        for number in order:
            if number < len(parts):
                put(one, parts[number])
        assert one.edges == edges(count)
        assert held_blobs(one) == {part.blob for part in parts}


def test_parts_that_tell_different_numbers_are_no_set():
    one = empty()
    put(one, links(1, edges(1))[0])
    put(one, links(2, edges(100))[0])
    put(one, of(objects.LINKS, 2, b"\0\3\0", 1))
    assert one.edges == edges(1)


def test_no_links_are_a_set():
    one = empty()
    put(one, links(1, edges(70))[0])
    put(one, links(1, edges(70))[1])
    put(one, links(2, ())[0])
    assert one.edges == ()
    assert len(held_blobs(one)) == 1


# --- leaving ---


def told() -> Holding:
    one = empty()
    for signed in (record(1), *links(2, edges(65)), routes(3)):
        put(one, signed)
    return one


def test_a_leave_ends_links_and_routes_and_leaves_the_record():
    one = told()
    assert (one.offers, one.edges, one.has_left) == ((OFFER,), edges(65), False)
    leave = of(objects.LEAVE, 4)
    _, ended = put(one, leave)
    assert {held.blob for held in ended} == {
        *(signed.blob for signed in links(2, edges(65))),
        routes(3).blob,
    }
    assert (one.offers, one.edges, one.has_left) == ((), (), True)
    assert one.record == Record("alice", None, 0)
    assert held_blobs(one) == {record(1).blob, leave.blob}


def test_what_was_ended_does_not_come_back_but_newer_does():
    one = told()
    put(one, of(objects.LEAVE, 4))
    assert one.standing(routes(3)) is Standing.SAME
    assert one.standing(routes(2)) is Standing.OLDER
    assert one.standing(links(2, edges(65))[0]) is Standing.SAME
    assert one.standing(routes(4)) is Standing.NEW


def test_a_newer_record_ends_a_leave():
    one = told()
    put(one, of(objects.LEAVE, 4))
    _, old = put(one, record(3), 7.0)
    assert [held.seq for held in old] == [1]
    assert one.has_left
    _, old = put(one, record(5), 9.0)
    assert {held.seq for held in old} == {3, 4}
    assert not one.has_left
    assert one.heard_at == 9.0
    assert held_blobs(one) == {record(5).blob}
    assert one.standing(of(objects.LEAVE, 4)) is Standing.OLDER
    assert one.standing(of(objects.LEAVE, 5)) is Standing.OLDER
    assert one.standing(of(objects.LEAVE, 6)) is Standing.NEW


def test_a_leave_that_comes_late_ends_only_what_was_said_before():
    one = empty()
    for signed in (record(1), *links(6, edges(1)), routes(3)):
        put(one, signed)
    _, ended = put(one, of(objects.LEAVE, 4))
    assert [held.seq for held in ended] == [3]
    assert (one.edges, one.offers) == (edges(1), ())
    other = empty()
    put(other, of(objects.LEAVE, 4))
    assert other.standing(routes(3)) is Standing.OLDER
    assert other.standing(links(3, edges(1))[0]) is Standing.OLDER
    assert other.standing(links(6, edges(1))[0]) is Standing.NEW


def test_a_leave_of_one_who_was_never_heard_is_kept():
    one = empty()
    put(one, of(objects.LEAVE, 1))
    assert one.has_left and one.record is None
    assert len(held_blobs(one)) == 1


@given(st.permutations(range(5)))
def test_the_order_of_arrival_does_not_matter(order):
    """Whatever is refused as older on the way."""
    said = [record(1), *links(2, edges(1)), routes(3), of(objects.LEAVE, 4), record(5)]
    one = empty()
    for number in order:
        if one.standing(said[number]) is Standing.NEW:
            put(one, said[number])
    assert not one.has_left
    assert record(5).blob in held_blobs(one)
    assert record(1).blob not in held_blobs(one)
    assert of(objects.LEAVE, 4).blob not in held_blobs(one)


# --- acceptances ---


def test_each_part_of_acceptances_stands_for_itself():
    one = empty()
    assert not one.accepts
    other = ACCEPT._replace(name="carol")
    put(one, of(objects.ACCEPT, 9, objects.encode_accept(ACCEPT), 0))
    put(one, of(objects.ACCEPT, 3, objects.encode_accept(other), 1))
    assert one.accepts == (ACCEPT, other)
    assert list(one.parts(objects.ACCEPT).values()) == [ACCEPT, other]
    assert one.parts(objects.LEAVE) == {}


# --- bounds ---


def test_one_identity_has_so_many_objects_and_no_more():
    one = empty()
    assert one.has_room(record(1), 4)
    assert one.has_room(of(objects.LINKS, 1, b"\0\x09\0", 3), 4)
    assert not one.has_room(of(objects.LINKS, 1, b"\0\x09\0", 4), 4)
    assert one.has_room(of(objects.ACCEPT, 1, b"", 63), 4)
    assert not one.has_room(of(objects.ACCEPT, 1, b"", 64), 4)
    for number in range(holding.MAX_UNREAD):
        unread = of(UNKNOWN + number % 3, 1, b"", number)
        assert one.has_room(unread, 4)
        put(one, unread)
    assert not one.has_room(of(UNKNOWN, 1, b"", 99), 4)
    assert not one.has_room(of(UNKNOWN + 9, 1), 4)
    assert one.has_room(of(UNKNOWN, 2, b"", 0), 4)


def test_a_kind_changes_once_a_second_with_a_burst_of_five():
    one = empty()
    taken = []
    for seq, now in enumerate([0.0] * 7 + [0.5, 1.0, 1.0, 3.0, 3.0, 3.0]):
        due = one.paced(record(seq), now)
        taken.append(due is not None)
        if due is not None:
            one.put(record(seq), None, due, now)
    assert taken == [True] * 5 + [False] * 3 + [True, False, True, True, False]
    assert one.paced(routes(1), 3.0) is not None


def test_parts_of_one_seq_are_one_change():
    one = empty()
    for seq in range(5):
        for signed in links(seq, edges(640)):
            due = one.paced(signed, 0.0)
            assert due == seq + 1.0
            one.put(signed, holding.read_untrusted(signed), due, 0.0)
    again = links(4, edges(640, 1))[3]
    assert one.paced(again, 0.0) is None
    assert one.paced(links(5, edges(1))[0], 0.0) is None


def test_a_charge_without_an_object_counts_all_the_same():
    one = empty()
    one.charge(objects.RECORD, 5.0)
    assert one.paced(record(1), 0.0) is None
    one.charge(objects.RECORD, None)
    assert one.paced(record(1), 0.0) is None
