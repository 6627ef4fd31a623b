"""The control socket of a running node, the command's end. Blocking, and without asyncio."""

import socket
import sys
from contextlib import suppress
from typing import Any, Final

from netmgr.wire.lines import format_request, parse_answer
from wgpy.errors import ConfigError
from wgpy.io import uapi_client
from wgpy.io.process import advice

DIRECTORY: Final = "/run/wg_netmanager"
TIMEOUT: Final = 10.0
MAX_ANSWER_SIZE: Final = 64 * 2**20
_CHUNK_SIZE: Final = 2**18
# struct ucred: pid, uid and gid, of 4 bytes each (unix(7)).
_UCRED_SIZE: Final = 12
_PID_SIZE: Final = 4


def call(
    interface: str | None,
    verb: str,
    arguments: dict[str, str],
    *,
    directory: str = DIRECTORY,
    timeout: float = TIMEOUT,
) -> Any:
    """Ask a running node and return its result; without an interface the only one is asked.

    `timeout` is the seconds for which the node may say nothing.

    Raises:
        ConfigError: no node, no permission, no answer, or what the node refused with.
    """
    name = interface or only_node(directory)
    path = uapi_client.socket_path(name, directory)
    line = format_request(verb, arguments)
    who = ""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as node:
            node.settimeout(timeout)
            node.connect(path)
            who = f", process {_pid(node)},"
            with suppress(BrokenPipeError):  # a node that has no room says so unasked
                node.sendall(line)
            return parse_answer(_read_line(node, name))
    except PermissionError:
        raise ConfigError(f"{path}: permission denied{advice()}") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise ConfigError(f"no node is running for {name}") from None
    except TimeoutError:
        raise ConfigError(
            f"the node for {name}{who} has not answered for {timeout:g} s"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def nodes(directory: str = DIRECTORY) -> list[str]:
    """Return the interfaces whose nodes run, sorted.

    Raises:
        ConfigError: no permission to ask.
    """
    return uapi_client.interfaces(directory)


def only_node(directory: str = DIRECTORY) -> str:
    """Return the interface of the one node that runs on this host.

    Raises:
        ConfigError: none, or several.
    """
    found = nodes(directory)
    if not found:
        raise ConfigError("no node is running on this host")
    if len(found) > 1:
        raise ConfigError(f"several nodes are running, say which by -i: {', '.join(found)}")
    return found[0]


def _pid(node: socket.socket) -> int:
    """Return the process that listens at the other end."""
    owner = node.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED_SIZE)
    return int.from_bytes(owner[:_PID_SIZE], sys.byteorder)


def _read_line(node: socket.socket, name: str) -> bytes:
    answer = bytearray()
    while not answer.endswith(b"\n"):
        chunk = node.recv(_CHUNK_SIZE)
        if not chunk:
            raise ConfigError(f"the node for {name} went away in the middle of its answer")
        answer += chunk
        if len(answer) > MAX_ANSWER_SIZE:
            raise ConfigError(f"the node for {name} answers without end")
    return bytes(answer)
