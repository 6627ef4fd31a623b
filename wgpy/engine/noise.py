"""The typed door to `noiseprotocol`: Noise_IKpsk2 (Noise specification 34, 7.5).

The library owns the order of the tokens; this backend gives it the primitives of `crypto`, with
ephemeral keys from injected entropy and the static-static secret computed beforehand. The
library is untyped: nothing of it leaves this module.
"""

from collections.abc import Callable
from copy import copy
from typing import Any, Final, Protocol, Self

from noise.noise_protocol import NoiseProtocol
from noise.patterns import PatternIK

from wgpy.engine import crypto
from wgpy.errors import Drop, Rejected

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
NO_PSK: Final = bytes(32)


class KeyPair(Protocol):
    """A local key pair: `crypto.StaticKey` or `crypto.EphemeralKey`."""

    @property
    def public(self) -> bytes:
        """The public half, 32 bytes."""

    def exchange(self, remote: bytes) -> bytes:
        """Return the shared secret with a public key, or raise Rejected."""


class NoiseHandshake:
    """One run of the pattern; `write` and `read` alternate, the initiator writes first."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    @classmethod
    def as_initiator(
        cls, static: KeyPair, ephemeral: KeyPair, remote: bytes, prologue: bytes
    ) -> Self:
        """Begin a handshake with the owner of a static public key."""
        return cls(_started(static, ephemeral, prologue, remote))

    @classmethod
    def as_responder(cls, static: KeyPair, prologue: bytes) -> Self:
        """Expect a first message; its sender's key is `remote_static` afterwards."""
        return cls(_started(static, None, prologue, None))

    @property
    def remote_static(self) -> bytes:
        """The static public key of the other side."""
        return bytes(self._protocol.handshake_state.rs.public_bytes)

    def set_ephemeral(self, ephemeral: KeyPair) -> None:
        """Give the responder its ephemeral key, before it writes."""
        self._protocol.handshake_state.e = _Keys(ephemeral.public, ephemeral)

    def set_psk(self, psk: bytes) -> None:
        """Choose the preshared key; the responder knows it only after the first message."""
        self._protocol.psks = [psk]

    def write(self, payload: bytes) -> bytes:
        """Return the next message, `payload` encrypted in it.

        Raises:
            Rejected: a public key of the other side has a low order.
        """
        buffer = bytearray()
        self._protocol.handshake_state.write_message(payload, buffer)
        return bytes(buffer)

    def read(self, message: bytes, admits: Callable[[bytes], bool] | None = None) -> bytes:
        """Return the payload of the next message.

        A message that does not verify changes nothing: the genuine one may still come.
        `admits` is asked whether a first message may be from the static key that it names,
        before that costs another exchange; that it is the sender's is not proven then.

        Raises:
            Rejected: NOT_AUTHENTIC; UNKNOWN_PEER if it is not admitted.
        """
        protocol, buffer = _copied(self._protocol), bytearray()
        if admits is not None:
            static = protocol.handshake_state.s
            protocol.handshake_state.s = _Keys(static.public, _Guarded(static.private, admits))
        protocol.handshake_state.read_message(message, buffer)
        self._protocol = protocol
        return bytes(buffer)

    def transport_keys(self) -> tuple[bytes, bytes]:
        """Return the keys to send and to receive with, after the second message."""
        protocol = self._protocol
        return bytes(protocol.cipher_state_encrypt.k), bytes(protocol.cipher_state_decrypt.k)


def _started(
    static: KeyPair, ephemeral: KeyPair | None, prologue: bytes, remote: bytes | None
) -> Any:
    protocol = NoiseProtocol(CONSTRUCTION, _BACKEND)
    protocol.psks = [NO_PSK]
    protocol.prologue = prologue
    protocol.initiator = remote is not None
    protocol.keypairs["s"] = _Keys(static.public, static)
    if remote is not None:
        protocol.keypairs["rs"] = _Keys(remote)
    protocol.validate()
    protocol.initialise_handshake_state()
    if ephemeral is not None:
        protocol.handshake_state.e = _Keys(ephemeral.public, ephemeral)
    return protocol


def _copied(protocol: Any) -> Any:
    """Copy what reading a message changes: the protocol and its three nested states."""
    twin = copy(protocol)
    twin.psks = list(protocol.psks)
    twin.handshake_state = handshake = copy(protocol.handshake_state)
    handshake.noise_protocol = twin
    handshake.message_patterns = list(handshake.message_patterns)
    twin.symmetric_state = handshake.symmetric_state = symmetric = copy(
        protocol.symmetric_state
    )
    symmetric.noise_protocol = twin
    twin.cipher_state_handshake = symmetric.cipher_state = cipher = copy(symmetric.cipher_state)
    cipher.cipher = copy(cipher.cipher)
    return twin


class _Keys:
    """A key pair as the library wants it: `public` is what `_Dh` takes, so raw bytes do."""

    def __init__(self, public: bytes, private: KeyPair | None = None) -> None:
        self.public = self.public_bytes = public
        self.private = private

    @classmethod
    def from_public_bytes(cls, public: bytes) -> Self:
        return cls(public)


class _Guarded:
    """The responder's static keys for one first message: `es`, then `ss` if it is admitted."""

    def __init__(self, keys: KeyPair, admits: Callable[[bytes], bool]) -> None:
        self.public = keys.public
        self._keys = keys
        self._admits = admits
        self._is_named = False

    def exchange(self, remote: bytes) -> bytes:
        if self._is_named and not self._admits(remote):
            raise Rejected(Drop.UNKNOWN_PEER)
        self._is_named = True
        return self._keys.exchange(remote)


class _Dh:
    dhlen: Final = 32

    @staticmethod
    def dh(private: KeyPair, public: bytes) -> bytes:
        return private.exchange(public)


class _Cipher:
    def initialize(self, key: bytes) -> None:
        self._aead = crypto.Aead(key)

    def encrypt(self, _key: bytes, number: int, ad: bytes, plaintext: bytes) -> bytes:
        return self._aead.encrypt(_nonce(number), plaintext, ad)

    def decrypt(self, _key: bytes, number: int, ad: bytes, ciphertext: bytes) -> bytes:
        try:
            return self._aead.decrypt(_nonce(number), ciphertext, ad)
        except crypto.NotAuthentic:
            raise Rejected(Drop.NOT_AUTHENTIC) from None


class _Hash:
    hashlen: Final = crypto.HASH_SIZE
    fn: Final = None

    @staticmethod
    def hash(data: bytes) -> bytes:
        return crypto.hash_(data)


class _Backend:
    """What `NoiseProtocol` asks of its backend."""

    @staticmethod
    def map_protocol_name_to_crypto(_: object) -> dict[str, object]:
        return {
            "pattern": PatternIK,
            "dh": _Dh,
            "cipher": _Cipher,
            "hash": _Hash,
            "keypair": _Keys,
        }

    # The library binds it and hands it to `hkdf`, which needs it not.
    hmac = staticmethod(crypto.hmac_hash)

    @staticmethod
    def hkdf(key: bytes, material: bytes, count: int, hmac_hash_fn: object) -> list[bytes]:  # noqa: ARG004
        return crypto.kdf(count, key, material)


_BACKEND: Final = _Backend()


def _nonce(number: int) -> bytes:
    # Each key of the pattern encrypts once: its counter is always 0 (paper 5.4.2).
    assert number == 0
    return bytes(12)
