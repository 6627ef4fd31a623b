"""First contact: each state against each input, floods, replays, and what is kept of them."""

from collections.abc import Callable, Iterator
from hashlib import blake2s
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine import knock
from netmgr.engine.knock import (
    COOKIE_LIFE,
    KNOCK_LIFE,
    MAX_KNOCKS,
    PER_NODE,
    PER_SOURCE,
    Door,
    Knocker,
    Rate,
    open_untrusted,
    seal,
)
from netmgr.engine.signing import NetworkKeys
from netmgr.errors import Reason, Rejected
from netmgr.wire import frames
from netmgr.wire.frames import Ack, Fin, Knock, Welcome
from wgpy.model import Endpoint, Secret

KEYS = NetworkKeys(Secret(b"k" * 32))
ME, HOST = b"i" * 32, b"h" * 32
RECORD = b"a record" * 30
HERE = Endpoint(bytes([192, 0, 2, 1]), 50001)
THERE = Endpoint(bytes([192, 0, 2, 2]), 50002)


def entropy() -> Callable[[int], bytes]:
    """Return different bytes at each call."""
    numbers: Iterator[int] = count()
    return lambda size: blake2s(next(numbers).to_bytes(8), digest_size=size).digest()


def door(*known: bytes) -> Door:
    return Door(KEYS, entropy(), lambda identity: identity in known)


def knocker() -> Knocker:
    return Knocker(KEYS, ME, entropy())


def refused(call: Callable[..., object], *arguments: object) -> Reason:
    with pytest.raises(Rejected) as caught:
        call(*arguments)
    return caught.value.reason


def body(payload: bytes, kind: int) -> bytes:
    found, inner = open_untrusted(KEYS, payload)
    assert found == kind
    return inner


def source(number: int) -> Endpoint:
    return Endpoint(number.to_bytes(4), 50000)


def asking(number: int = 0, identity: bytes = ME) -> bytes:
    return Knock(number.to_bytes(16), identity).encode()


def fin_for(one: Door, remote: Endpoint, now: float, number: int = 0) -> bytes:
    """Return a Fin with a cookie that a door gave."""
    ack = one.receive_knock_untrusted(asking(number), remote, now)
    cookie = Ack.decode_untrusted(body(ack, frames.ACK)).cookie
    return Fin(Knock(number.to_bytes(16), ME), cookie, RECORD).encode()


# --- frames ---


@given(st.integers(0x80, 0x8F), st.binary(max_size=500))
def test_a_frame_is_opened_by_members(kind, text):
    payload = seal(KEYS, kind, text, entropy())
    assert open_untrusted(KEYS, memoryview(payload)) == (kind, text)


def test_a_frame_of_another_network_is_refused():
    other = NetworkKeys(Secret(b"o" * 32))
    payload = seal(other, frames.KNOCK, b"", entropy())
    assert refused(open_untrusted, KEYS, payload) is Reason.BAD_MAC


@given(st.integers(0), st.integers(1, 255))
def test_a_damaged_frame_is_refused(at, change):
    payload = bytearray(seal(KEYS, frames.KNOCK, asking(), entropy()))
    payload[at % len(payload)] ^= change
    assert refused(open_untrusted, KEYS, payload) in (Reason.BAD_MAC, Reason.MALFORMED)


def test_a_box_that_is_not_of_its_mac_is_refused():
    first, nonce, box = frames.head(frames.KNOCK, 0), bytes(24), bytes(16)
    payload = frames.join(first, nonce, KEYS.mac(first, nonce, box), box)
    assert refused(open_untrusted, KEYS, payload) is Reason.NOT_AUTHENTIC


@given(st.binary(max_size=600))
def test_garbage_is_refused(payload):
    assert refused(open_untrusted, KEYS, payload) in (Reason.BAD_MAC, Reason.MALFORMED)


# --- there and back ---


def test_both_learn_of_each_other_in_four_frames():
    one, other = knocker(), door()
    first = one.knock(THERE, 0.0)
    ack = other.receive_knock_untrusted(body(first, frames.KNOCK), HERE, 0.0)
    answered = one.receive_ack_untrusted(body(ack, frames.ACK), RECORD, 0.0)
    assert (answered.endpoint, answered.observed) == (THERE, HERE)
    fin = other.receive_fin_untrusted(body(answered.fin, frames.FIN), HERE, 0.0)
    assert (fin.knock.identity, fin.record) == (ME, RECORD)
    welcome = other.welcome(fin, b"the record of the other")
    found = one.receive_welcome_untrusted(body(welcome, frames.WELCOME), 0.0)
    assert found == (b"the record of the other", THERE)


def test_an_answer_is_never_larger_than_the_knock():
    ack = door().receive_knock_untrusted(asking(), HERE, 0.0)
    first = knocker().knock(THERE, 0.0)
    assert len(ack) < len(first) == frames.KNOCK_SIZE


