import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import (
    ACK,
    CWR,
    FIN,
    PSH,
    TIMESTAMPS,
    Parts,
    split,
    super_tcp,
    super_udp,
    take_apart,
    tcp,
    udp,
    whole,
)
from wgpy.kernels.coalesce import LOOKED_AT, coalesce
from wgpy.kernels.segment import complete_checksum
from wgpy.model import TunBurst

B, C = 5001, 5002
MF, DF, EVIL = 0x2000, 0x4000, 0x8000
H = bytes(100)


def broken(packet: bytes) -> bytes:
    return packet[:-1] + bytes([packet[-1] ^ 0xFF])


def taken_apart(bursts: list[TunBurst]) -> list[Parts]:
    """Return the wire packets of what goes to the host, as its kernel would make them."""
    parts = []
    for burst in bursts:
        packets = [whole(burst)]
        if burst.gso_type:
            packets = split(burst._replace(packet=whole(burst)))
        parts += [take_apart(packet) for packet in packets]
    return parts


MANY = [
    tcp(4, H, 1, port=B),
    udp(4, H, port=B),
    udp(4, H, port=C),
    tcp(4, H, 101, port=B),
    tcp(4, H, 201, port=C),
    tcp(6, H, 1, port=B),
    tcp(6, H, 101, port=B),
    tcp(6, H, 201, port=C),
    udp(4, H, port=B),
    udp(6, H, port=B),
    udp(6, H, port=B),
]


@pytest.mark.parametrize(
    ("packets", "takes_udp", "sizes"),
    [
        (MANY, True, [240, 228, 128, 140, 260, 160, 248]),
        (MANY, False, [240, 128, 128, 140, 260, 160, 128, 148, 148]),
        (
            [
                tcp(v, H, seq, flags)
                for v in (4, 6)
                for seq, flags in ((1, ACK), (101, ACK | PSH), (201, ACK), (301, ACK | PSH))
            ],
            True,
            [240, 240, 260, 260],
        ),
        (
            [
                broken(tcp(4, H, 1)),
                tcp(4, H, 101),
                tcp(4, H, 201),
                broken(udp(4, H)),
                udp(4, H),
                udp(4, H),
            ],
            True,
            [140, 240, 128, 228],
        ),
        ([tcp(4, H, 101), tcp(4, H, 1), tcp(4, H, 201)], True, [340]),
        *(
            (
                [tcp(v, H, 1), tcp(v, H, 101, options=b"", **x), udp(v, H), udp(v, H, **x)],
                True,
                [140, 140, 128, 128] if v == 4 else [160, 160, 148, 148],
            )
            for v, x in (
                (4, {"ttl": 65}),
                (4, {"tos": 1}),
                (4, {"fragment": MF}),
                (4, {"fragment": DF}),
                (4, {"fragment": EVIL}),
                (6, {"ttl": 65}),
                (6, {"tos": 1}),
                (6, {"label": 1}),
            )
        ),
    ],
    ids=[
        *("multiple protocols and flows", "no UDP", "PSH interleaved", "invalid checksums"),
        *("out of order", "TTL", "TOS", "MF", "DF", "reserved bit", "hop limit"),
        *("traffic class", "flow label"),
    ],
)
def test_packets_are_merged_by_flow(packets, takes_udp, sizes):
    bursts = coalesce(packets, udp=takes_udp)
    assert [len(whole(burst)) for burst in bursts] == sizes
    assert all(type(burst.packet) is not list for burst in bursts if not burst.gso_type)


def test_the_wire_packets_of_merged_ones_are_the_packets_that_came():
    bursts = coalesce(MANY, udp=True)
    order = [0, 3, 1, 8, 2, 4, 5, 6, 7, 9, 10]
    assert [part[2:] for part in taken_apart(bursts)] == [
        take_apart(MANY[at])[2:] for at in order
    ]


def test_psh_of_the_last_segment_is_kept():
    (burst,) = coalesce([tcp(6, H, 1), tcp(6, b"end", 101, ACK | PSH)], udp=True)
    assert [part.flags for part in taken_apart([burst])] == [ACK, ACK | PSH]


@pytest.mark.parametrize("udp_", [True, False])
def test_nothing_follows_a_smaller_segment(udp_):
    sizes, sequences = [100, 50, 50], [1, 101, 151]
    if udp_:
        packets = [udp(4, bytes(size)) for size in sizes]
    else:
        packets = [tcp(4, bytes(n), seq) for n, seq in zip(sizes, sequences, strict=True)]
    bursts = coalesce(packets, udp=True)
    headers = 28 if udp_ else 40
    assert [len(whole(burst)) for burst in bursts] == [headers + 150, headers + 50]


