"""Ways out of a mesh of real nodes: exits, subnets behind nodes, and what must not leak."""

import json

import pytest

from tests.interop.capture import Capture
from tests.lab import Lab, wait_until
from tests.namespaces.echoes import Flow
from tests.namespaces.mesh import Box, Mesh, says
from tests.namespaces.underlay import V4, Internet
from wgpy.io import clock

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timed,
    pytest.mark.needs("nft", "ss", "tcpdump"),
]

# A host of the internet, and a site that two gateways share; a LAN that two places have alike.
OUTSIDE = "198.51.100.1"
SITE, HOST_OF_SITE = "192.168.7.0/24", "192.168.7.9"
COMMON, NEIGHBOUR = "192.168.9.0/24", "192.168.9.5"
DEFAULT = "0.0.0.0/0"
SETTINGS = (
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv4.conf.all.src_valid_mark",
)


def host_state(lab: Lab, ns: str) -> dict[str, str]:
    """Return all of a host that a gateway changes; counters are left out."""
    tables = (("-4", "rule"), ("-6", "rule"), ("route", "show", "table", "all"))
    found = {
        " ".join(words): "\n".join(
            # What the kernel sets with each address comes late and in no certain order.
            line
            for line in lab.ip(ns, *words).splitlines()
            if "proto kernel" not in line
        )
        for words in tables
    }
    found |= {name: lab.run(ns, "sysctl", "-n", name).stdout for name in SETTINGS}
    return found | {"nft": lab.run(ns, "nft", "list", "ruleset").stdout}


class Ways:
    """Two exits e1 and e2, two gateways g1 and g2 of one site, and two that make use of them.

    `any` takes the first exit that is there, `only` e1 or none. Nobody shares a LAN: each node
    reaches all others, and all that is outside, by its default route alone.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.lab = mesh, mesh.lab
        self.internet = Internet(self.lab)
        self.lab.ip(self.internet.ns, "address", "add", f"{OUTSIDE}/32", "dev", "lo")
        names = ("e1", "e2", "g1", "g2", "any", "only")
        made = [mesh.box(name, at, self.internet.host()) for at, name in enumerate(names, 1)]
        self.e1, self.e2, self.g1, self.g2, self.any, self.only = made
        mesh.write(
            [(f"{V4}.{box.number}.1:{50000 + box.number}", box.address) for box in made[:2]]
        )
        site = self.lab.ns()
        bridge = self.lab.bridge(site, f"{HOST_OF_SITE}/24")
        for last, box in enumerate((self.g1, self.g2), 1):
            self.lab.plug(site, bridge, box.ns, f"192.168.7.{last}/24")
        for box in (self.g1, self.any):
            self.lab.veth(box.ns, self.lab.ns(), ("192.168.9.1/24",), (f"{NEIGHBOUR}/24",))
        self.before = {box: host_state(self.lab, box.ns) for box in made}

    def start(self) -> None:
        for box in (self.e1, self.e2):
            box.start("--exit")
        self.g1.start("--route", SITE, "--route", COMMON)
        self.g2.start("--route", SITE)
        self.any.start("--via", f"{DEFAULT}=e1", "--via", f"{DEFAULT}=e2")
        self.only.start("--via", f"{DEFAULT}=e1")

    def flow(self, box: Box, address: str) -> Flow:
        assert self.mesh.echoes is not None
        return self.mesh.echoes.flow(box.ns, address)

    def goes(self, box: Box, prefix: str) -> str:
        """Return to whom a node sends a prefix, "" if to nobody."""
        routes = json.loads(box.ask("routes", "--json"))
        return next((each["to"] for each in routes if each["destination"] == prefix), "")

    def wait_goes(self, box: Box, prefix: str, name: str) -> None:
        wait_until(lambda: self.goes(box, prefix) == name, 10, f"{prefix} of {box} to {name}")

    def outside(self, box: Box) -> Capture:
        """Watch what leaves a host for where its flows go, unsealed: nothing may."""
        flows = f"icmp and (host {OUTSIDE} or net {SITE} or net {COMMON})"
        return Capture(self.lab, box.ns, self.internet.outer[box.ns], flows)

    def inside(self, box: Box) -> Capture:
        """Watch whether packets of the tunnel itself come through it."""
        ports = f"udp portrange {50001}-{50000 + len(self.mesh.boxes)}"
        # A route may be there for a moment longer than who takes its packets.
        return Capture(
            self.lab, box.ns, box.interface, f"{ports} and not src host {box.address}"
        )

    def finish(self) -> None:
        """See that all hosts are as they were."""
        self.mesh.finish()
        for box, state in self.before.items():
            assert host_state(self.lab, box.ns) == state, box


def back_after(flow: Flow, died_at: float) -> float:
    """Wait until a flow is answered again for a while; return the time that it was not."""

    def steady() -> bool:
        late = [at for at in flow.came.values() if at > clock.now() - 1]
        return len(late) >= 8 and clock.now() - died_at > 2

    wait_until(steady, 20, "answers again")
    return flow.gap(died_at)


def test_another_gateway_takes_over_and_nothing_leaks_while_there_is_none(mesh: Mesh):
    ways = Ways(mesh)
    ways.start()
    mesh.wait_all(10)
    for box in (ways.any, ways.only):
        ways.wait_goes(box, DEFAULT, "e1")
    ways.wait_goes(ways.any, SITE, ways.goes(ways.any, SITE) or "g1")
    refused = f"refused: {COMMON} behind g1: it holds 192.168.9.1, an address of this host"
    wait_until(lambda: refused in ways.any.log(), 5, "the overlap to be refused")
    local = ways.flow(ways.any, NEIGHBOUR)
    out, pinned = ways.flow(ways.any, OUTSIDE), ways.flow(ways.only, OUTSIDE)
    site = ways.flow(ways.any, HOST_OF_SITE)
    wait_until(lambda: all(len(each.came) >= 10 for each in (local, out, pinned, site)))
    began = clock.now()
    captures = [ways.outside(ways.any), ways.outside(ways.only)]
    captures += [ways.inside(box) for box in mesh.boxes if box is not ways.e1]
    for capture in captures:
        capture.__enter__()
    died_at = clock.now()
    ways.e1.kill()
    exit_gap = back_after(out, died_at)
    assert ways.goes(ways.any, DEFAULT) == "e2"
    line = f"{DEFAULT} is closed and goes nowhere: e1 is not reached"
    wait_until(lambda: line in ways.only.log(), 15)
    closed = clock.now() - died_at
    gateway = {"g1": ways.g1, "g2": ways.g2}[ways.goes(ways.any, SITE)]
    site_died_at = clock.now()
    gateway.kill()
    site_gap = back_after(site, site_died_at)
    assert ways.goes(ways.any, SITE) not in ("", gateway.name)
    assert ways.goes(ways.only, DEFAULT) == "" and "nobody" in ways.only.ask("routes")
    assert not [at for at in pinned.came.values() if at > died_at + 1], "it goes out somehow"
    for capture in captures:
        capture.__exit__()
    for box, options in ((ways.e1, ("--exit",)), (gateway, ("--route", SITE))):
        box.start(*options)
    pinned_at = clock.now()
    back_after(pinned, pinned_at)
    lost = local.lost(began)
    says(29, "gateways die", exit=exit_gap, subnet=site_gap, closed=closed, local_lost=lost)
    assert exit_gap <= 5 and site_gap <= 5
    assert lost == 0
    leaked = [packet for capture in captures for packet in capture.packets]
    assert not leaked, leaked[:5]
    ways.finish()
