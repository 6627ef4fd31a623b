"""Asking a running node: one line to its socket, one line back."""

import os
import socket
from collections.abc import Mapping
from typing import Final

from netmgr.wire import ipc
from wgpy.errors import ConfigError

RUN_FOLDER: Final = "/run/wg_netmanager"
SUFFIX: Final = ".sock"
_ANSWER_WITHIN: Final = 10.0
_CHUNK: Final = 65536


def call(path_or_interface: str, verb: str, arguments: Mapping[str, str]) -> dict[str, object]:
    """Ask a node, named by its interface or the path of its socket; return the result.

    Raises:
        ConfigError: no node answers, or it refuses.
    """
    path = path_or_interface
    if "/" not in path:
        path = os.path.join(RUN_FOLDER, path + SUFFIX)
    try:
        line = _exchange(path, ipc.format_request(verb, arguments))
    except (FileNotFoundError, ConnectionRefusedError):
        raise ConfigError(f"{path}: no node is running there") from None
    except TimeoutError:
        why = f"the node does not answer within {_ANSWER_WITHIN:g} s"
        raise ConfigError(f"{path}: {why}") from None
    except PermissionError:
        raise ConfigError(f"{path}: permission denied; use sudo") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    return ipc.parse_answer(line)


def _exchange(path: str, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_WITHIN)
        connection.connect(path)
        connection.sendall(request)
        answer = bytearray()
        while not answer.endswith(b"\n") and len(answer) <= ipc.MAX_LINE:
            chunk = connection.recv(_CHUNK)
            if not chunk:
                break
            answer += chunk
        return bytes(answer)
