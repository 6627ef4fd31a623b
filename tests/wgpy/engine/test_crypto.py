import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from wgpy.engine.crypto import (
    Aead,
    EphemeralKey,
    NotAuthentic,
    StaticKey,
    clamp,
    dh,
    hash_,
    hchacha20,
    hmac_hash,
    kdf,
    mac,
    mac_matches,
    public_key,
    xaead_decrypt,
    xaead_encrypt,
)
from wgpy.errors import Drop, Rejected
from wgpy.model import Secret

VECTORS = Path(__file__).parents[2] / "vectors"
KEYS = st.binary(min_size=32, max_size=32)


def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def unhex(vector: dict[str, str]) -> dict[str, bytes]:
    """Return the values of a vector as bytes; plaintexts are UTF-8."""
    return {
        name: text.encode() if name == "plaintext" else bytes.fromhex(text)
        for name, text in vector.items()
    }


def x25519(scalar: bytes, u: bytes) -> bytes:
    private = X25519PrivateKey.from_private_bytes(scalar)
    return dh(private, X25519PublicKey.from_public_bytes(u))


@pytest.mark.parametrize("vector", vectors("x25519")["exchanges"])
def test_x25519_multiplies(vector):
    known = unhex(vector)
    assert x25519(known["scalar"], known["u"]) == known["out"]


@pytest.mark.parametrize("vector", vectors("x25519")["iterated"])
def test_x25519_iterates(vector):
    scalar = u = bytes([9]) + bytes(31)
    for _ in range(vector["times"]):
        scalar, u = x25519(scalar, u), scalar
    assert scalar.hex() == vector["out"]


def test_both_sides_of_an_exchange_have_one_secret():
    known = vectors("x25519")
    one, other = (unhex(pair) for pair in known["key_pairs"])
    for pair in (one, other):
        assert public_key(Secret(pair["private"])) == pair["public"]
    assert x25519(one["private"], other["public"]).hex() == known["shared"]
    assert x25519(other["private"], one["public"]).hex() == known["shared"]


@pytest.mark.parametrize("point", vectors("x25519_low_order")["points"])
@pytest.mark.parametrize("unused_bit", [0, 0x80])
def test_a_point_of_low_order_gives_no_secret(point, unused_bit):
    u = bytearray.fromhex(point)
    u[31] |= unused_bit
    with pytest.raises(Rejected) as rejected:
        x25519(bytes(range(32)), bytes(u))
    assert rejected.value.drop is Drop.NOT_AUTHENTIC


@given(KEYS)
def test_a_clamped_key_is_the_same_key(raw):
    clamped = clamp(Secret(raw)).reveal()
    assert clamped[0] & 7 == 0
    assert clamped[31] & 0xC0 == 0x40
    assert clamped[1:31] == raw[1:31]
    assert (clamped[0] | 7, clamped[31] & 0x3F) == (raw[0] | 7, raw[31] & 0x3F)
    assert clamp(Secret(clamped)).reveal() == clamped
    assert public_key(Secret(clamped)) == public_key(Secret(raw))


def test_an_identity_shares_the_same_secret_remembered_or_not():
    known = vectors("x25519")
    one, other = (unhex(pair) for pair in known["key_pairs"])
    identity = StaticKey(Secret(one["private"]))
    assert identity.public == one["public"]
    assert identity.exchange(other["public"]).hex() == known["shared"]
    assert identity.remember(other["public"])
    assert identity.exchange(other["public"]).hex() == known["shared"]
    identity.forget(other["public"])
    identity.forget(other["public"])
    assert identity.exchange(other["public"]).hex() == known["shared"]


def test_an_ephemeral_key_shares_a_secret():
    known = vectors("x25519")
    one, other = (unhex(pair) for pair in known["key_pairs"])
    key = EphemeralKey(one["private"])
    assert key.public == one["public"]
    assert key.exchange(other["public"]).hex() == known["shared"]


