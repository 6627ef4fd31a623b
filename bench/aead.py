"""`python -m bench.aead [--fast]`: the compiled AEAD beside `cryptography`, as JSON.

Microseconds a packet, each the least of many rounds in which both take turns; `ratio` is the
median over the rounds of compiled / cryptography. Both are given what a data path can prepare
beforehand: buffers, nonces, slices. `cost` is what the code costs a process: seconds and
megabytes of resident memory, each in a process of its own.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from wgpy.engine.crypto import Aead
from wgpy.kernels import compiler
from wgpy.kernels.compiler import Compiling, Unavailable
from wgpy.kernels.lanes import HEADER_SIZE, TAG_SIZE, Lanes, Memory

SIZES = (0, 64, 512, 1420)
BURSTS = (1, 4, 16, 45)
ROUNDS, FAST_ROUNDS = 400, 20
KEY = bytes(range(32))

_COST = """
import json, sys, time
import numpy, cryptography.hazmat.primitives.ciphers.aead
from wgpy.kernels import cache, image, lanes
def resident():
    fields = dict(line.split(":") for line in open("/proc/self/status"))
    return int(fields["VmRSS"].split()[0]) / 1000
before, start = resident(), time.perf_counter()
{code}
print(json.dumps({{"seconds": round(time.perf_counter() - start, 4),
    "megabytes": round(resident() - before, 1), "altogether": round(resident(), 1)}}))
"""
COSTS = {
    "load a cached image": "from wgpy.kernels import compiler; compiler.load()",
    "import llvmlite": "import llvmlite.binding",
    "import numba": "import numba",
}


class Burst(NamedTuple):
    """The same packets for both: four pieces of work."""

    seal: Callable[[], object]
    seal_one_by_one: Callable[[], object]
    open: Callable[[], object]
    open_one_by_one: Callable[[], object]


def burst(lanes: Lanes, size: int, count: int) -> Burst:
    whole = HEADER_SIZE + size + TAG_SIZE
    plain, messages, back = (bytearray(count * whole) for _ in range(3))
    counters = Memory(np.arange(count, dtype=np.uint64))
    plain_memory, message_memory, back_memory = map(Memory, (plain, messages, back))
    aead = Aead(KEY)

    def seal() -> None:
        source = plain_memory.rows(0, whole, count, size)
        target = message_memory.rows(0, whole, count, whole)
        lanes.seal(KEY, counters.rows(0, 8, count, 8), source, target, 7)

    def open_() -> None:
        source = message_memory.rows(HEADER_SIZE, whole, count, size + TAG_SIZE)
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
            slices(messages, HEADER_SIZE, size + TAG_SIZE),
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
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e6


def compared(
    one: Callable[[], object], other: Callable[[], object], rounds: int, count: int
) -> dict[str, float]:
    pairs = [(timed(one), timed(other)) for _ in range(rounds)]
    return {
        "compiled": round(min(pair[0] for pair in pairs) / count, 3),
        "cryptography": round(min(pair[1] for pair in pairs) / count, 3),
        "ratio": round(statistics.median(pair[0] / pair[1] for pair in pairs), 3),
    }


def speeds(lanes: Lanes, rounds: int) -> Iterator[dict[str, object]]:
    for size in SIZES:
        for count in BURSTS:
            work = burst(lanes, size, count)
            work.seal()
            yield {
                "size": size,
                "burst": count,
                "seal": compared(work.seal, work.seal_one_by_one, rounds, count),
                "open": compared(work.open, work.open_one_by_one, rounds, count),
            }


def cost(code: str) -> dict[str, float] | None:
    """Return what some code costs a new process, None if it does not run."""
    argv = [sys.executable, "-c", _COST.format(code=code)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def main() -> None:
    rounds = FAST_ROUNDS if "--fast" in sys.argv else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        start = time.perf_counter()
        found = compiler.load()
        lanes = found.finish() if isinstance(found, Compiling) else found
        compiled_in = time.perf_counter() - start
        if lanes is None or isinstance(lanes, Unavailable):
            print(json.dumps({"absent": lanes and lanes.reason}))
            return
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
        costs: dict[str, object] = {name: cost(code) for name, code in COSTS.items()}
        costs["compile, in the child"] = {
            "seconds": round(compiled_in, 2),
            "megabytes": round(peak, 1),
        }
        print(json.dumps({"speed": list(speeds(lanes, rounds)), "cost": costs}, indent=1))


if __name__ == "__main__":
    main()
