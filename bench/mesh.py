"""Three boxes of a mesh: how soon they meet, what they cost at rest, what the manager takes."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import sleep
from typing import NamedTuple

from bench import procfs
from bench.figures import Limit, Row, Spread, ratios
from bench.options import Options
from tests.lab import Lab, keypair
from tests.namespaces.mesh import Box, Mesh, three_boxes

NAME = "mesh"
MEET = Limit(3)
RSS = Limit(80)
CPU = Limit(0.5)
TRAFFIC = Limit(20)
METERED = Limit(1)
AS_BARE = Limit(0.98, at_most=False, ratio=True)
DAY = 86400
# Seconds until first contact and compiling are over, and the host has asked for routers.
SETTLING = 60
# A metered node and each of its neighbours say something every 100 s, and shake hands every
# 200 s: any time that is much shorter tells nothing.
AT_REST = 600
AT_REST_QUICK = 400
COMPILING = 5
BARE = "bare node"
# So often each has its turn after a start.
TURNS = 6
WITHOUT = {"netmgr": {}, "netmgr portable": {"WGPY_OFF": "jit"}}


def mesh(options: Options) -> list[Row]:
    """Three boxes: time to meet, memory, processor and bytes at rest, throughput to bare."""
    return [*_at_rest(options), *_throughput(options)]


class _State(NamedTuple):
    """Processor seconds, and bytes sent by the cable, frames whole."""

    cpu: float
    sent: int


@dataclass(frozen=True, slots=True)
class _Figures:
    """What each run had to say of one kind of node, the last three at rest."""

    met: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    metered: list[float] = field(default_factory=list)

    def rows(self, who: str) -> list[Row]:
        return [
            _row("from the last start until all pings are answered", who, "s", self.met, MEET),
            _row("memory of a node", who, "MB", self.memory, RSS),
            _row("processor at rest", who, "%", self.spent, CPU),
            _row("sent at rest in a day", who, "MB", self.sent, TRAFFIC),
            _row("sent by a metered node", who, "MB", self.metered, METERED),
        ]


def _at_rest(options: Options) -> list[Row]:
    """Measure all kinds of nodes at once: at rest they are not in each other's way."""
    seconds = AT_REST_QUICK if options.quick else AT_REST
    figures = {who: _Figures() for who in WITHOUT}
    for number in range(options.runs(3, 1)):
        with ExitStack() as standing:
            # Who compiles comes last, and is in nobody's way.
            labs = {who: standing.enter_context(Lab()) for who in reversed(WITHOUT)}
            stands: dict[str, Mesh] = {}
            for who, lab in labs.items():
                options.say(f"mesh: {who} meet, run {number + 1}")
                stands[who], took = _met(lab, WITHOUT[who])
                figures[who].met.append(took)
            options.say(f"mesh: at rest for {SETTLING + seconds} s, run {number + 1}")
            sleep(SETTLING)
            before = {who: _states(labs[who], stand) for who, stand in stands.items()}
            sleep(seconds)
            for who, stand in stands.items():
                after = _states(labs[who], stand)
                _compare(figures[who], before[who], after, seconds)
                figures[who].memory.extend(procfs.rss_mb(_pid(box)) for box in stand.boxes)
    return [row for who, one in figures.items() for row in one.rows(who)]


def _met(lab: Lab, environment: Mapping[str, str]) -> tuple[Mesh, float]:
    """Return three boxes that have met, the last of them metered, and how long they took."""
    stand, _, _ = three_boxes(lab, sys.executable)
    for box in reversed(stand.boxes):
        metered = ["--metered"] if box is stand.boxes[-1] else []
        box.start(*metered, env=dict(environment))
    return stand, stand.wait_all(20)


def _compare(
    figures: _Figures, before: Sequence[_State], after: Sequence[_State], seconds: float
) -> None:
    """Add what was spent and sent between two looks, as a share of a core and MB a day."""
    sent = [
        (new.sent - old.sent) * DAY / seconds / 1e6
        for old, new in zip(before, after, strict=True)
    ]
    spent = [
        (new.cpu - old.cpu) / seconds * 100 for old, new in zip(before, after, strict=True)
    ]
    figures.spent.extend(spent[:-1])
    figures.sent.extend(sent[:-1])
    figures.metered.append(sent[-1])


