"""What happens to the TUN interface and to the ways out: a watch on rtnetlink.

The interface may be renamed and moved to another network namespace. The watch knows it by
namespace number and index and hears every namespace that has a number in this one
(NETLINK_LISTEN_ALL_NSID, needs CAP_NET_BROADCAST when the watch is opened). After a move it
asks the TUN descriptor where the interface is (TUNGETDEVNETNS, needs CAP_NET_ADMIN). Where
that is not permitted, `needs_probe` says that nobody will report its going up and down.

The kernel does not report the routes that go with a link set down; older ones neither those
that go with their IPv4 address. They are forgotten, or asked for again, at what is reported.
"""

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from wgpy.io import netlink
from wgpy.io.tun_linux import TUNGETIFF
from wgpy.model import InterfaceAddress, Prefix

TUNGETDEVNETNS: Final = 0x54E3
IFF_UP: Final = 0x1
# Up, running, carrier: what decides whether a link can carry traffic.
_USABLE: Final = 0x1 | 0x40 | 0x10000

# Messages taken in one call; what a stranger could make grow is the number of routes kept.
RECEIVE_LIMIT: Final = 256
ROUTE_LIMIT: Final = 4096

_BUFFER_SIZE: Final = 1 << 20
_READ_SIZE: Final = 1 << 16
_CONTROL_SIZE: Final = socket.CMSG_SPACE(4)
_NSID: Final = struct.Struct("=i")
_IFREQ_SIZE: Final = 40
_NAME_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class LinkState:
    """The TUN interface is up or down, and its MTU in bytes."""

    up: bool
    mtu: int


@dataclass(frozen=True, slots=True)
class LinkGone:
    """The TUN interface was deleted; nothing follows."""


@dataclass(frozen=True, slots=True)
class AddressGone:
    """An address of the namespace of the sockets was removed; nothing can leave from it."""

    host: bytes


@dataclass(frozen=True, slots=True)
class RouteChanged:
    """The ways out of the namespace of the sockets changed: a known source may be wrong."""


@dataclass(frozen=True, slots=True)
class RouteMtus:
    """All routes through the TUN interface that have an MTU of their own, the least of each."""

    mtus: tuple[tuple[Prefix, int], ...]


@dataclass(frozen=True, slots=True)
class OwnAddresses:
    """All addresses of the interface's namespace, the interface's own before the others."""

    addresses: tuple[InterfaceAddress, ...]


LinkEvent: TypeAlias = (
    LinkState | LinkGone | AddressGone | RouteChanged | RouteMtus | OwnAddresses
)


class _Place(NamedTuple):
    """Where an interface is; `nsid` None is the namespace of the sockets."""

    nsid: int | None
    interface: int


