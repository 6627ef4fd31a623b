"""What passes an interface: tcpdump's files, read as IP packets and UDP datagrams."""

import ipaddress
import itertools
import struct
from typing import NamedTuple, Self

from tests.lab import Lab, wait_until

_numbers = itertools.count(1)
_ETHERNET, _RAW = 1, 101
_UDP = 17


class Packet(NamedTuple):
    """An IP packet; `tos` is the traffic class in IPv6, `payload` follows the IP header."""

    source: str
    destination: str
    tos: int
    protocol: int
    payload: bytes


class Datagram(NamedTuple):
    """A UDP datagram of WireGuard; `kind` is its message type."""

    source: str
    tos: int
    kind: int
    size: int


class Capture:
    """What an interface carries while the context lasts; read it afterwards.

    `only` is a filter of tcpdump.
    """

    def __init__(self, lab: Lab, ns: str, interface: str, only: str = "ip or ip6") -> None:
        self.file = lab.directory / f"{next(_numbers)}.pcap"
        words = ("-i", interface, "-w", self.file, "-U", "-Z", "root", "--immediate-mode")
        self.child = lab.spawn(ns, "tcpdump", "-n", *words, only)
        self.packets: list[Packet] = []

    def __enter__(self) -> Self:
        self.child.wait_log("listening on")
        return self

    def __exit__(self, *_: object) -> None:
        self._settle()
        self.child.stop()
        self.packets = read(self.file.read_bytes())

    def _settle(self) -> None:
        """Wait until the file has stopped growing."""
        sizes = [-1]

        def rested() -> bool:
            sizes.append(self.file.stat().st_size)
            return len(sizes) > 5 and len(set(sizes[-5:])) == 1

        wait_until(rested)

    @property
    def datagrams(self) -> list[Datagram]:
        """The messages of WireGuard among what was seen."""
        return [
            Datagram(packet.source, packet.tos, packet.payload[8], len(packet.payload) - 8)
            for packet in self.packets
            if packet.protocol == _UDP
        ]


def read(pcap: bytes) -> list[Packet]:
    """Return the IP packets of a file of tcpdump."""
    (link,) = struct.unpack_from("<I", pcap, 20)
    assert link in (_ETHERNET, _RAW), f"link type {link}"
    packets, position = [], 24
    while position < len(pcap):
        (size,) = struct.unpack_from("<I", pcap, position + 8)
        frame = pcap[position + 16 : position + 16 + size]
        position += 16 + size
        packets.append(_packet(frame[14:] if link == _ETHERNET else frame))
    return packets


def _packet(ip: bytes) -> Packet:
    if ip[0] >> 4 == 4:
        size, header = struct.unpack_from("!H", ip, 2)[0], 4 * (ip[0] & 15)
        hosts, tos, protocol = (ip[12:16], ip[16:20]), ip[1], ip[9]
    else:
        size, header = struct.unpack_from("!H", ip, 4)[0] + 40, 40
        hosts, tos, protocol = (ip[8:24], ip[24:40]), (ip[0] << 4 | ip[1] >> 4) & 255, ip[6]
    source, destination = (str(ipaddress.ip_address(host)) for host in hosts)
    return Packet(source, destination, tos, protocol, ip[header:size])
