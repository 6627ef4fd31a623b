"""The compiled AEAD against RFC 8439, against `cryptography`, and against its neighbours."""

import ctypes
import itertools
import json
import mmap
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from wgpy.engine.crypto import Aead
from wgpy.kernels import image
from wgpy.kernels.lanes import Lanes, Memory, Rows
from wgpy.wire.messages import DATA_HEADER_SIZE, TAG_SIZE

pytest.importorskip("llvmlite", reason="needs llvmlite, the extra jit")
from wgpy.kernels import compiler

VECTORS = Path(__file__).parents[2] / "vectors"
KEY = bytes(range(32))
PRIME = 2**130 - 5
CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
# Ways of sharing packets out to groups, and processors to write for (None: this one). Vectors
# wider than a processor's are written as several, so that each runs everywhere.
GROUPS: list[tuple[tuple[int, ...], str | None]] = [
    ((16, 8), None),
    ((16,), None),
    ((8, 4), None),
    ((4,), None),
]
if platform.machine() == "x86_64":
    GROUPS += [((8, 4), "x86-64")]
    if " avx2 " in Path("/proc/cpuinfo").read_text():
        GROUPS += [((8,), "x86-64-v3")]
# Around 32 bits, around a sign, and the last that a session uses.
COUNTERS = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 2**13, 2**64 - 1]
SIZES = [0, 1, 15, 16, 17, 31, 48, 49, 63, 64, 65, 79, 80, 112, 127, 128, 129, 1404, 1420]


@pytest.fixture(scope="module", params=GROUPS, ids=str)
def lanes(request: pytest.FixtureRequest) -> Lanes:
    return Lanes(image.decode(compiler.compile_image(*request.param)))


