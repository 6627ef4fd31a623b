import struct
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import (
    ACK,
    CWR,
    FIN,
    PSH,
    SEGMENTER,
    START,
    TIMESTAMPS,
    slow_sum,
    split,
    super_tcp,
    super_udp,
    take_apart,
    tcp,
    udp,
)
from wgpy.errors import Rejected
from wgpy.kernels.segment import complete_checksum, measure_untrusted
from wgpy.model import TunBurst
from wgpy.wire import vnet


@pytest.mark.parametrize(
    ("burst", "sizes"),
    [
        (super_tcp(4, bytes(200), 100), [140, 140]),
        (super_tcp(6, bytes(200), 100), [160, 160]),
        (super_udp(4, bytes(200), 100), [128, 128]),
        (super_udp(6, bytes(200), 100), [148, 148]),
    ],
    ids=["tcp4", "tcp6", "udp4", "udp6"],
)
def test_a_super_packet_becomes_packets_of_the_segment_size(burst, sizes):
    packets = split(burst)
    assert [len(packet) for packet in packets] == sizes
    for packet in packets:
        take_apart(packet)


@given(
    v=st.sampled_from([4, 6]),
    payload=st.binary(min_size=1, max_size=3000),
    gso=st.integers(1, 1500),
    seq=st.integers(0, 2**32 - 1),
    flags=st.integers(0, 255),
    options=st.sampled_from([b"", TIMESTAMPS, bytes(range(40))]),
    identification=st.integers(0, 65535),
    tos=st.integers(0, 255),
)
def test_tcp_segments_are_what_the_host_would_have_sent(
    v, payload, gso, seq, flags, options, identification, tos
):
    fields = {"identification": identification} if v == 4 else {"label": identification}
    packets = split(super_tcp(v, payload, gso, seq, flags, options=options, tos=tos, **fields))
    sent = 0
    for number, packet in enumerate(packets):
        chunk = payload[sent : sent + gso]
        wanted = flags
        if number:
            wanted &= ~CWR
        if number < len(packets) - 1:
            wanted &= ~(FIN | PSH)
        if v == 4:
            fields["identification"] = identification + number & 0xFFFF
        at = seq + sent & 0xFFFFFFFF
        whole = tcp(v, chunk, at, wanted, options=options, tos=tos, **fields)
        assert packet == whole
        sent += len(chunk)
    assert sent == len(payload)


@given(
    v=st.sampled_from([4, 6]),
    payload=st.binary(min_size=1, max_size=3000),
    gso=st.integers(1, 1500),
    tos=st.integers(0, 255),
)
def test_udp_segments_are_what_the_host_would_have_sent(v, payload, gso, tos):
    packets = split(super_udp(v, payload, gso, tos=tos))
    chunks = [payload[at : at + gso] for at in range(0, len(payload), gso)]
    fields = [{"identification": n} if v == 4 else {} for n in range(len(chunks))]
    wanted = [udp(v, chunk, tos=tos, **f) for chunk, f in zip(chunks, fields, strict=True)]
    assert packets == wanted


def with_checksum_zero(made: Callable[[bytes], bytes], at: int, zero: bytes) -> bytes:
    """Return a payload whose packet has a sum of zero, shown as `zero`."""
    for word in range(65536):
        payload = struct.pack(">H", word) + bytes(range(98))
        if made(payload)[at : at + 2] == zero:
            return payload
    raise AssertionError("no payload has this checksum")


def test_a_udp_checksum_of_zero_is_sent_as_all_ones():
    payload = with_checksum_zero(partial(udp, 6), 46, b"\xff\xff")
    for packet in split(super_udp(6, payload * 3, 100)):
        assert packet[46:48] == b"\xff\xff"


def test_a_tcp_checksum_of_zero_is_sent_as_zero():
    payload = with_checksum_zero(partial(tcp, 6), 56, bytes(2))
    assert split(super_tcp(6, payload + bytes(1), 100))[0][56:58] == bytes(2)


def test_the_identification_begins_anew_after_its_largest():
    packets = split(super_udp(4, bytes(300), 100, identification=65534))
    assert [take_apart(packet).identification for packet in packets] == [65534, 65535, 0]


def test_a_shorter_last_segment_has_nothing_of_an_earlier_burst():
    split(super_tcp(4, b"\xff" * 300, 100))
    for packet in split(super_tcp(4, b"\x01" * 250, 100)):
        take_apart(packet)


def test_there_may_be_any_number_of_segments():
    packets = split(super_tcp(4, bytes(range(250)) * 40, 1, 2**32 - 9))
    assert len(packets) == 10_000
    assert b"".join(take_apart(packet).payload for packet in packets) == bytes(range(250)) * 40


