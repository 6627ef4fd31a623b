"""The UDP sockets of Linux: IPv4 and IPv6 on one port, with source address, mark and ECN.

Datagrams leave without the don't-fragment bit, so one above the path MTU is fragmented and
never refused. IP_RECVERR stays off: an ICMP error about one peer is no error of a socket that
serves all.
"""

import errno
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from wgpy.io import clock, udp_sockets
from wgpy.io.counters import SOURCE_ERRORS, UdpCounters
from wgpy.io.ports import READS
from wgpy.io.udp_backlog import Backlog, datagrams
from wgpy.io.udp_control import CONTROL_SIZE, Arrival, Control, arrival, outgoing, with_size
from wgpy.io.udp_sockets import Offloads
from wgpy.model import Buffer, Burst, Endpoint, Local
from wgpy.wire.datagrams import SEGMENTS_MAX, V4_MAX, V6_MAX, join

# Bytes that one `receive` takes at most, so that timers and the other ports get their turn: one
# read may bring 64 KiB of datagrams.
RECEIVE_SIZE: Final = 256 * 1024
# Addresses and control messages remembered in parsed form; a full table is emptied.
CACHE_LIMIT: Final = 2048

# Seconds for which bursts that were refused are not tried again: as long as the kernel holds a
# path's MTU to be what it learned.
REFUSAL_LIFETIME: Final = 600.0

_DATAGRAM_SIZE: Final = 65535
# What the kernel says to a UDP_SEGMENT send that this path, or this interface, cannot take.
_SEGMENT_ERRORS: Final = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP})
# Of these, what it says where none goes: IPsec, or no checksum offload in an older kernel.
_NONE_ERRORS: Final = frozenset({errno.EIO, errno.EOPNOTSUPP})

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
# Buffers of one send, and the size of each datagram in them; 0 if they are one.
_Shipment: TypeAlias = tuple[list[Buffer], int]
_Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class _Half:
    """The socket of one address family, and the copies of what waits for room in it.

    `segments` tells whether it takes many datagrams in one send (UDP_SEGMENT).
    """

    __slots__ = ("backlog", "segments", "sock", "v6")

    def __init__(self, sock: socket.socket, counters: UdpCounters, *, segments: bool) -> None:
        self.sock = sock
        self.v6 = sock.family == socket.AF_INET6
        self.segments = segments
        self.backlog: Backlog[_Path] = Backlog(counters)


class _Path(NamedTuple):
    """How a datagram leaves: what the kernel is told about remote, source and TOS."""

    half: _Half
    address: _Address
    control: Control
    remote: Endpoint
    local: Local | None
    tos: int


