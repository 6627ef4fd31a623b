"""The MACs of handshake messages and the cookie (paper 5.3, 5.4.4, 5.4.7).

Every handshake message carries mac1, which only one who knows the recipient's public key can
make; without it we are silent. Under load a recipient wants mac2 too, made with a cookie that
it sent to the address in question: a flood from forged addresses costs it no Diffie-Hellman.
"""

from collections.abc import Callable
from typing import Final

from wgpy.engine import constants
from wgpy.engine.crypto import hash_, mac, mac_matches, xaead_decrypt, xaead_encrypt
from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, Endpoint
from wgpy.wire.messages import (
    NO_MAC,
    CookieReply,
    before_mac1,
    before_mac2,
    macs,
    sender_untrusted,
    source_bytes,
)

LABEL_MAC1: Final = b"mac1----"
LABEL_COOKIE: Final = b"cookie--"
_NONCE_SIZE: Final = 24
_SECRET_SIZE: Final = 32


class CookieChecker:
    """The recipient's side; one a device."""

    def __init__(self, public_key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._mac1_key = hash_(LABEL_MAC1 + public_key)
        self._cookie_key = hash_(LABEL_COOKIE + public_key)
        self._entropy = entropy
        self._secret = b""
        self._secret_at = float("-inf")

    def mac1_matches(self, message: Buffer) -> bool:
        """Tell whether the sender of a handshake message knows our public key."""
        return mac_matches(macs(message)[0], mac(self._mac1_key, before_mac1(message)))

    def mac2_matches(self, message: Buffer, source: Endpoint, now: float) -> bool:
        """Tell whether the sender of a handshake message got our cookie at its address."""
        cookie = self._cookie(source, now)
        return mac_matches(macs(message)[1], mac(cookie, before_mac2(message)))

    def reply(self, message: Buffer, source: Endpoint, now: float) -> bytes:
        """Return the cookie reply to a handshake message whose mac1 matches."""
        nonce = self._entropy(_NONCE_SIZE)
        sealed = xaead_encrypt(
            self._cookie_key, nonce, self._cookie(source, now), macs(message)[0]
        )
        return CookieReply(sender_untrusted(message), nonce, sealed).encode()

    def _cookie(self, source: Endpoint, now: float) -> bytes:
        if now - self._secret_at >= constants.COOKIE_SECRET_MAX_AGE:
            self._secret = self._entropy(_SECRET_SIZE)
            self._secret_at = now
        return mac(self._secret, source_bytes(source))


class CookieHolder:
    """The sender's side; one a peer. Seals our messages and keeps the cookie we were sent."""

    def __init__(self, remote: bytes) -> None:
        self._mac1_key = hash_(LABEL_MAC1 + remote)
        self._cookie_key = hash_(LABEL_COOKIE + remote)
        self._sent_mac1: bytes | None = None
        self._cookie = b""
        self._cookie_at = float("-inf")

    def seal(self, message: bytes, now: float) -> bytes:
        """Return a handshake message with its two MACs filled in."""
        unsealed = before_mac1(message)
        mac1 = mac(self._mac1_key, unsealed)
        self._sent_mac1 = mac1
        # The recipient may renew its secret while our message is on its way.
        lifetime = constants.COOKIE_SECRET_MAX_AGE - constants.COOKIE_SECRET_LATENCY
        mac2 = NO_MAC
        if now - self._cookie_at < lifetime:
            mac2 = mac(self._cookie, bytes(unsealed) + mac1)
        return bytes(unsealed) + mac1 + mac2

    def consume(self, reply: CookieReply, now: float) -> None:
        """Keep the cookie of a reply to our last message; one reply a message.

        Raises:
            Rejected: NOT_AUTHENTIC, if we sent nothing or it does not decrypt.
        """
        if self._sent_mac1 is None:
            raise Rejected(Drop.NOT_AUTHENTIC)
        self._cookie = xaead_decrypt(
            self._cookie_key, reply.nonce, reply.cookie, self._sent_mac1
        )
        self._cookie_at = now
        self._sent_mac1 = None
