"""Options and words of the command line, from the table of options; faults are UsageErrors."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final, NoReturn

from netmgr.wire.choices import CHOICES, TRUE, Choice, Given, Shape, checked
from wgpy.errors import UsageError

_WIDTH: Final = 80
_COLUMN: Final = 34
_LIKENESS: Final = 0.6
_HELP: Final = ("-h", "--help")
_VERSION: Final = ("-V", "--version")


class Parser(argparse.ArgumentParser):
    """A parser whose faults are UsageErrors."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process."""
        raise UsageError(f"{message}; {self.prog} --help tells more")


class _Format(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_COLUMN, width=_WIDTH)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Show the name of a value once, not after each spelling of its option."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar}"


def split(arguments: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Return what stands before the first word, that word, and the rest."""
    at = 0
    while at < len(arguments):
        argument = arguments[at]
        if argument == "--" or argument == "-" or not argument.startswith("-"):
            return arguments[:at], argument, arguments[at + 1 :]
        at += 2 if _takes_next(argument) else 1
    return arguments, None, []


def _takes_next(argument: str) -> bool:
    """Tell whether the value of an option is the next argument."""
    valued = {flag for each in CHOICES if each.metavar for flag in each.flags}
    if argument.startswith("--"):
        return argument in valued
    for at, letter in enumerate(argument[1:], 2):
        if "-" + letter in valued:
            return at == len(argument)
    return False


def new_parser(name: str, what: str, epilog: str) -> Parser:
    """Return a parser without options; `epilog` is shown as it stands."""
    parser = Parser(
        prog=name,
        description=what,
        epilog=epilog,
        formatter_class=_Format,
        add_help=False,
        allow_abbrev=False,
    )
    parser._optionals.title = "options"  # noqa: SLF001 - has no other name
    return parser


def parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace | None:
    """Return the options; None once help is printed.

    Raises:
        UsageError: there is something else among them.
    """
    if any(each in _HELP for each in arguments):
        # print_help() would keep to itself that nothing could be written.
        sys.stdout.write(parser.format_help())
        return None
    options, rest = parser.parse_known_args(arguments)
    if rest:
        raise UsageError(_unknown(rest[0], parser))
    return options


def _unknown(argument: str, parser: Parser) -> str:
    if not argument.startswith("-"):
        return f"{argument!r} is too much; {parser.prog} --help tells what it takes"
    flag = argument.partition("=")[0]
    known = [each for row in CHOICES for each in row.flags if each.startswith("--")]
    near = get_close_matches(flag, known, 1, _LIKENESS)
    hint = f"did you mean {near[0]}?" if near else f"{parser.prog} --help lists them"
    return f"{flag} is no option of {parser.prog}; {hint}"


def add_node(parser: argparse.ArgumentParser) -> None:
    """Add the options of a node."""
    for row in CHOICES:
        add_choice(parser, row)
    parser.add_argument("-h", "--help", action="store_true", help="show this")


def add_start(parser: argparse.ArgumentParser) -> None:
    """Add what the start of a node takes, and no command."""
    parser.add_argument("-t", dest="tui", action="store_true", help="text interface: not yet")
    parser.add_argument(
        "-O", dest="show", action="store_true", help="print the configuration, secrets hidden"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show every change to the host, make none"
    )
    parser.add_argument(*_VERSION, action="store_true", help="print the version")


def add_choice(parser: argparse.ArgumentParser, row: Choice) -> None:
    """Add one option of the table."""
    # Help shows the ancestor's spelling; others of the same option are taken, too.
    match row.shape:
        case Shape.SWITCH:
            parser.add_argument(*row.flags, dest=row.name, action="store_true", help=row.what)
        case Shape.COUNT:
            parser.add_argument(*row.flags, dest=row.name, action="count", help=row.what)
        case Shape.MANY | Shape.PAIRS:
            parser.add_argument(
                *row.flags, dest=row.name, action="append", metavar=row.metavar, help=row.what
            )
        case Shape.ONE:
            shown, hidden = row.flags[:2], row.flags[2:]
            parser.add_argument(*shown, dest=row.name, metavar=row.metavar, help=row.what)
            for flag in hidden:
                parser.add_argument(flag, dest=row.name, help=argparse.SUPPRESS)


def given_by(options: argparse.Namespace) -> dict[str, Given]:
    """Return the options of a node that the command line gives.

    Raises:
        UsageError: an option is not what it can be.
    """
    found = {}
    for row in CHOICES:
        value = getattr(options, row.name, None)
        if value is None or value is False:
            continue
        match value:
            case True:
                texts: tuple[str, ...] = (TRUE,)
            case list():
                texts = tuple(value)
            case _:
                texts = (str(value),)
        found[row.name] = checked(row, texts, row.flags[0])
    return found


def merged(given: Mapping[str, Given], named: Mapping[str, Given]) -> dict[str, Given]:
    """Return options and what stood without an option's name together.

    Raises:
        UsageError: they do not agree.
    """
    for name in given.keys() & named.keys():
        option, word = given[name], named[name]
        if option.texts != word.texts:
            both = f"{word.origin} {word.texts[0]} and {option.origin} {option.texts[0]}"
            raise UsageError(f"{both}: give one of the two")
    return {**given, **named}
