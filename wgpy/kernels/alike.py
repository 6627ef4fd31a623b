"""Bursts whose packets a router treats alike: one look at all headers, one step for all.

They have one header but for what differs from packet to packet of a sender: the identification
and checksum of IPv4, the flow label of IPv6, and the length of the last.
"""

import sys
from typing import Final

import numpy as np

from wgpy.kernels.sums import MODULUS, Bytes
from wgpy.model import Opened
from wgpy.wire.ip import (
    V4_CHECKSUM_AT,
    V4_HEADER_SIZE,
    V4_HOPS_AT,
    V4_LENGTH_AT,
    V6_HEADER_SIZE,
    V6_HOPS_AT,
    V6_LENGTH_AT,
)

_V4_PLAIN: Final = 0x45
# A header sum that is lower by 0x0100, in the byte order of the host (RFC 1071, 2 B).
_ONE_HOP: Final = 1 if sys.byteorder == "little" else 0x0100
# Padding of a sender that pads as the paper says.
_PADDING: Final = 16


def _mask(size: int, *blanks: tuple[int, int]) -> Bytes:
    mask = np.full(size, 0xFF, np.uint8)
    for begin, end in blanks:
        mask[begin:end] = 0
    return mask


_V4_MASK: Final = _mask(V4_HEADER_SIZE, (4, 6), (10, 12))
_V6_MASK: Final = _mask(V6_HEADER_SIZE, (2, 4))
_V6_MASK[1] = 0xF0


# hot path: bench/kernels
def are_alike_untrusted(opened: Opened) -> bool:
    """Tell whether all rows are IP packets that a router would treat alike.

    Those of IPv4 have no options, and their checksums verify. All rows have a size above 0.
    What follows a packet in its row is less than 16 bytes, and becomes zeros.
    """
    buffer, stride, sizes = opened
    count, size, last_size = len(sizes), sizes[0], sizes[-1]
    if count < 2 or sizes.count(size) + (last_size < size) < count:
        return False
    if last_size >= V4_HEADER_SIZE and buffer[0] == _V4_PLAIN:
        mask, at, excluded = _V4_MASK, V4_LENGTH_AT, 0
    elif last_size >= V6_HEADER_SIZE and buffer[0] >> 4 == 6:
        mask, at, excluded = _V6_MASK, V6_LENGTH_AT, V6_HEADER_SIZE
    else:
        return False
    width = len(mask)
    rows: Bytes = np.ndarray((count, width), np.uint8, buffer, 0, (stride, 1))
    same = (rows & mask).tobytes()
    head, tail = same[:width], same[-width:]
    length = int.from_bytes(head[at : at + 2]) + excluded
    last_length = int.from_bytes(tail[at : at + 2]) + excluded
    if (
        same[:-width] != head * (count - 1)
        or head[:at] != tail[:at]
        or head[at + 2 :] != tail[at + 2 :]
        or not 0 <= size - length < _PADDING
        or not 0 <= last_size - last_length < _PADDING
        or min(length, last_length) < width
        or not (excluded or _verify(buffer, stride, count))
    ):
        return False
    cells: Bytes = np.ndarray((count, stride), np.uint8, buffer)
    if size != length:
        cells[: count - 1, length:size] = 0
    if last_size != last_length:
        cells[count - 1, last_length:last_size] = 0
    return True


def _verify(buffer: bytearray | memoryview, stride: int, count: int) -> bool:
    """Tell whether the header checksum of each row verifies."""
    words = np.ndarray((count, V4_HEADER_SIZE // 2), np.uint16, buffer, 0, (stride, 2))
    totals = np.add.reduce(words, axis=1, dtype=np.uint32) % MODULUS
    return not any(totals.tobytes())


# hot path: bench/kernels
def take_hop(opened: Opened) -> None:
    """Lower the hop limit of rows that are alike by one; it is 1 at least."""
    buffer, stride, sizes = opened
    count = len(sizes)
    v4 = buffer[0] == _V4_PLAIN
    at = V4_HOPS_AT if v4 else V6_HOPS_AT
    np.ndarray((count,), np.uint8, buffer, at, (stride,))[:] = buffer[at] - 1
    if v4:
        checksums = np.ndarray((count,), np.uint16, buffer, V4_CHECKSUM_AT, (stride,))
        # RFC 1624, equation 3, for a word that is lower by 0x0100: HC' = HC + 0x0100.
        checksums += checksums >= MODULUS - _ONE_HOP
        checksums += _ONE_HOP
