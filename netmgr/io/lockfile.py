"""A file that one process at a time holds, and that tells which."""

import fcntl
import os
from contextlib import suppress

from wgpy.errors import ConfigError


def lock(path: str) -> int:
    """Return a descriptor that holds the lock which the path stands for at this moment.

    Raises:
        ConfigError: another process holds it; names its pid.
        OSError: it cannot be opened.
    """
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have unlinked it between open and lock.
            if os.fstat(held).st_nlink:
                with suppress(OSError):  # a full disk: the lock holds all the same
                    os.ftruncate(held, 0)
                    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
                return held
        except BlockingIOError:
            pid = os.pread(held, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(held)
            folder = os.path.dirname(path)
            raise ConfigError(f"{folder} is in use by the node with pid {pid}") from None
        except BaseException:
            os.close(held)
            raise
        os.close(held)
