"""Who is measured: wgpy, another checkout of it, and whichever other nodes are installed."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from bench.figures import Row
from bench.options import Options
from tests.cache import cache
from tests.foreign import ALL, Foreign, version
from tests.lab import Child, Lab

ROOT = Path(__file__).parent.parent
OURS = "wgpy"
BASE = "wgpy of --base"
QUIET = {"LOG_LEVEL": "error", "WG_LOG_LEVEL": "error"}


class Subject(NamedTuple):
    """A program that serves an interface; `foreground` is what keeps it from detaching."""

    name: str
    argv: tuple[str, ...]
    foreground: tuple[str, ...]
    environment: dict[str, str]
    version: str

    def start(self, lab: Lab, ns: str | None, interface: str) -> Child:
        """Start it in the foreground and wait until `wg` can reach it."""
        argv = (*self.argv, *self.foreground, interface)
        child = lab.spawn(ns, *argv, env={**self.environment, **QUIET})
        lab.wait_uapi(interface)
        return child


class Company(NamedTuple):
    """The subjects of one run, ours first, and the names of those that are not installed."""

    subjects: tuple[Subject, ...]
    absent: tuple[str, ...]

    def absences(self, bench: str) -> list[Row]:
        """Return a row for each that is not installed."""
        return [Row(bench, name, note="not installed") for name in self.absent]


def wgpy(tree: Path = ROOT, name: str = OURS) -> Subject:
    """Return this project's node as it is in a checkout.

    Its bytecode is kept outside the tree, as an installed package has it ready.
    """
    argv = (sys.executable, "-P", "-m", "wgpy")
    environment = {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(cache() / "bytecode"),
    }
    return Subject(name, argv, ("-f",), environment, str(tree))


def company(options: Options) -> Company:
    """Return everyone who is here and is to be measured."""
    base = options.base
    found = [] if options.alone else [(one, _find(one)) for one in ALL]
    return Company(
        (
            wgpy(),
            *([wgpy(base, BASE)] if base else []),
            *(_foreign(one, path) for one, path in found if path is not None),
        ),
        tuple(one.name for one, path in found if path is None),
    )


def _find(one: Foreign) -> Path | None:
    on_path = shutil.which(one.program)
    return one.find() or (Path(on_path) if on_path else None)


def _foreign(one: Foreign, path: Path) -> Subject:
    options = tuple(word for word in one.options if word != "--foreground")
    return Subject(
        one.name, (str(path), *options), ("--foreground",), one.environment, version(path)
    )
