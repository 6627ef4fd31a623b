"""The four messages on the wire (paper 5.4), and every byte offset the engine needs.

Integers are little-endian. The type byte and its three reserved zeros are read as one integer,
so that a reserved byte other than zero is another, unknown type.

type           size   fields
1 initiation    148   type u32 | sender u32 | ephemeral 32 | static 48 | timestamp 28 | macs 32
2 response       92   type u32 | sender u32 | receiver u32 | ephemeral 32 | empty 16 | macs 32
3 cookie reply   64   type u32 | receiver u32 | nonce 24 | cookie 32
4 data        >= 32   type u32 | receiver u32 | counter u64 | ciphertext and tag
"""

from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple, Self

from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, Endpoint

TYPE_INITIATION: Final = 1
TYPE_RESPONSE: Final = 2
TYPE_COOKIE_REPLY: Final = 3
TYPE_DATA: Final = 4
INITIATION_SIZE: Final = 148
RESPONSE_SIZE: Final = 92
HANDSHAKE_SIZES: Final = {TYPE_INITIATION: INITIATION_SIZE, TYPE_RESPONSE: RESPONSE_SIZE}
COOKIE_REPLY_SIZE: Final = 64
DATA_HEADER_SIZE: Final = 16
DATA_OVERHEAD: Final = 32
COUNTER_AT: Final = 8
TAG_SIZE: Final = 16
# Type, receiver and counter of a data message.
DATA_HEADER: Final = Struct("<I I Q")
# A first byte that WireGuard does not use; such datagrams are for whoever embeds the node.
FOREIGN_FIRST_BYTE: Final = 0x80
NO_MAC: Final = bytes(16)

_TYPE: Final = Struct("<I")
_INITIATION: Final = Struct("<I I 32s 48s 28s 16s 16s")
_RESPONSE: Final = Struct("<I I I 32s 16s 16s 16s")
_COOKIE_REPLY: Final = Struct("<I I 24s 32s")
_PORT: Final = Struct(">H")
_MACS_SIZE: Final = 32
_MAC_SIZE: Final = 16

# hot path: bench/engine
# Returns the 12-byte nonce of a data packet: four zeros, the counter (paper 5.4.6).
nonce: Final[Callable[[int], bytes]] = Struct("<4x Q").pack


class Initiation(NamedTuple):
    """First message (paper 5.4.2), 148 bytes."""

    sender: int
    ephemeral: bytes
    static: bytes
    timestamp: bytes
    mac1: bytes = NO_MAC
    mac2: bytes = NO_MAC

    def encode(self) -> bytes:
        """Return the 148 bytes of the message."""
        return _INITIATION.pack(TYPE_INITIATION, *self)

    @classmethod
    def decode_untrusted(cls, payload: Buffer) -> Self:
        """Return the message in `payload`, of any length and content.

        Raises:
            Rejected: MALFORMED, if the length or the first four bytes are wrong.
        """
        _check_untrusted(payload, _INITIATION.size, TYPE_INITIATION)
        _, *fields = _INITIATION.unpack(payload)
        return cls(*fields)

    @property
    def noise(self) -> bytes:
        """The Noise message: ephemeral, static, timestamp."""
        return self.ephemeral + self.static + self.timestamp


class Response(NamedTuple):
    """Second message (paper 5.4.3), 92 bytes."""

    sender: int
    receiver: int
    ephemeral: bytes
    empty: bytes
    mac1: bytes = NO_MAC
    mac2: bytes = NO_MAC

    def encode(self) -> bytes:
        """Return the 92 bytes of the message."""
        return _RESPONSE.pack(TYPE_RESPONSE, *self)

    @classmethod
    def decode_untrusted(cls, payload: Buffer) -> Self:
        """Return the message in `payload`, of any length and content.

        Raises:
            Rejected: MALFORMED, if the length or the first four bytes are wrong.
        """
        _check_untrusted(payload, _RESPONSE.size, TYPE_RESPONSE)
        _, *fields = _RESPONSE.unpack(payload)
        return cls(*fields)

    @property
    def noise(self) -> bytes:
        """The Noise message: ephemeral and the tag of the empty payload."""
        return self.ephemeral + self.empty


