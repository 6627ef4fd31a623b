import pytest

from tests.wgpy.kernels.packets import ip4, ip6, tcp, udp
from wgpy.kernels import flow, vnet

H = bytes(100)
TCP4, TCP6, UDP4, UDP6 = tcp(4, H), tcp(6, H), udp(4, H), udp(6, H)


def spoilt(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes([value]) + packet[at + 1 :]


@pytest.mark.parametrize(
    ("packet", "takes_udp", "kind"),
    [
        (TCP4, True, vnet.GSO_TCPV4),
        (TCP6, True, vnet.GSO_TCPV6),
        (UDP4, True, vnet.GSO_UDP_L4),
        (UDP4, False, None),
        (UDP6, True, vnet.GSO_UDP_L4),
        (UDP6, False, None),
        (UDP4[:27], True, None),
        (TCP4[:39], True, None),
        (UDP6[:47], True, None),
        (TCP6[:59], True, None),
        (spoilt(UDP4, 0, 0x00), True, None),
        (spoilt(UDP4, 0, 0x46), True, None),
        (ip4(1, H), True, None),
        (ip6(58, H), True, None),
        (ip6(0, H), True, None),
        (b"", True, None),
        (b"\x60" * 39, True, None),
        (TCP4 + b"x", True, None),
        (TCP6 + b"x", True, None),
        (ip4(6, H[:19]), True, None),
        (ip4(17, H[:7]), True, None),
        (spoilt(TCP4, 32, 0x40), True, None),
        (spoilt(TCP4, 32, 0xF0), True, vnet.GSO_TCPV4),
        (spoilt(UDP4, 25, 9), True, None),
        (tcp(4, b""), True, None),
        (udp(4, b""), True, None),
        (tcp(4, H, flags=0), True, None),
        (tcp(4, H, flags=0x12), True, None),
    ],
)
def test_only_plain_tcp_and_udp_qualify(packet, takes_udp, kind):
    parsed = flow.parse_untrusted(packet, udp=takes_udp)
    assert (parsed.gso_type if parsed else None) == kind


@pytest.mark.parametrize(
    ("row", "size"),
    [
        (TCP4 + bytes(9), len(TCP4)),
        (UDP6 + bytes(9), len(UDP6)),
        (TCP4[:-1], 0),
        (UDP6[:-1], 0),
        (TCP4[:19], 0),
        (UDP6[:39], 0),
        (bytes(60), 0),
        (b"", 0),
    ],
)
def test_the_size_of_a_packet_is_what_its_header_says(row, size):
    assert flow.size_untrusted(row) == size


@pytest.mark.parametrize("packet", [TCP4, TCP6, UDP4, UDP6])
def test_a_packet_is_intact_until_a_bit_changes(packet):
    parsed = flow.parse_untrusted(packet, udp=True)
    assert parsed is not None
    assert flow.is_intact(parsed)
    assert not flow.is_intact(parsed._replace(raw=spoilt(packet, len(packet) - 1, 1)))
