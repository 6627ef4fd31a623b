"""Keys: what everybody computes alike, and what only the owner can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine.signing import (
    Identity,
    NetworkKeys,
    address6,
    fingerprint,
    keyed_mac,
    same,
    short_id,
    verify_untrusted,
    wireguard_key,
)
from netmgr.errors import Reason, Rejected
from wgpy.engine.crypto import public_key
from wgpy.model import PublicKey, Secret

seeds = st.binary(min_size=32, max_size=32).map(Secret)


@given(seeds)
def test_the_wireguard_key_of_an_identity_is_the_same_for_its_owner_and_everybody(seed):
    identity = Identity(seed)
    assert identity.wireguard_public == wireguard_key(identity.public)
    assert public_key(identity.wireguard) == identity.wireguard_public


@pytest.mark.parametrize(
    "key",
    [
        b"",
        bytes(31),
        bytes(32),
        (1).to_bytes(32, "little"),
        (2**255 - 20).to_bytes(32, "little"),
        (2**255 - 19).to_bytes(32, "little"),
        b"\xff" * 32,
        # Of order 8: anybody can sign for it.
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
    ],
)
def test_what_is_no_canonical_key_has_no_wireguard_key(key):
    with pytest.raises(Rejected) as rejected:
        wireguard_key(key)
    assert rejected.value.reason is Reason.MALFORMED


@given(seeds, st.binary(), st.integers(0, 511))
def test_a_signature_holds_for_its_message_alone(seed, message, bit):
    identity = Identity(seed)
    signature = identity.sign(message)
    verify_untrusted(identity.public, message, signature)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    for wrong in ((message + b"x", signature), (message, bytes(flipped)), (message, b"")):
        with pytest.raises(Rejected) as rejected:
            verify_untrusted(identity.public, *wrong)
        assert rejected.value.reason is Reason.BAD_SIGNATURE


@given(seeds, seeds)
def test_a_pair_shares_a_key(one, other):
    a, b = Identity(one), Identity(other)
    assert a.pair_key(b.wireguard_public) == b.pair_key(a.wireguard_public)
    assert a.pair_key(b.wireguard_public) == a.pair_key(b.wireguard_public)


def test_a_key_of_low_order_makes_no_pair():
    with pytest.raises(Rejected):
        Identity(Secret(b"a" * 32)).pair_key(PublicKey(bytes(32)))


def test_a_preshared_key_belongs_to_a_pair_in_a_network():
    one, other = PublicKey(b"1" * 32), PublicKey(b"2" * 32)
    keys = NetworkKeys(Secret(b"k" * 32))
    assert keys.preshared_key(one, other) == keys.preshared_key(other, one)
    assert keys.preshared_key(one, other) != keys.preshared_key(one, one)
    stranger = NetworkKeys(Secret(b"l" * 32))
    assert stranger.preshared_key(one, other) != keys.preshared_key(one, other)
    assert stranger.net_id != keys.net_id
    assert stranger.lan_tag(b"n") != keys.lan_tag(b"n")
    assert stranger.mac(b"n") != keys.mac(b"n") == keys.mac(b"n", b"")


@given(st.binary(min_size=24, max_size=24), st.binary(), st.binary())
def test_a_sealed_frame_opens_within_its_network_alone(nonce, head, body):
    keys = NetworkKeys(Secret(b"k" * 32))
    box = keys.seal(nonce, head, body)
    assert keys.open_untrusted(nonce, head, box) == body
    for others, wrong in ((NetworkKeys(Secret(b"l" * 32)), head), (keys, head + b"x")):
        with pytest.raises(Rejected) as rejected:
            others.open_untrusted(nonce, wrong, box)
        assert rejected.value.reason is Reason.NOT_AUTHENTIC


def test_nothing_secret_is_shown():
    identity = Identity(Secret(b"a" * 32))
    assert fingerprint(identity.public) in repr(identity)
    assert repr(NetworkKeys(Secret(b"k" * 32))) == "NetworkKeys(hidden)"
    assert identity.seed.reveal() == b"a" * 32


def test_names_of_an_identity_have_their_sizes():
    identity = Identity(Secret(b"a" * 32))
    assert len(short_id(identity.public)) == 8 and identity.short == short_id(identity.public)
    assert len(fingerprint(identity.public).split("-")) == 8
    address = address6(bytes(range(8)), identity.public)
    assert len(address) == 16 and address[:6] == b"\xfd\x00\x01\x02\x03\x04"
    assert same(keyed_mac(b"k" * 32, b"a", b"b"), keyed_mac(b"k" * 32, b"ab"))
    assert not same(keyed_mac(b"k" * 32, b"a"), keyed_mac(b"k" * 32, b"b"))
