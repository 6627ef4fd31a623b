from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.engine.constants import REJECT_AFTER_MESSAGES
from wgpy.engine.session import PAPER_LIMITS, Limits, Session, Slots, padding
from wgpy.errors import Drop
from wgpy.model import Buffer
from wgpy.wire.messages import data_fields_untrusted

ONE, OTHER = bytes([1]) * 32, bytes([2]) * 32


def make(now: float = 0.0, limits: Limits = PAPER_LIMITS, *, initiator: bool = True) -> Session:
    keys = (ONE, OTHER, 77) if initiator else (OTHER, ONE, 66)
    return Session(keys, 66 if initiator else 77, now, limits, initiator=initiator)


def numbered(messages: list[Buffer]) -> list[tuple[int, Buffer]]:
    return [(data_fields_untrusted(message)[2], message) for message in messages]


def opened(session: Session, messages, now: float = 1.0):
    drops: Counter[Drop] = Counter()
    return session.open_untrusted(numbered(messages), now, drops), drops


# --- sealing and opening ---------------------------------------------------------------------


def test_what_one_seals_the_other_opens_padded():
    alice, bob = make(), make(initiator=False)
    packets = [b"", b"a", bytes(16), bytes(17), bytes(1420)]
    plain, drops = opened(bob, alice.seal(packets, 1420))
    assert [len(p) for p in plain] == [0, 16, 16, 32, 1420]
    assert [p.startswith(q) for p, q in zip(plain, packets, strict=True)] == [True] * 5
    assert drops == {}
    assert [c for c, _ in numbered(bob.seal([b"x", b"y"], 0))] == [0, 1]
    assert alice.sent == 5


@pytest.mark.parametrize(
    ("size", "padded"), [(1420, 1420), (1421, 1436), (1436, 1436), (1984, 1996), (2840, 2840)]
)
def test_what_is_larger_than_the_mtu_is_padded_in_its_last_part(size, padded):
    alice, bob = make(), make(initiator=False)
    ((plain,), _) = opened(bob, alice.seal([bytes([1]) * size], 1420))
    assert len(plain) == padded == size + padding(size, 1420)


def test_the_header_names_the_receiver_and_the_counter():
    assert data_fields_untrusted(make().seal([b""], 0)[0]) == (4, 77, 0)


def test_a_flipped_bit_anywhere_is_found_and_harms_nothing():
    alice, bob = make(), make(initiator=False)
    (message,) = alice.seal([b"packet"], 1420)
    for at in range(8, len(message)):
        bad = bytearray(message)
        bad[at] ^= 1 << at % 8
        assert opened(bob, [bad]) == ([], {Drop.NOT_AUTHENTIC: 1})
    assert opened(bob, [message])[0] == [b"packet".ljust(16, b"\0")]


def test_a_replay_is_found_even_in_one_batch():
    alice, bob = make(), make(initiator=False)
    (message,) = alice.seal([b""], 0)
    assert opened(bob, [message, message]) == ([b""], {Drop.REPLAYED: 1})
    assert opened(bob, [message]) == ([], {Drop.REPLAYED: 1})


@pytest.mark.parametrize(("age", "accepted"), [(179.9, 1), (180.0, 0), (1e6, 0)])
def test_an_old_session_opens_nothing(age, accepted):
    (message,) = make().seal([b""], 0)
    plain, drops = opened(make(initiator=False), [message], age)
    assert len(plain) == accepted
    assert drops == ({} if accepted else {Drop.KEY_EXPIRED: 1})


@pytest.mark.parametrize(
    ("size", "mtu", "zeros"),
    [
        (0, 1420, 0),
        (1, 1420, 15),
        (16, 1420, 0),
        (1409, 1420, 11),
        (1420, 1420, 0),
        (1421, 1420, 15),
        (2840, 1420, 0),
        (1297, 1299, 2),
        (17, 0, 15),
        (32, 0, 0),
        (5, 3, 1),
    ],
)
def test_padding(size, mtu, zeros):
    assert padding(size, mtu) == zeros


@given(size=st.integers(0, 70000), mtu=st.integers(0, 70000))
def test_padding_is_less_than_sixteen_and_within_the_mtu(size, mtu):
    zeros = padding(size, mtu)
    assert 0 <= zeros < 16
    if size <= mtu:
        assert size + zeros <= mtu