@given(st.binary(max_size=600) | st.binary(min_size=452, max_size=452))
def test_any_body_is_refused_or_taken_without_another_error(raw):
    one, other = knocker(), door()
    for call in (
        lambda: other.receive_knock_untrusted(raw, HERE, 0.0),
        lambda: other.receive_fin_untrusted(raw, HERE, 0.0),
        lambda: one.receive_ack_untrusted(raw, RECORD, 0.0),
        lambda: one.receive_welcome_untrusted(raw, 0.0),
    ):
        try:
            call()
        except Rejected as caught:
            expected = (Reason.MALFORMED, Reason.BAD_COOKIE, Reason.UNASKED)
            assert caught.reason in expected


# --- the knocker: each state, each input ---


def unasked(one: Knocker) -> tuple[bytes, float]:
    return bytes(16), 0.0


def asked(one: Knocker) -> tuple[bytes, float]:
    return Knock.decode_untrusted(body(one.knock(THERE, 0.0), frames.KNOCK)).nonce, 1.0


def answered(one: Knocker) -> tuple[bytes, float]:
    nonce, now = asked(one)
    one.receive_ack_untrusted(Ack(nonce, None, bytes(16)).encode(), RECORD, now)
    return nonce, now


def welcomed(one: Knocker) -> tuple[bytes, float]:
    nonce, now = answered(one)
    one.receive_welcome_untrusted(Welcome(nonce, RECORD).encode(), now)
    return nonce, now


def late(one: Knocker) -> tuple[bytes, float]:
    return asked(one)[0], KNOCK_LIFE + 0.1


def answered_late(one: Knocker) -> tuple[bytes, float]:
    return answered(one)[0], KNOCK_LIFE + 0.1


@pytest.mark.parametrize(
    ("state", "takes_ack", "takes_welcome"),
    [
        (unasked, False, False),
        (asked, True, False),
        (answered, False, True),
        (welcomed, False, False),
        (late, False, False),
        (answered_late, False, False),
    ],
)
def test_the_knocker_takes_what_it_waits_for(state, takes_ack, takes_welcome):
    one = knocker()
    nonce, now = state(one)
    ack = Ack(nonce, None, bytes(16)).encode()
    if takes_ack:
        assert one.receive_ack_untrusted(ack, RECORD, now).endpoint == THERE
    else:
        assert refused(one.receive_ack_untrusted, ack, RECORD, now) is Reason.UNASKED
    two = knocker()
    nonce, now = state(two)
    welcome = Welcome(nonce, RECORD).encode()
    if takes_welcome:
        assert two.receive_welcome_untrusted(welcome, now) == (RECORD, THERE)
    else:
        assert refused(two.receive_welcome_untrusted, welcome, now) is Reason.UNASKED


def test_knocks_that_are_waited_for_are_bounded_and_the_oldest_go_first():
    one = knocker()
    nonces = [
        Knock.decode_untrusted(body(one.knock(THERE, 0.0), frames.KNOCK)).nonce
        for _ in range(MAX_KNOCKS + 1)
    ]
    ack = Ack(nonces[0], None, bytes(16)).encode()
    assert refused(one.receive_ack_untrusted, ack, RECORD, 0.0) is Reason.UNASKED
    one.receive_ack_untrusted(Ack(nonces[1], None, bytes(16)).encode(), RECORD, 0.0)


def test_knocks_of_long_ago_make_room():
    one = knocker()
    for now in range(3 * MAX_KNOCKS):
        one.knock(THERE, float(now))
    nonce = Knock.decode_untrusted(body(one.knock(THERE, now + 1.0), frames.KNOCK)).nonce
    one.receive_ack_untrusted(Ack(nonce, None, bytes(16)).encode(), RECORD, now + 1.0)


# --- the door: cookies ---


def test_a_cookie_is_for_one_place_one_knock_and_one_door():
    one, other = door(), Door(KEYS, lambda size: b"?" * size, lambda identity: False)
    fin = Fin.decode_untrusted(fin_for(one, HERE, 0.0))
    moved = HERE._replace(port=1)
    for changed, remote in (
        (fin, THERE),
        (fin, moved),
        (fin._replace(cookie=bytes(16)), HERE),
        (fin._replace(knock=fin.knock._replace(identity=HOST)), HERE),
        (fin._replace(knock=fin.knock._replace(nonce=b"n" * 16)), HERE),
        (fin._replace(knock=fin.knock._replace(newest=9)), HERE),
    ):
        wrong = changed.encode()
        assert refused(one.receive_fin_untrusted, wrong, remote, 0.0) is Reason.BAD_COOKIE
    assert refused(other.receive_fin_untrusted, fin.encode(), HERE, 0.0) is Reason.BAD_COOKIE
    assert one.receive_fin_untrusted(fin.encode(), HERE, 0.0) == fin


