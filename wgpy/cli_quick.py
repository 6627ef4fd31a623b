"""The sub-commands up, down, reload and show: arguments to calls, faults to exit codes.

Cheap to import: what a command needs is loaded when it runs.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from wgpy.errors import ConfigError, ToldError, UsageError

if TYPE_CHECKING:
    from wgpy.model import DeviceStatus
    from wgpy.upjob import Terms

    SubParsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - its only name

_FAILED = 1
_USAGE = 2
# Seconds; one device that hangs must not keep the others from being shown.
_ANSWER_WITHIN = 3.0
_TARGET_HELP = "a file NAME.conf, or NAME for /etc/wireguard/NAME.conf"


def add_arguments(subparsers: "SubParsers") -> None:
    """Add the four sub-commands; each sets `handler`, which returns the exit code."""
    what = "bring an interface up as its wg-quick file says"
    up = add_command(subparsers, "up", run_up, what, ("up wg0", "up --dry-run ./wg0.conf"))
    up.add_argument("target", metavar="FILE|NAME", help=_TARGET_HELP)
    _add_consent(up)
    up.add_argument(
        "--forward",
        action="store_true",
        help="send what a peer has for another on to that one, without the host's forwarding",
    )
    what = "undo what up did"
    down = add_command(subparsers, "down", run_down, what, ("down wg0", "down ./wg0.conf"))
    down.add_argument("target", metavar="FILE|NAME", help=_TARGET_HELP)
    what = "apply changes of the file; sessions stay"
    examples = ("reload wg0", "reload --dry-run ./wg0.conf")
    reload = add_command(subparsers, "reload", run_reload, what, examples)
    reload.add_argument(
        "target", metavar="FILE|NAME", help="the file, or NAME for the one it came up from"
    )
    _add_consent(reload)
    what = "show interfaces and their peers"
    show = add_command(subparsers, "show", run_show, what, ("show", "show wg0 --json"))
    show.add_argument("name", metavar="NAME", nargs="?", help="one interface; else all")
    show.add_argument("--json", action="store_true", help="for programs; stable")


def add_command(
    subparsers: "SubParsers",
    name: str,
    handler: Callable[[argparse.Namespace], int],
    what: str,
    examples: Sequence[str],
) -> argparse.ArgumentParser:
    """Add a command with its help; `examples` are lines without the `wgpy` before them."""
    parser = subparsers.add_parser(
        name,
        help=what,
        description=what,
        epilog="\n".join(("examples:", *(f"  wgpy {each}" for each in examples))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=handler)
    return parser


def _add_consent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="show every change to the host, make none"
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="go on even if it may cut this ssh session or change the name servers of the host",
    )


def run_up(arguments: argparse.Namespace) -> int:
    """Run `up`; return the exit code."""
    from wgpy import up

    return _change(arguments, up.up, up.preview_up)


def run_reload(arguments: argparse.Namespace) -> int:
    """Run `reload`; return the exit code."""
    from wgpy import up

    return _change(arguments, up.reload, up.preview_reload)


def run_down(arguments: argparse.Namespace) -> int:
    """Run `down`; return the exit code."""
    from wgpy import up
    from wgpy.upjob import Terms

    return _guarded(lambda: up.down(arguments.target, Terms(_say)))


def run_show(arguments: argparse.Namespace) -> int:
    """Run `show`; return the exit code."""
    return _guarded(lambda: _show(arguments.name, as_json=arguments.json))


def _change(
    arguments: argparse.Namespace,
    change: "Callable[[str, Terms], None]",
    preview: "Callable[[str, Terms], list[str]]",
) -> int:
    from wgpy.upjob import Terms

    confirm = (lambda _: True) if arguments.yes else _ask
    terms = Terms(_say, confirm, forward=getattr(arguments, "forward", False))

    def run() -> None:
        if arguments.dry_run:
            sys.stdout.writelines(line + "\n" for line in preview(arguments.target, terms))
        else:
            change(arguments.target, terms)

    return _guarded(run)


def _show(name: str | None, *, as_json: bool) -> None:
    from wgpy.wire import show

    devices = _every_device() if name is None else {name: _device(name)}
    if as_json:
        sys.stdout.write(show.format_json(devices))
    elif devices:
        sys.stdout.write(_shown(devices))
    elif sys.stdout.isatty():
        _say("nothing is up")


def _device(name: str) -> "DeviceStatus":
    from wgpy.io import undo_file

    try:
        return _status(name)
    except ConfigError:
        if name in undo_file.recorded() and not _answers(name):
            raise ConfigError(_left(name)) from None
        raise


def _every_device() -> "dict[str, DeviceStatus]":
    from wgpy.io import uapi_client, undo_file

    devices = {}
    for name in uapi_client.interfaces():
        try:
            devices[name] = _status(name)
        except ConfigError as error:  # hangs, or went away meanwhile
            _say(f"warning: {error}")
    for name in undo_file.recorded():
        if name not in devices and not _answers(name):
            _say(_left(name))
    return devices


def _answers(name: str) -> bool:
    from wgpy.io import uapi_client

    return uapi_client.is_alive(uapi_client.socket_path(name))


def _left(name: str) -> str:
    from wgpy.io.undo_file import UndoFile

    source = name
    with suppress(ConfigError):
        record = UndoFile(name).read()
        if record is not None and not record.config.startswith("/etc/wireguard/"):
            source = record.config
    return (
        f"{name}: its process is gone; wgpy up {source} starts it again, "
        f"wgpy down {name} undoes what it left"
    )


def _shown(devices: "dict[str, DeviceStatus]") -> str:
    from wgpy.io import clock
    from wgpy.io.settings_linux import is_down
    from wgpy.wire import show

    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    paint = show.paint_ansi if coloured else show.paint_plain
    wall = clock.now() + clock.wall_offset()
    blocks = (
        show.format_human(f"{name} (down)" if is_down(name) else name, device, wall, paint)
        for name, device in devices.items()
    )
    return "\n".join(blocks)


def _status(name: str) -> "DeviceStatus":
    """Return a device's state, with the public key that the UAPI leaves to whoever asks."""
    from wgpy.engine.crypto import public_key
    from wgpy.io.uapi_client import request
    from wgpy.wire.uapi_client import GET, parse_get

    device = parse_get(request(name, GET, timeout=_ANSWER_WITHIN))
    if device.private_key is None or device.public_key is not None:
        return device
    return replace(device, public_key=public_key(device.private_key))


def _guarded(command: Callable[[], None]) -> int:
    try:
        command()
    except ToldError:
        pass
    except UsageError as error:
        _say(str(error))
        return _USAGE
    except ConfigError as error:
        _say(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        _say(error.strerror or str(error))
    else:
        return 0
    return _FAILED


def _say(line: str) -> None:
    sys.stderr.write(f"wgpy: {line}\n")


def _ask(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"wgpy: {question}\nGo on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
