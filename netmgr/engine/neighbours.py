"""Whom a node keeps a direct way to: few, so that a thousand nodes can be one network.

In a small network everybody. In a larger one those on the LAN, static peers, and three that a
hash of the pair chooses, the same for both. A node in network.yaml keeps all the others there.
Who pays for its bytes has two, and some more while one of these does not answer; nobody but
itself chooses it, unless it stands in network.yaml.
"""

from hashlib import blake2s
from typing import Final

from netmgr.engine import thrift
from netmgr.engine.common import Context, is_metered
from netmgr.engine.remote import Remote

# Networks in which everybody is a neighbour of everybody have fewer nodes beside oneself.
SMALL: Final = 12
SEEDS: Final = 2
BY_RANK: Final = 3
ON_LAN: Final = 8


class Neighbours:
    """The neighbours that this node chose; others may choose it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._chosen: frozenset[bytes] = frozenset()
        # By identity: the hash of the pair with us.
        self._ranks: dict[bytes, bytes] = {}

    def wants(self, remote: Remote) -> bool:
        """Tell whether a node was chosen."""
        return remote.identity in self._chosen

    def choose(self) -> list[Remote]:
        """Choose anew; return who was not chosen before, or is not up: places may be new."""
        remotes = self._context.remotes
        if len(self._ranks) > 2 * len(remotes) + SMALL:
            self._ranks = {}
        chosen = {remote.identity: remote for remote in self._wanted()}
        before, self._chosen = self._chosen, frozenset(chosen)
        return [one for key, one in chosen.items() if key not in before or not one.up]

    # --- inside ---

    def _wanted(self) -> list[Remote]:
        context = self._context
        remotes = list(context.remotes.values())
        metered = context.settings.metered
        if len(remotes) < SMALL and not metered:
            return [one for one in remotes if not is_metered(one.record)]
        ranked = sorted(remotes, key=self._rank)
        static = [one for one in ranked if context.is_static(one)]
        able = [one for one in ranked if not is_metered(one.record)]
        if metered:
            wanted = list(dict.fromkeys([*static, *able, *ranked]))
            first = wanted[: thrift.NEIGHBOURS]
            return wanted[: len(first) + sum(not one.up for one in first)]
        near = [one for one in able if one.up and one.places.is_local(one.endpoint)]
        seeds = static if context.is_seed else static[:SEEDS]
        return [*seeds, *able[:BY_RANK], *near[:ON_LAN]]

    def _rank(self, remote: Remote) -> bytes:
        rank = self._ranks.get(remote.identity)
        if rank is None:
            pair = sorted((self._context.identity.short, remote.short))
            rank = blake2s(b"".join(pair), digest_size=8).digest()
            self._ranks[remote.identity] = rank
        return rank
