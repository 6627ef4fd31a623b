"""Meshes of real programs in namespaces: boxes on a bridge, routers, cables cut and healed."""

import json
import re
import signal
from collections.abc import Iterable, Sequence
from typing import Any

from tests.lab import Child, Lab, wait_until
from wgpy.io import clock

KEY = "dyHgWFnrHZRTmAoWNNhdMZpq9/dHtMkEi+aLLUiwTWo="
SUBNET = "10.1.1.0/24"


class Box:
    """A machine of a mesh; `number` is the last octet of its address."""

    def __init__(self, mesh: "Mesh", name: str, number: int, ns: str) -> None:
        self.mesh, self.name, self.number, self.ns = mesh, name, number, ns
        self.address = f"10.1.1.{number}"
        self.interface = mesh.lab.ifname()
        self.port = 50000 + number
        self.state = mesh.lab.directory / f"state-{name}"
        self.child: Child | None = None

    def start(self, *arguments: object, env: dict[str, str] | None = None) -> Child:
        """Start the program."""
        words = ("-c", self.mesh.file, "-p", self.mesh.lab.directory / "none.yaml")
        who = ("-i", self.interface, "-a", self.address, "-n", self.name, "-vv")
        state = ("--state", self.state)
        argv = ("-m", "netmgr", *words, *who, *state, *arguments)
        self.child = self.mesh.lab.python(self.ns, *argv, env=env)
        return self.child

    def stop(self) -> None:
        """Let it say goodbye."""
        assert self.child is not None and self.child.stop() == 0, self.log()

    def kill(self) -> None:
        """Let it die without a word."""
        assert self.child is not None
        self.child.signal(signal.SIGKILL)
        self.child.wait()

    def log(self) -> str:
        """Return what it has said."""
        return "" if self.child is None else self.child.log()

    def ask(self, *words: object) -> str:
        """Return what a command says about the running node."""
        argv = ("-m", "netmgr", *words, "-i", self.interface)
        return self.mesh.lab.run(self.ns, self.mesh.python, *argv).stdout

    def peers(self) -> dict[str, Any]:
        """Return what it knows of the others, by name."""
        return {peer["name"]: peer for peer in json.loads(self.ask("peers", "--json"))}

    def path(self, other: "Box") -> str:
        """Return how another is reached: direct, lan, none, or the names of relays."""
        peer = self.peers().get(other.name)
        if peer is None:
            return "none"
        return " ".join(peer["via"]) if peer["path"] == "relayed" else str(peer["path"])

    def pings(self, other: "Box") -> bool:
        """Tell whether a ping to another's address is answered within a second."""
        argv = ("ping", "-n", "-q", "-c", 1, "-W", 1, other.address)
        return self.mesh.lab.run(self.ns, *argv, check=False).returncode == 0


class Mesh:
    """Boxes with one network.yaml."""

    def __init__(self, lab: Lab, python: str, seeds: Iterable[tuple[str, str]]) -> None:
        """`seeds` are endpoint and overlay address of static peers."""
        self.lab, self.python = lab, python
        self.file = lab.directory / "network.yaml"
        self.boxes: list[Box] = []
        self.write(seeds)

    def write(self, seeds: Iterable[tuple[str, str]], extra: str = "") -> None:
        """Write network.yaml."""
        lines = ["network:", f"  sharedKey: {KEY}", f"  subnet: {SUBNET}", "peers:"]
        for endpoint, address in seeds:
            lines += [f"  - endPoint: {endpoint}", f"    wgIp: {address}"]
        if lines[-1] == "peers:":
            lines[-1] = "peers: []"
        self.file.write_text("\n".join(lines) + "\n" + extra)
        self.file.chmod(0o600)

    def box(self, name: str, number: int, ns: str) -> Box:
        """Return a new machine in a namespace."""
        self.boxes.append(Box(self, name, number, ns))
        return self.boxes[-1]

    def wait_all(self, limit: float, boxes: Sequence[Box] | None = None) -> float:
        """Wait until everybody pings everybody; return the seconds it took."""
        began, chosen = clock.now(), boxes or self.boxes
        left = [(a, b) for a in chosen for b in chosen if a is not b]

        def all_answer() -> bool:
            while left and left[0][0].pings(left[0][1]):
                left.pop(0)
            return not left

        wait_until(all_answer, limit, f"{left} to reach each other")
        return clock.now() - began

    def wait_path(self, a: Box, b: Box, wanted: str, limit: float) -> float:
        """Wait until one reaches another in a certain way (a pattern); return the seconds."""
        began = clock.now()
        wait_until(
            lambda: re.fullmatch(wanted, a.path(b)), limit, f"{a.name} to {b.name}: {wanted}"
        )
        return clock.now() - began


def three_boxes(lab: Lab, python: str) -> tuple[Mesh, str, str]:
    """Return the ancestor's set-up: alice static, bob and charlie, on one bridge.

    The two texts are the namespace of the bridge and the bridge's name.
    """
    hub = lab.ns()
    bridge = lab.bridge(hub)
    mesh = Mesh(lab, python, [("10.128.1.1:50001", "10.1.1.1")])
    for number, name in enumerate(("alice", "bob", "charlie"), 1):
        ns = lab.ns()
        lab.plug(hub, bridge, ns, f"10.128.1.{number}/24")
        mesh.box(name, number, ns)
    return mesh, hub, bridge


def says(number: int | str, text: str, **figures: float) -> None:
    """Print the line of a scenario."""
    found = ", ".join(f"{name} {value:.2f} s" for name, value in figures.items())
    print(f"scenario {number}: {text}: {found}")
