"""The commands of `wgpy`: arguments to calls. What a command needs is imported when it runs."""

import argparse
import os
import stat
import sys
from collections.abc import Callable, Sequence

from wgpy.cli_quick import add_arguments

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
environment: LOG_LEVEL=verbose|debug|info|error|silent, WGPY_LOG_FORMAT=text|json,
WG_TUN_FD, WG_UAPI_FD, WG_PROCESS_FOREGROUND=1
log: in the background to syslog, with LOG_LEVEL to stderr; SIGUSR1 switches debug lines"""


def run(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code: 0, 1 for a failure, 2 for wrong use."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.version:
        from importlib import metadata

        print(f"wgpy {metadata.version('wgpy')}")
        return 0
    if options.command is None:
        parser.print_usage(sys.stderr)
        print("wgpy: name an interface or a command; wgpy --help has examples", file=sys.stderr)
        return USAGE
    handler: Callable[[argparse.Namespace], int] = options.handler
    return handler(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wgpy",
        usage="wgpy [-f] IFNAME | wgpy COMMAND ... | wgpy --version",
        description="A userspace WireGuard node: serve an interface, or one of the commands.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="with IFNAME: stay in the foreground"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog="wgpy")
    for name, text, handler in (
        ("genkey", "print a new private key", _genkey),
        ("pubkey", "read a private key, print its public key", _pubkey),
        ("genpsk", "print a new preshared key", _genpsk),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(handler=handler)
    add_arguments(commands)
    text = "two nodes on this machine: handshake, pings, a measured transfer; needs root"
    demo = commands.add_parser("demo", help=text, description=text)
    demo.add_argument(
        "--seconds", type=float, default=3.0, help="how long each transfer takes (default 3)"
    )
    demo.set_defaults(handler=_demo)
    return parser


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