class UdpLinux:
    """The bound sockets of a node (a `UdpPort`); without sockets until `bind`."""

    source_lost: Callable[[Local], None]
    # Called with the remote of a datagram that was dropped, and the errno.
    failed: Callable[[Endpoint, int], None]

    def __init__(self, offloads: Offloads = Offloads()) -> None:  # noqa: B008 - a value
        self.source_lost = lambda _: None
        self.failed = lambda _remote, _code: None
        self.counters = UdpCounters()
        self._offloads = offloads
        # Largest datagram that may go in a burst to a remote, where the kernel refused larger,
        # and until when.
        self._largest: dict[Endpoint, tuple[int, float]] = {}
        self._halves: dict[int, _Half] = {}
        self._by_size: dict[int, _Half] = {}
        self._port = 0
        self._mark = 0
        self._remotes: dict[_Address, Endpoint] = {}
        self._arrivals: dict[tuple[tuple[int, int, bytes], ...], Arrival] = {}
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
            ConfigError: the port is in use or not permitted, or the mark is not permitted, or
                the kernel lacks what a socket needs.
        """
        if self._halves and port == self._port:
            self.set_mark(fwmark)
            return port
        sockets, real = udp_sockets.open_ready(port, fwmark)
        self.close()
        if self._offloads.coalesce:
            for sock in sockets:
                udp_sockets.coalesce(sock)
        segments = self._offloads.segment
        halves = [
            _Half(sock, self.counters, segments=segments and udp_sockets.can_segment(sock))
            for sock in sockets
        ]
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
            half.backlog.clear()
            half.sock.close()
        self._halves, self._by_size, self._port = {}, {}, 0
        self._paths.clear()
        self._largest.clear()

    def routes_changed(self) -> None:
        """Try again what was refused on the way that led to a remote before."""
        self._largest.clear()

    def filenos(self) -> tuple[int, ...]:
        """Return the descriptors to wait on: IPv4 first, none before `bind`."""
        return tuple(self._halves)

    def in_use(self) -> list[str]:
        """Name what is done in bursts now."""
        segment = any(half.segments for half in self._halves.values())
        return ["UDP GSO"] * segment + ["UDP GRO"] * (
            self._offloads.coalesce and self._port > 0
        )

    def blocked(self) -> tuple[int, ...]:
        """Return the descriptors that hold unsent datagrams and wait to be writable."""
        return tuple(fileno for fileno, half in self._halves.items() if half.backlog)

    # hot path: bench/ports
    def receive(self, fileno: int, reads: int = READS) -> list[Burst]:
        """Return what has arrived at one descriptor, by `reads` reads at most.

        Those that came one after the other from one remote by one way are one burst. A
        descriptor given up by `bind` has nothing.
        """
        half = self._halves.get(fileno)
        if half is None:
            return []
        recvmsg = half.sock.recvmsg
        bursts: list[Burst] = []
        sender: _Address | None = None
        options: Control = []
        together: list[Buffer] = []
        room = RECEIVE_SIZE
        for _ in range(reads):
            try:
                payload, control, _flags, address = recvmsg(_DATAGRAM_SIZE, CONTROL_SIZE)
            except BlockingIOError:
                break
            except OSError:
                self.counters.receive_errors += 1
                continue
            room -= len(payload)
            if address == sender and control == options:
                together.append(payload)
            else:
                remote = self._remotes.get(address) or self._learn_remote(address)
                if remote.port == 0:  # no address: nobody can, or should, answer it
                    self.counters.receive_errors += 1
                    continue
                key = tuple(control)
                local, tos, size = self._arrivals.get(key) or _remember(
                    self._arrivals, key, arrival(key)
                )
                if size:
                    sender = None
                    bursts.append(Burst(payload, size, remote, local, tos))
                else:
                    sender, options, together = address, control, [payload]
                    bursts.append(Burst(together, _DATAGRAM_SIZE, remote, local, tos))
            if room <= 0:
                break
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
                lost = Burst(payload, size, remote).segments()
                self.counters.no_socket += sum(1 for _ in lost)
            elif whole:
                self._send_unfragmented(path, Burst(payload, size, remote).segments())
            else:
                for shipment in self._shipments(path, payload, size):
                    path = self._ship(path, shipment)

    def flush(self, fileno: int) -> None:
        """Send what is kept for a descriptor that is writable again."""
        half = self._halves.get(fileno)
        if half is None:
            return
        while (oldest := half.backlog.oldest(clock.now())) is not None:
            payload, size, path, _ = oldest
            try:
                half.sock.sendmsg((payload,), with_size(path.control, size), 0, path.address)
            except BlockingIOError:
                return
            except OSError as error:
                if size and error.errno in _SEGMENT_ERRORS:
                    self.counters.segment_refusals += 1
                    half.backlog.divide()  # what waits behind it stays there
                    continue
                half.backlog.sent()
                self._recover(path, ([payload], size), error)
            else:
                half.backlog.sent()

    def _shipments(
        self, path: _Path, payload: Buffer | list[Buffer], size: int
    ) -> Iterable[_Shipment]:
        """Return a burst as few sends: one if the kernel takes it so, else one a datagram."""
        if isinstance(payload, list) and len(payload) == 1:
            return [(payload, 0)]
        if not isinstance(payload, list) and len(payload) <= size:
            return [([payload], 0)]
        if not path.half.segments or (
            self._largest and self._refused(path.remote, size)  # for most it is empty
        ):
            return [([each], 0) for each in Burst(payload, size, path.remote).segments()]
        if isinstance(payload, list):
            groups = join(payload, v6=path.half.v6)
            return [(group, len(group[0]) if len(group) > 1 else 0) for group in groups]
        limit = V6_MAX if path.half.v6 else V4_MAX
        if len(payload) <= min(limit, size * SEGMENTS_MAX):
            return [([payload], size)]
        # At least one: a datagram that is too large for any send is the kernel's to refuse.
        step = size * min(SEGMENTS_MAX, max(limit // size, 1))
        view = memoryview(payload)
        pieces = [view[at : at + step] for at in range(0, len(view), step)]
        return [([piece], size if len(piece) > size else 0) for piece in pieces]

    # hot path: bench/ports
    def _ship(self, path: _Path, shipment: _Shipment) -> _Path:
        """Send; return the path for what follows."""
        half, (buffers, size) = path.half, shipment
        if half.backlog:
            self._keep(path, shipment)
            return path
        try:
            half.sock.sendmsg(buffers, with_size(path.control, size), 0, path.address)
        except OSError as error:
            return self._recover(path, shipment, error)
        return path

    def _send_unfragmented(self, path: _Path, segments: Iterable[Buffer]) -> None:
        """Send with the don't-fragment bit; what cannot go now is dropped: it is a probe."""
        sock = path.half.sock
        udp_sockets.discover(sock, udp_sockets.PMTUDISC_PROBE)
        try:
            for segment in segments:
                try:
                    sock.sendmsg((segment,), path.control, 0, path.address)
                except OSError as error:
                    self._fail(path, error, ([segment], 0))
        finally:
            udp_sockets.discover(sock, udp_sockets.PMTUDISC_DONT)

    def _recover(self, path: _Path, shipment: _Shipment, error: OSError) -> _Path:
        """Keep, retry singly or without the source, or drop; return the path for the rest."""
        _, size = shipment
        if isinstance(error, BlockingIOError):
            self._keep(path, shipment)
        elif size and error.errno in _SEGMENT_ERRORS:
            return self._ship_singly(path, shipment, error)
        elif path.local is not None and error.errno in SOURCE_ERRORS:
            self.counters.source_retries += 1
            free = path._replace(control=outgoing(path.half.v6, None, path.tos), local=None)
            self._retry(free, shipment, path.local)
            return free
        else:
            self._fail(path, error, shipment)
        return path

    def _ship_singly(self, path: _Path, shipment: _Shipment, error: OSError) -> _Path:
        """Send the datagrams of a refused burst one by one, and remember what was refused.

        A datagram above the path's MTU goes in fragments by itself, but never in a burst; some
        ways take no burst at all, and another remote may be reached on another way. If it was
        the source that the kernel did not like, there is nothing to remember.
        """
        self.counters.segment_refusals += 1
        buffers, size = shipment
        payload = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        after = path
        for segment in Burst(payload, size, path.remote).segments():
            after = self._ship(after, ([segment], 0))
        none = error.errno in _NONE_ERRORS
        if after is path or none:
            refusal = 0 if none else size - 1, clock.now() + REFUSAL_LIFETIME
            _remember(self._largest, path.remote, refusal)
        return after

    def _refused(self, remote: Endpoint, size: int) -> bool:
        """Tell whether bursts of such datagrams to a remote were refused lately."""
        largest, until = self._largest.get(remote, (size, 0.0))
        if size > largest and clock.now() >= until:
            del self._largest[remote]
            return False
        return size > largest

    def _retry(self, free: _Path, shipment: _Shipment, lost: Local) -> None:
        """Send without a source; if that goes, the source was at fault and not the remote.

        Anybody can have an answer sent to where no route leads: that says nothing of a source.
        """
        buffers, size = shipment
        try:
            free.half.sock.sendmsg(buffers, with_size(free.control, size), 0, free.address)
        except BlockingIOError:
            self._keep(free, shipment)
        except OSError as error:
            self._fail(free, error, shipment)
            return
        self.source_lost(lost)

    def _keep(self, path: _Path, shipment: _Shipment) -> None:
        buffers, size = shipment
        path.half.backlog.keep(buffers, size, path, clock.now())

    def _fail(self, path: _Path, error: OSError, shipment: _Shipment) -> None:
        self.counters.count(error.errno, datagrams(*shipment))
        self.failed(path.remote, error.errno or 0)

    def _learn_remote(self, address: _Address) -> Endpoint:
        scope = address[3] if len(address) == 4 else 0
        host = ipaddress.ip_address(address[0].partition("%")[0]).packed
        return _remember(self._remotes, address, Endpoint(host, address[1], scope))

    def _learn_path(self, remote: Endpoint, local: Local | None, tos: int) -> _Path | None:
        half = self._by_size.get(len(remote.host))
        if half is None:
            return None
        host = str(ipaddress.ip_address(remote.host))
        address = (host, remote.port, 0, remote.scope) if half.v6 else (host, remote.port)
        path = _Path(half, address, outgoing(half.v6, local, tos), remote, local, tos)
        return _remember(self._paths, (remote, local, tos), path)


def _remember(table: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    if len(table) >= CACHE_LIMIT:
        table.clear()
    table[key] = value
    return value
