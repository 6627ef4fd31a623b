"""The header before each packet of a TUN interface with offloads (virtio 1.2, 5.1.6).

field        bytes  content, native byte order
flags        1      NEEDS_CSUM: the checksum field holds the sum of the pseudo header only
gso_type     1      GSO_*, with ECN if the congestion window was reduced
hdr_len      2      a hint; wrong for forwarded packets, so never read
gso_size     2      payload bytes of each segment
csum_start   2      where the checksummed part begins: the TCP or UDP header
csum_offset  2      where in it the checksum is
             10
"""

from struct import Struct
from typing import Final

from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, TunBurst
from wgpy.wire.ip import V4_HEADER_SIZE, V6_HEADER_SIZE

HEADER_SIZE: Final = 10

NEEDS_CSUM: Final = 1

GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_UDP_L4: Final = 5
GSO_ECN: Final = 0x80

TCP_CSUM_OFFSET: Final = 16
UDP_CSUM_OFFSET: Final = 6
# Where in the TCP or UDP header.
TCP_SEQUENCE_AT: Final = 4
TCP_FLAGS_AT: Final = 13
UDP_LENGTH_AT: Final = 4
UDP_HEADER_SIZE: Final = 8
TCP_HEADER_SIZE: Final = 20
TCP_HEADER_MAX: Final = 60

_HEADER: Final = Struct("=BBHHHH")
_NO_OFFLOAD: Final = bytes(HEADER_SIZE)
_TCP_DATA_OFFSET: Final = 12
_CSUM_SIZE: Final = 2
_VERSIONS: Final = {GSO_TCPV4: (4,), GSO_TCPV6: (6,), GSO_UDP_L4: (4, 6)}


def encode(burst: TunBurst) -> bytes:
    """Return the 10 bytes to write before the packet of `burst`."""
    packet, gso_type, gso_size, csum_start, csum_offset = burst
    if not csum_start:
        return _NO_OFFLOAD
    size = 0
    if gso_type:
        head = packet[0] if isinstance(packet, list) else packet
        size = headers_size(head, gso_type, csum_start)
    return _HEADER.pack(NEEDS_CSUM, gso_type, size, gso_size, csum_start, csum_offset)


def decode_untrusted(header: Buffer, packet: Buffer) -> TunBurst:
    """Return the packet with what its virtio header says about it.

    `packet` may have any size; that it is IP is looked at only where the header needs it.

    Raises:
        Rejected: MALFORMED, if the header is short, unknown or does not fit the packet.
    """
    if header[:HEADER_SIZE] == _NO_OFFLOAD:
        return TunBurst(packet)
    if len(header) < HEADER_SIZE:
        raise Rejected(Drop.MALFORMED)
    flags, gso_type, _, gso_size, csum_start, csum_offset = _HEADER.unpack_from(header)
    if gso_type == GSO_NONE:
        if not flags & NEEDS_CSUM:
            return TunBurst(packet)
        if not V4_HEADER_SIZE <= csum_start <= len(packet) - csum_offset - _CSUM_SIZE:
            raise Rejected(Drop.MALFORMED)
        return TunBurst(packet, GSO_NONE, 0, csum_start, csum_offset)
    if not flags & NEEDS_CSUM:
        raise Rejected(Drop.MALFORMED)
    burst = TunBurst(packet, gso_type, gso_size, csum_start, csum_offset)
    check_super_packet_untrusted(burst)
    return burst


def check_super_packet_untrusted(burst: TunBurst) -> int:
    """Return the size of the headers of a super packet whose fields agree with each other.

    Raises:
        Rejected: MALFORMED.
    """
    packet, gso_type, gso_size, csum_start, csum_offset = burst
    kind = gso_type & ~GSO_ECN
    if isinstance(packet, list) or not gso_size or kind not in _VERSIONS:
        raise Rejected(Drop.MALFORMED)
    # Every access below is inside: the shortest is 40 bytes, the TCP offset is at 32 or later.
    udp = kind == GSO_UDP_L4
    smallest = UDP_HEADER_SIZE if udp else TCP_HEADER_SIZE
    if csum_offset != (UDP_CSUM_OFFSET if udp else TCP_CSUM_OFFSET) or (
        csum_start < V4_HEADER_SIZE or len(packet) < csum_start + smallest
    ):
        raise Rejected(Drop.MALFORMED)
    version = packet[0] >> 4
    ip_fits = (
        csum_start == (packet[0] & 15) * 4 if version == 4 else csum_start >= V6_HEADER_SIZE
    )
    size = headers_size(packet, gso_type, csum_start)
    if (
        version not in _VERSIONS[kind]
        or not ip_fits
        or not smallest <= size - csum_start <= TCP_HEADER_MAX
        or len(packet) <= size
    ):
        raise Rejected(Drop.MALFORMED)
    return size


def headers_size(packet: Buffer, gso_type: int, csum_start: int) -> int:
    """Return the size of the IP and TCP or UDP headers of a super packet."""
    if gso_type & ~GSO_ECN == GSO_UDP_L4:
        return csum_start + UDP_HEADER_SIZE
    return csum_start + (packet[csum_start + _TCP_DATA_OFFSET] >> 4) * 4