def test_a_larger_datagram_begins_anew():
    bursts = coalesce([udp(4, bytes(n)) for n in (50, 100, 100)], udp=True)
    assert [len(whole(burst)) for burst in bursts] == [78, 228]


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        (tcp(4, H, 101), tcp(4, bytes(150), 2**32 - 49), True),
        (tcp(4, H, 101), tcp(4, bytes(50), 51), False),
        (tcp(4, H, 101), tcp(4, H, 1, ACK | PSH), False),
        (tcp(4, H, 101, ACK | PSH), tcp(4, H, 1), True),
        (tcp(4, H, 1), tcp(4, H, 102), False),
        (tcp(4, H, 1), tcp(4, H, 101, ack=2), False),
        (tcp(4, H, 1, options=bytes(4)), tcp(4, H, 101), False),
        (tcp(4, H, 1, options=b"\1\1\1\1"), tcp(4, H, 101, options=b"\1\1\1\0"), False),
        (tcp(4, H, 1, window=9), tcp(4, H, 101), False),
        (tcp(4, H, 1, reserved=1), tcp(4, H, 101), False),
        (tcp(4, H, 1), tcp(4, H, 101, ACK | FIN), False),
        (tcp(4, H, 1), tcp(4, H, 101, ACK | CWR), False),
        (tcp(4, H, 1), tcp(4, b"", 101), False),
        (tcp(4, H, 1), broken(tcp(4, H, 101)), False),
        (udp(4, H), broken(udp(4, H)), False),
        (udp(4, H, identification=9), udp(4, H, identification=3), True),
        (udp(4, H), udp(6, H), False),
    ],
)
def test_what_does_not_fit_stays_alone(first, second, merged):
    assert len(coalesce([first, second], udp=True)) == (1 if merged else 2)


def test_an_ip_header_with_a_wrong_checksum_is_not_healed():
    wrong = bytearray(udp(4, H))
    wrong[10] ^= 1
    assert len(coalesce([bytes(wrong), udp(4, H)], udp=True)) == 2


def test_a_larger_segment_goes_before_a_single_one_only():
    packets = [tcp(4, H, 1001), tcp(4, H, 1101), tcp(4, bytes(150), 851)]
    assert [len(whole(burst)) for burst in coalesce(packets, udp=True)] == [240, 190]


def test_a_larger_segment_before_a_single_one_gives_the_segment_size():
    (burst,) = coalesce([tcp(4, H, 101), tcp(4, bytes(150), 2**32 - 49)], udp=True)
    assert [len(part.payload) for part in taken_apart([burst])] == [150, 100]


@pytest.mark.parametrize("step", [1, -1])
def test_a_super_packet_has_no_more_pieces_than_one_write_takes(step):
    stream = [tcp(4, b"x", seq=number) for number in range(1, 2501)][::step]
    bursts = coalesce(stream, udp=True)
    pieces = [len(burst.packet) for burst in bursts if isinstance(burst.packet, list)]
    assert len(pieces) == 3 and max(pieces) < os.sysconf("SC_IOV_MAX")
    assert len(taken_apart(bursts)) == len(stream)


def test_datagrams_of_a_super_packet_are_as_few():
    bursts = coalesce([udp(4, b"x")] * 1500, udp=True)
    assert len(bursts) == 2
    assert all(len(burst.packet) < os.sysconf("SC_IOV_MAX") for burst in bursts)


@pytest.mark.parametrize(("apart", "merged"), [(LOOKED_AT - 1, True), (LOOKED_AT, False)])
def test_only_the_latest_of_a_stream_are_looked_at(apart, merged):
    gaps = [tcp(4, b"x", seq=1000 * number) for number in range(2, apart + 2)]
    stream = [tcp(4, b"x", seq=1), *gaps, tcp(4, b"x", seq=2)]
    assert len(coalesce(stream, udp=True)) == len(stream) - merged


