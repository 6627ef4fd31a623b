"""Compiled segmenting and coalescing against the same by numpy."""

import ctypes
import mmap
import platform
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import (
    ACK,
    CWR,
    FIN,
    PSH,
    SEGMENTER,
    TIMESTAMPS,
    split,
    super_tcp,
    super_udp,
    take_apart,
    tcp,
    udp,
    whole,
)
from wgpy.engine.session import PAPER_LIMITS, Session
from wgpy.kernels import image
from wgpy.kernels.bursts import BurstKernels
from wgpy.kernels.compiled import CompiledCoalescer, CompiledSegmenter
from wgpy.kernels.inorder import Coalescer
from wgpy.kernels.lanes import PAYS_FROM, Lanes
from wgpy.kernels.segment import measure_untrusted
from wgpy.model import Opened, Segments, TunBurst

pytest.importorskip("llvmlite", reason="needs llvmlite, the extra jit")
from wgpy.kernels import compiler

CPUS: list[str | None] = [None]
if platform.machine() == "x86_64":
    CPUS += ["x86-64"]
    if " avx2 " in Path("/proc/cpuinfo").read_text():
        CPUS += ["x86-64-v3"]
COALESCER = Coalescer(udp=True)
OFFSET = 16
PAGE = mmap.PAGESIZE
NO_ACCESS = 0


@pytest.fixture(scope="module", params=CPUS, ids=str)
def lanes(request: pytest.FixtureRequest) -> Lanes:
    return Lanes(image.decode(compiler.compile_image((4,), request.param)))


@st.composite
def super_packets(draw: st.DrawFn) -> TunBurst:
    """Make one, with options of IPv4 or headers between that of IPv6 and the next."""
    v, gso = draw(st.sampled_from([4, 6])), draw(st.integers(1, 400) | st.just(1368))
    count, last = draw(st.integers(1, 128)), draw(st.integers(1, gso))
    noise = np.random.default_rng(draw(st.integers(0, 2**32))).bytes
    payload = noise(min((count - 1) * gso + last, 65000))
    tos, number = draw(st.integers(0, 255)), draw(st.integers(0, 65535))
    fields = {"tos": tos, "identification" if v == 4 else "label": number}
    if draw(st.booleans()):
        burst = super_udp(v, payload, gso, **fields)
    else:
        options = draw(st.sampled_from([b"", TIMESTAMPS, bytes(range(40))]))
        seq, flags = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 255))
        burst = super_tcp(v, payload, gso, seq, flags, options=options, **fields)
    packet, extra = bytearray(whole(burst)), draw(st.sampled_from([0, 8, 20, 40]))
    if v == 4:
        packet[0] += extra // 4
    packet[burst.csum_start : burst.csum_start] = noise(extra)
    return burst._replace(packet=packet, csum_start=burst.csum_start + extra)


