"""`wg-quick` itself brings nodes up and down, as its users have them."""

import sys
from pathlib import Path

import pytest

from tests.lab import Lab, wait_until
from tests.namespaces.nodes import (
    MARKS,
    ROOT,
    TWO_V4,
    TWO_V6,
    Node,
    secret,
    start,
    wait_gone,
)

pytestmark = [
    *MARKS,
    pytest.mark.needs("wg-quick", "bash", "nft"),
    pytest.mark.skipif(
        Path("/sys/module/wireguard").exists(),
        reason="wg-quick starts no program where the kernel has WireGuard",
    ),
]
FAR_V4, FAR_V6 = "192.168.99.7", "abab::1111"


class Quick:
    """A file of wg-quick in a namespace, and the node of the other side behind a cable."""

    def __init__(self, lab: Lab, allowed_ips: str, interface: str = "") -> None:
        self.lab, self.name = lab, lab.ifname()
        self.inside, far = lab.pair(
            ("10.0.0.1/24", "fd00:aa::1/96"), ("10.0.0.2/24", "fd00:aa::2/96")
        )
        self.far = start(lab, far, port=20000)
        self.program = lab.directory / "wgpy"
        self.program.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m wgpy "$@"\n'
        )
        self.program.chmod(0o755)
        private = lab.wg("genkey").strip()
        public = lab.wg("pubkey", stdin=private).strip()
        psk = lab.wg("genpsk").strip()
        self.far.set(
            *("peer", public, "preshared-key", secret(lab, psk)),
            *("allowed-ips", "192.168.241.1/32,fd00::1/128"),
        )
        self.far.up(f"{TWO_V4}/24", f"{TWO_V6}/112", f"{FAR_V4}/32", f"{FAR_V6}/128")
        self.file = lab.directory / f"{self.name}.conf"
        self.file.touch(0o600)
        self.file.write_text(
            f"[Interface]\nPrivateKey = {private}\n{interface}"
            "Address = 192.168.241.1/24, fd00::1/112\n"
            f"PostUp = touch {lab.directory}/%i.up\nPostDown = rm {lab.directory}/%i.up\n"
            f"[Peer]\nPublicKey = {self.far.public}\nPresharedKey = {psk}\n"
            f"AllowedIPs = {allowed_ips}\nEndpoint = 10.0.0.2:20000\n"
        )

    @property
    def touched(self) -> bool:
        return (self.lab.directory / f"{self.name}.up").exists()

    def run(self, verb: str, *, check: bool = True) -> str:
        env = {"WG_QUICK_USERSPACE_IMPLEMENTATION": str(self.program)}
        done = self.lab.run(self.inside, "wg-quick", verb, self.file, env=env, check=check)
        return done.stdout + done.stderr

    def ping(self, ip: str, count: int = 1) -> int:
        return self.lab.flood(self.inside, ip, count)

    def is_empty(self) -> bool:
        return self.lab.ip(None, "netns", "pids", self.inside) == ""

    def gone(self) -> None:
        wait_gone(self.lab, self.inside, self.name)
        wait_until(self.is_empty, 5, "the process to end")
        assert not self.touched


def test_a_plain_file_goes_up_and_down_again_and_again(lab):
    quick = Quick(lab, f"{TWO_V4}/32, {TWO_V6}/128", "MTU = 1380\nListenPort = 10000\n")
    for _ in range(3):
        quick.run("up")
        assert quick.touched
        assert quick.ping(TWO_V4, 5) == 5
        assert quick.ping(TWO_V6, 5) == 5
        assert "mtu 1380" in lab.ip(quick.inside, "link", "show", quick.name)
        assert lab.wg("show", quick.name, "listen-port").strip() == "10000"
        quick.run("down")
        quick.gone()


def test_a_file_that_takes_all_traffic_works_and_leaves_nothing(lab):
    quick = Quick(lab, "0.0.0.0/0, ::/0")
    lab.ip(quick.inside, "route", "add", "default", "via", "10.0.0.2")
    before = host_state(lab, quick.inside)
    quick.run("up")
    assert quick.ping(FAR_V4, 20) == 20
    assert quick.ping(FAR_V6, 20) == 20
    assert lab.wg("show", quick.name, "fwmark").strip() == "0xca6c"
    assert lookup(quick.far).startswith("10.0.0.1:")
    quick.run("down")
    quick.gone()
    wait_until(lambda: host_state(lab, quick.inside) == before, 5, "the state before")


def test_what_changed_is_saved_and_what_does_not_fit_is_undone(lab):
    quick = Quick(lab, f"{TWO_V4}/32")
    quick.run("up")
    assert "already exists" in quick.run("up", check=False)
    assert quick.ping(TWO_V4) == 1
    lab.wg("set", quick.name, "peer", quick.far.public, "persistent-keepalive", 25)
    quick.run("save")
    assert "PersistentKeepalive = 25" in quick.file.read_text()
    quick.run("down")
    quick.file.write_text(quick.file.read_text() + "AllowedIPs = nonsense\n")
    assert "Configuration parsing error" in quick.run("up", check=False)
    wait_gone(lab, quick.inside, quick.name)


def lookup(node: Node) -> str:
    (endpoint,) = node.by_peer("endpoints").values()
    return endpoint


def host_state(lab: Lab, ns: str) -> list[str]:
    """Return rules, routes and filters of a namespace."""
    said = [lab.ip(ns, family, "rule") for family in ("-4", "-6")]
    said += [lab.ip(ns, family, "route", "show", "table", "all") for family in ("-4", "-6")]
    return [*said, lab.run(ns, "nft", "list", "ruleset").stdout]
