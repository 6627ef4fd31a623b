"""Who is measured: wgpy by each of its kernels, another checkout, and other nodes."""

import shutil
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bench.figures import Limit, Row, compared
from bench.options import Options
from tests.cache import cache
from tests.foreign import ALL, Foreign, version
from tests.lab import Child, Lab, LabError, wait_until
from wgpy.errors import ConfigError
from wgpy.io.uapi_client import request
from wgpy.wire.uapi import DATA_PATH_KEY

ROOT = Path(__file__).parent.parent
OURS = "wgpy"
PORTABLE = "wgpy portable"
BASE = "wgpy of --base"
# To whose figures those of all the others are set in proportion.
YARDSTICK = "wireguard-go"
QUIET = {"LOG_LEVEL": "error", "WG_LOG_LEVEL": "error"}
COMPILED_KERNELS, PORTABLE_KERNELS = "jit", "portable"
# Seconds: for compiling, once; for loading what is compiled.
COMPILING = 120.0
LOADING = 15.0


class Subject(NamedTuple):
    """A program that serves an interface; `foreground` is what keeps it from detaching.

    `kernels` is the first word of what a node of ours says of its data path.
    """

    name: str
    argv: tuple[str, ...]
    foreground: tuple[str, ...]
    environment: Mapping[str, str]
    version: str
    kernels: str = ""

    def start(
        self,
        lab: Lab,
        ns: str | None,
        interface: str,
        environment: Mapping[str, str] | None = None,
        patience: float = LOADING,
    ) -> Child:
        """Start it in the foreground and wait until `wg` can reach it.

        A node of ours has its kernels in use then.

        Raises:
            LabError: it is not ready in time, or uses other kernels than it should.
        """
        argv = (*self.argv, *self.foreground, interface)
        added = {**self.environment, **QUIET, **(environment or {})}
        child = lab.spawn(ns, *argv, env=added)
        lab.wait_uapi(interface)
        if self.kernels:
            self.wait_for_kernels(interface, patience)
        return child

    def wait_for_kernels(self, interface: str, patience: float = LOADING) -> None:
        """Wait until a node of ours has its kernels in use.

        Raises:
            LabError: it uses others.
        """
        try:
            wait_until(lambda: data_path(interface).startswith(self.kernels), patience)
        except LabError:
            found = data_path(interface)
            raise LabError(
                f"{self.kernels} kernels are not in use after {patience:g} s, but: {found}"
            ) from None


def data_path(interface: str) -> str:
    """Return what a running node of ours says that carries its packets, as `wgpy show` does."""
    for line in request(interface, b"get=1\n\n").decode().splitlines():
        if line.startswith(f"{DATA_PATH_KEY}="):
            return line.partition("=")[2]
    return "packet by packet"


class Company(NamedTuple):
    """The subjects of one run, ours first, and why others are not among them.

    `yardstick` is the name of one of the subjects, or empty.
    """

    subjects: tuple[Subject, ...]
    yardstick: str
    absent: tuple[tuple[str, str], ...] = ()
    unfit: tuple[tuple[str, str], ...] = ()

    def without_portable(self) -> "Company":
        """Return those who measure what kernels have no part in."""
        subjects = tuple(one for one in self.subjects if one.name != PORTABLE)
        return self._replace(subjects=subjects)

    def limits(
        self, compiled: Limit, portable: Limit, otherwise: Limit | None = None
    ) -> dict[str, Limit]:
        """Return the limits of ours by name.

        Ratios are limited to wireguard-go's figures; without it the limit is `otherwise`.
        """
        limits = {OURS: compiled, PORTABLE: portable}
        if compiled.ratio and self.yardstick != YARDSTICK:
            return dict.fromkeys(limits, otherwise) if otherwise else {}
        return limits

    def rows(
        self,
        labels: tuple[str, str, str],
        runs: Mapping[str, list[float]],
        limits: Mapping[str, Limit] | None = None,
    ) -> list[Row]:
        """Return the rows of one figure: bench, what and unit are its labels."""
        return compared(labels, runs, limits or {}, self.yardstick)

    def absences(self, bench: str) -> list[Row]:
        """Return a row for each that is not installed, or cannot be measured."""
        return [
            *(
                Row(bench, "", name, note=f"failed: {why}", failed=True)
                for name, why in self.unfit
            ),
            *(Row(bench, "", name, note=why) for name, why in self.absent),
        ]


def wgpy(name: str = OURS, tree: Path = ROOT) -> Subject:
    """Return this project's node as it is in a checkout.

    Its bytecode is kept outside the tree, as an installed package has it ready.
    """
    argv = (sys.executable, "-P", "-m", "wgpy")
    environment = {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(cache() / "bytecode"),
        "WGPY_OFF": "jit" if name == PORTABLE else "",
    }
    kernels = PORTABLE_KERNELS if name == PORTABLE else COMPILED_KERNELS
    return Subject(name, argv, ("-f",), environment, str(tree), kernels)


def company(options: Options) -> Company:
    """Return everyone who is here and is to be measured; nobody is started."""
    found = [] if options.alone else [(one, _find(one)) for one in ALL]
    subjects = (
        wgpy(),
        wgpy(PORTABLE),
        *([wgpy(BASE, options.base)] if options.base else []),
        *(_foreign(one, path) for one, path in found if path is not None),
    )
    names = [one.name for one in subjects]
    yardstick = next((name for name in (BASE, YARDSTICK) if name in names), "")
    absent = tuple((one.name, "not installed") for one, path in found if path is None)
    return Company(subjects, yardstick, absent)


def ready(options: Options) -> Company:
    """Return the company without those of ours that do not get their kernels.

    The first time in a process each of ours is started: that compiles what is not compiled.
    """
    present = company(options)
    tried = [one.name for one in present.subjects if one.kernels]
    reasons = {name: _why_unfit(name, options.base or ROOT) for name in tried}
    unfit = tuple((name, why) for name, why in reasons.items() if why)
    names = [name for name, _ in unfit]
    subjects = tuple(one for one in present.subjects if one.name not in names)
    return present._replace(subjects=subjects, unfit=unfit)


@lru_cache
def _why_unfit(name: str, base: Path) -> str:
    """Return why a node of ours cannot be measured, empty if it can."""
    subject = wgpy(name, base if name == BASE else ROOT)
    if subject.kernels == COMPILED_KERNELS and find_spec("llvmlite") is None:
        return "llvmlite is not installed: pip install '.[jit]'"
    with Lab() as lab:
        try:
            subject.start(lab, lab.ns(), lab.ifname(), patience=COMPILING)
        except (LabError, ConfigError) as failure:
            return str(failure).partition("\n")[0]
    return ""


def _find(one: Foreign) -> Path | None:
    on_path = shutil.which(one.program)
    return one.find() or (Path(on_path) if on_path else None)


def _foreign(one: Foreign, path: Path) -> Subject:
    options = tuple(word for word in one.options if word != "--foreground")
    number = version(path).rpartition(" ")[2]
    return Subject(one.name, (str(path), *options), ("--foreground",), one.environment, number)
