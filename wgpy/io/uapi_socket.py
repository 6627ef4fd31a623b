"""Unix socket of the UAPI, the device's end: from the file to answered operations.

The file appears at its place when it already listens, and is removed while it still does, so
nobody takes a socket that is being made, or being closed, for a dead one: `wg` removes those.
A new process replaces the file of a killed one and never that of a running one. The file's
mode is 0600: whoever connects is the owner, hence no bound on the size of an operation.
"""

import asyncio
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EIO
from functools import partial
from typing import Final, TypeAlias, assert_never

from wgpy.errors import ConfigError
from wgpy.io import clock
from wgpy.io.inotify import FileWatch
from wgpy.io.process import advice
from wgpy.io.uapi_client import DIRECTORY, connect, socket_path
from wgpy.model import DeviceChange, DeviceStatus
from wgpy.wire.uapi import (
    BadRequest,
    GetRequest,
    Operation,
    Request,
    RequestReader,
    SetRequest,
    format_errno,
    format_get,
    parse_set,
)

# Beyond it the client that has been idle for longest is cut off: a new one always gets in.
MAX_CLIENTS: Final = 64
# Seconds to wait for a process that is about to end (`ip link del wg0; wgpy wg0`).
PATIENCE: Final = 1.0
# What has more lines is read and written by a thread; the loop goes on meanwhile.
MAX_LINES_IN_LOOP: Final = 1000

_BACKLOG: Final = 64
_CHUNK_SIZE: Final = 2**16
_ACCEPT_PAUSE: Final = 1.0
_DIRECTORY_MODE: Final = 0o755
_SOCKET_MODE: Final = 0o600
_LOCK_NAME: Final = ".wgpy.lock"

GetStatus: TypeAlias = Callable[[], DeviceStatus]
ApplyChange: TypeAlias = Callable[[DeviceChange], Awaitable[None] | None]


# --- the file --------------------------------------------------------------


class UapiListener:
    """A listening socket and its file; made by `bind` or `adopt`."""

    def __init__(self, listener: socket.socket, path: str) -> None:
        listener.settimeout(0)
        self.socket = listener
        self.path = path
        self._identity = _identity(path)

    @property
    def is_in_place(self) -> bool:
        """Whether the file is the one made here."""
        return self._identity is not None and self._identity == _identity(self.path)

    @property
    def is_removed(self) -> bool:
        """Whether there was a file, which is gone or now that of another process."""
        return self._identity is not None and not self.is_in_place

    def close(self) -> None:
        """Remove the file if it is still ours, then close; later calls do nothing."""
        if self.is_in_place:
            with suppress(OSError):
                os.unlink(self.path)
        # While the socket is open no other file can have its inode; from here on one can.
        self._identity = None
        self.socket.close()


