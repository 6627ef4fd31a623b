"""UDP sockets as WireGuard wants them: two families on one port, and their options."""

import errno
import socket
from sys import byteorder
from typing import Final, NamedTuple

from wgpy.errors import ConfigError

# What arrives waits for us, so there is much room. What leaves waits for the link, and all that
# comes after it waits, too: little room, and the node is told when there is some again.
RECEIVE_BUFFER: Final = 4 << 20
SEND_BUFFER: Final = 256 << 10
BIND_ATTEMPTS: Final = 100

# <linux/in.h>, <linux/in6.h>, <asm-generic/socket.h>; the socket module lacks these.
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IPV6_MTU_DISCOVER: Final = 23
PMTUDISC_DONT: Final = 0
PMTUDISC_PROBE: Final = 3
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33

# <linux/udp.h>
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104

# How a host says that it does not have an address family.
_ABSENT: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class Offloads(NamedTuple):
    """What the sockets may do in bursts: send many datagrams at once, and receive them so."""

    segment: bool = True
    coalesce: bool = True


def probe_port(port: int) -> bool:
    """Return whether both families could be bound to `port` at this moment."""
    try:
        sockets, _ = open_pair(port)
    except ConfigError:
        return False
    close_all(sockets)
    return True


def open_pair(port: int) -> tuple[list[socket.socket], int]:
    """Bind IPv4, then IPv6 to the same port; a port of the kernel's choice may need more tries.

    Raises:
        ConfigError: the port cannot be had, or there is neither family.
    """
    attempts = BIND_ATTEMPTS if port == 0 else 1
    for attempt in range(1, attempts + 1):
        sockets: list[socket.socket] = []
        real = port
        try:
            for family in (socket.AF_INET, socket.AF_INET6):
                sock = _open(family, real)
                if sock is not None:
                    sockets.append(sock)
                    real = sock.getsockname()[1]
        except OSError as error:
            close_all(sockets)
            if error.errno != errno.EADDRINUSE or attempt == attempts:
                reason = f"UDP port {port} cannot be bound: {error.strerror}"
                raise ConfigError(reason, errno=error.errno or errno.EINVAL) from None
            continue
        if sockets:
            return sockets, real
    raise ConfigError("this host has neither IPv4 nor IPv6")


def open_ready(port: int, fwmark: int) -> tuple[list[socket.socket], int]:
    """Return the sockets of `open_pair`, prepared and marked, and their port.

    Raises:
        ConfigError: the port, the mark or an option of the sockets cannot be had.
    """
    sockets, real = open_pair(port)
    try:
        for sock in sockets:
            prepare(sock)
            if fwmark:
                mark(sock, fwmark)
    except OSError as error:
        close_all(sockets)
        reason = f"UDP port {port} cannot be used: {error.strerror}"
        raise ConfigError(reason, errno=error.errno or errno.EINVAL) from None
    except ConfigError:
        close_all(sockets)
        raise
    return sockets, real


def _open(family: socket.AddressFamily, port: int) -> socket.socket | None:
    """Return a bound socket, None if the host does not have the family."""
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", port))
    except OSError as error:
        sock.close()
        if error.errno in _ABSENT:
            return None
        raise
    return sock


def prepare(sock: socket.socket) -> None:
    """Ask for source address and TOS of what arrives; send without the don't-fragment bit."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    discover(sock, PMTUDISC_DONT)
    for usual, forced, size in (
        (socket.SO_RCVBUF, SO_RCVBUFFORCE, RECEIVE_BUFFER),
        (socket.SO_SNDBUF, SO_SNDBUFFORCE, SEND_BUFFER),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:  # without CAP_NET_ADMIN the sysctl net.core.*mem_max caps it
            sock.setsockopt(socket.SOL_SOCKET, usual, size)


def discover(sock: socket.socket, mode: int) -> None:
    """Set path-MTU discovery: DONT fragments, PROBE sends whole or not at all."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, mode)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, mode)


def can_segment(sock: socket.socket) -> bool:
    """Tell whether one send may carry many datagrams (UDP_SEGMENT, Linux 4.18)."""
    try:
        sock.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True


def coalesce(sock: socket.socket) -> bool:
    """Ask for many datagrams in one read (UDP_GRO, Linux 5.0); tell whether they come."""
    try:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    except OSError:
        return False
    return True


def mark(sock: socket.socket, fwmark: int) -> None:
    """Set SO_MARK, 0 for none.

    Raises:
        ConfigError: CAP_NET_ADMIN is missing.
    """
    try:
        # As bytes: a mark has 32 bits without a sign, the integers of setsockopt have one.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, fwmark.to_bytes(4, byteorder))
    except PermissionError:
        raise ConfigError("fwmark needs CAP_NET_ADMIN", errno=errno.EPERM) from None


def close_all(sockets: list[socket.socket]) -> None:
    """Close every one."""
    for sock in sockets:
        sock.close()
