"""The objects of a network: kept, passed on, compared, let go; what nobody can make grow."""

import gc
import tracemalloc
from hashlib import blake2s

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine import flood
from netmgr.engine.flood import Expired, Objects, OwnEcho
from netmgr.engine.signing import Identity, short_id, verify_untrusted
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, Kind
from netmgr.wire import objects
from netmgr.wire.objects import Accept, Edge, Offer, Record
from wgpy.model import Endpoint, Prefix, Secret

NET = b"network!"
ME = b"m" * 32
NEIGHBOUR = b"neighbou"
OTHER = b"another!"
HOUR, DAY = 3600.0, 86400.0
OFFER = Offer(Prefix(bytes([10, 0, 0, 0]), 8), 1)


class Verifier:
    """Takes hashes for signatures, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, identity: bytes, message: bytes, signature: bytes) -> None:
        self.calls += 1
        if sign(identity, message) != signature:
            raise Rejected(Reason.BAD_SIGNATURE)


def sign(identity: bytes, message: bytes) -> bytes:
    return blake2s(message, key=identity).digest() * 2


def who(number: int) -> bytes:
    return blake2s(number.to_bytes(4)).digest()


def said(kind: int, identity: bytes, seq: int, body: bytes = b"", part: int = 0) -> bytes:
    return objects.encode(
        kind, part, identity, seq, body, NET, lambda message: sign(identity, message)
    )


def record(identity: bytes, seq: int = 1, name: str = "alice") -> bytes:
    return said(objects.RECORD, identity, seq, objects.encode_record(Record(name, None, 0)))


def links(identity: bytes, seq: int, *edges: Edge) -> bytes:
    (body,) = objects.encode_links(edges)
    return said(objects.LINKS, identity, seq, body)


def routes(identity: bytes, seq: int, *offers: Offer) -> bytes:
    return said(objects.ROUTES, identity, seq, objects.encode_routes(offers))


def leave(identity: bytes, seq: int) -> bytes:
    return said(objects.LEAVE, identity, seq)


def made(verify: flood.Verify | None = None) -> Objects:
    return Objects(NET, verify or Verifier(), ME)


def refused(
    held: Objects, blob: bytes, now: float = 0.0, by: bytes | None = NEIGHBOUR
) -> Reason:
    with pytest.raises(Rejected) as caught:
        held.receive_untrusted(blob, by, now)
    return caught.value.reason


# --- what comes in ---


def test_what_is_new_is_returned_kept_and_passed_on():
    held = made()
    blob = record(who(1))
    assert held.receive_untrusted(blob, NEIGHBOUR, 0.0) == objects.split_untrusted(blob)
    assert held.record(who(1)) == Record("alice", None, 0)
    assert held.take_floods() == [(blob, {NEIGHBOUR})]
    assert held.take_floods() == []
    assert list(held.blobs()) == [blob]
    assert len(held) == 1 and held.identities() == (who(1),)
    assert held.identity_of(short_id(who(1))) == who(1)


def test_what_is_known_is_neither_verified_nor_passed_on_again():
    verifier = Verifier()
    held = made(verifier)
    for sender in (NEIGHBOUR, OTHER, None):
        held.receive_untrusted(record(who(1)), sender, 0.0)
    assert verifier.calls == 1
    assert held.take_floods() == [(record(who(1)), {NEIGHBOUR})]


def test_who_repeats_what_waits_to_be_passed_on_need_not_be_told():
    held = made()
    blob = record(who(1))
    assert not held.repeats(blob, OTHER)
    held.receive_untrusted(blob, NEIGHBOUR, 0.0)
    assert held.repeats(blob, OTHER)
    assert held.repeats(blob, None)
    assert not held.repeats(record(who(1), 2), OTHER)
    assert held.take_floods() == [(blob, {NEIGHBOUR, OTHER})]
    assert held.repeats(blob, OTHER)
    assert held.take_floods() == []


def test_what_is_older_is_refused_as_stale_unverified():
    verifier = Verifier()
    held = made(verifier)
    held.receive_untrusted(record(who(1), 5), NEIGHBOUR, 0.0)
    assert refused(held, record(who(1), 4)) is Reason.STALE
    assert verifier.calls == 1


@pytest.mark.parametrize("at", [0, 1, 3, 5, 40, 45, 50, -1])
def test_damage_is_refused_and_leaves_no_trace(at):
    held = made()
    held.receive_untrusted(record(who(1)), NEIGHBOUR, 0.0)
    before = held.digest(), held.identities()
    held.take_floods()
    blob = bytearray(record(who(1), 2))
    blob[at] ^= 0x40
    assert refused(held, bytes(blob)) in (Reason.MALFORMED, Reason.BAD_SIGNATURE)
    assert (held.digest(), held.identities()) == before
    assert held.take_floods() == []


def test_a_body_that_cannot_be_read_is_refused_before_it_is_verified():
    verifier = Verifier()
    held = made(verifier)
    assert refused(held, said(objects.RECORD, who(1), 1, b"\0")) is Reason.MALFORMED
    assert verifier.calls == 0


@given(st.binary(max_size=300))
def test_garbage_is_refused(blob):
    assert refused(made(), blob) is Reason.MALFORMED


def test_what_another_network_signed_is_refused():
    held = Objects(b"another!", Verifier(), ME)
    assert refused(held, record(who(1))) is Reason.BAD_SIGNATURE


def test_real_keys_and_signatures_fit():
    alice = Identity(Secret(b"a" * 32))
    held = Objects(NET, verify_untrusted, ME)
    body = objects.encode_record(Record("alice", None, 0))
    blob = objects.encode(objects.RECORD, 0, alice.public, 1, body, NET, alice.sign)
    assert held.receive_untrusted(blob, NEIGHBOUR, 0.0)
    assert refused(held, blob[:40] + b"\1" + blob[41:]) is Reason.BAD_SIGNATURE
    assert held.identity_of(alice.short) == alice.public


def test_of_what_is_replaced_before_it_was_passed_on_the_newest_goes_out():
    held = made()
    held.receive_untrusted(record(who(1), 1), NEIGHBOUR, 0.0)
    held.receive_untrusted(record(who(1), 2), OTHER, 0.0)
    assert held.take_floods() == [(record(who(1), 2), {OTHER})]


def test_kinds_of_later_versions_are_kept_and_passed_on():
    held = made()
    blob = said(99, who(1), 1, b"whatever", 7)
    assert held.receive_untrusted(blob, NEIGHBOUR, 0.0)
    assert held.take_floods() == [(blob, {NEIGHBOUR})]
    assert held.in_buckets(range(64)) == [blob]
    assert held.record(who(1)) is None


@pytest.mark.parametrize("small_first", [True, False])
def test_of_two_with_equal_seq_the_smaller_is_kept_and_it_is_told(small_first):
    small, great = sorted([record(who(1), 1, "alice"), record(who(1), 1, "mallory")])
    held = made()
    held.receive_untrusted(small if small_first else great, NEIGHBOUR, 0.0)
    assert held.take_conflicts() == []
    returned = held.receive_untrusted(great if small_first else small, OTHER, 0.0)
    assert (returned is None) is small_first
    assert list(held.blobs()) == [small]
    assert held.take_conflicts() == [who(1)]
    assert held.take_conflicts() == []
    alone = made()
    alone.receive_untrusted(small, NEIGHBOUR, 0.0)
    assert held.digest() == alone.digest()


def test_rivals_are_not_verified_for_ever():
    verifier = Verifier()
    held = made(verifier)
    blobs = sorted(record(who(1), 1, f"n{number}") for number in range(20))
    held.receive_untrusted(blobs[0], NEIGHBOUR, 0.0)
    answers = []
    for blob in blobs[1:]:
        try:
            answers.append(held.receive_untrusted(blob, NEIGHBOUR, 0.0))
        except Rejected as fault:
            assert fault.reason is Reason.TOO_FAST
    assert len(answers) == 4 and verifier.calls == 5


# --- one's own ---


def test_the_own_objects_are_kept_and_passed_on_to_all():
    held = made()
    for seq in range(1, 20):
        assert held.receive_untrusted(record(ME, seq), None, 0.0)
    assert held.take_floods() == [(record(ME, 19), set())]
    assert held.newest(ME, objects.RECORD) == 19
    assert held.newest(ME, objects.ROUTES) == -1
    assert held.newest(who(1), objects.RECORD) == -1


def test_an_own_object_that_is_ahead_tells_how_far():
    held = made()
    held.receive_untrusted(record(ME, 7), None, 0.0)
    assert held.receive_untrusted(record(ME, 7), NEIGHBOUR, 0.0) is None
    assert refused(held, record(ME, 6)) is Reason.STALE
    held.take_floods()
    echo = held.receive_untrusted(record(ME, 900), NEIGHBOUR, 0.0)
    assert echo == OwnEcho(objects.RECORD, 900)
    assert held.receive_untrusted(leave(ME, 8), OTHER, 0.0) == OwnEcho(objects.LEAVE, 8)
    rival = record(ME, 7, "clone")
    assert held.receive_untrusted(rival, OTHER, 0.0) == OwnEcho(objects.RECORD, 7)
    assert list(held.blobs()) == [record(ME, 7)]
    assert held.take_floods() == []


def test_an_own_object_that_is_forged_tells_nothing():
    held = made()
    forged = record(ME, 900)[:-64] + bytes(64)
    assert refused(held, forged) is Reason.BAD_SIGNATURE


# --- what it says ---


def test_what_is_not_known_has_nothing_to_say():
    held = made()
    assert held.record(ME) is None
    assert (held.links(ME), held.offers(ME), held.accepts(ME)) == ((), (), ())
    assert held.identity_of(NEIGHBOUR) is None
    assert not held.has_left(ME)


def test_acceptances_are_found_by_who_gave_them():
    held = made()
    accept = Accept("bob", bytes(4), who(2))
    body = objects.encode_accept(accept)
    held.receive_untrusted(said(objects.ACCEPT, who(1), 1, body, 3), NEIGHBOUR, 0.0)
    assert held.accepts(who(1)) == (accept,)
    assert list(held.accept_parts(who(1)).values()) == [accept]
    assert held.accept_parts(who(2)) == {}


def test_who_left_is_linked_to_nobody_until_it_is_back():
    held = made()
    edge = Edge(OTHER, 1000)
    for blob in (record(who(1), 1), links(who(1), 2, edge), routes(who(1), 3, OFFER)):
        held.receive_untrusted(blob, NEIGHBOUR, 0.0)
    assert (held.links(who(1)), held.offers(who(1))) == ((edge,), (OFFER,))
    held.receive_untrusted(leave(who(1), 4), NEIGHBOUR, 1.0)
    assert held.has_left(who(1)) and held.record(who(1)) is not None
    assert (held.links(who(1)), held.offers(who(1))) == ((), ())
    assert len(list(held.blobs())) == 2
    assert held.receive_untrusted(links(who(1), 2, edge), OTHER, 1.0) is None
    held.receive_untrusted(links(who(1), 6, edge), OTHER, 1.0)
    assert held.links(who(1)) == ()
    held.receive_untrusted(record(who(1), 5), OTHER, 1.0)
    assert not held.has_left(who(1)) and held.links(who(1)) == (edge,)


# --- bounds ---


def test_an_identity_that_changes_too_fast_is_heard_later():
    held = made()
    for seq in range(1, 6):
        held.receive_untrusted(record(who(1), seq), NEIGHBOUR, 0.0)
    assert refused(held, record(who(1), 6)) is Reason.TOO_FAST
    assert held.newest(who(1), objects.RECORD) == 5
    assert held.receive_untrusted(routes(who(1), 7), NEIGHBOUR, 0.0)
    assert held.receive_untrusted(record(who(1), 6), OTHER, 1.0), "as a digest brings it"


def test_a_forger_does_not_use_up_what_another_may_say():
    held = made()
    for seq in range(1, 50):
        assert refused(held, record(who(1), seq)[:-64] + bytes(64)) is Reason.BAD_SIGNATURE
    assert held.receive_untrusted(record(who(1), 50), NEIGHBOUR, 0.0)


def filled(held: Objects, count: int, sender: bytes | None = NEIGHBOUR) -> None:
    for number in range(count):
        held.receive_untrusted(record(who(number)), sender, 0.0)


def test_strangers_are_so_many_and_no_more():
    held = made()
    filled(held, flood.MIN_STRANGERS)
    assert refused(held, record(who(-1 % 2**32)), 10.0, OTHER) is Reason.TOO_MANY
    assert len(held) == flood.MIN_STRANGERS
    friend = who(99999)
    held.keep(friend)
    assert held.receive_untrusted(record(friend), OTHER, 10.0)
    held.release(friend)
    held.release(ME)
    assert held.receive_untrusted(record(ME), None, 10.0), "one is no stranger to oneself"


def test_who_is_vouched_for_later_makes_room_for_a_stranger():
    held = made()
    filled(held, flood.MIN_STRANGERS)
    held.keep(who(0))
    assert held.receive_untrusted(record(who(5000)), OTHER, 0.0)
    assert refused(held, record(who(5001)), 0.0, OTHER) is Reason.TOO_MANY


def test_a_stranger_that_went_away_gives_way():
    held = made()
    filled(held, flood.MIN_STRANGERS - 1)
    newest = who(77777)
    held.receive_untrusted(record(newest), NEIGHBOUR, HOUR)
    in_use = set(held.identities()) - {who(5), who(6)}
    assert held.expire(HOUR, in_use) == Expired((who(5), who(6)), ())
    assert held.receive_untrusted(record(who(88888)), OTHER, HOUR)
    assert len(held) == flood.MIN_STRANGERS
    assert held.record(who(5)) is None and held.record(who(6)) is not None


def test_the_more_are_vouched_for_the_more_strangers_there_may_be():
    held = made()
    for number in range(2000):
        held.keep(who(number))
    filled(held, flood.MIN_STRANGERS + 2000)
    assert held.receive_untrusted(record(who(9999)), OTHER, 0.0)


def test_one_neighbour_brings_so_many_new_ones_and_then_20_a_minute():
    held = made()
    for number in range(2000):
        held.keep(who(100000 + number))
    filled(held, flood.NEWCOMER_BURST)
    assert refused(held, record(who(5000))) is Reason.TOO_FAST
    assert held.receive_untrusted(record(who(5000)), OTHER, 0.0)
    assert held.receive_untrusted(record(who(5001)), None, 0.0), "what was saved"
    taken = 0
    for second in range(1, 61):
        try:
            held.receive_untrusted(record(who(6000 + second)), NEIGHBOUR, float(second))
            taken += 1
        except Rejected as fault:
            assert fault.reason is Reason.TOO_FAST
    assert taken == 20
    held.expire(DAY, held.identities())
    for number in range(100):
        held.receive_untrusted(record(who(7000 + number)), NEIGHBOUR, DAY)


def test_new_ones_that_are_forged_count_as_well():
    asked = []

    def never(identity: bytes, _message: bytes, _signature: bytes) -> None:
        asked.append(identity)
        raise Rejected(Reason.BAD_SIGNATURE)

    held = made(never)
    for number in range(flood.NEWCOMER_BURST):
        assert refused(held, record(who(number))) is Reason.BAD_SIGNATURE
    assert refused(held, record(who(5000))) is Reason.TOO_FAST
    assert len(asked) == flood.NEWCOMER_BURST, "the dear part is spared"
    assert refused(held, record(who(5000)), by=OTHER) is Reason.BAD_SIGNATURE


def test_what_one_identity_says_is_bounded():
    held = made()
    body = bytes(1090)
    for part in range(32):
        held.receive_untrusted(said(99, who(1), 1, body, part), None, 0.0)
    assert refused(held, said(99, who(1), 1, body, 32), by=None) is Reason.TOO_MANY
    edges = b"\xff\xff" + objects.encode_links([Edge(OTHER, 1)] * 64)[0][2:]
    held.receive_untrusted(said(objects.LINKS, who(1), 1, edges, 63), None, 0.0)
    far = said(objects.LINKS, who(1), 1, edges, 64)
    assert refused(held, far, by=None) is Reason.TOO_MANY


@pytest.mark.slow
def test_all_that_strangers_say_is_bounded():
    held = made(lambda *_: None)
    limit = flood.MIN_STRANGERS * flood.BYTES_PER_IDENTITY
    size, body = 0, bytes(1090)
    with pytest.raises(Rejected) as caught:
        for number in range(1000):
            for part in range(32):
                blob = objects.encode(99, part, who(number), 1, body, NET, lambda _: bytes(64))
                held.receive_untrusted(blob, None, 0.0)
                size += len(blob)
    assert caught.value.reason is Reason.TOO_MANY
    assert limit - objects.MAX_BLOB < size <= limit
    assert held.receive_untrusted(record(ME), None, 0.0)


# --- what becomes old ---


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("age", [0.0, HOUR - 1, HOUR, 7 * DAY - 1, 7 * DAY])
def test_who_is_silent_is_held_for_its_address_and_then_let_go(age, kept, used):
    held = made()
    held.receive_untrusted(record(who(1)), NEIGHBOUR, 0.0)
    held.receive_untrusted(record(ME), None, 0.0)
    if kept:
        held.keep(who(1))
    went = held.expire(age, {who(1)} if used else set())
    silent = not used and age >= HOUR
    dropped = silent and age >= 7 * DAY and not kept
    assert went.dropped == ((who(1),) if dropped else ())
    assert went.unreachable == ((who(1),) if silent and not dropped else ())
    assert (held.record(who(1)) is None) is dropped
    assert held.expire(age, ()).unreachable == (
        (who(1),) if used and age >= HOUR and (kept or age < 7 * DAY) else ()
    )
    assert held.record(ME) is not None


def test_a_refresh_makes_young_and_links_do_not():
    held = made()
    held.receive_untrusted(record(who(1), 1), NEIGHBOUR, 0.0)
    held.receive_untrusted(links(who(1), 1), NEIGHBOUR, HOUR - 1)
    assert held.expire(HOUR, ()).unreachable == (who(1),)
    held.receive_untrusted(record(who(1), 2), NEIGHBOUR, HOUR)
    assert held.expire(2 * HOUR - 1, ()) == Expired((), ())
    assert held.expire(2 * HOUR, ()).unreachable == (who(1),)


def test_who_was_let_go_comes_back_by_its_own_word_only():
    held = made()
    empty = held.digest()
    for blob in (record(who(1), 4), links(who(1), 5), routes(who(1), 6, OFFER)):
        held.receive_untrusted(blob, NEIGHBOUR, 0.0)
    assert held.expire(7 * DAY, ()).dropped == (who(1),)
    assert held.digest() == empty and list(held.blobs()) == []
    assert held.identity_of(short_id(who(1))) is None
    for blob in (record(who(1), 4), links(who(1), 5), record(who(1), 3), leave(who(1), 9)):
        assert held.receive_untrusted(blob, OTHER, 7 * DAY) is None
    assert held.receive_untrusted(record(who(1), 7), OTHER, 7 * DAY)
    assert held.receive_untrusted(links(who(1), 5), OTHER, 7 * DAY)


def test_those_let_go_are_forgotten_in_the_end_or_when_vouched_for():
    held = made()
    for number in (1, 2):
        held.receive_untrusted(record(who(number)), NEIGHBOUR, 0.0)
    held.expire(7 * DAY, ())
    held.keep(who(1))
    assert held.receive_untrusted(record(who(1)), NEIGHBOUR, 7 * DAY)
    held.expire(14 * DAY - 1, ())
    assert held.receive_untrusted(record(who(2)), NEIGHBOUR, 14 * DAY - 1) is None
    held.expire(14 * DAY, ())
    assert held.receive_untrusted(record(who(2)), NEIGHBOUR, 14 * DAY)


def test_the_memory_of_those_let_go_is_bounded():
    held = made()
    for round_ in range(2):
        for number in range(3000):
            held.receive_untrusted(
                record(who(round_ * 3000 + number)), None, round_ * 8 * DAY / 2
            )
        held.expire(7 * DAY + round_ * 4 * DAY, ())
    assert len(held) == 0
    assert held.receive_untrusted(record(who(0)), None, 11 * DAY)
    assert held.receive_untrusted(record(who(5999)), None, 11 * DAY) is None


# --- where two differ ---


def test_sums_are_exclusive_or_of_marks_by_bucket():
    held = made()
    blobs = [record(who(number)) for number in range(100)]
    expected = [0] * 64
    for number, blob in enumerate(blobs):
        held.receive_untrusted(blob, NEIGHBOUR, 0.0)
        expected[short_id(who(number))[0] % 64] ^= objects.mark(blob)
    assert held.digest() == tuple(map(objects.sum_bytes, expected))
    total = 0
    for one in expected:
        total ^= one
    assert held.total_digest() == objects.sum_bytes(total)


@given(st.permutations(range(12)))
def test_equal_objects_give_equal_sums_in_whatever_order_they_came(order):
    blobs = [record(who(number), seq) for number in range(4) for seq in (1, 2, 3)]
    one, other = made(), made()
    for held, numbers in ((one, range(12)), (other, order)):
        for number in numbers:
            try:
                held.receive_untrusted(blobs[number], NEIGHBOUR, 0.0)
            except Rejected as fault:
                assert fault.reason is Reason.STALE
    assert one.digest() == other.digest()
    assert one.differing(other.digest()) == []
    assert one.total_digest() == other.total_digest()


def test_a_digest_of_another_length_is_compared_as_far_as_it_goes():
    held = made()
    assert held.differing(()) == []
    assert held.differing((b"\1" * 8,)) == [0]
    assert held.differing((bytes(8),) * 99) == []


def exchange(one: Objects, other: Objects, now: float) -> int:
    """Let each give the other what it lacks; return how many objects went over."""
    told = 0
    for giver, taker in ((one, other), (other, one)):
        for blob in giver.in_buckets(giver.differing(taker.digest())):
            told += 1
            try:
                taker.receive_untrusted(blob, NEIGHBOUR, now)
            except Rejected as fault:
                assert fault.reason in (Reason.STALE, Reason.TOO_FAST)
    return told


def test_two_that_differ_become_equal():
    one, other = made(), made()
    for number in range(1000):
        (one, other)[number % 2].receive_untrusted(record(who(number)), NEIGHBOUR, 0.0)
    rounds = 0
    while one.digest() != other.digest():
        assert exchange(one, other, 0.0) <= 2 * flood.BLOBS_PER_CALL
        rounds += 1
    assert rounds <= 8
    assert exchange(one, other, 0.0) == 0


def test_what_came_too_fast_is_brought_by_a_later_exchange():
    one, other = made(), made()
    one.receive_untrusted(record(who(1), 9), NEIGHBOUR, 0.0)
    for seq in range(1, 6):
        other.receive_untrusted(record(who(1), seq), NEIGHBOUR, 0.0)
    exchange(one, other, 0.5)
    assert one.digest() != other.digest()
    exchange(one, other, 1.0)
    assert one.digest() == other.digest()


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[bytes, set[int]]]:
    """Return what two nodes say, each with one count of seq, and which of three nodes hear."""
    said_by_all: list[tuple[bytes, set[int]]] = []
    hearers = st.sets(st.integers(0, 2))
    for number in (1, 2):
        seq = 0
        for event in draw(st.lists(st.sampled_from(["start", "links", "leave"]), max_size=6)):
            seq += 3
            edges = [Edge(OTHER, draw(st.integers(0, 3)))] * draw(st.sampled_from([0, 1, 1]))
            blobs = [links(who(number), seq + 1, *edges)]
            if event == "start":
                blobs += [record(who(number), seq), routes(who(number), seq + 2, OFFER)]
            if event == "leave":
                blobs = [leave(who(number), seq)]
            said_by_all += [(blob, draw(hearers)) for blob in blobs]
        final = [record(who(number), seq + 3), links(who(number), seq + 4)]
        final += [routes(who(number), seq + 5)]
        said_by_all += [(blob, draw(hearers)) for blob in final]
        if draw(st.booleans()):
            said_by_all.append((leave(who(number), seq + 6), draw(hearers)))
    return said_by_all


@given(histories(), st.randoms(use_true_random=False))
def test_whoever_heard_what_all_become_equal(history, random):
    """What nobody heard is lost; the rest is levelled out by exchanges alone."""
    nodes = made(), made(), made()
    random.shuffle(history)
    for blob, hearers in history:
        for hearer in hearers or {0}:
            try:
                nodes[hearer].receive_untrusted(blob, None, 0.0)
            except Rejected as fault:
                assert fault.reason is Reason.STALE
    for second in range(1, 8):
        for one, other in ((0, 1), (1, 2), (2, 0)):
            exchange(nodes[one], nodes[other], float(second))
    digests = {node.digest() for node in nodes}
    assert len(digests) == 1
    for number in (1, 2):
        assert len({(n.links(who(number)), n.offers(who(number))) for n in nodes}) == 1


def test_who_goes_on_asking_hears_everything():
    held = made()
    filled(held, 1000)
    heard: set[bytes] = set()
    for _ in range(4):
        some = held.in_buckets(range(64))
        assert len(some) == flood.BLOBS_PER_CALL
        heard.update(some)
    assert heard == set(held.blobs())
    assert held.in_buckets([]) == []


# --- size ---


def test_what_is_held_takes_at_most_four_kib_a_node():
    """Signed objects, readings and all: 8 links and 3 candidates each."""
    places = tuple(Candidate(Endpoint(bytes([10, 0, 0, n]), 5), Kind.LOCAL) for n in range(3))
    held, blobs = made(), []
    for number in range(500):
        name = f"node-{number}"
        body = objects.encode_record(Record(name, number.to_bytes(4), 1, (1, 1), places))
        edges = [Edge(short_id(who(number + n)), 1000 + n) for n in range(8)]
        blobs.append(said(objects.RECORD, who(number), 1, body))
        blobs.append(links(who(number), 2, *edges))
        blobs.append(routes(who(number), 3, OFFER))
    tracemalloc.start()
    try:
        for blob in blobs:
            held.receive_untrusted(bytes(bytearray(blob)), None, 0.0)
        held.take_floods()
        gc.collect()  # the interpreter keeps tuples for later until then
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size <= 500 * 4096, size


def test_what_is_withheld_is_kept_and_told_to_who_compares():
    held = made()
    signed = held.receive_untrusted(record(who(1)), NEIGHBOUR, 0.0)
    assert isinstance(signed, objects.Signed)
    held.withhold(signed)
    held.withhold(signed)
    assert held.take_floods() == []
    assert held.in_buckets(range(64)) == [record(who(1))]


def test_who_is_let_go_is_told_of_once():
    held = made()
    held.receive_untrusted(record(who(1)), NEIGHBOUR, 0.0)
    held.expire(7 * DAY, ())
    assert held.take_dropped() == [who(1)]
    assert held.take_dropped() == []
    held.receive_untrusted(record(who(2)), NEIGHBOUR, 7 * DAY)
    held.expire(14 * DAY, ())
    held.receive_untrusted(record(who(2), 2), NEIGHBOUR, 14 * DAY)
    assert held.take_dropped() == []
