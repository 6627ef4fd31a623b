"""Which claims to names and addresses are believed: pins on first sight.

A claim is (name, address) by an identity, in its signed Record. Rules, the first that fits:

- An address outside of the subnet, or the network's own, is nobody's.
- A name or address that is pinned belongs to the pinned identity. Pins come from the file
  (which beats everything), from people, and from meeting: the first session with a claimant.
- A claim that was only heard holds until another contradicts it; of two unmet claims for one
  name or address neither is used.

What is refused is never merged and never forgotten by itself: people repair it with `pin`,
`accept` and `forget`.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeVar

from netmgr.errors import Reason
from wgpy.model import Prefix

# Conflicts remembered for people to see; the oldest go first.
MAX_CONFLICTS: Final = 256


class How(Enum):
    """Where a pin comes from; a later one is stronger."""

    MET = "met"
    PERSON = "person"
    FILE = "file"


_RANKS: Final = list(How)
K = TypeVar("K", str, bytes)


class Pin(NamedTuple):
    """A name and an address that belong to an identity; "" or b"" pins nothing of the kind."""

    name: str
    address: bytes
    identity: bytes
    how: How


class Claim(NamedTuple):
    """What an identity says of itself."""

    name: str
    address: bytes | None
    identity: bytes


@dataclass(slots=True)
class Conflict:
    """A refused claim, and how often it was refused."""

    claim: Claim
    reason: Reason
    count: int = 1


class Trust:
    """The pins of one node, the claims it has heard, and its judgement of them."""

    def __init__(self, subnet: Prefix, pins: Iterable[Pin] = ()) -> None:
        self._subnet = subnet
        self._names: dict[str, Pin] = {}
        self._addresses: dict[bytes, Pin] = {}
        self._hows: dict[bytes, How] | None = None
        # Of each identity its last claim.
        self._claims: dict[bytes, Claim] = {}
        self._by_name: dict[str, set[bytes]] = {}
        self._by_address: dict[bytes, set[bytes]] = {}
        self.conflicts: OrderedDict[tuple[bytes, Reason], Conflict] = OrderedDict()
        for pin in pins:
            self.pin(pin)

    # --- pins ---

    def pin(self, pin: Pin) -> bool:
        """Bind name and address to an identity; False if a stronger pin says otherwise."""
        held = (self._names.get(pin.name), self._addresses.get(pin.address))
        others = [one for one in held if one is not None and one.identity != pin.identity]
        for one in others:
            if _rank(one.how) > _rank(pin.how) or one.how is pin.how is How.MET:
                return False
        for one in others:
            self._drop(one)
        self._hows = None
        if pin.name:
            self._names[pin.name] = self._stronger(self._names.get(pin.name), pin)
        if pin.address:
            self._addresses[pin.address] = self._stronger(self._addresses.get(pin.address), pin)
        return True

    def forget(self, name: str) -> list[Pin]:
        """Take away what is pinned under a name, but for the file's; return it."""
        found = self._names.get(name)
        if found is None or found.how is How.FILE:
            return []
        self._drop(found)
        return [found]

    def pins(self) -> list[Pin]:
        """Return all pins, each once."""
        return list(dict.fromkeys([*self._names.values(), *self._addresses.values()]))

    def pinned(self, name: str) -> Pin | None:
        """Return who a name belongs to."""
        return self._names.get(name)

    def pinned_address(self, address: bytes) -> Pin | None:
        """Return who an address belongs to."""
        return self._addresses.get(address)

    def how(self, identity: bytes) -> How | None:
        """Return the strongest pin of an identity, None if it is only heard of."""
        if self._hows is None:
            self._hows = {}
            for pin in sorted(self.pins(), key=lambda one: _rank(one.how)):
                self._hows[pin.identity] = pin.how
        return self._hows.get(identity)

    def replace(self, name: str, address: bytes, identity: bytes, how: How) -> None:
        """Give name and address to another identity, whatever was pinned but the file's."""
        for held in (self._names.get(name), self._addresses.get(address)):
            if held is not None and held.how is not How.FILE:
                self._drop(held)
        self.pin(Pin(name, address, identity, how))

    # --- claims ---

    def claim(self, claim: Claim) -> None:
        """Take note of what an identity says of itself, in place of what it said before."""
        self.withdraw(claim.identity)
        self._claims[claim.identity] = claim
        self._by_name.setdefault(claim.name, set()).add(claim.identity)
        if claim.address is not None:
            self._by_address.setdefault(claim.address, set()).add(claim.identity)

    def withdraw(self, identity: bytes) -> None:
        """Forget the claim of an identity."""
        old = self._claims.pop(identity, None)
        if old is None:
            return
        _remove(self._by_name, old.name, identity)
        if old.address is not None:
            _remove(self._by_address, old.address, identity)

    def claimed(self, identity: bytes) -> Claim | None:
        """Return the last claim of an identity."""
        return self._claims.get(identity)

    def judge(self, identity: bytes) -> Reason | None:
        """Return why the claim of an identity is not believed, None if it is."""
        claim = self._claims[identity]
        if claim.address is not None and not self.in_subnet(claim.address):
            return Reason.OUTSIDE_SUBNET
        if _contested(claim.name, identity, self._names, self._by_name):
            return Reason.NAME_TAKEN
        address = claim.address
        if address is not None and _contested(
            address, identity, self._addresses, self._by_address
        ):
            return Reason.ADDRESS_TAKEN
        return None

    def met(self, identity: bytes) -> Pin | None:
        """Pin the claim of an identity that a session was had with; None if it is not new."""
        claim = self._claims.get(identity)
        if claim is None or self.judge(identity) is not None:
            return None
        names, address = self._names.get(claim.name), claim.address or b""
        if names is not None and (not address or address in self._addresses):
            return None
        pin = Pin(claim.name, address, identity, How.MET)
        return pin if self.pin(pin) else None

    def rivals(self, claim: Claim) -> set[bytes]:
        """Return the identities that claim the same name or address."""
        rivals = set(self._by_name.get(claim.name, ()))
        if claim.address is not None:
            rivals |= self._by_address.get(claim.address, set())
        return rivals - {claim.identity}

    def report(self, claim: Claim, reason: Reason) -> bool:
        """Note a refusal; return whether it is news."""
        key = claim.identity, reason
        known = self.conflicts.get(key)
        if known is not None and known.claim == claim:
            known.count += 1
            return False
        self.conflicts[key] = Conflict(claim, reason)
        if len(self.conflicts) > MAX_CONFLICTS:
            self.conflicts.popitem(last=False)
        return True

    def settle(self, identity: bytes) -> None:
        """Forget the conflicts of an identity that is believed."""
        for key in [key for key in self.conflicts if key[0] == identity]:
            del self.conflicts[key]

    def in_subnet(self, address: bytes) -> bool:
        """Tell whether an address may be a node's: in the subnet, not its first or last."""
        host_bits = 8 * len(self._subnet.address) - self._subnet.length
        if len(address) != len(self._subnet.address):
            return False
        number, base = int.from_bytes(address), int.from_bytes(self._subnet.address)
        if number >> host_bits != base >> host_bits:
            return False
        return host_bits < 2 or 0 < number - base < (1 << host_bits) - 1

    # --- inside ---

    def _drop(self, pin: Pin) -> None:
        self._hows = None
        if self._names.get(pin.name) == pin:
            del self._names[pin.name]
        if self._addresses.get(pin.address) == pin:
            del self._addresses[pin.address]

    @staticmethod
    def _stronger(held: Pin | None, pin: Pin) -> Pin:
        if held is None or held.identity != pin.identity:
            return pin
        return max(held, pin, key=lambda one: _rank(one.how))


def _rank(how: How) -> int:
    return _RANKS.index(how)


def _contested(
    key: K, identity: bytes, pins: dict[K, Pin], claims: dict[K, set[bytes]]
) -> bool:
    """Tell whether what is claimed belongs to another, or to none of several."""
    pin = pins.get(key)
    if pin is not None:
        return pin.identity != identity
    return len(claims[key]) > 1


def _remove(index: dict[K, set[bytes]], key: K, identity: bytes) -> None:
    index[key].discard(identity)
    if not index[key]:
        del index[key]
