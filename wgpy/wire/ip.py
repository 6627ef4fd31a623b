"""The few fields of inner IP headers that a tunnel needs (RFC 791, 3.1; RFC 8200, 3).

field            IPv4 (20 bytes or more)      IPv6 (40 bytes)
version          byte 0, upper half           byte 0, upper half
traffic class    byte 1                       bytes 0 and 1, the middle
length           2..4, of the whole packet    4..6, of what follows the header
checksum         10..12                       none
hop limit        8                            7
protocol         9                            6
identification   4..6                         4..8 of the fragment header
fragment offset  6..8, lower 13 bits          2..4 of the fragment header, upper 13 bits
source           12..16                       8..24
destination      16..20                       24..40
"""

import struct
from collections.abc import Callable
from struct import Struct
from typing import Final, TypeAlias

from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer

V4_HEADER_SIZE: Final = 20
V6_HEADER_SIZE: Final = 40
V4_LENGTH_AT: Final = 2
V4_ID_AT: Final = 4
V4_HOPS_AT: Final = 8
V4_CHECKSUM_AT: Final = 10
V4_ADDRESSES_AT: Final = 12
V6_LENGTH_AT: Final = 4
V6_HOPS_AT: Final = 7
V6_ADDRESSES_AT: Final = 8

_Destination: TypeAlias = Callable[[Buffer], tuple[bytes]]
_Flow: TypeAlias = Callable[[Buffer], tuple[object, ...]]
_LengthSource: TypeAlias = Callable[[Buffer], tuple[int, bytes]]
# Each refuses what is shorter than the header; no length is compared besides.
_V4_DESTINATION: Final[_Destination] = Struct("16x 4s").unpack_from
_V6_DESTINATION: Final[_Destination] = Struct("24x 16s").unpack_from
_V4_LENGTH_SOURCE: Final[_LengthSource] = Struct(">2x H 8x 4s 4x").unpack_from
_V6_LENGTH_SOURCE: Final[_LengthSource] = Struct(">4x H 2x 16s 16x").unpack_from
_V4_FRAGMENT_PROTOCOL: Final = Struct(">6x H x B").unpack_from
_V6_FRAGMENT: Final = Struct(">B x H 4x")
_V6_PROTOCOL_AT: Final = 6
_V4_OFFSET: Final = 0x1FFF
_V6_OFFSET: Final = 0xFFF8
_FRAGMENT: Final = 44
_UDP: Final = 17
_UDP_HEADER_SIZE: Final = 8
_V4_FLOW: Final[_Flow] = Struct("x B 14x 4s").unpack_from
_V6_FLOW: Final[_Flow] = Struct("2s 22x 16s").unpack_from
_WORD: Final = Struct(">H")
_WORD_MAX: Final = 0xFFFF

# The last two bits of the traffic class (RFC 3168, 5).
_ECN: Final = 3
_NOT_ECT: Final = 0
_ECT_1: Final = 1
_ECT_0: Final = 2
_CE: Final = 3


def version(packet: Buffer) -> int:
    """Return the IP version of a packet that has a byte at least; 4 and 6 are real."""
    return packet[0] >> 4


def destination_untrusted(packet: Buffer) -> bytes:
    """Return the packed destination of a packet of the host.

    Raises:
        Rejected: NOT_IP, if it is neither IPv4 nor IPv6 or shorter than the header.
    """
    # hot path
    try:
        first = packet[0] >> 4
        if first == 4:
            return _V4_DESTINATION(packet)[0]
        if first == 6:
            return _V6_DESTINATION(packet)[0]
    except (IndexError, struct.error):
        pass
    raise Rejected(Drop.NOT_IP)


def flow_untrusted(packet: Buffer) -> tuple[object, ...]:
    """Return what `destination_untrusted` and `ecn_to_outer` look at, to tell flows apart.

    Raises:
        Rejected: NOT_IP, if it is neither IPv4 nor IPv6 or shorter than the header.
    """
    # hot path: bench/engine
    try:
        first = packet[0] >> 4
        if first == 4:
            return _V4_FLOW(packet)
        if first == 6:
            return _V6_FLOW(packet)
    except (IndexError, struct.error):
        pass
    raise Rejected(Drop.NOT_IP)


