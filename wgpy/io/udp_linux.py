"""The UDP sockets of Linux: IPv4 and IPv6 on one port, with source address, mark and ECN.

Datagrams leave without the don't-fragment bit, so one above the path MTU is fragmented and
never refused. IP_RECVERR stays off: an ICMP error about one peer is no error of a socket that
serves all.
"""

import errno
import ipaddress
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias, TypeVar

from wgpy.errors import ConfigError
from wgpy.io import udp_sockets
from wgpy.model import Buffer, Burst, Endpoint, Local

# What one `receive` takes at most, so that timers and the other ports get their turn.
RECEIVE_LIMIT: Final = 64
# Datagrams kept for a socket whose buffer is full; beyond it the oldest go.
BACKLOG_LIMIT: Final = 1024
# Addresses and control messages remembered in parsed form; a full table is emptied.
CACHE_LIMIT: Final = 2048

_DATAGRAM_SIZE: Final = 65535
_CONTROL_SIZE: Final = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(4)
_PKTINFO4: Final = struct.Struct("=I4s4s")
_PKTINFO6: Final = struct.Struct("=16sI")
_INT: Final = struct.Struct("=i")

# The kernel's words for "not from this source": the address or the interface went away, or
# the route leaves elsewhere.
_SOURCE_ERRORS: Final = frozenset({
    errno.EINVAL,
    errno.EADDRNOTAVAIL,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENODEV,
    errno.ENXIO,
})  # fmt: skip

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Control: TypeAlias = list[tuple[int, int, bytes]]
_Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


@dataclass(slots=True)
class UdpCounters:
    """Datagrams that were not sent, by reason, and faults of receiving."""

    backlog_dropped: int = 0
    too_big: int = 0
    not_permitted: int = 0
    no_buffer: int = 0
    unreachable: int = 0
    no_socket: int = 0
    other: int = 0
    source_retries: int = 0
    receive_errors: int = 0


class _Half:
    """The socket of one address family, and the copies of what waits for room in it."""

    __slots__ = ("backlog", "sock", "v6")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.v6 = sock.family == socket.AF_INET6
        self.backlog: deque[tuple[bytes, _Path]] = deque()


class _Path(NamedTuple):
    """How a datagram leaves: what the kernel is told about remote, source and TOS."""

    half: _Half
    address: _Address
    control: _Control
    remote: Endpoint
    local: Local | None
    tos: int


