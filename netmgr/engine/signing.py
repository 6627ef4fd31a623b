"""Keys and what is made with them: identities, signatures, sealed frames, keys of pairs.

A node has one secret, the 32-byte seed of an Ed25519 key (RFC 8032). Its WireGuard key is the
same key in Montgomery form (RFC 7748, 4.1): anyone computes the WireGuard public key from the
identity, so no node can claim another's, and a session proves the identity.

All keys of the network come from the shared key by keyed BLAKE2s (RFC 7693), one label each.
The only importer of cryptography in the manager.
"""

from hashlib import blake2s, sha512
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from netmgr.errors import Reason, Rejected
from netmgr.model import ID_SIZE, SHORT_ID_SIZE
from wgpy.engine import crypto
from wgpy.errors import Rejected as NoSecret
from wgpy.model import Buffer, PublicKey, Secret

SIGNATURE_SIZE: Final = 64
NONCE_SIZE: Final = 24
_PRIME: Final = 2**255 - 19
_SIGN_BIT: Final = 1 << 255
# The u of points of order 8 (RFC 7748, 6.1); of smaller order are those with y 0, 1 and -1.
_SMALL_ORDER: Final = (
    0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
)
# Every frame has a key of its own, so the cipher's nonce may be fixed.
_FIXED_NONCE: Final = bytes(12)


def short_id(identity: bytes) -> bytes:
    """Return the 8 bytes that stand for an identity in messages."""
    return blake2s(identity, digest_size=SHORT_ID_SIZE, person=b"netmgrid").digest()


def fingerprint(identity: bytes) -> str:
    """Return an identity in eight groups of four digits of base 16, for people."""
    text = blake2s(identity, digest_size=16, person=b"netmgrfp").hexdigest()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def wireguard_key(identity: bytes) -> PublicKey:
    """Return the WireGuard public key of an identity: u = (1 + y) / (1 - y) (RFC 7748, 4.1).

    Raises:
        Rejected: MALFORMED, if it is no key of 32 bytes in canonical form, or of small order,
            for which anybody can sign and no session can be had.
    """
    if len(identity) != ID_SIZE:
        raise Rejected(Reason.MALFORMED)
    y = int.from_bytes(identity, "little") & (_SIGN_BIT - 1)
    if y >= _PRIME or y in (0, 1, _PRIME - 1):
        raise Rejected(Reason.MALFORMED)
    u = (1 + y) * pow(1 - y, -1, _PRIME) % _PRIME
    if u in _SMALL_ORDER:
        raise Rejected(Reason.MALFORMED)
    return PublicKey(u.to_bytes(ID_SIZE, "little"))


def verify_untrusted(identity: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature.

    Raises:
        Rejected: BAD_SIGNATURE.
    """
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Rejected(Reason.BAD_SIGNATURE) from None


class Identity:
    """The secret of one node, and what only it can do; `seed` has 32 bytes."""

    __slots__ = ("_key", "_pairs", "_seed", "public", "short", "wireguard", "wireguard_public")

    def __init__(self, seed: Secret) -> None:
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed.reveal())
        self.public = self._key.public_key().public_bytes_raw()
        self.short = short_id(self.public)
        # The scalar of RFC 8032, 5.1.5; X25519 clamps it the same way.
        self.wireguard = crypto.clamp(Secret(sha512(seed.reveal()).digest()[:ID_SIZE]))
        self.wireguard_public = wireguard_key(self.public)
        self._pairs: dict[PublicKey, bytes] = {}

    def __repr__(self) -> str:
        return f"Identity({fingerprint(self.public)})"

    @property
    def seed(self) -> Secret:
        """The secret itself; for whoever stores it."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._key.sign(message)

    def pair_key(self, other: PublicKey) -> bytes:
        """Return the key that only the holders of two WireGuard keys know, 32 bytes.

        Raises:
            Rejected: MALFORMED, if the other key is of low order.
        """
        key = self._pairs.get(other)
        if key is None:
            private = X25519PrivateKey.from_private_bytes(self.wireguard.reveal())
            try:
                secret = crypto.dh(private, X25519PublicKey.from_public_bytes(other))
            except NoSecret:
                raise Rejected(Reason.MALFORMED) from None
            key = blake2s(b"netmgr/pair", key=secret).digest()
            self._pairs[other] = key
        return key


class NetworkKeys:
    """What the shared key of a network is used for."""

    __slots__ = ("_box", "_lan", "_mac", "_psk", "net_id")

    def __init__(self, shared_key: Secret) -> None:
        def derive(label: str) -> bytes:
            return blake2s(f"netmgr/{label}".encode(), key=shared_key.reveal()).digest()

        self.net_id = derive("net")[:SHORT_ID_SIZE]
        self._mac = derive("mac")
        self._box = derive("box")
        self._psk = derive("psk")
        self._lan = derive("lan")

    def __repr__(self) -> str:
        return "NetworkKeys(hidden)"

    def preshared_key(self, one: PublicKey, other: PublicKey) -> Secret:
        """Return the WireGuard preshared key of two nodes, the same for both."""
        low, high = sorted((bytes(one), bytes(other)))
        return Secret(blake2s(low + high, key=self._psk).digest())

    def mac(self, *parts: Buffer) -> bytes:
        """Return the 16 bytes that prove a frame to be from within the network."""
        hashed = blake2s(digest_size=crypto.MAC_SIZE, key=self._mac)
        for part in parts:
            hashed.update(part)
        return hashed.digest()

    def lan_tag(self, nonce: Buffer) -> bytes:
        """Return the 16 bytes by which members know each other on a LAN."""
        return blake2s(nonce, digest_size=crypto.MAC_SIZE, key=self._lan).digest()

    def seal(self, nonce: bytes, head: bytes, body: bytes) -> bytes:
        """Return the body sealed under a nonce never used before; 16 bytes longer."""
        return self._cipher(nonce).encrypt(_FIXED_NONCE, body, head)

    def open_untrusted(self, nonce: bytes, head: bytes, box: bytes) -> bytes:
        """Return the body of a sealed frame.

        Raises:
            Rejected: NOT_AUTHENTIC.
        """
        try:
            return self._cipher(nonce).decrypt(_FIXED_NONCE, box, head)
        except InvalidTag:
            raise Rejected(Reason.NOT_AUTHENTIC) from None

    def _cipher(self, nonce: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(blake2s(nonce, key=self._box).digest())


def keyed_mac(key: bytes, *parts: bytes) -> bytes:
    """Return the MAC of parts under a key, 16 bytes: cookies, and proofs of a pair."""
    return crypto.mac(key, b"".join(parts))


def same(one: Buffer, other: Buffer) -> bool:
    """Compare in constant time."""
    return crypto.mac_matches(one, other)


def address6(net_id: bytes, identity: bytes) -> bytes:
    """Return the IPv6 address of an identity in a network: a ULA by hash (RFC 4193), /64."""
    host = blake2s(identity, digest_size=8, person=b"netmgrv6").digest()
    return b"\xfd" + net_id[:5] + bytes(2) + host