# --- when it may send, when it is renewed ----------------------------------------------------


@pytest.mark.parametrize(("now", "may"), [(0.0, True), (179.9, True), (180.0, False)])
def test_a_session_sends_for_three_minutes(now, may):
    session = make()
    assert session.can_send(1, now) is may
    assert session.can_send(1, 0.0) is may, "what expired never sends again"


@pytest.mark.parametrize(("count", "may"), [(1, True), (2, True), (3, False)])
def test_a_session_sends_so_many_messages(count, may):
    session = make()
    session.sent = REJECT_AFTER_MESSAGES - 2
    assert session.can_send(count, 0.0) is may


def test_the_last_counters_work():
    alice, bob = make(), make(initiator=False)
    alice.sent = REJECT_AFTER_MESSAGES - 1
    messages = alice.seal([b"", b""], 0)
    assert opened(bob, messages) == ([b""], {Drop.REPLAYED: 1})


@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize(
    ("now", "sent", "initiators", "responders"),
    [
        (0.0, 0, False, False),
        (119.9, 0, False, False),
        (120.0, 0, True, False),
        (0.0, 2**60, False, False),
        (0.0, 2**60 + 1, True, True),
    ],
)
def test_sending_renews(initiator, now, sent, initiators, responders):
    session = make(initiator=initiator)
    session.sent = sent
    assert session.is_stale(now) is (initiators if initiator else responders)
    session.may_send = False
    assert not session.is_stale(now)


@pytest.mark.parametrize(
    ("now", "initiator", "may_send", "asks"),
    [
        (164.9, True, True, False),
        (165.0, True, True, True),
        (165.0, False, True, False),
        (165.0, True, False, False),
    ],
)
def test_receiving_renews_once(now, initiator, may_send, asks):
    session = make(initiator=initiator)
    session.may_send = may_send
    assert session.asks_renewal(now) is asks
    assert not session.asks_renewal(now)


# --- the slots -------------------------------------------------------------------------------


def slots(previous=None, current=None, upcoming=None) -> Slots:
    made = Slots()
    made.previous, made.current, made.next = previous, current, upcoming
    return made


def held(made: Slots):
    return made.previous, made.current, made.next


P, C, N = make(), make(), make(initiator=False)
NEW_INITIATOR, NEW_RESPONDER = make(), make(initiator=False)


@pytest.mark.parametrize("previous", [None, P])
@pytest.mark.parametrize("current", [None, C])
@pytest.mark.parametrize("upcoming", [None, N])
def test_every_filling_of_the_slots_at_every_moment(previous, current, upcoming):
    def without_none(*sessions: Session | None) -> list[Session]:
        return [session for session in sessions if session is not None]

    begun = slots(previous, current, upcoming)
    gone = begun.begin(NEW_INITIATOR)
    if upcoming is None:
        assert held(begun) == (current, NEW_INITIATOR, None)
        assert gone == without_none(previous)
    else:
        assert held(begun) == (upcoming, NEW_INITIATOR, None)
        assert gone == without_none(previous, current)

    answered = slots(previous, current, upcoming)
    gone = answered.begin(NEW_RESPONDER)
    assert held(answered) == (None, current, NEW_RESPONDER)
    assert gone == without_none(upcoming, previous)

    confirmed = slots(previous, current, upcoming)
    for session in without_none(previous, current):
        assert confirmed.confirm(session) is None
    assert held(confirmed) == (previous, current, upcoming)
    if upcoming is not None:
        assert confirmed.confirm(upcoming) == without_none(previous)
        assert held(confirmed) == (current, upcoming, None)

    cleared = slots(previous, current, upcoming)
    assert cleared.clear() == without_none(previous, current, upcoming)
    assert held(cleared) == (None, None, None)


def test_sending_ends_and_receiving_goes_on():
    previous, current, upcoming = make(), make(), make(initiator=False)
    slots(previous, current, upcoming).expire_sending()
    assert [s.may_send for s in (previous, current, upcoming)] == [True, False, False]
    slots().expire_sending()
    assert opened(upcoming, make().seal([b""], 0))[0] == [b""]
