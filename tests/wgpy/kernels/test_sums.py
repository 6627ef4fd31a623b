import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import slow_sum
from wgpy.kernels import sums
from wgpy.kernels.sums import MODULUS, Scratch

LENGTHS = [*range(130), 1419, 1420, 1499, 1500, 2047, 2048, 2049, 9000, 9001]
DATA = bytes((n * 7 + n // 256) % 256 for n in range(9001))


@pytest.mark.parametrize("start", [0, 0xFFFF, 0x1234])
def test_sums_of_any_length_are_those_added_word_by_word(start):
    for length in LENGTHS:
        data = DATA[:length]
        wanted = (slow_sum(data) + start) % MODULUS
        assert (sums.number(data) + start) % MODULUS == wanted
        if not data:
            continue
        matrix = Scratch().matrix(2, length)
        matrix.cells[:2] = 0
        matrix.cells[:2, :length] = np.frombuffer(data, np.uint8)
        assert [(int(total) + start) % MODULUS for total in matrix.sums(2)] == [wanted] * 2


@given(st.lists(st.binary(min_size=7, max_size=7), min_size=1, max_size=5), st.data())
def test_rows_verify_if_all_of_them_do(rows, data):
    matrix = Scratch().matrix(len(rows), 7)
    matrix.cells[: len(rows)] = 0
    rest, last_rest = 0x1234, 0x4321
    for number, row in enumerate(rows):
        addend = last_rest if number == len(rows) - 1 else rest
        missing = (MODULUS - (slow_sum(row[2:]) + addend) % MODULUS).to_bytes(2)
        matrix.cells[number, :7] = np.frombuffer(missing + row[2:], np.uint8)
    assert matrix.verify(len(rows), rest, last_rest)
    matrix.cells[data.draw(st.integers(0, len(rows) - 1)), 3] ^= 1
    assert not matrix.verify(len(rows), rest, last_rest)


def test_checksums_of_zero():
    totals = np.array([MODULUS, 2 * MODULUS, 1, MODULUS + 5], np.uint64)
    assert sums.complements(totals).tolist() == [0xFFFF, 0xFFFF, 0xFFFE, 0xFFFA]
    assert sums.complements_with_zero(totals).tolist() == [0, 0, 0xFFFE, 0xFFFA]
    assert sums.complement(MODULUS) == 0xFFFF
    assert sums.complement(1) == 0xFFFE


def test_the_memory_is_shared_by_layouts_and_grows_for_one():
    scratch = Scratch()
    assert scratch.matrix(10, 100) is scratch.matrix(10, 100)
    assert scratch.matrix(45, 1368).words.base is not None
    assert len(scratch.matrix(60_000, 1).cells) >= 60_000
    for width in range(1, 200):
        assert scratch.matrix(3, width).cells.shape[1] >= width