def test_segments_larger_than_a_packet_can_be_are_malformed():
    burst = super_tcp(4, bytes(60_000), 65_535)
    assert isinstance(burst.packet, bytearray)
    with pytest.raises(Rejected):
        measure_untrusted(burst._replace(packet=burst.packet + bytes(6000)))


def test_more_layouts_than_are_kept_make_no_difference():
    for size in range(0, 44, 4):
        for ip_size in range(0, 44, 4):
            plain = super_tcp(4, bytes(range(200)), 90, options=bytes(size))
            assert isinstance(plain.packet, bytearray)
            header = bytearray(plain.packet[:20]) + b"\1" * ip_size
            header[0] += ip_size // 4
            burst = plain._replace(
                packet=header + plain.packet[20:], csum_start=plain.csum_start + ip_size
            )
            parts = [take_apart(packet) for packet in split(burst)]
            assert b"".join(part.payload for part in parts) == bytes(range(200))


@pytest.mark.parametrize("last", [100, 37])
def test_rows_have_headroom_before_and_zeros_after(last):
    burst = super_tcp(4, bytes(100) * 2 + bytes(last), 100)
    segments = measure_untrusted(burst)
    stride = 16 + 144 + 16
    buffer = bytearray(b"\xee") * (segments.packets * stride)
    SEGMENTER.segment_into(burst, segments, buffer, 16, stride)
    for row, size in enumerate([140, 140, 40 + last]):
        one = buffer[row * stride : (row + 1) * stride]
        assert one[:16] == b"\xee" * 16
        take_apart(bytes(one[16 : 16 + size]))
        padded = -(-size // 16) * 16
        assert one[16 + size : 16 + padded] == bytes(padded - size)


def test_a_layout_used_again_keeps_nothing_of_the_last_burst():
    long, short = super_tcp(4, b"\xff" * 300, 100), super_tcp(4, b"\x01" * 250, 98)
    before = split(short)
    split(long)
    assert split(short) == before


@given(
    header=st.binary(min_size=10, max_size=10),
    packet=st.binary(max_size=120),
    first=st.sampled_from([0x45, 0x46, 0x4F, 0x60, 0x00]),
)
def test_garbage_from_the_interface_is_rejected_or_segmented(header, packet, first):
    packet = bytes([first]) + packet
    try:
        burst = vnet.decode_untrusted(header, packet)
        if burst.gso_type:
            SEGMENTER.segment_untrusted(burst)
        else:
            complete_checksum(burst)
    except Rejected:
        pass


@given(
    kind=st.sampled_from([0, 1, 3, 4, 5, 0x81, 0x84]),
    gso=st.integers(0, 200),
    start=st.sampled_from([0, 19, 20, 24, 40, 41, 60, 119, 65535]),
    offset=st.sampled_from([6, 16, 0, 65535]),
    body=st.binary(max_size=120),
    first=st.sampled_from([0x45, 0x46, 0x4A, 0x60]),
)
def test_near_misses_from_the_interface_are_rejected_or_segmented(
    kind, gso, start, offset, body, first
):
    header = struct.pack("=BBHHHH", 1, kind, 65535, gso, start, offset)
    try:
        burst = vnet.decode_untrusted(header, bytes([first]) + body)
        if burst.gso_type:
            SEGMENTER.segment_untrusted(burst)
        else:
            complete_checksum(burst)
    except Rejected:
        pass


def read_only(data: bytearray) -> memoryview:
    return memoryview(bytes(data))


@given(
    v=st.sampled_from([4, 6]),
    payload=st.binary(max_size=100),
    kind=st.sampled_from([bytes, bytearray, memoryview, read_only]),
)
def test_a_checksum_left_to_the_interface_is_completed(v, payload, kind):
    for packet, start, offset in (
        (tcp(v, payload), START[v], 16),
        (udp(v, payload), START[v], 6),
    ):
        l4 = packet[start:]
        left = bytearray(packet)
        addresses = packet[12:20] if v == 4 else packet[8:40]
        total = struct.pack(">II", len(l4), 6 if offset == 16 else 17)
        field = struct.pack(">H", slow_sum(addresses + total))
        left[start + offset : start + offset + 2] = field
        given_ = kind(left)
        done = complete_checksum(TunBurst(given_, 0, 0, start, offset))
        take_apart(bytes(done))
        assert (done is given_) == (kind in (bytearray, memoryview))


def test_a_packet_with_nothing_to_complete_is_left_alone():
    packet = tcp(4, b"x", 1, ACK)
    assert complete_checksum(TunBurst(packet)) is packet
