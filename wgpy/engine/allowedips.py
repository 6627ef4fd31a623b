"""Which peer an inner address belongs to: cryptokey routing (paper 2).

One table serves both directions of a device. Prefixes of one length form a dict, so a search
costs one dict access per length present, the longest first. A cache by address makes a flow
cost one access in all.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from wgpy.model import Prefix

# Addresses are chosen by whoever sends; the cache starts anew when it is full.
MAX_CACHED: Final = 4096

Owner = TypeVar("Owner", bound=Hashable)


class AllowedIPs(Generic[Owner]):
    """Prefixes and their owners; every prefix has one owner, the longest match wins."""

    def __init__(self) -> None:
        # By address size and prefix length: the network bits as a number, and whose they are.
        self._tables: dict[tuple[int, int], dict[int, Owner]] = {}
        # By address size: the host bits to cut off and the table, longest prefix first.
        self._levels: dict[int, list[tuple[int, dict[int, Owner]]]] = {4: [], 16: []}
        # By owner, oldest first; the dict is used as an ordered set.
        self._prefixes: dict[Owner, dict[Prefix, None]] = {}
        self._cache: dict[bytes, Owner | None] = {}

    def insert(self, prefix: Prefix, owner: Owner) -> None:
        """Give `prefix` to `owner`, taking it from whoever has it.

        A prefix that the owner has already becomes its latest.
        """
        address, length = prefix
        size = len(address)
        table = self._tables.get((size, length))
        if table is None:
            table = self._tables[size, length] = {}
            self._order_levels()
        network = int.from_bytes(address) >> (8 * size - length)
        previous = table.get(network)
        if previous is not None:
            self._forget(prefix, previous)
        table[network] = owner
        self._prefixes.setdefault(owner, {})[prefix] = None
        self._cache.clear()

    def remove(self, prefix: Prefix, owner: Owner) -> None:
        """Take `prefix` away from `owner`; nothing happens if it is not the owner's."""
        if prefix in self._prefixes.get(owner, ()):
            self._forget(prefix, owner)
            self._delete([prefix])

    def remove_owner(self, owner: Owner) -> None:
        """Take all its prefixes away from `owner`, in time proportional to their number."""
        self._delete(list(self._prefixes.pop(owner, ())))

    def lookup(self, address: bytes) -> Owner | None:
        """Return whom a packed address (4 or 16 bytes) belongs to, None if to nobody."""
        # hot path: a hit is one access.
        try:
            return self._cache[address]
        except KeyError:
            return self._search(address)

    def prefixes(self, owner: Owner) -> list[Prefix]:
        """Return the owner's prefixes in the order of insertion."""
        return list(self._prefixes.get(owner, ()))

    def _search(self, address: bytes) -> Owner | None:
        number = int.from_bytes(address)
        found: Owner | None = None
        for host_bits, table in self._levels[len(address)]:
            found = table.get(number >> host_bits)
            if found is not None:
                break
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[address] = found
        return found

    def _forget(self, prefix: Prefix, owner: Owner) -> None:
        prefixes = self._prefixes[owner]
        del prefixes[prefix]
        if not prefixes:
            del self._prefixes[owner]

    def _delete(self, prefixes: list[Prefix]) -> None:
        emptied = False
        for address, length in prefixes:
            size = len(address)
            table = self._tables[size, length]
            del table[int.from_bytes(address) >> (8 * size - length)]
            if not table:
                del self._tables[size, length]
                emptied = True
        if emptied:
            self._order_levels()
        self._cache.clear()

    def _order_levels(self) -> None:
        for size, levels in self._levels.items():
            levels[:] = sorted(
                (
                    (8 * size - length, table)
                    for (table_size, length), table in self._tables.items()
                    if table_size == size
                ),
                key=_host_bits,
            )


def _host_bits(level: tuple[int, object]) -> int:
    return level[0]
