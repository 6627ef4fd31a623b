"""What the parts of one mesh share: who we are, whom we know, and where output goes."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Protocol

from netmgr.effects import Effect
from netmgr.engine.flood import Objects
from netmgr.engine.remote import Remote
from netmgr.engine.signing import Identity, NetworkKeys, address6, short_id, wireguard_key
from netmgr.engine.trust import Trust
from netmgr.errors import Reason
from netmgr.events import Event
from netmgr.model import Candidate, Kind, Settings
from netmgr.wire.objects import METERED, Record
from wgpy.model import Endpoint, Prefix, PublicKey
from wgpy.wire.detour import via_id
from wgpy.wire.text import covers

# Events nobody took; the oldest go first.
MAX_EVENTS: Final = 4096


class Channel(Protocol):
    """What the mesh asks of the WireGuard device, whichever it is."""

    def endpoint(self, public_key: PublicKey) -> Endpoint | None:
        """Return where the device sends to at the moment."""

    def traffic(self, public_key: PublicKey) -> tuple[int, int, float]:
        """Return bytes received and sent, and Unix time of the last handshake (0.0: never)."""

    def arrivals(self, public_key: PublicKey) -> tuple[int, int]:
        """Return how many messages the peer has sent since the last call, how many came."""

    def active(self) -> Iterable[tuple[PublicKey, bool, bool]]:
        """Yield peers whose bytes grew since the last call: received grew, sent grew."""


@dataclass(slots=True)
class Outbox:
    """What the mesh wants done and tells, in order; whoever drives it takes it away."""

    effects: list[Effect] = field(default_factory=list)
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    drops: Counter[Reason] = field(default_factory=Counter)


@dataclass(slots=True)
class Context:
    """The surroundings of all parts.

    `next_seq` gives a number never used before, and not less than what it is given.
    """

    settings: Settings
    identity: Identity
    keys: NetworkKeys
    entropy: Callable[[int], bytes]
    next_seq: Callable[[int], int]
    channel: Channel
    objects: Objects
    trust: Trust
    out: Outbox = field(default_factory=Outbox)
    # By identity, by WireGuard key, by short id.
    remotes: dict[bytes, Remote] = field(default_factory=dict)
    by_key: dict[PublicKey, Remote] = field(default_factory=dict)
    by_short: dict[bytes, Remote] = field(default_factory=dict)
    # What others may reach us at: of the host's interfaces, and as others saw us.
    local: tuple[Endpoint, ...] = ()
    observed: tuple[Endpoint, ...] = ()
    # Of the host's interfaces: who has an address there is on our LAN.
    networks: tuple[Prefix, ...] = ()
    # What the host sends into the tunnel, beyond the network itself.
    tunnelled: tuple[Prefix, ...] = ()
    # Signed, as others get it.
    own_record: bytes = b""

    def share(self, low: float, high: float) -> float:
        """Return a random number between two."""
        return low + (high - low) * int.from_bytes(self.entropy(2)) / 65535

    def placed(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Return those that are outside, with the kind that they have from here.

        Local is our LAN alone.
        """
        found = []
        for endpoint, kind in candidates:
            if not self.is_outside(endpoint):
                continue
            seen = Kind.OBSERVED if kind is Kind.LOCAL else kind
            found.append(Candidate(endpoint, Kind.LOCAL if self.is_near(endpoint) else seen))
        return found

    def is_near(self, endpoint: Endpoint) -> bool:
        """Tell whether a place is on our LAN."""
        host = Prefix(endpoint.host, 8 * len(endpoint.host))
        link_local = endpoint.host[:1] == b"\xfe" and len(endpoint.host) > 4
        return link_local or any(covers(each, host) for each in self.networks)

    def is_outside(self, endpoint: Endpoint) -> bool:
        """Tell whether a place is one host outside of the tunnel: where datagrams can go.

        Our LAN is outside, also where the subnet of the network is so wide that it holds it.
        """
        subnet, net_id = self.settings.network.subnet, self.keys.net_id
        near = via_id(endpoint) is None and self.is_near(endpoint)
        return near or is_place(endpoint, subnet, net_id)

    def is_tunnelled(self, endpoint: Endpoint) -> bool:
        """Tell whether what is sent to a place goes into the tunnel, and proves nothing."""
        host = Prefix(endpoint.host, 8 * len(endpoint.host))
        inside = any(covers(each, host) for each in self.tunnelled)
        return inside and not self.is_near(endpoint)

    def has_key_of_another(self, identity: bytes) -> bool:
        """Tell whether the first bound to a WireGuard key or short id is another identity."""
        key, short, own = wireguard_key(identity), short_id(identity), self.identity
        taken = key in self.by_key or short in self.by_short
        return taken or key == own.wireguard_public or short == own.short

    @property
    def is_seed(self) -> bool:
        """Whether network.yaml names this node."""
        own = self.settings.address
        return any(peer.address == own for peer in self.settings.network.peers)

    def is_static(self, remote: Remote) -> bool:
        """Tell whether network.yaml names a node."""
        address = None if remote.record is None else remote.record.address
        return address is not None and any(
            peer.address == address for peer in self.settings.network.peers
        )


def is_metered(record: Record | None) -> bool:
    """Tell whether a node pays for its bytes."""
    return record is not None and bool(record.features & METERED)


def is_place(endpoint: Endpoint, subnet: Prefix, net_id: bytes) -> bool:
    """Tell whether a place that others name may be sent to: one host, outside the tunnel."""
    host = endpoint.host
    if len(host) == 4:
        shift = 32 - subnet.length
        inside = int.from_bytes(host) >> shift == int.from_bytes(subnet.address) >> shift
        return not inside and 0 < host[0] < 224
    inside = host.startswith(address6(net_id, b"")[:8])
    return not inside and any(host) and host[0] != 0xFF and via_id(endpoint) is None


def text(address: bytes | None) -> str:
    """Return an address for people, "" for none."""
    return "" if not address else str(ip_address(address))
