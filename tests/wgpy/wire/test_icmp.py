from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.wire.icmp import time_exceeded, too_big, unreachable
from wgpy.wire.ip import checksum, destination_untrusted, source_and_size_untrusted

UDP, ICMP, ICMP6, NO_NEXT = 17, 1, 58, 59
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS = 0, 43, 44, 51, 60


def v4(
    payload: bytes = b"12345678",
    *,
    source: str = "10.0.0.1",
    destination: str = "10.0.0.2",
    protocol: int = UDP,
    fragment: int = 0x4000,
    words: int = 5,
    size: int | None = None,
) -> bytes:
    head = bytearray(4 * words)
    head[0] = 0x40 | words
    head[2:4] = (len(head) + len(payload) if size is None else size).to_bytes(2)
    head[6:8] = fragment.to_bytes(2)
    head[8:10] = bytes([64, protocol])
    head[12:20] = ip_address(source).packed + ip_address(destination).packed
    return bytes(head) + payload


def v6(
    payload: bytes = b"12345678",
    *,
    source: str = "fd00::1",
    destination: str = "fd00::2",
    header: int = UDP,
    size: int | None = None,
) -> bytes:
    after = len(payload) if size is None else size
    head = bytes([0x60, 0, 0, 0]) + after.to_bytes(2) + bytes([header, 64])
    return head + ip_address(source).packed + ip_address(destination).packed + payload


def test_an_ipv4_host_is_told_from_the_destination():
    packet = v4(b"q" * 30)
    answer = unreachable(packet)
    assert answer is not None
    assert answer[0] == 0x45
    assert answer[9] == ICMP
    assert answer[12:20] == packet[16:20] + packet[12:16]
    assert int.from_bytes(answer[2:4]) == len(answer) == 20 + 8 + len(packet)
    assert checksum(answer[:20]) == 0
    assert answer[20:22] == bytes([3, 1])
    assert answer[24:28] == bytes(4)
    assert answer[28:] == packet
    assert checksum(answer[20:]) == 0


def test_an_ipv6_host_is_told_from_the_destination():
    packet = v6(b"q" * 31)
    answer = unreachable(packet)
    assert answer is not None
    assert answer[:4] == bytes([0x60, 0, 0, 0])
    assert answer[6] == ICMP6
    assert answer[8:40] == packet[24:40] + packet[8:24]
    assert int.from_bytes(answer[4:6]) == len(answer) - 40 == 8 + len(packet)
    assert answer[40:42] == bytes([1, 3])
    assert answer[44:48] == bytes(4)
    assert answer[48:] == packet
    pseudo = answer[8:40] + (len(answer) - 40).to_bytes(4) + bytes([0, 0, 0, ICMP6])
    assert checksum(pseudo + answer[40:] + bytes(len(answer) % 2)) == 0


V4_SPEAKER, V6_SPEAKER = ip_address("10.9.9.9").packed, ip_address("fd00::9").packed


def test_a_router_tells_of_a_spent_hop_limit_from_an_address_of_its_own():
    four = time_exceeded(v4(), V4_SPEAKER)
    assert four is not None
    assert four[12:16] == V4_SPEAKER
    assert four[20:22] == bytes([11, 0])
    assert four[24:28] == bytes(4)
    six = time_exceeded(v6(), V6_SPEAKER)
    assert six is not None
    assert six[8:24] == V6_SPEAKER
    assert six[40:42] == bytes([3, 0])
    assert verifies(four)
    assert verifies(six)


def test_a_router_tells_how_large_a_packet_may_be():
    four, six = too_big(v4(), 1380, V4_SPEAKER), too_big(v6(), 1280)
    assert four is not None
    assert six is not None
    assert four[20:22] + four[24:28] == bytes([3, 4, 0, 0]) + (1380).to_bytes(2)
    assert six[40:42] + six[44:48] == bytes([2, 0]) + (1280).to_bytes(4)
    assert six[8:24] == ip_address("fd00::2").packed
    assert verifies(four)
    assert verifies(six)


@pytest.mark.parametrize("packet", [v4(bytes([11]) * 9, protocol=ICMP), v6(b"", size=9), b""])
def test_no_error_answers_an_error_or_what_is_malformed(packet):
    assert time_exceeded(packet) is too_big(packet, 1280) is unreachable(packet) is None


def verifies(answer: bytes) -> bool:
    if answer[0] >> 4 == 4:
        return checksum(answer[:20]) == checksum(answer[20:]) == 0
    pseudo = answer[8:40] + (len(answer) - 40).to_bytes(4) + bytes([0, 0, 0, ICMP6])
    return checksum(pseudo + answer[40:] + bytes(len(answer) % 2)) == 0


@pytest.mark.parametrize(
    ("packet", "largest"), [(v4(bytes(9000)), 576), (v6(bytes(9000)), 1280)]
)
def test_the_quote_is_cut_to_what_every_host_takes(packet, largest):
    answer = unreachable(packet)
    assert answer is not None
    assert len(answer) == largest
    assert packet.startswith(answer[28:] if largest == 576 else answer[48:])
    assert source_and_size_untrusted(answer)[1] == largest


