"""Meshes of real programs in namespaces: boxes, what is measured, what is true at the end."""

import re
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from netmgr.io.control_client import DIRECTORY, call
from netmgr.model import PeerView, Snapshot
from netmgr.wire.ipc import snapshot_from_plain
from tests.interop.capture import Capture
from tests.lab import Child, Lab, wait_until
from tests.namespaces.echoes import MARKER, Echoes, Flow
from wgpy.errors import ConfigError
from wgpy.io import clock

KEY = "dyHgWFnrHZRTmAoWNNhdMZpq9/dHtMkEi+aLLUiwTWo="
SUBNET = "10.1.1.0/24"
# kB of memory that a node may have used at most.
MEMORY = 80 * 1024


class Box:
    """A machine of a mesh; `number` is the last octet of its address."""

    def __init__(self, mesh: "Mesh", name: str, number: int, ns: str) -> None:
        self.mesh, self.name, self.number, self.ns = mesh, name, number, ns
        self.address = f"10.1.1.{number}"
        self.interface = mesh.lab.ifname()
        self.state = mesh.lab.directory / f"state-{name}"
        self.child: Child | None = None
        self.logs: list[Path] = []

    def __repr__(self) -> str:
        return self.name

    def start(
        self,
        *arguments: object,
        program: Sequence[object] = ("-m", "netmgr"),
        env: dict[str, str] | None = None,
        named: bool = True,
    ) -> Child:
        """Start the program; without `named` a file says what the node is called."""
        words = ("-c", self.mesh.file, "-p", self.mesh.lab.directory / "none.yaml")
        who = ("-i", self.interface, "-a", self.address, *(("-n", self.name) if named else ()))
        argv = (*program, *words, *who, "-vv", "--state", self.state, *arguments)
        self.child = self.mesh.lab.python(self.ns, *argv, env=env)
        self.logs.append(self.child.logfile)
        return self.child

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.alive

    def stop(self) -> None:
        """Let it say goodbye."""
        assert self.child is not None and self.child.stop() == 0, self.log()

    def leaves_nothing(self) -> None:
        """See that nothing is left of it."""
        lab = self.mesh.lab
        assert self.interface not in lab.ip(self.ns, "link"), "an interface is left"
        assert SUBNET not in lab.ip(self.ns, "route", "show", "table", "all"), "a route is left"
        assert not lab.run(self.ns, "ss", "-Huan").stdout.strip(), "a socket is left"
        assert not Path(DIRECTORY, f"{self.interface}.sock").exists()

    def kill(self) -> None:
        """Let it die without a word."""
        assert self.child is not None
        self.child.signal(signal.SIGKILL)
        self.child.wait()

    def log(self) -> str:
        """Return all that it has said, in all its lives."""
        last = [] if self.child is None else [self.child.logfile]
        files = dict.fromkeys([*self.logs, *last])
        return "".join(each.read_text(errors="replace") for each in files)

    def ask(self, *words: object) -> str:
        """Return what a command says about the running node."""
        argv = ("-m", "netmgr", *words, "-i", self.interface)
        return self.mesh.lab.run(self.ns, self.mesh.python, *argv).stdout

    def snapshot(self) -> Snapshot | None:
        """Return all that it knows, None while it does not answer."""
        try:
            return snapshot_from_plain(call(self.interface, "snapshot", {}))
        except ConfigError:
            return None

    def peers(self) -> dict[str, PeerView]:
        """Return what it knows of the others, by name."""
        found = self.snapshot()
        return {} if found is None else {peer.name: peer for peer in found.peers}

    def path(self, other: "Box") -> str:
        """Return how another is reached: direct, lan, none, or the names of relays."""
        peer = self.peers().get(other.name)
        if peer is None:
            return "none"
        return " ".join(peer.via) if peer.path == "relayed" else peer.path

    def memory(self) -> int:
        """Return the most memory that it has had, in kB."""
        assert self.child is not None
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1])


