"""Microseconds a packet of segmenting, merging and the replay window; see `inprocess`.

A super packet of TCP, as large as one UDP send takes, is split and joined again; UDP of 64
bytes from several flows in turn is coalesced, which no compiled code does.
"""

import json
import struct
import time
from collections.abc import Callable

from wgpy.engine.replay import ReplayWindow
from wgpy.kernels import compiler
from wgpy.kernels.bursts import BurstKernels
from wgpy.kernels.compiler import Compiling
from wgpy.kernels.lanes import Lanes
from wgpy.model import Buffer, Opened, TunBurst
from wgpy.wire import vnet

COUNT = 44
SEGMENT = 1380
TCP_START, TCP_HEADERS = 20, 40
FLOWS = 4
ROUNDS = 200
MANY = 5_000
HOSTS = bytes([10, 9, 0, 1, 10, 9, 0, 2])

Figures = dict[str, tuple[float, str]]


def ip_header(protocol: int, size: int) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, size, 1, 0x4000, 64, protocol, 0) + HOSTS
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", 0xFFFF - total) + head[12:]


def super_packet() -> TunBurst:
    """Return what the host hands over of a TCP stream, as checksum the pseudo header's."""
    payload = COUNT * SEGMENT
    size = TCP_HEADERS - TCP_START + payload
    total = sum(struct.unpack(">4H", HOSTS)) + 6 + size
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    tcp = struct.pack(">HHIIBBHHH", 5001, 5002, 1, 1, 5 << 4, 0x10, 3000, total, 0)
    packet = ip_header(6, TCP_START + size) + tcp + bytes(payload)
    return TunBurst(packet, vnet.GSO_TCPV4, SEGMENT, TCP_START, vnet.TCP_CSUM_OFFSET)


def datagrams(kernels: BurstKernels) -> list[Buffer]:
    """Return packets of several flows in turn, whose checksums are right."""
    packets: list[Buffer] = []
    for number in range(COUNT):
        total = sum(struct.unpack(">4H", HOSTS)) + 17 + 72
        udp = struct.pack(">HHHH", 5001 + number % FLOWS, 5002, 72, total)
        packet = bytearray(ip_header(17, 92) + udp + bytes(64))
        offset = vnet.UDP_CSUM_OFFSET
        packets.append(bytes(kernels.complete(TunBurst(packet, 0, 0, TCP_START, offset))))
    return packets


def best(prepare: Callable[[], Callable[[], object]], count: int) -> tuple[float, str]:
    """Return the microseconds of one of `count` of the best round; preparing does not count."""
    taken = []
    for _ in range(ROUNDS):
        work = prepare()
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return min(taken) / count * 1e6, "us"


def bursts(kernels: BurstKernels, kind: str) -> Figures:
    burst = super_packet()
    packets = kernels.segment(burst)
    assert len(packets) == COUNT
    stride = TCP_HEADERS + SEGMENT
    sizes = [stride] * COUNT

    def merging() -> Callable[[], object]:
        opened = Opened(bytearray().join(packets), stride, sizes)

        def merge() -> None:
            assert kernels.merge(opened) is not None

        return merge

    label = f"{COUNT} x {stride} bytes, {kind}"
    return {
        f"segment {label}": best(lambda: lambda: kernels.segment(burst), COUNT),
        f"merge {label}": best(merging, COUNT),
    }


def coalescing(kernels: BurstKernels) -> Figures:
    packets = datagrams(kernels)
    assert len(kernels.coalesce(packets)) == FLOWS
    label = f"coalesce {COUNT} datagrams of {FLOWS} flows"
    return {label: best(lambda: lambda: kernels.coalesce(packets), COUNT)}


def replay() -> Figures:
    """Return what the window costs a counter: in order, late, and a whole run in one call."""

    def in_order() -> Callable[[], object]:
        window = ReplayWindow()
        return lambda: [window.accept(counter) for counter in range(MANY)]

    def swapped() -> Callable[[], object]:
        window = ReplayWindow()
        return lambda: [window.accept(counter ^ 1) for counter in range(MANY)]

    def runs() -> Callable[[], object]:
        window = ReplayWindow()
        return lambda: [window.accept_run(first, COUNT) for first in range(0, MANY, COUNT)]

    return {
        "replay window, in order": best(in_order, MANY),
        "replay window, neighbours swapped": best(swapped, MANY),
        f"replay window, runs of {COUNT}": best(runs, MANY),
    }


def main() -> None:
    found = compiler.load()
    lanes = found.finish() if isinstance(found, Compiling) else found
    figures = coalescing(BurstKernels(udp=True))
    if isinstance(lanes, Lanes):
        figures |= bursts(BurstKernels(udp=True, lanes=lanes), "compiled")
    figures |= bursts(BurstKernels(udp=True), "portable")
    print(json.dumps(figures | replay()))


if __name__ == "__main__":
    main()
