"""Messages outside the tunnel: first contact, probes of paths, hellos on a LAN; big-endian.

A frame is `kind u8 (>= 0x80) | version u8 | length u16 | nonce 24 | mac 16 | box`; length is
that of the whole. The mac is over all but itself and is checked first; the box is sealed under
the nonce with the first four bytes as additional data, so it is 16 bytes longer than its body.

kind            body
0x80 KNOCK      nonce 16 | identity 32 | versions u8 u8 | zeros up to a frame of 512
0x81 ACK        nonce 16 | observed endpoint 19 | cookie 16
0x82 FIN        KNOCK's nonce 16, identity 32, versions u8 u8 | cookie 16 | record
0x83 WELCOME    nonce 16 | record
0x84 PROBE      sender 8 | target 8 | txid 8 | proof 16
0x85 PROBE_ACK  sender 8 | target 8 | txid 8 | proof 16 | observed endpoint 19

A hello on a LAN is `0x90 | port u16 | nonce 16 | tag 16`, in the clear: it names nobody. The
first half of the nonce is the same for as long as the node runs.
"""

from struct import Struct
from typing import Final, NamedTuple, Self

from netmgr.errors import Reason, Rejected
from netmgr.wire.fields import ENDPOINT_SIZE, decode_endpoint_untrusted, encode_endpoint
from wgpy.model import Buffer, Endpoint

VERSION: Final = 1
KNOCK: Final = 0x80
ACK: Final = 0x81
FIN: Final = 0x82
WELCOME: Final = 0x83
PROBE: Final = 0x84
PROBE_ACK: Final = 0x85
LAN_HELLO: Final = 0x90
# An answer to a knock is never larger than the knock: nothing to amplify with.
KNOCK_SIZE: Final = 512
MAX_SIZE: Final = 1400

_HEAD: Final = Struct(">B B H")
_FRAME: Final = Struct(">4s 24s 16s")
_TAG_SIZE: Final = 16
_KNOCK: Final = Struct(">16s 32s B B")
_ACK: Final = Struct(f">16s {ENDPOINT_SIZE}s 16s")
_FIN: Final = Struct(">16s 32s B B 16s")
_WELCOME: Final = Struct(">16s")
_PROBE: Final = Struct(">8s 8s 8s 16s")
_HELLO: Final = Struct(">B H 16s 16s")


class Frame(NamedTuple):
    """A frame taken apart; nothing in it is proven yet."""

    kind: int
    head: bytes
    nonce: bytes
    mac: bytes
    box: bytes


def head(kind: int, body_size: int) -> bytes:
    """Return the first four bytes of a frame with a body of that size."""
    return _HEAD.pack(kind, VERSION, _FRAME.size + body_size + _TAG_SIZE)


def join(first: bytes, nonce: bytes, mac: bytes, box: bytes) -> bytes:
    """Return a frame from its parts."""
    return _FRAME.pack(first, nonce, mac) + box


def split_untrusted(payload: Buffer) -> Frame:
    """Take a datagram apart.

    Raises:
        Rejected: MALFORMED, if it is no frame of this version.
    """
    if not _FRAME.size + _TAG_SIZE <= len(payload) <= MAX_SIZE:
        raise Rejected(Reason.MALFORMED)
    first, nonce, mac = _FRAME.unpack_from(payload)
    kind, version, length = _HEAD.unpack(first)
    if version != VERSION or length != len(payload):
        raise Rejected(Reason.MALFORMED)
    return Frame(kind, first, nonce, mac, bytes(payload[_FRAME.size :]))


class Knock(NamedTuple):
    """The first word: who wants in, and which versions of these messages it speaks."""

    nonce: bytes
    identity: bytes
    oldest: int = VERSION
    newest: int = VERSION

    def encode(self) -> bytes:
        """Return the body, padded."""
        padding = KNOCK_SIZE - _FRAME.size - _TAG_SIZE - _KNOCK.size
        return _KNOCK.pack(*self) + bytes(padding)

    @classmethod
    def decode_untrusted(cls, body: bytes) -> Self:
        """Return the knock in a body.

        Raises:
            Rejected: MALFORMED.
        """
        if len(body) != KNOCK_SIZE - _FRAME.size - _TAG_SIZE:
            raise Rejected(Reason.MALFORMED)
        return cls(*_KNOCK.unpack_from(body))


