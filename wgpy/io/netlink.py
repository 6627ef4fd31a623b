"""Messages of rtnetlink, as far as watching links needs them (RFC 3549, <linux/rtnetlink.h>).

A message is a header of 16 bytes (length, type, flags, sequence, port), a fixed part by type,
and attributes of 4 bytes of header (length, type) each; all parts are padded to 4 bytes and in
the byte order of the host.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

SOL_NETLINK: Final = 270
NETLINK_LISTEN_ALL_NSID: Final = 8
NETLINK_GET_STRICT_CHK: Final = 12

NLM_F_REQUEST: Final = 0x001
NLM_F_ACK: Final = 0x004
NLM_F_DUMP: Final = 0x300
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_SETLINK: Final = 19
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTM_NEWNSID: Final = 88
RTM_GETNSID: Final = 90

# Numbers of multicast groups (RTNLGRP_*).
GROUP_LINK: Final = 1
GROUP_IPV4_ADDRESS: Final = 5
GROUP_IPV4_ROUTE: Final = 7
GROUP_IPV4_RULE: Final = 8
GROUP_IPV6_ADDRESS: Final = 9
GROUP_IPV6_ROUTE: Final = 11
GROUP_IPV6_RULE: Final = 19

IFLA_IFNAME: Final = 3
IFLA_MTU: Final = 4
IFLA_LINKINFO: Final = 18
IFLA_AF_SPEC: Final = 26
IFLA_GSO_MAX_SIZE: Final = 41
IFLA_NEW_NETNSID: Final = 45
IFLA_TARGET_NETNSID: Final = 46
IFLA_NEW_IFINDEX: Final = 49
IFLA_INFO_KIND: Final = 1
IFLA_INET6_ADDR_GEN_MODE: Final = 8
IN6_ADDR_GEN_MODE_NONE: Final = 1
IFF_MULTICAST: Final = 0x1000
IFA_ADDRESS: Final = 1
IFA_LOCAL: Final = 2
IFA_FLAGS: Final = 8
IFA_TARGET_NETNSID: Final = 10
RTA_DST: Final = 1
RTA_OIF: Final = 4
RTA_PRIORITY: Final = 6
RTA_METRICS: Final = 8
RTA_TABLE: Final = 15
RTAX_MTU: Final = 2
NETNSA_NSID: Final = 1
NETNSA_FD: Final = 3

RT_TABLE_LOCAL: Final = 255
RTN_UNICAST: Final = 1

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_IFINFOMSG: Final = struct.Struct("=BxHiII")
_IFADDRMSG: Final = struct.Struct("=4BI")
_RTMSG: Final = struct.Struct("=8BI")
_RTGENMSG: Final = struct.Struct("=B3x")
_INT: Final = struct.Struct("=i")
_U32: Final = struct.Struct("=I")
_TYPE_MASK: Final = 0x3FFF
_READ_SIZE: Final = 1 << 17
_REPLY_TIMEOUT: Final = 2.0

Attributes = dict[int, bytes]


class Link(NamedTuple):
    """An interface; `flags` are IFF_*."""

    interface: int
    flags: int
    attributes: Attributes


class Address(NamedTuple):
    """An address of an interface; `flags` are IFA_F_*."""

    interface: int
    host: bytes
    length: int
    flags: int


class Route(NamedTuple):
    """A route; two with equal `key` replace each other. `mtu` is its metric, 0 for none."""

    key: tuple[int, bytes, int, int, int, int]
    kind: int
    table: int
    interface: int
    mtu: int


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and content of each message."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        size, kind, _flags, _sequence, _port = _HEADER.unpack_from(datagram, offset)
        if size < _HEADER.size:
            return
        yield kind, datagram[offset + _HEADER.size : offset + size]
        offset += _aligned(size)


def attributes(content: bytes, offset: int = 0) -> Attributes:
    """Return the attributes from `offset` on; the last of a type wins."""
    found: Attributes = {}
    while offset + _ATTRIBUTE.size <= len(content):
        size, kind = _ATTRIBUTE.unpack_from(content, offset)
        if size < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = content[offset + _ATTRIBUTE.size : offset + size]
        offset += _aligned(size)
    return found


def number(found: Attributes, kind: int, absent: int = 0) -> int:
    """Return an attribute that is a signed number of 32 bits."""
    raw = found.get(kind)
    value: int = _INT.unpack(raw)[0] if raw is not None else absent
    return value


def link(content: bytes) -> Link:
    """Read RTM_NEWLINK or RTM_DELLINK."""
    _family, _type, interface, flags, _change = _IFINFOMSG.unpack_from(content)
    return Link(interface, flags, attributes(content, _IFINFOMSG.size))


def address(content: bytes) -> Address:
    """Read RTM_NEWADDR or RTM_DELADDR; of a point-to-point pair the own end."""
    _family, length, flags, _scope, index = _IFADDRMSG.unpack_from(content)
    found = attributes(content, _IFADDRMSG.size)
    host = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS, b"")
    return Address(index, host, length, number(found, IFA_FLAGS, flags))


def route(content: bytes) -> Route:
    """Read RTM_NEWROUTE or RTM_DELROUTE."""
    family, length, _, tos, table, _, _, kind, _flags = _RTMSG.unpack_from(content)
    found = attributes(content, _RTMSG.size)
    table = number(found, RTA_TABLE, table)
    host = found.get(RTA_DST) or bytes(16 if family == socket.AF_INET6 else 4)
    mtu = number(attributes(found.get(RTA_METRICS, b"")), RTAX_MTU)
    key = (family, host, length, table, tos, number(found, RTA_PRIORITY))
    return Route(key, kind, table, number(found, RTA_OIF), mtu)


def link_named(name: bytes, nsid: int | None) -> Link:
    """Ask for an interface by its zero-ended name, in another namespace if `nsid` is not None.

    Raises:
        OSError: there is none, or CAP_NET_ADMIN over that namespace is missing.
    """
    wanted = _pack(IFLA_IFNAME, name)
    if nsid is not None:
        wanted += _pack(IFLA_TARGET_NETNSID, _INT.pack(nsid))
    for kind, content in _ask(RTM_GETLINK, NLM_F_ACK, _IFINFOMSG.pack(0, 0, 0, 0, 0) + wanted):
        if kind == RTM_NEWLINK:
            return link(content)
    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def links() -> list[Link]:
    """Ask for all interfaces of this namespace.

    Raises:
        OSError: the kernel does not answer.
    """
    answers = _ask(RTM_GETLINK, NLM_F_DUMP, _IFINFOMSG.pack(0, 0, 0, 0, 0))
    return [link(content) for kind, content in answers if kind == RTM_NEWLINK]


def routes_through(interface: int) -> list[Route]:
    """Ask for the routes of both families through one interface of this namespace.

    Raises:
        OSError: the kernel does not answer.
    """
    found: list[Route] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        wanted = _RTMSG.pack(family, *bytes(7), 0) + _pack(RTA_OIF, _INT.pack(interface))
        answers = _ask(RTM_GETROUTE, NLM_F_DUMP, wanted)
        found += [route(content) for kind, content in answers if kind == RTM_NEWROUTE]
    return found


def addresses(nsid: int | None) -> list[Address]:
    """Ask for all addresses of both families, of another namespace if `nsid` is not None.

    Raises:
        OSError: CAP_NET_ADMIN over that namespace is missing, or Linux 5.0.
    """
    wanted = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    if nsid is not None:
        wanted += _pack(IFA_TARGET_NETNSID, _INT.pack(nsid))
    answers = _ask(RTM_GETADDR, NLM_F_DUMP, wanted)
    return [address(content) for kind, content in answers if kind == RTM_NEWADDR]


def set_gso_max_size(interface: int, size: int) -> None:
    """Bound the super packets that the host makes for an interface, in bytes.

    Raises:
        OSError: not permitted, or not known to this kernel (Linux 4.16).
    """
    content = _IFINFOMSG.pack(0, 0, interface, 0, 0)
    content += _pack(IFLA_GSO_MAX_SIZE, _U32.pack(size))
    _ask(RTM_SETLINK, NLM_F_ACK, content)


def set_mtu(interface: int, mtu: int) -> None:
    """Set the MTU of an interface, in bytes.

    Raises:
        OSError: not permitted, or the kernel takes no such MTU for it.
    """
    content = _IFINFOMSG.pack(0, 0, interface, 0, 0)
    _ask(RTM_SETLINK, NLM_F_ACK, content + _pack(IFLA_MTU, _U32.pack(mtu)))


def clear_multicast(interface: int) -> None:
    """Take the flag that says that an interface can do multicast.

    Raises:
        OSError: not permitted.
    """
    _ask(RTM_SETLINK, NLM_F_ACK, _IFINFOMSG.pack(0, 0, interface, 0, IFF_MULTICAST))


def generate_no_address(interface: int) -> None:
    """Let the kernel give an interface no link-local IPv6 address when it goes up.

    Raises:
        OSError: not permitted, or there is no IPv6 for it: not in this kernel, or its MTU is
            below 1280.
    """
    mode = _pack(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
    content = _pack(IFLA_AF_SPEC, _pack(socket.AF_INET6, mode))
    _ask(RTM_SETLINK, NLM_F_ACK, _IFINFOMSG.pack(0, 0, interface, 0, 0) + content)


def nsid_of(namespace_fd: int) -> int:
    """Return the number that this namespace has for another one, giving it one if needed.

    Raises:
        OSError: it has none and CAP_NET_ADMIN to give one is missing.
    """
    wanted = _RTGENMSG.pack(socket.AF_UNSPEC) + _pack(NETNSA_FD, _INT.pack(namespace_fd))
    nsid = _first_nsid(wanted)
    if nsid < 0:
        _ask(RTM_NEWNSID, NLM_F_ACK, wanted + _pack(NETNSA_NSID, _INT.pack(-1)))
        nsid = _first_nsid(wanted)
    if nsid < 0:
        raise OSError(errno.ENOENT, "namespace without number")
    return nsid


def _first_nsid(wanted: bytes) -> int:
    for kind, content in _ask(RTM_GETNSID, NLM_F_ACK, wanted):
        if kind == RTM_NEWNSID:
            return number(attributes(content, _RTGENMSG.size), NETNSA_NSID, -1)
    return -1


def _ask(kind: int, flags: int, content: bytes) -> list[tuple[int, bytes]]:
    """Send one request on a socket of its own and return the messages up to the last."""
    size = _HEADER.size + len(content)
    request = _HEADER.pack(size, kind, NLM_F_REQUEST | flags, 1, 0) + content
    answers: list[tuple[int, bytes]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        asking.settimeout(_REPLY_TIMEOUT)
        asking.sendto(request, (0, 0))
        while True:
            for answer, body in messages(asking.recv(_READ_SIZE)):
                if answer == NLMSG_ERROR:
                    code = -_INT.unpack_from(body)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answers
                if answer == NLMSG_DONE:
                    return answers
                answers.append((answer, body))


def _pack(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(_aligned(size) - size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
