"""What stands while it is measured: nodes of one implementation in namespaces of their own.

`tunnel` is A - B, `Gateway` is A - G - B, and so is `SealedRelay`, whose G can read nothing.
Nodes and the measuring programs share the processors: the figures are of efficiency, and only
ratios within one run of the bench mean anything elsewhere.
"""

import re
from collections.abc import Mapping, Sequence
from statistics import quantiles
from typing import NamedTuple

from bench import procfs
from bench.subjects import Subject
from tests.lab import Lab, LabError, Throughput, keypair
from tests.namespaces.managed_node import far, near

MTU = 1420
PORT = 51820
LOST_MS = 1000.0
# Pings that a transfer has to come up to speed; pings a second.
WARMING = 50
PACE = 100
FORWARDING = {"WGPY_FORWARD": "1"}


class Remote(NamedTuple):
    """A peer as `wg setconf` is told of it."""

    public: str
    endpoint: str
    allowed: str

    def section(self) -> str:
        return (
            f"[Peer]\nPublicKey={self.public}\nEndpoint={self.endpoint}:{PORT}\n"
            f"AllowedIPs={self.allowed}\n"
        )


class Spot(NamedTuple):
    """Where a node stands and who it is."""

    ns: str
    private: str
    address: str
    environment: Mapping[str, str] = {}


class Rig:
    """Two ends that reach each other, and the nodes between them; see `stand`."""

    def __init__(self, lab: Lab, ends: tuple[str, str], addresses: tuple[str, str]) -> None:
        self.ends, self.addresses = ends, addresses
        self.pids: list[int] = []
        self._lab = lab

    def stand(self, subject: Subject, spot: Spot, remotes: Sequence[Remote]) -> None:
        """Start a node and configure it."""
        lab, interface = self._lab, self._lab.ifname()
        self.pids.append(subject.start(lab, spot.ns, interface, spot.environment).pid)
        text = f"[Interface]\nPrivateKey={spot.private}\nListenPort={PORT}\n"
        text += "".join(remote.section() for remote in remotes)
        lab.wg("setconf", interface, "/dev/stdin", stdin=text)
        lab.ip(spot.ns, "link", "set", interface, "mtu", MTU)
        lab.address(spot.ns, interface, f"{spot.address}/24")

    def meet(self) -> None:
        """Wait until the ends reach each other."""
        self._lab.wait_ping(self.ends[0], self.addresses[1])

    def tcp(self, sender: int, seconds: float, streams: int = 1) -> tuple[float, float]:
        """Return Gbit/s of some streams together, and seconds of all nodes for each GB."""
        before = self.cpu_seconds()
        flow = self._iperf(sender, seconds, options=("-P", streams))
        received = flow.report["end"]["sum_received"]["bytes"] / 1e9
        return flow.bits_per_second / 1e9, (self.cpu_seconds() - before) / received

    def relayed(self, sender: int, seconds: float) -> tuple[float, float]:
        """Return Gbit/s of a TCP stream through the last node, and its seconds for each GB."""
        before = procfs.cpu_seconds(self.pids[-1])
        flow = self._iperf(sender, seconds)
        received = flow.report["end"]["sum_received"]["bytes"] / 1e9
        return (
            flow.bits_per_second / 1e9,
            (procfs.cpu_seconds(self.pids[-1]) - before) / received,
        )

    def udp64(self, sender: int, seconds: float) -> float:
        """Return how many thousand packets of 64 bytes arrive a second at full blast."""
        total = self._iperf(sender, seconds, udp="0", options=("-l", 64)).report["end"]["sum"]
        return float((total["packets"] - total["lost_packets"]) / total["seconds"] / 1e3)

    def ping(self, sender: int, count: int, skipped: int = 0) -> tuple[float, float]:
        """Return p50 and p99 of the round trips of `count` pings in ms, one every 10 ms.

        As many as are `skipped` go ahead of these. One that is lost counts as a second.
        """
        count += skipped
        argv = ("ping", "-n", "-i", 1 / PACE, "-c", count, "-W", 1, self.addresses[1 - sender])
        answers = self._lab.run(
            self.ends[sender], *argv, check=False, timeout=count * 3 / PACE + 20
        ).stdout
        found = re.findall(r"icmp_seq=(\d+) ttl=\d+ time=([\d.]+) ms$", answers, re.MULTILINE)
        took = {int(number): float(time) for number, time in found}
        trips = [took.get(number, LOST_MS) for number in range(skipped + 1, count + 1)]
        percentiles = quantiles(trips, n=100, method="inclusive")
        return percentiles[49], percentiles[98]

    def loaded_ping(self, sender: int, count: int) -> tuple[float, float]:
        """Return what `ping` does, while a TCP stream takes all that it gets the same way.

        Raises:
            LabError: the stream did not last.
        """
        seconds = (WARMING + count) * 3 // PACE + 20
        lab, address = self._lab, self.addresses[1 - sender]
        port = next(lab.ports)
        serving = ("iperf3", "-s", "-1", "-B", address, "-p", port, "--forceflush")
        listener = lab.spawn(self.ends[1 - sender], *serving)
        listener.wait_log("Server listening")
        sending = ("iperf3", "-c", address, "-p", port, "-t", seconds)
        stream = lab.spawn(self.ends[sender], *sending)
        try:
            found = self.ping(sender, count, WARMING)
            if not stream.alive:
                raise LabError(f"the stream ended: {stream.log()}")
        finally:
            stream.stop()
            listener.stop()
        return found

    def cpu_seconds(self) -> float:
        return sum(procfs.cpu_seconds(pid) for pid in self.pids)

    def rss_mb(self) -> float:
        """Return the resident memory of a node, the mean of all."""
        return sum(procfs.rss_mb(pid) for pid in self.pids) / len(self.pids)

    def _iperf(
        self,
        sender: int,
        seconds: float,
        *,
        udp: str | None = None,
        options: Sequence[object] = (),
    ) -> Throughput:
        client, server = self.ends[sender], self.ends[1 - sender]
        address = self.addresses[1 - sender]
        return self._lab.iperf(client, server, address, seconds, udp=udp, options=options)


