"""What makes packets of one TCP or UDP flow fit to become one super packet for the host.

A packet qualifies if nothing in its headers gets lost in the merged one: no IP options or
extension headers, no fragment, no TCP flag but ACK and PSH, all lengths exact, some payload.
The identification of IPv4 is not among what must agree: whoever takes a super packet apart
numbers its packets anew.
"""

from struct import Struct
from typing import Final, NamedTuple

from wgpy.kernels.sums import MODULUS, complement, number
from wgpy.model import Buffer, TunBurst
from wgpy.wire import vnet
from wgpy.wire.ip import (
    V4_CHECKSUM_AT,
    V4_HEADER_SIZE,
    V4_LENGTH_AT,
    V6_HEADER_SIZE,
    V6_LENGTH_AT,
)
from wgpy.wire.vnet import TCP_FLAGS_AT, UDP_LENGTH_AT

PACKET_MAX: Final = 65535
SEQUENCES: Final = 1 << 32
ACK: Final = 0x10
PSH: Final = 0x08
TCP: Final = 6
UDP: Final = 17

_V4_PLAIN: Final = 0x45
_V4: Final = Struct(">xBHxxHBB10x")
_V4_FRAGMENT: Final = 0x3FFF
_V6: Final = Struct(">IHBB32x")
_TCP: Final = Struct(">4sIIBBHxxxx")
_UDP: Final = Struct(">4sHxx")
_WORD: Final = Struct(">H")


class Packet(NamedTuple):
    """A packet that may be merged, and where its parts are.

    `flow` are the addresses and ports; `traits` is what else must be equal. UDP has neither
    `sequence` nor `psh`.
    """

    raw: Buffer
    gso_type: int
    csum_start: int
    headers_size: int
    flow: tuple[bytes, bytes, int]
    traits: tuple[object, ...]
    sequence: int = 0
    psh: bool = False

    @property
    def payload_size(self) -> int:
        """How much it carries."""
        return len(self.raw) - self.headers_size


def size_untrusted(row: Buffer) -> int:
    """Return the size that the packet at the beginning of `row` claims, 0 if it is none."""
    if len(row) < V4_HEADER_SIZE:
        return 0
    if row[0] >> 4 == 4:
        (size,) = _WORD.unpack_from(row, V4_LENGTH_AT)
    elif row[0] >> 4 == 6:
        (size,) = _WORD.unpack_from(row, V6_LENGTH_AT)
        size += V6_HEADER_SIZE
    else:
        return 0
    return int(size) if size <= len(row) else 0


def parse_untrusted(raw: Buffer, *, udp: bool) -> Packet | None:
    """Return the packet if it may be merged with others of its flow."""
    size = len(raw)
    if size < V4_HEADER_SIZE:
        return None
    outer: tuple[int, int, int]
    if raw[0] == _V4_PLAIN:
        start = V4_HEADER_SIZE
        tos, length, fragment, ttl, protocol = _V4.unpack_from(raw)
        fits = length == size and not fragment & _V4_FRAGMENT
        outer = (tos, fragment, ttl)
        addresses = bytes(raw[12:20])
    elif raw[0] >> 4 == 6 and size >= V6_HEADER_SIZE:
        start = V6_HEADER_SIZE
        first, length, protocol, ttl = _V6.unpack_from(raw)
        fits = length + start == size
        outer = (first, 0, ttl)
        addresses = bytes(raw[8:40])
    else:
        return None
    if fits and protocol == TCP:
        return _parse_tcp(raw, start, addresses, outer)
    if fits and protocol == UDP and udp:
        return _parse_udp(raw, start, addresses, outer)
    return None


def is_intact(packet: Packet) -> bool:
    """Tell whether its checksums verify; one of UDP that was left out does not (RFC 768)."""
    raw, start = packet.raw, packet.csum_start
    if start == V4_HEADER_SIZE and number(raw[:start]):
        return False
    return (number(raw[start:]) + pseudo_sum(packet, len(raw) - start)) % MODULUS == 0


def pseudo_sum(packet: Packet, l4_size: int) -> int:
    """Return a number congruent to the sum of the pseudo header for `l4_size` bytes."""
    protocol = UDP if packet.gso_type == vnet.GSO_UDP_L4 else TCP
    return number(packet.flow[0]) + protocol + l4_size


def merged(head: Packet, gso_size: int, payloads: list[Buffer], *, psh: bool) -> TunBurst:
    """Return the super packet of payloads end to end under the headers of the first packet."""
    _, gso_type, start, headers_size, *_ = head
    size = headers_size + sum(map(len, payloads))
    headers = bytearray(head.raw[:headers_size])
    if start == V4_HEADER_SIZE:
        _WORD.pack_into(headers, V4_LENGTH_AT, size)
        _WORD.pack_into(headers, V4_CHECKSUM_AT, 0)
        _WORD.pack_into(headers, V4_CHECKSUM_AT, complement(number(headers[:start])))
    else:
        _WORD.pack_into(headers, V6_LENGTH_AT, size - start)
    if gso_type == vnet.GSO_UDP_L4:
        offset = vnet.UDP_CSUM_OFFSET
        _WORD.pack_into(headers, start + UDP_LENGTH_AT, size - start)
    else:
        offset = vnet.TCP_CSUM_OFFSET
        if psh:
            headers[start + TCP_FLAGS_AT] |= PSH
    # The sum of the pseudo header, not complemented: the host goes on from there.
    _WORD.pack_into(headers, start + offset, pseudo_sum(head, size - start) % MODULUS)
    return TunBurst([headers, *payloads], gso_type, gso_size, start, offset)


def _parse_tcp(
    raw: Buffer, start: int, addresses: bytes, outer: tuple[int, int, int]
) -> Packet | None:
    size = len(raw)
    if size < start + vnet.TCP_HEADER_SIZE:
        return None
    ports, sequence, acknowledged, offset, flags, window = _TCP.unpack_from(raw, start)
    headers_size = start + (offset >> 4) * 4
    if (
        headers_size < start + vnet.TCP_HEADER_SIZE
        or headers_size >= size
        or flags & ~PSH != ACK
    ):
        return None
    options = bytes(raw[start + vnet.TCP_HEADER_SIZE : headers_size])
    gso_type = vnet.GSO_TCPV4 if start == V4_HEADER_SIZE else vnet.GSO_TCPV6
    flow = (addresses, ports, TCP)
    traits = (outer, acknowledged, offset, window, options)
    return Packet(raw, gso_type, start, headers_size, flow, traits, sequence, flags != ACK)


def _parse_udp(
    raw: Buffer, start: int, addresses: bytes, outer: tuple[int, int, int]
) -> Packet | None:
    headers_size = start + vnet.UDP_HEADER_SIZE
    if len(raw) <= headers_size:
        return None
    ports, length = _UDP.unpack_from(raw, start)
    if length != len(raw) - start:
        return None
    flow = (addresses, ports, UDP)
    return Packet(raw, vnet.GSO_UDP_L4, start, headers_size, flow, (outer,))