class LinkWatch:
    """Watches one TUN interface by its descriptor, and the routes and addresses around it."""

    def __init__(self, tun_fd: int, *, own_addresses: bool = False) -> None:
        """Begin to watch; to be called in the namespace of the UDP sockets.

        The first `receive` returns the state as it is. `own_addresses` are told if asked for.

        Raises:
            OSError: rtnetlink cannot be had.
        """
        self._tun_fd = tun_fd
        self._home = os.stat("/proc/thread-self/ns/net").st_ino
        self._socket, self._hears_all = _listen()
        self._place: _Place | None = None
        self._blind = False
        self._state: LinkState | None = None
        self._usable: dict[int, int] = {}
        self._routes: dict[tuple[int, bytes, int, int, int, int], int] = {}
        self._told: tuple[tuple[Prefix, int], ...] = ()
        self._events: list[LinkEvent] = []
        self._addresses = _Addresses() if own_addresses else None
        self._locate()

    @property
    def needs_probe(self) -> bool:
        """Whether the interface is where its going up and down is not heard."""
        elsewhere = self._place is None or self._place.nsid is not None
        return elsewhere and (self._blind or not self._hears_all)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def receive(self) -> list[LinkEvent]:
        """Return what happened since the last call, in order, each kind of change once.

        A bounded number of messages is taken; if the kernel had to drop some, everything is
        asked for again.
        """
        overrun = False
        for _ in range(RECEIVE_LIMIT):
            try:
                datagram, control, _, (port, _) = self._socket.recvmsg(
                    _READ_SIZE, _CONTROL_SIZE
                )
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                overrun = True
                continue
            if port == 0:
                origin = _origin(control)
                for kind, content in netlink.messages(datagram):
                    self._take(kind, content, origin)
        if overrun:
            self._locate()
            self._tell(RouteChanged())
        self._tell_mtus()
        if self._addresses is not None and self._place is not None:
            self._events += self._addresses.news(self._place)
        events, self._events = self._events, []
        return events

    # --- messages --------------------------------------------------------------------------

    def _take(self, kind: int, content: bytes, origin: int | None) -> None:
        if kind in (netlink.RTM_NEWLINK, netlink.RTM_DELLINK):
            self._take_link(kind, netlink.link(content), origin)
        elif kind in (netlink.RTM_NEWROUTE, netlink.RTM_DELROUTE):
            self._take_route(kind, netlink.route(content), origin)
        elif kind in (netlink.RTM_NEWADDR, netlink.RTM_DELADDR):
            if self._addresses is not None:
                self._addresses.stale = True
            if kind == netlink.RTM_DELADDR:
                self._take_address(netlink.address(content), origin)

    def _take_link(self, kind: int, link: netlink.Link, origin: int | None) -> None:
        gone = kind == netlink.RTM_DELLINK
        if self._place != (origin, link.interface):
            if origin is None:
                self._take_underlay_link(link, gone=gone)
        elif not gone:
            self._update(link)
        elif netlink.IFLA_NEW_IFINDEX in link.attributes:
            nsid = netlink.number(link.attributes, netlink.IFLA_NEW_NETNSID, -1)
            interface = netlink.number(link.attributes, netlink.IFLA_NEW_IFINDEX)
            # The number is one of the namespace it left.
            self._place = _Place(nsid, interface) if origin is None and nsid >= 0 else None
            self._routes.clear()
            self._locate()
        else:
            self._tell_gone()

    def _take_underlay_link(self, link: netlink.Link, *, gone: bool) -> None:
        usable = link.flags & _USABLE
        if gone:
            self._usable.pop(link.interface, None)
            self._tell(RouteChanged())
        elif self.needs_probe and link.attributes.get(netlink.IFLA_IFNAME) == self._raw_name():
            self._locate()
        elif self._usable.get(link.interface) != usable:
            self._usable[link.interface] = usable
            self._tell(RouteChanged())

    def _take_route(self, kind: int, route: netlink.Route, origin: int | None) -> None:
        ours = self._place == (origin, route.interface)
        if route.kind == netlink.RTN_UNICAST and self._place and self._place.nsid == origin:
            self._remember(route, present=ours and kind == netlink.RTM_NEWROUTE)
        if origin is not None or ours:
            return
        if route.table != netlink.RT_TABLE_LOCAL:
            self._tell(RouteChanged())

    def _take_address(self, address: netlink.Address, origin: int | None) -> None:
        if origin is None:
            self._tell(AddressGone(address.host))
        if self._place == (None, address.interface) == (origin, address.interface):
            self._reread_routes()

    # --- the interface ---------------------------------------------------------------------

    def _locate(self) -> None:
        """Find out where the interface is, and its state there."""
        name = self._raw_name()
        if name is None:
            self._tell_gone()
            return
        try:
            nsid = self._namespace()
            link = netlink.link_named(name, nsid)
        except OSError:
            self._do_without_asking(name)
            return
        place = _Place(nsid, link.interface)
        if self._addresses is not None:
            self._addresses.stale = True
        if place != self._place:
            self._place = place
            self._routes.clear()
        self._update(link)
        self._reread_routes()

    def _do_without_asking(self, name: bytes) -> None:
        """Take it that the interface is here at first, later where its last message said."""
        if self._state is None:
            with suppress(OSError):
                link = netlink.link_named(name, None)
                self._place = _Place(None, link.interface)
                self._update(link)
                self._reread_routes()
                return
        self._blind = True
        if self._state is not None:
            # A move sets it down.
            self._set_state(LinkState(up=False, mtu=self._state.mtu))

    def _raw_name(self) -> bytes | None:
        """Return the interface's name with its final zero, None if it is gone."""
        try:
            reply = fcntl.ioctl(self._tun_fd, TUNGETIFF, bytes(_IFREQ_SIZE))
        except OSError:
            return None
        return reply[:_NAME_SIZE].rstrip(b"\0") + b"\0"

    def _tell_gone(self) -> None:
        self._place = None
        self._routes.clear()
        self._tell(LinkGone())

    def _namespace(self) -> int | None:
        """Return the number of the namespace the interface is in, None for that of the sockets.

        Raises:
            OSError: not permitted, or not known to this kernel.
        """
        namespace = fcntl.ioctl(self._tun_fd, TUNGETDEVNETNS)
        try:
            if os.fstat(namespace).st_ino == self._home:
                return None
            return netlink.nsid_of(namespace)
        finally:
            os.close(namespace)

    def _update(self, link: netlink.Link) -> None:
        up = bool(link.flags & IFF_UP)
        if not up:
            self._routes.clear()
        self._blind = False
        mtu = netlink.number(link.attributes, netlink.IFLA_MTU)
        self._set_state(LinkState(up=up, mtu=mtu))

    def _set_state(self, state: LinkState) -> None:
        if state != self._state:
            self._state = state
            self._events.append(state)

    # --- routes through it -----------------------------------------------------------------

    def _reread_routes(self) -> None:
        """Ask for what is not reported; only routes of this namespace can be asked for."""
        if self._place is None or self._place.nsid is not None:
            return
        self._routes.clear()
        with suppress(OSError):
            for route in netlink.routes_through(self._place.interface):
                if route.kind == netlink.RTN_UNICAST:
                    self._remember(route, present=True)

    def _remember(self, route: netlink.Route, *, present: bool) -> None:
        self._routes.pop(route.key, None)
        if present and route.mtu and len(self._routes) < ROUTE_LIMIT:
            self._routes[route.key] = route.mtu

    def _tell_mtus(self) -> None:
        least: dict[Prefix, int] = {}
        for (_, host, length, *_), mtu in self._routes.items():
            prefix = Prefix(host, length)
            least[prefix] = min(mtu, least.get(prefix, mtu))
        mtus = tuple(sorted(least.items()))
        if mtus != self._told:
            self._told = mtus
            self._events.append(RouteMtus(mtus))

    def _tell(self, event: LinkEvent) -> None:
        if event not in self._events:
            self._events.append(event)


