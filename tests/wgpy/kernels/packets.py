"""Packets built and checked field by field, slowly, and super packets made of them."""

import struct
from typing import NamedTuple

from wgpy.kernels import vnet
from wgpy.kernels.segment import Segmenter
from wgpy.model import TunBurst

A4, B4 = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
A6, B6 = bytes.fromhex("20010db8" + 23 * "0" + "1"), bytes.fromhex("20010db8" + 23 * "0" + "2")
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
PORT = 5000
SEGMENTER = Segmenter()
TCP = {4: vnet.GSO_TCPV4, 6: vnet.GSO_TCPV6}
START = {4: 20, 6: 40}
TIMESTAMPS = bytes.fromhex("0101080a0000000100000002")


def slow_sum(data: bytes) -> int:
    """Return the folded sum of 16-bit words, one at a time (RFC 1071)."""
    total = 0
    for at in range(0, len(data) - 1, 2):
        total += data[at] << 8 | data[at + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(packet: bytes, protocol: int, l4: bytes) -> bytes:
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return addresses + struct.pack(">II", len(l4), protocol)


def ip4(
    protocol: int,
    l4: bytes,
    *,
    identification: int = 0,
    fragment: int = 0,
    ttl: int = 64,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    header = struct.pack(
        ">BBHHHBBH4s4s",
        *(0x45 + len(options) // 4, tos, 20 + len(options) + len(l4), identification),
        *(fragment, ttl, protocol, 0, A4, B4),
    )
    header += options
    check = 0xFFFF - slow_sum(header)
    return header[:10] + struct.pack(">H", check) + header[12:] + l4


def ip6(
    protocol: int, l4: bytes, *, label: int = 0, ttl: int = 64, tos: int = 0, after: bytes = b""
) -> bytes:
    first = 6 << 28 | tos << 20 | label
    return struct.pack(">IHBB16s16s", first, len(l4), protocol, ttl, A6, B6) + after + l4


def ip(v: int, protocol: int, l4: bytes, **fields: int) -> bytes:
    return ip4(protocol, l4, **fields) if v == 4 else ip6(protocol, l4, **fields)  # type: ignore[arg-type]


def tcp(
    v: int,
    payload: bytes,
    seq: int = 1,
    flags: int = ACK,
    *,
    port: int = PORT,
    ack: int = 1,
    window: int = 3000,
    reserved: int = 0,
    options: bytes = b"",
    **fields: int,
) -> bytes:
    offset = (20 + len(options)) // 4 << 4 | reserved
    head = (
        struct.pack(">HHIIBBHHH", 1000, port, seq, ack, offset, flags, window, 0, 0) + options
    )
    l4 = head + payload
    bare = ip(v, 6, l4, **fields)
    check = 0xFFFF - slow_sum(pseudo(bare, 6, l4) + l4)
    return ip(v, 6, l4[:16] + struct.pack(">H", check) + l4[18:], **fields)


def udp(v: int, payload: bytes, *, port: int = PORT, **fields: int) -> bytes:
    l4 = struct.pack(">HHHH", 1000, port, 8 + len(payload), 0) + payload
    bare = ip(v, 17, l4, **fields)
    check = 0xFFFF - slow_sum(pseudo(bare, 17, l4) + l4) or 0xFFFF
    return ip(v, 17, l4[:6] + struct.pack(">H", check) + l4[8:], **fields)


class Parts(NamedTuple):
    """A packet taken apart; every checksum in it was right and every length was its own."""

    version: int
    identification: int
    flow: bytes
    sequence: int
    flags: int
    options: bytes
    payload: bytes


def take_apart(packet: bytes) -> Parts:
    """Check and parse a wire packet without extension headers."""
    packet = bytes(packet)
    version = packet[0] >> 4
    identification = 0
    if version == 4:
        start = (packet[0] & 15) * 4
        length, identification = struct.unpack_from(">HH", packet, 2)
        assert length == len(packet)
        assert slow_sum(packet[:start]) == 0xFFFF
        protocol, addresses = packet[9], packet[12:20]
    else:
        start = 40
        assert struct.unpack_from(">H", packet, 4)[0] == len(packet) - 40
        protocol, addresses = packet[6], packet[8:40]
    l4 = packet[start:]
    assert slow_sum(pseudo(packet, protocol, l4) + l4) == 0xFFFF
    flow = bytes([protocol]) + addresses + l4[:4]
    if protocol == 17:
        assert struct.unpack_from(">H", l4, 4)[0] == len(l4)
        assert l4[6:8] != bytes(2)
        return Parts(version, identification, flow, 0, 0, b"", l4[8:])
    assert protocol == 6
    size = (l4[12] >> 4) * 4
    (sequence,) = struct.unpack_from(">I", l4, 4)
    return Parts(version, identification, flow, sequence, l4[13], l4[20:size], l4[size:])


def super_tcp(
    v: int,
    payload: bytes,
    gso: int,
    seq: int = 1,
    flags: int = ACK,
    *,
    options: bytes = b"",
    **fields: int,
) -> TunBurst:
    """Return what the host hands over: one packet, its checksum not computed."""
    packet = bytearray(tcp(v, payload, seq, flags, options=options, **fields))
    packet[START[v] + 16 : START[v] + 18] = b"\xab\xcd"
    return TunBurst(packet, TCP[v], gso, START[v], 16)


def super_udp(v: int, payload: bytes, gso: int, **fields: int) -> TunBurst:
    packet = bytearray(udp(v, payload, **fields))
    packet[START[v] + 6 : START[v] + 8] = b"\xab\xcd"
    return TunBurst(packet, vnet.GSO_UDP_L4, gso, START[v], 6)


def split(burst: TunBurst) -> list[bytes]:
    return [bytes(packet) for packet in SEGMENTER.segment_untrusted(burst)]


def whole(burst: TunBurst) -> bytes:
    return bytes(burst.whole())
