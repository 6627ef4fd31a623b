import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import (
    ACK,
    PSH,
    TIMESTAMPS,
    split,
    super_tcp,
    super_udp,
    tcp,
    udp,
    whole,
)
from wgpy.kernels.coalesce import coalesce
from wgpy.kernels.inorder import Coalescer
from wgpy.model import TunBurst

COALESCER = Coalescer(udp=True)
OFFSET, GAP = 16, 48
# Few kinds, so that many fit each other, by few sequence numbers that continue.
PACKETS = st.one_of(
    st.builds(
        tcp,
        st.sampled_from([4, 4, 4, 6]),
        st.just(b"ab"),
        st.integers(0, 9).map(lambda n: n * 2),
        st.sampled_from([ACK, ACK, ACK, ACK | PSH]),
        port=st.sampled_from([1, 1, 1, 2]),
    ),
    st.builds(udp, st.just(4), st.sampled_from([b"ab", b"cd"]), port=st.sampled_from([1, 2])),
)


def laid_out(packets: list[bytes], padding: int = 0) -> tuple[bytearray, int, list[int]]:
    """Return packets as rows with noise around them; what pads them is noise as well."""
    stride = max(map(len, packets)) + GAP
    buffer = bytearray(b"\xa5") * (OFFSET + len(packets) * stride - GAP + padding)
    for row, packet in enumerate(packets):
        at = OFFSET + row * stride
        buffer[at : at + len(packet)] = packet
    return buffer, stride, [len(packet) + padding for packet in packets]


def by_matrix(
    packets: list[bytes], padding: int = 0, coalescer: Coalescer = COALESCER
) -> TunBurst | None:
    buffer, stride, sizes = laid_out(packets, padding)
    ends = sizes[0], sizes[-1]
    return coalescer.coalesce_matrix(buffer, OFFSET, stride, len(packets), *ends)


@given(
    v=st.sampled_from([4, 6]),
    payload=st.binary(min_size=2, max_size=3000),
    gso=st.integers(1, 1500),
    seq=st.integers(0, 2**32 - 1),
    psh=st.booleans(),
    options=st.sampled_from([b"", TIMESTAMPS]),
    padding=st.integers(0, 15),
)
def test_one_flow_in_order_is_merged_as_one_by_one(v, payload, gso, seq, psh, options, padding):
    flags = ACK | PSH if psh else ACK
    for packets in (
        split(super_tcp(v, payload, gso, seq, flags, options=options)),
        split(super_udp(v, payload, gso)),
    ):
        got = by_matrix(packets, padding)
        if len(packets) == 1:
            assert got is None
            continue
        (wanted,) = coalesce(packets, udp=True)
        assert got is not None
        assert got[1:] == wanted[1:]
        assert whole(got) == whole(wanted)


@pytest.mark.parametrize("v", [4, 6])
@pytest.mark.parametrize("kind", [super_tcp, super_udp])
def test_no_changed_byte_goes_unnoticed(v, kind):
    packets = split(kind(v, bytes(range(1, 241)), 50))
    assert by_matrix(packets) is not None
    for row, packet in enumerate(packets):
        for at in range(len(packet)):
            changed = bytearray(packet)
            changed[at] ^= 0x11
            spoilt = [*packets[:row], bytes(changed), *packets[row + 1 :]]
            got = by_matrix(spoilt)
            assert got is None, f"byte {at} of packet {row}"


@pytest.mark.parametrize(
    "packets",
    [
        [tcp(4, b"ab", 1), tcp(4, b"cd", 1)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 5), tcp(4, b"ef", 3)],
        [tcp(4, b"ab", 3), tcp(4, b"cd", 1)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 9), tcp(4, b"ef", 5)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 3, ttl=9)],
        [tcp(4, b"ab", 1, ACK | PSH), tcp(4, b"cd", 3)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 3, ACK | PSH), tcp(4, b"ef", 5)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 3, ttl=9), tcp(4, b"ef", 5)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 3, window=9), tcp(4, b"ef", 5)],
        [tcp(6, b"ab", 1), tcp(6, b"cd", 3, label=9), tcp(6, b"ef", 5)],
        [tcp(4, b"ab", 1), tcp(4, b"cd", 3, port=9), tcp(4, b"ef", 5)],
        [tcp(4, b"ab", 1), tcp(4, b"c", 3), tcp(4, b"ef", 4)],
        [tcp(4, b"ab", 1), tcp(4, b"cde", 3)],
        [udp(4, b"ab"), udp(4, b"abc")],
        [udp(4, b"ab"), udp(4, b"ab")[:26] + bytes(2) + b"ab", udp(4, b"ab")],
        [udp(4, b"ab"), tcp(4, b"ab")],
        [tcp(4, b"", 1), tcp(4, b"", 1)],
        [bytes(60), bytes(60)],
        [b"", b""],
        [b"\x45", b"\x45"],
        [tcp(4, bytes(7000), 1 + at * 7000) for at in range(10)],
    ],
)
def test_anything_else_is_left_to_the_general_way(packets):
    assert by_matrix(packets) is None


@given(st.lists(PACKETS, min_size=2, max_size=6))
def test_what_is_merged_is_what_one_by_one_is_merged(packets):
    got = by_matrix(packets)
    if got is not None:
        (wanted,) = coalesce(packets, udp=True)
        assert (whole(got), got[1:]) == (whole(wanted), wanted[1:])


def test_udp_stays_apart_where_the_host_does_not_take_it():
    packets = [udp(4, b"ab")] * 3
    assert by_matrix(packets, coalescer=Coalescer(udp=False)) is None
    assert by_matrix(packets) is not None


def test_many_rows_are_one_flow_as_well():
    packets = split(super_tcp(4, bytes(1000), 1))
    got = by_matrix(packets)
    assert got is not None
    assert len(whole(got)) == 1040


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=4), st.integers(0, 9))
def test_garbage_raises_nothing(packets, padding):
    assert by_matrix(packets, padding) is None