def source_and_size_untrusted(packet: Buffer) -> tuple[bytes, int]:
    """Return the packed source of a decrypted packet and its size without the padding.

    Raises:
        Rejected: BAD_INNER, if it is no IP packet or its header promises more than there is.
    """
    # hot path
    try:
        first = packet[0] >> 4
        if first == 4:
            size, source = _V4_LENGTH_SOURCE(packet)
            if V4_HEADER_SIZE <= size <= len(packet):
                return source, size
        elif first == 6:
            size, source = _V6_LENGTH_SOURCE(packet)
            size += V6_HEADER_SIZE
            if size <= len(packet):
                return source, size
    except (IndexError, struct.error):
        pass
    raise Rejected(Drop.BAD_INNER)


def udp_payload(packet: Buffer) -> Buffer | None:
    """Return what a packet that `destination_untrusted` passed carries in UDP, None if not UDP.

    Of a fragmented packet the first piece has the beginning, and the others have nothing. UDP
    behind options of IPv6 is not found.
    """
    if version(packet) == 4:
        fragment, protocol = _V4_FRAGMENT_PROTOCOL(packet)
        first, at = not fragment & _V4_OFFSET, (packet[0] & 0xF) * 4
    else:
        protocol, first, at = packet[_V6_PROTOCOL_AT], True, V6_HEADER_SIZE
        if protocol == _FRAGMENT and len(packet) >= at + _V6_FRAGMENT.size:
            protocol, fragment = _V6_FRAGMENT.unpack_from(packet, at)
            first, at = not fragment & _V6_OFFSET, at + _V6_FRAGMENT.size
    return packet[at + _UDP_HEADER_SIZE :] if protocol == _UDP and first else None


def checksum(data: Buffer, initial: int = 0) -> int:
    """Return the Internet checksum of `data` (RFC 1071), odd bytes padded with a zero.

    `initial` is added to the sum: words of a pseudo header, not complemented. The sum of all
    16-bit words with the carries added in is the number that they spell, modulo 65535.
    """
    total = int.from_bytes(data)
    if len(data) & 1:
        total <<= 8
    total += initial
    folded = total % _WORD_MAX
    # What is divided by 65535 adds up to 65535, and not to 0, unless all words are zero.
    return _WORD_MAX - folded if folded or not total else 0


def ecn_to_outer(packet: Buffer) -> int:
    """Return the outer traffic class for a packet that `destination_untrusted` passed.

    No DSCP leaks, ECN is copied. As in the kernel, a packet marked CE by this host's own path
    travels as ECT(0) (RFC 3168, 9.1.1, full functionality), so that further congestion shows.
    """
    ecn = _ecn(packet)
    return _ECT_0 if ecn == _CE else ecn


def marks(tos: int) -> bool:
    """Tell whether an outer traffic class may change the packets in it: CE or ECT(1)."""
    return tos & _ECN not in (_NOT_ECT, _ECT_0)


def ecn_from_outer(packet: Buffer, tos: int) -> Buffer:
    """Return the packet with the congestion that its outer traffic class tells of (RFC 6040).

    `packet` passed `source_and_size_untrusted`. CE is set where the transport is capable of
    it; ECT(1) replaces ECT(0), as in the kernel. An IPv4 header checksum is adjusted.
    """
    outer = tos & _ECN
    if outer in (_NOT_ECT, _ECT_0):
        return packet
    inner = _ecn(packet)
    if inner in (_NOT_ECT, outer, _CE):
        return packet
    changed = bytearray(packet)
    if version(packet) == 4:
        before = changed[1]
        changed[1] = before & ~_ECN | outer
        (old,) = _WORD.unpack_from(changed, V4_CHECKSUM_AT)
        # RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
        new = (_WORD_MAX - old) + (_WORD_MAX - before) + changed[1]
        new = (new & _WORD_MAX) + (new >> 16)
        new = (new & _WORD_MAX) + (new >> 16)
        _WORD.pack_into(changed, V4_CHECKSUM_AT, _WORD_MAX - new)
    else:
        changed[1] = changed[1] & ~(_ECN << 4) | outer << 4
    return changed


def _ecn(packet: Buffer) -> int:
    if version(packet) == 4:
        return packet[1] & _ECN
    return packet[1] >> 4 & _ECN
