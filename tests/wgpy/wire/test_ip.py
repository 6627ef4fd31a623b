import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.errors import Drop, Rejected
from wgpy.wire.ip import (
    checksum,
    destination_untrusted,
    ecn_from_outer,
    ecn_to_outer,
    flow_untrusted,
    source_and_size_untrusted,
    udp_payload,
    version,
)

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3
SOURCE4, DESTINATION4 = bytes([10, 0, 0, 1]), bytes([192, 0, 2, 99])
SOURCE6 = ipaddress.ip_address("fd00::1").packed
DESTINATION6 = ipaddress.ip_address("2001:db8::99").packed
BUFFERS = [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))]


def v4(payload: bytes = b"payload", tos: int = 0, size: int | None = None) -> bytes:
    """Build an IPv4 packet with a right header checksum."""
    total = 20 + len(payload) if size is None else size
    head = bytes([0x45, tos]) + total.to_bytes(2) + bytes([0, 7, 0x40, 0, 64, 17])
    words = head + SOURCE4 + DESTINATION4
    return head + reference(words).to_bytes(2) + SOURCE4 + DESTINATION4 + payload


def v6(payload: bytes = b"payload", tos: int = 0, size: int | None = None) -> bytes:
    first = 6 << 28 | tos << 20 | 0xABCDE
    after = len(payload) if size is None else size
    head = first.to_bytes(4) + after.to_bytes(2) + bytes([17, 64])
    return head + SOURCE6 + DESTINATION6 + payload


def reference(data: bytes, initial: int = 0) -> int:
    """Compute the Internet checksum word by word."""
    total = initial
    padded = data + b"\0" * (len(data) % 2)
    for at in range(0, len(padded), 2):
        total += padded[at] << 8 | padded[at + 1]
        total = (total & 0xFFFF) + (total >> 16)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("kind", BUFFERS)
def test_addresses_and_version_are_found_in_any_buffer(kind):
    assert destination_untrusted(kind(v4())) == DESTINATION4
    assert destination_untrusted(kind(v6())) == DESTINATION6
    assert source_and_size_untrusted(kind(v4())) == (SOURCE4, 27)
    assert source_and_size_untrusted(kind(v6())) == (SOURCE6, 47)
    assert (version(kind(v4())), version(kind(v6()))) == (4, 6)


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("build", [v4, v6])
def test_packets_of_one_flow_have_one_key_and_those_marked_otherwise_another(kind, build):
    key = flow_untrusted(kind(build(b"1")))
    assert key == flow_untrusted(kind(build(b"other")))
    assert key != flow_untrusted(kind(build(b"1", tos=1)))
    elsewhere = build().replace(DESTINATION4, SOURCE4).replace(DESTINATION6, SOURCE6)
    assert key != flow_untrusted(kind(elsewhere))


@pytest.mark.parametrize("packet", [v4(b""), v6(b"")])
def test_a_bare_header_is_a_packet_and_a_byte_less_is_none(packet):
    assert source_and_size_untrusted(packet)[1] == len(packet)
    assert destination_untrusted(packet)
    for short in (packet[:-1], packet[:1], b""):
        with pytest.raises(Rejected) as inner:
            source_and_size_untrusted(short)
        with pytest.raises(Rejected) as host:
            destination_untrusted(short)
        with pytest.raises(Rejected) as flow:
            flow_untrusted(short)
        assert (inner.value.drop, host.value.drop) == (Drop.BAD_INNER, Drop.NOT_IP)
        assert flow.value.drop is Drop.NOT_IP


@pytest.mark.parametrize("packet", [v4(), v6()])
def test_padding_is_not_counted(packet):
    assert source_and_size_untrusted(packet + bytes(9))[1] == len(packet)


@pytest.mark.parametrize(
    "packet",
    [v4(size=28), v4(size=19), v4(size=0), v4(size=65535), v6(size=8), v6(size=65535)],
)
def test_a_size_that_cannot_be_is_bad(packet):
    with pytest.raises(Rejected) as rejected:
        source_and_size_untrusted(packet)
    assert rejected.value.drop is Drop.BAD_INNER
    assert destination_untrusted(packet)


@pytest.mark.parametrize("first", [number << 4 for number in range(16) if number not in (4, 6)])
def test_other_versions_are_no_ip(first):
    packet = bytes([first]) + bytes(79)
    with pytest.raises(Rejected) as inner:
        source_and_size_untrusted(packet)
    with pytest.raises(Rejected) as host:
        destination_untrusted(packet)
    with pytest.raises(Rejected) as flow:
        flow_untrusted(packet)
    assert (inner.value.drop, host.value.drop) == (Drop.BAD_INNER, Drop.NOT_IP)
    assert flow.value.drop is Drop.NOT_IP


@given(
    st.binary(max_size=100)
    | st.builds(
        lambda first, rest: bytes([first]) + rest,
        st.sampled_from([0x45, 0x4F, 0x60, 0x6F]),
        st.binary(max_size=100),
    )
)
def test_any_bytes_give_a_value_within_them_or_rejected(packet):
    try:
        source, size = source_and_size_untrusted(packet)
    except Rejected as rejected:
        assert rejected.drop is Drop.BAD_INNER
    else:
        assert 20 <= size <= len(packet)
        assert source in packet
        assert destination_untrusted(packet) in packet


