"""Nanoseconds a lookup in tables of allowed IPs of several sizes; see `inprocess`."""

import json
from collections.abc import Callable
from random import Random
from time import thread_time

from wgpy.engine.allowedips import MAX_CACHED, AllowedIPs
from wgpy.model import Prefix

SIZES = (10, 1_000, 130_560)
ROUNDS = 15
# More addresses than the cache holds, so that every one is searched for.
MANY = 4 * MAX_CACHED
FEW = 16


def filled(size: int) -> tuple[AllowedIPs[int], list[bytes]]:
    """Return a table of `size` prefixes, half /24 and half /32, and addresses inside them."""
    table: AllowedIPs[int] = AllowedIPs()
    networks = []
    for number in range(size // 2):
        network = (10 << 24 | number << 8).to_bytes(4)
        host = (172 << 24 | number).to_bytes(4)
        table.insert(Prefix(network, 24), number)
        table.insert(Prefix(host, 32), number)
        networks.append((network, host))
    random = Random(7)
    addresses = []
    for _ in range(MANY // 2):
        network, host = random.choice(networks)
        addresses += [network[:3] + bytes([random.randrange(256)]), host]
    return table, addresses


def nanoseconds(lookup: Callable[[bytes], int | None], addresses: list[bytes]) -> float:
    """Return the best of some rounds, of one lookup."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = thread_time()
        for address in addresses:
            lookup(address)
        best = min(best, thread_time() - began)
    return best / len(addresses) * 1e9


def main() -> None:
    figures: dict[str, tuple[float, str]] = {}
    searched: dict[int, float] = {}
    for size in SIZES:
        table, addresses = filled(size)
        search = table._search  # noqa: SLF001 - what a miss of the cache costs
        searched[size] = nanoseconds(search, addresses)
        hit = nanoseconds(table.lookup, addresses[:FEW] * (MANY // FEW))
        figures[f"search among {size:,}"] = (searched[size], "ns")
        figures[f"flow among {size:,}"] = (hit, "ns")
    figures["search among 130,560 : among 10"] = (searched[130_560] / searched[10], "x")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