def bind(
    ifname: str, directory: str = DIRECTORY, *, patience: float = PATIENCE
) -> UapiListener:
    """Make and return the socket of an interface.

    If a running process has it, waits up to `patience` seconds for that one to end.

    Raises:
        ConfigError: the interface is in use, or the socket cannot be made.
    """
    path = socket_path(ifname, directory)
    deadline = clock.now() + patience
    try:
        _make_directory(directory)
        while True:
            with _sole_starter(directory):
                listener = _bind_once(path)
            if listener is not None:
                return listener
            if not _ends_before(path, deadline):
                raise ConfigError(f"interface {ifname} is already in use: {path} answers")
    except PermissionError:
        raise ConfigError(
            f"{directory}: no permission to make {os.path.basename(path)} there{advice()}, or "
            "let this user own the folder (in a systemd unit RuntimeDirectory=wireguard)"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def adopt(fd: int, ifname: str, directory: str = DIRECTORY) -> UapiListener:
    """Return the listening socket inherited as a descriptor (WG_UAPI_FD); it becomes ours.

    Raises:
        ConfigError: the descriptor is no listening unix stream socket.
    """
    path = socket_path(ifname, directory)
    try:
        listener = socket.socket(fileno=fd)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        is_stream = listener.type is socket.SOCK_STREAM
        if listens and is_stream and listener.family is socket.AF_UNIX:
            os.set_inheritable(fd, False)  # noqa: FBT003 - takes no keyword
            return UapiListener(listener, path)
        listener.detach()
    except (OSError, ValueError):
        pass
    raise ConfigError(f"WG_UAPI_FD={fd} is no listening unix socket")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_directory(directory: str) -> None:
    with suppress(FileExistsError):
        os.makedirs(directory, _DIRECTORY_MODE)
        os.chmod(directory, _DIRECTORY_MODE)  # whatever the umask took away


@contextmanager
def _sole_starter(directory: str) -> Iterator[None]:
    # Between finding a dead socket and removing it, another start must not replace it.
    fd = os.open(
        os.path.join(directory, _LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _bind_once(path: str) -> UapiListener | None:
    """Make the socket; return None if a running process has it."""
    folder, name = os.path.split(path)
    draft = os.path.join(folder, f".{name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux takes the file's mode from the socket's: no umask to change for all threads.
        os.fchmod(listener.fileno(), _SOCKET_MODE)
        with suppress(FileNotFoundError):  # of a killed process that had our number
            os.unlink(draft)
        listener.bind(draft)
        try:
            listener.listen(_BACKLOG)
            if _link(draft, path):
                return UapiListener(listener, path)
        finally:
            os.unlink(draft)
    except BaseException:
        listener.close()
        raise
    listener.close()
    return None


def _link(draft: str, path: str) -> bool:
    """Give the socket its name unless a running process has it; unlike rename, link tells."""
    try:
        os.link(draft, path)
    except FileExistsError:
        running = connect(path)
        if running is not None:
            running.close()
            return False
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.link(draft, path)
    return True


def _ends_before(path: str, deadline: float) -> bool:
    """Wait for the process behind a socket to hang up; return whether it did in time."""
    running = connect(path)
    if running is None:
        return True
    with running:
        running.settimeout(max(deadline - clock.now(), 0.0))
        try:
            running.recv(1)
        except ConnectionResetError:
            pass
        except OSError:
            return False
    return clock.now() < deadline


# --- the operations --------------------------------------------------------


class UapiServer:
    """Answers the clients of one interface, side by side, operations of each in order.

    `get_status` returns the state, `apply_change` applies a change as one or raises ConfigError
    or OSError, whose errno is the answer. `note` is told in one line why a client was refused.
    """

    def __init__(
        self,
        listener: UapiListener,
        get_status: GetStatus,
        apply_change: ApplyChange,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._listener = listener
        self._get_status = get_status
        self._apply_change = apply_change
        self._note = note
        self._clients: dict[asyncio.Task[None], None] = {}  # the longest idle one first

    async def run(self) -> None:
        """Serve until cancelled, or until the file is removed, which asks the device to end.

        Cuts off all clients, removes the file if it is ours and closes the socket.
        """
        removed = asyncio.Event()
        watch = self._start_watching(removed)
        try:
            async with asyncio.TaskGroup() as tasks:
                accepting = tasks.create_task(self._accept(tasks))
                await removed.wait()
                accepting.cancel()
                for client in self._clients:
                    client.cancel()
        finally:
            if watch is not None:
                asyncio.get_running_loop().remove_reader(watch.fileno())
                watch.close()
            self._listener.close()

    def _start_watching(self, removed: asyncio.Event) -> FileWatch | None:
        def check() -> None:
            if (watch is not None and watch.gone()) or self._listener.is_removed:
                removed.set()

        watch = None
        try:
            watch = FileWatch(self._listener.path)
        except ConfigError as error:  # it serves, and only cannot be ended in this way
            self._note(f"UAPI: {error}")
            check()
            return None
        asyncio.get_running_loop().add_reader(watch.fileno(), check)
        check()
        return watch

    async def _accept(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener.socket)
            except OSError as error:  # out of descriptors or memory
                self._note(f"UAPI: accept: {error.strerror}")
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            if len(self._clients) >= MAX_CLIENTS:
                idle = next(iter(self._clients))
                del self._clients[idle]
                idle.cancel()
            client = tasks.create_task(self._serve(connection))
            self._clients[client] = None
            client.add_done_callback(partial(self._forget, connection))

    def _forget(self, connection: socket.socket, client: asyncio.Task[None]) -> None:
        connection.close()
        self._clients.pop(client, None)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._converse(connection)
        except OSError:
            pass  # a client may leave at any moment
        except Exception as error:  # noqa: BLE001 - a top like a callback's: see below
            # In the group of tasks a bug in one operation would end the tunnel; told like one
            # in a callback of the loop, it costs this client its connection.
            context = {"message": "a UAPI operation failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    async def _converse(self, connection: socket.socket) -> None:
        loop, reader = asyncio.get_running_loop(), RequestReader()
        connection.settimeout(0)
        while chunk := await loop.sock_recv(connection, _CHUNK_SIZE):
            self._touch()
            for request in reader.feed(chunk):
                await loop.sock_sendall(connection, await self._answer(request))
                if isinstance(request, BadRequest) and request.operation is None:
                    return
                await asyncio.sleep(0)
            # Neither call above waits while the client is as quick as we are.
            await asyncio.sleep(0)

    def _touch(self) -> None:
        task = asyncio.current_task()
        if task in self._clients:
            self._clients[task] = self._clients.pop(task)

    async def _answer(self, request: Request) -> bytes:
        match request:
            case GetRequest():
                return await self._answer_get()
            case SetRequest(lines):
                errno = await self._answer_set(lines)
                return format_errno(errno, Operation.SET)
            case BadRequest(operation, error):
                self._note(f"UAPI: {error}")
                return format_errno(error.errno, operation)
            case _:
                assert_never(request)

    async def _answer_get(self) -> bytes:
        try:
            status = self._get_status()
        except (ConfigError, OSError) as error:
            return format_errno(self._refuse("get", error), Operation.GET)
        if sum(5 + len(peer.allowed_ips) for peer in status.peers) > MAX_LINES_IN_LOOP:
            return await asyncio.to_thread(format_get, status)
        return format_get(status)

    async def _answer_set(self, lines: Sequence[str]) -> int:
        try:
            if len(lines) > MAX_LINES_IN_LOOP:
                change = await asyncio.to_thread(parse_set, lines, socket.if_nametoindex)
            else:
                change = parse_set(lines, socket.if_nametoindex)
            applying = self._apply_change(change)
            if applying is not None:
                await applying
        except (ConfigError, OSError) as error:
            return self._refuse("set", error)
        return 0

    def _refuse(self, operation: str, error: ConfigError | OSError) -> int:
        self._note(f"UAPI: {operation} refused: {error}")
        return error.errno or EIO
