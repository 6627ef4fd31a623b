import json
from collections.abc import Callable
from hashlib import blake2s
from hmac import digest as hmac
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wgpy.engine.cookie import CookieHolder
from wgpy.engine.crypto import Aead, EphemeralKey, StaticKey
from wgpy.engine.handshake import (
    IDENTIFIER,
    Handshake,
    InitiationSent,
    TransportKeys,
    Zeroed,
    open_initiation_untrusted,
)
from wgpy.engine.noise import CONSTRUCTION, NoiseHandshake
from wgpy.errors import Drop, Rejected
from wgpy.model import Secret
from wgpy.wire.messages import Initiation, Response, nonce

CAPTURES = json.loads(
    (Path(__file__).parents[2] / "vectors" / "wireguard_captures.json").read_text()
)
NO_PSK, PSK = Secret(bytes(32)), Secret(bytes(range(32)))
NOW = 1_700_000_000 * 10**9
ALICE, BOB, MALLORY = (StaticKey(Secret(blake2s(name).digest())) for name in (b"a", b"b", b"m"))
SECOND = 10**9


def initiate(
    handshake: Handshake, static: StaticKey = ALICE, at: int = NOW, seed: bytes = b"e"
):
    return handshake.create_initiation(static, 7, blake2s(seed).digest(), at)


def answer(initiation: Initiation, psk: Secret = NO_PSK, static: StaticKey = BOB):
    opened = open_initiation_untrusted(static, initiation)
    handshake = Handshake(opened.remote_static)
    return handshake.create_response(opened, 8, blake2s(b"r").digest(), psk)


# --- known answers ---------------------------------------------------------------------------


def test_the_initial_values_are_those_of_every_implementation():
    chaining = blake2s(CONSTRUCTION).digest()
    assert chaining.hex() == (
        "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36"
    )
    assert blake2s(chaining + IDENTIFIER).hexdigest() == (
        "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3"
    )


@pytest.mark.parametrize("capture", CAPTURES["handshakes"], ids=lambda capture: capture["name"])
def test_handshakes_of_another_implementation_are_made_again_to_the_byte(capture):
    ours, theirs = (
        StaticKey(Secret(bytes.fromhex(CAPTURES[name])))
        for name in ("initiator_static", "responder_static")
    )
    assert ours.public.hex() == CAPTURES["initiator_public"]
    assert theirs.public.hex() == CAPTURES["responder_public"]
    recorded = bytes.fromhex(capture["initiation"])
    initiation = Initiation.decode_untrusted(recorded)
    opened = open_initiation_untrusted(theirs, initiation)
    assert opened.remote_static == ours.public
    assert int.from_bytes(opened.timestamp[8:]) == capture["timestamp_nanoseconds"]
    again = _with_timestamp(ours, theirs.public, capture, opened.timestamp)
    blank = initiation._replace(mac1=bytes(16), mac2=bytes(16)).encode()
    assert again == initiation.noise
    assert CookieHolder(theirs.public).seal(blank, 0.0) == recorded
    if capture["response"] is None:
        return
    recorded = bytes.fromhex(capture["response"])
    expected = Response.decode_untrusted(recorded)
    handshake = Handshake(ours.public)
    response, keys = handshake.create_response(
        opened,
        expected.sender,
        bytes.fromhex(capture["responder_ephemeral"]),
        Secret(bytes.fromhex(capture["psk"])),
    )
    assert CookieHolder(ours.public).seal(response.encode(), 0.0) == recorded
    for data in capture["data"]:
        message = bytes.fromhex(data["message"])
        key = keys.receive if data["from_initiator"] else keys.send
        packet = Aead(key).decrypt(nonce(0), message[16:], None)
        assert packet[0] == 0x45
        assert packet[20] == data["icmp_type"]


def _with_timestamp(ours: StaticKey, remote: bytes, capture: Any, timestamp: bytes) -> bytes:
    """The recorded timestamp is not rounded as ours are, so it goes to Noise directly."""
    ephemeral = EphemeralKey(bytes.fromhex(capture["initiator_ephemeral"]))
    return NoiseHandshake.as_initiator(ours, ephemeral, remote, IDENTIFIER).write(timestamp)


def _dh(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(public)
    )


def _kdf(count: int, key: bytes, material: bytes) -> list[bytes]:
    secret, out = hmac(key, material, "blake2s"), [b""]
    for number in range(1, count + 1):
        out.append(hmac(secret, out[-1] + bytes([number]), "blake2s"))
    return out[1:]


