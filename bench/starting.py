"""Start of a node, its memory, and how still it is: `launch`, `rss`, `idle`."""

import os
import subprocess
from time import perf_counter

from bench import procfs
from bench.figures import Limit, Row
from bench.options import Options
from bench.subjects import Subject, ready
from tests.lab import Lab, LabError, keypair, wait_until
from wgpy.io import namespaces

LAUNCH_LIMIT = Limit(0.3)
RSS_LIMIT_MB = Limit(60)
NOTHING = Limit(0)
# Seconds: a start that takes longer has failed; what a new interface may need to be still.
PATIENCE = 20.0
SETTLING = 1.0


def launch(options: Options) -> list[Row]:
    """Wall time until the launching program returns, and until `wg show` answers.

    The first start, which may have to compile bytecode, does not count. On a busy machine the
    node waits for a processor: what is left without that says what the start takes elsewhere.
    """
    present = ready(options)
    names = [one.name for one in present.subjects]
    returned: dict[str, list[float]] = {name: [] for name in names}
    answered: dict[str, list[float]] = {name: [] for name in names}
    undisturbed: dict[str, list[float]] = {name: [] for name in names}
    runs = options.runs(9, 3)
    options.say("launch: first start")
    for one in present.subjects:
        _launch(one)
    for number in range(runs):
        options.say(f"launch: run {number + 1} of {runs}")
        for one in present.subjects:
            back, answer, waited = _launch(one)
            returned[one.name].append(back)
            answered[one.name].append(answer)
            undisturbed[one.name].append(answer - waited)
    limits = present.limits(LAUNCH_LIMIT, LAUNCH_LIMIT)
    return [
        *present.rows(("launch", "launch returns", "s"), returned, limits),
        *present.rows(("launch", "launch, wg show answers", "s"), answered, limits),
        *present.rows(("launch", "launch, without waiting", "s"), undisturbed, limits),
        *present.absences("launch"),
    ]


def _launch(subject: Subject) -> tuple[float, float, float]:
    """Return the seconds until the launcher returned and until `wg` got its answer.

    The third is how long of that the node waited for a processor.
    """
    with Lab() as lab:
        ns, interface = lab.ns(), lab.ifname()
        environment = {**os.environ, **subject.environment, "LOG_LEVEL": "silent"}
        with namespaces.inside(ns):
            began = perf_counter()
            subprocess.run(
                [*subject.argv, interface],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                check=True,
            )
            back = perf_counter() - began
        while subprocess.run(["wg", "show", interface], capture_output=True).returncode:
            if perf_counter() - began > PATIENCE:
                raise LabError(f"{subject.name} does not answer wg")
        answer = perf_counter() - began
        pids = lab.run(None, "ip", "netns", "pids", ns).stdout.split()
        return back, answer, sum(procfs.waited_seconds(int(pid)) for pid in pids)


def rss(options: Options) -> list[Row]:
    """Resident memory after the start, with one peer configured."""
    present = ready(options)
    found: dict[str, list[float]] = {one.name: [] for one in present.subjects}
    runs = options.runs(3, 2)
    for number in range(runs):
        options.say(f"rss: run {number + 1} of {runs}")
        with Lab() as lab:
            for one in present.subjects:
                found[one.name].append(procfs.rss_mb(_with_one_peer(lab, one)))
    limits = present.limits(RSS_LIMIT_MB, RSS_LIMIT_MB)
    return [
        *present.rows(("rss", "memory after the start", "MB"), found, limits),
        *present.absences("rss"),
    ]


def idle(options: Options) -> list[Row]:
    """Wake-ups and processor time of an interface that is up, with a silent peer.

    All are watched at the same time. IPv6 is off: the kernel sends multicast of its own.
    """
    present = ready(options)
    seconds = 20.0 if not options.quick else 5.0
    options.say(f"idle: {seconds:g} s")
    with Lab() as lab:
        pids = {one.name: _with_one_peer(lab, one) for one in present.subjects}
        lab.run(None, "sleep", SETTLING)
        before = {name: _state(pid) for name, pid in pids.items()}
        lab.run(None, "sleep", seconds, timeout=seconds + PATIENCE)
        after = {name: _state(pid) for name, pid in pids.items()}
    woke: dict[str, list[float]] = {name: [after[name][0] - before[name][0]] for name in pids}
    spent = {name: [(after[name][1] - before[name][1]) * 1e3] for name in pids}
    limits = present.limits(NOTHING, NOTHING)
    return [
        *present.rows(("idle", f"wake-ups in {seconds:g} s", ""), woke, limits),
        *present.rows(("idle", f"processor time in {seconds:g} s", "ms"), spent, limits),
        *present.absences("idle"),
    ]


def _state(pid: int) -> tuple[int, float]:
    return procfs.wakeups(pid), procfs.cpu_seconds(pid)


def _with_one_peer(lab: Lab, subject: Subject) -> int:
    """Start a node with an interface that is up and a peer that is silent; return its pid."""
    ns, interface = lab.ns(), lab.ifname()
    lab.sysctl(ns, "net.ipv6.conf.all.disable_ipv6", 1)
    lab.sysctl(ns, "net.ipv6.conf.default.disable_ipv6", 1)
    pid = subject.start(lab, ns, interface).pid
    private, _ = keypair()
    _, public = keypair()
    text = (
        f"[Interface]\nPrivateKey={private}\n[Peer]\nPublicKey={public}\n"
        "Endpoint=127.0.0.1:9\nAllowedIPs=10.9.0.0/24\n"
    )
    lab.wg("setconf", interface, "/dev/stdin", stdin=text)
    lab.address(ns, interface, "10.9.0.1/32")
    wait_until(lambda: "listening port" in lab.wg("show", interface), why="a listening port")
    return pid