class CookieReply(NamedTuple):
    """Answer under load (paper 5.4.7), 64 bytes."""

    receiver: int
    nonce: bytes
    cookie: bytes

    def encode(self) -> bytes:
        """Return the 64 bytes of the message."""
        return _COOKIE_REPLY.pack(TYPE_COOKIE_REPLY, *self)

    @classmethod
    def decode_untrusted(cls, payload: Buffer) -> Self:
        """Return the message in `payload`, of any length and content.

        Raises:
            Rejected: MALFORMED, if the length or the first four bytes are wrong.
        """
        _check_untrusted(payload, _COOKIE_REPLY.size, TYPE_COOKIE_REPLY)
        _, *fields = _COOKIE_REPLY.unpack(payload)
        return cls(*fields)


def type_untrusted(payload: Buffer) -> int:
    """Return the type of a message, reserved bytes included; 0 if it is shorter than that."""
    if len(payload) < _TYPE.size:
        return 0
    kind: int = _TYPE.unpack_from(payload)[0]
    return kind


def is_foreign(payload: Buffer) -> bool:
    """Tell whether a datagram is none of WireGuard's, but of whoever embeds the node."""
    return len(payload) > 0 and payload[0] >= FOREIGN_FIRST_BYTE


def data_fields_untrusted(payload: Buffer) -> tuple[int, int, int]:
    """Return type, receiver and counter of a payload as if it were data; (0, 0, 0) if short."""
    if len(payload) < DATA_OVERHEAD:
        return _NO_FIELDS
    return DATA_HEADER.unpack_from(payload)


_NO_FIELDS: Final = (0, 0, 0)


def encode_data_header(receiver: int, counter: int) -> bytes:
    """Return the 16 bytes before the ciphertext of a data packet."""
    return DATA_HEADER.pack(TYPE_DATA, receiver, counter)


def ciphertext(payload: Buffer) -> Buffer:
    """Return what follows the header of a data packet: ciphertext and tag."""
    return payload[DATA_HEADER_SIZE:]


def split_initiation(noise: bytes) -> tuple[bytes, bytes, bytes]:
    """Return ephemeral, static, timestamp of the 108 bytes of the first Noise message."""
    return noise[:32], noise[32:80], noise[80:]


def split_response(noise: bytes) -> tuple[bytes, bytes]:
    """Return ephemeral and empty of the 48 bytes of the second Noise message."""
    return noise[:32], noise[32:]


def before_mac1(message: Buffer) -> Buffer:
    """Return the part of a handshake message that mac1 covers (paper 5.4.4)."""
    return message[:-_MACS_SIZE]


def before_mac2(message: Buffer) -> Buffer:
    """Return the part of a handshake message that mac2 covers (paper 5.4.4)."""
    return message[:-_MAC_SIZE]


def macs(message: Buffer) -> tuple[bytes, bytes]:
    """Return mac1 and mac2 of a handshake message of the right length."""
    return bytes(message[-_MACS_SIZE:-_MAC_SIZE]), bytes(message[-_MAC_SIZE:])


def sender_untrusted(message: Buffer) -> int:
    """Return the sender index of a handshake message of the right length."""
    sender: int = _TYPE.unpack_from(message, _TYPE.size)[0]
    return sender


def source_bytes(endpoint: Endpoint) -> bytes:
    """Return what a cookie binds (paper 5.4.7): the address, the port in network order."""
    return endpoint.host + _PORT.pack(endpoint.port)


def _check_untrusted(payload: Buffer, size: int, kind: int) -> None:
    if len(payload) != size or type_untrusted(payload) != kind:
        raise Rejected(Drop.MALFORMED)