class Ack(NamedTuple):
    """The answer to a knock; whoever sends it keeps nothing."""

    nonce: bytes
    observed: Endpoint | None
    cookie: bytes

    def encode(self) -> bytes:
        """Return the body."""
        return _ACK.pack(self.nonce, encode_endpoint(self.observed), self.cookie)

    @classmethod
    def decode_untrusted(cls, body: bytes) -> Self:
        """Return the answer in a body.

        Raises:
            Rejected: MALFORMED.
        """
        if len(body) != _ACK.size:
            raise Rejected(Reason.MALFORMED)
        nonce, observed, cookie = _ACK.unpack(body)
        return cls(nonce, decode_endpoint_untrusted(observed), cookie)


class Fin(NamedTuple):
    """The knock again, with the cookie and the knocker's signed Record."""

    knock: Knock
    cookie: bytes
    record: bytes

    def encode(self) -> bytes:
        """Return the body."""
        return _FIN.pack(*self.knock, self.cookie) + self.record

    @classmethod
    def decode_untrusted(cls, body: bytes) -> Self:
        """Return the message in a body.

        Raises:
            Rejected: MALFORMED.
        """
        if len(body) < _FIN.size:
            raise Rejected(Reason.MALFORMED)
        *knock, cookie = _FIN.unpack_from(body)
        return cls(Knock(*knock), cookie, body[_FIN.size :])


class Welcome(NamedTuple):
    """The answer to a Fin: the other's signed Record."""

    nonce: bytes
    record: bytes

    def encode(self) -> bytes:
        """Return the body."""
        return _WELCOME.pack(self.nonce) + self.record

    @classmethod
    def decode_untrusted(cls, body: bytes) -> Self:
        """Return the message in a body.

        Raises:
            Rejected: MALFORMED.
        """
        if len(body) < _WELCOME.size:
            raise Rejected(Reason.MALFORMED)
        return cls(body[: _WELCOME.size], body[_WELCOME.size :])


class Probe(NamedTuple):
    """A question to one node on one path, or its answer, which tells where it came from.

    `sender` and `target` are short ids; `proof` is made with the key of the two.
    """

    sender: bytes
    target: bytes
    txid: bytes
    proof: bytes
    observed: Endpoint | None = None

    def encode(self, kind: int) -> bytes:
        """Return the body of a PROBE or PROBE_ACK."""
        body = _PROBE.pack(*self[:4])
        return body + encode_endpoint(self.observed) if kind == PROBE_ACK else body

    def proven(self, kind: int) -> bytes:
        """Return what the proof is made of."""
        return bytes([kind]) + self.sender + self.target + self.txid

    @classmethod
    def decode_untrusted(cls, kind: int, body: bytes) -> Self:
        """Return the question or answer in a body.

        Raises:
            Rejected: MALFORMED.
        """
        size = _PROBE.size
        if len(body) != size + (ENDPOINT_SIZE if kind == PROBE_ACK else 0):
            raise Rejected(Reason.MALFORMED)
        observed = decode_endpoint_untrusted(body[size:]) if kind == PROBE_ACK else None
        sender, target, txid, proof = _PROBE.unpack_from(body)
        return cls(sender, target, txid, proof, observed)


class LanHello(NamedTuple):
    """What a node calls out on its LAN: the port it is to be knocked at."""

    port: int
    nonce: bytes
    tag: bytes

    def encode(self) -> bytes:
        """Return the datagram."""
        return _HELLO.pack(LAN_HELLO, *self)

    @classmethod
    def decode_untrusted(cls, payload: Buffer) -> Self:
        """Return the hello in a datagram.

        Raises:
            Rejected: MALFORMED.
        """
        if len(payload) != _HELLO.size or payload[0] != LAN_HELLO:
            raise Rejected(Reason.MALFORMED)
        _, port, nonce, tag = _HELLO.unpack(payload)
        if not port:
            raise Rejected(Reason.MALFORMED)
        return cls(port, nonce, tag)
