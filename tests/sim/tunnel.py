"""Two devices and a world between them: the stage of most scenarios."""

from collections.abc import Iterable, Sequence
from hashlib import blake2s
from struct import Struct

from tests.sim.nat import Nat
from tests.sim.world import Host, Link, World
from wgpy.engine.crypto import public_key
from wgpy.engine.device import Device
from wgpy.engine.session import PAPER_LIMITS, Limits
from wgpy.events import (
    Event,
    HandshakeAnswered,
    HandshakeSent,
    HandshakeUnanswered,
    MessageRejected,
)
from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    Endpoint,
    PeerChange,
    PeerStatus,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.wire.ip import checksum

_V4 = Struct(">B B H H H B B H 4s 4s")
_NUMBER = Struct(">I")
_UDP = 17
PORT = 51820
# Unix time at the virtual time 0.
EPOCH = 1_700_000_000.0
TRACES = (HandshakeAnswered, HandshakeSent, HandshakeUnanswered, MessageRejected)
INITIATION, RESPONSE, COOKIE_REPLY, DATA = 1, 2, 3, 4
KEEPALIVE_SIZE = 32


def secret(name: str) -> Secret:
    """Return the private key of somebody."""
    return Secret(blake2s(name.encode()).digest())


def v4(text: str) -> bytes:
    """Return a packed IPv4 address."""
    return bytes(int(part) for part in text.split("."))


def prefix(text: str) -> Prefix:
    """Return an IPv4 prefix; without a length, one address."""
    address, _, length = text.partition("/")
    return Prefix(v4(address), int(length or 32))


def allowed(*texts: str) -> list[AllowedIPChange]:
    """Return prefixes to be given to a peer."""
    return [AllowedIPChange(prefix(text)) for text in texts]


def packet(
    source: str, destination: str, number: int = 0, size: int = 84, tos: int = 0
) -> bytes:
    """Return an IPv4 packet of `size` bytes that carries a number."""
    header = bytearray(
        _V4.pack(0x45, tos, size, 0, 0, 64, _UDP, 0, v4(source), v4(destination))
    )
    header[10:12] = checksum(header).to_bytes(2)
    body = _NUMBER.pack(number) if size >= 24 else b""
    return bytes(header) + body + bytes(size - 20 - len(body))


def number_of(received: bytes) -> int:
    """Return the number that a packet carries."""
    number: int = _NUMBER.unpack_from(received, 20)[0]
    return number


class Node:
    """A device in a world, with a name that decides its keys, and its address in the tunnel."""

    def __init__(
        self,
        world: World,
        name: str,
        address: str,
        outside: str,
        *,
        nat: Nat | None = None,
        limits: Limits = PAPER_LIMITS,
        embedded: bool = False,
        forward: bool = False,
    ) -> None:
        self.world = world
        self.address = address
        self.secret = secret(name)
        self.public = public_key(self.secret)
        self.events: list[Event] = []
        self._make = (limits, embedded, forward)
        self.device = self._device()
        self.host: Host = world.add(self.device, Endpoint(v4(outside), PORT), nat)

    def _device(self) -> Device:
        limits, embedded, forward = self._make
        device = Device(
            *(self.world.entropy(), EPOCH, limits), embedded=embedded, forward=forward
        )
        device.configure(
            DeviceChange(private_key=self.secret, listen_port=PORT), self.world.now
        )
        return device

    def restart(self) -> None:
        """Lose all state but the private key; it must be told its peers again."""
        self.device = self._device()
        self.world.replace(self.host, self.device)

    def change(self, *peers: PeerChange, **properties: object) -> None:
        """Configure the device."""
        change = DeviceChange(peers=peers, **properties)  # type: ignore[arg-type]
        self.device.configure(change, self.world.now)
        self.world.settle()

    def meet(
        self,
        other: "Node",
        *,
        endpoint: Endpoint | None = None,
        keepalive: int | None = None,
        psk: Secret | None = None,
        more: Iterable[str] = (),
    ) -> None:
        """Add a peer, all its addresses allowed."""
        self.change(
            PeerChange(
                other.public,
                endpoint=endpoint,
                persistent_keepalive=keepalive,
                preshared_key=psk,
                allowed_ips=allowed(other.address, *more),
            )
        )

    def set_up(self, up: bool = True) -> None:
        """Move the interface up or down."""
        self.device.set_up(self.world.now, up=up)
        self.world.settle()

    def send(self, destination: str, numbers: Sequence[int] = (0,), size: int = 84) -> None:
        """Send packets that carry numbers."""
        self.world.send(
            self.host, [packet(self.address, destination, n, size) for n in numbers]
        )

    @property
    def numbers(self) -> list[int]:
        """The numbers of the packets received; errors of ICMP are none."""
        packets = self.host.received
        return [number_of(received) for received in packets if received[9] == _UDP]

    def peer(self, public: PublicKey) -> PeerStatus:
        """Return the status of a peer."""
        (found,) = [p for p in self.device.status().peers if p.public_key == public]
        return found

    def drops(self) -> dict[str, int]:
        """Return what was dropped, by its text."""
        return dict(self.device.status().drops)

    def take_events(self) -> list[Event]:
        """Return and forget what the device reported, but for what only traces a fault."""
        return [event for event in self.device.take_events() if not isinstance(event, TRACES)]

    def sent(self, kind: int | None = None, since: float = 0.0) -> list[float]:
        """Return when this node sent datagrams, of one kind or all."""
        return [
            sent.at
            for sent in self.world.trace
            if sent.source.host
            == (self.host.nat.host if self.host.nat else self.host.endpoint.host)
            and sent.at >= since
            and kind in (None, sent.kind)
        ]


class Tunnel:
    """Alice (10.0.0.1) and Bob (10.0.0.2), who know each other's endpoint, both up."""

    def __init__(
        self,
        seed: int = 0,
        link: Link | None = None,
        *,
        limits: Limits = PAPER_LIMITS,
        bob_knows_endpoint: bool = True,
        keepalive: int | None = None,
        embedded: bool = False,
    ) -> None:
        self.world = World(seed, link)
        self.alice = Node(
            self.world, "alice", "10.0.0.1", "192.0.2.1", limits=limits, embedded=embedded
        )
        self.bob = Node(
            self.world, "bob", "10.0.0.2", "192.0.2.2", limits=limits, embedded=embedded
        )
        self.alice.meet(self.bob, endpoint=self.bob.host.endpoint, keepalive=keepalive)
        back = self.alice.host.endpoint if bob_knows_endpoint else None
        self.bob.meet(self.alice, endpoint=back)
        self.alice.set_up()
        self.bob.set_up()

    def exchange(self) -> None:
        """Let a packet of Alice's and one of Bob's arrive."""
        got = len(self.alice.host.received), len(self.bob.host.received)
        self.alice.send(self.bob.address, [4_000_000])
        self.world.run_for(1.0)
        self.bob.send(self.alice.address, [4_000_001])
        self.world.run_for(1.0)
        now = len(self.alice.host.received), len(self.bob.host.received)
        assert now == (got[0] + 1, got[1] + 1)
