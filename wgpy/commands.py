"""The commands of `wgpy`: arguments to calls. What a command needs is imported when it runs."""

import argparse
import math
import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wgpy.cli_quick import add_arguments, add_command
from wgpy.command_names import COMMANDS, similar_command
from wgpy.errors import UsageError
from wgpy.io.process import forbid_core_dumps

if TYPE_CHECKING:
    from wgpy.cli_quick import SubParsers

USAGE = 2
EXAMPLES = """\
examples:
  wgpy wg0                      create wg0 and serve it; configure it with wg or wg-quick
  wgpy up wg0                   bring up /etc/wireguard/wg0.conf without wg, wg-quick or ip
  wgpy up --dry-run ./wg0.conf  show what that would change
  wgpy show --json              what every interface does at this moment
  wgpy genkey | tee private.key | wgpy pubkey
  wgpy demo                     two nodes on this machine, a handshake, pings, a transfer

WG_QUICK_USERSPACE_IMPLEMENTATION=wgpy wg-quick up wg0 works too.
environment: LOG_LEVEL=verbose|debug|info|warning|error|silent, WGPY_LOG_FORMAT=text|json,
WGPY_MTU, WGPY_OFF, WG_TUN_FD, WG_UAPI_FD, WG_PROCESS_FOREGROUND=1,
WGPY_FORWARD=1: packets of one peer for another are sent on in process, see wgpy up --forward
log: in the background to syslog, with LOG_LEVEL to stderr; SIGUSR1 switches debug lines"""


def run(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code: 0, 1 for a failure, 2 for wrong use.

    Raises:
        UsageError: there is no such command.
    """
    _refuse_unknown(arguments)
    parser, commands = _parsers()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        commands.choices.get(options.command, parser).error(f"too much: {' '.join(rest)}")
    if options.version:
        return _version(options)
    if options.command is None:
        parser.print_usage(sys.stderr)
        print("wgpy: name an interface or a command; wgpy --help has examples", file=sys.stderr)
        return USAGE
    if options.command == "help":
        # print_help() would keep to itself that nothing could be written.
        sys.stdout.write(commands.choices.get(options.topic, parser).format_help())
        return 0
    forbid_core_dumps()  # most hold keys, of a file or of a device that they ask
    handler: Callable[[argparse.Namespace], int] = options.handler
    return handler(options)


def _refuse_unknown(arguments: Sequence[str]) -> None:
    word = next((each for each in arguments if not each.startswith("-")), None)
    if word is None or word in COMMANDS:
        return
    option = arguments[0]
    if option.startswith("-"):
        raise UsageError(f"{option} is no option of wgpy {word}; wgpy help lists the commands")
    meant = similar_command(word)
    hint = f"did you mean {meant}?" if meant else "wgpy help lists them"
    raise UsageError(f"{word} is no command; {hint}")


def _parsers() -> "tuple[argparse.ArgumentParser, SubParsers]":
    parser = argparse.ArgumentParser(
        prog="wgpy",
        usage="wgpy [-f] [--] IFNAME | wgpy COMMAND ... | wgpy --version",
        description="A userspace WireGuard node: serve an interface, or one of the commands.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="with IFNAME: stay in the foreground"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog="wgpy")
    add_arguments(commands)
    for name, what, handler, examples in _SMALL:
        add_command(commands, name, handler, what, examples)
    what = "two nodes on this machine: handshake, pings, a measured transfer; needs root"
    demo = add_command(commands, "demo", _demo, what, ("demo", "demo --seconds 10"))
    demo.add_argument(
        "--seconds", type=_seconds, default=3.0, help="how long each transfer takes (default 3)"
    )
    about = add_command(commands, "help", _version, "show this", ("help", "help up"))
    about.add_argument(
        "topic", metavar="COMMAND", nargs="?", choices=COMMANDS, help="one command; else all"
    )
    return parser, commands


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (0 < seconds < math.inf):
        raise argparse.ArgumentTypeError(f"{text}: more than 0 seconds")
    return seconds


def _version(_: argparse.Namespace) -> int:
    from importlib import metadata

    print(f"wgpy {metadata.version('wgpy')}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from wgpy.demo import run as run_demo

    return run_demo(options.seconds)


def _genkey(_: argparse.Namespace) -> int:
    from wgpy.api import generate_key

    _warn_if_readable("private key")
    print(generate_key().to_base64())
    return 0


def _genpsk(_: argparse.Namespace) -> int:
    from wgpy.io import clock
    from wgpy.model import KEY_SIZE, Secret

    _warn_if_readable("preshared key")
    print(Secret(clock.entropy(KEY_SIZE)).to_base64())
    return 0


def _pubkey(_: argparse.Namespace) -> int:
    from wgpy.api import public_key

    print(public_key(sys.stdin.readline().strip()))
    return 0


def _warn_if_readable(what: str) -> None:
    """Say so if the output is a file that others may read, as wg does."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        print(f"wgpy: warning: others may read the {what}; set umask 077", file=sys.stderr)


_SMALL = (
    (
        "genkey",
        "print a new private key",
        _genkey,
        ("genkey > private.key", "genkey | tee private.key | wgpy pubkey"),
    ),
    (
        "pubkey",
        "read a private key, print its public key",
        _pubkey,
        ("pubkey < private.key", "genkey | wgpy pubkey"),
    ),
    (
        "genpsk",
        "print a new preshared key",
        _genpsk,
        ("genpsk > preshared.key", "genpsk | wg set wg0 peer KEY preshared-key /dev/stdin"),
    ),
    ("version", "print the version", _version, ("version", "--version")),
)
