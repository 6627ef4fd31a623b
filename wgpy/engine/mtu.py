"""How large packets may be: by their route, by the way to their peer, and what of the others.

Routes through the interface may have an MTU of their own; padding must not exceed it. What goes
through relays has to leave room for their headers.
"""

from collections.abc import Iterable, Sequence

from wgpy.engine.allowedips import AllowedIPs
from wgpy.model import Buffer, Endpoint, Prefix
from wgpy.wire import hop
from wgpy.wire.detour import VIA_MTU, via_id


def towards(endpoint: Endpoint | None, mtu: int) -> int:
    """Return the MTU of the way to a peer; `mtu` is that of the route, 0 if unknown."""
    if endpoint is None or via_id(endpoint) is None:
        return mtu
    return min(mtu or VIA_MTU, VIA_MTU)


def fitting(packet: Buffer, mtu: int) -> Sequence[Buffer]:
    """Return what leaves of a sound packet: itself, or its fragments; nothing if it is too big.

    Of an MTU of 0 nothing is known.
    """
    if not mtu or len(packet) <= mtu:
        return (packet,)
    return [*hop.fragments(packet, mtu)] if hop.may_fragment(packet) else ()


class RouteMtus:
    """The MTU of the route to an address, in bytes; usually there are none."""

    def __init__(self, routes: Iterable[tuple[Prefix, int]] = ()) -> None:
        self._table: AllowedIPs[int] | None = None
        for prefix, mtu in routes:
            self._table = self._table or AllowedIPs()
            self._table.insert(prefix, mtu)

    def lookup(self, address: bytes, mtu: int) -> int:
        """Return the MTU towards a packed address; `mtu` is the interface's."""
        if self._table is None:
            return mtu
        return min(mtu, self._table.lookup(address) or mtu)