@pytest.mark.parametrize("v", [4, 6])
def test_a_super_packet_holds_no_more_than_a_packet_can(v):
    streams = [tcp(v, bytes(1000), 1 + at * 1000) for at in range(70)]
    backwards = [tcp(v, bytes(1000), 1 + at * 1000, port=9) for at in reversed(range(70))]
    datagrams = [udp(v, bytes(1000)) for _ in range(70)]
    for packets in (streams, backwards, datagrams):
        bursts = coalesce(packets, udp=True)
        assert [len(whole(burst)) // 1000 for burst in bursts] == [65, 5]
        assert len(taken_apart(bursts)) == 70


@pytest.mark.parametrize(
    "between",
    [
        udp(4, H, fragment=MF),
        udp(4, H)[:26] + bytes(2) + udp(4, H)[28:],
        broken(udp(4, H)),
    ],
    ids=["a fragment", "no checksum", "a wrong checksum"],
)
def test_no_datagram_overtakes_another_of_its_flow(between):
    bursts = coalesce([udp(4, H), between, udp(4, H)], udp=True)
    assert [whole(burst) for burst in bursts] == [udp(4, H), between, udp(4, H)]


PACKETS = st.one_of(
    st.builds(
        tcp,
        st.sampled_from([4, 6]),
        st.sampled_from([b"", b"a" * 20, b"b" * 20, b"c" * 21, b"d" * 10]),
        st.integers(0, 8).map(lambda n: (n * 10 - 20) % 2**32),
        st.sampled_from([ACK, ACK, ACK, ACK | PSH, ACK | FIN]),
        port=st.sampled_from([1, 2]),
        tos=st.sampled_from([0, 0, 0, 1]),
    ),
    st.builds(
        udp,
        st.sampled_from([4, 6]),
        st.sampled_from([b"", b"a" * 20, b"b" * 20, b"c" * 21, b"d" * 10]),
        port=st.sampled_from([1, 2]),
        ttl=st.sampled_from([64, 64, 64, 63]),
    ),
)


@given(st.lists(PACKETS, max_size=12), st.booleans())
def test_the_host_gets_every_packet_once_and_datagrams_in_order(packets, takes_udp):
    came = [take_apart(packet) for packet in packets]
    got = taken_apart(coalesce(packets, udp=takes_udp))

    def stream_bytes(parts: list[Parts]) -> list[tuple[bytes, int, int]]:
        return sorted(
            (part.flow, (part.sequence + at) % 2**32, byte)
            for part in parts
            for at, byte in enumerate(part.payload)
            if part.flow[0] == 6
        )

    def datagrams(parts: list[Parts], flow: bytes) -> list[bytes]:
        return [part.payload for part in parts if part.flow == flow]

    assert stream_bytes(got) == stream_bytes(came)
    for flow in {part.flow for part in came if part.flow[0] == 17}:
        assert datagrams(got, flow) == datagrams(came, flow)
    bare = [part[1:] for part in came if not part.payload]
    assert sorted(bare) == sorted(part[1:] for part in got if not part.payload)


@given(st.lists(PACKETS, min_size=1, max_size=6), st.data())
def test_no_bytes_raise_and_none_are_lost(packets, data):
    spoilt = []
    for packet in packets:
        changed = bytearray(packet)
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(
                st.integers(0, 255)
            )
        spoilt.append(bytes(changed[: data.draw(st.integers(0, len(changed)))] or changed))
    bursts = coalesce(spoilt, udp=True)
    alone = [whole(burst) for burst in bursts if not burst.gso_type]
    merged = taken_apart([b for b in bursts if b.gso_type])
    assert len(alone) + len(merged) == len(spoilt)
    rest = list(spoilt)
    for packet in alone:
        rest.remove(packet)
    assert sorted(p.payload for p in merged) == sorted(take_apart(p).payload for p in rest)


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_garbage_passes_as_it_is(packets):
    assert [whole(burst) for burst in coalesce(packets, udp=True)] == packets


@given(
    v=st.sampled_from([4, 6]),
    payload=st.binary(min_size=2, max_size=2000),
    gso=st.integers(1, 1500),
    seq=st.integers(0, 2**32 - 1),
    psh=st.booleans(),
    options=st.sampled_from([b"", TIMESTAMPS]),
)
def test_coalescing_undoes_segmenting(v, payload, gso, seq, psh, options):
    flags = ACK | PSH if psh else ACK
    for burst in (
        super_tcp(v, payload, gso, seq, flags, options=options),
        super_udp(v, payload, gso),
    ):
        pieces = split(burst)
        (again,) = coalesce(pieces, udp=True)
        if len(pieces) == 1:
            assert again == TunBurst(pieces[0])
            continue
        assert again[1:] == burst[1:]
        at = burst.csum_start + burst.csum_offset
        packet = bytearray(whole(burst))
        packet[at : at + 2] = whole(again)[at : at + 2]
        assert whole(again) == packet


def test_a_merged_packet_has_the_sum_of_its_pseudo_header():
    for packets in ([udp(4, H)] * 2, [udp(6, H)] * 2, [tcp(6, H, 1), tcp(6, H, 101)]):
        (burst,) = coalesce(packets, udp=True)
        done = complete_checksum(burst._replace(packet=whole(burst)))
        assert take_apart(bytes(done)).payload == H + H
