import json
from hashlib import blake2s
from pathlib import Path
from typing import Any

import pytest
from noise.connection import Keypair, NoiseConnection

from wgpy.engine.crypto import Aead, EphemeralKey, StaticKey
from wgpy.engine.noise import CONSTRUCTION, NO_PSK, NoiseHandshake
from wgpy.errors import Drop, Rejected
from wgpy.model import Secret

VECTORS = Path(__file__).parents[2] / "vectors"
LOW_ORDER = bytes(32)


def vectors() -> Any:
    text = (VECTORS / "noise_ikpsk2_25519_chachapoly_blake2s.json").read_text()
    return json.loads(text)["vectors"]


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["handshake_hash"][:8])
def test_the_handshake_and_the_transport_are_those_of_the_vectors(vector):
    raw = {
        name: bytes.fromhex(vector[name])
        for name in vector
        if name.startswith(("init_", "resp_")) and not name.endswith("psks")
    }
    assert raw["init_prologue"] == raw["resp_prologue"]
    (psk,) = (bytes.fromhex(text) for text in vector["init_psks"])
    first, second, *transport = (
        (bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"]))
        for m in vector["messages"]
    )
    initiator = NoiseHandshake.as_initiator(
        EphemeralKey(raw["init_static"]),
        EphemeralKey(raw["init_ephemeral"]),
        raw["init_remote_static"],
        raw["init_prologue"],
    )
    responder = NoiseHandshake.as_responder(
        EphemeralKey(raw["resp_static"]), raw["resp_prologue"]
    )
    assert initiator.write(first[0]) == first[1]
    assert responder.read(first[1]) == first[0]
    assert responder.remote_static == EphemeralKey(raw["init_static"]).public
    responder.set_ephemeral(EphemeralKey(raw["resp_ephemeral"]))
    responder.set_psk(psk)
    initiator.set_psk(psk)
    assert responder.write(second[0]) == second[1]
    assert initiator.read(second[1]) == second[0]
    send, receive = initiator.transport_keys()
    assert responder.transport_keys() == (receive, send)
    for number, (payload, ciphertext) in enumerate(transport):
        key = (send, receive)[number % 2]
        nonce = bytes(4) + (number // 2).to_bytes(8, "little")
        assert Aead(key).encrypt(nonce, payload, None) == ciphertext


def pair(prologue: bytes = b"p"):
    static = [StaticKey(Secret(blake2s(bytes([n])).digest())) for n in range(2)]
    ephemeral = [EphemeralKey(blake2s(bytes([n])).digest()) for n in (2, 3)]
    initiator = NoiseHandshake.as_initiator(static[0], ephemeral[0], static[1].public, prologue)
    responder = NoiseHandshake.as_responder(static[1], prologue)
    return initiator, responder, ephemeral[1]


@pytest.mark.parametrize("psk", [NO_PSK, bytes(range(32))], ids=["none", "some"])
def test_the_library_s_own_backend_finds_the_same(psk):
    initiator, _, _ = pair()
    other = NoiseConnection.from_name(CONSTRUCTION)
    other.set_as_responder()
    other.set_psks(psk)
    other.set_prologue(b"p")
    secret = StaticKey(Secret(blake2s(bytes([1])).digest())).secret
    other.set_keypair_from_private_bytes(Keypair.STATIC, secret.reveal())
    other.start_handshake()
    assert bytes(other.read_message(initiator.write(b"time"))) == b"time"
    initiator.set_psk(psk)
    assert initiator.read(bytes(other.write_message(b"back"))) == b"back"
    send, receive = initiator.transport_keys()
    sealed = Aead(send).encrypt(bytes(12), b"data", None)
    assert bytes(other.decrypt(sealed)) == b"data"
    assert Aead(receive).decrypt(bytes(12), bytes(other.encrypt(b"data")), None) == b"data"


def test_a_flipped_bit_anywhere_in_the_first_message_is_found_and_harms_nothing():
    initiator, responder, _ = pair()
    message = initiator.write(b"timestamp***")
    assert len(message) == 108
    for at in range(len(message)):
        bad = bytearray(message)
        bad[at] ^= 1 << at % 8
        with pytest.raises(Rejected) as caught:
            responder.read(bytes(bad))
        assert caught.value.drop is Drop.NOT_AUTHENTIC
    assert responder.read(message) == b"timestamp***"


def test_a_flipped_bit_anywhere_in_the_second_message_is_found_and_harms_nothing():
    initiator, responder, ephemeral = pair()
    responder.read(initiator.write(b""))
    responder.set_ephemeral(ephemeral)
    message = responder.write(b"")
    assert len(message) == 48
    for at in range(len(message)):
        bad = bytearray(message)
        bad[at] ^= 1 << at % 8
        with pytest.raises(Rejected):
            initiator.read(bytes(bad))
    assert initiator.read(message) == b""
    assert initiator.transport_keys() == responder.transport_keys()[::-1]


@pytest.mark.parametrize("size", [0, 1, 31, 32, 47, 80, 107])
def test_a_message_that_ends_too_soon_is_not_authentic(size):
    initiator, responder, _ = pair()
    message = initiator.write(b"timestamp***")
    with pytest.raises(Rejected):
        responder.read(message[:size].ljust(108, b"\0"))


def test_another_prologue_or_preshared_key_does_not_verify():
    message = pair(b"one")[0].write(b"")
    with pytest.raises(Rejected):
        pair(b"two")[1].read(message)
    initiator, responder, ephemeral = pair()
    responder.read(initiator.write(b""))
    responder.set_ephemeral(ephemeral)
    responder.set_psk(bytes([1]) * 32)
    answer = responder.write(b"")
    with pytest.raises(Rejected):
        initiator.read(answer)
    initiator.set_psk(bytes([1]) * 32)
    assert initiator.read(answer) == b""


def test_a_point_of_low_order_is_refused_in_every_place():
    static = StaticKey(Secret(bytes([1]) * 32))
    with pytest.raises(Rejected):
        NoiseHandshake.as_initiator(
            static, EphemeralKey(bytes([2]) * 32), LOW_ORDER, b""
        ).write(b"")
    with pytest.raises(Rejected):
        NoiseHandshake.as_responder(static, b"").read(LOW_ORDER + bytes(76))
