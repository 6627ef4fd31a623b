"""Where others may reach this host: its interfaces and addresses, and a watch on them.

Tunnels and the inside of this machine are left out: bridges and cables of containers and
virtual machines have addresses that other machines have as well.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, NamedTuple

from wgpy.io import netlink
from wgpy.model import InterfaceAddress, Prefix
from wgpy.wire.text import covers, unmap

DEBOUNCE: Final = 0.05
RECEIVE_LIMIT: Final = 256
_BUFFER_SIZE: Final = 1 << 18
_READ_SIZE: Final = 1 << 16
_V4_SIZE: Final = 4
# <linux/if.h>
_IFF_UP: Final = 0x1
_IFF_LOOPBACK: Final = 0x8
_IFF_LOWER_UP: Final = 0x10000
# <linux/if_addr.h>: temporary, duplicate, deprecated, tentative.
_PASSING: Final = 0x01 | 0x08 | 0x20 | 0x40
_TUNNELS: Final = frozenset({b"tun", b"wireguard"})
_NOT_OUTSIDE: Final = re.compile(
    r"lo"
    # A bridge br-lan leads out.
    r"|docker\d.*|docker_gwbridge|br-[0-9a-f]{12}|veth[0-9a-zA-Z]{6,8}"
    r"|virbr\d.*|vnet\d+|vmnet\d+|vboxnet\d+"
    r"|(cni|flannel|cali|lxc|lxd|podman|nerdctl|kube-|weave|cilium|nodelocaldns).*"
    r"|(tun|tap|utun|wg|zt|tailscale|nebula|nordlynx|ipsec|vxlan|gre|sit|ip6tnl|ifb).*"
    r"|wt\d+"
)
# Of no host, of one link, or of many hosts (RFC 6890).
_UNUSABLE: Final = (
    Prefix(bytes(4), 8),
    Prefix(b"\x7f" + bytes(3), 8),
    Prefix(b"\xa9\xfe" + bytes(2), 16),
    Prefix(b"\xe0" + bytes(3), 3),
    Prefix(bytes(16), 127),
    Prefix(b"\xfe\x80" + bytes(14), 10),
    Prefix(b"\xff" + bytes(15), 8),
)


class Interface(NamedTuple):
    """A way out of this host; `addresses` are those that others may be told."""

    number: int
    name: str
    addresses: tuple[InterfaceAddress, ...] = ()


def usable(name: str, address: bytes) -> bool:
    """Return whether others may be told an address, packed, of an interface of that name."""
    host = unmap(address)
    single = Prefix(host, len(host) * 8)
    return outside(name) and not any(covers(block, single) for block in _UNUSABLE)


def outside(name: str) -> bool:
    """Return whether an interface leads out of this host, as far as its name tells."""
    return _NOT_OUTSIDE.fullmatch(name) is None


def interfaces(ours: Collection[str] = ()) -> tuple[Interface, ...]:
    """Return the interfaces that are up and lead out, by number; `ours` are left out.

    Temporary, deprecated and tentative IPv6 addresses are not among the addresses.

    Raises:
        OSError: the kernel does not answer.
    """
    found: dict[int, list[InterfaceAddress]] = {}
    names: dict[int, str] = {}
    for link in netlink.links():
        raw = link.attributes.get(netlink.IFLA_IFNAME, b"")
        name = raw.rstrip(b"\0").decode("utf-8", "replace")
        if name not in ours and outside(name) and _leads_out(link):
            names[link.interface], found[link.interface] = name, []
    for address in netlink.addresses(None):
        name = names.get(address.interface, "lo")
        if usable(name, address.host) and not _is_passing(address):
            place = InterfaceAddress(address.host, address.length)
            found[address.interface].append(place)
    return tuple(
        Interface(number, name, tuple(sorted(found[number], key=_v4_first)))
        for number, name in sorted(names.items())
    )


def has_ipv6() -> bool:
    """Tell whether new interfaces of this host may have IPv6 addresses."""
    try:
        with open("/proc/sys/net/ipv6/conf/default/disable_ipv6") as file:
            return file.read().strip() == "0"
    except OSError:
        return False


def _v4_first(address: InterfaceAddress) -> tuple[int, bytes]:
    return len(address.address), address.address


def _leads_out(link: netlink.Link) -> bool:
    details = netlink.attributes(link.attributes.get(netlink.IFLA_LINKINFO, b""))
    kind = details.get(netlink.IFLA_INFO_KIND, b"").rstrip(b"\0")
    up = link.flags & _IFF_UP and link.flags & _IFF_LOWER_UP
    return bool(up) and not link.flags & _IFF_LOOPBACK and kind not in _TUNNELS


def _is_passing(address: netlink.Address) -> bool:
    # Bit 0 says "secondary" of an IPv4 address, "temporary" of an IPv6 one.
    return len(address.host) != _V4_SIZE and bool(address.flags & _PASSING)


class InterfaceWatch:
    """Tells that links, addresses, routes or rules here changed, 50 ms late at most.

    Many changes within that time are told once; what changed is to be asked for.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        """Begin to watch on the running loop.

        Raises:
            OSError: rtnetlink cannot be had.
        """
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._socket = _listen()
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Stop watching."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _readable(self) -> None:
        for _ in range(RECEIVE_LIMIT):
            with suppress(OSError):  # the kernel had to drop some: it is a change as well
                try:
                    self._socket.recv(_READ_SIZE)
                except BlockingIOError:
                    break
        if self._timer is None:
            self._timer = self._loop.call_later(DEBOUNCE, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._on_change()


def _listen() -> socket.socket:
    listening = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    groups = 0
    for group in (
        netlink.GROUP_LINK,
        netlink.GROUP_IPV4_ADDRESS,
        netlink.GROUP_IPV4_ROUTE,
        netlink.GROUP_IPV4_RULE,
        netlink.GROUP_IPV6_ADDRESS,
        netlink.GROUP_IPV6_ROUTE,
        netlink.GROUP_IPV6_RULE,
    ):
        groups |= 1 << (group - 1)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_SIZE)
        listening.bind((0, groups))
    except OSError:
        listening.close()
        raise
    return listening
