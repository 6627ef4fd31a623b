"""What a router does to a packet (RFC 791, RFC 1812, 5.2 and 5.3; RFC 8200, 3).

field            IPv4 (20 bytes or more)       IPv6 (40 bytes)
hop limit        8, called time to live        7
flags, offset    6..8: 0, DF, MF, 13 bits      none: only the source makes fragments
checksum         10..12, of the header         none
options          20.. to the header's end      headers of their own, not looked at
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

from wgpy.model import Buffer
from wgpy.wire.ip import (
    V4_CHECKSUM_AT,
    V4_HEADER_SIZE,
    V4_HOPS_AT,
    V4_LENGTH_AT,
    V6_HOPS_AT,
    checksum,
    version,
)

_WORD: Final = Struct(">H")
_WORD_MAX: Final = 0xFFFF
_V4_FRAGMENT_AT: Final = 6
_V4_SOURCE: Final = slice(12, 16)
_V6_SOURCE: Final = slice(8, 24)
_DONT_FRAGMENT: Final = 0x40
_MORE: Final = 0x2000
_OFFSET: Final = 0x1FFF
_OFFSET_UNIT: Final = 8
# A hop limit one lower, as a word of the header's sum.
_ONE_HOP: Final = 0x0100
_COPIED: Final = 0x80
_END_OF_OPTIONS, _NO_OPERATION = 0, 1

_V4_MULTICAST: Final = range(224, 240)
_V4_BROADCAST: Final = b"\xff" * 4
_V6_NO_HOST: Final = (bytes(16), bytes(15) + b"\x01")


def is_routable(address: bytes) -> bool:
    """Tell whether packets from and to a packed address may cross a router.

    They may not if it is "this host", loopback, multicast, broadcast, or link-local of IPv6.
    """
    if len(address) == 4:
        first = address[0]
        return first not in (0, 127) and first not in _V4_MULTICAST and address != _V4_BROADCAST
    link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
    return not (link_local or address[0] == 0xFF or address in _V6_NO_HOST)


def source(packet: Buffer) -> bytes:
    """Return the packed source of a packet that has a whole header."""
    return bytes(packet[_V4_SOURCE if version(packet) == 4 else _V6_SOURCE])


def is_sound(packet: Buffer) -> bool:
    """Tell whether the header of a packet of at least 20 bytes is as it was sent.

    A router MUST verify the checksum of IPv4 (RFC 1812, 5.2.2).
    """
    if version(packet) != 4:
        return True
    size = (packet[0] & 15) * 4
    return V4_HEADER_SIZE <= size <= len(packet) and not checksum(packet[:size])


def hops_left(packet: Buffer) -> int:
    """Return the hop limit of a packet that has a whole header."""
    return packet[V4_HOPS_AT if version(packet) == 4 else V6_HOPS_AT]


def take_hop(packet: Buffer) -> bytearray:
    """Return the packet with its hop limit, 1 or more, lower by one."""
    changed = bytearray(packet)
    if version(packet) == 4:
        changed[V4_HOPS_AT] -= 1
        # RFC 1624, equation 3, for a word that is lower by 0x0100: HC' = HC + 0x0100.
        (total,) = _WORD.unpack_from(changed, V4_CHECKSUM_AT)
        total += _ONE_HOP
        _WORD.pack_into(changed, V4_CHECKSUM_AT, (total + (total >= _WORD_MAX)) & _WORD_MAX)
    else:
        changed[V6_HOPS_AT] -= 1
    return changed


def may_fragment(packet: Buffer) -> bool:
    """Tell whether a router may make fragments of a packet that has a sound header.

    Not of a fragment that ends beyond the largest packet there is: the offsets of its pieces
    would begin again at 0.
    """
    if version(packet) != 4 or packet[_V4_FRAGMENT_AT] & _DONT_FRAGMENT:
        return False
    offset = int.from_bytes(packet[_V4_FRAGMENT_AT : _V4_FRAGMENT_AT + 2]) & _OFFSET
    payload_size = len(packet) - (packet[0] & 15) * 4
    return offset * _OFFSET_UNIT + payload_size <= _WORD_MAX


def fragments(packet: Buffer, mtu: int) -> Iterator[bytes]:
    """Yield the pieces of a packet that `may_fragment` allows (RFC 791, 3.2).

    Each has at most `mtu` bytes, which is 68 or more. Of the options the pieces but the
    first have those that say that they are to be copied.
    """
    size = (packet[0] & 15) * 4
    header, payload = bytes(packet[:size]), memoryview(packet)[size:]
    (flags,) = _WORD.unpack_from(header, _V4_FRAGMENT_AT)
    room = (mtu - size) // _OFFSET_UNIT * _OFFSET_UNIT
    for at in range(0, len(payload), room):
        if at == room:
            header = header[:V4_HEADER_SIZE] + _copied(header[V4_HEADER_SIZE:])
        more = flags & _MORE if at + room >= len(payload) else _MORE
        offset = (flags & _OFFSET) + at // _OFFSET_UNIT
        yield _fragment(header, payload[at : at + room], more | offset)


def _fragment(header: bytes, payload: Buffer, flags: int) -> bytes:
    changed = bytearray(header)
    changed[0] = 4 << 4 | len(header) // 4
    _WORD.pack_into(changed, V4_LENGTH_AT, len(header) + len(payload))
    _WORD.pack_into(changed, _V4_FRAGMENT_AT, flags)
    _WORD.pack_into(changed, V4_CHECKSUM_AT, 0)
    _WORD.pack_into(changed, V4_CHECKSUM_AT, checksum(changed))
    return bytes(changed) + bytes(payload)


def _copied(options: bytes) -> bytes:
    """Return the options for other pieces than the first, up to one that cannot be read."""
    kept, at = b"", 0
    while at < len(options) and options[at] != _END_OF_OPTIONS:
        alone = options[at] == _NO_OPERATION
        size = 1 if alone else int.from_bytes(options[at + 1 : at + 2])
        if not alone and not 2 <= size <= len(options) - at:
            break
        if options[at] & _COPIED:
            kept += options[at : at + size]
        at += size
    return kept + bytes(-len(kept) % 4)
