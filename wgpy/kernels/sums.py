"""Internet checksums (RFC 1071) of many packets at once.

A sum of 16-bit words with the carries added in is the number that the bytes spell, modulo
65535; so is the sum of its 32-bit words. Sums are kept as such numbers, and reduced at the end.
"""

import sys
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wgpy.model import Buffer

Bytes: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint32]
Numbers: TypeAlias = NDArray[np.uint64]

MODULUS: Final = 0xFFFF
WORD_SIZE: Final = 4
# What a burst of 64 KiB in packets of usual size needs; more is allocated when it comes.
MEMORY_SIZE: Final = 72 << 10
LAYOUTS_MAX: Final = 64
# Going from native byte order to that of the network, and back:
# swapping the bytes of all words swaps those of their sum (RFC 1071, 2 B), and swapping the
# bytes of a number below 65535 is multiplying it by 256, modulo 65535.
_SWAP: Final = 256 if sys.byteorder == "little" else 1


class Matrix:
    """Rows of bytes that begin at whole words, so that they are summed fast.

    `cells` are the bytes, `words` the same memory; a row has `width` bytes.
    """

    __slots__ = ("cells", "width", "words")

    def __init__(self, memory: Words, width: int) -> None:
        columns = max(1, -(-width // WORD_SIZE))
        rows = len(memory) // columns
        self.width = columns * WORD_SIZE
        self.words: Words = memory[: rows * columns].reshape(rows, columns)
        self.cells: Bytes = self.words.view(np.uint8)

    def sums(self, count: int) -> Numbers:
        """Return for each of the first `count` rows a number congruent to its sum."""
        native: Numbers = np.add.reduce(self.words[:count], axis=1, dtype=np.uint64)
        return native % MODULUS * _SWAP

    def verify(self, count: int, rest: int, last_rest: int) -> bool:
        """Tell whether the sum of each of the first `count` rows and `rest` is 0 as such.

        `last_rest` is what goes with the last of them; both are below 65535.
        """
        native: Numbers = np.add.reduce(self.words[:count], axis=1, dtype=np.uint64)
        native += rest * _SWAP
        native[count - 1] += (MODULUS + last_rest - rest) * _SWAP
        return not (native % MODULUS).any()


class Scratch:
    """Memory that is laid out as rows of whatever width a burst has, one burst at a time."""

    __slots__ = ("_layouts", "_memory")

    def __init__(self) -> None:
        self._memory: Words = np.zeros(MEMORY_SIZE // WORD_SIZE, np.uint32)
        self._layouts: dict[int, Matrix] = {}

    def matrix(self, count: int, width: int) -> Matrix:
        """Return at least `count` rows of `width` bytes or a little more, content undefined."""
        matrix = self._layouts.get(width)
        if matrix is not None and len(matrix.words) >= count:
            return matrix
        needed = count * (width // WORD_SIZE + 1)
        if needed > len(self._memory):
            return Matrix(np.zeros(needed, np.uint32), width)
        if len(self._layouts) >= LAYOUTS_MAX:
            self._layouts.clear()
        matrix = self._layouts[width] = Matrix(self._memory, width)
        return matrix


def number(data: Buffer) -> int:
    """Return a number congruent to the sum of the words of `data`; an odd byte is padded."""
    total = int.from_bytes(data)
    return (total << 8 if len(data) & 1 else total) % MODULUS


def complement(total: int) -> int:
    """Return the checksum for a sum that is not 0 as such, with 0xffff for 0 (RFC 768)."""
    return MODULUS - total % MODULUS


def complements(totals: Numbers) -> Numbers:
    """Return the checksums for sums that are not 0 as such, with 0xffff for 0 (RFC 768)."""
    checksums: Numbers = MODULUS - totals % MODULUS
    return checksums


def complements_with_zero(totals: Numbers) -> Numbers:
    """Return the checksums for sums that are not 0 as such, with 0 where TCP and IP have it."""
    checksums: Numbers = MODULUS - 1 - (totals - 1) % MODULUS
    return checksums
