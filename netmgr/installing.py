"""`wg_netmanager install`: the service of systemd that starts a node as it was typed."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from netmgr.io.service import MARK, UNIT_PATH, interface_of, systemd_unit, unit_path
from netmgr.options import Say, gather, load
from netmgr.wire.choices import CHOICES, Choices, Shape, read_environment
from wgpy.errors import ConfigError, UsageError
from wgpy.io.process import advice, write_whole

PROGRAM: Final = "wg_netmanager"
_UNIT_MODE: Final = 0o644
_PATHS: Final = ("network_config", "peer_config", "state")
# PrivateTmp= and ProtectHome= of the unit (systemd.exec(5)).
_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108 - named, not used
_HOMES: Final = ("/home", "/root", "/run/user")


def install(
    given: Choices, environ: Mapping[str, str], say: Say, path: str = UNIT_PATH
) -> list[str]:
    """Write the unit of systemd with the options given; return the lines that say what is next.

    `path` is that of the first node of this host; one with another interface has its own.

    Raises:
        UsageError: a node would not start with these options.
        ConfigError: a unit of somebody else is there, or it cannot be written.
    """
    try:
        settings = load(given, environ, say)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    text = unit(given, environ, settings.interface)
    try:
        path, old = _place(path, settings.interface)
        write_whole(path, text.encode(), _UNIT_MODE)
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}{advice()}") from None
    for line in _hidden(given, environ):
        say(line)
    name, start = os.path.basename(path), "enable --now"
    if old in (None, text):
        done = f"wrote {path}"
    else:
        done = f"replaced {path}: another unit was there, for the same interface"
        start = f"enable {name} && systemctl restart"
    return [done, f"next: systemctl daemon-reload && systemctl {start} {name}"]


def show_unit(given: Choices, environ: Mapping[str, str], say: Say) -> None:
    """Print the unit; `say` hears why a node would not start with it."""
    try:
        interface = load(given, environ, say).interface
    except ConfigError as error:
        say(f"{error}; install would refuse that")
        interface = given["interface"].texts[0] if "interface" in given else ""
    sys.stdout.write(unit(given, environ, interface))


def _place(first: str, interface: str) -> tuple[str, str | None]:
    """Return the path for an interface, and what stands there.

    Raises:
        ConfigError: it is not of this program.
        OSError: it cannot be read.
    """
    own = unit_path(first, interface)
    there = _read(first)
    if os.path.lexists(own) or (there and interface_of(there) not in ("", interface)):
        first, there = own, _read(own)
    if there is not None and MARK not in there:
        raise ConfigError(f"{first} is not of {PROGRAM} install; --print shows the unit")
    return first, there


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def unit(given: Choices, environ: Mapping[str, str], interface: str) -> str:
    """Return the unit of systemd that runs the node with the options given.

    It has the options of the environment, too: the service starts without that.
    """
    whole = {**read_environment(environ), **given}
    return systemd_unit(
        (*_own_program(), *command_words(whole)),
        os.path.abspath(_network_path(given, environ)),
        interface,
        state=os.path.abspath(whole["state"].texts[0]) if "state" in whole else None,
        logs="log_file" in whole,
    )


def _network_path(given: Choices, environ: Mapping[str, str]) -> str:
    return gather(given, environ, lambda _: None)[1]


def command_words(given: Choices) -> list[str]:
    """Return the options as the command line gives them, paths absolute."""
    found = []
    for choice in CHOICES:
        if choice.name not in given:
            continue
        flag, texts = choice.flags[0], given[choice.name].texts
        match choice.shape:
            case Shape.SWITCH:
                found.append(flag)
            case Shape.COUNT:
                found.append("-" + flag.lstrip("-") * int(texts[0]))
            case Shape.ONE if choice.name in _PATHS:
                found += [flag, os.path.abspath(texts[0])]
            case Shape.ONE | Shape.MANY | Shape.PAIRS:
                found += [word for text in texts for word in (flag, text)]
    return found


def _own_program() -> list[str]:
    own = os.path.abspath(sys.argv[0])
    if os.path.basename(own) in (PROGRAM, "netmgr") and os.access(own, os.X_OK):
        return [own]
    installed = shutil.which(PROGRAM)
    return [sys.executable, "-m", "netmgr"] if installed is None else [installed]


def _hidden(given: Choices, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield one line at most: what the service may not find where it is now."""
    whole = {**read_environment(environ), **given}
    program = _own_program()[0]
    paths = [program, os.path.realpath(program), _network_path(given, environ)]
    paths += [whole[name].texts[0] for name in _PATHS if name in whole]
    if found := _below(_TEMPORARY, paths):
        yield f"{found}: the service has a /tmp of its own and will not find it there"
    elif found := _below(_HOMES, paths[:2]):
        yield (
            f"{found}: a program in a home is missing where that is not there at boot; "
            "the service cannot write there"
        )


def _below(folders: Sequence[str], paths: Sequence[str]) -> str:
    """Return the first path that is in one of the folders; empty if none is."""
    absolute, within = map(os.path.abspath, paths), tuple(f"{each}/" for each in folders)
    return next((each for each in absolute if each.startswith(within)), "")
