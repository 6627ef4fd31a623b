"""Microseconds a packet of each port, without an engine; see `inprocess`.

UDP goes over loopback; the TUN figures need root and are left out without. Each figure is the
best of many rounds of one full `receive` or `send`.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial

from wgpy.errors import ConfigError
from wgpy.io.ports import READS
from wgpy.io.tun_linux import TunLinux
from wgpy.io.udp_linux import UdpLinux
from wgpy.model import Burst, Endpoint, Local

SIZE = 1300
ROUNDS = 100
COUNT = 64
HOST, BEYOND = "198.51.100.1", "198.51.100.2"

Figures = dict[str, tuple[float, str]]


def timed(work: Callable[[], object]) -> float:
    """Return the microseconds that one packet of `COUNT` takes."""
    start = time.thread_time()
    work()
    return (time.thread_time() - start) / COUNT * 1e6


def measure_udp() -> Figures:
    a, b = UdpLinux(), UdpLinux()
    a.bind(0)
    port = b.bind(0)
    v4, v6 = socket.inet_aton("127.0.0.1"), socket.inet_pton(socket.AF_INET6, "::1")
    to4, to6, payload = Endpoint(v4, port), Endpoint(v6, port), bytes(SIZE)
    loopback = socket.if_nametoindex("lo")
    sends = {
        "ipv4, one burst": [Burst([payload] * COUNT, SIZE, to4)],
        "ipv4, bursts of one": [Burst(payload, SIZE, to4)] * COUNT,
        "ipv4, source and tos": [Burst(payload, SIZE, to4, Local(v4, loopback), 1)] * COUNT,
        "ipv6, source and tos": [Burst(payload, SIZE, to6, Local(v6, loopback), 1)] * COUNT,
    }
    figures: Figures = {}
    for name, bursts in sends.items():
        into = b.filenos()[1 if name.startswith("ipv6") else 0]
        rounds = [
            (timed(partial(a.send, bursts)), timed(partial(b.receive, into)))
            for _ in range(ROUNDS)
        ]
        sending, receiving = (min(taken) for taken in zip(*rounds, strict=True))
        figures[f"UDP send, {name}"] = (sending, "us")
        figures[f"UDP receive, {name}"] = (receiving, "us")
    a.close()
    b.close()
    return figures


def measure_tun() -> Figures:
    try:
        tun = TunLinux.create(f"wgpyb{os.getpid()}")
    except ConfigError:
        return {}
    name = tun.name()
    subprocess.run(["ip", "address", "add", f"{HOST}/30", "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    reading, writing = [], []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.sendto(bytes(SIZE - 28), (BEYOND, 9))
        packet = tun.receive()[-1]
        for _ in range(ROUNDS):
            for _ in range(COUNT):
                host.sendto(bytes(SIZE - 28), (BEYOND, 9))
            reading.append(timed(tun.receive))
            # The host drops it: its source is the host itself. The port's work is the same.
            writing.append(timed(partial(tun.send, [packet] * COUNT)))
    tun.close()
    return {"TUN receive": (min(reading), "us"), "TUN send": (min(writing), "us")}


def main() -> None:
    assert READS == COUNT
    print(json.dumps(measure_udp() | measure_tun()))


if __name__ == "__main__":
    main()
