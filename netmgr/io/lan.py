"""Discovery on the local networks: one datagram to everybody there, and what others say.

IPv4 multicast and broadcast and IPv6 multicast, on each interface that leads out. What switches
and access points drop of one kind they often let through of another; the receiver gets up to
three copies. Several nodes, also of several networks, share the port and hear each other.
Payloads are opaque.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeAlias

from netmgr.io.interfaces import Interface
from wgpy.model import Endpoint

PORT: Final = 50550
GROUP4: Final = "239.192.77.77"
GROUP6: Final = "ff02::1:77"
# What a stranger on the network can make this host do in one wake-up.
RECEIVE_LIMIT: Final = 32
MAX_SIZE: Final = 1400

_BROADCAST: Final = "255.255.255.255"
_ALL_HOSTS: Final = frozenset({socket.inet_aton(GROUP4), socket.inet_aton(_BROADCAST)})
_GROUP6_RAW: Final = socket.inet_pton(socket.AF_INET6, GROUP6)
# <linux/in.h>, <linux/in6.h>: not in the socket module.
_IP_PKTINFO: Final = 8
_IP_MULTICAST_ALL: Final = 49
_IPV6_MULTICAST_ALL: Final = 29
# struct ip_mreqn: group, address, interface.
_MREQN: Final = struct.Struct("=4s4si")
# struct in_pktinfo: interface, own address, destination.
_PKTINFO: Final = struct.Struct("=i4s4s")
_MREQ6: Final = struct.Struct("=16si")
_PKTINFO6: Final = struct.Struct("=16si")
_CONTROL_SIZE: Final = 64
_Ancillary: TypeAlias = list[tuple[int, int, bytes]]
_Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class LanPort:
    """Sockets of discovery on the running loop.

    Without IPv6, or while another program keeps the port to itself, the rest works; `refresh`
    tries again. No datagram and no vanished interface raises anything.
    """

    def __init__(
        self, on_receive: Callable[[bytes, Endpoint], None], *, port: int = PORT
    ) -> None:
        """Listen nowhere yet; `on_receive` is given payload and source, own ones included."""
        self._on_receive = on_receive
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._v4: socket.socket | None = None
        self._v6: socket.socket | None = None
        self._numbers: frozenset[int] = frozenset()

    def refresh(self, interfaces: Iterable[Interface]) -> None:
        """Listen and send on these interfaces from now on, and on no other."""
        wanted = frozenset(each.number for each in interfaces)
        gone, self._numbers = self._numbers - wanted, wanted
        self._v4 = self._v4 or self._opened(socket.AF_INET)
        self._v6 = self._v6 or self._opened(socket.AF_INET6)
        for number in gone:
            self._leave(number)
        for number in wanted:  # what is joined already is refused
            self._join(number)

    def send(self, payload: bytes) -> int:
        """Send to everybody on each interface; return how many datagrams went out.

        Raises:
            ValueError: the payload is longer than MAX_SIZE.
        """
        if len(payload) > MAX_SIZE:
            raise ValueError(f"{len(payload)} bytes are too long for discovery")
        return sum(self._send_on(number, payload) for number in self._numbers)

    def close(self) -> None:
        """Close the sockets."""
        for each in (self._v4, self._v6):
            if each is not None:
                self._loop.remove_reader(each.fileno())
                each.close()
        self._v4 = self._v6 = None

    # --- sending ---

    def _send_on(self, number: int, payload: bytes) -> int:
        sent = 0
        if self._v4 is not None:
            way = _PKTINFO.pack(number, bytes(4), bytes(4))
            control: _Ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, way)]
            for group in (GROUP4, _BROADCAST):
                sent += _sent(self._v4, payload, control, (group, self._port))
        if self._v6 is not None:
            sent += _sent(self._v6, payload, [], (GROUP6, self._port, 0, number))
        return sent

    # --- receiving ---

    def _readable(self, port: socket.socket) -> None:
        for _ in range(RECEIVE_LIMIT):
            try:
                payload, control, flags, source = port.recvmsg(MAX_SIZE, _CONTROL_SIZE)
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier datagram
            if flags & socket.MSG_TRUNC or not self._is_for_all(control):
                continue
            self._on_receive(payload, _endpoint(source))

    def _is_for_all(self, control: _Ancillary) -> bool:
        """Return whether a datagram came to everybody on one of our interfaces.

        What comes to this host alone may come from beyond its networks.
        """
        for level, kind, value in control:
            if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
                number, _, destination = _PKTINFO.unpack(value)
                return number in self._numbers and destination in _ALL_HOSTS
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                destination, number = _PKTINFO6.unpack(value)
                return number in self._numbers and destination == _GROUP6_RAW
        return False

    # --- sockets ---

    def _opened(self, family: int) -> socket.socket | None:
        try:
            port = _open(family, self._port)
        except OSError:
            return None
        self._loop.add_reader(port.fileno(), self._readable, port)
        return port

    def _join(self, number: int) -> None:
        self._member(number, socket.IP_ADD_MEMBERSHIP, socket.IPV6_JOIN_GROUP)

    def _leave(self, number: int) -> None:
        self._member(number, socket.IP_DROP_MEMBERSHIP, socket.IPV6_LEAVE_GROUP)

    def _member(self, number: int, v4_option: int, v6_option: int) -> None:
        if self._v4 is not None:
            wanted = _MREQN.pack(socket.inet_aton(GROUP4), bytes(4), number)
            with suppress(OSError):
                self._v4.setsockopt(socket.IPPROTO_IP, v4_option, wanted)
        if self._v6 is not None:
            with suppress(OSError):
                wanted = _MREQ6.pack(_GROUP6_RAW, number)
                self._v6.setsockopt(socket.IPPROTO_IPV6, v6_option, wanted)


def _open(family: int, number: int) -> socket.socket:
    port = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET:
            port.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            port.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            port.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            port.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            port.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            port.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            port.bind(("", number))
        else:
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            port.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            port.bind(("::", number))
    except OSError:
        port.close()
        raise
    return port


def _sent(port: socket.socket, payload: bytes, control: _Ancillary, to: _Address) -> bool:
    try:
        port.sendmsg([payload], control, 0, to)
    except OSError:  # no such way out, a firewall, a full queue
        return False
    return True


def _endpoint(source: _Address) -> Endpoint:
    if len(source) == 2:
        return Endpoint(socket.inet_aton(source[0]), source[1])
    host = socket.inet_pton(socket.AF_INET6, source[0].partition("%")[0])
    return Endpoint(host, source[1], source[3])
