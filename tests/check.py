"""`python -m tests.check [--fast] [--long] [--matrix]`: format, lint, types, tests, coverage.

--fast runs, in under a minute, what needs neither root nor another implementation of WireGuard
nor more than a second a test; the whole adds these and the coverage that the fast tests alone
reach in the pure layers; --long adds what waits for more than a minute. --matrix runs the tests
in namespaces, once for each part of the fast data path that can be off, for all of them off and
for none: half an hour. Other arguments go to pytest, and leave coverage out. The contracts
between the layers are among the tests.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.offloads import WAYS
from wgpy.io import clock

FAST = "not (slow or root or interop or long)"
# What takes long in one process; what waits for others most of the time; what has the machine
# for itself.
SIMULATED = "slow and not (root or interop or long)"
WAITING = "(root or interop) and not (timed or long)"
TIMED = "(root or interop) and timed"
# So many processes of those that wait.
WAITERS = 3
GATE = 95.0
GATED = ("wgpy/engine/", "wgpy/wire/", "netmgr/engine/", "netmgr/wire/")
# Their tests, which alone are to reach all of them.
PURE = tuple(f"tests/{layer.rstrip('/')}" for layer in GATED)
PYTHON = (sys.executable, "-m")
OPTIONS = ("--fast", "--long", "--matrix")
NAMESPACES = "tests/namespaces"
# They say themselves how their nodes are to work, and need not be run once for each way.
OWN_WAYS = ("test_bursts.py", "test_load.py", "test_offloads.py")
MATRIX = (NAMESPACES, *(f"--ignore={NAMESPACES}/{name}" for name in OWN_WAYS))


class Step(NamedTuple):
    """One check: a name, and what returns whether it passed."""

    name: str
    passes: Callable[[], bool]


def command(*argv: str) -> Callable[[], bool]:
    """Return a check that passes if a program ends with 0."""
    return lambda: subprocess.run(argv, check=False).returncode == 0


def steps(arguments: list[str], folder: Path) -> Iterator[Step]:
    """Yield the checks that the arguments ask for; `folder` takes what is measured."""
    fast, long, matrix = (option in arguments for option in OPTIONS)
    rest = [argument for argument in arguments if argument not in OPTIONS]
    yield Step("format", command(*PYTHON, "ruff", "format", "--check", "--quiet", "."))
    yield Step("lint", command(*PYTHON, "ruff", "check", "--quiet", "."))
    yield Step("types", command(*PYTHON, "mypy", "--no-error-summary"))
    if matrix:
        for way in WAYS:
            argv = (*PYTHON, "pytest", "-q", f"--offloads={way}", *(rest or MATRIX))
            yield Step(f"offloads: {way}", command(*argv))
        return
    if fast:
        yield Step("tests", command(*PYTHON, "pytest", "-q", "-n", "auto", "-m", FAST, *rest))
        return
    if rest:
        everything = ["--long"] if long else []
        yield Step("tests", command(*PYTHON, "pytest", "-q", *everything, *rest))
        return
    report = folder / "coverage.json"
    spread = (*PYTHON, "pytest", "-q", "-n", "auto")
    measured = ("--cov", f"--cov-report=json:{report}", "-m", FAST, *PURE)
    yield Step("pure layers", command(*spread, *measured))
    yield Step("coverage", lambda: covered(report))
    unmeasured = (f"--ignore={layer}" for layer in PURE)
    yield Step("other fast tests", command(*spread, "-m", FAST, "tests", *unmeasured))
    yield Step("simulations", command(*spread, "-m", SIMULATED, "--durations=5"))
    beside = (*PYTHON, "pytest", "-q", f"-n{WAITERS}", "--dist=loadfile")
    yield Step("real networks", command(*beside, "-m", WAITING, "--durations=5"))
    last = ["--long", "-m", f"{TIMED} or long"] if long else ["-m", TIMED]
    yield Step("timed tests", command(*PYTHON, "pytest", "-q", *last, "--durations=10"))


def covered(report: Path) -> bool:
    """Print the share of branches taken in the pure layers; return whether it is enough."""
    if not report.exists():
        return False
    files = json.loads(report.read_text())["files"]
    taken = total = 0
    for name, file in sorted(files.items()):
        if name.startswith(GATED):
            summary = file["summary"]
            taken += summary["covered_branches"]
            total += summary["num_branches"]
            if missed := [*file["missing_lines"], *file["missing_branches"]]:
                print(f"{name}: {summary['percent_covered']:.0f} %, missing {missed[:8]}")
    share = 100 * taken / total if total else 0.0
    print(
        f"{taken} of {total} branches of {' and '.join(GATED)}: {share:.1f} % (>= {GATE:g} %)"
    )
    return share >= GATE


def main(arguments: list[str]) -> int:
    os.environ["PYTHONUNBUFFERED"] = "1"
    results: list[tuple[str, bool, float]] = []
    with tempfile.TemporaryDirectory(prefix="wgpy-check-") as folder:
        for step in steps(arguments, Path(folder)):
            print(f"--- {step.name}", flush=True)
            start = clock.now()
            passed = step.passes()
            results.append((step.name, passed, clock.now() - start))
            print(f"    {results[-1][2]:.1f} s", flush=True)
    print("--- summary")
    for name, passed, seconds in results:
        print(f"{'ok' if passed else 'FAILED':6} {seconds:7.1f} s  {name}")
    failed = [name for name, passed, _ in results if not passed]
    print(f"check: {'failed: ' + ', '.join(failed) if failed else 'all is well'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
