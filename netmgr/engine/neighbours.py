"""Whom a node keeps a direct way to: few, so that a thousand nodes can be one network.

In a small network everybody. In a larger one some that a hash of the pair chooses, the same for
both: as many as it takes for three relays to lead anywhere; for each that cannot be had the
next one as well; and who is met on the LAN. A node that has too few of these keeps two static
peers, which anybody can reach, and a node in network.yaml keeps all the others there.

Who pays for its bytes has two that relay, and some more while one of these does not answer;
nobody but itself chooses it, unless it stands in network.yaml, or nobody relays between it and
another: a direct way is all that they can have.
"""

from bisect import insort
from collections.abc import Callable
from hashlib import blake2s
from itertools import islice
from typing import Final

from netmgr.engine import thrift
from netmgr.engine.common import Context, is_metered
from netmgr.engine.remote import Remote

# Networks in which everybody is a neighbour of everybody have fewer nodes beside oneself.
SMALL: Final = 12
SEEDS: Final = 2
ON_LAN: Final = 4
# With fewer than so many neighbours that answer, static peers are kept as well.
ENOUGH: Final = 3
# Probes of each place of a node after which it is not counted on.
IN_VAIN: Final = 6
# Nodes nobody relays to: those tried at once or answering, and those tried in vain for long.
CUT_OFF: Final = 24
CUT_OFF_SILENT: Final = 4


def by_rank(nodes: int) -> int:
    """Return how many a node chooses by rank among so many others.

    A node has half as many again, as others choose it. With so many, four edges in a row lead
    to several times as many places as there are nodes.
    """
    return max(4, nodes.bit_length() - 2)


class Neighbours:
    """The neighbours that this node chose; others may choose it.

    `has_way` tells whether there is any way to a node, `is_cut_off` whether it is there,
    but nobody relays between it and us.
    """

    def __init__(
        self,
        context: Context,
        has_way: Callable[[Remote], bool],
        is_cut_off: Callable[[Remote], bool],
    ) -> None:
        self._context = context
        self._has_way = has_way
        self._is_cut_off = is_cut_off
        self._chosen: frozenset[bytes] = frozenset()
        # By rank, which is the hash of the pair with us; with the identity.
        self._ranked: list[tuple[bytes, bytes]] = []
        self._ranks: dict[bytes, bytes] = {}

    def wants(self, remote: Remote) -> bool:
        """Tell whether a node was chosen."""
        return remote.identity in self._chosen

    def choose(self) -> list[Remote]:
        """Choose anew; return who was not chosen before, or is not up: places may be new."""
        self._rank()
        wanted = (*self._wanted(), *self._cut_off())
        chosen = {remote.identity: remote for remote in wanted}
        before, self._chosen = self._chosen, frozenset(chosen)
        return [one for key, one in chosen.items() if key not in before or not one.up]

    @property
    def lacks_some(self) -> bool:
        """Whether one that was chosen does not answer."""
        remotes = self._context.remotes
        return any(key in remotes and not remotes[key].up for key in self._chosen)

    # --- inside ---

    def _wanted(self) -> list[Remote]:
        context = self._context
        remotes = context.remotes
        metered = context.settings.metered
        if len(remotes) < SMALL and not metered:
            return [one for one in remotes.values() if not is_metered(one.record)]
        ranked = [remotes[identity] for _, identity in self._ranked]
        static = [one for one in ranked if context.is_static(one)]
        if metered:
            return self._frugal(static, ranked)
        wanted = [*self._able(ranked), *self._near(ranked)]
        if context.is_seed:
            return [*wanted, *static]
        if sum(1 for one in wanted if one.up) < ENOUGH:
            return [*wanted, *static[:SEEDS]]
        return wanted

    def _able(self, ranked: list[Remote]) -> list[Remote]:
        """Return the first by rank, and others for those of them that cannot be had."""
        able = [one for one in ranked if not is_metered(one.record)]
        count = by_rank(len(ranked))
        first, rest = able[:count], able[count:]
        missing = count - sum(1 for one in first if one.up or self._is_hopeful(one))
        if missing:
            others = (one for one in rest if one.up or self._is_hopeful(one))
            first += [one for one, _ in zip(others, range(missing), strict=False)]
        return first

    def _frugal(self, static: list[Remote], ranked: list[Remote]) -> list[Remote]:
        """Return two that relay, static peers before others, and who else may be had."""
        able = [one for one in (*static, *ranked) if not is_metered(one.record)]
        order = list(dict.fromkeys([*able, *static, *ranked]))
        first, rest = order[: thrift.NEIGHBOURS], order[thrift.NEIGHBOURS :]
        missing = sum(not one.up for one in first)
        others = (one for one in rest if one.up or not one.places.are_silent(IN_VAIN))
        return [*first, *islice(others, missing)]

    def _cut_off(self) -> list[Remote]:
        remotes = self._context.remotes
        ranked = (remotes[identity] for _, identity in self._ranked)
        found = [one for one in ranked if self._is_cut_off(one)]
        silent = [one for one in found if not one.up and one.places.are_silent(IN_VAIN)]
        hopeful = [one for one in found if one not in silent]
        return hopeful[:CUT_OFF] + silent[:CUT_OFF_SILENT]

    def _near(self, ranked: list[Remote]) -> list[Remote]:
        able = (one for one in ranked if not is_metered(one.record))
        near = (one for one in able if one.up and one.places.is_local(one.endpoint))
        return [one for one, _ in zip(near, range(ON_LAN), strict=False)]

    def _is_hopeful(self, remote: Remote) -> bool:
        """Tell whether a node is there, and was not tried in vain for long."""
        return not remote.places.are_silent(IN_VAIN) and self._has_way(remote)

    def _rank(self) -> None:
        """Keep all nodes that there are in the order of their ranks."""
        remotes, ranks = self._context.remotes, self._ranks
        if ranks.keys() - remotes.keys():
            self._ranks = ranks = {key: one for key, one in ranks.items() if key in remotes}
            self._ranked = [each for each in self._ranked if each[1] in ranks]
        for identity in remotes.keys() - ranks.keys():
            pair = sorted((self._context.identity.short, remotes[identity].short))
            ranks[identity] = rank = blake2s(b"".join(pair), digest_size=8).digest()
            insort(self._ranked, (rank, identity))
