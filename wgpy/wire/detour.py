"""Relay messages: a datagram of WireGuard that travels in the sessions of others, sealed.

One hop is an inner payload of a session, 16 + 8 n bytes and the body; integers are big-endian.

field        at   size
type          0   1: 0x0a a datagram on its way, 0x0b it could not go on
turn          1   1: the index of the id whose turn it is; of an error: of who speaks
count         2   1: n, 2 to 4
zero          3   1
length        4   2: of the body; WireGuard pads what it seals
zero          6   2
source        8   8: the id of the node that the datagram is from
ids          16   8 n: the relays in their order, the destination last
body          -   the datagram; of an error: the id that could not be reached, 8

The upper half of the first byte is 0, so nobody takes it for a packet. In an error all ids are
those of the message that failed. It goes the same way back: who is before `turn` gets it.

A peer behind relays has an endpoint as others have one: an address of the discard-only prefix
100::/64 (RFC 6666), which nothing on the Internet has, with the node's id as its lower half
and port 0.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, Endpoint, Opened

RELAY: Final = 0x0A
RELAY_ERROR: Final = 0x0B
ID_SIZE: Final = 8
MIN_IDS: Final = 2
MAX_IDS: Final = 4
# A packet of so many bytes, not padded, makes 1500 outside with 32 for its session, 48 for four
# ids, 32 for the session of a hop, and 48 for UDP and IPv6.
VIA_MTU: Final = 1340

_HEADER: Final = Struct(">B B B x H 2x 8s")
_LENGTH: Final = Struct(">H")
_LENGTH_AT: Final = 4
_TURN_AT: Final = 1
_ZEROS: Final = (3, 6, 7)
_VIA: Final = b"\x01" + bytes(7)
_VIA_SIZE: Final = 16

Ids: TypeAlias = tuple[bytes, ...]


def via(node_id: bytes) -> Endpoint:
    """Return the endpoint of a node that is reached through relays; its id has 8 bytes."""
    assert len(node_id) == ID_SIZE, "an id has 8 bytes"
    return Endpoint(_VIA + node_id, 0)


def via_id(endpoint: Endpoint) -> bytes | None:
    """Return the id of a node that is reached through relays, None of any other endpoint."""
    host, port, _ = endpoint
    # hot path: most endpoints have a port
    if port or len(host) != _VIA_SIZE or not host.startswith(_VIA):
        return None
    return host[ID_SIZE:]


class Head(NamedTuple):
    """What the relay messages of one burst have in common; see the module."""

    kind: int
    turn: int
    source: bytes
    ids: Ids

    @property
    def size(self) -> int:
        """Bytes before the body."""
        return _HEADER.size + ID_SIZE * len(self.ids)

    def encode(self, length: int) -> bytes:
        """Return what goes before a body of `length` bytes."""
        fixed = _HEADER.pack(self.kind, self.turn, len(self.ids), length, self.source)
        return fixed + b"".join(self.ids)


def is_relay_message(payload: Buffer) -> bool:
    """Tell whether an inner payload that is not empty is for this module."""
    return payload[0] in (RELAY, RELAY_ERROR)


def decode_untrusted(payload: Buffer) -> tuple[Head, Buffer]:
    """Return the head of a relay message and its body, without the padding.

    No id occurs twice, nor is the source among them.

    Raises:
        Rejected: BAD_DETOUR.
    """
    if len(payload) < _HEADER.size:
        raise Rejected(Drop.BAD_DETOUR)
    kind, turn, count, length, source = _HEADER.unpack_from(payload)
    at = _HEADER.size + ID_SIZE * count
    if (
        kind not in (RELAY, RELAY_ERROR)
        or not MIN_IDS <= count <= MAX_IDS
        or turn >= count
        or any(payload[zero] for zero in _ZEROS)
        or not 0 < length <= len(payload) - at
        or (kind == RELAY_ERROR and length != ID_SIZE)
    ):
        raise Rejected(Drop.BAD_DETOUR)
    listed = bytes(payload[_HEADER.size : at])
    ids = tuple(listed[start : start + ID_SIZE] for start in range(0, len(listed), ID_SIZE))
    if len({source, *ids}) <= count:
        raise Rejected(Drop.BAD_DETOUR)
    return Head(kind, turn, source, ids), payload[at : at + length]


def wrap(head: Head, datagrams: Iterable[Buffer]) -> list[bytes]:
    """Return a relay message for each datagram."""
    return [head.encode(len(datagram)) + datagram for datagram in datagrams]


def wrap_equal(head: Head, payload: Buffer, size: int) -> Opened:
    """Return relay messages, as rows, for datagrams of `size` bytes that lie end to end.

    The last one may be shorter.
    """
    before, view = head.encode(size), memoryview(payload)
    pieces: list[Buffer] = []
    whole = (len(view) - 1) // size
    for start in range(0, whole * size, size):
        pieces += before, view[start : start + size]
    last = view[whole * size :]
    pieces += head.encode(len(last)), last, bytes(size - len(last))
    stride = len(before) + size
    sizes = [stride] * whole + [len(before) + len(last)]
    return Opened(memoryview(b"".join(pieces)), stride, sizes)


def lengths_untrusted(head: Head, opened: Opened) -> tuple[int, int] | None:
    """Return the length of all bodies but the last, and of the last.

    Rows but the last have one size, the last is not longer; the first was decoded as `head`.
    None if the head or the length of another differs, or its body is not all there.
    """
    buffer, stride, sizes = opened
    view, size, last_at = memoryview(buffer), head.size, (len(sizes) - 1) * stride
    if sizes[-1] <= size:
        return None
    (length,) = _LENGTH.unpack_from(view, _LENGTH_AT)
    (last,) = _LENGTH.unpack_from(view, last_at + _LENGTH_AT)
    heads = b"".join([view[at : at + size] for at in range(0, last_at + 1, stride)])
    if (
        heads != head.encode(length) * (len(sizes) - 1) + head.encode(last)
        or not 0 < length <= sizes[0] - size
        or not 0 < last <= sizes[-1] - size
    ):
        return None
    return length, last


def bodies(head: Head, opened: Opened, lengths: tuple[int, int]) -> list[Buffer]:
    """Return the datagrams in rows that have these lengths."""
    buffer, stride, sizes = opened
    view, size, (length, last) = memoryview(buffer), head.size, lengths
    last_at = (len(sizes) - 1) * stride + size
    found: list[Buffer] = [view[at : at + length] for at in range(size, last_at, stride)]
    return [*found, view[last_at : last_at + last]]


def pass_on(opened: Opened, turn: int) -> None:
    """Give all rows another turn; they are changed where they are."""
    buffer, stride, sizes = opened
    memoryview(buffer)[_TURN_AT::stride][: len(sizes)] = bytes([turn]) * len(sizes)
