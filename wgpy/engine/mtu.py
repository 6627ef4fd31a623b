"""Routes through the interface that have an MTU of their own: padding must not exceed it."""

from collections.abc import Iterable

from wgpy.engine.allowedips import AllowedIPs
from wgpy.model import Prefix


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