@given(
    burst=super_packets(),
    headroom=st.sampled_from([0, 16, 3]),
    spare=st.sampled_from([0, 16, 5, 47]),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
)
def test_rows_are_the_same_as_by_numpy(lanes, burst, headroom, spare, kind):
    segments = measure_untrusted(burst)
    count, size, last_size, _ = segments
    stride = headroom + size + spare
    wanted, got = (bytearray(b"\xee") * (count * stride) for _ in range(2))
    SEGMENTER.segment_into(burst, segments, wanted, headroom, stride)
    given_ = burst._replace(packet=kind(whole(burst)))
    CompiledSegmenter(lanes).segment_into(given_, segments, got, headroom, stride)
    # What follows the zeros of a short last packet is nobody's.
    end = (count - 1) * stride + headroom + min(-(-last_size // 16) * 16, size + spare)
    assert got[:end] == wanted[:end]
    assert got[end:].count(0xEE) == len(got) - end


@given(burst=super_packets())
def test_packets_are_the_same_as_by_numpy(lanes, burst):
    got = CompiledSegmenter(lanes).segment_untrusted(burst)
    assert [bytes(packet) for packet in got] == split(burst)


@pytest.mark.parametrize("v", [4, 6])
def test_every_checksum_comes_out_right(lanes, v):
    """A word that goes through all values makes the checksum do so, 0 among them."""
    counted = b"".join(n.to_bytes(2) for n in range(0xFFFF))
    segmenter = CompiledSegmenter(lanes)
    for at in range(0, len(counted), 2 * 30_000):
        part = counted[at : at + 2 * 30_000]
        for burst in (super_tcp(v, part, 2), super_udp(v, part, 2)):
            packets = [bytes(packet) for packet in segmenter.segment_untrusted(burst)]
            assert packets == split(burst)


@pytest.mark.parametrize(
    ("change", "headroom", "stride"),
    [
        ({"packets": 4}, 0, 140),
        ({"packets": 0, "size": 340, "last_size": 340}, 0, 340),
        ({"packets": 2}, 0, 140),
        ({"size": 141}, 0, 141),
        ({"last_size": 139}, 0, 140),
        ({"last_size": 39}, 0, 140),
        ({"headers_size": 60}, 0, 140),
        ({}, 0, 139),
        ({}, 1, 140),
        ({}, 0, 141),
        ({}, -1, 139),
    ],
)
def test_segments_that_do_not_fit_are_refused(lanes, change, headroom, stride):
    burst = super_tcp(4, bytes(300), 100)
    segments = measure_untrusted(burst)._replace(**change)
    assert isinstance(segments, Segments)
    with pytest.raises(ValueError, match="outside"):
        CompiledSegmenter(lanes).segment_into(
            burst, segments, bytearray(3 * 140), headroom, stride
        )


# --- the other way ---------------------------------------------------------------------------


def laid_out(packets: list[bytes], padding: int, gap: int) -> tuple[bytearray, int]:
    stride = max(map(len, packets)) + padding + gap
    buffer = bytearray(b"\xa5") * (OFFSET + len(packets) * stride)
    for row, packet in enumerate(packets):
        at = OFFSET + row * stride
        buffer[at : at + len(packet)] = packet
    return buffer, stride


def same_both_ways(
    lanes: Lanes, packets: list[bytes], padding: int = 0, gap: int = 0, *, accept: bool = True
) -> TunBurst | None:
    """Return what comes of packets, once it is the same by numpy and compiled."""
    buffer, stride = laid_out(packets, padding, gap)
    before = bytes(buffer)
    place = (
        OFFSET,
        stride,
        len(packets),
        len(packets[0]) + padding,
        len(packets[-1]) + padding,
    )
    wanted = Coalescer(udp=accept).coalesce_matrix(bytearray(before), *place)
    got = CompiledCoalescer(lanes, udp=accept).coalesce_matrix(buffer, *place)
    if wanted is None or got is None:
        assert wanted is None
        assert got is None
        assert buffer == before
        return None
    assert got[1:] == wanted[1:]
    assert whole(got) == whole(wanted)
    begin = OFFSET + len(packets[0])
    assert buffer[:begin] == before[:begin]
    return got


@given(
    v=st.sampled_from([4, 6]),
    count=st.integers(1, 128),
    gso=st.integers(1, 500) | st.sampled_from([1368, 1440]),
    last=st.integers(1, 500),
    seed=st.integers(0, 2**32),
    seq=st.integers(0, 2**32 - 1),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | CWR]),
    options=st.sampled_from([b"", TIMESTAMPS, bytes(range(40))]),
    padding=st.integers(0, 15),
    gap=st.sampled_from([0, 1, 48]),
)
def test_one_flow_is_the_same_super_packet(
    lanes, v, count, gso, last, seed, seq, flags, options, padding, gap
):
    size = min((count - 1) * gso + min(last, gso), 65000)
    payload = np.random.default_rng(seed).bytes(size)
    for burst in (
        super_tcp(v, payload, gso, seq, flags, options=options),
        super_udp(v, payload, gso),
    ):
        same_both_ways(lanes, split(burst), padding, gap)


@given(
    v=st.sampled_from([4, 6]),
    kind=st.sampled_from([super_tcp, super_udp]),
    changes=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 150), st.integers(1, 255)), max_size=3
    ),
)
def test_changed_packets_are_judged_the_same(lanes, v, kind, changes):
    packets = [bytearray(packet) for packet in split(kind(v, bytes(range(240)), 50))]
    for row, at, bits in changes:
        packets[row][at % len(packets[row])] ^= bits
    same_both_ways(lanes, [bytes(packet) for packet in packets])


@pytest.mark.parametrize("v", [4, 6])
@pytest.mark.parametrize("kind", [super_tcp, super_udp])
def test_no_changed_byte_goes_unnoticed(lanes, v, kind):
    packets = split(kind(v, bytes(range(1, 241)), 50))
    assert same_both_ways(lanes, packets) is not None
    for row, packet in enumerate(packets):
        for at in range(len(packet)):
            changed = bytearray(packet)
            changed[at] ^= 0x11
            spoilt = [*packets[:row], bytes(changed), *packets[row + 1 :]]
            assert same_both_ways(lanes, spoilt) is None, f"byte {at} of packet {row}"


