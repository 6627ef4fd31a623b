"""Messages inside the tunnel, between two nodes with a session; big-endian.

An inner payload is `kind u8 | flags u8 | length u16 | body`: its first half byte is 0 or 1, so
it is no IP packet, and the length tells the body from WireGuard's padding. Kinds 0x0a and 0x0b
are the relays of the node. What is not known is ignored.

kind           body
0x02 PING      txid 8 | total digest 8 | round trip u32 in us, 0 if unknown;
               flags: 1 = the sender wants to be a neighbour
0x03 PONG      txid 8 | total digest 8 | observed endpoint 19, none if relayed; flags as PING
0x05 CALL_ME   endpoints, 19 each, at most 16: where to probe the sender; flags: 1 = answer so
0x10 OBJECTS   signed objects, each behind its length u16
0x11 DIGEST    64 buckets of 8; flags: 1 = an answer to one
0x12 PULL      bitmap 8: the buckets whose objects are wanted
"""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final, NamedTuple, Self

from netmgr.errors import Reason, Rejected
from netmgr.wire.fields import (
    ENDPOINT_SIZE,
    decode_blobs_untrusted,
    decode_endpoint_untrusted,
    encode_blobs,
    encode_endpoint,
)
from wgpy.model import Buffer, Endpoint

PING: Final = 0x02
PONG: Final = 0x03
CALL_ME: Final = 0x05
OBJECTS: Final = 0x10
DIGEST: Final = 0x11
PULL: Final = 0x12
FLAG: Final = 1
BUCKETS: Final = 64
BUCKET_SIZE: Final = 8
MAX_CANDIDATES: Final = 16
# Of the objects of one message; with the tunnel's and all outer headers it passes 1280.
OBJECTS_SIZE: Final = 1100
_HEAD: Final = Struct(">B B H")
_PING: Final = Struct(">8s 8s I")
_PONG: Final = Struct(">8s 8s")
_MOST: Final = 0xFFFFFFFF


class Message(NamedTuple):
    """One inner message; nothing of the body is checked."""

    kind: int
    flag: bool
    body: bytes


def encode(kind: int, body: bytes, *, flag: bool = False) -> bytes:
    """Return the inner payload of a message."""
    return _HEAD.pack(kind, FLAG * flag, len(body)) + body


def split_untrusted(payload: Buffer) -> Message:
    """Return the message in an inner payload, its padding taken off.

    Raises:
        Rejected: MALFORMED.
    """
    if len(payload) < _HEAD.size:
        raise Rejected(Reason.MALFORMED)
    kind, flags, length = _HEAD.unpack_from(payload)
    if _HEAD.size + length > len(payload):
        raise Rejected(Reason.MALFORMED)
    return Message(kind, bool(flags & FLAG), bytes(payload[_HEAD.size : _HEAD.size + length]))


class Ping(NamedTuple):
    """A question that proves the way both ways; `rtt_us` is what the sender last measured."""

    txid: bytes
    digest: bytes
    rtt_us: int

    def encode(self) -> bytes:
        """Return the body."""
        return _PING.pack(self.txid, self.digest, min(self.rtt_us, _MOST))

    @classmethod
    def decode_untrusted(cls, body: bytes) -> Self:
        """Return the question in a body.

        Raises:
            Rejected: MALFORMED.
        """
        if len(body) != _PING.size:
            raise Rejected(Reason.MALFORMED)
        return cls(*_PING.unpack(body))


class Pong(NamedTuple):
    """The answer: where the Ping came from as the other saw it."""

    txid: bytes
    digest: bytes
    observed: Endpoint | None

    def encode(self) -> bytes:
        """Return the body."""
        return _PONG.pack(self.txid, self.digest) + encode_endpoint(self.observed)

    @classmethod
    def decode_untrusted(cls, body: bytes) -> Self:
        """Return the answer in a body.

        Raises:
            Rejected: MALFORMED.
        """
        if len(body) != _PONG.size + ENDPOINT_SIZE:
            raise Rejected(Reason.MALFORMED)
        observed = decode_endpoint_untrusted(body[_PONG.size :])
        txid, digest = _PONG.unpack_from(body)
        return cls(txid, digest, observed)


def encode_endpoints(endpoints: Iterable[Endpoint]) -> bytes:
    """Return the body of CALL_ME."""
    return b"".join(map(encode_endpoint, [*endpoints][:MAX_CANDIDATES]))


def decode_endpoints_untrusted(body: bytes) -> list[Endpoint]:
    """Return the endpoints of CALL_ME.

    Raises:
        Rejected: MALFORMED.
    """
    if len(body) % ENDPOINT_SIZE or len(body) > MAX_CANDIDATES * ENDPOINT_SIZE:
        raise Rejected(Reason.MALFORMED)
    pieces = [body[at : at + ENDPOINT_SIZE] for at in range(0, len(body), ENDPOINT_SIZE)]
    found = map(decode_endpoint_untrusted, pieces)
    return [endpoint for endpoint in found if endpoint is not None]


def pack_objects(blobs: Iterable[bytes]) -> list[bytes]:
    """Return inner payloads that hold all objects, as many in each as are sure to pass."""
    messages, batch, size = [], list[bytes](), 0
    for blob in blobs:
        if batch and size + len(blob) + 2 > OBJECTS_SIZE:
            messages.append(encode(OBJECTS, encode_blobs(batch)))
            batch, size = [], 0
        batch.append(blob)
        size += len(blob) + 2
    if batch:
        messages.append(encode(OBJECTS, encode_blobs(batch)))
    return messages


def unpack_objects_untrusted(body: bytes) -> list[bytes]:
    """Return the objects of a message.

    Raises:
        Rejected: MALFORMED.
    """
    return decode_blobs_untrusted(body)


def decode_digest_untrusted(body: bytes) -> tuple[bytes, ...]:
    """Return the 64 buckets of a digest.

    Raises:
        Rejected: MALFORMED.
    """
    if len(body) != BUCKETS * BUCKET_SIZE:
        raise Rejected(Reason.MALFORMED)
    return tuple(body[at : at + BUCKET_SIZE] for at in range(0, len(body), BUCKET_SIZE))


def encode_pull(buckets: Sequence[int]) -> bytes:
    """Return the body that asks for the objects of buckets, by number."""
    return sum(1 << number for number in set(buckets)).to_bytes(BUCKETS // 8)


def decode_pull_untrusted(body: bytes) -> list[int]:
    """Return the numbers of the buckets asked for.

    Raises:
        Rejected: MALFORMED.
    """
    if len(body) != BUCKETS // 8:
        raise Rejected(Reason.MALFORMED)
    bits = int.from_bytes(body)
    return [number for number in range(BUCKETS) if bits >> number & 1]
