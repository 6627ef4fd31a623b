"""The program's entry: faults become one line and an exit code."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from netmgr.commands import run
from wgpy.errors import ConfigError, ToldError, UsageError

FAILED: Final = 1
USAGE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node or a command; return the exit code: 0, 1 for a failure, 2 for wrong use."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = run(given, os.environ)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ToldError:
        return FAILED
    except ConfigError as error:
        _say(str(error))
        return USAGE if isinstance(error, UsageError) else FAILED
    except BrokenPipeError:
        _abandon_output()
        return FAILED
    except OSError as error:
        _abandon_output()
        _say(error.strerror or str(error))
        return FAILED
    except KeyboardInterrupt:
        _say("interrupted")
        return FAILED
    return code


def _say(why: str) -> None:
    print(f"wg_netmanager: {' '.join(why.splitlines())}", file=sys.stderr)


def _abandon_output() -> None:
    """Give up what cannot be written: the interpreter tries once more as it ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
