"""Which node is given which prefix, of those that nodes offer to take packets for.

A prefix for which the file names nodes goes to the first of these that offers it and can be
reached; any other to the one it went to, then to the offer of the least metric, then to the
nearest. What once went where the file says goes nowhere while none of its nodes can be reached,
not out of the tunnel. Nobody gets, whoever offers:

- what overlaps the network's own addresses, of either family;
- what is public: only where the file wants it, as nobody's traffic is to be had by an offer;
- what holds a place where a node, or this one, is reached outside of the tunnel, or a default
  route: only where the file wants it, as the packets of the tunnel itself would enter it.
"""

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Final, TypeAlias

from netmgr import events
from netmgr.effects import ChangePeers, SetPrefixes
from netmgr.engine.common import Context, text
from netmgr.engine.members import Members
from netmgr.engine.remote import Remote
from netmgr.engine.routing import Route
from netmgr.engine.signing import address6
from wgpy.model import AllowedIPChange, PeerChange, Prefix

_MAX_REFUSED: Final = 1024
# Ways that died without a word of the node: the direct one, and one through relays.
_GONE_AFTER: Final = 2
_NET6_LENGTH: Final = 64
_Networks: TypeAlias = dict[tuple[int, int], dict[int, str]]


class Prefixes:
    """Who is given which prefix; `chosen` is how it is at the moment.

    `closed` are those that go into the tunnel all the same, where nobody takes them.
    """

    def __init__(
        self, context: Context, members: Members, route: Callable[[Remote], Route | None]
    ) -> None:
        self.chosen: dict[Prefix, Remote] = {}
        self.closed: tuple[Prefix, ...] = ()
        self._context = context
        self._members = members
        self._route = route
        self._refused: set[tuple[bytes, Prefix]] = set()
        net6 = address6(context.keys.net_id, context.identity.public)[:8] + bytes(8)
        self._own = (context.settings.network.subnet, Prefix(net6, _NET6_LENGTH))

    def choose(self) -> None:
        """Choose anew; after ways or offers have changed."""
        outside = _Outside(self._context)
        offers: dict[Prefix, dict[bytes, tuple[int, int, bytes]]] = {}
        for remote in self._context.remotes.values():
            told = self._context.objects.offers(remote.identity)
            route = self._route(remote) if told else None
            if route is None:
                continue
            for offer in (each for each in told if not self._is_own(each.prefix)):
                key = (offer.metric, route.cost, remote.short)
                bidders = offers.setdefault(offer.prefix, {})
                bidders[remote.identity] = min(key, bidders.get(remote.identity, key))
        chosen: dict[Prefix, Remote] = {}
        for prefix, bidders in offers.items():
            able = [
                self._context.remotes[one] for one in sorted(bidders, key=bidders.__getitem__)
            ]
            why = self._why_not(prefix, outside)
            bidder = None if why else self._bidder(prefix, able)
            if bidder is not None:
                chosen[prefix] = bidder
            for remote in able if why else ():
                self._refuse(remote, prefix, why)
        named = dict.fromkeys(prefix for prefix, _ in self._context.settings.via)
        taken = {*self.chosen, *self.closed}
        closed = tuple(one for one in named if one in taken and one not in chosen)
        if (chosen, closed) != (self.chosen, self.closed):
            self._hand_over(chosen, closed)
        # The host refuses what holds places of nodes; of a default route they are exempt.
        self._context.tunnelled = tuple(
            one for one in (*chosen, *closed) if one.length and not outside.what_is_in(one)
        )

    def unheard(self) -> tuple[str, ...]:
        """Return what the file wants through a node of whom nobody ever spoke, PREFIX=NAME."""
        known = {"any", *(remote.name for remote in self._context.remotes.values())}
        known.update(pin.name for pin in self._context.trust.pins())
        wanted = dict.fromkeys(self._context.settings.via)
        return tuple(f"{prefix}={name}" for prefix, name in wanted if name not in known)

    # --- inside ---

    def _is_own(self, prefix: Prefix) -> bool:
        """Tell whether a prefix is behind this node, and nobody else is asked for by name."""
        return prefix in self._context.settings.routes and not self._names(prefix)

    def _names(self, prefix: Prefix) -> list[str]:
        return [name for wanted, name in self._context.settings.via if wanted == prefix]

    def _bidder(self, prefix: Prefix, able: list[Remote]) -> Remote | None:
        """Choose by name if the file names some, otherwise the one there is, or the best.

        Who was silent while one way after the other died is gone, if there is somebody else.
        """
        names = self._names(prefix)
        able = [one for one in able if one.pings.deaths < _GONE_AFTER] or able
        for name in names:
            for remote in able:
                if name in (remote.name, "any"):
                    return remote
        if names or prefix.length == 0:
            return None
        held = self.chosen.get(prefix)
        return held if held in able else able[0]

    def _why_not(self, prefix: Prefix, outside: "_Outside") -> str:
        """Return why nobody is given a prefix, "" if somebody may be."""
        if prefix.length == 0:
            return ""
        for own in self._own:
            if _overlap(prefix, own):
                return f"it overlaps the network's own addresses {own}"
        if self._names(prefix):
            return ""
        if ip_network(str(prefix)).is_global:
            return f"it is public: --via {prefix}=NAME takes it"
        return outside.what_is_in(prefix)

    def _refuse(self, remote: Remote, prefix: Prefix, why: str) -> None:
        key = remote.identity, prefix
        if key not in self._refused and len(self._refused) < _MAX_REFUSED:
            self._refused.add(key)
            event = events.RouteRefused(remote.name, str(prefix), why)
            self._context.out.events.append(event)

    def _hand_over(self, chosen: dict[Prefix, Remote], closed: tuple[Prefix, ...]) -> None:
        concerned = dict.fromkeys([*self.chosen.values(), *chosen.values()])
        for prefix in (one for one in closed if one not in self.closed):
            event = events.PrefixClosed(str(prefix), tuple(self._names(prefix)))
            self._context.out.events.append(event)
        for prefix in (one for one in self.closed if one in chosen):
            opened = events.PrefixOpened(str(prefix), chosen[prefix].name)
            self._context.out.events.append(opened)
        self.chosen, self.closed = chosen, closed
        changes = []
        for remote in concerned:
            if self._context.remotes.get(remote.identity) is remote:
                prefixes = [prefix for prefix, one in chosen.items() if one is remote]
                allowed = (*self._members.addresses(remote), *map(AllowedIPChange, prefixes))
                changes.append(
                    PeerChange(
                        remote.public_key,
                        update_only=True,
                        replace_allowed_ips=True,
                        allowed_ips=allowed,
                    )
                )
        self._context.out.effects.append(ChangePeers(tuple(changes)))
        self._context.out.effects.append(SetPrefixes((*chosen, *closed)))


class _Outside:
    """The addresses outside of the tunnel: of this host, and of nodes reached directly."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._networks: _Networks = {}

    def what_is_in(self, prefix: Prefix) -> str:
        """Return which of them a prefix holds, in words; "" if none."""
        bits = 8 * len(prefix.address) - prefix.length
        key = len(prefix.address), bits
        if key not in self._networks:
            found = ((host, what) for host, what in self._hosts() if len(host) == key[0])
            self._networks[key] = {
                int.from_bytes(host) >> bits: f"it holds {text(host)}, {what}"
                for host, what in found
            }
        return self._networks[key].get(int.from_bytes(prefix.address) >> bits, "")

    def _hosts(self) -> Iterable[tuple[bytes, str]]:
        for remote in self._context.remotes.values():
            if remote.up and remote.endpoint is not None:
                yield remote.endpoint.host, f"where {remote.name} is reached"
        for endpoint in self._context.local:
            yield endpoint.host, "an address of this host"


def _overlap(one: Prefix, other: Prefix) -> bool:
    if len(one.address) != len(other.address):
        return False
    bits = 8 * len(one.address) - min(one.length, other.length)
    return int.from_bytes(one.address) >> bits == int.from_bytes(other.address) >> bits
