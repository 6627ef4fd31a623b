"""Numbered datagrams from one node to another, for as long as a test wants them."""

import json
import signal
from pathlib import Path
from typing import NamedTuple

from tests.lab import Child, wait_until
from tests.namespaces.nodes import TWO_V4, Node
from wgpy.io import clock

PROGRAM = "tests.namespaces.numbered"
PORT = 7100
# It looks whether it is to end: that takes a little.
QUIET, IDLE = 0.5, 0.002
HOST_QUEUE = 10_000


class Came(NamedTuple):
    """What was sent and what came of it; `slowest` in seconds, until the receiver had it."""

    sent: int
    received: int
    reordered: int
    repeated: int
    slowest: float


class Sockets(NamedTuple):
    """What the kernel holds in the UDP sockets of a namespace, and what it threw away."""

    sending: int
    receiving: int
    dropped: int


def sockets(node: Node) -> Sockets:
    """Return the sums over the UDP sockets of the node's namespace outside."""
    totals = [0, 0, 0]
    for table in ("udp", "udp6"):
        text = Path(f"/proc/{node.child.pid}/net/{table}").read_text()
        for line in text.splitlines()[1:]:
            fields = line.split()
            sending, receiving = (int(word, 16) for word in fields[4].split(":"))
            for place, number in enumerate((sending, receiving, int(fields[-1]))):
                totals[place] += number
    return Sockets(*totals)


class Flow:
    """`rate` datagrams a second from `one` to `two`, `batch` in one send, until `end`."""

    def __init__(self, one: Node, two: Node, rate: int, batch: int = 1, size: int = 1000):
        lab = one.lab
        # What the host drops before the node was given it says nothing of the node.
        lab.ip(one.ns, "link", "set", one.name, "txqueuelen", HOST_QUEUE)
        self.receiver = lab.python(two.ns, "-m", PROGRAM, "receive", TWO_V4, PORT)
        self.receiver.wait_log("listens")
        to = (TWO_V4, PORT, rate, batch, size)
        self.sender = lab.python(one.ns, "-m", PROGRAM, "send", *to)
        self.sender.wait_log("begins")

    def end(self) -> Came:
        """Stop sending, let come what is under way, and return what came."""
        self.sender.signal(signal.SIGTERM)
        sent = int(self.sender.wait_log(r"sent (\d+)")[1])
        wait_quiet(self.receiver)
        self.receiver.signal(signal.SIGTERM)
        came = json.loads(self.receiver.wait_log("came (.*)\n")[1])
        del came["highest"]
        return Came(sent, **came)


def wait_quiet(receiver: Child) -> None:
    """Wait until a program does next to nothing: what was under way has come."""
    seen = [cpu(receiver.pid), clock.now()]

    def quiet() -> bool:
        if (used := cpu(receiver.pid)) > seen[0] + IDLE:
            seen[:] = [used, clock.now()]
        return clock.now() - seen[1] > QUIET

    wait_until(quiet, 30, "the flow to end")


def cpu(pid: int) -> float:
    """Return the CPU seconds of a program; unlike those of /proc/PID/stat they are exact."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