@pytest.mark.parametrize("packet", [v4(), v6()])
def test_what_follows_the_packet_is_not_quoted(packet):
    assert unreachable(packet + b"padding") == unreachable(packet)
    assert unreachable(memoryview(bytearray(packet))) == unreachable(packet)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45",
        v4()[:19],
        v6()[:39],
        b"\x55" + v4()[1:],
        v4(words=4, size=28),
        v4(words=6, size=20),
        v4(words=15)[:40],
        v4(size=29),
        v6(size=9),
        v6(bytes(3), header=OPTIONS),
        v6(bytes(7), header=FRAGMENT),
        v6(bytes([UDP, 9]) + bytes(6), header=OPTIONS)[:47],
        v6(bytes([ICMP6, 9]) + bytes(6), header=OPTIONS),
    ],
)
def test_a_malformed_packet_has_no_answer(packet):
    assert unreachable(packet) is None


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "239.9.9.9",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_an_ipv4_address_that_names_no_one_host_has_no_answer(address):
    assert unreachable(v4(source=address)) is None
    assert unreachable(v4(destination=address)) is None


@pytest.mark.parametrize("address", ["::", "::1", "ff02::1", "ff0e::1234"])
def test_an_ipv6_address_that_names_no_one_host_has_no_answer(address):
    assert unreachable(v6(source=address)) is None
    assert unreachable(v6(destination=address)) is None


@pytest.mark.parametrize("address", ["1.0.0.1", "126.1.1.1", "128.0.0.1", "223.255.255.1"])
def test_addresses_beside_the_excluded_have_an_answer(address):
    assert unreachable(v4(source=address, destination=address))


@pytest.mark.parametrize(
    ("fragment", "answered"),
    [(0, True), (0x4000, True), (0x2000, True), (1, False), (0x2001, False), (0x1FFF, False)],
)
def test_only_a_first_ipv4_fragment_has_an_answer(fragment, answered):
    assert (unreachable(v4(fragment=fragment)) is not None) == answered


@pytest.mark.parametrize(
    ("fragment", "answered"), [(0, True), (1, True), (8, False), (9, False), (0xFFF8, False)]
)
def test_only_a_first_ipv6_fragment_has_an_answer(fragment, answered):
    payload = bytes([UDP, 0]) + fragment.to_bytes(2) + bytes(4)
    assert (unreachable(v6(payload, header=FRAGMENT)) is not None) == answered


@pytest.mark.parametrize("kind", range(20))
def test_an_icmp_error_has_no_answer_and_a_query_has(kind):
    packet = v4(bytes([kind]) + bytes(7), protocol=ICMP)
    assert (unreachable(packet) is None) == (kind in (3, 4, 5, 11, 12))


@pytest.mark.parametrize("kind", range(256))
def test_an_icmpv6_error_or_redirect_has_no_answer_and_others_have(kind):
    packet = v6(bytes([kind]) + bytes(7), header=ICMP6)
    assert (unreachable(packet) is None) == (kind < 128 or kind == 137)


@pytest.mark.parametrize("packet", [v4(b"", protocol=ICMP), v6(b"", header=ICMP6)])
def test_icmp_without_a_type_has_no_answer(packet):
    assert unreachable(packet) is None


def chain(*headers: tuple[int, int]) -> tuple[int, bytes]:
    """Build extension headers of (kind, size), then ICMPv6; return the first kind and bytes."""
    out = b""
    following = ICMP6
    for kind, size in reversed(headers):
        units = size // 4 - 2 if kind == AUTHENTICATION else size // 8 - 1
        length = 0 if kind == FRAGMENT else units
        out = bytes([following, length]) + bytes(size - 2) + out
        following = kind
    return following, out


@pytest.mark.parametrize(
    "headers",
    [
        [(HOP_BY_HOP, 8)],
        [(OPTIONS, 32)],
        [(ROUTING, 24)],
        [(FRAGMENT, 8)],
        [(AUTHENTICATION, 20)],
        [(HOP_BY_HOP, 16), (ROUTING, 8), (FRAGMENT, 8), (AUTHENTICATION, 24), (OPTIONS, 8)],
    ],
)
@pytest.mark.parametrize(("kind", "answered"), [(1, False), (128, True)])
def test_icmpv6_is_found_behind_extension_headers(headers, kind, answered):
    first, extensions = chain(*headers)
    packet = v6(extensions + bytes([kind]) + bytes(7), header=first)
    assert (unreachable(packet) is not None) == answered
    short = v6(extensions, header=first)
    assert unreachable(short) is None


def test_a_chain_of_headers_without_end_has_no_answer():
    first, extensions = chain(*[(OPTIONS, 8)] * 2000)
    assert unreachable(v6(extensions + bytes([128]), header=first)) is None


def test_a_packet_without_an_upper_layer_has_an_answer():
    assert unreachable(v6(b"", header=NO_NEXT))


@given(
    st.binary(max_size=120)
    | st.builds(lambda packet, rest: packet[:-8] + rest, st.just(v4()), st.binary(max_size=60))
    | st.builds(
        lambda header, rest: v6(rest, header=header),
        st.sampled_from([HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS, ICMP6]),
        st.binary(max_size=120),
    )
)
def test_any_bytes_have_a_packet_back_or_none(packet):
    answer = unreachable(packet)
    if answer is not None:
        source, size = source_and_size_untrusted(answer)
        assert source == destination_untrusted(packet)
        assert size == len(answer)
        assert unreachable(answer) is None
