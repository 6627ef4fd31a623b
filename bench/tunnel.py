"""What a tunnel carries: `tcp`, `udp64`, `ping`, each with two nodes on this machine.

Two namespaces joined by a cable, a node in each. All implementations stand at the same time
and take turns, so that each run of one has its twin of the others a moment later. Nodes and
the measuring programs share the processors: the figures are of efficiency, and only ratios
within one run of the bench mean anything elsewhere.
"""

import re
from collections.abc import Callable
from statistics import quantiles

from bench import procfs
from bench.figures import Limit, Row, compared
from bench.options import Options
from bench.subjects import Subject, company
from tests.lab import Lab, keypair

TCP_LIMIT = Limit(0.3, at_most=False)
MTU = 1420
ADDRESSES = ("10.9.0.1", "10.9.0.2")
OUTER = ("192.0.2.1", "192.0.2.2")
PORT = 51820


class Tunnel:
    """Two nodes of one implementation that have shaken hands."""

    def __init__(self, lab: Lab, subject: Subject) -> None:
        self._lab = lab
        self.ends = lab.pair()
        keys = [keypair(), keypair()]
        self._pids = []
        for at, other in ((0, 1), (1, 0)):
            interface = lab.ifname()
            self._pids.append(subject.start(lab, self.ends[at], interface).pid)
            text = (
                f"[Interface]\nPrivateKey={keys[at][0]}\nListenPort={PORT}\n"
                f"[Peer]\nPublicKey={keys[other][1]}\nEndpoint={OUTER[other]}:{PORT}\n"
                f"AllowedIPs={ADDRESSES[other]}/32\n"
            )
            lab.wg("setconf", interface, "/dev/stdin", stdin=text)
            lab.ip(self.ends[at], "link", "set", interface, "mtu", MTU)
            lab.address(self.ends[at], interface, f"{ADDRESSES[at]}/24")
        lab.wait_ping(self.ends[0], ADDRESSES[1])

    def tcp(self, sender: int, seconds: float) -> tuple[float, float]:
        """Return Gbit/s of one stream, and seconds of both nodes for each GB."""
        before = self._cpu()
        client, server = self.ends[sender], self.ends[1 - sender]
        flow = self._lab.iperf(client, server, ADDRESSES[1 - sender], seconds)
        received = flow.report["end"]["sum_received"]["bytes"] / 1e9
        return flow.bits_per_second / 1e9, (self._cpu() - before) / received

    def udp64(self, sender: int, seconds: float) -> float:
        """Return how many thousand packets of 64 bytes arrive a second at full blast."""
        client, server = self.ends[sender], self.ends[1 - sender]
        flow = self._lab.iperf(
            *(client, server, ADDRESSES[1 - sender], seconds), udp="0", options=("-l", 64)
        )
        total = flow.report["end"]["sum"]
        return float((total["packets"] - total["lost_packets"]) / total["seconds"] / 1e3)

    def ping(self, sender: int, count: int) -> list[float]:
        """Return the round trips of `count` pings in ms, one every 10 ms."""
        argv = ("ping", "-n", "-i", 0.01, "-c", count, "-W", 1, ADDRESSES[1 - sender])
        answers = self._lab.run(self.ends[sender], *argv, timeout=count * 0.02 + 20).stdout
        return [float(found) for found in re.findall(r"time=([\d.]+) ms", answers)]

    def _cpu(self) -> float:
        return sum(procfs.cpu_seconds(pid) for pid in self._pids)


def tcp(options: Options) -> list[Row]:
    """One TCP stream, by turns in both directions."""
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    seconds = 2 if options.quick else 4

    def measure(name: str, tunnel: Tunnel, sender: int) -> None:
        rate, cost = tunnel.tcp(sender, seconds)
        rates.setdefault(name, []).append(rate)
        costs.setdefault(name, []).append(cost)

    absent = _by_turns("tcp", options, options.runs(8, 2), measure)
    return [
        *compared("tcp", "Gbit/s", rates, TCP_LIMIT),
        *compared("tcp", "s/GB", costs, what="processor: "),
        *absent,
    ]


def udp64(options: Options) -> list[Row]:
    """64-byte packets at full blast, by turns in both directions."""
    rates: dict[str, list[float]] = {}
    seconds = 1 if options.quick else 3

    def measure(name: str, tunnel: Tunnel, sender: int) -> None:
        rates.setdefault(name, []).append(tunnel.udp64(sender, seconds))

    absent = _by_turns("udp64", options, options.runs(6, 2), measure)
    return [*compared("udp64", "1000/s", rates), *absent]


def ping(options: Options) -> list[Row]:
    """Round trips through a tunnel that carries nothing else."""
    middle: dict[str, list[float]] = {}
    late: dict[str, list[float]] = {}
    count = options.runs(300, 100)

    def measure(name: str, tunnel: Tunnel, sender: int) -> None:
        percentiles = quantiles(tunnel.ping(sender, count), n=100)
        middle.setdefault(name, []).append(percentiles[49])
        late.setdefault(name, []).append(percentiles[98])

    absent = _by_turns("ping", options, options.runs(6, 2), measure)
    return [
        *compared("ping", "ms", middle, what="p50: "),
        *compared("ping", "ms", late, what="p99: "),
        *absent,
    ]


def _by_turns(
    bench: str, options: Options, runs: int, measure: Callable[[str, Tunnel, int], None]
) -> list[Row]:
    """Let every implementation have its turn `runs` times; return rows for the absent."""
    present = company(options)
    with Lab() as lab:
        tunnels = {one.name: Tunnel(lab, one) for one in present.subjects}
        for number in range(runs):
            for name, tunnel in tunnels.items():
                options.say(f"{bench}: run {number + 1} of {runs}, {name}")
                measure(name, tunnel, number % 2)
    return present.absences(bench)
