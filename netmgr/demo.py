"""`wg_netmanager demo`: three machines make a mesh, as namespaces of this one on one switch.

They start cold, find each other, are pinged and measured, lose the link between two of them,
go on through the third, and heal. Root is needed; nothing outside of the namespaces is touched
and nothing is left.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Final, NoReturn

from netmgr.io import boxes
from netmgr.io.control_client import call
from netmgr.model import HostPort, PeerView, Snapshot, StaticPeer
from netmgr.ui import present
from netmgr.wire.config import format_network
from netmgr.wire.ipc import snapshot_from_plain
from wgpy.errors import ConfigError
from wgpy.io import clock, namespaces, process
from wgpy.io.pings import pings
from wgpy.io.transfers import transfer
from wgpy.model import KEY_SIZE, Prefix, Secret
from wgpy.wire.text import parse_address

PREFIX: Final = "netmgr-demo"
NAMES: Final = ("alice", "bob", "charlie")
FIRST_PORT: Final = 50000
PINGS: Final = 5
# Seconds in which everything has to come about.
WHOLE: Final = 28.0
_PAUSE: Final = 0.1
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


class _TooLate(ConfigError):
    """The time is up."""


@dataclass(frozen=True, slots=True)
class Box:
    """One machine; `number` is the last octet of both its addresses."""

    name: str
    number: int
    namespace: str
    interface: str

    @property
    def outer(self) -> str:
        """Its address on the switch."""
        return f"10.128.1.{self.number}"

    @property
    def inner(self) -> str:
        """Its address in the mesh."""
        return f"10.1.1.{self.number}"


def run(seconds: float = 1.0) -> int:
    """Show it; `seconds` is how long each transfer takes. Return the exit code.

    Raises:
        ConfigError: it cannot be shown here, or the mesh did not do what it should.
    """
    problem = process.missing_privileges()
    if problem is not None:
        raise ConfigError(problem)
    signals = process.end_by_signals()
    _sweep()
    began = clock.now()
    with ExitStack() as stack:
        try:
            Demo(stack, began + WHOLE, signals).show(seconds)
        finally:
            # A second Ctrl-C is not to interrupt the clean-up.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    _say("clean-up", f"nodes, namespaces and files are gone, after {clock.now() - began:.0f} s")
    return 0


class Demo:
    """The three boxes, and what is done with them; the stack undoes what was made."""

    def __init__(self, stack: ExitStack, ending_at: float, signals: list[int]) -> None:
        self._stack = stack
        self._ending_at = ending_at
        self._signals = signals
        self._pause = threading.Event()
        pid = os.getpid()
        self._hub = f"{PREFIX}-{pid}h"
        self.boxes = tuple(
            Box(name, number, f"{PREFIX}-{pid}{name[0]}", f"nm{pid}{name[0]}")
            for number, name in enumerate(NAMES, 1)
        )
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        folder = tempfile.mkdtemp(prefix=f"{PREFIX}-{pid}-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._folder = Path(folder)

    def show(self, seconds: float) -> None:
        """Do everything, in order."""
        alice, bob, charlie = self.boxes
        self._build()
        self._start()
        _say("peers", "what bob sees (wg_netmanager peers):")
        self._show_peers(bob)
        self._ping(permutations(self.boxes, 2))
        self._measure(bob, charlie, seconds, "direct")
        for box in (bob, charlie):
            boxes.isolate(self._hub, box.name, isolated=True)
        _say("cut", "the switch passes nothing between bob and charlie any more")
        self._await_change(
            bob, charlie, (alice.name,), "bob goes through alice, sealed: she cannot read it"
        )
        self._ping([(bob, charlie), (charlie, bob)])
        self._measure(bob, charlie, seconds, "through alice")
        for box in (bob, charlie):
            boxes.isolate(self._hub, box.name, isolated=False)
        _say("heal", "the switch passes everything again")
        try:
            self._await_change(bob, charlie, (), "bob goes directly again")
        except _TooLate:
            _say(
                "",
                "bob still goes through alice: a direct way has to hold for ten seconds first",
            )
        self._ping([(bob, charlie), (charlie, bob)])

    # --- the machines ---

    def _build(self) -> None:
        self._stack.callback(namespaces.remove, self._hub)
        boxes.switch(self._hub)
        for box in self.boxes:
            self._stack.callback(namespaces.remove, box.namespace)
            namespaces.create(box.namespace)
            boxes.plug(self._hub, box.name, box.namespace, f"{box.outer}/24")
        _say("machines", "alice, bob and charlie: namespaces on one switch, 10.128.1.0/24")
        alice = self.boxes[0]
        place = HostPort(alice.outer, FIRST_PORT + alice.number)
        file = format_network(
            Secret(clock.entropy(KEY_SIZE)),
            Prefix(parse_address("10.1.1.0"), 24),
            [StaticPeer(place, None, parse_address(alice.inner))],
            "wg_netmanager demo",
        )
        self._network.write_text(file)
        self._network.chmod(process.SECRET_MODE)
        _say("network", f"one network.yaml: a key, subnet 10.1.1.0/24, alice at {place}")

    @property
    def _network(self) -> Path:
        return self._folder / "network.yaml"

    def _start(self) -> None:
        """Start all nodes at once, in any order; show who reaches whom until all do."""
        order = sorted(self.boxes, key=lambda _: clock.entropy(4))
        _say("cold start", f"{', '.join(box.name for box in order)}, in this order")
        began = clock.now()
        for box in order:
            self._nodes[box.name] = self._stack.enter_context(self._node(box))
        pairs = list(combinations(self.boxes, 2))
        _say("", "  ".join(["  after", *(f"{a.name}-{b.name}".ljust(13) for a, b in pairs)]))
        shown: list[str] = []
        while not (shown and all(cell in ("direct", "lan") for cell in shown)):
            self._check(f"all to reach each other: {' '.join(shown)}")
            known = {box.name: snapshot(box) for box in self.boxes}
            cells = [_pair(known, a, b) for a, b in pairs]
            if cells != shown:
                after = f"{clock.now() - began:5.1f} s"
                _say("", "  ".join([after, *(cell.ljust(13) for cell in cells)]).rstrip())
                shown = cells
            self._pause.wait(_PAUSE)

    @contextmanager
    def _node(self, box: Box) -> Iterator[subprocess.Popen[bytes]]:
        """Run `wg_netmanager` on a machine."""
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith("NETMGR_")
        }
        who = ("-i", box.interface, "-a", box.inner, "-n", box.name)
        files = ("-c", str(self._network), "-p", os.devnull, "--state", self._state(box))
        with (
            open(self._log(box), "wb") as log,
            namespaces.inside(box.namespace),
            _signals_later(),
        ):
            node = subprocess.Popen(  # noqa: S603 - this very program
                [*process.own_command("netmgr"), *who, *files, "-v"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                preexec_fn=_begin_node,
            )
        try:
            yield node
        finally:
            node.terminate()
            try:
                node.wait(5)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()

    def _state(self, box: Box) -> str:
        return str(self._folder / box.name)

    def _log(self, box: Box) -> Path:
        return self._folder / f"{box.name}.log"

    # --- what is shown ---

    def _show_peers(self, box: Box) -> None:
        seen = snapshot(box)
        if seen is None:
            self._fail(f"{box.name} does not answer")
        paint = present.paint_ansi if _coloured() else present.paint_plain
        wall_now = clock.now() + clock.wall_offset()
        for line in present.peers(seen, wall_now, paint).splitlines():
            print(f"  {line}", flush=True)

    def _ping(self, ways: Iterable[tuple[Box, Box]]) -> None:
        for one, other in ways:
            times = list(pings(one.namespace, other.inner, PINGS))
            if not times:
                self._fail(f"{one.name} gets no answer from {other.inner}")
            who = f"{one.name} -> {other.name}"
            result = f"{len(times)} of {PINGS} back, best {min(times) * 1e3:5.2f} ms"
            _say("ping", f"{who:<18}{result}")

    def _measure(self, one: Box, other: Box, seconds: float, how: str) -> None:
        try:
            rate = transfer(one.namespace, other.namespace, other.inner, seconds) / 1e6
        except OSError as error:
            self._fail(f"TCP from {one.name} to {other.name}: {error}")
        _say("TCP", f"{one.name + ' -> ' + other.name:<18}{rate:.0f} Mbit/s, {how}")

    def _await_change(self, one: Box, other: Box, via: tuple[str, ...], what: str) -> None:
        """Ping until the pings come back and one takes the way; say how long it took."""
        began, lost, answered = clock.now(), 0, False
        while not (answered and self._takes(one, other, via)):
            self._check(what)
            answered = bool(list(pings(one.namespace, other.inner, 1, patience=2 * _PAUSE)))
            lost += not answered
            self._pause.wait(_PAUSE)
        took = clock.now() - began
        _say("", f"after {took:.1f} s {what}; {lost} pings were lost")

    @staticmethod
    def _takes(one: Box, other: Box, via: tuple[str, ...]) -> bool:
        peer = _peer(snapshot(one), other)
        return peer is not None and peer.reachable and peer.via == via

    def _check(self, awaited: str) -> None:
        """Give up if a node has ended or the time is up.

        Raises:
            _TooLate: it is.
            ConfigError: a node has ended.
        """
        if self._signals:
            raise KeyboardInterrupt
        for name, node in self._nodes.items():
            if node.poll() is not None:
                self._fail(f"the node {name} has ended")
        if clock.now() > self._ending_at:
            raise _TooLate(
                f"waited {WHOLE:.0f} s, in vain: {awaited}; is the machine very busy?"
            )

    def _fail(self, why: str) -> NoReturn:
        for box in self.boxes:
            with suppress(OSError):
                for line in self._log(box).read_text(errors="replace").splitlines()[-5:]:
                    _say(box.name, line)
        raise ConfigError(why)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Let signals wait: an exception of one is lost, or half told, while a process forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _begin_node() -> None:
    process.die_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def snapshot(box: Box) -> Snapshot | None:
    """Return what a node says of itself; None while it says nothing."""
    with suppress(ConfigError):
        return snapshot_from_plain(call(box.interface, "snapshot", {}, timeout=2))
    return None


def _peer(seen: Snapshot | None, other: Box) -> PeerView | None:
    if seen is None:
        return None
    return next((peer for peer in seen.peers if peer.name == other.name), None)


def _pair(known: Mapping[str, Snapshot | None], one: Box, other: Box) -> str:
    """Return how two reach each other, as the one sees it who is further from it."""
    ends = (_peer(known[one.name], other), _peer(known[other.name], one))
    paths = ["-" if peer is None or not peer.reachable else present.path(peer) for peer in ends]
    return next((path for path in paths if path not in ("direct", "lan")), paths[0])


def _sweep() -> None:
    """Remove what demos that were killed have left."""
    namespaces.sweep(PREFIX)
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        pid = path.name.removeprefix(f"{PREFIX}-").partition("-")[0]
        if not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(path, ignore_errors=True)


def _say(what: str, text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if _coloured() else ("", "")
    print(f"{bold}{what:>10}{plain}  {text}", flush=True)


def _coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
