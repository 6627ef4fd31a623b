"""Control messages of the UDP sockets (cmsg(3)): source, TOS, datagrams of a burst."""

import socket
import struct
from typing import Final, TypeAlias

from wgpy.io.udp_sockets import IP_PKTINFO, UDP_GRO, UDP_SEGMENT
from wgpy.model import Local

# Room for source address, TOS and size.
CONTROL_SIZE: Final = socket.CMSG_SPACE(20) + 2 * socket.CMSG_SPACE(4)

Control: TypeAlias = list[tuple[int, int, bytes]]
# Local address, TOS, and the size of each datagram of one read; 0 if it brought one.
Arrival: TypeAlias = tuple[Local | None, int, int]

_PKTINFO4: Final = struct.Struct("=I4s4s")
_PKTINFO6: Final = struct.Struct("=16sI")
_INT: Final = struct.Struct("=i")
_U16: Final = struct.Struct("=H")


def arrival(control: tuple[tuple[int, int, bytes], ...]) -> Arrival:
    """Return where a read came to, how it was marked, and the size of its datagrams."""
    local, tos, size = None, 0, 0
    for level, kind, value in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            interface, host, _ = _PKTINFO4.unpack(value)
            local = Local(host, interface)
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            local = Local(*_PKTINFO6.unpack(value))
        elif (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS):
            tos = value[0]
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_TCLASS):
            tos = _INT.unpack(value)[0]
        elif (level, kind) == (socket.IPPROTO_UDP, UDP_GRO):
            size = _INT.unpack(value)[0]
    return local, tos, size


def outgoing(v6: bool, local: Local | None, tos: int) -> Control:  # noqa: FBT001
    """Return the control messages; a source of the other family is left out."""
    control: Control = []
    if local is not None and len(local.host) == (16 if v6 else 4):
        if v6:
            info = _PKTINFO6.pack(local.host, local.interface)
            control.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info))
        else:
            info = _PKTINFO4.pack(local.interface, local.host, bytes(4))
            control.append((socket.IPPROTO_IP, IP_PKTINFO, info))
    if tos and v6:
        control.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INT.pack(tos)))
    elif tos:
        control.append((socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(tos)))
    return control


def with_size(control: Control, size: int) -> Control:
    """Return the control messages of a send; with a size it carries many datagrams."""
    if not size:
        return control
    return [*control, (socket.IPPROTO_UDP, UDP_SEGMENT, _U16.pack(size))]