def _throughput(options: Options) -> list[Row]:
    """Return the rows of one TCP stream: managed, bare, and other bare nodes, by turns.

    No two processes are equally fast, even of one program: so each is started several times,
    and a second pair of bare nodes shows how much of a difference means nothing.
    """
    runs: dict[str, list[float]] = {"netmgr": [], BARE: [], "bare node again": []}
    for number in range(options.runs(5, 2)):
        options.say(f"mesh: throughput, start {number + 1}")
        with Lab() as lab:
            _one_start(lab, runs, 1 if options.quick else 2)
    what = "one TCP stream under the manager"
    return [
        Row(
            NAME,
            what,
            name,
            "Gbit/s",
            Spread.of(values),
            AS_BARE if name == "netmgr" else None,
            None if name == BARE else ratios(values, runs[BARE]),
        )
        for name, values in runs.items()
    ]


def _one_start(lab: Lab, runs: Mapping[str, list[float]], seconds: float) -> None:
    """Start all, and add what they reach by turns."""
    stand, _, _ = three_boxes(lab, sys.executable)
    alice, bob, _ = stand.boxes
    for box in (alice, bob):
        # Or the manager may take the way by IPv6, and the bare nodes that by IPv4.
        lab.sysctl(box.ns, "net.ipv6.conf.all.disable_ipv6", 1)
        box.start()
    stand.wait_all(20, [alice, bob])
    others = [_bare(lab, stand, number) for number in range(len(runs) - 1)]
    addresses = dict(zip(runs, (bob.address, *others), strict=True))
    # Once each before it counts: ciphers are being compiled, or loaded.
    for address in addresses.values():
        lab.iperf(alice.ns, bob.ns, address, COMPILING)
    for turn in range(TURNS):
        # Who is first has no advantage over the others.
        first = turn % len(runs)
        for name in [*runs, *runs][first : first + len(runs)]:
            done = lab.iperf(alice.ns, bob.ns, addresses[name], seconds)
            runs[name].append(done.bits_per_second / 1e9)


def _bare(lab: Lab, stand: Mesh, pair: int) -> str:
    """Join the first two boxes by two bare nodes as well; return the second one's address."""
    ends = [(box, lab.ifname(), keypair()) for box in stand.boxes[:2]]
    net, port = f"10.9.{pair}", 51821 + 2 * pair
    for number, (box, interface, _) in enumerate(ends, 1):
        lab.python(box.ns, "-m", "wgpy", "-f", interface, env={"LOG_LEVEL": "silent"})
        lab.wait_uapi(interface)
        lab.address(box.ns, interface, f"{net}.{number}/24")
    for number, (_, interface, (private, _)) in enumerate(ends):
        _, _, (_, other) = ends[1 - number]
        text = (
            f"[Interface]\nPrivateKey={private}\nListenPort={port + number}\n[Peer]\n"
            f"PublicKey={other}\nEndpoint=10.128.1.{2 - number}:{port + 1 - number}\n"
            f"AllowedIPs={net}.{2 - number}/32\n"
        )
        lab.wg("setconf", interface, "/dev/stdin", stdin=text)
    lab.wait_ping(stand.boxes[0].ns, f"{net}.2")
    return f"{net}.2"


def _states(lab: Lab, stand: Mesh) -> list[_State]:
    return [_state(lab, box) for box in stand.boxes]


def _state(lab: Lab, box: Box) -> _State:
    counters = lab.run(box.ns, "cat", "/proc/net/dev").stdout.splitlines()
    sent = [int(line.split()[9]) for line in counters if line.strip().startswith("ve")]
    return _State(procfs.cpu_seconds(_pid(box)), sum(sent))


def _pid(box: Box) -> int:
    assert box.child is not None, "it was started"
    return box.child.pid


def _row(what: str, who: str, unit: str, values: Sequence[float], limit: Limit) -> Row:
    return Row(NAME, what, who, unit, Spread.of(values), limit)
