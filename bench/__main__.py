"""`python -m bench [NAME ...]`: what a node costs, against its limits and against others.

Everyone who is installed stands at once and takes turns. Progress goes to standard error, the
table to standard output. The exit code is 1 if a limit is not kept, or something that should be
measured was not. Whole nodes need root, `wg` and iperf3. For a README, in one go:

    python -m bench --json figures.json --plot bench/figures.svg --markdown
"""

import argparse
import io
import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from time import monotonic

from bench import inprocess, large, mesh, starting, tunnel
from bench.figures import Row, document
from bench.options import Options
from bench.plot import plot
from bench.procfs import machine
from bench.subjects import OURS, PORTABLE, company
from bench.tables import markdown, table
from bench.turns import FAILURES, failed_because

BENCHES = {
    "tcp": tunnel.tcp,
    "tcp8": tunnel.tcp8,
    "udp64": tunnel.udp64,
    "ping": tunnel.ping,
    "bloat": tunnel.bloat,
    "gateway": tunnel.gateway,
    "relayed": tunnel.relayed,
    "load": tunnel.load,
    "launch": starting.launch,
    "rss": starting.rss,
    "idle": starting.idle,
    "mesh": mesh.mesh,
    "allowedips": large.allowedips,
    "lookups": inprocess.lookups,
    "aead": inprocess.aead,
    "kernels": inprocess.kernels,
    "engine": inprocess.engine,
    "ports": inprocess.ports,
}
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    given = _asked(arguments)
    if given.list:
        for name, bench in BENCHES.items():
            print(f"{name:12}{(bench.__doc__ or '').partition(chr(10))[0]}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    where = machine()
    rows: list[Row] = []
    interrupted = False
    try:
        names = given.names or list(BENCHES)
        began = monotonic()
        for number, name in enumerate(names, 1):
            options = _options(given, _progress(f"{number}/{len(names)}", began))
            rows += _measured(name, options)
    except KeyboardInterrupt:
        interrupted = True
    _say("")
    _show(given, rows, where)
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
    except FAILURES as failure:
        print(
            f"{said.getvalue()}\nbench: {name}: {type(failure).__name__}: {failure}",
            file=sys.stderr,
        )
        return [Row(name, "", note=failed_because(failure), failed=True)]


def _show(given: argparse.Namespace, rows: list[Row], where: dict[str, str]) -> None:
    """Print the rows and write the files that are asked for."""
    present = company(_options(given, _say))
    where |= {one.name: one.version for one in present.subjects if not one.kernels}
    where |= dict(present.absent)
    if rows and given.markdown:
        print(markdown(rows, where, (OURS, PORTABLE)))
    elif rows:
        print(table(rows, present.yardstick))
        print("\n" + "; ".join(f"{name}: {what}" for name, what in where.items()))
    if given.json is not None:
        found = document(rows, where, present.yardstick)
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if given.plot is not None:
        given.plot.write_text(plot(rows, where, present.yardstick))


def _options(given: argparse.Namespace, say: Callable[[str], None]) -> Options:
    base = given.base.resolve() if given.base else None
    return Options(given.quick, base, given.alone, say)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *BENCHES])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.svg", help="draw the ratios to wireguard-go there"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--alone", action="store_true", help="wgpy without the others")
    parser.add_argument(
        "--base",
        type=Path,
        metavar="DIR",
        help="pair with another checkout of wgpy: ratios are to that one",
    )
    parser.add_argument("--list", action="store_true", help="name what can be measured")
    given = parser.parse_args(arguments)
    for file in (given.json, given.plot):
        if file is not None and not file.resolve().parent.is_dir():
            parser.error(f"{file}: there is no such folder")
    return given


def _progress(part: str, began: float) -> Callable[[str], None]:
    """Return what shows progress with the number of the bench and the time since the start."""

    def say(text: str) -> None:
        minutes, seconds = divmod(int(monotonic() - began), 60)
        _say(f"[{part}, {minutes}:{seconds:02}] {text}")

    return say


def _say(text: str) -> None:
    """Show progress in one line of a terminal, in lines of their own elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
