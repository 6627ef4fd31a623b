"""Layers of wgpy measured alone, each by a program in processes of its own.

A program of this folder (`lookups.py`, ...) prints figures as JSON, {what: [value, unit]},
each the best of many rounds within that process and of processor time, so that other programs
count little. It imports nothing of the bench, so that it can be run with another checkout of
wgpy.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.figures import Limit, Row, Spread, ratios
from bench.options import Options
from bench.subjects import ROOT

HERE = Path(__file__).parent
PATIENCE = 120.0
# The slowest search of 130,560 prefixes against one of 10: memory is slower, the way as long.
LOOKUP_LIMIT = Limit(4)

Figures = dict[str, tuple[float, str]]


def aead(options: Options) -> list[Row]:
    """Sealing and opening bursts, compiled and by `cryptography`."""
    return _rows("aead", options)


def kernels(options: Options) -> list[Row]:
    """Segmenting, merging and the replay window, compiled and portable."""
    return _rows("kernels", options)


def lookups(options: Options) -> list[Row]:
    """Finding the peer of an address among many allowed IPs."""
    return _rows("lookups", options, {"search among 130,560 : among 10": LOOKUP_LIMIT})


def engine(options: Options) -> list[Row]:
    """The engine without I/O: single packets, handshakes, cookies."""
    return _rows("engine", options)


def ports(options: Options) -> list[Row]:
    """The TUN and the UDP port without an engine."""
    return _rows("ports", options)


def _rows(program: str, options: Options, limits: dict[str, Limit] | None = None) -> list[Row]:
    """Run a program several times, by turns with that of `base`, and return its rows."""
    runs = options.runs(3, 1)
    ours: list[Figures] = []
    theirs: list[Figures] = []
    for number in range(runs):
        options.say(f"{program}: run {number + 1} of {runs}")
        ours.append(_run(program, ROOT))
        if options.base is not None:
            theirs.append(_run(program, options.base))
    limits = limits or {}
    return [_row(program, what, ours, theirs, limits.get(what)) for what in ours[0]]


def _row(
    bench: str, what: str, ours: list[Figures], theirs: list[Figures], limit: Limit | None
) -> Row:
    values = [run[what][0] for run in ours]
    others = [run[what][0] for run in theirs]
    unit = ours[0][what][1]
    return Row(bench, what, "", unit, Spread.of(values), limit, ratios(values, others))


def _run(program: str, tree: Path) -> Figures:
    done = subprocess.run(
        [sys.executable, "-P", str(HERE / f"{program}.py")],
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )
    return {what: (value, unit) for what, (value, unit) in json.loads(done.stdout).items()}
