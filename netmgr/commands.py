"""The command line of `wg_netmanager`: arguments to calls.

The first word that is neither an option nor the value of one is a command; without one the node
runs. What a command takes may stand on both sides of its name.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Final, NamedTuple

from netmgr import commandline, offline, online
from netmgr.commandline import Parser, add_choice, add_node, given_by, new_parser, parse, split
from netmgr.model import Settings
from netmgr.options import NETWORK_FILE, files, load
from netmgr.wire import words
from netmgr.wire.choices import Given, checked, choice
from wgpy.errors import ConfigError, UsageError
from wgpy.io.process import forbid_core_dumps

PROGRAM: Final = "wg_netmanager"
_LIKENESS: Final = 0.6
_POSITIONAL: Final = ("interface", "address", "name")
_EPILOG: Final = """\
commands (wg_netmanager COMMAND --help):
  demo doctor identity purge         see it work; why not; move it; undo it all
  init genkey check install          a new network; its files; start at boot
  status peers routes fingerprints   what a running node sees; --json, --watch
  reload pin forget accept           tell a running node
examples:
  wg_netmanager init --peer vps.example.org:50001=10.1.1.1
  wg_netmanager -i wg0 -a 10.1.1.2 -n laptop
  wg_netmanager -c network.yaml wg0 10.1.1.2 laptop
  wg_netmanager -i wg0 -a 10.1.1.3 -n office --route 192.168.7.0/24 install
Each option may stand in peer.yaml or in a variable NETMGR_...; nearer wins."""


class Command(NamedTuple):
    """A command: what it is for, what it takes, what it does."""

    name: str
    what: str
    examples: tuple[str, ...]
    add: Callable[[argparse.ArgumentParser], None]
    handler: Callable[[argparse.Namespace, Mapping[str, str]], int]


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the node or a command; return the exit code.

    Raises:
        UsageError: no such command or option.
        ConfigError: it failed, in one line.
    """
    before, word, after = split(list(arguments))
    if word == "help":
        before, word, after = [], after[0] if after else None, ["--help"]
    forbid_core_dumps()  # most hold the key of the network
    command = next((each for each in COMMANDS if each.name == word), None)
    if command is not None:
        parser = _parser(command)
        options = parse(parser, [*before, *after])
        return 0 if options is None else command.handler(options, environ)
    if word is not None:
        after = [word, *after]
    return _run_node([*before, *after], environ)


def _parser(command: Command | None) -> Parser:
    if command is None:
        parser = new_parser(PROGRAM, "A mesh of WireGuard nodes without a server.", _EPILOG)
        parser.usage = f"{PROGRAM} [OPTION ...] [INTERFACE ADDRESS NAME | COMMAND ...]"
        add_node(parser)
        commandline.add_start(parser)
        parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
        return parser
    lines = ("examples:", *(f"  {PROGRAM} {each}" for each in command.examples))
    parser = new_parser(f"{PROGRAM} {command.name}", command.what, "\n".join(lines))
    command.add(parser)
    return parser


# --- the node ---


