"""One super packet of the host to the packets that go on the wire (TSO, USO).

The payload is a matrix, one row a segment; so are the headers, whose few differing fields are
columns. What each segment has of its own: the IPv4 identification and header checksum, the
lengths, the TCP sequence number, FIN and PSH only in the last, CWR only in the first (RFC 3168,
6.1.2), and the TCP or UDP checksum, which the host left to the interface.
"""

from struct import Struct
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wgpy.errors import Drop, Rejected
from wgpy.kernels.sums import (
    LAYOUTS_MAX,
    MODULUS,
    Bytes,
    Numbers,
    Scratch,
    complement,
    complements,
    complements_with_zero,
    number,
)
from wgpy.model import Buffer, Segments, TunBurst
from wgpy.wire import vnet
from wgpy.wire.ip import V4_CHECKSUM_AT, V4_ID_AT, V4_LENGTH_AT, V6_HEADER_SIZE, V6_LENGTH_AT
from wgpy.wire.vnet import TCP_FLAGS_AT, TCP_SEQUENCE_AT, UDP_LENGTH_AT

PADDING_MULTIPLE: Final = 16

_FIN_PSH: Final = 0x09
_CWR: Final = 0x80
_TCP: Final = 6
_UDP: Final = 17
# Size of the headers, csum_start, csum_offset, whether IPv4.
_Layout: TypeAlias = tuple[int, int, int, bool]

_LONG_MAX: Final = 0xFFFFFFFF
_PACKET_MAX: Final = 0xFFFF
_WORD: Final = Struct(">H")
_LONG: Final = Struct(">I")
_V4_ADDRESSES: Final = slice(12, 20)
_V6_ADDRESSES: Final = slice(8, 40)
# Rows of headers that are kept; a burst of 64 KiB has so many packets of 512 bytes.
_ROWS: Final = 128


class Headers:
    """The headers of many segments as rows, and the columns in them that differ.

    Of UDP, `sequence` is length and checksum, and is not used.
    """

    __slots__ = ("cells", "checksum", "identification", "ip_checksum", "ip_length", "sequence")

    def __init__(self, rows: int, layout: _Layout) -> None:
        size, csum_start, csum_offset, v4 = layout
        self.cells: Bytes = np.zeros((rows, size), np.uint8)
        self.ip_length = self._column(V4_LENGTH_AT if v4 else V6_LENGTH_AT, ">u2")
        self.identification = self._column(V4_ID_AT, ">u2")
        self.ip_checksum = self._column(V4_CHECKSUM_AT, ">u2")
        self.sequence = self._column(csum_start + TCP_SEQUENCE_AT, ">u4")
        self.checksum = self._column(csum_start + csum_offset, ">u2")

    def _column(self, at: int, kind: str) -> NDArray[np.unsignedinteger]:
        rows, size = self.cells.shape
        return np.ndarray((rows,), kind, self.cells, at, (size,))


class Segmenter:
    """Splits super packets; holds the memory that one burst after the other is laid out in."""

    __slots__ = ("_headers", "_numbers", "_scratch")

    def __init__(self) -> None:
        self._scratch = Scratch()
        self._headers: dict[_Layout, Headers] = {}
        self._numbers: Numbers = np.arange(_ROWS, dtype=np.uint64)

    # hot path: bench/kernels
    def segment_into(
        self,
        burst: TunBurst,
        segments: Segments,
        buffer: bytearray | memoryview,
        headroom: int,
        stride: int,
    ) -> None:
        """Write the packets of `burst` into `buffer`, packet i at `i * stride + headroom`.

        `segments` is what `measure_untrusted` returned for `burst`. `buffer` has room for
        `packets * stride` bytes. Each packet is followed by zeros up to a multiple of 16 bytes
        or to the end of its row; the headroom is left as it is.
        """
        count, size, last_size, headers_size = segments
        packet = burst.packet
        assert not isinstance(packet, list)
        payload = np.frombuffer(packet, np.uint8, offset=headers_size)
        gso_size = size - headers_size
        whole = (count - 1) * gso_size
        rows = np.ndarray((count, stride), np.uint8, buffer)

        matrix = self._scratch.matrix(count, gso_size)
        cells = matrix.cells
        if matrix.width != gso_size:
            cells[:count, gso_size:] = 0
        block = payload[:whole].reshape(count - 1, gso_size)
        tail = payload[whole:]
        cells[: count - 1, :gso_size] = block
        cells[count - 1, : len(tail)] = tail
        cells[count - 1, len(tail) :] = 0
        headers = self._headers_of(burst, segments, matrix.sums(count))

        start = headroom + headers_size
        rows[:, headroom:start] = headers
        rows[: count - 1, start : start + gso_size] = block
        rows[count - 1, start : start + len(tail)] = tail
        end = headroom + size
        if size % PADDING_MULTIPLE:
            rows[:, end : end + -size % PADDING_MULTIPLE] = 0
        if last_size % PADDING_MULTIPLE:
            end = headroom + last_size
            rows[count - 1, end : end + -last_size % PADDING_MULTIPLE] = 0

    def segment_untrusted(self, burst: TunBurst) -> list[Buffer]:
        """Return the packets of a super packet.

        Raises:
            Rejected: MALFORMED.
        """
        segments = measure_untrusted(burst)
        count, size, last_size, _ = segments
        buffer = bytearray(count * size)
        self.segment_into(burst, segments, buffer, 0, size)
        view = memoryview(buffer)
        packets: list[Buffer] = [view[at : at + size] for at in range(0, len(buffer), size)]
        packets[-1] = packets[-1][:last_size]
        return packets

    def _headers_of(self, burst: TunBurst, segments: Segments, totals: Numbers) -> Bytes:
        """Return the rows of headers; `totals`, the sums of the payloads, are used up."""
        packets, size, _, headers_size = segments
        packet, gso_type, _, csum_start, csum_offset = burst
        assert not isinstance(packet, list)
        template = bytearray(packet[:headers_size])
        v4 = template[0] >> 4 == 4
        headers = self._layout(packets, (headers_size, csum_start, csum_offset, v4))
        indices = self._numbers[:packets]
        addresses = number(template[_V4_ADDRESSES if v4 else _V6_ADDRESSES])
        totals += addresses + size - csum_start
        _WORD.pack_into(template, csum_start + csum_offset, 0)
        if gso_type & ~vnet.GSO_ECN == vnet.GSO_UDP_L4:
            _fill_udp(headers, template, segments, csum_start, totals)
        else:
            _fill_tcp(headers, template, segments, csum_start, totals, indices)
        if v4:
            _fill_v4(headers, template[:csum_start], segments, indices)
        else:
            headers.ip_length[:packets] = size - V6_HEADER_SIZE
            headers.ip_length[packets - 1] = segments.last_size - V6_HEADER_SIZE
        return headers.cells[:packets]

    def _layout(self, count: int, layout: _Layout) -> Headers:
        if count > len(self._numbers):
            self._numbers = np.arange(count, dtype=np.uint64)
        if count > _ROWS:
            return Headers(count, layout)
        headers = self._headers.get(layout)
        if headers is None:
            if len(self._headers) >= LAYOUTS_MAX:
                self._headers.clear()
            headers = self._headers[layout] = Headers(_ROWS, layout)
        return headers