def test_a_fin_counts_once():
    one = door()
    fin = fin_for(one, HERE, 0.0)
    one.receive_fin_untrusted(fin, HERE, 0.0)
    assert refused(one.receive_fin_untrusted, fin, HERE, 1.0) is Reason.BAD_COOKIE
    for now in (COOKIE_LIFE, 2 * COOKIE_LIFE, 3 * COOKIE_LIFE + 1, 5 * COOKIE_LIFE):
        assert refused(one.receive_fin_untrusted, fin, HERE, now) is Reason.BAD_COOKIE
    one.receive_fin_untrusted(fin_for(one, HERE, now, 1), HERE, now)


def test_a_cookie_holds_for_its_life():
    one = door()
    fin = fin_for(one, HERE, COOKIE_LIFE - 1)
    one.receive_knock_untrusted(asking(), THERE, COOKIE_LIFE + 1)
    one.receive_fin_untrusted(fin, HERE, 2 * COOKIE_LIFE - 1)


@pytest.mark.parametrize("busy", [True, False])
def test_a_cookie_is_too_old_in_the_end_whether_others_came_or_nobody(busy):
    one = door()
    fin = fin_for(one, HERE, 0.0)
    if busy:
        for now in range(10, int(2 * COOKIE_LIFE), 10):
            one.receive_knock_untrusted(asking(), THERE, float(now))
    late = 2 * COOKIE_LIFE
    assert refused(one.receive_fin_untrusted, fin, HERE, late) is Reason.BAD_COOKIE


# --- the door: floods ---


def knocks_answered(one: Door, remotes: Iterator[Endpoint], now: float, identity=ME) -> int:
    """Return how many of a flood of 1000 knocks are answered."""
    answers = 0
    for number, remote in zip(range(1000), remotes, strict=False):
        try:
            one.receive_knock_untrusted(asking(number, identity), remote, now)
        except Rejected as caught:
            assert caught.reason is Reason.RATE_LIMITED
        else:
            answers += 1
    return answers


def everywhere() -> Iterator[Endpoint]:
    return map(source, count(1))


def ports() -> Iterator[Endpoint]:
    return (HERE._replace(port=1 + number % 65535) for number in count())


def site() -> Iterator[Endpoint]:
    return (Endpoint(bytes(8) + number.to_bytes(8), 1) for number in count(1))


@pytest.mark.parametrize("places", [ports, site])
def test_one_host_gets_a_few_answers_a_second(places):
    one = door()
    assert knocks_answered(one, places(), 0.0) == 2 * PER_SOURCE
    assert knocks_answered(one, places(), 1.0) == PER_SOURCE


def test_half_of_all_answers_are_for_who_was_here_before():
    one = door(HOST)
    assert knocks_answered(one, everywhere(), 0.0) == PER_NODE // 2
    assert knocks_answered(one, map(source, count(5000)), 0.0, HOST) == PER_NODE // 2


def test_a_flood_of_knocks_leaves_room_for_fins():
    one = door(HOST)
    fin = fin_for(one, HERE, 0.0)
    knocks_answered(one, everywhere(), 0.0)
    knocks_answered(one, everywhere(), 0.0, HOST)
    one.receive_fin_untrusted(fin, HERE, 0.0)


def test_a_flood_of_fins_without_a_cookie_costs_others_nothing():
    one = door()
    fin = fin_for(one, HERE, 0.0)
    wrong = Fin(Knock(bytes(16), ME), bytes(16), RECORD).encode()
    for _ in range(1000):
        assert refused(one.receive_fin_untrusted, wrong, HERE, 0.0) is Reason.BAD_COOKIE
    one.receive_fin_untrusted(fin, HERE, 0.0)


def test_a_fin_that_came_too_fast_may_come_again():
    one = door()
    fins = [fin_for(one, HERE, 0.0, number) for number in range(2 * PER_SOURCE)]
    assert refused(one.receive_fin_untrusted, fins[0], HERE, 0.0) is Reason.RATE_LIMITED
    one.receive_fin_untrusted(fins[0], HERE, 1.0)


def test_what_a_door_remembers_of_sources_and_cookies_is_bounded(monkeypatch):
    monkeypatch.setattr(knock, "_MAX_USED", 4)
    one = door(ME)
    for number in range(3000):
        now = number / 10
        remote = source(1 + number)
        one.receive_fin_untrusted(fin_for(one, remote, now, number), remote, now)
    assert len(one._sources) <= 1024 and len(one._used) <= 5  # noqa: SLF001


# --- rates ---


def test_a_rate_lets_through_a_burst_and_then_so_many_a_second():
    rate = Rate(2, 4)
    assert [rate.allow(10.0) for _ in range(5)] == [True] * 4 + [False]
    assert [rate.allow(11.0) for _ in range(3)] == [True, True, False]
    assert sum(rate.allow(100.0) for _ in range(9)) == 4


def test_a_rate_keeps_what_is_to_be_spared():
    rate = Rate(1, 4)
    assert sum(rate.allow(0.0, 2) for _ in range(9)) == 2
    assert sum(rate.allow(0.0) for _ in range(9)) == 2
