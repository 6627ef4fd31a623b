"""The program's entry: tell `wgpy IFNAME` from the commands, and faults from results.

Nothing heavy is imported here: the launching process of `wgpy IFNAME` needs none of it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from wgpy.command_names import COMMANDS, similar_command
from wgpy.errors import ConfigError, UsageError

FAILED = 1
USAGE = 2
# Where it is set, a name comes from wg-quick and is never a mistyped command.
_WG_QUICK_VARIABLE: Final = "WG_QUICK_USERSPACE_IMPLEMENTATION"


class Launch(NamedTuple):
    """The arguments of wireguard-go; `forced` if `--` says that the name is meant."""

    name: str
    foreground: bool
    forced: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 for a failure, 2 for wrong use."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UsageError as error:
        print(f"wgpy: {error}", file=sys.stderr)
        return USAGE
    except ConfigError as error:
        print(f"wgpy: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        _abandon_output()
        return FAILED
    except OSError as error:
        _abandon_output()
        print(f"wgpy: {error.strerror or error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("wgpy: interrupted", file=sys.stderr)
        return FAILED
    return code


def read_launch(arguments: Sequence[str]) -> Launch | None:
    """Return what to start if the arguments are wireguard-go's: `[-f] [--] IFNAME`."""
    before, after = list(arguments), []
    if "--" in before:
        cut = before.index("--")
        before, after = before[:cut], before[cut + 1 :]
    names = [word for word in before if word not in ("-f", "--foreground")]
    foreground = len(names) < len(before)
    match (*names, *after):
        case [name] if after:
            return Launch(name, foreground, forced=True)
        case [name] if not name.startswith("-") and name not in COMMANDS:
            return Launch(name, foreground)
    return None


def refuse_mistyped(launch: Launch, environ: Mapping[str, str] = os.environ) -> None:
    """Raise UsageError for a name like that of a command, unless something says it is meant."""
    if launch.forced or _WG_QUICK_VARIABLE in environ or "WG_TUN_FD" in environ:
        return
    meant = similar_command(launch.name)
    if meant is not None:
        raise UsageError(
            f"{launch.name} is no command; did you mean {meant}? "
            f"(wgpy -- {launch.name} makes an interface of that name)"
        )


def _run(arguments: Sequence[str]) -> int:
    launch = read_launch(arguments)
    if launch is None:
        from wgpy.commands import run

        return run(arguments)
    refuse_mistyped(launch)
    from wgpy import launch as launcher

    return launcher.launch(launch.name, foreground=launch.foreground)


def _abandon_output() -> None:
    """Give up what cannot be written: the interpreter tries once more as it ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
