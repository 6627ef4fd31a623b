"""The state directory of one node: its identity, what it remembers, the lock.

    identity.key   the 32-byte seed in base64, 0600
    state.json     netmgr.wire.saved, replaced as a whole; what it holds may be lost
    pins.json      who owns which name, twice: netmgr.io.pins
    lock           held while the node runs; holds its pid

Where the disk is full or read-only the node runs on: one line says what that costs.

`save` and `reserve_seq` wait for the disk: at the start and the end. Between them the event
loop uses `save_soon` and `reserve_soon`, which a thread of the store carries out in order.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple, Self

from netmgr.io import pins
from netmgr.io.lockfile import lock
from netmgr.wire.saved import Saved, format_saved, parse_saved, salvage_seq
from wgpy.errors import ConfigError
from wgpy.io import clock
from wgpy.io.process import advice, write_whole
from wgpy.model import KEY_SIZE, Secret
from wgpy.wire.text import format_address, parse_key

ROOT: Final = "/var/lib/wg_netmanager"
IDENTITY_VARIABLE: Final = "NETMGR_IDENTITY"
SEQ_STEP: Final = 1000
IDENTITY: Final = "identity.key"
STATE: Final = "state.json"
CORRUPT: Final = "state.json.corrupt"
LOCK: Final = "lock"
_FILES: Final = (IDENTITY, STATE, CORRUPT, pins.PINS, pins.BACKUP, pins.CORRUPT)
_MODE: Final = 0o700
# A node goes on without its disk where that is full, read-only or failing.
_TOLERATED: Final = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO})
_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAX_KEY_FILE: Final = 1024
_DRAFT: Final = re.compile(r"\.(identity\.key|(state|pins)\.json(\.\w+)?)\.\d+\.new")


class _Identity(NamedTuple):
    """A seed, and whether it was made just now."""

    seed: Secret
    is_new: bool


def default_directory(net_id: bytes, address: bytes) -> str:
    """Return where a node of a network keeps its state unless told otherwise."""
    return os.path.join(ROOT, net_id.hex(), format_address(address))


class Store:
    """The state directory, locked from construction to `close`.

    `identity` is the seed of the node, `identity_is_new` whether nobody can know it yet,
    `saved` the state as it was found. Forking is to be done before.
    """

    def __init__(
        self,
        directory: str,
        say: Callable[[str], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Open the directory, making it if needed.

        `say` takes warnings, a line each, also from the store's thread.

        Raises:
            ConfigError: another node holds it, no permission, or a damaged identity.
        """
        self.directory = directory
        self._say = say
        self._writable = True
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Saved | None = None
        self._pins = pins.PinFiles(directory)
        self._lock: int | None = self._open()
        try:
            self.saved = self._load()
            self._written = self.saved
            self.identity, self.identity_is_new = self._identify(environ)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what is being written and release the lock."""
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def unmake(self) -> None:
        """Leave nothing of a node that never began: no identity that nobody has seen."""
        self.close()
        if self.identity_is_new and self.saved == Saved():
            with suppress(ConfigError):
                remove_state(self.directory)

    # --- what changes ---

    def reserve_seq(self, count: int = SEQ_STEP) -> int:
        """Return the first of `count` sequence numbers that nobody has used or will use.

        They are on disk as used before this returns, so a crash skips numbers and never
        repeats one.
        """
        return self.reserve_soon(count).result() if self._writer else self._reserve(count)

    def reserve_soon(self, count: int = SEQ_STEP) -> Future[int]:
        """Return what will hold the result of `reserve_seq`; the thread of the store waits."""
        return self._thread().submit(self._reserve, count)

    def save(self, saved: Saved) -> None:
        """Write pins, objects and places; the sequence number only ever rises."""
        self._pending = saved
        if self._writer is None:
            self._flush()
        else:
            self._writer.submit(self._flush).result()

    def save_soon(self, saved: Saved) -> None:
        """Have the thread of the store write; of several that wait the last one counts."""
        self._pending = saved
        self._thread().submit(self._flush)

    # --- opening ---

    def _open(self) -> int | None:
        try:
            os.makedirs(self.directory, mode=_MODE, exist_ok=True)
            return lock(self._path(LOCK))
        except OSError as error:
            self._do_without_disk(self.directory, error)
            return None

    def _load(self) -> Saved:
        raw = _read(self._path(STATE))
        kept = self._pins.read(self._say)
        if raw is None:
            return Saved(pins=kept or ())
        try:
            saved = parse_saved(raw)
            return saved if kept is None else replace(saved, pins=kept)
        except ConfigError as error:
            path = self._path(STATE)
            self._say(
                f"{path}: {error}; set aside as {CORRUPT}, starting without it;"
                f" pins that are left: {len(kept or ())}"
            )
            try:
                os.replace(path, self._path(CORRUPT))
            except OSError as fault:
                self._do_without_disk(path, fault)
            return Saved(salvage_seq(raw), kept or ())

    def _identify(self, environ: Mapping[str, str]) -> _Identity:
        given = environ.get(IDENTITY_VARIABLE, "")
        if given:
            return _Identity(given_identity(given), is_new=False)
        path = self._path(IDENTITY)
        found = read_identity(path, self._say)
        if found is not None:
            return _Identity(found, is_new=False)
        if self.saved.pins:
            self._say(
                f"{path} is missing: this node gets a new identity, and those that know the"
                " old one refuse it until a person accepts it"
            )
        seed = Secret(clock.entropy(KEY_SIZE))
        try:
            _write_identity(path, seed)
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}: with an identity that is not kept the others take"
                " each start for a stranger; --state names a place,"
                f" {IDENTITY_VARIABLE} holds one"
            ) from None
        return _Identity(seed, is_new=True)

    # --- writing, one at a time ---

    def _thread(self) -> ThreadPoolExecutor:
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="store")
        return self._writer

    def _reserve(self, count: int) -> int:
        first = self._written.seq + 1
        self._write(replace(self._written, seq=self._written.seq + count))
        return first

    def _flush(self) -> None:
        saved, self._pending = self._pending, None
        if saved is not None:
            self._write(replace(saved, seq=max(saved.seq, self._written.seq)))

    def _write(self, saved: Saved) -> None:
        self._written = saved
        path = self._path(STATE)
        try:
            self._pins.write(saved.pins)
            write_whole(path, format_saved(saved))
        except OSError as error:
            self._warn(path, error)
        else:
            self._writable = True

    def _do_without_disk(self, path: str, error: OSError) -> None:
        """Go on where the disk is the cause; raise what a person can mend before the start."""
        if self._writable and error.errno not in _TOLERATED:
            raise _refusal(path, error) from None
        self._warn(path, error)

    def _warn(self, path: str, error: OSError) -> None:
        """Say that nothing is kept, once until something is again."""
        if self._writable:
            self._say(f"{path}: {error.strerror}; what changes is lost when this node ends")
        self._writable = False

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)


# --- identities ---


def given_identity(text: str) -> Secret:
    """Return the identity that NETMGR_IDENTITY gives: 44 characters of base64, or a file.

    Raises:
        ConfigError: neither; the text is not repeated.
    """
    if os.path.exists(text):
        found = read_identity(text, lambda _: None)
        if found is not None:
            return found
    try:
        return Secret(parse_key(text))
    except ConfigError:
        raise ConfigError(
            f"{IDENTITY_VARIABLE} is neither 44 characters of base64 nor a file"
        ) from None


def read_identity(path: str, say: Callable[[str], None]) -> Secret | None:
    """Return the identity in a file, None if there is no such file.

    `say` is told if others than the owner may read it.

    Raises:
        ConfigError: it holds no identity, or cannot be read.
    """
    try:
        raw = _read(path, _MAX_KEY_FILE)
        mode = os.stat(path).st_mode if raw is not None else 0
    except OSError as error:
        raise _refusal(path, error) from None
    if raw is None:
        return None
    if mode & _OF_OTHERS:
        say(f"{path} is open to others than its owner: chmod 600 {path}")
    try:
        return Secret(parse_key(raw.decode("ascii", "replace").strip()))
    except ConfigError:
        raise ConfigError(
            f"{path} holds no identity; restore it, or remove it to be a new node"
        ) from None


def export_identity(identity: Secret, path: str) -> None:
    """Write an identity to a new file that only its owner may read.

    Raises:
        ConfigError: there is such a file, or it cannot be written.
    """
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists; choose another name")
    try:
        _write_identity(path, identity)
    except OSError as error:
        raise _refusal(path, error) from None


def import_identity(source: str, directory: str) -> None:
    """Give a state directory, in which no node runs, the identity in the file `source`.

    Raises:
        ConfigError: the file holds none, the directory has another, or a node runs there.
    """
    identity = read_identity(source, lambda _: None)
    if identity is None:
        raise ConfigError(f"{source}: no such file")
    path = os.path.join(directory, IDENTITY)
    try:
        os.makedirs(directory, mode=_MODE, exist_ok=True)
        held = lock(os.path.join(directory, LOCK))
    except OSError as error:
        raise _refusal(directory, error) from None
    try:
        found = read_identity(path, lambda _: None)
        if found is None:
            _write_identity(path, identity)
        elif found != identity:
            raise ConfigError(f"{path} is another identity; move it away first")
    except OSError as error:
        raise _refusal(path, error) from None
    finally:
        os.close(held)


def refuse_running(directory: str) -> None:
    """Make sure that no node runs in a state directory at this moment.

    Raises:
        ConfigError: one does; names its pid.
    """
    path = os.path.join(directory, LOCK)
    with suppress(OSError):
        if os.path.exists(path):
            os.close(lock(path))


def remove_state(directory: str) -> list[str]:
    """Remove what a node that does not run has kept; return the paths that are gone.

    Raises:
        ConfigError: the node runs, or something cannot be removed.
    """
    if not os.path.isdir(directory):
        return []
    removed = []
    try:
        held = lock(os.path.join(directory, LOCK))
        try:
            drafts = [one for one in os.listdir(directory) if _DRAFT.fullmatch(one)]
            for name in (*_FILES, *drafts, LOCK):
                path = os.path.join(directory, name)
                with suppress(FileNotFoundError):
                    os.unlink(path)
                    removed.append(path)
        finally:
            os.close(held)
    except OSError as error:
        raise _refusal(directory, error) from None
    _remove_empty(directory)
    return removed


def _remove_empty(directory: str) -> None:
    with suppress(OSError):  # not empty, or not there
        os.rmdir(directory)
        if os.path.dirname(os.path.dirname(directory)) == ROOT:
            os.rmdir(os.path.dirname(directory))


def _write_identity(path: str, identity: Secret) -> None:
    write_whole(path, identity.to_base64().encode() + b"\n")


def _read(path: str, most: int = -1) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except FileNotFoundError:
        return None


def _refusal(path: str, error: OSError) -> ConfigError:
    hint = advice() if error.errno in (errno.EACCES, errno.EPERM) else ""
    return ConfigError(f"{path}: {error.strerror or error}{hint}")