def _run_node(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    options = parse(_parser(None), arguments)
    if options is None:
        return 0
    if options.version:
        return _print_version()
    given = commandline.merged(given_by(options), _positional(options.words))
    if options.tui:
        raise UsageError("-t: there is no text interface yet; wg_netmanager status --watch")
    settings = load(given, environ, _warn)
    if options.show:
        return offline.show_configuration(settings)
    reread = partial(load, given, environ, _warn)
    return start_node(settings, dry_run=options.dry_run, reload=reread)


def _positional(texts: Sequence[str]) -> dict[str, Given]:
    """Return `INTERFACE ADDRESS NAME` as options."""
    if not texts:
        return {}
    if len(texts) != len(_POSITIONAL):
        names = [each.name for each in COMMANDS]
        near = get_close_matches(texts[0].lower(), names, 1, _LIKENESS)
        hint = f"did you mean {near[0]}?" if near else "or give INTERFACE ADDRESS NAME"
        raise UsageError(f"{texts[0]!r} is no command; {hint}")
    return {
        name: checked(choice(name), (text,), name.upper())
        for name, text in zip(_POSITIONAL, texts, strict=True)
    }


def start_node(
    settings: Settings, *, dry_run: bool, reload: Callable[[], Settings] | None = None
) -> int:
    """Run the node until it is stopped; return the exit code. `reload` reads its files anew.

    Raises:
        ConfigError: there is nothing to run it with, or it cannot run.
    """
    from netmgr.daemon import run as run_node  # what only asks a node needs none of it

    return run_node(settings, dry_run=dry_run, reload=reload)


def _warn(line: str) -> None:
    print(f"{PROGRAM}: warning: {line}", file=sys.stderr)


def _print_version() -> int:
    from importlib import metadata

    print(f"{PROGRAM} {metadata.version('wgpy')}")
    return 0


# --- commands ---


def _help_only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-h", "--help", action="store_true", help="show this")


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help=f"default {NETWORK_FILE}")
    add_choice(parser, choice("network_config"))
    parser.add_argument("--subnet", metavar="PREFIX", help="default: one of 10.0.0.0/8, drawn")
    parser.add_argument(
        "--peer",
        metavar="HOST[:PORT][=WGIP]",
        action="append",
        default=[],
        help="a node with a fixed place; repeatable",
    )
    parser.add_argument("--key-file", metavar="FILE", help="write the key there, not into FILE")
    _help_only(parser)