class Mesh:
    """Boxes with one network.yaml; `echoes` go between them for longer measurements."""

    def __init__(
        self,
        lab: Lab,
        python: str,
        seeds: Iterable[tuple[str, str]] = (),
        echoes: Echoes | None = None,
    ) -> None:
        """`seeds` are endpoint and overlay address of static peers."""
        self.lab, self.python, self.echoes = lab, python, echoes
        self.file = lab.directory / "network.yaml"
        self.boxes: list[Box] = []
        # Namespace and name of the bridge that all are on, if there is one.
        self.hub = ("", "")
        self.write(seeds)

    def write(self, seeds: Iterable[tuple[str, str]], file: Path | None = None) -> Path:
        """Write network.yaml; `seeds` are endpoint and overlay address of static peers."""
        path = file or self.file
        lines = ["network:", f"  sharedKey: {KEY}", f"  subnet: {SUBNET}", "peers:"]
        for endpoint, address in seeds:
            lines += [f"  - endPoint: '{endpoint}'", f"    wgIp: {address}"]
        if lines[-1] == "peers:":
            lines[-1] = "peers: []"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return path

    def box(self, name: str, number: int, ns: str) -> Box:
        """Return a new machine in a namespace."""
        self.boxes.append(Box(self, name, number, ns))
        return self.boxes[-1]

    def start(self) -> None:
        """Start all at once."""
        for box in self.boxes:
            box.start()

    # --- what is measured ---

    def flow(self, a: Box, b: Box) -> Flow:
        """Send ten echo requests a second from now on."""
        assert self.echoes is not None, "made with echoes"
        return self.echoes.flow(a.ns, b.address)

    def wait_all(self, limit: float, boxes: Sequence[Box] | None = None) -> float:
        """Wait until everybody reaches everybody; return the seconds it took."""
        chosen = boxes or self.boxes
        pairs = [(a, b) for a in chosen for b in chosen if a is not b]
        return self.wait_pairs(limit, pairs)

    def wait_pairs(self, limit: float, pairs: Iterable[tuple[Box, Box]]) -> float:
        """Wait until one end of each pair has had an answer of the other, all in parallel."""
        with Echoes() as echoes:
            flows = [(a, b, echoes.flow(a.ns, b.address, once=True)) for a, b in pairs]

            def missing() -> list[str]:
                return [f"{a.name} {b.name}" for a, b, flow in flows if flow.took is None]

            try:
                wait_until(lambda: not missing(), limit, "pairs to reach each other")
            finally:
                print("not reached:", missing())
        return max(flow.took or 0.0 for _, _, flow in flows)

    def wait_path(self, a: Box, b: Box, wanted: str, limit: float) -> float:
        """Wait until one reaches another in a certain way (a pattern); return the seconds."""
        began = clock.now()
        wait_until(
            lambda: re.fullmatch(wanted, a.path(b)), limit, f"{a.name} to {b.name}: {wanted}"
        )
        return clock.now() - began

    # --- what is true at the end ---

    def wait_same(self, limit: float = 10) -> None:
        """Wait until all that run hold the same objects."""
        alive = [box for box in self.boxes if box.alive]

        def same() -> bool:
            found = [box.snapshot() for box in alive]
            return len({one.digest for one in found if one}) == 1 and None not in found

        wait_until(same, limit, "the same objects everywhere")

    def finish(self, *, same: bool = True) -> None:
        """See that all is well, stop what runs, and see that nothing is left."""
        if same:
            self.wait_same()
        alive = [box for box in self.boxes if box.alive]
        memory = {box.name: box.memory() for box in alive}
        for box in alive:
            box.stop()
            box.leaves_nothing()
        for box in self.boxes:
            assert "Traceback" not in box.log(), box.log()
        assert max(memory.values(), default=0) <= MEMORY, memory


class Secrecy(Capture):
    """What passes a relay's interface outside, none of which may be readable."""

    def __init__(self, lab: Lab, ns: str, interface: str) -> None:
        super().__init__(lab, ns, interface, "udp")

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        assert self.packets, "nothing was relayed"
        assert not any(MARKER in packet.payload for packet in self.packets)


def three_boxes(lab: Lab, python: str, echoes: Echoes | None = None) -> tuple[Mesh, str, str]:
    """Return the ancestor's set-up: alice static, bob and charlie, on one bridge.

    The two texts are the namespace of the bridge and the bridge's name.
    """
    hub = lab.ns()
    bridge = lab.bridge(hub)
    mesh = Mesh(lab, python, [("10.128.1.1:50001", "10.1.1.1")], echoes)
    for number, name in enumerate(("alice", "bob", "charlie"), 1):
        ns = lab.ns()
        lab.plug(hub, bridge, ns, f"10.128.1.{number}/24")
        mesh.box(name, number, ns)
    return mesh, hub, bridge


def says(number: int | str, text: str, **figures: float) -> None:
    """Print the line of a scenario."""
    found = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    print(f"scenario {number}: {text}: {found}")
