"""The primitives by the paper's names (5.4): DH, AEAD, XAEAD, HASH, MAC, KDF.

Only importer of `cryptography`. Keys are 32 bytes, tags 16, AEAD nonces 12, XAEAD nonces 24.
"""

import hmac
from hashlib import blake2s
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, PublicKey, Secret

MAC_SIZE: Final = 16
HASH_SIZE: Final = 32

Aead = ChaCha20Poly1305
# Raised by `Aead.decrypt*` for a packet that is not authentic.
NotAuthentic = InvalidTag


def clamp(secret: Secret) -> Secret:
    """Return the private key with the bits set that Curve25519 fixes (RFC 7748, 5)."""
    raw = bytearray(secret.reveal())
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64
    return Secret(bytes(raw))


def public_key(secret: Secret) -> PublicKey:
    """Return the public key of a private key (RFC 7748, 6.1)."""
    private = X25519PrivateKey.from_private_bytes(secret.reveal())
    return PublicKey(private.public_key().public_bytes_raw())


def dh(private: X25519PrivateKey, public: X25519PublicKey) -> bytes:
    """Return the shared secret of a key pair and a remote public key (RFC 7748, 6.1).

    Raises:
        Rejected: NOT_AUTHENTIC, if all its bits are zero: the remote key has a low order.
    """
    try:
        return private.exchange(public)
    except ValueError:
        raise Rejected(Drop.NOT_AUTHENTIC) from None


def hash_(data: Buffer) -> bytes:
    """Return HASH(data): BLAKE2s, 32 bytes (RFC 7693)."""
    return blake2s(data).digest()


def mac(key: bytes, data: Buffer) -> bytes:
    """Return MAC(key, data): keyed BLAKE2s, 16 bytes (RFC 7693)."""
    return blake2s(data, key=key, digest_size=MAC_SIZE).digest()


def mac_matches(one: Buffer, other: Buffer) -> bool:
    """Compare two MACs in constant time."""
    return hmac.compare_digest(one, other)


def hmac_hash(key: bytes, data: bytes) -> bytes:
    """Return HMAC(key, data) over HASH (RFC 2104), 32 bytes."""
    return hmac.digest(key, data, "blake2s")


def kdf(count: int, chaining_key: bytes, material: bytes) -> list[bytes]:
    """Return KDFn(key, input): `count` keys of 32 bytes (paper 5.4, HKDF of RFC 5869)."""
    secret = hmac_hash(chaining_key, material)
    keys: list[bytes] = []
    last = b""
    for number in range(1, count + 1):
        last = hmac_hash(secret, last + bytes([number]))
        keys.append(last)
    return keys


def xaead_encrypt(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Return XAEAD: XChaCha20-Poly1305 (paper 5.4, draft-irtf-cfrg-xchacha)."""
    subkey, short = _xchacha_subkey(key, nonce)
    return ChaCha20Poly1305(subkey).encrypt(short, plaintext, aad)


def xaead_decrypt(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """Return the plaintext of `xaead_encrypt`.

    Raises:
        Rejected: NOT_AUTHENTIC.
    """
    subkey, short = _xchacha_subkey(key, nonce)
    try:
        return ChaCha20Poly1305(subkey).decrypt(short, ciphertext, aad)
    except InvalidTag:
        raise Rejected(Drop.NOT_AUTHENTIC) from None


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """Return HChaCha20 of a key and 16 bytes of nonce (draft-irtf-cfrg-xchacha, 2.2).

    ChaCha20's first block is the permuted state plus the initial state; HChaCha20 is words 0-3
    and 12-15 of the permuted state alone, so subtracting the initial words gives it.
    """
    block = Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64))
    return _subtract(block[:16], _SIGMA) + _subtract(block[48:], nonce)


_SIGMA: Final = b"expand 32-byte k"
_WORD: Final = 0xFFFFFFFF


def _subtract(words: bytes, initial: bytes) -> bytes:
    out = bytearray()
    for at in range(0, len(words), 4):
        one = int.from_bytes(words[at : at + 4], "little")
        other = int.from_bytes(initial[at : at + 4], "little")
        out += ((one - other) & _WORD).to_bytes(4, "little")
    return bytes(out)


def _xchacha_subkey(key: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    return hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]


class StaticKey:
    """The identity of this node: a clamped private key and what is derived from it.

    The shared secret with each configured peer is computed once (`remember`), so that half of
    a handshake's static work is done beforehand.
    """

    def __init__(self, secret: Secret) -> None:
        self.secret = clamp(secret)
        self.public = public_key(secret)
        self._private = X25519PrivateKey.from_private_bytes(self.secret.reveal())
        self._shared: dict[bytes, bytes | None] = {}

    def remember(self, remote: bytes) -> bool:
        """Compute the shared secret with a peer; False if there is none (low-order key)."""
        try:
            self._shared[remote] = dh(self._private, X25519PublicKey.from_public_bytes(remote))
        except Rejected:
            self._shared[remote] = None
        return self._shared[remote] is not None

    def forget(self, remote: bytes) -> None:
        """Drop the shared secret with a peer."""
        self._shared.pop(remote, None)

    def exchange(self, remote: bytes) -> bytes:
        """Return the shared secret with any public key (see `dh`).

        Raises:
            Rejected: NOT_AUTHENTIC, for a key of low order.
        """
        shared = self._shared.get(remote)
        if shared is not None:
            return shared
        return dh(self._private, X25519PublicKey.from_public_bytes(remote))

    def __repr__(self) -> str:
        return f"StaticKey({self.public})"


class EphemeralKey:
    """A key pair of one handshake, made from 32 bytes of entropy."""

    def __init__(self, entropy: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(clamp(Secret(entropy)).reveal())
        self.public = self._private.public_key().public_bytes_raw()

    def exchange(self, remote: bytes) -> bytes:
        """Return the shared secret with a public key (see `dh`).

        Raises:
            Rejected: NOT_AUTHENTIC, for a key of low order.
        """
        return dh(self._private, X25519PublicKey.from_public_bytes(remote))