def _init(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    path = options.file or files(given_by(options), environ).network
    try:
        subnet = words.parse_subnet(options.subnet) if options.subnet else offline.new_subnet()
    except ConfigError as error:
        raise UsageError(f"--subnet: {error}") from None
    for line in offline.init(path, subnet, options.peer, options.key_file):
        print(line)
    return 0


def _genkey(_options: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    if offline.output_readable():
        _warn("others may read the key; set umask 077")
    print(offline.new_key().to_base64())
    return 0


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="FILE", help="default: those of the node")
    add_choice(parser, choice("network_config"))
    add_choice(parser, choice("peer_config"))
    _help_only(parser)


def _check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    return offline.check(options.paths, given_by(options), environ, print)


def _add_install(parser: argparse.ArgumentParser) -> None:
    flags, what = ("--print", "-O", "--dry-run"), "print the unit, write nothing"
    parser.add_argument(*flags, action="store_true", dest="only_print", help=what)
    add_node(parser)


def _install(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from netmgr import installing

    if options.only_print:
        installing.show_unit(given_by(options), environ, _warn)
        return 0
    print(*installing.install(given_by(options), environ, _warn), sep="\n")
    return 0


def _add_interface(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *choice("interface").flags,
        dest="interface",
        metavar="NAME",
        help="which node; may be left out if one runs",
    )
    _help_only(parser)


def _add_view(parser: argparse.ArgumentParser) -> None:
    _add_interface(parser)
    parser.add_argument("--json", action="store_true", help="for programs; stable")
    parser.add_argument("--watch", action="store_true", help="again every two seconds")


def _view(name: str) -> Callable[[argparse.Namespace, Mapping[str, str]], int]:
    def show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
        asked = online.asked(options.interface, environ)
        return online.view(name, asked, as_json=options.json, watch=options.watch)

    return show


def _add_named(parser: argparse.ArgumentParser) -> None:
    _add_interface(parser)
    parser.add_argument("name", metavar="NAME", help="of the other node")


def _add_pinned(parser: argparse.ArgumentParser) -> None:
    _add_named(parser)
    parser.add_argument("fingerprint", metavar="FINGERPRINT", help="as that node shows it")


def _tell(verb: str) -> Callable[[argparse.Namespace, Mapping[str, str]], int]:
    def ask(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
        parsers = {"name": words.parse_name, "fingerprint": words.parse_fingerprint}
        given = ((each, getattr(options, each, None)) for each in parsers)
        arguments = {each: parsers[each](text) for each, text in given if text is not None}
        return online.tell(verb, online.asked(options.interface, environ), arguments)

    return ask


def _demo(_options: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    from netmgr import demo

    return demo.run()


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs; stable")
    add_node(parser)


def _doctor(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from netmgr import doctor

    return doctor.run(given_by(options), environ, as_json=options.json)


def _add_kept(parser: argparse.ArgumentParser) -> None:
    for name in ("network_config", "peer_config", "interface", "address", "state"):
        add_choice(parser, choice(name))
    _help_only(parser)


def _add_purge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--all", action="store_true", help="all identities of the network")
    parser.add_argument("--keep-identity", action="store_true", help="only leftovers of a kill")
    _add_kept(parser)


def _purge(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from netmgr import keeping

    if options.keep_identity:
        return keeping.purge_leftovers(given_by(options))
    return keeping.purge(given_by(options), environ, _warn, yes=options.yes, every=options.all)


def _add_identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="export|import", choices=("export", "import"))
    parser.add_argument("file", metavar="FILE", help="a secret: mode 0600")
    _add_kept(parser)


def _identity(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from netmgr import keeping

    act = keeping.export_identity if options.what == "export" else keeping.import_identity
    act(options.file, given_by(options), environ, _warn)
    return 0


_PRINT: Final = "7f3a-19c2-5b0e-d481-66aa-0c9d-e2f7-3b58"
_VIEWS: Final = (
    ("status", "Show a node and its peers.", "status --watch"),
    ("peers", "Show the other nodes.", "peers --json"),
    ("routes", "Show the routes.", "routes -i wg0"),
    (
        "fingerprints",
        "Show the fingerprint of each node, and why it is believed.",
        "fingerprints --json",
    ),
)
COMMANDS: Final = (
    Command(
        "init",
        "Write a network.yaml with a fresh key.",
        ("init", "init --subnet 10.1.1.0/24 --peer vps.example.org:50001=10.1.1.1"),
        _add_init,
        _init,
    ),
    Command("genkey", "Print a fresh key.", ("genkey", "genkey > key"), _help_only, _genkey),
    Command(
        "check",
        "Say everything that is wrong with the files.",
        ("check", "check network.yaml peer.yaml"),
        _add_check,
        _check,
    ),
    Command(
        "install",
        "Write a service of systemd that starts this node, with these options.",
        ("install -i wg0 -a 10.1.1.2 -n laptop", "install --print"),
        _add_install,
        _install,
    ),
    *(
        Command(name, what, (name, example), _add_view, _view(name))
        for name, what, example in _VIEWS
    ),
    Command(
        "reload",
        "Read the files again.",
        ("reload", "reload -i wg0"),
        _add_interface,
        _tell("reload"),
    ),
    Command(
        "pin",
        "Believe a name only with this fingerprint.",
        (f"pin alice {_PRINT}", f"pin -i wg0 alice {_PRINT}"),
        _add_pinned,
        _tell("pin"),
    ),
    Command(
        "forget",
        "Forget a node, until it is met again.",
        ("forget alice", "forget -i wg0 alice"),
        _add_named,
        _tell("forget"),
    ),
    Command(
        "accept",
        "Let a reinstalled node take its old name and address.",
        (f"accept alice {_PRINT}", f"accept -i wg0 alice {_PRINT}"),
        _add_pinned,
        _tell("accept"),
    ),
    Command(
        "demo",
        "Show three machines make a mesh, lose a link and heal, as namespaces of this one.",
        ("demo", "demo > report.txt"),
        _help_only,
        _demo,
    ),
    Command(
        "doctor",
        "Say why the network is not well, and what to do.",
        ("doctor", "doctor -i wg0 --json"),
        _add_doctor,
        _doctor,
    ),
    Command(
        "identity",
        "Take the identity of a node to another machine.",
        ("identity export laptop.key", "identity import laptop.key -a 10.1.1.2"),
        _add_identity,
        _identity,
    ),
    Command(
        "purge",
        "Remove all that the node of this network has written here.",
        ("purge --keep-identity", "purge -i wg0 -a 10.1.1.2 --yes"),
        _add_purge,
        _purge,
    ),
)
