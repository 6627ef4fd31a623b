"""Notice that a file was removed: whoever unlinks the UAPI socket asks the node to end."""

import os
import struct
from pathlib import Path
from typing import Final

from wgpy.errors import ConfigError
from wgpy.io import libc

# <linux/inotify.h>
IN_ATTRIB: Final = 0x004
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
# struct inotify_event of a watched file, without a name: watch, mask, cookie, length.
_EVENT: Final = struct.Struct("=iIII")
_READ_SIZE: Final = 64 * _EVENT.size


class FileWatch:
    """Watches one existing path until it is unlinked, renamed, or another file has its name.

    An open file that is unlinked is not deleted yet, only its link count changes; so every
    event is answered by a look at the path.
    """

    def __init__(self, path: str | Path) -> None:
        """Begin to watch.

        Raises:
            ConfigError: no such file, or the user has no inotify instance left.
        """
        self._path = Path(path)
        self._fd = -1
        self._gone = False
        try:
            self._identity = _identity(self._path)
            self._fd = libc.call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
            mask = IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF
            libc.call("inotify_add_watch", self._fd, os.fsencode(self._path), mask)
        except OSError as error:
            self.close()
            raise ConfigError(f"{self._path} cannot be watched: {error.strerror}") from None

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._fd

    def gone(self) -> bool:
        """Take what happened and return whether the file is no longer at its path."""
        try:
            os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return self._gone
        if not self._gone:
            try:
                self._gone = _identity(self._path) != self._identity
            except OSError:
                self._gone = True
        return self._gone

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat(follow_symlinks=False)
    return found.st_dev, found.st_ino
