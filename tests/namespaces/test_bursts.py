"""Bursts on real sockets: one damaged on its way, and kernels that change under load."""

import os
import select
import shutil
import signal
import socket
import struct
import sys
from pathlib import Path

import pytest

from tests.lab import Lab, wait_until
from tests.namespaces.flows import Flow, sockets
from tests.namespaces.nodes import (
    INTERPRETER,
    MARKS,
    ONE_PORT,
    ONE_V4,
    PORTS,
    ROOT,
    TWO_PORT,
    TWO_V4,
    Node,
    launch,
    start,
    tunnel,
)
from tests.offloads import VARIABLE
from tests.wgpy.io.inside import inside
from wgpy.errors import Drop
from wgpy.io import clock
from wgpy.io.udp_sockets import UDP_SEGMENT
from wgpy.wire.datagrams import SEGMENTS_MAX

pytestmark = [*MARKS, pytest.mark.timed]
PORT = 7000
BURST, SPOILT, SIZE = 45, 17, 1300
CACHE = "XDG_CACHE_HOME"
USUAL = "TSO and USO, UDP GSO, UDP GRO"


# --- one bad datagram ------------------------------------------------------------------------


@pytest.mark.parametrize(("off", "kernels"), [("", "jit"), ("jit", "portable")])
def test_a_damaged_datagram_in_a_burst_of_45_loses_exactly_one(lab, off, kernels):
    one, two = tunnel(lab, ({VARIABLE: off}, {VARIABLE: off}))
    ways = [node.wait_data_path() for node in (one, two)]
    assert ways == [f"{kernels}, {USUAL}"] * 2
    middlebox = "tests.namespaces.middlebox"
    box = lab.python(outer(one), "-m", middlebox, *PORTS, BURST, SPOILT)
    box.wait_log("relays")
    one.set("peer", two.public, "endpoint", f"127.0.0.1:{TWO_PORT + 1}")
    two.set("peer", one.public, "endpoint", f"127.0.0.1:{ONE_PORT + 1}")
    lab.wait_ping(one.ns, TWO_V4)
    assert two.endpoint(one) == f"127.0.0.1:{ONE_PORT + 1}"
    dropped, received = two.drops(), two.transfer(one)[0]
    with inside(one.ns):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(two.ns):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.bind((TWO_V4, PORT))
        for first in (0, BURST):
            send_burst(sender, first)
            awaited = {first + number for number in range(BURST)} - {SPOILT}
            assert arriving(receiver, len(awaited), 10) == awaited
        assert arriving(receiver, 1, 1) == set(), "nothing else comes"
    assert box.wait_log("changed.*")[0] == f"changed {SPOILT} of {BURST}"
    gone = {why: n - dropped.get(why, 0) for why, n in two.drops().items()}
    assert {why: n for why, n in gone.items() if n} == {Drop.NOT_AUTHENTIC.value: 1}
    each = -(-(SIZE + 28) // 16) * 16 + 32
    assert (two.transfer(one)[0] - received) // each == 2 * BURST - 1


def outer(node: Node) -> str:
    argv = node.child.argv
    return argv[argv.index("exec") + 1]


def send_burst(sender: socket.socket, first: int) -> None:
    payloads = [bytes([first + number]) * SIZE for number in range(BURST)]
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", SIZE))]
    sender.sendmsg(payloads, control, 0, (TWO_V4, PORT))


def arriving(receiver: socket.socket, count: int, patience: float) -> set[int]:
    """Return the numbers of what comes, until `count` have come or nothing does for a time."""
    numbers: set[int] = set()
    while len(numbers) < count and select.select([receiver], [], [], patience)[0]:
        datagram = receiver.recv(65535)
        assert datagram == datagram[:1] * SIZE
        numbers.add(datagram[0])
    return numbers


# --- compiled kernels come later, or never ---------------------------------------------------


def faults_of_children(pid: int) -> int:
    """Return the page faults of the children that a process had and that have ended."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[8])


@pytest.mark.parametrize(("rate", "batch"), [(1000, 1), (10_000, 40)])
def test_no_packet_is_lost_or_overtaken_while_kernels_are_compiled_and_swapped_in(
    lab, tmp_path, rate, batch
):
    env = {CACHE: str(tmp_path), VARIABLE: ""}
    one, two = tunnel(lab, (env, env))
    lab.wait_ping(one.ns, TWO_V4)
    dropped = kernel_drops(one)
    flow = Flow(one, two, rate, batch)
    assert not one.data_path().startswith("jit"), "there is nothing to load yet"
    for node in (one, two):
        node.wait_data_path()
    assert node.data_path() == f"jit, {USUAL}"
    wait_traffic(one, two, rate * 1000)
    came = flow.end()
    dropped = kernel_drops(one) - dropped
    print(came, "dropped by full queues of the kernel:", dropped)
    assert came.sent > rate
    # On a machine that is busy with other things; each is a datagram or a burst of them.
    assert came.sent - came.received <= dropped * SEGMENTS_MAX
    assert (came.repeated, came.reordered) == (0, 0)
    logs = [node.child.log() for node in (one, two)]
    said = [f"kernels: {name}, TSO and USO" for name in ("portable", "jit")]
    assert all(log.index(said[0]) < log.index(said[1]) for log in logs)


def kernel_drops(one: Node) -> int:
    """Return what did not get into a socket, nor from the host into the interface."""
    return sockets(one).dropped + one.counter("tx_dropped")


def wait_traffic(one: Node, two: Node, more: int) -> None:
    before = one.transfer(two)[1]
    wait_until(lambda: one.transfer(two)[1] > before + more, 30, "more traffic")


def test_a_second_start_compiles_nothing(lab, tmp_path):
    env = {CACHE: str(tmp_path), VARIABLE: ""}
    node = start(lab, lab.ns(), port=ONE_PORT, env=env)
    node.up(f"{ONE_V4}/24")
    node.wait_data_path()
    (image,) = (tmp_path / "wgpy").iterdir()
    before = image.stat()
    assert faults_of_children(node.child.pid) > 0, "it had a child that compiled"
    again = start(lab, lab.ns(), port=ONE_PORT, env=env)
    again.up(f"{ONE_V4}/24")
    again.wait_data_path()
    assert faults_of_children(again.child.pid) == 0
    children = Path(f"/proc/{again.child.pid}/task/{again.child.pid}/children")
    assert children.read_text() == ""
    (same,) = (tmp_path / "wgpy").iterdir()
    after = same.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.fixture
def bare(tmp_path: Path) -> tuple[str, ...]:
    """Return a Python in which everything is installed but LLVM and what is made on it."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for place in {Path(each) for each in sys.path if each.endswith("-packages")}:
        for entry in place.iterdir() if place.is_dir() else ():
            if not entry.name.lower().startswith(("llvmlite", "numba")):
                (folder / entry.name).symlink_to(entry)
    return ("env", f"PYTHONPATH={ROOT}:{folder}", os.path.realpath(sys.executable), "-S")


def test_without_llvm_everything_works_by_the_portable_kernels(lab, bare):
    program = "from importlib.util import find_spec as f; print(f('llvmlite'), f('numpy'))"
    found = lab.run(None, *bare, "-c", program).stdout
    assert found.startswith("None ModuleSpec")
    one, two = tunnel(lab, ({VARIABLE: ""}, {VARIABLE: ""}), python=bare)
    for node in (one, two):
        node.child.wait_log("no compiled kernels: llvmlite is not installed")
        assert node.data_path() == f"portable, {USUAL}"
    lab.wait_ping(one.ns, TWO_V4)
    flow = Flow(one, two, 4000, 20)
    for client, server, ip in ((one, two, TWO_V4), (two, one, ONE_V4)):
        assert lab.iperf(client.ns, server.ns, ip, 1).bits_per_second > 20e6
    came = flow.end()
    assert came.sent > 4000
    assert came.received > 0.8 * came.sent, "beside two streams that take all they get"
    assert came.reordered == came.repeated == 0
    assert "Traceback" not in one.child.log() + two.child.log()


def test_a_node_that_has_to_compile_starts_as_soon_as_one_that_cannot(lab, tmp_path, bare):
    """The best of five, taken in turns."""
    compiling: list[float] = []
    bare_ones: list[float] = []
    for number in range(5):
        empty = tmp_path / str(number)
        compiling.append(starting(lab, {CACHE: str(empty), VARIABLE: ""}))
        bare_ones.append(starting(lab, {VARIABLE: ""}, bare))
    print(f"compiling {compiling}, without LLVM {bare_ones}")
    # To compile takes several times as long as to start.
    assert min(compiling) < 1.6 * min(bare_ones) + 0.1


def starting(lab: Lab, env: dict[str, str], python: tuple[str, ...] = INTERPRETER) -> float:
    """Return the seconds until a node takes orders; it is ended."""
    name, began = lab.ifname(), clock.now()
    child = launch(lab, lab.ns(), name, env=env, python=python)
    lab.wait_uapi(name)
    took = clock.now() - began
    child.signal(signal.SIGTERM)
    assert child.wait() == 0
    shutil.rmtree(env.get(CACHE, ""), ignore_errors=True)
    return took
