"""Records of what `wgpy up` has changed: /run/wgpy/IF.json, whole at every moment.

A lock beside each record keeps two commands on one interface apart; the kernel drops it with
the process, however that ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from wgpy.errors import ConfigError
from wgpy.io.process import advice, write_whole
from wgpy.wire.steps import Record, format_record, parse_record

DIRECTORY: Final = "/run/wgpy"
_SUFFIX: Final = ".json"


class UndoFile:
    """The record of one interface on disk."""

    def __init__(self, name: str, directory: str = DIRECTORY) -> None:
        self.path = os.path.join(directory, name + _SUFFIX)

    def read(self) -> Record | None:
        """Return the record, None if there is none.

        Raises:
            ConfigError: it is damaged or cannot be read; the message names the file.
        """
        try:
            with open(self.path, "rb") as file:
                raw = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror}{advice()}") from None
        try:
            return parse_record(raw)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}; remove it to start afresh") from None

    def is_hidden(self) -> bool:
        """Return whether this user may not know if there is a record."""
        folder = os.path.dirname(self.path)
        return os.path.exists(folder) and not os.access(folder, os.X_OK)

    def write(self, record: Record) -> None:
        """Replace the record.

        Raises:
            OSError: as `write_whole`.
        """
        write_whole(self.path, format_record(record))

    def remove(self) -> None:
        """Remove the record, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def others(self) -> Iterator[tuple["UndoFile", Record]]:
        """Yield the other interfaces' records; damaged ones are passed over."""
        folder, own = os.path.split(self.path)
        for name in sorted(os.listdir(folder)):
            if name.endswith(_SUFFIX) and name != own and not name.startswith("."):
                other = UndoFile(name.removesuffix(_SUFFIX), folder)
                with suppress(ConfigError):
                    record = other.read()
                    if record is not None:
                        yield other, record


def recorded(directory: str = DIRECTORY) -> list[str]:
    """Return the names of the interfaces on record, sorted; none if they may not be known."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
    return sorted(name for name in found if not name.startswith("."))


@contextmanager
def locked(name: str, directory: str = DIRECTORY) -> Iterator[UndoFile]:
    """Hold the record of an interface for one command.

    Raises:
        ConfigError: another command holds it, or no permission.
    """
    path = os.path.join(directory, f"{name}.lock")
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        lock = _lock(path)
    except BlockingIOError:
        raise ConfigError(f"another wgpy command is changing {name}") from None
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}{advice()}") from None
    try:
        yield UndoFile(name, directory)
    finally:
        os.unlink(path)
        os.close(lock)


def _lock(path: str) -> int:
    """Return a descriptor that holds the lock which the path stands for at this moment."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have unlinked it between open and lock.
            if os.fstat(lock).st_nlink:
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