def known(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def noise(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def counters_of(values: Sequence[int]) -> Rows:
    memory = Memory(np.array(values, np.uint64))
    return memory.rows(0, 8, len(values), 8)


def packed(packets: Sequence[bytes], stride: int) -> Memory:
    """Lay packets of one size out in rows; the rest is zeros."""
    return Memory(bytearray(b"".join(packet.ljust(stride, b"\0") for packet in packets)))


def sealed_by_one(key: bytes, counter: int, plaintext: bytes) -> bytes:
    return Aead(key).encrypt(bytes(4) + counter.to_bytes(8, "little"), plaintext, None)


def seal(lanes: Lanes, key: bytes, counters: Sequence[int], plaintexts: list[bytes]):
    count, size = len(plaintexts), len(plaintexts[0])
    out = bytearray(count * (size + TAG_SIZE))
    source = packed(plaintexts, size).rows(0, size, count, size)
    target = Memory(out).rows(0, size + TAG_SIZE, count, size + TAG_SIZE)
    lanes.seal(key, counters_of(counters), source, target)
    return [bytes(out[at : at + target.size]) for at in range(0, len(out), target.size)]


def opened(lanes: Lanes, key: bytes, counters: Sequence[int], messages: list[bytes]):
    """Return the flags and the plaintexts."""
    count, whole = len(messages), len(messages[0])
    size = whole - TAG_SIZE
    out = bytearray(b"\xee" * (count * size))
    source = packed(messages, whole).rows(0, whole, count, whole)
    target = Memory(out).rows(0, size, count, size)
    flags = lanes.open(key, counters_of(counters), source, target)
    return flags, [bytes(out[row * size : (row + 1) * size]) for row in range(count)]


# --- known answers ---------------------------------------------------------------------------


def test_encrypts_as_the_rfc(lanes):
    vector = known("chacha20")["encryption"]
    plaintext, nonce = vector["plaintext"].encode(), bytes.fromhex(vector["nonce"])
    counter = int.from_bytes(nonce[4:], "little")
    for message in seal(lanes, bytes.fromhex(vector["key"]), [counter] * 3, [plaintext] * 3):
        assert message[:-TAG_SIZE].hex() == vector["ciphertext"]


def accumulator(one_time_key: bytes, ciphertext: bytes) -> int:
    """Compute Poly1305's sum for a message without associated data (RFC 8439, 2.5, 2.8)."""
    factor = int.from_bytes(one_time_key[:16], "little") & CLAMP
    padded = ciphertext + bytes(-len(ciphertext) % 16)
    padded += bytes(8) + len(ciphertext).to_bytes(8, "little")
    total = 0
    for at in range(0, len(padded), 16):
        block = int.from_bytes(padded[at : at + 16], "little") + 2**128
        total = (total + block) * factor % PRIME
    return total


def tag(one_time_key: bytes, ciphertext: bytes) -> bytes:
    pad = int.from_bytes(one_time_key[16:], "little")
    return ((accumulator(one_time_key, ciphertext) + pad) % 2**128).to_bytes(16, "little")


@pytest.mark.parametrize("vector", known("chacha20")["one_time_keys"])
def test_authenticates_with_the_one_time_keys_of_the_rfc(lanes, vector):
    counter = int.from_bytes(bytes.fromhex(vector["nonce"])[4:], "little")
    one_time_key = bytes.fromhex(vector["one_time_key"])
    for size in (0, 15, 16, 64, 150):
        [message] = seal(lanes, bytes.fromhex(vector["key"]), [counter], [noise(size, size)])
        assert message[-TAG_SIZE:] == tag(one_time_key, message[:-TAG_SIZE])


def one_time_key_of(counter: int) -> bytes:
    """Return the start of ChaCha20's block 0 (RFC 8439, 2.6)."""
    state = bytes(8) + counter.to_bytes(8, "little")
    return Cipher(algorithms.ChaCha20(KEY, state), None).encryptor().update(bytes(32))


def ciphertext_for(total: int, one_time_key: bytes) -> bytes | None:
    """Return 16 bytes for which the accumulator ends at `total`, if there are any."""
    factor = int.from_bytes(one_time_key[:16], "little") & CLAMP
    inverse = pow(factor, -1, PRIME)
    lengths = (16 << 64) + 2**128
    block = (total * inverse - lengths) * inverse % PRIME - 2**128
    return block.to_bytes(16, "little") if 0 <= block < 2**128 else None


@pytest.mark.parametrize(
    "total",
    [0, 1, 5, 2**26 - 1, 2**104, 2**128 - 1, 2**128, 2**129, PRIME - 2**26, PRIME - 1],
)
def test_the_accumulator_may_end_at_any_edge(lanes, total):
    counters, messages = [], []
    for counter in range(40):
        one_time_key = one_time_key_of(counter)
        if ciphertext := ciphertext_for(total, one_time_key):
            assert accumulator(one_time_key, ciphertext) == total
            counters.append(counter)
            messages.append(ciphertext + tag(one_time_key, ciphertext))
    assert len(messages) > 1
    flags, plaintexts = opened(lanes, KEY, counters, messages)
    assert flags == b"\1" * len(messages)
    assert seal(lanes, KEY, counters, plaintexts) == messages


# --- as another implementation ---------------------------------------------------------------


def agrees(lanes: Lanes, counters: Sequence[int], size: int, seed: int) -> None:
    """Check both ways against one packet at a time."""
    key = noise(32, seed)
    plaintexts = [noise(size, seed + index) for index in range(len(counters))]
    expected = [
        sealed_by_one(key, counter, plaintext)
        for counter, plaintext in zip(counters, plaintexts, strict=True)
    ]
    assert seal(lanes, key, counters, plaintexts) == expected
    assert opened(lanes, key, counters, expected) == (b"\1" * len(counters), plaintexts)


@pytest.mark.parametrize("size", SIZES)
def test_agrees_at_sizes_around_blocks(lanes, size):
    agrees(lanes, range(19), size, size)


@pytest.mark.slow
def test_agrees_at_every_size(lanes):
    for size in range(2049):
        agrees(lanes, range(size, size + 5 + size % 13), size, size)


def test_agrees_for_any_number_of_packets(lanes):
    for count in range(1, 71):
        agrees(lanes, range(count), 20, count)


def test_agrees_at_any_counter(lanes):
    agrees(lanes, [*COUNTERS, *reversed(COUNTERS), *COUNTERS], 70, 1)
    random = np.random.default_rng(2)
    agrees(lanes, random.integers(0, 2**64, 50, np.uint64).tolist(), 40, 3)


def test_no_packets_are_no_work(lanes):
    nothing = Memory(bytearray(64)).rows(0, 0, 0, 16)
    counters, larger = nothing._replace(size=8), nothing._replace(size=32)
    lanes.seal(KEY, counters, nothing, larger)
    assert lanes.open(KEY, counters, larger, nothing) == b""


# --- where packets lie -----------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size"), [(1, 0), (3, 1), (5, 63), (16, 64), (45, 100)])
def test_writes_whole_messages_in_place_and_nothing_else(lanes, count, size):
    whole = DATA_HEADER_SIZE + size + TAG_SIZE
    stride, first, receiver = whole + 7, 11, 0xFEDCBA98
    memory = bytearray(noise(first + count * stride + 64, size))
    before = bytes(memory)
    place = Memory(memory)
    counters = [2**40 + 3 * index for index in range(count)]
    source = place.rows(first + DATA_HEADER_SIZE, stride, count, size)
    target = place.rows(first, stride, count, whole)
    lanes.seal(KEY, counters_of(counters), source, target, receiver)
    expected = bytearray(before)
    for index, counter in enumerate(counters):
        at = first + index * stride
        plaintext = before[at + DATA_HEADER_SIZE : at + DATA_HEADER_SIZE + size]
        expected[at : at + whole] = (
            bytes([4, 0, 0, 0])
            + receiver.to_bytes(4, "little")
            + counter.to_bytes(8, "little")
            + sealed_by_one(KEY, counter, plaintext)
        )
    assert memory == expected
    # Back in place, with the counters as they stand in the headers.
    in_headers = place.rows(first + 8, stride, count, 8)
    sealed = place.rows(first + DATA_HEADER_SIZE, stride, count, size + TAG_SIZE)
    assert lanes.open(KEY, in_headers, sealed, source) == b"\1" * count
    for index in range(count):
        at = first + index * stride + DATA_HEADER_SIZE
        expected[at : at + size] = before[at : at + size]
    assert memory == expected


class Walled:
    """Memory between two pages that nobody may touch; rows begin or end right at a wall."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 10 * mmap.PAGESIZE)
        self._array = np.frombuffer(self._map, np.uint8)
        start, walls = self._array.ctypes.data, (0, 9 * mmap.PAGESIZE)
        libc = ctypes.CDLL(None, use_errno=True)
        for wall in walls:
            address = ctypes.c_void_p(start + wall)
            assert libc.mprotect(address, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
        self.inside = memoryview(self._map)[mmap.PAGESIZE : 9 * mmap.PAGESIZE]

    def rows(self, count: int, size: int, *, at_end: bool) -> Rows:
        first = len(self.inside) - count * size if at_end else 0
        return Memory(self.inside).rows(first, size, count, size)


@pytest.mark.parametrize("at_end", [False, True])
def test_touches_nothing_outside_of_the_rows(lanes, at_end):
    walled = [Walled() for _ in range(3)]
    for count, size in itertools.product((1, 2, 9, 17), (0, 1, 16, 63, 64, 65, 100)):
        shapes = ((count, 8), (count, size), (count, size + TAG_SIZE))
        counters, plain, sealed = (
            memory.rows(*shape, at_end=at_end)
            for memory, shape in zip(walled, shapes, strict=True)
        )
        lanes.seal(KEY, counters, plain, sealed)
        assert lanes.open(KEY, counters, sealed, plain) == b"\1" * count


def test_rows_may_come_from_a_constant(lanes):
    plaintexts = b"".join(noise(64, index) for index in range(5))
    out = bytearray(5 * 80)
    source = Memory(plaintexts).rows(0, 64, 5, 64)
    counters = Memory(bytes(40)).rows(0, 8, 5, 8)
    lanes.seal(KEY, counters, source, Memory(out).rows(0, 80, 5, 80))
    assert out[:80] == sealed_by_one(KEY, 0, plaintexts[:64])
    with pytest.raises(ValueError, match="constant"):
        lanes.seal(KEY, counters, source, Memory(bytes(out)).rows(0, 80, 5, 80))
    with pytest.raises(ValueError, match="constant"):
        lanes.open(KEY, counters, Memory(out).rows(0, 80, 5, 80), source)


@pytest.mark.parametrize(
    "shape",
    [(-1, 8, 1, 8), (0, -8, 1, 8), (0, 8, -1, 8), (0, 8, 1, -1), (0, 8, 9, 8), (57, 0, 1, 8)],
)
def test_rows_outside_of_their_buffer_are_refused(shape):
    with pytest.raises(ValueError, match="outside"):
        Memory(bytearray(64)).rows(*shape)


def test_shapes_that_do_not_fit_are_refused(lanes):
    memory = Memory(bytearray(4096))
    eight, plain, sealed = (memory.rows(0, 64, 4, size) for size in (8, 40, 56))
    for counters, source, target in (
        (eight, plain, plain),
        (eight, plain, memory.rows(0, 64, 4, 72)),
        (eight, plain, sealed._replace(packets=3)),
        (eight._replace(packets=3), plain, sealed),
        (plain, plain, sealed),
    ):
        with pytest.raises(ValueError, match=r"target"):
            lanes.seal(KEY, counters, source, target)
    with pytest.raises(ValueError, match="size"):
        lanes.open(KEY, eight, plain, sealed)
    with pytest.raises(ValueError, match="32 bytes"):
        lanes.seal(KEY[:31], eight, plain, sealed)


# --- forgeries -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 64, 100])
def test_one_forged_packet_is_one_packet(lanes, size):
    counters, count = range(40), 40
    plaintexts = [noise(size, index) for index in counters]
    messages = seal(lanes, KEY, counters, plaintexts)
    for forged, at in itertools.product(
        (0, 7, 8, 17, 39), {0, size - 1, size, size + 15} - {-1}
    ):
        changed = bytearray(messages[forged])
        changed[at] ^= 0x80
        received = [*messages[:forged], bytes(changed), *messages[forged + 1 :]]
        flags, results = opened(lanes, KEY, counters, received)
        assert flags == bytes(index != forged for index in range(count))
        assert results[forged] == bytes(size)
        assert results[:forged] == plaintexts[:forged]
        assert results[forged + 1 :] == plaintexts[forged + 1 :]


def test_every_bit_of_a_tag_counts(lanes):
    [message] = seal(lanes, KEY, [5], [bytes(20)])
    messages = []
    for bit in range(128):
        messages.append(bytearray(message))
        messages[-1][20 + bit // 8] ^= 1 << bit % 8
    forged = [bytes(each) for each in messages]
    assert opened(lanes, KEY, [5] * 128, forged) == (bytes(128), [bytes(20)] * 128)


def test_the_wrong_key_or_counter_opens_nothing(lanes):
    messages = seal(lanes, KEY, range(9), [bytes(30)] * 9)
    assert opened(lanes, bytes(32), range(9), messages)[0] == bytes(9)
    assert opened(lanes, KEY, range(1, 10), messages)[0] == bytes(9)


def test_messages_that_do_not_fit_are_refused(lanes):
    buffer, message = bytearray(4 * 48), bytes(4 * 48)
    for key, packets, size in ((KEY[:31], 4, 192), (KEY, 5, 192), (KEY, 4, 4 * 31)):
        with pytest.raises(ValueError, match="rows"):
            lanes.seal_messages(key, memoryview(buffer)[:size], packets, 7, 0)
    for key, payload, size, packets, target in (
        (KEY[:31], message, 48, 4, bytearray(64)),
        (KEY, message, 32, 4, bytearray(64)),
        (KEY, message, 48, 5, bytearray(80)),
        (KEY, message, 48, 4, bytearray(63)),
    ):
        with pytest.raises(ValueError, match="rows"):
            lanes.open_messages(key, payload, size, packets, target)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_messages_are_opened_wherever_they_lie(lanes, kind):
    plain = noise(4 * 64, 5)
    sealed = bytearray(
        b"".join(bytes(16) + plain[at : at + 64] + bytes(16) for at in range(0, 256, 64))
    )
    lanes.seal_messages(KEY, memoryview(sealed), 4, 7, 2**32 - 2)
    around = b"before" + sealed + b"after"
    payload = memoryview(around)[6:-5] if kind is memoryview else kind(sealed)
    out = bytearray(256)
    assert lanes.open_messages(KEY, payload, 96, 4, out) == b"\1" * 4
    assert out == plain
