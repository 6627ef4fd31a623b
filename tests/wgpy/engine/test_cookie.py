from collections.abc import Callable

import pytest

from wgpy.engine.cookie import CookieChecker, CookieHolder
from wgpy.errors import Drop, Rejected
from wgpy.model import Endpoint
from wgpy.wire.messages import NO_MAC, CookieReply, Initiation, Response, macs

BOB = bytes(range(32))
HERE = Endpoint(bytes([192, 0, 2, 1]), 51820)
BLANK = Initiation(0x01020304, bytes(32), bytes(48), bytes(28)).encode()
RESPONSE = Response(5, 6, bytes(32), bytes(16)).encode()


def counting() -> Callable[[int], bytes]:
    """Entropy that never repeats."""
    state = [0]

    def draw(count: int) -> bytes:
        state[0] += 1
        return state[0].to_bytes(2, "big") + bytes(count - 2)

    return draw


@pytest.fixture
def checker():
    return CookieChecker(BOB, counting())


def with_cookie(checker: CookieChecker, source: Endpoint, now: float) -> CookieHolder:
    holder = CookieHolder(BOB)
    reply = checker.reply(holder.seal(BLANK, now), source, now)
    holder.consume(CookieReply.decode_untrusted(reply), now)
    return holder


@pytest.mark.parametrize("blank", [BLANK, RESPONSE], ids=["initiation", "response"])
def test_mac1_proves_that_the_sender_knows_our_key(checker, blank):
    sealed = CookieHolder(BOB).seal(blank, 0.0)
    assert len(sealed) == len(blank)
    assert checker.mac1_matches(sealed)
    assert not checker.mac1_matches(CookieHolder(bytes(32)).seal(blank, 0.0))
    assert not checker.mac1_matches(blank)


def test_a_flipped_bit_anywhere_before_mac2_is_found(checker):
    sealed = CookieHolder(BOB).seal(BLANK, 0.0)
    for at in range(len(sealed) - 16):
        bad = bytearray(sealed)
        bad[at] ^= 1 << at % 8
        assert not checker.mac1_matches(bad)


def test_without_a_cookie_mac2_is_zero(checker):
    sealed = CookieHolder(BOB).seal(BLANK, 0.0)
    assert macs(sealed)[1] == NO_MAC
    assert not checker.mac2_matches(sealed, HERE, 0.0)


def test_with_a_cookie_mac2_matches(checker):
    holder = with_cookie(checker, HERE, 0.0)
    for blank in (BLANK, RESPONSE):
        sealed = holder.seal(blank, 1.0)
        assert checker.mac1_matches(sealed)
        assert checker.mac2_matches(sealed, HERE, 1.0)
        for at in range(len(sealed)):
            bad = bytearray(sealed)
            bad[at] ^= 1
            assert not checker.mac2_matches(bad, HERE, 1.0)


@pytest.mark.parametrize(
    "source",
    [
        Endpoint(bytes([192, 0, 2, 2]), 51820),
        Endpoint(HERE.host, 51821),
        Endpoint(bytes(12) + HERE.host, 51820),
    ],
)
def test_a_cookie_holds_for_one_address_and_port(checker, source):
    sealed = with_cookie(checker, HERE, 0.0).seal(BLANK, 1.0)
    assert not checker.mac2_matches(sealed, source, 1.0)


def test_a_cookie_is_used_for_115_seconds(checker):
    holder = with_cookie(checker, HERE, 10.0)
    assert macs(holder.seal(BLANK, 124.9))[1] != NO_MAC
    assert macs(holder.seal(BLANK, 125.0))[1] == NO_MAC


def test_a_secret_is_renewed_after_120_seconds(checker):
    holder = with_cookie(checker, HERE, 0.0)
    sealed = holder.seal(BLANK, 114.0)
    assert checker.mac2_matches(sealed, HERE, 119.9)
    assert not checker.mac2_matches(sealed, HERE, 120.0)
    # Now and not at the first use of the other: the new one is 120 s old at 240 s.
    later = with_cookie(checker, HERE, 239.0).seal(BLANK, 239.0)
    assert checker.mac2_matches(later, HERE, 239.9)
    assert not checker.mac2_matches(later, HERE, 240.0)


def test_a_reply_names_the_sender_and_is_never_the_same(checker):
    sealed = CookieHolder(BOB).seal(BLANK, 0.0)
    one, other = (
        CookieReply.decode_untrusted(checker.reply(sealed, HERE, 0.0)) for _ in range(2)
    )
    assert one.receiver == other.receiver == 0x01020304
    assert one.nonce != other.nonce
    assert one.cookie != other.cookie


def consume_fails(holder: CookieHolder, reply: bytes) -> bool:
    with pytest.raises(Rejected) as caught:
        holder.consume(CookieReply.decode_untrusted(reply), 0.0)
    return caught.value.drop is Drop.NOT_AUTHENTIC


def test_a_reply_is_taken_once_for_each_message(checker):
    holder = CookieHolder(BOB)
    reply = checker.reply(CookieHolder(BOB).seal(BLANK, 0.0), HERE, 0.0)
    assert consume_fails(holder, reply), "nothing was sent"
    sealed = holder.seal(BLANK, 0.0)
    genuine = checker.reply(sealed, HERE, 0.0)
    for at in range(8, len(genuine)):
        bad = bytearray(genuine)
        bad[at] ^= 1
        assert consume_fails(holder, bytes(bad))
    assert macs(holder.seal(BLANK, 0.0))[1] == NO_MAC, "a forgery changes nothing"
    holder.consume(CookieReply.decode_untrusted(genuine), 0.0)
    assert consume_fails(holder, genuine)
    assert macs(holder.seal(BLANK, 0.0))[1] != NO_MAC


def test_a_reply_to_an_earlier_message_or_by_another_is_refused(checker):
    holder = CookieHolder(BOB)
    early = checker.reply(holder.seal(RESPONSE, 0.0), HERE, 0.0)
    sealed = holder.seal(BLANK, 0.0)
    assert consume_fails(holder, early)
    assert consume_fails(holder, CookieChecker(bytes(32), counting()).reply(sealed, HERE, 0.0))
