"""The program's entry: tell `wgpy IFNAME` from the commands, and faults from results.

Nothing heavy is imported here: the launching process of `wgpy IFNAME` needs none of it.
"""

import sys
from collections.abc import Sequence

from wgpy.errors import ConfigError

FAILED = 1
COMMANDS = ("up", "down", "reload", "show", "genkey", "pubkey", "genpsk", "demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 for a failure, 2 for wrong use."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if is_launch(given):
            return _launch(given)
        from wgpy.commands import run

        return run(given)
    except ConfigError as error:
        print(f"wgpy: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        return FAILED
    except KeyboardInterrupt:
        print("wgpy: interrupted", file=sys.stderr)
        return FAILED


def is_launch(arguments: Sequence[str]) -> bool:
    """Tell whether the arguments are those of wireguard-go: `[-f|--foreground] IFNAME`."""
    words = [word for word in arguments if word not in ("-f", "--foreground")]
    return len(words) == 1 and not words[0].startswith("-") and words[0] not in COMMANDS


def _launch(arguments: Sequence[str]) -> int:
    from wgpy.launch import launch

    words = [word for word in arguments if word not in ("-f", "--foreground")]
    return launch(words[0], foreground=len(words) < len(arguments))
