"""Files that this user alone can have written: compiled code between two starts.

They lie in $XDG_CACHE_HOME/wgpy, for root in /var/cache/wgpy, otherwise in ~/.cache/wgpy. A
folder of another owner, or one that others may write to, is as good as none; so is such a file.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_SIZE_LIMIT: Final = 1 << 20
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def folder() -> Path:
    """Return where cached files belong; it may not exist, or not be fit for use."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if base.startswith("/"):
        return Path(base) / "wgpy"
    if os.geteuid() == 0:
        return Path("/var/cache/wgpy")
    return Path(os.path.expanduser("~")) / ".cache" / "wgpy"


def read(name: str) -> bytes | None:
    """Return a file that this user wrote, None if there is none."""
    try:
        with _opened() as place, open(os.open(name, _READ_FLAGS, dir_fd=place), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size > _SIZE_LIMIT:
                return None
            return file.read() if _is_ours(found, 0o077) else None
    except OSError:
        return None


def write(name: str, content: bytes) -> bool:
    """Put a file in place at once or not at all; return whether it is there."""
    spare = f".{name}.{os.getpid()}"
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened() as place:
            with suppress(FileNotFoundError):
                os.unlink(spare, dir_fd=place)
            try:
                with open(os.open(spare, _WRITE_FLAGS, 0o600, dir_fd=place), "wb") as file:
                    file.write(content)
                os.rename(spare, name, src_dir_fd=place, dst_dir_fd=place)
            except OSError:
                os.unlink(spare, dir_fd=place)
                raise
    except OSError:
        return False
    return True


@contextmanager
def _opened() -> Iterator[int]:
    """Yield a descriptor of the folder.

    Raises:
        OSError: it is missing or not this user's alone.
    """
    place = os.open(folder(), _FOLDER_FLAGS)
    try:
        if not _is_ours(os.fstat(place), 0o022):
            raise PermissionError(f"{folder()} belongs to others")
        yield place
    finally:
        os.close(place)


def _is_ours(found: os.stat_result, forbidden: int) -> bool:
    return found.st_uid == os.geteuid() and not found.st_mode & forbidden
