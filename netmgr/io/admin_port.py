"""A second UDP port for first contact, where network.yaml names one (`adminPort`)."""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from wgpy.errors import ConfigError
from wgpy.model import Endpoint
from wgpy.wire.text import format_address, unmap

_MAX_SIZE: Final = 2048
# Datagrams read at one wake-up.
_READS: Final = 32


class AdminPort:
    """A socket of both families on the running loop; `on_receive` gets payload and source."""

    def __init__(self, port: int, on_receive: Callable[[bytes, Endpoint], None]) -> None:
        """Bind it.

        Raises:
            ConfigError: the port is in use.
        """
        self._on_receive = on_receive
        self._loop = asyncio.get_running_loop()
        self._socket = _bind(port)
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def send(self, payload: bytes, remote: Endpoint) -> None:
        """Send a datagram; it may get lost."""
        host = format_address(remote.host)
        address: tuple[object, ...] = (host, remote.port)
        if self._socket.family == socket.AF_INET6:
            mapped = f"::ffff:{host}" if len(remote.host) == 4 else host
            address = (mapped, remote.port, 0, remote.scope)
        elif len(remote.host) != 4:
            return
        try:
            self._socket.sendto(payload, address)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(_READS):
            try:
                payload, source = self._socket.recvfrom(_MAX_SIZE)
            except OSError:
                return
            family = self._socket.family
            packed = unmap(socket.inet_pton(family, str(source[0]).partition("%")[0]))
            scope = source[3] if family == socket.AF_INET6 and len(packed) == 16 else 0
            self._on_receive(payload, Endpoint(packed, source[1], scope))


def _bind(port: int) -> socket.socket:
    try:
        listening = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.setblocking(False)  # noqa: FBT003 - the name of the call says it
    try:
        listening.bind(("", port))
    except OSError:
        listening.close()
        raise ConfigError(f"admin port {port} is in use: choose another with -u") from None
    return listening