@pytest.mark.parametrize("point", vectors("x25519_low_order")["points"])
def test_no_key_shares_a_secret_with_a_point_of_low_order(point):
    identity = StaticKey(Secret(bytes(range(32))))
    assert not identity.remember(bytes.fromhex(point))
    for key in (identity, EphemeralKey(bytes(range(32)))):
        with pytest.raises(Rejected) as rejected:
            key.exchange(bytes.fromhex(point))
        assert rejected.value.drop is Drop.NOT_AUTHENTIC


def test_an_identity_shows_its_public_key_alone():
    identity = StaticKey(Secret(bytes(range(32))))
    assert repr(identity) == f"StaticKey({identity.public})"
    assert identity.secret == clamp(Secret(bytes(range(32))))


def sequence(size: int, seed: int) -> bytes:
    """Build the test input of RFC 7693, appendix E."""
    one, other = 0xDEAD4BAD * seed & 0xFFFFFFFF, 1
    out = bytearray()
    for _ in range(size):
        one, other = other, one + other & 0xFFFFFFFF
        out.append(other >> 24)
    return bytes(out)


def test_blake2s_has_its_known_answers():
    known = vectors("blake2s")
    assert hash_(b"abc").hex() == known["abc"]
    digests = b""
    for size in known["self_test"]["digest_sizes"]:
        for length in known["self_test"]["input_sizes"]:
            text, key = sequence(length, length), sequence(size, size)
            plain = hashlib.blake2s(text, digest_size=size).digest()
            keyed = hashlib.blake2s(text, digest_size=size, key=key).digest()
            digests += hash_(text) if size == 32 else plain
            digests += mac(key, text) if size == 16 else keyed
    assert hash_(digests).hex() == known["self_test"]["digest_of_digests"]


def test_hashes_take_any_buffer():
    assert hash_(memoryview(b"abc")) == hash_(bytearray(b"abc")) == hash_(b"abc")
    assert mac(b"key", memoryview(b"abc")) == mac(b"key", b"abc")
    assert len(mac(b"key", b"abc")) == 16


def test_macs_match_only_themselves():
    one = mac(b"key", b"message")
    assert mac_matches(one, memoryview(one))
    assert not mac_matches(one, mac(b"key", b"massage"))
    assert not mac_matches(one, one[:15])


def test_the_chain_begins_with_its_constants():
    known = vectors("initial_hashes")
    chaining_key = hash_(known["construction"].encode())
    assert chaining_key.hex() == known["chaining_key"]
    assert hash_(chaining_key + known["identifier"].encode()).hex() == known["hash"]


