"""Datagrams of ours that a route of the host leads back into the tunnel they carry.

Each round would wrap them once more, without end: a default route into the interface and no
mark that exempts our own datagrams (wg-quick(8), FwMark). The kernel's and other WireGuards
let them go round. A tunnel of somebody else to the same remote, through ours, is no loop.
"""

from typing import Final

from wgpy.engine.peer import Peer
from wgpy.model import Buffer
from wgpy.wire import ip, messages

_WITH_INDEX: Final = (messages.TYPE_INITIATION, messages.TYPE_RESPONSE, messages.TYPE_DATA)


def is_loop(packet: Buffer, peer: Peer) -> bool:
    """Tell whether a packet to where a peer is, in its tunnel, is a message of ours to it."""
    payload = ip.udp_payload(packet)
    if payload is None:
        return False
    kind, index, _ = messages.data_fields_untrusted(payload)
    return kind in _WITH_INDEX and peer.sends_with(index)
