"""Routes of a mesh that others take away: by a flush, a setting, a link set down."""

import json

import pytest

from tests.lab import Lab, wait_until
from tests.namespaces.mesh import Box, Mesh
from tests.namespaces.test_mesh_gateways import host_state
from tests.namespaces.underlay import V4, V6, Internet

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timed,
    pytest.mark.needs("nft", "ss"),
]

OUTSIDE, OUTSIDE6 = "198.51.100.1", "2001:db8:ffff::1"
SITE, HOST_OF_SITE = "192.168.7.0/24", "192.168.7.9"
# Seconds in which all is mended: the look of every five seconds, and what it takes.
MENDED = 6
FORWARDING = "net.ipv4.ip_forward"


class Trio:
    """An exit, the gateway of a site, and a host that uses both; IPv6 is there outside."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.lab = mesh, mesh.lab
        self.internet = Internet(self.lab)
        self.lab.ip(self.internet.ns, "address", "add", f"{OUTSIDE}/32", "dev", "lo")
        self.lab.ip(self.internet.ns, "address", "add", f"{OUTSIDE6}/128", "dev", "lo")
        names = ("exit", "site", "user")
        hosts = [self.internet.host(v6=True) for _ in names]
        made = [
            mesh.box(name, at, ns)
            for at, (name, ns) in enumerate(zip(names, hosts, strict=True), 1)
        ]
        self.exit, self.site, self.user = made
        mesh.write([(f"{V4}.1.1:50001", self.exit.address)])
        behind = self.lab.ns()
        self.lab.veth(self.site.ns, behind, ("192.168.7.1/24",), (f"{HOST_OF_SITE}/24",))
        self.before = {box: host_state(self.lab, box.ns) for box in made}

    def start(self) -> None:
        self.exit.start("--exit")
        self.site.start("--route", SITE)
        self.user.start("--via", "0.0.0.0/0=exit")
        self.mesh.wait_all(15)
        self.wait_well()

    def way(self, *words: object) -> str:
        """Return the interface by which packets leave the user's host, "" if by none."""
        argv = ("ip", "-j", "route", "get", *words)
        done = self.lab.run(self.user.ns, *argv, check=False)
        return str(json.loads(done.stdout)[0].get("dev", "")) if done.returncode == 0 else ""

    def is_well(self) -> bool:
        user = self.user
        return self.way(OUTSIDE) == user.interface and all(
            self.lab.run(user.ns, "ping", "-c1", "-W1", "-n", address, check=False).returncode
            == 0
            for address in (self.exit.address, OUTSIDE, HOST_OF_SITE)
        )

    def wait_well(self, seconds: float = 10) -> None:
        wait_until(self.is_well, seconds, "all to be reached as wanted")

    def ip(self, box: Box, *words: object) -> None:
        self.lab.ip(box.ns, *words)

    def finish(self) -> None:
        """See that all hosts are as they were."""
        self.mesh.finish()
        for box, state in self.before.items():
            assert host_state(self.lab, box.ns) == state, box


@pytest.fixture
def trio(lab: Lab, mesh: Mesh) -> Trio:
    made = Trio(mesh)
    made.start()
    return made


def test_rules_that_are_flushed_come_back_at_once(trio: Trio):
    own = "\n".join(
        line for line in trio.lab.ip(trio.user.ns, "rule").splitlines() if "51820" in line
    )
    trio.ip(trio.user, "rule", "flush")
    for priority, table in ((32766, "main"), (32767, "default")):
        trio.ip(trio.user, "rule", "add", "priority", priority, "table", table)
    wait_until(lambda: trio.way(OUTSIDE) == trio.user.interface, 2, "the rules")
    assert own in trio.lab.ip(trio.user.ns, "rule")
    trio.wait_well()
    trio.finish()


def test_the_firewall_and_forwarding_come_back_and_who_insists_has_it(trio: Trio):
    lab = trio.lab
    for box in (trio.exit, trio.site):
        lab.run(box.ns, "nft", "flush", "ruleset")
        lab.sysctl(box.ns, FORWARDING, 0)

    def mended(box: Box) -> bool:
        rules = lab.run(box.ns, "nft", "list", "ruleset").stdout
        forwards = lab.run(box.ns, "sysctl", "-n", FORWARDING).stdout.strip()
        return "masquerade" in rules and forwards == "1"

    wait_until(lambda: mended(trio.exit) and mended(trio.site), MENDED, "the firewalls")
    trio.wait_well()
    lab.sysctl(trio.exit.ns, FORWARDING, 0)
    line = f"{FORWARDING} is 0, set by somebody else, and left so"
    wait_until(lambda: line in trio.exit.log(), MENDED, "a word of it")
    assert lab.run(trio.exit.ns, "sysctl", "-n", FORWARDING).stdout.strip() == "0"
    words = ("doctor", "--exit", "-i", trio.exit.interface, "-c", trio.mesh.file)
    argv = (trio.mesh.python, "-m", "netmgr", *words, "-a", trio.exit.address, "-n", "exit")
    told = lab.run(trio.exit.ns, *argv, check=False).stdout
    assert f"sysctl -w {FORWARDING}=1" in told, told
    trio.finish()


def test_addresses_and_routes_come_back_and_nothing_leaves_meanwhile(trio: Trio):
    user = trio.user
    trio.ip(user, "address", "flush", "dev", user.interface)
    assert trio.way(OUTSIDE) in ("", user.interface)
    trio.wait_well(MENDED)
    trio.ip(user, "link", "set", user.interface, "down")
    line = f"{user.interface} is down, by somebody"
    wait_until(lambda: line in user.log(), MENDED, "a word of it")
    assert trio.way(OUTSIDE) == ""
    argv = ("-m", "netmgr", "doctor", "-i", user.interface)
    told = trio.lab.run(user.ns, trio.mesh.python, *argv, check=False).stdout
    assert f"{user.interface} is down" in told
    assert "UP" not in trio.lab.ip(user.ns, "link", "show", user.interface).split("mtu")[0]
    trio.ip(user, "link", "set", user.interface, "up")
    trio.wait_well(15)
    assert user.log().count(line) == 1
    trio.finish()


def test_with_a_default_route_in_the_mesh_ipv6_does_not_leave(trio: Trio):
    lab, user = trio.lab, trio.user
    assert trio.way(OUTSIDE6) == ""
    done = lab.run(user.ns, "ping", "-c1", "-W1", "-n", OUTSIDE6, check=False)
    assert "No route to host" in done.stderr
    # The network of the host itself, and what carries the node's mark.
    assert lab.ping(user.ns, f"{V6}:3::fe", 1) == 1
    assert trio.way(OUTSIDE6, "mark", 51820) == trio.internet.outer[user.ns]
    trio.finish()
    assert lab.ping(user.ns, OUTSIDE6, 1) == 1
