"""The control socket of a running node: /run/wg_netmanager/INTERFACE.sock, served.

Requests and answers are lines (netmgr.wire.lines). Who may connect decides the socket's mode:
root, or the group of NETMGR_GROUP as well.
"""

import asyncio
import fcntl
import grp
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, cast

from netmgr.io.control_client import DIRECTORY
from netmgr.wire.lines import MAX_REQUEST_SIZE, format_error, format_result, parse_request
from wgpy.errors import ConfigError
from wgpy.io.process import advice
from wgpy.io.uapi_client import is_alive, socket_path

GROUP_VARIABLE: Final = "NETMGR_GROUP"
MAX_CLIENTS: Final = 16
IDLE_TIMEOUT: Final = 60.0
_DIRECTORY_MODE: Final = 0o755
_BACKLOG: Final = 16
_LOCK_NAME: Final = ".lock"

Handle = Callable[[str, dict[str, str]], object]


class ControlServer:
    """Serves one socket on the running loop until `close`, which removes it.

    `handle` is given verb and arguments and returns what `lines` can tell; a ConfigError of it
    is told as text.
    """

    def __init__(self, listener: socket.socket, handle: Handle, idle: float) -> None:
        self._listener = listener
        self._path = str(listener.getsockname())
        self._identity = _identity(self._path)
        self._handle = handle
        self._idle = idle
        self._clients: set[_Client] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to serve."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._client, sock=self._listener)

    def close(self) -> None:
        """Stop serving, end all connections and remove the socket, if it is still ours."""
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for client in tuple(self._clients):
            client.abort()
        if _identity(self._path) == self._identity:
            with suppress(OSError):
                os.unlink(self._path)

    def _client(self) -> "_Client":
        return _Client(self._handle, self._clients, self._idle)


async def serve(
    interface: str,
    handle: Handle,
    *,
    directory: str = DIRECTORY,
    environ: Mapping[str, str] = os.environ,
    idle: float = IDLE_TIMEOUT,
) -> ControlServer:
    """Make the socket of an interface and serve it; one of a dead node is replaced.

    Raises:
        ConfigError: another node serves it, no permission, or no such group.
    """
    server = ControlServer(bind(interface, directory, environ), handle, idle)
    await server.start()
    return server


def bind(interface: str, directory: str, environ: Mapping[str, str]) -> socket.socket:
    """Return the listening socket of an interface, reachable for whom it is meant.

    Raises:
        ConfigError: another node serves it, no permission, or no such group.
    """
    path = socket_path(interface, directory)
    group = _group(environ.get(GROUP_VARIABLE, ""))
    try:
        with suppress(FileExistsError):
            os.makedirs(directory, _DIRECTORY_MODE)
            os.chmod(directory, _DIRECTORY_MODE)  # whatever the umask took away
        with _sole_starter(directory):
            if is_alive(path):
                raise ConfigError(f"a node for {interface} is running: {path} answers")
            return _bind_anew(path, group)
    except OSError as error:
        hint = advice() if isinstance(error, PermissionError) else ""
        raise ConfigError(f"{path}: {error.strerror or error}{hint}") from None


def _bind_anew(path: str, group: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
        # Nobody can connect before `listen`, whatever the mode is until then.
        listener.bind(path)
        os.chmod(path, 0o600)
        if group is not None:
            os.chown(path, -1, group)
            os.chmod(path, 0o660)
        listener.setblocking(False)  # noqa: FBT003 - takes no keyword
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _group(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"{GROUP_VARIABLE}={name}: there is no such group") from None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _sole_starter(directory: str) -> Iterator[None]:
    # Between finding a dead socket and removing it, another start must not replace it.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    fd = os.open(os.path.join(directory, _LOCK_NAME), flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class _Client(asyncio.Protocol):
    """One connection: reads lines, answers them in order."""

    def __init__(self, handle: Handle, clients: set["_Client"], idle: float) -> None:
        self._handle = handle
        self._clients = clients
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._partial = bytearray()
        self._paused = False

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none by class.
        self._transport = streaming = cast(asyncio.Transport, transport)
        if len(self._clients) >= MAX_CLIENTS:
            streaming.write(format_error("too many commands at once; try again"))
            streaming.close()
            return
        self._clients.add(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._transport = None
        self._clients.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._answer_next()

    def data_received(self, data: bytes) -> None:
        self._wait()
        self._partial += data
        self._answer_next()

    def _answer_next(self) -> None:
        """Answer one line; the rest waits for the next turn of the loop, unread."""
        transport = self._transport
        if self._paused or transport is None or transport.is_closing():
            return
        line, end, self._partial = self._partial.partition(b"\n")
        if len(line) > MAX_REQUEST_SIZE:
            transport.write(format_error("the request is too long"))
            transport.close()
        elif not end:
            self._partial = line
            transport.resume_reading()
        else:
            transport.pause_reading()
            transport.write(self._answer(bytes(line)))
            asyncio.get_running_loop().call_soon(self._answer_next)

    def _answer(self, line: bytes) -> bytes:
        try:
            request = parse_request(line)
            return format_result(self._handle(request.verb, request.arguments))
        except ConfigError as error:
            return format_error(str(error))
        except BaseException:
            self.abort()  # the loop tells what went wrong; nobody waits for an answer
            raise

    def _wait(self) -> None:
        """Give the other end its time anew; one that does not read its answer has no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._idle, self.abort)
