"""What a router does to a packet."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import ip4, take_apart, udp
from wgpy.wire import hop
from wgpy.wire.ip import checksum

NOP, END, ROUTE = b"\x01", b"\x00", bytes([0x83, 3, 4])
RECORD = bytes([7, 3, 4])


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1", "192.0.2.255", "169.254.1.1", "240.0.0.1", "1.0.0.0", "fd00::1", "2001:db8::"],
)
def test_an_address_of_one_host_is_routable(text):
    assert hop.is_routable(ip_address(text).packed)


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.255.255.255", "255.255.255.255"],
)
def test_an_address_of_ipv4_that_stays_on_its_link_is_not(text):
    assert not hop.is_routable(ip_address(text).packed)


@pytest.mark.parametrize("text", ["::", "::1", "fe80::1", "febf::1", "ff02::1", "ff0e::1"])
def test_an_address_of_ipv6_that_stays_on_its_link_is_not(text):
    assert not hop.is_routable(ip_address(text).packed)


@pytest.mark.parametrize("version", [4, 6])
def test_a_hop_is_taken_and_the_rest_stays(version):
    packet = udp(version, b"payload", ttl=7)
    changed = hop.take_hop(packet)
    assert hop.hops_left(packet) == 7
    assert hop.hops_left(changed) == 6
    assert bytes(changed) == udp(version, b"payload", ttl=6)
    assert hop.source(changed) == hop.source(packet)


@given(st.integers(0, 0xFFFF), st.integers(1, 255), st.integers(0, 255))
def test_the_checksum_verifies_after_each_hop(identification, hops, tos):
    packet = ip4(17, b"", identification=identification, ttl=hops, tos=tos)
    for left in range(hops - 1, max(hops - 4, -1), -1):
        packet = bytes(hop.take_hop(packet))
        assert hop.hops_left(packet) == left
        assert hop.is_sound(packet)


def test_a_wrong_checksum_of_ipv4_is_seen():
    packet = bytearray(ip4(17, b"payload"))
    assert hop.is_sound(packet)
    packet[11] ^= 1
    assert not hop.is_sound(packet)
    assert not hop.is_sound(hop.take_hop(packet))


@pytest.mark.parametrize("words", [0, 4, 15])
def test_a_header_of_a_size_that_cannot_be_is_not_sound(words):
    packet = bytearray(ip4(17, b""))
    packet[0] = 0x40 | words
    assert not hop.is_sound(packet)


def test_ipv6_has_no_checksum_and_no_fragments_on_the_way():
    assert hop.is_sound(udp(6, b""))
    assert not hop.may_fragment(udp(6, b""))
    assert hop.may_fragment(udp(4, b""))
    assert not hop.may_fragment(ip4(17, b"", fragment=0x4000))


@pytest.mark.parametrize(
    ("offset", "size", "allowed"),
    [(8191, 7, True), (8191, 8, False), (8000, 1535, True), (8000, 1536, False)],
)
def test_what_ends_beyond_the_largest_packet_is_not_cut_any_further(offset, size, allowed):
    packet = ip4(17, bytes(size), fragment=0x2000 | offset)
    assert hop.may_fragment(packet) is allowed
    if allowed:
        pieces = [int.from_bytes(piece[6:8]) & 0x1FFF for piece in hop.fragments(packet, 68)]
        assert pieces[0] == offset and pieces == sorted(pieces)


def joined(pieces: list[bytes]) -> tuple[bytes, int]:
    """Return the payload of fragments, and the flags and offset after the last."""
    payload = b""
    expected = int.from_bytes(pieces[0][6:8]) & 0x1FFF
    for number, piece in enumerate(pieces):
        size = (piece[0] & 15) * 4
        flags = int.from_bytes(piece[6:8])
        assert checksum(piece[:size]) == 0
        assert int.from_bytes(piece[2:4]) == len(piece)
        assert flags & 0x1FFF == expected
        if number < len(pieces) - 1:
            assert flags & 0x2000
            assert (len(piece) - size) % 8 == 0
        expected += (len(piece) - size) // 8
        payload += piece[size:]
    return payload, int.from_bytes(pieces[-1][6:8])


@given(st.binary(max_size=3000), st.integers(68, 1500))
def test_fragments_are_small_enough_and_spell_the_packet(payload, mtu):
    packet = ip4(17, payload, identification=9, ttl=3)
    pieces = [*hop.fragments(packet, mtu)] if payload else [packet]
    assert all(len(piece) <= mtu for piece in pieces)
    assert all(piece[4:6] == packet[4:6] and piece[8] == 3 for piece in pieces)
    assert joined(pieces)[0] == payload
    assert not joined(pieces)[1] & 0x2000


def test_a_fragment_of_a_fragment_keeps_its_place():
    packet = ip4(17, bytes(range(200)), fragment=0x2000 | 10)
    pieces = [*hop.fragments(packet, 100)]
    payload, last = joined(pieces)
    assert payload == bytes(range(200))
    assert [int.from_bytes(piece[6:8]) & 0x1FFF for piece in pieces] == [10, 20, 30]
    assert last & 0x2000, "more follows the packet itself"


@pytest.mark.parametrize(
    ("options", "copied"),
    [
        (RECORD + NOP, b""),
        (ROUTE + NOP, ROUTE + END),
        (NOP + RECORD + ROUTE + END, ROUTE + END),
        (END + ROUTE, b""),
        (bytes([0x83, 9, 4, 0]), b""),
        (bytes([0x83, 1, 4, 0]), b""),
        (NOP * 3 + b"\x83", b""),
    ],
)
def test_only_options_to_be_copied_are_in_the_pieces_that_follow(options, copied):
    packet = ip4(17, bytes(200), options=options)
    first, *others = hop.fragments(packet, 100)
    assert first[20:24] == options[:4]
    assert others
    for piece in others:
        assert piece[20 : (piece[0] & 15) * 4] == copied
    assert joined([first, *others])[0] == bytes(200)


def test_packets_of_the_tests_verify():
    assert take_apart(bytes(hop.take_hop(udp(4, b"payload")))).payload == b"payload"