# As many kinds of trouble as there are fields, checksums always right.
VARIED = st.builds(
    tcp,
    st.just(4),
    st.sampled_from([b"ab", b"ab", b"ab", b"cd", b"c", b"cde"]),
    st.integers(0, 3).map(lambda n: n * 2),
    st.sampled_from([ACK, ACK, ACK, ACK | PSH]),
    window=st.sampled_from([9, 9, 9, 10]),
    ttl=st.sampled_from([64, 64, 64, 63]),
    fragment=st.sampled_from([0, 0, 0, 0x4000, 0x2000]),
    identification=st.integers(0, 3),
)


@given(st.lists(VARIED, min_size=1, max_size=3))
def test_packets_of_any_kind_are_judged_the_same(lanes, packets):
    same_both_ways(lanes, packets)


@pytest.mark.parametrize(
    "packets",
    [
        [tcp(4, b"ab", 1), tcp(4, b"cd", 1)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 5), tcp(4, b"ef", 3)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 3, ttl=9)],
        [tcp(4, b"ab", 1, ACK | PSH), tcp(4, b"cd", 3)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 3, ACK | PSH), tcp(4, b"ef", 5)],
        [tcp(6, b"ab", 1), tcp(6, b"cd", 3, label=9), tcp(6, b"ef", 5)],
        [tcp(4, b"ab", 1), tcp(4, b"cde", 3)],
        [tcp(4, b"ab", 1), tcp(4, b"", 3)],
        [udp(4, b"ab"), udp(4, b"abc")],
        [udp(4, b"ab"), udp(4, b"ab")[:26] + bytes(2) + b"ab", udp(4, b"ab")],
        [udp(4, b"ab"), tcp(4, b"ab")],
        [bytes(60), bytes(60)],
        [b"", b""],
        [b"\x45", b"\x45"],
        [tcp(4, b"ab", 1), b""],
        [tcp(4, bytes(7000), 1 + at * 7000) for at in range(10)],
    ],
)
def test_anything_else_is_left_to_the_general_way(lanes, packets):
    assert same_both_ways(lanes, packets) is None
    assert same_both_ways(lanes, packets, padding=8) is None


@pytest.mark.parametrize("kind", [super_tcp, super_udp])
def test_a_last_packet_that_is_cut_off_is_noticed(lanes, kind):
    """What it lacks is there, but not its own."""
    packets = split(kind(4, bytes(range(100)), 20))
    size = len(packets[0])
    joined = b"".join(packets)
    for less in (1, 20, 21, size):
        place = (0, size, 5, size, size - less)
        assert COALESCER.coalesce_matrix(bytearray(joined), *place) is None
        for content in (joined, joined[: len(joined) - less]):
            view = at_the_end_of_a_page(content)
            assert CompiledCoalescer(lanes, udp=True).coalesce_matrix(view, *place) is None
            assert view == content


def test_a_length_that_is_not_that_of_a_datagram_is_noticed(lanes):
    """Both lengths and the checksum are changed, so that nothing else can tell."""
    head, tail = udp(6, b"abcd"), bytearray(udp(6, b"abcd"))
    tail[44:46] = (11).to_bytes(2)
    tail[46:48] = ((int.from_bytes(tail[46:48]) + 1) % 65535).to_bytes(2)
    assert same_both_ways(lanes, [head, bytes(tail)]) is None


def test_udp_stays_apart_where_the_host_does_not_take_it(lanes):
    assert same_both_ways(lanes, [udp(4, b"ab")] * 3) is not None
    assert same_both_ways(lanes, [udp(4, b"ab")] * 3, accept=False) is None


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=4), st.integers(0, 9))
def test_garbage_is_judged_the_same(lanes, packets, padding):
    same_both_ways(lanes, packets, padding)


def test_what_cannot_be_written_to_is_left_as_it_is(lanes):
    packets = split(super_tcp(4, bytes(range(100)), 20))
    buffer, stride = laid_out(packets, 0, 0)
    place = (OFFSET, stride, len(packets), stride, stride)
    got = CompiledCoalescer(lanes, udp=True).coalesce_matrix(bytes(buffer), *place)
    assert got is not None
    assert isinstance(got.packet, list)
    assert len(got.packet) == 6