def measure_untrusted(burst: TunBurst) -> Segments:
    """Return how many packets a super packet becomes, and their sizes.

    Raises:
        Rejected: MALFORMED, if its header and its fields do not agree.
    """
    headers_size = vnet.check_super_packet_untrusted(burst)
    payload_size = len(burst.packet) - headers_size
    count = -(-payload_size // burst.gso_size)
    last_size = headers_size + payload_size - (count - 1) * burst.gso_size
    size = last_size if count == 1 else headers_size + burst.gso_size
    if size > _PACKET_MAX:
        raise Rejected(Drop.MALFORMED)
    return Segments(count, size, last_size, headers_size)


def complete_checksum(burst: TunBurst) -> Buffer:
    """Return the one packet of `burst` with its checksum, in place where it is writable.

    The field holds the sum of the pseudo header, so that the sum of all is that of the whole.
    `burst` is as `vnet.decode_untrusted` made it.
    """
    packet, _, _, csum_start, csum_offset = burst
    assert not isinstance(packet, list)
    if not csum_start:
        return packet
    if isinstance(packet, bytes) or (isinstance(packet, memoryview) and packet.readonly):
        packet = bytearray(packet)
    checksum = complement(number(packet[csum_start:]))
    _WORD.pack_into(packet, csum_start + csum_offset, checksum)
    return packet


def _fill_udp(
    headers: Headers, template: bytearray, segments: Segments, start: int, totals: Numbers
) -> None:
    """Fill the rows from the template, which has a UDP header at `start`, and its fields."""
    packets, size, last_size, _ = segments
    last = packets - 1
    at = start + UDP_LENGTH_AT
    _WORD.pack_into(template, at, size - start)
    headers.cells[:packets] = np.frombuffer(template, np.uint8)
    _WORD.pack_into(headers.cells[last].data, at, last_size - start)
    totals += number(template[start:]) + _UDP
    # The length is in the header and in the pseudo header.
    totals[last] += 2 * (MODULUS - size + last_size)
    headers.checksum[:packets] = complements(totals)


def _fill_tcp(
    headers: Headers,
    template: bytearray,
    segments: Segments,
    start: int,
    totals: Numbers,
    indices: Numbers,
) -> None:
    """Fill the rows from the template, which has a TCP header at `start`, and its fields."""
    packets, size, last_size, headers_size = segments
    last = packets - 1
    at = start + TCP_FLAGS_AT
    flags = template[at]
    template[at] = flags & ~(_FIN_PSH | _CWR)
    (first,) = _LONG.unpack_from(template, start + TCP_SEQUENCE_AT)
    _LONG.pack_into(template, start + TCP_SEQUENCE_AT, 0)
    sequences = indices * (size - headers_size) + first & _LONG_MAX
    headers.cells[:packets] = np.frombuffer(template, np.uint8)
    headers.cells[0, at] |= flags & _CWR
    headers.cells[last, at] |= flags & _FIN_PSH
    totals += sequences
    totals += number(template[start:]) + _TCP
    totals[0] += flags & _CWR
    totals[last] += (flags & _FIN_PSH) + MODULUS - size + last_size
    headers.sequence[:packets] = sequences
    headers.checksum[:packets] = complements_with_zero(totals)


def _fill_v4(
    headers: Headers, template: bytearray, segments: Segments, indices: Numbers
) -> None:
    """Fill the fields of IPv4 headers that count segments or depend on what does."""
    packets, size, last_size, _ = segments
    (first,) = _WORD.unpack_from(template, V4_ID_AT)
    _LONG.pack_into(template, V4_LENGTH_AT, 0)
    _WORD.pack_into(template, V4_CHECKSUM_AT, 0)
    identifications = indices + first & MODULUS
    totals = identifications + (number(template) + size)
    totals[packets - 1] += MODULUS - size + last_size
    headers.ip_length[:packets] = size
    headers.ip_length[packets - 1] = last_size
    headers.identification[:packets] = identifications
    headers.ip_checksum[:packets] = complements_with_zero(totals)
