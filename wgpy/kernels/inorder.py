"""The usual case of coalescing: all packets of a burst are one flow in its order.

What one receive with UDP_GRO brings is most often what one TSO burst of the sender was: packets
of one size that differ in nothing but sequence number, identification and checksums. That is
checked for all at once; for anything else there is `coalesce`.
"""

from functools import lru_cache
from typing import Final

import numpy as np

from wgpy.kernels import flow
from wgpy.kernels.flow import PACKET_MAX, SEQUENCES, Packet
from wgpy.kernels.sums import MODULUS, WORD_SIZE, Bytes, Matrix, Scratch, Words, number
from wgpy.model import Buffer, TunBurst
from wgpy.wire import vnet
from wgpy.wire.ip import V4_CHECKSUM_AT, V4_HEADER_SIZE, V4_ID_AT, V6_HEADER_SIZE
from wgpy.wire.vnet import TCP_SEQUENCE_AT

_ROWS: Final = 128


class Coalescer:
    """Coalesces bursts laid out as rows; holds the memory that one after the other uses."""

    __slots__ = ("_indices", "_scratch", "_udp")

    def __init__(self, *, udp: bool) -> None:
        self._udp = udp
        self._scratch = Scratch()
        self._indices: Words = np.arange(_ROWS, dtype=np.uint32)

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
        """Return `count` packets at `offset + i * stride` as one, None if they are no one flow.

        `size` and `last_size` are the sizes of the rows and of the last row, at least those of
        the packets in them: padding is cut off. The payloads are slices of `buffer`.
        """
        view = memoryview(buffer)
        head = packet_at(view, offset, size, udp=self._udp)
        tail = packet_at(view, offset + (count - 1) * stride, last_size, udp=self._udp)
        if head is None or tail is None or count < 2 or not _may_be_one(head, tail, count):
            return None
        each = len(head.raw)
        matrix = self._scratch.matrix(count, each)
        cells = matrix.cells
        rows: Bytes = np.ndarray((count - 1, each), np.uint8, buffer, offset, (stride, 1))
        cells[: count - 1, :each] = rows
        if matrix.width != each:
            cells[: count - 1, each:] = 0
        cells[count - 1, : len(tail.raw)] = np.frombuffer(tail.raw, np.uint8)
        cells[count - 1, len(tail.raw) :] = 0
        if not self._continues(matrix, head, count) or not matrix.verify(
            count, _rest(head, each), _rest(head, len(tail.raw))
        ):
            return None
        start = offset + head.headers_size
        end = offset + each
        shifts = range(0, (count - 1) * stride, stride)
        payloads: list[Buffer] = [view[start + at : end + at] for at in shifts]
        payloads.append(memoryview(tail.raw)[tail.headers_size :])
        return flow.merged(head, head.payload_size, payloads, psh=tail.psh)

    def _continues(self, matrix: Matrix, head: Packet, count: int) -> bool:
        """Tell whether all rows but the last continue the first."""
        rows = matrix.words[: count - 1]
        mask = _mask(head.gso_type, head.csum_start, head.headers_size)
        constant = rows[:, : len(mask)] & mask
        if constant.tobytes() != constant[0].tobytes() * (count - 1):
            return False
        if head.gso_type == vnet.GSO_UDP_L4:
            return True
        if count > len(self._indices):
            self._indices = np.arange(count, dtype=np.uint32)
        expected = self._indices[: count - 1] * np.uint32(head.payload_size)
        expected += np.uint32(head.sequence)
        sequences = rows[:, (head.csum_start + TCP_SEQUENCE_AT) // WORD_SIZE]
        return sequences.tobytes() == expected.astype(">u4").tobytes()


def packet_at(view: memoryview, at: int, size: int, *, udp: bool) -> Packet | None:
    """Return the packet in a row of `size` bytes if it may be merged with others."""
    row = view[at : at + size]
    return flow.parse_untrusted(row[: flow.size_untrusted(row)], udp=udp)


def _may_be_one(head: Packet, tail: Packet, count: int) -> bool:
    """Tell whether `count` packets may be one, going by the first and the last."""
    size = (count - 1) * head.payload_size
    return (
        not head.psh
        and head.flow == tail.flow
        and head.traits == tail.traits
        and tail.payload_size <= head.payload_size
        and len(tail.raw) + size <= PACKET_MAX
        and (
            head.gso_type == vnet.GSO_UDP_L4
            or tail.sequence == (head.sequence + size) % SEQUENCES
        )
    )


def _rest(packet: Packet, size: int) -> int:
    """Return what the sum of a packet of `size` bytes lacks to be a multiple of 65535.

    The header of IPv4 has a checksum of its own, and adds nothing if that verifies. So both
    checksums are verified as one, which finds as much as one checksum does.
    """
    start = packet.csum_start
    rest = flow.pseudo_sum(packet, size - start)
    if start == V6_HEADER_SIZE:
        fixed = bytearray(packet.raw[:start])
        fixed[4:6] = (size - start).to_bytes(2)
        rest += MODULUS - number(fixed)
    return rest % MODULUS


@lru_cache(maxsize=64)
def _mask(gso_type: int, csum_start: int, headers_size: int) -> Words:
    return np.frombuffer(header_mask(gso_type, csum_start, headers_size), np.uint32)


def header_mask(gso_type: int, csum_start: int, headers_size: int) -> bytearray:
    """Return ones for the header bits that are the same in all packets but the last."""
    mask = bytearray(b"\xff" * headers_size)
    if csum_start == V4_HEADER_SIZE:
        mask[V4_ID_AT : V4_ID_AT + 2] = bytes(2)
        mask[V4_CHECKSUM_AT : V4_CHECKSUM_AT + 2] = bytes(2)
    if gso_type == vnet.GSO_UDP_L4:
        at = csum_start + vnet.UDP_CSUM_OFFSET
    else:
        mask[csum_start + TCP_SEQUENCE_AT : csum_start + TCP_SEQUENCE_AT + 4] = bytes(4)
        # The urgent pointer means nothing without its flag.
        mask[csum_start + 18 : csum_start + 20] = bytes(2)
        at = csum_start + vnet.TCP_CSUM_OFFSET
    mask[at : at + 2] = bytes(2)
    return mask
