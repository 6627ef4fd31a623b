"""Unix sockets of the UAPI, the client's end: ask a device that runs on this host.

A device is the socket `/var/run/wireguard/NAME.sock`, of wgpy or of any other userspace
WireGuard (https://www.wireguard.com/xplatform/). Blocking, and without asyncio: for commands.
"""

import os
import re
import socket
import stat
from typing import Final

from wgpy.errors import ConfigError, UsageError
from wgpy.io.process import advice

DIRECTORY: Final = "/var/run/wireguard"
ANSWER_TIMEOUT: Final = 30.0
MAX_ANSWER_SIZE: Final = 256 * 2**20

_SUFFIX: Final = ".sock"
_NAME: Final = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}")
_PROBE_TIMEOUT: Final = 5.0
_CHUNK_SIZE: Final = 2**18


def socket_path(ifname: str, directory: str = DIRECTORY) -> str:
    """Return the path of an interface's socket.

    Raises:
        UsageError: no name of an interface.
    """
    if not _NAME.fullmatch(ifname) or ifname in (".", ".."):
        raise UsageError(
            f"{ifname!r} is no name of an interface: 1 to 15 letters, digits or _ = + . -"
        )
    return os.path.join(directory, ifname + _SUFFIX)


def request(
    ifname: str,
    operation: bytes,
    *,
    directory: str = DIRECTORY,
    timeout: float = ANSWER_TIMEOUT,
) -> bytes:
    """Send one operation to a running device; return its answer with the empty line.

    `timeout` is the seconds for which the device may do nothing.

    Raises:
        ConfigError: no such device, no permission, or no whole answer.
    """
    path = socket_path(ifname, directory)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as device:
            device.settimeout(timeout)
            device.connect(path)
            device.sendall(operation)
            return _read_answer(ifname, device)
    except PermissionError:
        raise ConfigError(f"{path}: permission denied{advice()}") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise ConfigError(f"no interface {ifname} of a userspace WireGuard is up") from None
    except TimeoutError:
        raise ConfigError(f"{path}: no answer in {timeout:g} seconds") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def interfaces(directory: str = DIRECTORY) -> list[str]:
    """Return the names of the devices whose socket answers, sorted.

    Raises:
        ConfigError: no permission to ask; root may.
    """
    try:
        names = [name for name in os.listdir(directory) if name.endswith(_SUFFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        raise ConfigError(f"{directory}: permission denied{advice()}") from None
    return sorted(
        name.removesuffix(_SUFFIX)
        for name in names
        if _NAME.fullmatch(name.removesuffix(_SUFFIX)) and is_alive(f"{directory}/{name}")
    )


def is_alive(path: str) -> bool:
    """Tell whether a process listens at a socket.

    Raises:
        ConfigError: no permission to ask.
    """
    device = connect(path)
    if device is not None:
        device.close()
    return device is not None


def connect(path: str) -> socket.socket | None:
    """Return a connection to a socket; None if nobody listens, or there is no socket.

    A process too busy to accept counts as listening: the socket is then not connected.

    Raises:
        ConfigError: no permission to ask.
    """
    device = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    device.settimeout(_PROBE_TIMEOUT)
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            device.connect(path)
            return device
    except (BlockingIOError, TimeoutError):
        return device
    except PermissionError:
        device.close()
        raise ConfigError(f"{path}: permission denied{advice()}") from None
    except OSError:
        pass  # refused, gone meanwhile, or a link to nowhere
    device.close()
    return None


def _read_answer(ifname: str, device: socket.socket) -> bytes:
    answer = bytearray()
    while not answer.endswith(b"\n\n"):
        chunk = device.recv(_CHUNK_SIZE)
        if not chunk:
            raise ConfigError(f"interface {ifname} went away in the middle of its answer")
        answer += chunk
        if len(answer) > MAX_ANSWER_SIZE:
            raise ConfigError(f"interface {ifname} answers without end")
    return bytes(answer)