class _Addresses:
    """The addresses of the interface's namespace, asked for again whenever one changes."""

    def __init__(self) -> None:
        self.stale = True
        self._told: OwnAddresses | None = None

    def news(self, place: _Place) -> list[LinkEvent]:
        """Return what there is to tell; what cannot be asked for stays as it was."""
        if not self.stale:
            return []
        self.stale = False
        try:
            found = netlink.addresses(place.nsid)
        except OSError:
            return []
        found.sort(key=lambda address: address.interface != place.interface)
        told = OwnAddresses(tuple(InterfaceAddress(each.host, each.length) for each in found))
        if told == self._told:
            return []
        self._told = told
        return [told]


def _listen() -> tuple[socket.socket, bool]:
    """Return a socket that hears links, addresses and routes; whether of all namespaces."""
    listening = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        hears_all = True
        try:
            listening.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_LISTEN_ALL_NSID, 1)
        except OSError:
            hears_all = False
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_SIZE)
        groups = 0
        for group in (
            netlink.GROUP_LINK,
            netlink.GROUP_IPV4_ADDRESS,
            netlink.GROUP_IPV4_ROUTE,
            netlink.GROUP_IPV6_ADDRESS,
            netlink.GROUP_IPV6_ROUTE,
        ):
            groups |= 1 << (group - 1)
        listening.bind((0, groups))
    except OSError:
        listening.close()
        raise
    return listening, hears_all


def _origin(control: list[tuple[int, int, bytes]]) -> int | None:
    """Return the number of the namespace a datagram tells of, None for this one."""
    for level, kind, value in control:
        if (level, kind) == (netlink.SOL_NETLINK, netlink.NETLINK_LISTEN_ALL_NSID):
            nsid: int = _NSID.unpack(value)[0]
            return nsid
    return None
