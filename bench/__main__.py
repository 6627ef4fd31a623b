"""`python -m bench [NAME ...]`: what a node costs, against its limits and against others.

Progress goes to standard error, the table to standard output. The exit code is 1 if a limit
is not kept.
"""

import argparse
import io
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from bench import inprocess, large, starting, tunnel
from bench.figures import Row, document, table
from bench.options import Options
from bench.procfs import machine
from bench.subjects import company
from tests.lab import LabError
from wgpy.errors import ConfigError

BENCHES = {
    "launch": starting.launch,
    "rss": starting.rss,
    "idle": starting.idle,
    "tcp": tunnel.tcp,
    "udp64": tunnel.udp64,
    "ping": tunnel.ping,
    "allowedips": large.allowedips,
    "engine": inprocess.engine,
    "ports": inprocess.ports,
}
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if given.list:
        for name, bench in BENCHES.items():
            print(f"{name:12}{(bench.__doc__ or '').partition(chr(10))[0]}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    base = given.base.resolve() if given.base else None
    options = Options(given.quick, base, given.alone, _say)
    rows: list[Row] = []
    interrupted = False
    try:
        for name in given.names or BENCHES:
            rows += _measured(name, options)
    except KeyboardInterrupt:
        interrupted = True
    _say("")
    if rows:
        print(table(rows))
    if given.json is not None:
        subjects = {one.name: one.version for one in company(options).subjects}
        given.json.write_text(json.dumps(document(rows, machine() | subjects), indent=1))
    if interrupted:
        print("bench: interrupted; what is not shown was not measured", file=sys.stderr)
        return INTERRUPTED
    return 1 if any(row.passed is False or row.failed for row in rows) else 0


def _measured(name: str, options: Options) -> list[Row]:
    """Return the rows of one bench; a failure is a row, and what its programs said is shown."""
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            return BENCHES[name](options)
    except (LabError, ConfigError, OSError, subprocess.SubprocessError) as failure:
        print(f"{said.getvalue()}\nbench: {name}: {failure}", file=sys.stderr)
        return [Row(name, "", note=f"failed: {str(failure).splitlines()[0]}", failed=True)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *BENCHES])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--alone", action="store_true", help="wgpy without the others")
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="pair with another checkout of wgpy"
    )
    parser.add_argument("--list", action="store_true", help="name what can be measured")
    return parser


def _say(text: str) -> None:
    """Show progress in one line of a terminal, in lines of their own elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
