"""Nodes for tests on real networks: the program itself, configured by `wg`, moved by `ip`."""

import itertools
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import offloads
from tests.lab import Child, Lab, keypair, wait_until

MARKS = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("wg", "ping", "setpriv")]
ONE_V4, ONE_V6 = "192.168.241.1", "fd00::1"
TWO_V4, TWO_V6 = "192.168.241.2", "fd00::2"
ONE_PORT, TWO_PORT = 10000, 20000
# What `ping -s 56` makes in a tunnel: 84 bytes of IPv4, 96 padded, 128 as a datagram.
PING_SIZE = 128
INITIATION_SIZE, RESPONSE_SIZE, KEEPALIVE_SIZE = 148, 92, 32

PORTS = (ONE_PORT, TWO_PORT)
ROOT = Path(__file__).parents[2]
INTERPRETER = (sys.executable,)
PROGRAM = ("-m", "wgpy")
PYTHON = (*INTERPRETER, *PROGRAM)

_secrets = itertools.count()


@dataclass
class Node:
    """A running node; `ns` is where its interface is, its sockets stay where it started."""

    lab: Lab
    ns: str
    name: str
    child: Child
    private: str
    public: str

    def set(self, *words: object) -> None:
        self.lab.wg("set", self.name, *words)

    def show(self, what: str) -> str:
        return self.lab.wg("show", self.name, what).strip()

    def by_peer(self, what: str) -> dict[str, str]:
        """Return what `wg show` says of each peer, by public key."""
        lines = (line.partition("\t") for line in self.show(what).splitlines())
        return {peer: said for peer, _, said in lines}

    def endpoint(self, peer: "Node") -> str:
        return self.by_peer("endpoints")[peer.public]

    def transfer(self, peer: "Node") -> tuple[int, int]:
        """Return the bytes received from and sent to a peer."""
        received, sent = self.by_peer("transfer")[peer.public].split()
        return int(received), int(sent)

    def handshake_at(self, peer: "Node") -> int:
        return int(self.by_peer("latest-handshakes")[peer.public])

    def move(self, ns: str) -> None:
        """Move the interface, not the sockets."""
        self.lab.ip(self.ns, "link", "set", self.name, "netns", ns)
        self.ns = ns

    def up(self, *addresses: str) -> None:
        """Give the interface addresses, set it up and wait until the node has seen that."""
        self.lab.address(self.ns, self.name, *addresses)
        wait_until(self.ports, 10, f"{self.name} to bind its port")
        if offloads.chosen() and offloads.VARIABLE not in self.child.given:
            self.wait_data_path()

    def data_path(self) -> str:
        """Return what carries the packets."""
        return offloads.status(self.lab.uapi(self.name)).data_path

    def wait_data_path(self) -> str:
        """Wait until all that is not switched off is loaded; return what carries packets."""
        way = offloads.intended(self.child.pid)
        why = f"{self.name} to work with {way}"
        wait_until(lambda: self.data_path() == way, offloads.PATIENCE, why)
        offloads.CONFIRMED[way] += 1
        return way

    def ports(self) -> frozenset[int]:
        """Return the UDP ports that the process has bound."""
        place = Path(f"/proc/{self.child.pid}")
        mine = {os.readlink(fd) for fd in (place / "fd").iterdir() if fd.is_symlink()}
        bound: list[int] = []
        for table in ("udp", "udp6"):
            for line in (place / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if f"socket:[{fields[9]}]" in mine:
                    bound.append(int(fields[1].rpartition(":")[2], 16))
        return frozenset(bound)

    def drops(self) -> dict[str, int]:
        """Return how many packets the node dropped, by reason."""
        return dict(offloads.status(self.lab.uapi(self.name)).drops)

    def mtu(self, size: int) -> None:
        self.lab.ip(self.ns, "link", "set", self.name, "mtu", size)

    def ping(self, ip: str, count: int = 1, *, size: int = 56) -> int:
        return self.lab.ping(self.ns, ip, count, options=("-s", size))

    def flood(self, ip: str, count: int, *, size: int = 56) -> int:
        return self.lab.flood(self.ns, ip, count, size=size)

    def counter(self, what: str) -> int:
        """Return a counter of the interface: `rx_bytes`, `tx_packets`."""
        path = f"/sys/class/net/{self.name}/statistics/{what}"
        return int(self.lab.run(self.ns, "cat", path).stdout)


def secret(lab: Lab, text: str) -> Path:
    """Return a file that holds a key, for `wg set`."""
    path = lab.directory / f"key{next(_secrets)}"
    path.touch(0o600)
    path.write_text(text + "\n")
    return path


def start(
    lab: Lab,
    ns: str,
    name: str | None = None,
    *,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
    prefix: tuple[object, ...] = (),
    python: tuple[str, ...] = INTERPRETER,
) -> Node:
    """Start a node in a namespace and give it a fresh key; `prefix` is what runs Python."""
    name = name or lab.ifname()
    child = launch(lab, ns, name, env=env, prefix=prefix, python=python)
    lab.wait_uapi(name)
    private, public = keypair()
    node = Node(lab, ns, name, child, private, public)
    node.set("private-key", secret(lab, private), *(("listen-port", port) if port else ()))
    return node


def launch(
    lab: Lab,
    ns: str,
    name: str,
    *,
    env: Mapping[str, str] | None = None,
    prefix: tuple[object, ...] = (),
    python: tuple[str, ...] = INTERPRETER,
) -> Child:
    """Start the program in the foreground with all it can log, and do not wait for it."""
    words = (*prefix, *python, *PROGRAM, "-f", name)
    # A lab with a place of its own for the sockets leaves the working directory.
    always = {"LOG_LEVEL": "verbose", "PYTHONPATH": str(ROOT)}
    return lab.spawn(ns, *words, env={**always, **(env or {})})


def introduce(one: Node, two: Node, host_one: str | None, host_two: str | None) -> None:
    """Make two nodes peers with a preshared key and the usual addresses inside.

    The hosts are where they are outside; None leaves a peer without an endpoint.
    """
    psk = secret(one.lab, keypair()[0])
    for node, peer, host, port, v4, v6 in (
        (one, two, host_two, TWO_PORT, TWO_V4, TWO_V6),
        (two, one, host_one, ONE_PORT, ONE_V4, ONE_V6),
    ):
        node.set(
            *("peer", peer.public, "preshared-key", psk),
            *("allowed-ips", f"{v4}/32,{v6}/128"),
            *(("endpoint", f"{host}:{port}") if host else ()),
        )


def tunnel(
    lab: Lab,
    envs: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    python: tuple[str, ...] = INTERPRETER,
) -> tuple[Node, Node]:
    """Return two nodes with sockets in one namespace and interfaces in two others, all up."""
    outside = lab.ns()
    one, two = (
        start(lab, outside, port=port, env=env, python=python)
        for port, env in zip(PORTS, envs, strict=True)
    )
    introduce(one, two, "127.0.0.1", "127.0.0.1")
    one.move(lab.ns())
    two.move(lab.ns())
    up(one, two)
    return one, two


def cabled(
    lab: Lab, envs: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
) -> tuple[Node, Node]:
    """Return two nodes at the ends of a cable with 10.0.0.1, fd00:aa::1 and .2, ::2, all up."""
    ends = lab.pair(("10.0.0.1/24", "fd00:aa::1/96"), ("10.0.0.2/24", "fd00:aa::2/96"))
    # A neighbour that is not known yet may take a second to be found.
    for end, other in zip(ends, ("fd00:aa::2", "fd00:aa::1"), strict=True):
        lab.wait_ping(end, other)
    one, two = (
        start(lab, ns, port=port, env=env)
        for ns, port, env in zip(ends, PORTS, envs, strict=True)
    )
    introduce(one, two, "10.0.0.1", "10.0.0.2")
    up(one, two)
    return one, two


def up(one: Node, two: Node) -> None:
    one.up(f"{ONE_V4}/24", f"{ONE_V6}/112")
    two.up(f"{TWO_V4}/24", f"{TWO_V6}/112")


def outside(node: Node) -> str:
    """Return the namespace of a node's sockets."""
    return node.child.argv[node.child.argv.index("exec") + 1]


def cables(lab: Lab, ns: str) -> list[str]:
    """Return the names of the cables' ends in a namespace."""
    lines = lab.ip(ns, "-o", "link", "show", "type", "veth").splitlines()
    return [line.split()[1].partition("@")[0].rstrip(":") for line in lines]


def status(pid: int, field: str) -> str:
    """Return a line of /proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s*(.*)$", text, re.MULTILINE)
    assert found is not None
    return found[1]


def wait_gone(lab: Lab, ns: str | None, name: str, timeout: float = 5) -> None:
    """Wait until an interface and its socket are no more."""

    def gone() -> bool:
        links = lab.ip(ns, "-o", "link", "show")
        return f" {name}: " not in links and not lab.uapi(name).exists()

    wait_until(gone, timeout, f"{name} to be gone")
