import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import START, TIMESTAMPS, super_tcp, super_udp, tcp, udp
from wgpy.errors import Drop, Rejected
from wgpy.kernels import vnet
from wgpy.model import TunBurst


def header(
    flags: int = 1,
    kind: int = 0,
    hdr_len: int = 0,
    gso: int = 0,
    start: int = 0,
    offset: int = 0,
) -> bytes:
    return struct.pack("=BBHHHH", flags, kind, hdr_len, gso, start, offset)


def test_a_plain_packet_has_a_header_of_zeros():
    assert vnet.encode(TunBurst(b"packet")) == bytes(10)
    assert vnet.decode_untrusted(bytes(10), b"packet") == TunBurst(b"packet")


@pytest.mark.parametrize("v", [4, 6])
def test_a_super_packet_has_its_header(v):
    burst = super_tcp(v, bytes(300), 100, options=TIMESTAMPS)
    encoded = vnet.encode(burst)
    kind = {4: 1, 6: 4}[v]
    assert encoded == struct.pack("=BBHHHH", 1, kind, START[v] + 32, 100, START[v], 16)
    assert vnet.decode_untrusted(encoded, burst.whole()) == burst
    burst = super_udp(v, bytes(300), 100)
    encoded = vnet.encode(burst)
    assert encoded == struct.pack("=BBHHHH", 1, 5, START[v] + 8, 100, START[v], 6)
    assert vnet.decode_untrusted(encoded, burst.whole()) == burst


def test_a_super_packet_in_pieces_has_the_same_header():
    burst = super_tcp(4, bytes(300), 100)
    assert isinstance(burst.packet, bytearray)
    pieces = burst._replace(packet=[burst.packet[:40], burst.packet[40:]])
    assert vnet.encode(pieces) == vnet.encode(burst)
    with pytest.raises(Rejected):
        vnet.check_super_packet_untrusted(pieces)


def test_a_checksum_to_complete_is_kept():
    burst = TunBurst(udp(4, b"abc"), 0, 0, 20, 6)
    encoded = vnet.encode(burst)
    assert encoded == struct.pack("=BBHHHH", 1, 0, 0, 0, 20, 6)
    assert vnet.decode_untrusted(encoded, burst.whole()) == burst


def test_a_checksum_that_was_verified_is_nothing_to_do():
    data_valid = header(flags=2, start=20, offset=6)
    assert vnet.decode_untrusted(data_valid, b"packet") == TunBurst(b"packet")


@pytest.mark.parametrize("hint", [0, 1, 1420, 65535])
def test_the_size_of_the_headers_is_no_more_than_a_hint(hint):
    burst = super_tcp(6, bytes(300), 100)
    encoded = header(kind=4, hdr_len=hint, gso=100, start=40, offset=16)
    assert vnet.decode_untrusted(encoded, burst.whole()) == burst


def test_the_mark_of_congestion_is_kept():
    burst = super_tcp(4, bytes(300), 100)
    encoded = header(kind=1 | 0x80, gso=100, start=20, offset=16)
    assert vnet.decode_untrusted(encoded, burst.whole()).gso_type == 0x81


TCP4, TCP6, UDP4 = tcp(4, bytes(300)), tcp(6, bytes(300)), udp(4, bytes(300))


@pytest.mark.parametrize(
    ("encoded", "packet"),
    [
        (b"", TCP4),
        (bytes(9), TCP4),
        (header(start=0, offset=16), TCP4),
        (header(start=19, offset=16), TCP4),
        (header(start=340, offset=16), TCP4),
        (header(start=323, offset=16), TCP4),
        (header(start=20, offset=65535), TCP4),
        (header(kind=1, gso=100, start=20, offset=16, flags=0), TCP4),
        (header(kind=1, gso=0, start=20, offset=16), TCP4),
        (header(kind=2, gso=100, start=20, offset=16), TCP4),
        (header(kind=3, gso=100, start=20, offset=6), UDP4),
        (header(kind=4, gso=100, start=20, offset=16), TCP4),
        (header(kind=1, gso=100, start=40, offset=16), TCP6),
        (header(kind=1, gso=100, start=24, offset=16), TCP4),
        (header(kind=1, gso=100, start=20, offset=6), TCP4),
        (header(kind=5, gso=100, start=20, offset=16), UDP4),
        (header(kind=5, gso=100, start=0, offset=6), UDP4),
        (header(kind=4, gso=100, start=20, offset=16), TCP6),
        (header(kind=1, gso=100, start=20, offset=16), TCP4[:39]),
        (header(kind=1, gso=100, start=20, offset=16), TCP4[:40]),
        (header(kind=1, gso=100, start=20, offset=16), TCP4[:32] + b"\x40" + TCP4[33:]),
        (header(kind=1, gso=100, start=20, offset=16), TCP4[:32] + b"\xf0" + TCP4[33:60]),
        (header(kind=5, gso=100, start=20, offset=6), UDP4[:28]),
        (header(kind=5, gso=100, start=20, offset=6), b""),
        (header(kind=5, gso=100, start=20, offset=6), b"\x00" + UDP4[1:]),
    ],
)
def test_nonsense_is_malformed(encoded, packet):
    with pytest.raises(Rejected) as caught:
        vnet.decode_untrusted(encoded, packet)
    assert caught.value.drop is Drop.MALFORMED


@given(st.binary(max_size=12), st.binary(max_size=100))
def test_garbage_is_rejected_at_worst(encoded, packet):
    try:
        burst = vnet.decode_untrusted(encoded, packet)
    except Rejected:
        return
    assert burst.packet is packet
    assert burst.csum_start + burst.csum_offset <= len(packet)