@pytest.mark.parametrize(
    ("offset", "stride", "count", "size", "last"),
    [(0, 60, 6, 60, 60), (1, 60, 5, 60, 60), (-1, 60, 5, 60, 60), (0, 59, 5, 60, 60)],
)
def test_rows_that_do_not_fit_are_refused(lanes, offset, stride, count, size, last):
    buffer = bytearray(b"".join(split(super_tcp(4, bytes(range(100)), 20))))
    with pytest.raises(ValueError, match="outside"):
        CompiledCoalescer(lanes, udp=True).coalesce_matrix(
            buffer, offset, stride, count, size, last
        )


def at_the_end_of_a_page(content: bytes) -> memoryview:
    """Return a copy of bytes after which there is no memory."""
    size = -(-len(content) // PAGE) * PAGE
    memory = mmap.mmap(-1, size + PAGE)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(begin + size), PAGE, NO_ACCESS) == 0
    view = memoryview(memory)[size - len(content) : size]
    view[:] = content
    return view


@pytest.mark.parametrize("v", [4, 6])
@pytest.mark.parametrize("last", [1, 7, 13, 50])
def test_nothing_outside_of_the_buffers_is_touched(lanes, v, last):
    for kind in (super_tcp, super_udp):
        burst = kind(v, bytes(range(150)) + bytes(last), 50)
        placed = burst._replace(packet=at_the_end_of_a_page(bytes(whole(burst))))
        segments = measure_untrusted(placed)
        assert segments.packets == 4
        target = at_the_end_of_a_page(bytes(segments.packets * segments.size))
        CompiledSegmenter(lanes).segment_into(placed, segments, target, 0, segments.size)
        end = 3 * segments.size + segments.last_size
        rows = at_the_end_of_a_page(bytes(target[:end]))
        got = CompiledCoalescer(lanes, udp=True).coalesce_matrix(
            rows, 0, segments.size, 4, segments.size, segments.last_size
        )
        assert got is not None
        assert whole(got)[segments.headers_size :] == whole(burst)[segments.headers_size :]


def test_bursts_go_through_the_compiled_code(lanes):
    kernels, plain = (BurstKernels(udp=True, lanes=each) for each in (lanes, None))
    burst = super_tcp(4, bytes(range(250)) * 20, 500, options=TIMESTAMPS)
    segments = plain.measure_untrusted(burst)
    sealed = [
        each.cipher(bytes(32)).seal(burst, segments, 7, 3, 1420) for each in (kernels, plain)
    ]
    assert bytes(sealed[0][0]) == bytes(sealed[1][0])
    payload, size = sealed[0]
    opened = kernels.cipher(bytes(32)).open(payload, size, range(3, 13))
    again = Opened(bytearray(opened.buffer), opened.stride, opened.sizes)
    got, wanted = kernels.merge(opened), plain.merge(again)
    assert got is not None
    assert wanted is not None
    assert isinstance(got.packet, list)
    assert len(got.packet) == 2
    assert whole(got) == whole(wanted)
    assert got[1:] == wanted[1:]
    take_apart(bytes(opened.row(0)[:552]))


@given(
    count=st.integers(1, 130),
    size=st.integers(0, 1500),
    mtu=st.sampled_from([0, 100, 1420]),
    counter=st.sampled_from([0, 2**32 - 3, 2**63 - 1]),
)
def test_packets_of_one_size_are_sealed_as_they_are_singly(lanes, count, size, mtu, counter):
    packets = [bytes([number]) * size for number in range(count)]
    cipher = BurstKernels(udp=True, lanes=lanes).cipher(bytes(32))
    sealed = cipher.seal_equal(packets, 7, counter, mtu)
    if count < PAYS_FROM or not size:
        assert sealed is None
        return
    assert sealed is not None
    session = Session((bytes(32), bytes(32), 7), 1, 0.0, PAPER_LIMITS, initiator=True)
    session.sent = counter
    wanted = session.seal(packets, mtu)
    assert bytes(sealed[0]) == b"".join(wanted)
    assert sealed[1] == len(wanted[0])


def test_packets_of_two_sizes_are_not_sealed_at_once(lanes):
    cipher = BurstKernels(udp=True, lanes=lanes).cipher(bytes(32))
    assert cipher.seal_equal([bytes(64)] * 9 + [bytes(65)], 7, 0, 1420) is None
    portable = BurstKernels(udp=True).cipher(bytes(32))
    assert portable.seal_equal([bytes(64)] * 9, 7, 0, 1420) is None