def test_checksums_of_all_sizes_are_those_of_the_reference():
    data = bytes(at * 7 & 0xFF for at in range(9001))
    for size in [*range(600), *range(600, 9001, 97), 9001]:
        for initial in (0, 1, 0xFFFF, 0x1234, 0x2_FFFF):
            assert checksum(data[:size], initial) == reference(data[:size], initial)


@given(st.binary(max_size=64), st.integers(0, 2**20))
def test_checksums_of_any_bytes_are_those_of_the_reference(data, initial):
    assert checksum(memoryview(data), initial) == reference(data, initial)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xFFFF),
        (bytes(20), 0xFFFF),
        (b"\xff\xff", 0),
        (b"\xff\xff" * 9, 0),
        (b"\1", 0xFEFF),
    ],
)
def test_checksums_of_zeros_and_of_ones_differ(data, expected):
    assert checksum(data) == reference(data) == expected


def test_a_header_with_its_checksum_adds_up():
    assert checksum(v4()[:20]) == 0


@pytest.mark.parametrize("build", [v4, v6])
@pytest.mark.parametrize(
    ("inner", "outer"), [(NOT_ECT, NOT_ECT), (ECT_0, ECT_0), (ECT_1, ECT_1), (CE, ECT_0)]
)
def test_the_outer_class_has_ecn_and_no_dscp(build, inner, outer):
    assert ecn_to_outer(build(tos=0xB8 | inner)) == outer


# Rows: what the inner header says; columns: the outer one, as RFC 6040 figure 4 has them.
DECAPSULATED = {
    NOT_ECT: {NOT_ECT: NOT_ECT, ECT_0: NOT_ECT, ECT_1: NOT_ECT, CE: NOT_ECT},
    ECT_0: {NOT_ECT: ECT_0, ECT_0: ECT_0, ECT_1: ECT_1, CE: CE},
    ECT_1: {NOT_ECT: ECT_1, ECT_0: ECT_1, ECT_1: ECT_1, CE: CE},
    CE: {NOT_ECT: CE, ECT_0: CE, ECT_1: CE, CE: CE},
}


@pytest.mark.parametrize("build", [v4, v6])
@pytest.mark.parametrize("inner", DECAPSULATED)
@pytest.mark.parametrize("outer", range(4))
@pytest.mark.parametrize("kind", BUFFERS)
def test_congestion_seen_outside_is_told_inside(build, inner, outer, kind):
    packet = kind(build(tos=0xB8 | inner))
    expected = build(tos=0xB8 | DECAPSULATED[inner][outer])
    assert ecn_from_outer(packet, 0x88 | outer) == expected
    assert packet == build(tos=0xB8 | inner)


@given(st.binary(min_size=16, max_size=16), st.sampled_from([ECT_0, ECT_1]))
def test_an_adjusted_checksum_adds_up_whatever_the_header(rest, inner):
    head = bytearray([0x45, 0xFC | inner]) + rest + b"\1\2"
    head[10:12] = bytes(2)
    head[10:12] = checksum(head).to_bytes(2)
    changed = ecn_from_outer(head, CE)
    assert changed[1] == 0xFF
    assert checksum(changed) == 0


def test_a_wrong_checksum_stays_wrong():
    packet = bytearray(v4(tos=ECT_0))
    packet[10] ^= 0x55
    assert checksum(ecn_from_outer(packet, CE)[:20]) != 0


# --- what UDP carries ------------------------------------------------------------------------

UDP_HEADER = bytes(8)


def v4_udp(protocol: int = 17, fragment: int = 0, options: bytes = b"") -> bytes:
    words = bytes(
        [0x45 + len(options) // 4, 0, 0, 0, 0, 0, *divmod(fragment, 256), 64, protocol]
    )
    return words + bytes(10) + options + UDP_HEADER + b"what"


def v6_udp(protocol: int = 17, extension: bytes = b"") -> bytes:
    return (
        bytes([0x60, 0, 0, 0, 0, 0, protocol, 64])
        + bytes(32)
        + extension
        + UDP_HEADER
        + b"what"
    )


@pytest.mark.parametrize(
    "packet",
    [
        v4_udp(),
        v4_udp(options=b"1234"),
        v4_udp(fragment=0x2000),  # more follow
        v4_udp(fragment=0x4000),  # none may
        v6_udp(),
        v6_udp(44, bytes([17, 0, 0, 1, 0, 0, 0, 9])),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_udp_carries_is_found_also_in_the_first_fragment(packet, kind):
    assert udp_payload(kind(packet)) == b"what"


@pytest.mark.parametrize(
    "packet",
    [
        v4_udp(6),
        v4_udp(fragment=1),
        v4_udp(fragment=0x2001),
        v6_udp(6),
        v6_udp(44, bytes([6, 0, 0, 1, 0, 0, 0, 9])),
        v6_udp(44, bytes([17, 0, 0, 9, 0, 0, 0, 9])),
        v6_udp(44)[:47],
        v6_udp(0, bytes([17, *bytes(7)])),
    ],
)
def test_other_packets_and_later_fragments_carry_no_udp(packet):
    assert udp_payload(packet) is None


@pytest.mark.parametrize(
    "packet", [v4_udp()[:20], v4_udp()[:27], v6_udp()[:40], b"\x4f" + v4_udp()[1:]]
)
def test_udp_that_is_cut_short_carries_nothing(packet):
    assert udp_payload(packet) == b""
