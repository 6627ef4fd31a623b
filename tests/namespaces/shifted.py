"""The manager with a wrong clock: `python -m tests.namespaces.shifted SECONDS[:FOR] WORDS...`.

Namespaces of time do not shift the time of day; here what the program asks for it is, with FOR
until it is set right after so many seconds.
"""

import sys
import time

from netmgr import cli

if __name__ == "__main__":
    shift, _, seconds = sys.argv.pop(1).partition(":")
    right = time.time  # noqa: TID251 - shifted
    end = right() + float(seconds or "inf")
    time.time = lambda: right() + (float(shift) if right() < end else 0)  # noqa: TID251 - shifted
    sys.exit(cli.main())
