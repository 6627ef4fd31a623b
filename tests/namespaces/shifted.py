"""The manager with a wrong clock: `python -m tests.namespaces.shifted SECONDS ARGUMENTS...`.

Namespaces of time do not shift the time of day; here what the program asks for it is.
"""

import sys
import time

from netmgr import cli

if __name__ == "__main__":
    shift, right = float(sys.argv.pop(1)), time.time  # noqa: TID251 - shifted
    time.time = lambda: right() + shift  # noqa: TID251 - shifted
    sys.exit(cli.main())