class UdpLinux:
    """The bound sockets of a node (a `UdpPort`); without sockets until `bind`."""

    source_lost: Callable[[Local], None]
    # Called with the remote of a datagram that was dropped, and the errno.
    failed: Callable[[Endpoint, int], None]

    def __init__(self, buffer_size: int = udp_sockets.BUFFER_SIZE) -> None:
        self.source_lost = _ignore
        self.failed = _ignore_failure
        self.counters = UdpCounters()
        self._buffer_size = buffer_size
        self._halves: dict[int, _Half] = {}
        self._by_size: dict[int, _Half] = {}
        self._port = 0
        self._mark = 0
        self._remotes: dict[_Address, Endpoint] = {}
        self._arrivals: dict[tuple[tuple[int, int, bytes], ...], tuple[Local | None, int]] = {}
        self._paths: dict[tuple[Endpoint, Local | None, int], _Path] = {}

    @property
    def port(self) -> int:
        """The port in use, 0 without sockets."""
        return self._port

    def bind(self, port: int, fwmark: int = 0) -> int:
        """Bind both families to `port` (0: one the kernel chooses) and return the real one.

        The sockets in use are given up only when the new ones stand; asked for the port in
        use, they stay. The descriptors change, unsent datagrams are dropped. A family that
        the kernel does not have is left out.

        Raises:
            ConfigError: the port is in use or not permitted, or the mark is not permitted.
        """
        if self._halves and port == self._port:
            self.set_mark(fwmark)
            return port
        sockets, real = udp_sockets.open_pair(port)
        try:
            for sock in sockets:
                udp_sockets.prepare(sock, self._buffer_size)
                if fwmark:
                    udp_sockets.mark(sock, fwmark)
        except (ConfigError, OSError):
            udp_sockets.close_all(sockets)
            raise
        self.close()
        halves = [_Half(sock) for sock in sockets]
        self._halves = {half.sock.fileno(): half for half in halves}
        self._by_size = {16 if half.v6 else 4: half for half in halves}
        self._port, self._mark = real, fwmark
        return real

    def set_mark(self, fwmark: int) -> None:
        """Set the mark of every datagram that leaves (SO_MARK), 0 for none.

        Raises:
            ConfigError: CAP_NET_ADMIN is missing.
        """
        if fwmark == self._mark:
            return
        for half in self._halves.values():
            udp_sockets.mark(half.sock, fwmark)
        self._mark = fwmark

    def close(self) -> None:
        """Close the sockets and drop what they hold."""
        for half in self._halves.values():
            self.counters.backlog_dropped += len(half.backlog)
            half.sock.close()
        self._halves, self._by_size, self._port = {}, {}, 0
        self._paths.clear()

    def filenos(self) -> tuple[int, ...]:
        """Return the descriptors to wait on: IPv4 first, none before `bind`."""
        return tuple(self._halves)

    def blocked(self) -> tuple[int, ...]:
        """Return the descriptors that hold unsent datagrams and wait to be writable."""
        return tuple(fileno for fileno, half in self._halves.items() if half.backlog)

    # hot path: bench/ports
    def receive(self, fileno: int) -> list[Burst]:
        """Return what has arrived at one descriptor, at most `RECEIVE_LIMIT` datagrams.

        Those that came one after the other from one remote by one way are one burst. A
        descriptor given up by `bind` has nothing.
        """
        half = self._halves.get(fileno)
        if half is None:
            return []
        recvmsg = half.sock.recvmsg
        bursts: list[Burst] = []
        sender: _Address | None = None
        options: _Control = []
        together: list[Buffer] = []
        for _ in range(RECEIVE_LIMIT):
            try:
                payload, control, _flags, address = recvmsg(_DATAGRAM_SIZE, _CONTROL_SIZE)
            except BlockingIOError:
                break
            except OSError:
                self.counters.receive_errors += 1
                continue
            if address == sender and control == options:
                together.append(payload)
                continue
            remote = self._remotes.get(address) or self._learn_remote(address)
            if remote.port == 0:  # no address: nobody can answer it, or should be made to
                self.counters.receive_errors += 1
                continue
            key = tuple(control)
            local, tos = self._arrivals.get(key) or self._learn_arrival(key)
            sender, options, together = address, control, [payload]
            bursts.append(Burst(together, _DATAGRAM_SIZE, remote, local, tos))
        return bursts

    # hot path: bench/ports
    def send(self, bursts: Sequence[Burst]) -> None:
        """Send in order; what the kernel cannot take now is kept, up to a bound."""
        path: _Path | None = None
        for payload, size, remote, local, tos, whole in bursts:
            if path is None or (remote, local, tos) != path[3:]:
                path = self._paths.get((remote, local, tos)) or self._learn_path(
                    remote, local, tos
                )
            if path is None:
                self.counters.no_socket += 1
            elif whole:
                self._send_unfragmented(path, Burst(payload, size, remote).segments())
            elif isinstance(payload, list):
                self._send_segments(path, payload)
            elif len(payload) <= size:
                self._send_segments(path, (payload,))
            else:
                self._send_segments(path, Burst(payload, size, remote).segments())

    def flush(self, fileno: int) -> None:
        """Send what is kept for a descriptor that is writable again."""
        half = self._halves.get(fileno)
        while half is not None and half.backlog:
            segment, path = half.backlog.popleft()
            try:
                half.sock.sendmsg((segment,), path.control, 0, path.address)
            except BlockingIOError:
                half.backlog.appendleft((segment, path))
                return
            except OSError as error:
                self._recover(segment, path, error)

    # hot path: bench/ports
    def _send_segments(self, path: _Path, segments: Iterable[Buffer]) -> None:
        half, address, control = path[:3]
        sendmsg, backlog = half.sock.sendmsg, half.backlog
        for segment in segments:
            if backlog:
                self._keep(segment, path)
                continue
            try:
                sendmsg((segment,), control, 0, address)
            except OSError as error:
                path = self._recover(segment, path, error)
                control = path.control

    def _send_unfragmented(self, path: _Path, segments: Iterable[Buffer]) -> None:
        """Send with the don't-fragment bit; what cannot go now is dropped: it is a probe."""
        sock = path.half.sock
        udp_sockets.discover(sock, udp_sockets.PMTUDISC_PROBE)
        try:
            for segment in segments:
                self._attempt(sock, segment, path)
        finally:
            udp_sockets.discover(sock, udp_sockets.PMTUDISC_DONT)

    def _attempt(self, sock: socket.socket, segment: Buffer, path: _Path) -> None:
        try:
            sock.sendmsg((segment,), path.control, 0, path.address)
        except OSError as error:
            self._fail(path, error)

    def _recover(self, segment: Buffer, path: _Path, error: OSError) -> _Path:
        """Keep, retry without its source, or drop; return the path for what follows."""
        if isinstance(error, BlockingIOError):
            self._keep(segment, path)
        elif path.local is not None and error.errno in _SOURCE_ERRORS:
            self.counters.source_retries += 1
            free = path._replace(control=_control(path.half, None, path.tos), local=None)
            self._retry(segment, free, path.local)
            return free
        else:
            self._fail(path, error)
        return path

    def _retry(self, segment: Buffer, free: _Path, lost: Local) -> None:
        """Send without a source; if that goes, the source was at fault and not the remote.

        Anybody can have an answer sent to where no route leads: that says nothing of a source.
        """
        try:
            free.half.sock.sendmsg((segment,), free.control, 0, free.address)
        except BlockingIOError:
            self._keep(segment, free)
        except OSError as error:
            self._fail(free, error)
            return
        self.source_lost(lost)

    def _keep(self, segment: Buffer, path: _Path) -> None:
        backlog = path.half.backlog
        if len(backlog) >= BACKLOG_LIMIT:
            backlog.popleft()
            self.counters.backlog_dropped += 1
        backlog.append((bytes(segment), path))

    def _fail(self, path: _Path, error: OSError) -> None:
        self._count(error.errno)
        self.failed(path.remote, error.errno or 0)

    def _count(self, code: int | None) -> None:
        counters = self.counters
        if code == errno.EMSGSIZE:
            counters.too_big += 1
        elif code in (errno.EPERM, errno.EACCES):
            counters.not_permitted += 1
        elif code in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM):
            counters.no_buffer += 1
        elif code in _SOURCE_ERRORS:
            counters.unreachable += 1
        else:
            counters.other += 1

    def _learn_remote(self, address: _Address) -> Endpoint:
        scope = address[3] if len(address) == 4 else 0
        host = ipaddress.ip_address(address[0].partition("%")[0]).packed
        return _remember(self._remotes, address, Endpoint(host, address[1], scope))

    def _learn_arrival(
        self, control: tuple[tuple[int, int, bytes], ...]
    ) -> tuple[Local | None, int]:
        local, tos = None, 0
        for level, kind, value in control:
            if (level, kind) == (socket.IPPROTO_IP, udp_sockets.IP_PKTINFO):
                interface, host, _ = _PKTINFO4.unpack(value)
                local = Local(host, interface)
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                local = Local(*_PKTINFO6.unpack(value))
            elif (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS):
                tos = value[0]
            elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_TCLASS):
                tos = _INT.unpack(value)[0]
        return _remember(self._arrivals, control, (local, tos))

    def _learn_path(self, remote: Endpoint, local: Local | None, tos: int) -> _Path | None:
        half = self._by_size.get(len(remote.host))
        if half is None:
            return None
        host = str(ipaddress.ip_address(remote.host))
        address = (host, remote.port, 0, remote.scope) if half.v6 else (host, remote.port)
        path = _Path(half, address, _control(half, local, tos), remote, local, tos)
        return _remember(self._paths, (remote, local, tos), path)


def _control(half: _Half, local: Local | None, tos: int) -> _Control:
    """Return the control messages; a source of the other family is left out."""
    control: _Control = []
    if local is not None and len(local.host) == (16 if half.v6 else 4):
        if half.v6:
            info = _PKTINFO6.pack(local.host, local.interface)
            control.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info))
        else:
            info = _PKTINFO4.pack(local.interface, local.host, bytes(4))
            control.append((socket.IPPROTO_IP, udp_sockets.IP_PKTINFO, info))
    if tos and half.v6:
        control.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INT.pack(tos)))
    elif tos:
        control.append((socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(tos)))
    return control


def _ignore(_local: Local) -> None:
    return


def _ignore_failure(_remote: Endpoint, _code: int) -> None:
    return


def _remember(table: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    if len(table) >= CACHE_LIMIT:
        table.clear()
    table[key] = value
    return value
