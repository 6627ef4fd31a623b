"""Start of a node, its memory, and how still it is: `launch`, `rss`, `idle`."""

import os
import subprocess
from time import perf_counter

from bench import procfs
from bench.figures import Limit, Row, Spread, compared
from bench.options import Options
from bench.subjects import Company, Subject, company
from tests.lab import Lab, LabError, keypair, wait_until
from wgpy.io import namespaces

LAUNCH_LIMIT = Limit(0.3)
RSS_LIMIT_MB = Limit(60)
NO_WAKEUPS = Limit(0)
# Seconds: a start that takes longer has failed; what a new interface may need to be still.
PATIENCE = 20.0
SETTLING = 1.0


def launch(options: Options) -> list[Row]:
    """Wall time until the launching program returns, and until `wg show` answers.

    The first start, which may have to compile bytecode, does not count. On a busy machine the
    node waits for a processor: what is left without that says what the start takes elsewhere.
    """
    present = company(options)
    returned: dict[str, list[float]] = {one.name: [] for one in present.subjects}
    answered: dict[str, list[float]] = {one.name: [] for one in present.subjects}
    undisturbed: dict[str, list[float]] = {one.name: [] for one in present.subjects}
    runs = options.runs(11, 3)
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
    return [
        *compared("launch", "s", returned, LAUNCH_LIMIT, "returns: "),
        *compared("launch", "s", answered, LAUNCH_LIMIT, "wg show answers: "),
        *compared("launch", "s", undisturbed, LAUNCH_LIMIT, "without waiting: "),
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
    present = company(options)
    found: dict[str, list[float]] = {one.name: [] for one in present.subjects}
    runs = options.runs(5, 3)
    for number in range(runs):
        options.say(f"rss: run {number + 1} of {runs}")
        with Lab() as lab:
            for one in present.subjects:
                found[one.name].append(procfs.rss_mb(_with_one_peer(lab, one)))
    return [*compared("rss", "MB", found, RSS_LIMIT_MB), *present.absences("rss")]


def idle(options: Options) -> list[Row]:
    """Wake-ups and processor time of an interface that is up, with a silent peer.

    All are watched at the same time. IPv6 is off: the kernel sends multicast of its own.
    """
    present = company(options)
    seconds = 30.0 if not options.quick else 5.0
    options.say(f"idle: {seconds:g} s")
    with Lab() as lab:
        pids = {one.name: _with_one_peer(lab, one) for one in present.subjects}
        lab.run(None, "sleep", SETTLING)
        before = _state(pids)
        lab.run(None, "sleep", seconds, timeout=seconds + PATIENCE)
        after = _state(pids)
    return [*_idle_rows(present, before, after, seconds), *present.absences("idle")]


def _state(pids: dict[str, int]) -> dict[str, tuple[int, float]]:
    return {name: (procfs.wakeups(pid), procfs.cpu_seconds(pid)) for name, pid in pids.items()}


def _idle_rows(
    present: Company,
    before: dict[str, tuple[int, float]],
    after: dict[str, tuple[int, float]],
    seconds: float,
) -> list[Row]:
    rows = []
    for name in (one.name for one in present.subjects):
        limit = NO_WAKEUPS if name == present.subjects[0].name else None
        woke = after[name][0] - before[name][0]
        spent = (after[name][1] - before[name][1]) * 1e3
        what = f"{name}: wake-ups in {seconds:g} s"
        rows.append(Row("idle", what, "", Spread.of([woke]), limit))
        what = f"{name}: processor time in {seconds:g} s"
        rows.append(Row("idle", what, "ms", Spread.of([spent]), limit))
    return rows


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