@pytest.mark.parametrize("psk", [NO_PSK, PSK], ids=["none", "some"])
def test_the_formulas_of_the_paper_give_the_same_messages_and_keys(psk):
    """Paper 5.4.2, 5.4.3 and 5.4.5, line by line."""
    begun = Handshake(BOB.public)
    initiation = initiate(begun)
    response, responder_keys = answer(initiation, psk)
    initiator_keys = begun.consume_response(response, psk)

    static_i, static_r = ALICE.secret.reveal(), BOB.secret.reveal()
    ephemeral_i, ephemeral_r = blake2s(b"e").digest(), blake2s(b"r").digest()

    def public(private: bytes) -> bytes:
        return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()

    def hash_(data: bytes) -> bytes:
        return blake2s(data).digest()

    chaining = hash_(CONSTRUCTION)
    h = hash_(hash_(chaining + IDENTIFIER) + public(static_r))
    assert initiation.ephemeral == public(ephemeral_i)
    (chaining,) = _kdf(1, chaining, public(ephemeral_i))
    h = hash_(h + public(ephemeral_i))
    chaining, key = _kdf(2, chaining, _dh(ephemeral_i, public(static_r)))
    assert initiation.static == ChaCha20Poly1305(key).encrypt(bytes(12), public(static_i), h)
    h = hash_(h + initiation.static)
    chaining, key = _kdf(2, chaining, _dh(static_i, public(static_r)))
    timestamp = ChaCha20Poly1305(key).decrypt(bytes(12), initiation.timestamp, h)
    assert timestamp == (2**62 + 10 + NOW // SECOND).to_bytes(8) + bytes(4)
    h = hash_(h + initiation.timestamp)
    assert response.ephemeral == public(ephemeral_r)
    (chaining,) = _kdf(1, chaining, public(ephemeral_r))
    h = hash_(h + public(ephemeral_r))
    (chaining,) = _kdf(1, chaining, _dh(ephemeral_r, public(ephemeral_i)))
    (chaining,) = _kdf(1, chaining, _dh(ephemeral_r, public(static_i)))
    chaining, tau, key = _kdf(3, chaining, psk.reveal())
    h = hash_(h + tau)
    assert response.empty == ChaCha20Poly1305(key).encrypt(bytes(12), b"", h)
    to_responder, to_initiator = _kdf(2, chaining, b"")
    assert initiator_keys == TransportKeys(to_responder, to_initiator, 8)
    assert responder_keys == TransportKeys(to_initiator, to_responder, 7)


# --- every state and every input -------------------------------------------------------------


def flipped(message: Any, field: str) -> Any:
    raw = bytearray(getattr(message, field))
    raw[0] ^= 1
    return message._replace(**{field: bytes(raw)})


RESPONSES: dict[str, tuple[Callable[[Response], Response], Secret, Drop | None]] = {
    "genuine": (lambda r: r, NO_PSK, None),
    "wrong index": (lambda r: r._replace(receiver=9), NO_PSK, Drop.UNKNOWN_INDEX),
    "forged ephemeral": (lambda r: flipped(r, "ephemeral"), NO_PSK, Drop.NOT_AUTHENTIC),
    "low-order ephemeral": (
        lambda r: r._replace(ephemeral=bytes(32)),
        NO_PSK,
        Drop.NOT_AUTHENTIC,
    ),
    "forged tag": (lambda r: flipped(r, "empty"), NO_PSK, Drop.NOT_AUTHENTIC),
    "another preshared key": (lambda r: r, PSK, Drop.NOT_AUTHENTIC),
    "garbage": (
        lambda r: Response(1, 7, bytes(range(32)), bytes(16)),
        NO_PSK,
        Drop.NOT_AUTHENTIC,
    ),
}


@pytest.mark.parametrize("case", RESPONSES)
@pytest.mark.parametrize("state", ["zeroed", "initiation sent", "another initiation sent"])
def test_each_state_and_each_response(state, case):
    change, psk, drop = RESPONSES[case]
    handshake = Handshake(BOB.public)
    response, expected = answer(initiate(handshake))
    if state == "zeroed":
        handshake.clear()
        drop = Drop.UNKNOWN_INDEX
    elif state == "another initiation sent":
        initiate(handshake, seed=b"another")
        drop = drop or Drop.NOT_AUTHENTIC
    before = handshake.state
    if drop is None:
        keys = handshake.consume_response(change(response), psk)
        assert keys == TransportKeys(expected.receive, expected.send, 8)
        assert isinstance(handshake.state, Zeroed)
        return
    with pytest.raises(Rejected) as caught:
        handshake.consume_response(change(response), psk)
    assert caught.value.drop is drop
    assert handshake.state is before


def test_after_any_forgery_the_genuine_response_completes():
    handshake = Handshake(BOB.public)
    response, _ = answer(initiate(handshake))
    for change, psk, drop in RESPONSES.values():
        if drop is not None:
            with pytest.raises(Rejected):
                handshake.consume_response(change(response), psk)
    assert handshake.consume_response(response, NO_PSK).remote_index == 8
    with pytest.raises(Rejected) as caught:
        handshake.consume_response(response, NO_PSK)
    assert caught.value.drop is Drop.UNKNOWN_INDEX


@pytest.mark.parametrize("field", ["ephemeral", "static", "timestamp"])
def test_a_forged_initiation_does_not_open(field):
    with pytest.raises(Rejected) as caught:
        open_initiation_untrusted(BOB, flipped(initiate(Handshake(BOB.public)), field))
    assert caught.value.drop is Drop.NOT_AUTHENTIC


def test_an_initiation_to_another_does_not_open():
    with pytest.raises(Rejected):
        open_initiation_untrusted(MALLORY, initiate(Handshake(BOB.public)))


class Counting(StaticKey):
    """A static key that counts what it is asked for."""

    exchanges = 0

    def exchange(self, remote: bytes) -> bytes:
        self.exchanges += 1
        return super().exchange(remote)


@pytest.mark.parametrize(("admitted", "exchanges"), [(True, 2), (False, 1)])
def test_a_stranger_costs_one_exchange(admitted: bool, exchanges: int):
    bob = Counting(BOB.secret)
    named: list[bytes] = []

    def admits(key: bytes) -> bool:
        named.append(key)
        return admitted

    try:
        opened = open_initiation_untrusted(
            bob, initiate(Handshake(BOB.public), MALLORY), admits
        )
    except Rejected as rejected:
        assert (rejected.drop, admitted) == (Drop.UNKNOWN_PEER, False)
    else:
        assert (opened.remote_static, admitted) == (MALLORY.public, True)
    assert (named, bob.exchanges) == ([MALLORY.public], exchanges)


def test_who_sent_an_initiation_is_known_when_it_is_opened():
    opened = open_initiation_untrusted(BOB, initiate(Handshake(BOB.public), MALLORY))
    assert (opened.remote_static, opened.sender) == (MALLORY.public, 7)


def test_an_initiation_is_accepted_once_and_only_if_newer():
    sender, receiver = Handshake(BOB.public), Handshake(ALICE.public)
    first, second, third = (
        open_initiation_untrusted(BOB, initiate(sender, at=NOW + n * SECOND)) for n in range(3)
    )
    receiver.accept(second, 100.0)
    for opened, now, drop in [
        (second, 101.0, Drop.OLD_TIMESTAMP),
        (first, 101.0, Drop.OLD_TIMESTAMP),
        (third, 100.019, Drop.HANDSHAKE_FLOOD),
        (third, 100.021, None),
        (third, 200.0, Drop.OLD_TIMESTAMP),
    ]:
        if drop is None:
            receiver.accept(opened, now)
            continue
        with pytest.raises(Rejected) as caught:
            receiver.accept(opened, now)
        assert caught.value.drop is drop


def test_clearing_keeps_what_protects_from_replays():
    receiver = Handshake(ALICE.public)
    opened = open_initiation_untrusted(BOB, initiate(Handshake(BOB.public)))
    receiver.accept(opened, 1.0)
    receiver.clear()
    with pytest.raises(Rejected):
        receiver.accept(opened, 100.0)


@pytest.mark.parametrize("step", [0, -1, -3600 * SECOND, 10**6])
def test_the_next_initiation_is_later_whatever_the_clock_says(step):
    sender, receiver = Handshake(BOB.public), Handshake(ALICE.public)
    at, now = NOW, 0.0
    for _ in range(70):
        receiver.accept(open_initiation_untrusted(BOB, initiate(sender, at=at)), now)
        at, now = at + step, now + 1.0


def test_a_low_order_peer_cannot_be_initiated_to():
    handshake = Handshake(bytes(32))
    with pytest.raises(Rejected):
        initiate(handshake)
    assert isinstance(handshake.state, Zeroed)


def test_an_initiation_that_was_sent_waits_under_its_index():
    handshake = Handshake(BOB.public)
    initiation = initiate(handshake)
    assert isinstance(handshake.state, InitiationSent)
    assert handshake.state.local_index == initiation.sender == 7


def test_keys_show_nothing_of_themselves():
    assert repr(TransportKeys(b"s" * 32, b"r" * 32, 5)) == (
        "TransportKeys(hidden, remote_index=0x00000005)"
    )
