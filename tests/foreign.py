"""`python -m tests.foreign build|list`: the other implementations of WireGuard.

The current wireguard-go and boringtun are built once, by `go` and `cargo`, into the cache
(tests/cache.py), and Debian's kernel is fetched into it by apt. Debian's older wireguard-go is
taken from PATH.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import kernel_image
from tests.cache import cache
from tests.lab import Child, Lab, LabError, command

USAGE = "usage: python -m tests.foreign build|list [NAME ...]"


class Foreign(NamedTuple):
    """Another implementation: how to get it and how to start it.

    `place` is where the cache holds it, None if it comes from PATH under `program`. `build`
    puts the program called `program` somewhere below the folder it is given.
    """

    name: str
    program: str
    place: str | None
    build: Callable[[Path], None] | None
    options: tuple[str, ...]
    environment: dict[str, str]

    def find(self) -> Path | None:
        """Return its program, None if it is not here."""
        if self.place is None:
            found = shutil.which(self.program)
            return Path(found) if found else None
        path = cache() / self.place
        return path if os.access(path, os.X_OK) else None


def _go(folder: Path) -> None:
    env = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"}
    argv = ["go", "install", "golang.zx2c4.com/wireguard@latest"]
    subprocess.run(argv, env=env, check=True, stdout=sys.stderr)


def _cargo(folder: Path) -> None:
    argv = ["cargo", "install", "--quiet", "boringtun-cli", "--root", str(folder)]
    env = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target")}
    subprocess.run(argv, env=env, check=True, stdout=sys.stderr)


ALL = (
    Foreign(
        name="wireguard-go",
        program="wireguard",
        place="wireguard-go",
        build=_go,
        options=("--foreground",),
        environment={"LOG_LEVEL": "verbose"},
    ),
    Foreign(
        name="boringtun",
        program="boringtun-cli",
        place="boringtun-cli",
        build=_cargo,
        options=("--foreground", "--disable-drop-privileges"),
        environment={"WG_LOG_LEVEL": "info", "WG_SUDO": "1"},
    ),
    Foreign(
        name="wireguard-go-debian",
        program="wireguard-go",
        place=None,
        build=None,
        options=("--foreground",),
        environment={"LOG_LEVEL": "verbose"},
    ),
)
NAMES = tuple(one.name for one in ALL)
BY_NAME = {one.name: one for one in ALL}
KERNEL = "kernel"


def build(name: str) -> Path:
    """Return the program of one implementation, built first if it is not here.

    Raises:
        LabError: it is nowhere, and can only come from a package.
        subprocess.CalledProcessError: the build failed.
    """
    one = BY_NAME[name]
    if found := one.find():
        return found
    if one.build is None or one.place is None:
        raise LabError(f"{one.program} is not on PATH")
    target = cache() / one.place
    with tempfile.TemporaryDirectory(dir=cache(), prefix="build-") as folder:
        one.build(Path(folder))
        built = next(path for path in Path(folder).rglob(one.program) if path.is_file())
        built.replace(target)
    return target


def require(name: str) -> Path:
    """Return the program of one implementation, or skip the test that asks."""
    found = BY_NAME[name].find()
    if found is None:
        pytest.skip(f"needs {name}: python -m tests.foreign build")
    return found


class Foreigner(NamedTuple):
    """A running implementation and its interface."""

    lab: Lab
    ns: str | None
    interface: str
    child: Child

    def configure(self, text: str) -> None:
        """Apply a configuration in the format of `wg setconf`."""
        self.lab.wg("setconf", self.interface, "/dev/stdin", stdin=text)

    def up(self, *addresses: str, routes: tuple[str, ...] = (), mtu: int = 1420) -> None:
        """Give the interface its addresses, set it up and lead `routes` into it."""
        self.lab.ip(self.ns, "link", "set", self.interface, "mtu", mtu)
        self.lab.address(self.ns, self.interface, *addresses)
        for route in routes:
            self.lab.ip(self.ns, "route", "add", route, "dev", self.interface)

    def show(self, *words: str) -> str:
        """Return what `wg show` says of the interface: `dump`, `transfer`, `listen-port`."""
        return self.lab.wg("show", self.interface, *words)


def launch(lab: Lab, ns: str | None, name: str, interface: str | None = None) -> Foreigner:
    """Start an implementation in a namespace and wait until it can be configured by `wg`.

    Args:
        lab: what ends it.
        ns: where its TUN device is made and its sockets are bound.
        name: one of NAMES.
        interface: the name of its interface; None takes a fresh `lab.ifname()`.
    """
    one = BY_NAME[name]
    interface = interface or lab.ifname()
    child = lab.spawn(ns, require(name), *one.options, interface, env=one.environment)
    lab.wait_uapi(interface)
    return Foreigner(lab, ns, interface, child)


def locate(name: str, *, building: bool) -> Path | None:
    """Return where an implementation or the kernel is; `building` makes what is missing."""
    if name != KERNEL:
        return build(name) if building else BY_NAME[name].find()
    return kernel_image.fetch() if building else kernel_image.find()


def main(arguments: list[str]) -> int:
    known = (*NAMES, KERNEL)
    if not arguments or arguments[0] not in ("build", "list") or {*arguments[1:]} - {*known}:
        print(f"{USAGE}; NAME is one of {', '.join(known)}", file=sys.stderr)
        return 2
    building, missing = arguments[0] == "build", 0
    for name in arguments[1:] or known:
        try:
            path = locate(name, building=building)
        except (LabError, OSError, subprocess.CalledProcessError, StopIteration) as failure:
            print(f"{name}: {failure}", file=sys.stderr)
            path = None
        missing += path is None
        print(f"{name:20} {path or 'missing'}  {version(path) if path else ''}".rstrip())
    return 1 if missing and building else 0


def version(path: Path) -> str:
    """Return what is found at `path` in a few words."""
    if path.is_dir():
        return next((path / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")
    return command([path, "--version"], check=False).stdout.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
