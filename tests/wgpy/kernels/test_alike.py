"""Bursts whose packets a router treats alike, against the same packet by packet."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import ip4, tcp, udp
from wgpy.kernels.alike import are_alike_untrusted, take_hop
from wgpy.model import Opened
from wgpy.wire import hop


def rows(packets: Sequence[bytes], *, pad: bytes = b"") -> Opened:
    """Return the packets as they come out of a burst, each with padding behind it."""
    padded = [packet + pad for packet in packets]
    stride = len(padded[0])
    buffer = bytearray().join(each.ljust(stride, b"\xee") for each in padded)
    return Opened(buffer, stride, [*map(len, padded)])


def several(version: int, count: int, tail: int = 100, **fields: int) -> list[bytes]:
    extra = [{"identification": n} if version == 4 else {"label": n} for n in range(count)]
    return [
        udp(version, bytes([n]) * (100 if n < count - 1 else tail), **extra[n], **fields)
        for n in range(count)
    ]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("count", [2, 5, 60])
@pytest.mark.parametrize("tail", [1, 99, 100])
def test_a_hop_is_taken_from_all_as_from_each(version, count, tail):
    packets = several(version, count, tail, ttl=2)
    opened = rows(packets)
    assert are_alike_untrusted(opened)
    take_hop(opened)
    assert [bytes(opened.row(n)) for n in range(count)] == [
        bytes(hop.take_hop(packet)) for packet in packets
    ]


@given(st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=20), st.integers(1, 255))
def test_every_checksum_verifies_after_the_hop(identifications, hops):
    packets = [ip4(17, b"12345678", identification=n, ttl=hops) for n in identifications]
    opened = rows(packets)
    assert are_alike_untrusted(opened)
    take_hop(opened)
    assert all(hop.is_sound(opened.row(n)) for n in range(len(packets)))


@pytest.mark.parametrize("version", [4, 6])
def test_several_flows_between_two_hosts_are_alike(version):
    assert are_alike_untrusted(
        rows([udp(version, b"1234", port=1), udp(version, b"5678", port=2)])
    )


@pytest.mark.parametrize("version", [4, 6])
def test_what_pads_the_rows_becomes_zeros(version):
    packets = several(version, 3, 90)
    opened = rows(packets, pad=b"secret")
    assert are_alike_untrusted(opened)
    assert [bytes(opened.row(n)) for n in range(3)] == [each + bytes(6) for each in packets]


@pytest.mark.parametrize("version", [4, 6])
def test_much_padding_is_not_alike(version):
    assert are_alike_untrusted(rows(several(version, 3), pad=bytes(15)))
    assert not are_alike_untrusted(rows(several(version, 3), pad=bytes(16)))


def differing(at: int, version: int = 4, row: int = 1) -> list[bytes]:
    """Return packets one of which differs in a byte of its header, its checksum set right."""
    packets = [bytearray(each) for each in several(version, 3)]
    packets[row][at] ^= 1
    if version == 4:
        packets[row][10:12] = bytes(2)
        packets[row][10:12] = ip_checksum(packets[row]).to_bytes(2)
    return [bytes(each) for each in packets]


def ip_checksum(packet: bytearray) -> int:
    total = sum(int.from_bytes(packet[at : at + 2]) for at in range(0, 20, 2))
    return 0xFFFF - (total % 0xFFFF)


@pytest.mark.parametrize("at", [*range(4), *range(6, 10), *range(12, 20)])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_each_byte_that_a_router_looks_at_counts(at, row):
    assert not are_alike_untrusted(rows(differing(at, 4, row)))


@pytest.mark.parametrize("at", [0, 4, 5, 6, 7, *range(8, 40)])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_each_byte_of_ipv6_that_a_router_looks_at_counts(at, row):
    assert not are_alike_untrusted(rows(differing(at, 6, row)))


def test_the_traffic_class_counts_and_the_flow_label_does_not():
    assert not are_alike_untrusted(rows([udp(6, b"1"), udp(6, b"2", tos=1)]))
    assert are_alike_untrusted(rows([udp(6, b"1"), udp(6, b"2", label=0xFFFFF)]))


@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_wrong_checksum_is_not_alike(row):
    packets = [bytearray(each) for each in several(4, 3)]
    packets[row][11] ^= 1
    assert not are_alike_untrusted(rows([bytes(each) for each in packets]))


def test_options_are_not_alike():
    packet = ip4(17, b"12345678", options=b"\x01\x01\x01\x00")
    assert not are_alike_untrusted(rows([packet, packet]))


def test_one_packet_or_rows_of_many_sizes_are_not_alike():
    one, two = tcp(4, b"1" * 100), tcp(4, b"1" * 90)
    assert not are_alike_untrusted(rows([one]))
    assert not are_alike_untrusted(rows([one, two, one]))
    assert not are_alike_untrusted(Opened(bytearray(two.ljust(140) + one), 140, [130, 140]))


@given(st.binary(min_size=1, max_size=300), st.integers(1, 70))
def test_any_bytes_may_come(content, stride):
    count = -(-len(content) // stride)
    last = len(content) - (count - 1) * stride
    buffer = bytearray(content.ljust(count * stride, b"\0"))
    opened = Opened(buffer, stride, [stride] * (count - 1) + [last])
    if are_alike_untrusted(opened):
        assert all(hop.is_sound(opened.row(n)) for n in range(count))


@given(st.integers(0, 39), st.binary(min_size=1, max_size=3), st.sampled_from([4, 6]))
def test_a_mutated_header_is_never_worse_than_its_packet(at, garbage, version):
    packets = [bytearray(each) for each in several(version, 3)]
    packets[1][at : at + len(garbage)] = garbage
    opened = rows([bytes(each) for each in packets])
    if are_alike_untrusted(opened):
        take_hop(opened)
        for number in range(3):
            assert bytes(opened.row(number)) == bytes(hop.take_hop(packets[number]))
