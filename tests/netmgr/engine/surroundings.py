"""What the parts of a mesh are given in tests: a context with a real identity, and others."""

from collections.abc import Callable, Iterable
from hashlib import blake2s
from itertools import count

from netmgr import events
from netmgr.effects import ChangePeers, Effect
from netmgr.engine.common import Context
from netmgr.engine.flood import Objects
from netmgr.engine.signing import Identity, NetworkKeys, verify_untrusted
from netmgr.engine.trust import How, Pin, Trust
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, HostPort, NetworkFile, Settings, StaticPeer
from netmgr.wire import objects
from netmgr.wire.objects import Accept, Edge, Offer, Record
from tests.sim.tunnel import prefix, v4
from wgpy.model import Endpoint, PeerChange, PublicKey, Secret

SHARED = Secret(blake2s(b"the key of the network").digest())
KEYS = NetworkKeys(SHARED)
SUBNET = prefix("10.1.1.0/24")
NEIGHBOUR = b"neighbou"
DOOR = Endpoint(v4("192.0.2.1"), 50001)


class Numbers:
    """Sequence numbers of one node."""

    def __init__(self, start: int = 1) -> None:
        self.next = start

    def take(self, at_least: int) -> int:
        self.next = max(self.next, at_least) + 1
        return self.next - 1


def entropy() -> Callable[[int], bytes]:
    """Return different bytes at each call, the same in each run."""
    numbers = count()
    return lambda size: blake2s(next(numbers).to_bytes(8), digest_size=size).digest()


class NoDevice:
    """A channel to a device that has done nothing yet."""

    def endpoint(self, public_key: PublicKey) -> Endpoint | None:
        return None

    def traffic(self, public_key: PublicKey) -> tuple[int, int, float]:
        return 0, 0, 0.0

    def arrivals(self, public_key: PublicKey) -> tuple[int, int]:
        return 0, 0

    def active(self) -> Iterable[tuple[PublicKey, bool, bool]]:
        return ()


class Other:
    """Another node, or an adversary with the shared key: signs what it likes."""

    def __init__(self, seed: str, name: str = "bob", address: str | None = "10.1.1.2") -> None:
        self.identity = Identity(Secret(blake2s(seed.encode()).digest()))
        self.public, self.short = self.identity.public, self.identity.short
        self.key = self.identity.wireguard_public
        self.name, self.address = name, address

    def said(self, kind: int, seq: int, body: bytes = b"", part: int = 0) -> bytes:
        net_id, sign = KEYS.net_id, self.identity.sign
        return objects.encode(kind, part, self.public, seq, body, net_id, sign)

    def record(
        self,
        seq: int = 1,
        name: str | None = None,
        address: str | None = None,
        candidates: tuple[Candidate, ...] = (),
    ) -> bytes:
        claimed = address or self.address
        packed = None if claimed is None else v4(claimed)
        record = Record(name or self.name, packed, 1, candidates=candidates)
        return self.said(objects.RECORD, seq, objects.encode_record(record))

    def links(self, seq: int, *edges: Edge) -> bytes:
        return self.said(objects.LINKS, seq, objects.encode_links(edges)[0])

    def routes(self, seq: int, *offers: Offer) -> bytes:
        return self.said(objects.ROUTES, seq, objects.encode_routes(offers))

    def leave(self, seq: int) -> bytes:
        return self.said(objects.LEAVE, seq)

    def accept(self, seq: int, name: str, address: str, identity: bytes) -> bytes:
        body = objects.encode_accept(Accept(name, v4(address), identity))
        return self.said(objects.ACCEPT, seq, body)


ME = Other("me", "me", "10.1.1.1")


def static(outside: str = "192.0.2.1", port: int = 50001, **fields: object) -> StaticPeer:
    """Return an entry of `peers:`."""
    return StaticPeer(HostPort(outside, port), **fields)  # type: ignore[arg-type]


def surroundings(
    *pins: Pin,
    peers: Iterable[StaticPeer] = (),
    numbers: Numbers | None = None,
    **options: object,
) -> Context:
    """Return the context of `ME`."""
    peers, own = tuple(peers), v4("10.1.1.1")
    network = NetworkFile(SHARED, SUBNET, peers)
    seeds = tuple(peer for peer in peers if peer.address != own)
    settings = Settings(
        network,
        "me",
        own,
        "wg0",
        50001,
        seeds=seeds,
        **options,  # type: ignore[arg-type]
    )
    file = Pin("me", own, ME.public, How.FILE)
    return Context(
        settings,
        ME.identity,
        KEYS,
        entropy(),
        (numbers or Numbers()).take,
        NoDevice(),
        Objects(KEYS.net_id, verify_untrusted, ME.public),
        Trust(SUBNET, (file, *pins)),
    )


def refused(call: Callable[..., object], *arguments: object) -> Reason:
    """Return why a call is refused."""
    try:
        call(*arguments)
    except Rejected as caught:
        return caught.reason
    raise AssertionError("it was not refused")


def told(context: Context, kind: type[events.Event]) -> list[events.Event]:
    """Return the events of a kind, and forget all."""
    found = [event for event in context.out.events if isinstance(event, kind)]
    context.out.events.clear()
    return found


def effects_of(context: Context, kind: type[Effect]) -> list[Effect]:
    """Return the effects of a kind, and forget all."""
    found = [effect for effect in context.out.effects if isinstance(effect, kind)]
    context.out.effects.clear()
    return found


def peer_changes(context: Context) -> list[PeerChange]:
    """Return what is to change of the peers, and forget all effects."""
    found = effects_of(context, ChangePeers)
    return [
        change for each in found if isinstance(each, ChangePeers) for change in each.changes
    ]
