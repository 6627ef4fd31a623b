"""Microseconds a packet of sealing and opening bursts, compiled and by `cryptography`.

See `inprocess`. Both take turns, and are given what a data path can prepare beforehand:
buffers, nonces, slices. In the end there is what the compiled code costs a process: it is
compiled anew in a child, and loaded.
"""

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from wgpy.engine.crypto import Aead
from wgpy.kernels import compiler
from wgpy.kernels.compiler import Compiling
from wgpy.kernels.lanes import Lanes, Memory
from wgpy.wire.messages import DATA_HEADER_SIZE, TAG_SIZE

# Sizes of packets, and how many are a burst.
KINDS = ((1420, 45), (1420, 4), (64, 45))
ROUNDS = 200
KEY = bytes(range(32))

Figures = dict[str, tuple[float, str]]


class Burst(NamedTuple):
    """The same packets for both: four pieces of work."""

    seal: Callable[[], object]
    seal_one_by_one: Callable[[], object]
    open: Callable[[], object]
    open_one_by_one: Callable[[], object]


def burst(lanes: Lanes, size: int, count: int) -> Burst:
    whole = DATA_HEADER_SIZE + size + TAG_SIZE
    plain, messages, back = (bytearray(count * whole) for _ in range(3))
    counters = Memory(np.arange(count, dtype=np.uint64))
    plain_memory, message_memory, back_memory = map(Memory, (plain, messages, back))
    aead = Aead(KEY)

    def seal() -> None:
        source = plain_memory.rows(0, whole, count, size)
        target = message_memory.rows(0, whole, count, whole)
        lanes.seal(KEY, counters.rows(0, 8, count, 8), source, target, 7)

    def open_() -> None:
        source = message_memory.rows(DATA_HEADER_SIZE, whole, count, size + TAG_SIZE)
        target = back_memory.rows(0, whole, count, size)
        flags = lanes.open(KEY, message_memory.rows(8, whole, count, 8), source, target)
        assert 0 not in flags

    nonces = [bytes(4) + index.to_bytes(8, "little") for index in range(count)]

    def slices(buffer: bytearray, offset: int, length: int) -> Iterator[memoryview]:
        view = memoryview(buffer)
        starts = range(offset, offset + count * whole, whole)
        return (view[start : start + length] for start in starts)

    sealing = list(
        zip(
            nonces,
            slices(plain, 0, size),
            slices(messages, DATA_HEADER_SIZE, size + TAG_SIZE),
            strict=True,
        )
    )
    opening = [(nonce, message, text) for nonce, text, message in sealing]

    def seal_one_by_one() -> None:
        for nonce, text, message in sealing:
            aead.encrypt_into(nonce, text, None, message)

    def open_one_by_one() -> None:
        for nonce, message, text in opening:
            aead.decrypt_into(nonce, message, None, text)

    return Burst(seal, seal_one_by_one, open_, open_one_by_one)


def timed(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def both(
    what: str, size: int, count: int, works: tuple[Callable[[], object], Callable[[], object]]
) -> Figures:
    """Return the figures of compiled code and of `cryptography`, each the best round's."""
    rounds = [(timed(works[0]), timed(works[1])) for _ in range(ROUNDS)]
    compiled, one_by_one = (min(taken) / count for taken in zip(*rounds, strict=True))
    label = f"{what} {count} x {size} bytes"
    figures = {
        f"{label}, compiled": (compiled * 1e6, "us"),
        f"{label}, cryptography": (one_by_one * 1e6, "us"),
        f"{label}, compiled : cryptography": (compiled / one_by_one, "x"),
    }
    if (size, count) == KINDS[0]:
        figures[f"{label}, compiled, rate"] = (size / compiled / 1e9, "GB/s")
        figures[f"{label}, cryptography, rate"] = (size / one_by_one / 1e9, "GB/s")
    return figures


def compiled_anew() -> tuple[Lanes | None, Figures]:
    """Return the code and what it takes to make and to load it; None without llvmlite."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        began = time.perf_counter()
        found = compiler.load()
        lanes = found.finish() if isinstance(found, Compiling) else found
        compiling = time.perf_counter() - began
        if not isinstance(lanes, Lanes):
            return None, {}
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
        began = time.perf_counter()
        compiler.load()
        loading = time.perf_counter() - began
    return lanes, {
        "compile in a child": (compiling, "s"),
        "compile, memory of the child": (peak, "MB"),
        "load what is compiled": (loading * 1e3, "ms"),
    }


def main() -> None:
    lanes, figures = compiled_anew()
    if lanes is not None:
        for size, count in KINDS:
            work = burst(lanes, size, count)
            work.seal()
            figures |= both("seal", size, count, (work.seal, work.seal_one_by_one))
            figures |= both("open", size, count, (work.open, work.open_one_by_one))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
