"""Segmenting and coalescing by compiled code, with the results of numpy bit for bit."""

from functools import lru_cache
from struct import Struct
from typing import Final

import numpy as np

from wgpy.kernels import flow
from wgpy.kernels.inorder import Coalescer, header_mask, packet_at
from wgpy.kernels.lanes import Lanes, address_of
from wgpy.kernels.segment import Segmenter
from wgpy.kernels.sums import Bytes
from wgpy.model import Buffer, Segments, TunBurst
from wgpy.wire import vnet
from wgpy.wire.ip import V4_HEADER_SIZE, V4_LENGTH_AT, V6_LENGTH_AT
from wgpy.wire.vnet import TCP_FLAGS_AT, UDP_LENGTH_AT

# What `wgpy.kernels.splitting` and `wgpy.kernels.joining` call a request.
_SPLIT: Final = Struct("<11Q")
_JOIN: Final = Struct("<10Q")


class CompiledSegmenter(Segmenter):
    """Splits super packets in one call."""

    __slots__ = ("_split",)

    def __init__(self, lanes: Lanes) -> None:
        super().__init__()
        self._split = lanes.split

    # hot path: bench/kernels
    def segment_into(
        self,
        burst: TunBurst,
        segments: Segments,
        buffer: bytearray | memoryview,
        headroom: int,
        stride: int,
    ) -> None:
        """Do as `Segmenter.segment_into`.

        Raises:
            ValueError: `buffer` has no room, or `segments` are not those of `burst`.
        """
        count, size, last_size, headers = segments
        packet, gso_type, _, start, _ = burst
        assert not isinstance(packet, list)
        each, last = size - headers, last_size - headers
        room = stride - headroom
        if (
            count < 1
            or headroom < 0
            or not 0 <= last <= each
            or size > room
            or count * stride > len(buffer)
            or headers + (count - 1) * each + last != len(packet)
        ):
            raise ValueError("segments outside of their buffer")
        self._split(
            _SPLIT.pack(
                address_of(memoryview(packet)),
                address_of(memoryview(buffer)) + headroom,
                stride,
                room,
                count,
                headers,
                each,
                last,
                start,
                packet[0] >> 4 == 4,
                gso_type & ~vnet.GSO_ECN == vnet.GSO_UDP_L4,
            )
        )


class CompiledCoalescer(Coalescer):
    """Joins packets in one call, in the buffer that they are in."""

    __slots__ = ("_join",)

    def __init__(self, lanes: Lanes, *, udp: bool) -> None:
        super().__init__(udp=udp)
        self._join = lanes.join

    # hot path: bench/kernels
    def coalesce_matrix(
        self,
        buffer: Buffer,
        offset: int,
        stride: int,
        count: int,
        size: int,
        last_size: int,
    ) -> TunBurst | None:
        """Do as `Coalescer.coalesce_matrix`; what is returned has the rows but the first moved.

        Raises:
            ValueError: the rows are not within the buffer, or in each other.
        """
        view = memoryview(buffer)
        if view.readonly:
            return super().coalesce_matrix(buffer, offset, stride, count, size, last_size)
        if not 0 <= offset <= len(view) - (count - 1) * stride - last_size or (
            count > 1 and not 0 <= size <= stride
        ):
            raise ValueError("rows outside of their buffer")
        head = packet_at(view, offset, size, udp=self._udp)
        if head is None or head.psh or count < 2 or last_size <= head.headers_size:
            return None
        raw, gso_type, start, headers, *_ = head
        _kept, masks_at = _masks(gso_type, start, headers)
        found = self._join(
            _JOIN.pack(
                address_of(view) + offset,
                stride,
                count,
                headers,
                len(raw),
                last_size,
                start,
                start == V4_HEADER_SIZE,
                gso_type == vnet.GSO_UDP_L4,
                masks_at,
            )
        )
        if not found:
            return None
        begin = offset + headers
        payload = view[begin : begin + (found >> 1)]
        return flow.merged(head, len(raw) - headers, [payload], psh=bool(found & 1))


@lru_cache(maxsize=64)
def _masks(gso_type: int, csum_start: int, headers_size: int) -> tuple[Bytes, int]:
    """Return the masks for `join`, and where they are."""
    mask = header_mask(gso_type, csum_start, headers_size)
    last = bytearray(mask)
    at = V4_LENGTH_AT if csum_start == V4_HEADER_SIZE else V6_LENGTH_AT
    last[at : at + 2] = bytes(2)
    if gso_type == vnet.GSO_UDP_L4:
        at = csum_start + UDP_LENGTH_AT
        last[at : at + 2] = bytes(2)
    else:
        last[csum_start + TCP_FLAGS_AT] &= ~flow.PSH & 0xFF
    both = np.frombuffer(mask + last, np.uint8)
    return both, both.ctypes.data
