"""The kernel takes what is merged here, and gives what is split here."""

import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.lab import Lab, wait_until
from tests.wgpy.io.inside import inside
from tests.wgpy.kernels.packets import (
    ACK,
    PSH,
    START,
    SYN,
    Parts,
    split,
    super_tcp,
    super_udp,
    take_apart,
    tcp,
)
from wgpy.kernels.coalesce import coalesce
from wgpy.kernels.inorder import Coalescer
from wgpy.kernels.segment import complete_checksum
from wgpy.model import TunBurst
from wgpy.wire import vnet

pytestmark = pytest.mark.root

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
CSUM_TSO, USO = 0x07, 0x60
UDP_SEGMENT = 103
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
HOST = {4: "192.0.2.2", 6: "2001:db8::2"}
REMOTE = {4: "192.0.2.1", 6: "2001:db8::1"}
HOST_PORT = 5000
WINDOW = 65535
MSS = b"\x02\x04\x05\x50"


class Tun:
    """A TUN interface with offloads, inside a namespace."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def write(self, bursts: list[TunBurst]) -> None:
        for burst in bursts:
            pieces = burst.packet if isinstance(burst.packet, list) else [burst.packet]
            os.writev(self.fd, [vnet.encode(burst), *pieces])

    def read(self, version: int, protocol: int) -> list[TunBurst]:
        """Return what comes of one kind within a moment; the host says things of its own."""
        bursts = []
        while select.select([self.fd], [], [], 0.1)[0]:
            raw = os.read(self.fd, 10 + 65535)
            burst = vnet.decode_untrusted(raw[:10], raw[10:])
            packet = burst.whole()
            at = {4: 9, 6: 6}[version]
            if packet[0] >> 4 == version and packet[at] == protocol:
                bursts.append(burst)
        return bursts


def on_the_wire(bursts: list[TunBurst]) -> list[Parts]:
    """Return the wire packets of what the host sent; each has passed `take_apart`."""
    packets: list[bytes] = []
    for burst in bursts:
        packets += split(burst) if burst.gso_type else [bytes(complete_checksum(burst))]
    return [take_apart(packet) for packet in packets]


@pytest.fixture
def ns(lab: Lab) -> str:
    return lab.ns()


@pytest.fixture
def tun(lab: Lab, ns: str) -> Iterator[Tun]:
    with inside(ns):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"wgpyt0", flags))
    fcntl.ioctl(fd, TUNSETOFFLOAD, CSUM_TSO)
    try:
        fcntl.ioctl(fd, TUNSETOFFLOAD, CSUM_TSO | USO)
    except OSError:
        os.close(fd)
        pytest.skip("this kernel has no UDP segmentation for TUN")
    lab.address(ns, "wgpyt0", f"{HOST[4]}/24", f"{HOST[6]}/64")
    yield Tun(fd)
    os.close(fd)


@pytest.mark.parametrize("v", [4, 6])
@pytest.mark.parametrize("last", [1300, 77])
def test_merged_datagrams_reach_the_socket(tun, ns, v, last):
    payload = b"".join(bytes([n]) * 1300 for n in range(40)) + b"z" * last
    bursts = coalesce(split(super_udp(v, payload, 1300)), udp=True)
    assert [burst.gso_type for burst in bursts] == [vnet.GSO_UDP_L4]
    with inside(ns):
        to = socket.socket(FAMILY[v], socket.SOCK_DGRAM)
    with to:
        to.bind((HOST[v], HOST_PORT))
        to.settimeout(5)
        tun.write(bursts)
        received = [to.recv(65535) for _ in range(41)]
    assert b"".join(received) == payload
    assert [len(datagram) for datagram in received] == [1300] * 40 + [last]


@pytest.mark.parametrize("v", [4, 6])
def test_datagrams_of_one_send_are_split_with_valid_checksums(tun, ns, v):
    payload = bytes(range(256)) * 200
    with inside(ns):
        sender = socket.socket(FAMILY[v], socket.SOCK_DGRAM)
    with sender:
        control = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", 1301))]
        sender.sendmsg([payload], control, 0, (REMOTE[v], 9))
    bursts = tun.read(v, 17)
    assert [burst.gso_type for burst in bursts] == [vnet.GSO_UDP_L4]
    assert b"".join(part.payload for part in on_the_wire(bursts)) == payload


@pytest.mark.parametrize("v", [4, 6])
def test_one_datagram_gets_the_checksum_the_host_left_out(tun, ns, v):
    with inside(ns):
        sender = socket.socket(FAMILY[v], socket.SOCK_DGRAM)
    with sender:
        sender.sendto(b"odd", (REMOTE[v], 9))
    bursts = tun.read(v, 17)
    assert [(burst.gso_type, burst.csum_start) for burst in bursts] == [(0, START[v])]
    assert [part.payload for part in on_the_wire(bursts)] == [b"odd"]


@pytest.mark.parametrize("v", [4, 6])
def test_a_stream_passes_both_ways_in_super_packets(tun, ns, v):
    with inside(ns):
        listener = socket.socket(FAMILY[v], socket.SOCK_STREAM)
    with listener:
        listener.bind((HOST[v], HOST_PORT))
        listener.listen()
        tun.write([TunBurst(tcp(v, b"", 100, SYN, ack=0, window=WINDOW, options=MSS))])
        (answer,) = on_the_wire(tun.read(v, 6))
        ours, theirs = 101, answer.sequence + 1
        tun.write([TunBurst(tcp(v, b"", ours, ACK, ack=theirs, window=WINDOW))])
        stream, _ = listener.accept()
    with stream:
        payload = bytes(range(251)) * 70
        packets = split(super_tcp(v, payload, 1360, ours, ACK | PSH, ack=theirs, window=WINDOW))
        stride = 1500
        rows = b"".join(packet.ljust(stride) for packet in packets)
        count, ends = len(packets), (len(packets[0]), len(packets[-1]))
        burst = Coalescer(udp=True).coalesce_matrix(rows, 0, stride, count, *ends)
        assert burst is not None
        tun.write([burst])
        stream.settimeout(5)
        assert stream.recv(len(payload), socket.MSG_WAITALL) == payload

        stream.sendall(payload)
        ours += len(payload)
        kinds: set[int] = set()
        came = bytearray(len(payload))
        missing = set(range(len(payload)))

        def all_came() -> bool:
            bursts = tun.read(v, 6)
            kinds.update(burst.gso_type for burst in bursts)
            for part in on_the_wire(bursts):
                at = part.sequence - theirs & 0xFFFFFFFF
                came[at : at + len(part.payload)] = part.payload
                missing.difference_update(range(at, at + len(part.payload)))
            known = theirs + min(missing, default=len(payload)) & 0xFFFFFFFF
            tun.write([TunBurst(tcp(v, b"", ours, ACK, ack=known, window=WINDOW))])
            return not missing

        wait_until(all_came)
        assert bytes(came) == payload
        assert {4: vnet.GSO_TCPV4, 6: vnet.GSO_TCPV6}[v] in kinds
