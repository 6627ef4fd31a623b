"""Datagrams to and from the bursts of the UDP socket (UDP_SEGMENT and UDP_GRO, udp(7)).

All datagrams of a burst have one size; the last may be shorter, and nothing follows it.
"""

from collections.abc import Sequence
from typing import Final

from wgpy.model import Buffer

# UDP_MAX_SEGMENTS of <linux/udp.h> before Linux 6.9; later ones take 128.
SEGMENTS_MAX: Final = 64
# The kernel accepts 65,507 bytes by IPv4 and 65,527 by IPv6. But if the packet with its UDP, IP
# and Ethernet headers does not stay below the interface's gso_max_size, 65,536 bytes, it is
# split before it gets there, which is what the burst was to avoid.
V4_MAX: Final = 65536 - 1 - 14 - 20 - 8
V6_MAX: Final = 65536 - 1 - 14 - 40 - 8


def join(payloads: Sequence[Buffer], *, v6: bool) -> list[list[Buffer]]:
    """Return the datagrams in groups that one send each may carry, in their order.

    A group with more than one is sent with the size of its first datagram as UDP_SEGMENT.
    """
    limit = V6_MAX if v6 else V4_MAX
    groups: list[list[Buffer]] = []
    # A room of 0 ends the group: after a shorter datagram, and before the first one.
    size = room = 0
    for payload in payloads:
        own = len(payload)
        if 0 < own <= size and own <= room and len(groups[-1]) < SEGMENTS_MAX:
            groups[-1].append(payload)
            room = room - own if own == size else 0
        else:
            groups.append([payload])
            size, room = own, limit - own
    return groups
