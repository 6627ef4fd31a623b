"""The corpus of the fuzzer, and mutations of it, without the fuzzer."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
SEEDS = {
    name: [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] for name in TARGETS
}


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Return a seed with pieces replaced by pieces of others, or by anything."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 32)))
        other = draw(st.sampled_from(seeds))
        at = draw(st.integers(0, len(other)))
        piece = draw(st.binary(max_size=16) | st.just(other[at : at + 64]))
        data = data[:start] + piece + data[stop:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_keeps_the_invariant(name):
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
def test_mutations_of_the_corpus_keep_the_invariant(name, data):
    TARGETS[name](data.draw(mutated(SEEDS[name])))


def test_every_folder_of_the_corpus_has_a_target():
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    assert all(target.__doc__ for target in TARGETS.values())
