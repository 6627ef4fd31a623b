"""Which claims to names and addresses are believed: pins on first sight.

A claim is (name, address) by an identity, in its signed Record. Rules, the first that fits:

- An address outside of the subnet, or the network's own, is nobody's.
- A name or address that is pinned belongs to the pinned identity. Pins come from the file, from
  people, and from meeting: the first session with a claimant.
- The file pins identities and addresses, but knows no names: the name that an identity of the
  file claims is its own, whatever was pinned by people or met.
- An identity that another took the place of, by the word of a person, does not get that name
  and address back, also when they are forgotten: a person may give them back.
- A claim that was only heard holds until another contradicts it. Of unmet claims for one name
  or address those that left, or were not heard of for long, count less than others; of equals
  none is used.

An identity has one pin from meeting: who takes another name or address gives up those before,
so nobody collects them. What is refused is never merged and never forgotten by itself: people
repair it with `pin`, `accept` and `forget`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Set
from enum import Enum
from typing import Final, NamedTuple, TypeVar

from netmgr.engine.signing import Identity
from netmgr.errors import Reason
from netmgr.model import Settings
from wgpy.model import Prefix

# Identities that others took the place of; the oldest are forgotten.
MAX_REPLACED: Final = 1024
# Identities pinned for being met; who is met beyond them stays a stranger.
MAX_MET: Final = 4096


class How(Enum):
    """Where a pin comes from; a later one is stronger. REPLACED says who lost what."""

    REPLACED = "replaced"
    MET = "met"
    PERSON = "person"
    FILE = "file"


_RANKS: Final = list(How)
# How far a claim weighs among unmet ones.
_RESTING: Final = float("-inf")
_HEARD: Final = -1.0
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


class Trust:
    """The pins of one node, the claims it has heard, and its judgement of them."""

    def __init__(self, subnet: Prefix, pins: Iterable[Pin] = ()) -> None:
        self._subnet = subnet
        self._names: dict[str, Pin] = {}
        self._addresses: dict[bytes, Pin] = {}
        self._hows: dict[bytes, How] | None = None
        # Of each identity its pin from meeting; and the identities of the file.
        self._met: dict[bytes, Pin] = {}
        self._filed: set[bytes] = set()
        # Of each identity what another took from it.
        self._replaced: OrderedDict[bytes, Pin] = OrderedDict()
        # Of each identity its last claim, and how that weighs if not as just heard.
        self._claims: dict[bytes, Claim] = {}
        self._weights: dict[bytes, float] = {}
        self._by_name: dict[str, set[bytes]] = {}
        self._by_address: dict[bytes, set[bytes]] = {}
        self.restore(pins)

    # --- pins ---

    def restore(self, pins: Iterable[Pin]) -> None:
        """Take pins of the file, or what was saved."""
        for pin in pins:
            if pin.how is How.REPLACED:
                self._displace(pin)
            else:
                self.pin(pin)

    def pin(self, pin: Pin) -> bool:
        """Bind name and address to an identity; False if a stronger pin says otherwise.

        Also False if more identities were met than are pinned.
        """
        others = self._others(pin.name, pin.address, pin.identity)
        for one in others:
            if _rank(one.how) > _rank(pin.how) or one.how is pin.how is How.MET:
                return False
        if pin.how is How.MET:
            before = self._met.get(pin.identity)
            if before is None and len(self._met) >= MAX_MET:
                return False
            others += [] if before is None else [before]
        for one in others:
            self._drop(one)
        self._hows = None
        if pin.how is How.MET:
            self._met[pin.identity] = pin
        elif pin.how is How.FILE:
            self._filed.add(pin.identity)
        if pin.name:
            self._names[pin.name] = _stronger(self._names.get(pin.name), pin)
        if pin.address:
            self._addresses[pin.address] = _stronger(self._addresses.get(pin.address), pin)
        return True

    def refile(self, pins: Iterable[Pin]) -> None:
        """Follow a changed file: these are its pins."""
        for old in self.pins():
            if old.how is How.FILE:
                self._drop(old)
        self._filed.clear()
        self.restore(pins)

    def forget(self, name: str) -> list[Pin]:
        """Take away what is pinned under a name, but for the file's; return it."""
        held = self._names.get(name)
        if held is None or held.how is How.FILE:
            return []
        found = [pin for pin in self.pins() if pin.name == name and pin.how is not How.FILE]
        for pin in found:
            self._drop(pin)
        return found

    def replace(self, name: str, address: bytes, identity: bytes, how: How) -> bool:
        """Give name and address to another identity; False if that cannot be.

        That is if a stronger pin says otherwise, or the address belongs to another name.
        """
        others = self._others(name, address, identity)
        if any(_rank(one.how) > _rank(how) or one.name != name for one in others):
            return False
        for one in others:
            self._drop(one)
            self._displace(one)
        self._replaced.pop(identity, None)
        return self.pin(Pin(name, address, identity, how))

    def pins(self) -> list[Pin]:
        """Return all pins, each once."""
        return list(dict.fromkeys([*self._names.values(), *self._addresses.values()]))

    def lasting(self) -> list[Pin]:
        """Return what is to be saved: pins that are not of the file, and who was replaced."""
        return [
            *(pin for pin in self.pins() if pin.how is not How.FILE),
            *self._replaced.values(),
        ]

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
            for pin in self.pins():
                before = self._hows.get(pin.identity, pin.how)
                self._hows[pin.identity] = max(before, pin.how, key=_rank)
        return self._hows.get(identity)

    # --- claims ---

    def claim(self, claim: Claim) -> None:
        """Take note of what an identity says of itself, in place of what it said before."""
        weight = self._weights.get(claim.identity, _HEARD)
        self.withdraw(claim.identity)
        self._claims[claim.identity] = claim
        if weight > _HEARD:
            self._weights[claim.identity] = weight
        self._by_name.setdefault(claim.name, set()).add(claim.identity)
        if claim.address is not None:
            self._by_address.setdefault(claim.address, set()).add(claim.identity)

    def withdraw(self, identity: bytes) -> None:
        """Forget the claim of an identity."""
        old = self._claims.pop(identity, None)
        self._weights.pop(identity, None)
        if old is None:
            return
        _remove(self._by_name, old.name, identity)
        if old.address is not None:
            _remove(self._by_address, old.address, identity)

    def arrived(self, identity: bytes) -> None:
        """Note that who claims is there: it does not rest any more."""
        if self._weights.get(identity) == _RESTING:
            del self._weights[identity]

    def rest(self, identity: bytes) -> set[bytes]:
        """Note that an identity left, or was not heard of for long; return its rivals."""
        claim = self._claims.get(identity)
        if claim is None:
            return set()
        self._weights[identity] = _RESTING
        return self.rivals(claim)

    def claimed(self, identity: bytes) -> Claim | None:
        """Return the last claim of an identity."""
        return self._claims.get(identity)

    def judge(self, identity: bytes) -> Reason | None:
        """Return why the claim of an identity is not believed, None if it is."""
        claim = self._claims.get(identity)
        if claim is None:
            return Reason.UNKNOWN_NODE
        address = claim.address
        if address is not None and not self.in_subnet(address):
            return Reason.OUTSIDE_SUBNET
        if self._is_replaced(identity):
            return Reason.REPLACED
        claimants = self._by_name[claim.name]
        if self._is_anothers(identity, self._names.get(claim.name), claimants, self._filed):
            return Reason.NAME_TAKEN
        if address is not None:
            pin, claimants = self._addresses.get(address), self._by_address[address]
            if self._is_anothers(identity, pin, claimants, frozenset()):
                return Reason.ADDRESS_TAKEN
        return None

    def met(self, identity: bytes) -> Pin | None:
        """Pin the claim of an identity that a session was had with; None if it is not new."""
        claim = self._claims.get(identity)
        if claim is None or self.judge(identity) is not None:
            return None
        address = claim.address or b""
        held = [self._names.get(claim.name)]
        held += [self._addresses.get(address)] if address else []
        if all(pin is not None and pin.identity == identity for pin in held):
            return None
        pin = Pin(claim.name, address, identity, How.MET)
        return pin if self.pin(pin) else None

    def rivals(self, claim: Claim) -> set[bytes]:
        """Return whose judgement a claim that came or went may change.

        One more among many who claim the same changes nothing for them.
        """
        found = set()
        for claimants in (
            self._by_name.get(claim.name, set()),
            set() if claim.address is None else self._by_address.get(claim.address, set()),
        ):
            others = claimants - {claim.identity}
            if claim.identity not in self._filed:
                others = {one for one in others if self._contests(one)}
                most = max(map(self._weight, others), default=_HEARD)
                best = {one for one in others if self._weight(one) == most}
                others = best if len(best) == 1 else set()
            found |= others
        return found

    def in_subnet(self, address: bytes) -> bool:
        """Tell whether an address may be a node's: in the subnet, not its first or last."""
        host_bits = 8 * len(self._subnet.address) - self._subnet.length
        if len(address) != len(self._subnet.address):
            return False
        number, subnet = int.from_bytes(address), int.from_bytes(self._subnet.address)
        if number >> host_bits != subnet >> host_bits:
            return False
        last = (1 << host_bits) - 1
        return host_bits < 2 or 0 < number & last < last

    # --- inside ---

    def _others(self, name: str, address: bytes, identity: bytes) -> list[Pin]:
        """Return the pins of a name and an address that are not an identity's."""
        held = (self._names.get(name), self._addresses.get(address))
        return [one for one in held if one is not None and one.identity != identity]

    def _drop(self, pin: Pin) -> None:
        self._hows = None
        if self._names.get(pin.name) == pin:
            del self._names[pin.name]
        if self._addresses.get(pin.address) == pin:
            del self._addresses[pin.address]
        if self._met.get(pin.identity) == pin:
            del self._met[pin.identity]

    def _displace(self, pin: Pin) -> None:
        """Note who lost what; the file's are not to be displaced."""
        if pin.identity in self._filed:
            return
        self._replaced.pop(pin.identity, None)
        self._replaced[pin.identity] = pin._replace(how=How.REPLACED)
        if len(self._replaced) > MAX_REPLACED:
            self._replaced.popitem(last=False)

    def _is_replaced(self, identity: bytes) -> bool:
        lost, claim = self._replaced.get(identity), self._claims[identity]
        if lost is None or identity in self._filed:
            return False
        return claim.name == lost.name or claim.address == (lost.address or b"")

    def _contests(self, identity: bytes) -> bool:
        """Tell whether a claim stands in the way of others: not if a pin refuses part of it."""
        if self._is_replaced(identity):
            return False
        name, address, _ = self._claims[identity]
        others = self._others(name, address or b"", identity)
        return identity in self._filed or not others

    def _weight(self, identity: bytes) -> float:
        return self._weights.get(identity, _HEARD)

    def _outweighs(self, identity: bytes, claimants: Set[bytes]) -> bool:
        """Tell whether an unmet claim counts more than all others of the same."""
        own, others = self._weight(identity), (one for one in claimants if one != identity)
        return all(self._weight(one) < own or not self._contests(one) for one in others)

    def _is_anothers(
        self, identity: bytes, pin: Pin | None, claimants: Set[bytes], strong: Set[bytes]
    ) -> bool:
        """Tell whether what is claimed belongs to another, or to none of several.

        `strong` are identities whose claim counts more than any pin but the file's.
        """
        if pin is not None and pin.how is How.FILE:
            return pin.identity != identity
        if stronger := claimants & strong:
            return stronger != {identity}
        if pin is not None:
            return pin.identity != identity
        return not self._outweighs(identity, claimants)


def file_pins(settings: Settings, identity: Identity) -> list[Pin]:
    """Return what belongs to whom without doubt: to us, and what `id:` in the file says."""
    pins = [Pin(settings.name, settings.address, identity.public, How.FILE)]
    pins += [
        Pin("", peer.address, peer.identity, How.FILE)
        for peer in settings.network.peers
        if peer.identity is not None and peer.address not in (None, settings.address)
    ]
    return pins


def _rank(how: How) -> int:
    return _RANKS.index(how)


def _stronger(held: Pin | None, pin: Pin) -> Pin:
    """Return the one of two pins of an identity that holds; the newer of two equals."""
    if held is None or _rank(held.how) <= _rank(pin.how):
        return pin
    return held


def _remove(index: dict[K, set[bytes]], key: K, identity: bytes) -> None:
    index[key].discard(identity)
    if not index[key]:
        del index[key]
