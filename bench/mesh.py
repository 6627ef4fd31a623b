"""Three boxes of a mesh: how soon they meet, what they cost at rest, what the manager takes."""

import sys
from collections.abc import Mapping, Sequence
from time import perf_counter

from bench import procfs
from bench.figures import Limit, Row, Spread, ratios
from bench.options import Options
from tests.lab import Lab, keypair
from tests.namespaces.mesh import Box, Mesh, three_boxes

NAME = "mesh"
MEET_LIMIT_S = Limit(3)
RSS_LIMIT_MB = Limit(80)
CPU_LIMIT_PERCENT = Limit(0.5)
TRAFFIC_LIMIT_MB = Limit(20)
METERED_LIMIT_MB = Limit(1)
DAY = 86400
# Seconds until first contact and compiling are over.
SETTLING = 15
WITHOUT = {"": {}, " portable": {"WGPY_OFF": "jit"}}


def mesh(options: Options) -> list[Row]:
    """Three boxes: time to meet, memory, processor and bytes at rest, throughput to bare."""
    rows = []
    for suffix, environment in WITHOUT.items():
        rows += _at_rest(options, f"netmgr{suffix}", environment)
    return [*rows, *_throughput(options)]


def _at_rest(options: Options, who: str, environment: Mapping[str, str]) -> list[Row]:
    seconds = 20 if options.quick else 120
    met, memory, spent, sent = [], list[float](), list[float](), list[float]()
    metered: list[float] = []
    for number in range(options.runs(3, 1)):
        options.say(f"mesh: {who}, run {number + 1}")
        with Lab() as lab:
            stand, _, _ = three_boxes(lab, sys.executable)
            alice, bob, charlie = stand.boxes
            for box in (charlie, bob, alice):
                box.start(*(["--metered"] if box is charlie else []), env=dict(environment))
            met.append(stand.wait_all(20))
            lab.run(None, "sleep", SETTLING)
            before = [_state(lab, box) for box in stand.boxes]
            lab.run(None, "sleep", seconds, timeout=seconds + 20)
            after = [_state(lab, box) for box in stand.boxes]
            memory += [procfs.rss_mb(_pid(box)) for box in stand.boxes]
            days = DAY / seconds / 1e6
            for old, new in zip(before[:2], after[:2], strict=True):
                spent.append((new[0] - old[0]) / seconds * 100)
                sent.append((new[1] - old[1]) * days)
            metered.append((after[2][1] - before[2][1]) * days)
    return [
        _row("from the last start until all pings are answered", who, "s", met, MEET_LIMIT_S),
        _row("memory of a node", who, "MB", memory, RSS_LIMIT_MB),
        _row("processor at rest", who, "%", spent, CPU_LIMIT_PERCENT),
        _row("sent at rest in a day", who, "MB", sent, TRAFFIC_LIMIT_MB),
        _row("sent by a metered node", who, "MB", metered, METERED_LIMIT_MB),
    ]


def _throughput(options: Options) -> list[Row]:
    """Return the rows of one TCP stream, managed and bare, by turns."""
    runs: dict[str, list[float]] = {"netmgr": [], "bare node": []}
    seconds = 2 if options.quick else 4
    with Lab() as lab:
        stand, _, _ = three_boxes(lab, sys.executable)
        alice, bob, _ = stand.boxes
        for box in (alice, bob):
            box.start()
        stand.wait_all(20, [alice, bob])
        _bare(lab, stand)
        for number in range(options.runs(7, 3)):
            options.say(f"mesh: throughput, run {number + 1}")
            for name, address in (("netmgr", bob.address), ("bare node", "10.9.0.2")):
                began = perf_counter()
                done = lab.iperf(alice.ns, bob.ns, address, seconds)
                assert perf_counter() - began < seconds + 20
                runs[name].append(done.bits_per_second / 1e9)
    what = "one TCP stream under the manager"
    return [
        Row(
            NAME,
            what,
            name,
            "Gbit/s",
            Spread.of(values),
            None,
            None if name == "bare node" else ratios(values, runs["bare node"]),
        )
        for name, values in runs.items()
    ]


def _bare(lab: Lab, stand: Mesh) -> None:
    """Join the first two boxes by two bare nodes as well."""
    ends = [(box, lab.ifname(), keypair()) for box in stand.boxes[:2]]
    for number, (box, interface, _) in enumerate(ends, 1):
        lab.python(box.ns, "-m", "wgpy", "-f", interface, env={"LOG_LEVEL": "silent"})
        lab.wait_uapi(interface)
        lab.address(box.ns, interface, f"10.9.0.{number}/24")
    for number, (_, interface, (private, _)) in enumerate(ends):
        _, _, (_, other) = ends[1 - number]
        text = (
            f"[Interface]\nPrivateKey={private}\nListenPort={51821 + number}\n[Peer]\n"
            f"PublicKey={other}\nEndpoint=10.128.1.{2 - number}:{51822 - number}\n"
            f"AllowedIPs=10.9.0.{2 - number}/32\n"
        )
        lab.wg("setconf", interface, "/dev/stdin", stdin=text)
    lab.wait_ping(stand.boxes[0].ns, "10.9.0.2")


def _state(lab: Lab, box: Box) -> tuple[float, int]:
    """Return processor seconds, and bytes sent by the cable, frames whole."""
    counters = lab.run(box.ns, "cat", "/proc/net/dev").stdout.splitlines()
    sent = [int(line.split()[9]) for line in counters if line.strip().startswith("ve")]
    return procfs.cpu_seconds(_pid(box)), sum(sent)


def _pid(box: Box) -> int:
    assert box.child is not None, "it was started"
    return box.child.pid


def _row(what: str, who: str, unit: str, values: Sequence[float], limit: Limit) -> Row:
    return Row(NAME, what, who, unit, Spread.of(values), limit)