def tunnel(lab: Lab, subject: Subject) -> Rig:
    """Return A - B, which have shaken hands."""
    rig = Rig(lab, lab.pair(), ("10.9.0.1", "10.9.0.2"))
    outer = ("192.0.2.1", "192.0.2.2")
    keys = [keypair(), keypair()]
    for at, other in ((0, 1), (1, 0)):
        spot = Spot(rig.ends[at], keys[at][0], rig.addresses[at])
        allowed = f"{rig.addresses[other]}/32"
        rig.stand(subject, spot, [Remote(keys[other][1], outer[other], allowed)])
    rig.meet()
    return rig


class Gateway(Rig):
    """A - G - B, where A and B know nothing but G, the last of the nodes.

    G of ours relays in process, and its kernel forwards nothing; that of others leaves it to
    its kernel.
    """

    def __init__(self, lab: Lab, subject: Subject) -> None:
        a, g, b = lab.ns(), lab.ns(), lab.ns()
        super().__init__(lab, (a, b), ("10.9.0.1", "10.9.0.2"))
        lab.veth(a, g, ["192.0.2.2/24"], ["192.0.2.1/24"])
        lab.veth(b, g, ["198.51.100.2/24"], ["198.51.100.1/24"])
        lab.sysctl(g, "net.ipv4.ip_forward", int(not subject.kernels))
        lab.sysctl(g, "net.ipv4.conf.all.send_redirects", 0)
        lab.sysctl(g, "net.ipv4.conf.default.send_redirects", 0)
        keys = [keypair(), keypair(), keypair()]
        for at, outer in enumerate(("192.0.2.1", "198.51.100.1")):
            spot = Spot(self.ends[at], keys[at][0], self.addresses[at])
            self.stand(subject, spot, [Remote(keys[2][1], outer, "10.9.0.0/24")])
        remotes = [
            Remote(keys[at][1], outer, f"{self.addresses[at]}/32")
            for at, outer in enumerate(("192.0.2.2", "198.51.100.2"))
        ]
        environment = FORWARDING if subject.kernels else {}
        self.stand(subject, Spot(g, keys[2][0], "10.9.0.3", environment), remotes)
        self.meet()


class SealedRelay(Rig):
    """A - G - B, where A and B share a session that goes through theirs with G."""

    def __init__(self, lab: Lab, subject: Subject) -> None:
        a, g, b = lab.ns(), lab.ns(), lab.ns()
        super().__init__(lab, (a, b), ("10.9.0.1", "10.9.0.2"))
        lab.veth(a, g, ["192.0.2.2/24"], ["192.0.2.1/24"])
        lab.veth(b, g, ["198.51.100.2/24"], ["198.51.100.1/24"])
        (one, a_key), (two, b_key), (middle, g_key) = keypair(), keypair(), keypair()
        inner_a, inner_b = self.addresses
        inner_g = "10.9.0.3"
        self._manage(
            *(subject, Spot(a, one, inner_a)),
            near(g_key, inner_g, f"192.0.2.1:{PORT}"),
            far(b_key, inner_b, g_key),
        )
        self._manage(
            *(subject, Spot(b, two, inner_b)),
            near(g_key, inner_g, f"198.51.100.1:{PORT}"),
            far(a_key, inner_a, g_key),
        )
        self._manage(
            *(subject, Spot(g, middle, inner_g)),
            near(a_key, inner_a, f"192.0.2.2:{PORT}"),
            near(b_key, inner_b, f"198.51.100.2:{PORT}"),
        )
        self.meet()

    def _manage(self, subject: Subject, spot: Spot, *peers: str) -> None:
        """Start a node of ours that knows ways through relays."""
        interface = self._lab.ifname()
        module = ("-P", "-m", "tests.namespaces.managed_node")
        words = (interface, spot.private, PORT, f"{spot.address}/24", "carries", *peers)
        child = self._lab.python(spot.ns, *module, *words, env={**subject.environment})
        child.wait_log("serves")
        subject.wait_for_kernels(interface)
        self.pids.append(child.pid)