@pytest.mark.parametrize("vector", vectors("kdf")["vectors"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_keys_are_derived_as_elsewhere(vector, count):
    keys = kdf(count, bytes.fromhex(vector["key"]), bytes.fromhex(vector["input"]))
    assert [key.hex() for key in keys] == vector["keys"][:count]


def plain_hmac(key: bytes, message: bytes) -> bytes:
    """Compute HMAC as RFC 2104 writes it, for keys of a block at most."""
    padded = key.ljust(64, b"\0")
    inner = bytes(byte ^ 0x36 for byte in padded)
    outer = bytes(byte ^ 0x5C for byte in padded)
    return hashlib.blake2s(outer + hashlib.blake2s(inner + message).digest()).digest()


@given(st.binary(max_size=64), st.binary(max_size=80))
def test_key_derivation_is_hkdf_over_hmac(chaining_key, material):
    secret = plain_hmac(chaining_key, material)
    first = plain_hmac(secret, b"\1")
    second = plain_hmac(secret, first + b"\2")
    third = plain_hmac(secret, second + b"\3")
    assert hmac_hash(chaining_key, material) == secret
    assert kdf(3, chaining_key, material) == [first, second, third]


@pytest.mark.parametrize("vector", vectors("chacha20poly1305")["vectors"])
def test_chacha20poly1305_has_its_known_answers(vector):
    known = unhex(vector)
    sealed = known["ciphertext"] + known["tag"]
    aead = Aead(known["key"])
    assert aead.encrypt(known["nonce"], known["plaintext"], known["aad"]) == sealed
    assert aead.decrypt(known["nonce"], sealed, known["aad"]) == known["plaintext"]
    with pytest.raises(NotAuthentic):
        aead.decrypt(known["nonce"], sealed[:-1] + bytes([sealed[-1] ^ 1]), known["aad"])


@pytest.mark.parametrize(
    "vector",
    vectors("wycheproof_chacha20_poly1305")["vectors"],
    ids=lambda vector: f"{vector['id']} {vector['comment']}".strip(),
)
def test_chacha20poly1305_is_right_at_its_edges(vector):
    key, nonce, aad, plaintext, ciphertext, tag = (
        bytes.fromhex(vector[name])
        for name in ("key", "nonce", "aad", "plaintext", "ciphertext", "tag")
    )
    aead = Aead(key)
    if vector["valid"]:
        assert aead.encrypt(nonce, plaintext, aad) == ciphertext + tag
        assert aead.decrypt(nonce, ciphertext + tag, aad) == plaintext
    else:
        with pytest.raises(NotAuthentic):
            aead.decrypt(nonce, ciphertext + tag, aad)


def test_hchacha20_has_its_known_answer():
    known = unhex(vectors("xchacha20poly1305")["hchacha20"])
    assert hchacha20(known["key"], known["nonce"]) == known["out"]


def plain_hchacha20(key: bytes, nonce: bytes) -> bytes:
    """Compute HChaCha20 round by round."""
    data = b"expand 32-byte k" + key + nonce
    state = [int.from_bytes(data[at : at + 4], "little") for at in range(0, 64, 4)]

    def turn(at: int, by: int, word: int) -> None:
        mixed = state[at] ^ state[by]
        state[at] = (mixed << word | mixed >> 32 - word) & 0xFFFFFFFF

    def mix(a: int, b: int, c: int, d: int) -> None:
        for one, other in ((16, 12), (8, 7)):
            state[a] = state[a] + state[b] & 0xFFFFFFFF
            turn(d, a, one)
            state[c] = state[c] + state[d] & 0xFFFFFFFF
            turn(b, c, other)

    for _ in range(10):
        for column in range(4):
            mix(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            mix(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return b"".join(word.to_bytes(4, "little") for word in state[:4] + state[12:])


@given(KEYS, st.binary(min_size=16, max_size=16))
@settings(deadline=None)
def test_hchacha20_is_its_definition(key, nonce):
    assert hchacha20(key, nonce) == plain_hchacha20(key, nonce)


def test_xchacha20poly1305_has_its_known_answer():
    known = unhex(vectors("xchacha20poly1305")["aead"])
    key, nonce, aad = known["key"], known["nonce"], known["aad"]
    sealed = known["ciphertext"] + known["tag"]
    assert xaead_encrypt(key, nonce, known["plaintext"], aad) == sealed
    assert xaead_decrypt(key, nonce, sealed, aad) == known["plaintext"]


@given(
    st.integers(0, 31), st.integers(1, 255), st.sampled_from(["sealed", "aad", "nonce", "key"])
)
def test_a_changed_byte_is_not_authentic(at, change, where):
    parts = {"key": bytes(32), "nonce": bytes(24), "aad": bytes(16)}
    parts["sealed"] = xaead_encrypt(parts["key"], parts["nonce"], bytes(16), parts["aad"])
    damaged = bytearray(parts[where])
    damaged[at % len(damaged)] ^= change
    parts[where] = bytes(damaged)
    with pytest.raises(Rejected) as rejected:
        xaead_decrypt(parts["key"], parts["nonce"], parts["sealed"], parts["aad"])
    assert rejected.value.drop is Drop.NOT_AUTHENTIC


@given(st.binary(max_size=15))
def test_what_is_shorter_than_a_tag_is_not_authentic(sealed):
    with pytest.raises(Rejected):
        xaead_decrypt(bytes(32), bytes(24), sealed, b"")
