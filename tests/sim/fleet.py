"""Many meshes over light devices in one process: one virtual clock, one heap of what happens.

Of what is real, all of the mesh engine and its codecs; signatures are checked once each, not
once a node, and for a sample of nodes every time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2s
from heapq import heappop, heappush
from itertools import count, pairwise
from random import Random  # noqa: TID251  (seeded: the point of this module)
from typing import TypeAlias

from netmgr import effects, events
from netmgr.engine.mesh import Mesh, Verifier
from netmgr.engine.remote import Direct, Remote, Via
from netmgr.engine.signing import Identity, verify_untrusted
from netmgr.engine.trust import Pin
from netmgr.model import HostPort, NetworkFile, Settings, StaticPeer
from tests.sim.meshes import SHARED, Numbers
from tests.sim.station import OUTSIDE, Packet, Station, size_of
from tests.sim.tunnel import v4
from wgpy.model import Endpoint, Prefix, PublicKey, Secret
from wgpy.wire.detour import via_id

PORT = 51820
SUBNET = Prefix(bytes((10, 1, 0, 0)), 16)
# One node of so many checks every signature itself.
SAMPLE = 50
DATA = b"\x45"

Saved: TypeAlias = tuple[
    Iterable[Pin], Iterable[bytes], Iterable[tuple[bytes, tuple[Endpoint, ...]]]
]


@dataclass(frozen=True)
class Line:
    """How the network between two nodes is; `jitter` is a share of the latency."""

    latency: float = 0.02
    jitter: float = 0.0
    loss: float = 0.0


class Member:
    """A node of a fleet: a mesh, its device, and where it is.

    `island` tells partitions apart; `sent` and `received` are bytes with all headers.
    """

    def __init__(self, fleet: "Fleet", number: int, settings: Settings, seed: Secret) -> None:
        self.fleet = fleet
        self.number = number
        self.settings = settings
        self.identity = Identity(seed)
        self.numbers = Numbers()
        self.endpoint = fleet.place()
        self.up = False
        self.island = 0
        self.lan: str | None = None
        self.sent = self.received = 0
        self.told: list[tuple[float, events.Event]] = []
        self.packets: list[tuple[float, PublicKey, bytes]] = []
        self.mesh: Mesh
        self.station: Station
        self._happened: list[Callable[[], None]] = []
        self._wake_at = float("inf")
        self._settling = False

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def key(self) -> PublicKey:
        return self.identity.wireguard_public

    @property
    def now(self) -> float:
        return self.fleet.now

    # --- its life ---

    def start(self, *, remembers: bool = True, pins: Iterable[Pin] = ()) -> None:
        """Begin, with what was on disk or with nothing but the identity, and some pins."""
        assert not self.up
        saved: Saved = self._save() if hasattr(self, "mesh") else ((), (), ())
        if not remembers:
            saved = ((), (), ())
        self.up = True
        self.fleet.by_place[self.endpoint] = self
        self.station = Station(self, self.key, self.identity.short, self)
        self.station.carries = not self.settings.metered
        self._happened.clear()
        self.mesh = Mesh(
            self.settings,
            self.identity,
            channel=self.station,
            entropy=self.fleet.random.randbytes,
            next_seq=self.numbers.take,
            now=self.now,
            verify=self.fleet.verifier(self.number),
        )
        self.mesh.restore((*saved[0], *pins), *saved[1:], self.now)
        self.mesh.set_local([self.endpoint], (), self.now)
        self._wake_at = float("inf")
        self.settle()

    def kill(self) -> None:
        """End without a word."""
        self.up = False
        self.station.dead = True
        self.fleet.by_place.pop(self.endpoint, None)

    def leave(self) -> None:
        """Say goodbye and end."""
        self.mesh.leave(self.now)
        self.settle()
        self.kill()

    def roam(self) -> None:
        """Be somewhere else from now on, and notice it."""
        self.fleet.by_place.pop(self.endpoint, None)
        self.endpoint = self.fleet.place()
        if self.up:
            self.fleet.by_place[self.endpoint] = self
            self.mesh.set_local([self.endpoint], (), self.now)
            self.settle()

    def _save(self) -> Saved:
        context = self.mesh.context
        return context.trust.pins(), list(context.objects.blobs()), self.mesh.places()

    # --- the world of its device ---

    def at(self, instant: float, action: Callable[[], None]) -> None:
        self.fleet.at(instant, self, action)

    def transmit(self, station: Station, endpoint: Endpoint, packet: Packet) -> None:
        if not station.dead:
            self.fleet.transmit(self, endpoint, packet)

    # --- what its device tells ---

    def receive_datagram(self, payload: bytes, remote: Endpoint) -> None:
        mesh = self.mesh
        self._happened.append(
            lambda: mesh.receive_datagram(payload, remote, None, self.fleet.now)
        )

    def receive_inner(self, public_key: PublicKey, payload: bytes) -> None:
        mesh = self.mesh
        if payload[0] == DATA[0]:
            self.packets.append((self.now, public_key, payload[1:]))
        else:
            self._happened.append(
                lambda: mesh.receive_inner(public_key, payload, self.fleet.now)
            )

    def session_begun(self, public_key: PublicKey) -> None:
        mesh = self.mesh
        self._happened.append(lambda: mesh.session_begun(public_key, self.fleet.now))

    def roamed(self, public_key: PublicKey, endpoint: Endpoint) -> None:
        mesh = self.mesh
        self._happened.append(lambda: mesh.roamed(public_key, endpoint, self.fleet.now))

    def relay_failed(self, destination: bytes, failed: bytes) -> None:
        mesh = self.mesh
        self._happened.append(lambda: mesh.relay_failed(destination, failed, self.fleet.now))

    # --- the engine, driven ---

    def receive(self, packet: Packet, source: Endpoint) -> None:
        self.station.receive(packet, source)
        self.settle()

    def wake(self) -> None:
        """Let the mesh act if it is time."""
        if self.up and self._wake_at <= self.now:
            self._wake_at = float("inf")
            if self.mesh.next_deadline().at <= self.now:
                self.mesh.handle_deadline(self.now)
                assert self.mesh.next_deadline().at > self.now, self.mesh.next_deadline()
            self.settle()

    def settle(self) -> None:
        """Let device and mesh hear of each other until both are silent."""
        mesh = self.mesh
        while True:
            happened, self._happened = self._happened, []
            for event in happened:
                event()
            wanted = mesh.take_effects()
            for effect in wanted:
                self._carry_out(effect)
            if not happened and not wanted:
                break
        if self.fleet.listens:
            self.told += [(self.now, event) for event in mesh.take_events()]
        else:
            mesh.take_events()
        at = mesh.next_deadline().at
        if at < self._wake_at:
            self._wake_at = at
            self.fleet.at(at, self, None)

    def _carry_out(self, effect: effects.Effect) -> None:
        station = self.station
        match effect:
            case effects.SendDatagram(payload, remote):
                station.send_datagram(payload, remote)
            case effects.SendInner(public_key, payloads):
                station.send_inner(public_key, payloads)
            case effects.ChangePeers(changes):
                for change in changes:
                    station.change(change)
            case effects.Hurry(public_key):
                station.hurry(public_key)
            case effects.SetDetours(neighbours, paths):
                station.set_detours(neighbours, paths)
            case effects.Resolve(host, port):
                found = (Endpoint(v4(host), port),)
                mesh = self.mesh
                self._happened.append(lambda: mesh.resolved(host, port, found, self.fleet.now))
            case effects.CallLan(payload) if self.lan is not None:
                self.fleet.call_lan(self, payload)
            case _:
                pass

    # --- what tests ask ---

    def send(self, other: "Member", number: int = 0) -> None:
        """Send a packet of traffic to another."""
        self.station.send_inner(other.key, [DATA + number.to_bytes(4) + bytes(95)])
        self.settle()

    def got(self, other: "Member") -> list[int]:
        """Return the numbers of packets that came from another."""
        return [int.from_bytes(one[:4]) for _, key, one in self.packets if key == other.key]

    def remote(self, other: "Member") -> Remote | None:
        return self.mesh.context.remotes.get(other.identity.public)

    def path(self, other: "Member") -> list["Member"] | None:
        """Return whom a packet to another would meet, as this node believes; None if lost.

        A direct place where nobody is, or somebody else, leads nowhere: None as well.
        """
        remote = self.remote(other)
        if remote is None or not self.mesh.ways.is_reachable(remote):
            return None
        match remote.way:
            case Direct(endpoint):
                found = self.fleet.by_place.get(endpoint)
                return [self, found] if found is other else None
            case Via(hops):
                nodes = [self.fleet.by_short.get(hop) for hop in hops]
                known = [node for node in nodes if node is not None]
                return [self, *known] if len(known) == len(nodes) else None
            case _:
                return None

    def believes(self, other: "Member") -> bool:
        """Tell whether this node has a way to another, be it true or not."""
        remote = self.remote(other)
        return remote is not None and self.mesh.ways.is_reachable(remote)

    def reaches(self, other: "Member") -> bool:
        """Tell whether the way to another is one that packets would survive."""
        path = self.path(other)
        return path is not None and all(self.fleet.connects(*pair) for pair in pairwise(path))

    @property
    def digest(self) -> bytes:
        return self.mesh.context.objects.total_digest()

    def owners(self) -> dict[Prefix, PublicKey]:
        """Return who is given which prefix by the device."""
        return {
            prefix: peer.key for peer in self.station.peers.values() for prefix in peer.prefixes
        }

    def changes(self, since: float = 0.0) -> list[events.WayChanged]:
        """Return the changes of ways from an instant on."""
        return [
            event
            for at, event in self.told
            if at >= since and isinstance(event, events.WayChanged)
        ]


class Fleet:
    """Nodes, what is under way between them, and the time.

    The first `seeds` members stand in network.yaml. `spread` is what distance adds to the
    latency of a line, in seconds: nodes lie in a square, at random.
    """

    def __init__(
        self,
        size: int,
        *,
        seed: int = 0,
        seeds: int = 2,
        line: Line | None = None,
        spread: float = 0.0,
        metered: Iterable[int] = (),
    ) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.line = line or Line()
        self.lines: dict[frozenset[int], Line] = {}
        # Pairs that do not hear each other, each way on its own.
        self.cut: set[tuple[int, int]] = set()
        self.listens = True
        self.members: list[Member] = []
        self.by_place: dict[Endpoint, Member] = {}
        self.by_short: dict[bytes, Member] = {}
        self.counted: dict[str, list[int]] = {}
        self._spread = spread
        self._positions: list[complex] = []
        self._heap: list[tuple[float, int, Member, Callable[[], None] | None]] = []
        self._serial = count()
        self._places = count(1)
        self._verified: set[tuple[bytes, bytes, bytes]] = set()
        self._peers: tuple[StaticPeer, ...] = ()
        first = [Endpoint(_host(one + 1), PORT) for one in range(seeds)]
        self._peers = tuple(
            StaticPeer(HostPort(_text(place.host), PORT), None, _address(number))
            for number, place in enumerate(first)
        )
        paying = set(metered)
        for number in range(size):
            self.add(metered=number in paying)

    # --- making it ---

    def place(self) -> Endpoint:
        """Return a place where nobody ever was."""
        return Endpoint(_host(next(self._places)), PORT)

    def add(
        self,
        *,
        name: str = "",
        address: bytes = b"",
        seed: bytes = b"",
        **options: object,
    ) -> Member:
        """Add a node that is still off; by default with a name and an address of its own."""
        number = len(self.members)
        own = address or _address(number)
        settings = Settings(
            NetworkFile(SHARED, SUBNET, self._peers),
            name or f"n{number}",
            own,
            "wg0",
            PORT,
            seeds=tuple(peer for peer in self._peers if peer.address != own),
            **options,  # type: ignore[arg-type]
        )
        member = Member(self, number, settings, Secret(seed or _secret(number)))
        self.members.append(member)
        self.by_short.setdefault(member.identity.short, member)
        self._positions.append(complex(self.random.random(), self.random.random()))
        return member

    def start(self, within: float = 1.0) -> None:
        """Start all nodes at random instants within so many seconds."""
        for member in self.members:
            self.at(self.now + within * self.random.random(), member, member.start)

    def verifier(self, number: int) -> Verifier:
        """Return what checks signatures: once each, but for some nodes every time."""
        return verify_untrusted if number % SAMPLE == SAMPLE - 1 else self._verify

    def _verify(self, identity: bytes, message: bytes, signature: bytes) -> None:
        key = identity, message, signature
        if key not in self._verified:
            verify_untrusted(*key)
            self._verified.add(key)

    # --- the network ---

    def connects(self, one: Member, other: Member) -> bool:
        """Tell whether two hear each other, in truth."""
        return self._hears(one, other) and self._hears(other, one)

    def _hears(self, sender: Member, receiver: Member) -> bool:
        return (
            sender.up
            and receiver.up
            and sender.island == receiver.island
            and (sender.number, receiver.number) not in self.cut
        )

    def disconnect(self, one: Member, other: Member) -> None:
        self.cut |= {(one.number, other.number), (other.number, one.number)}

    def connect(self, one: Member, other: Member) -> None:
        self.cut -= {(one.number, other.number), (other.number, one.number)}

    def line_of(self, one: Member, other: Member) -> Line:
        return self.lines.get(frozenset((one.number, other.number)), self.line)

    def set_line(self, one: Member, other: Member, line: Line) -> None:
        self.lines[frozenset((one.number, other.number))] = line

    def transmit(self, sender: Member, endpoint: Endpoint, packet: Packet) -> None:
        size = OUTSIDE + size_of(packet)
        sender.sent += size
        receiver = self.by_place.get(endpoint)
        if receiver is None or not self._hears(sender, receiver):
            return
        line = self.line_of(sender, receiver) if self.lines else self.line
        if line.loss and self.random.random() < line.loss:
            return
        latency = line.latency
        if self._spread:
            away = self._positions[sender.number] - self._positions[receiver.number]
            latency += self._spread * abs(away)
        latency *= 1 + line.jitter * (2 * self.random.random() - 1)
        source = sender.endpoint

        def arrive() -> None:
            # It may have moved or ended meanwhile.
            if self.by_place.get(endpoint) is receiver:
                receiver.received += size
                receiver.receive(packet, source)

        self.at(self.now + latency, receiver, arrive)

    def call_lan(self, sender: Member, payload: bytes) -> None:
        for other in self.members:
            if other is not sender and other.lan == sender.lan and self._hears(sender, other):
                mesh = other.mesh
                mesh.receive_lan(payload, sender.endpoint, self.now)
                other.settle()

    # --- the time ---

    def at(self, instant: float, member: Member, action: Callable[[], None] | None) -> None:
        """Let something happen to a member later; None: let its mesh look at the clock."""
        heappush(self._heap, (instant, next(self._serial), member, action))

    def run_for(self, seconds: float) -> None:
        """Advance by a duration."""
        self.run_until(self.now + seconds)

    def run_until(self, instant: float) -> None:
        """Advance from one thing that happens to the next, up to `instant`."""
        heap = self._heap
        while heap and heap[0][0] <= instant:
            at, _, member, action = heappop(heap)
            self.now = max(self.now, at)
            if action is None:
                member.wake()
            else:
                action()
                if member.up:
                    member.settle()
        self.now = max(self.now, instant)

    def run_while(
        self, condition: Callable[[], bool], limit: float, step: float = 0.25
    ) -> float:
        """Advance while something holds, looked at so often; return the seconds it took.

        Infinite if it held for `limit` seconds.
        """
        began = self.now
        while condition():
            if self.now - began >= limit:
                return float("inf")
            self.run_for(step)
        return self.now - began

    # --- what is true ---

    def running(self) -> list[Member]:
        return [member for member in self.members if member.up]

    def routed(self, among: Iterable[Member] | None = None) -> float:
        """Return the share of pairs in which one knows a true way to the other."""
        nodes = list(self.running() if among is None else among)
        pairs = [(a, b) for a in nodes for b in nodes if a is not b]
        return sum(a.reaches(b) for a, b in pairs) / max(1, len(pairs))


def is_direct(endpoint: Endpoint | None) -> bool:
    return endpoint is not None and via_id(endpoint) is None


def _secret(number: int) -> bytes:
    return blake2s(b"node %d" % number).digest()


def _address(number: int) -> bytes:
    high, low = divmod(number + 1, 250)
    return bytes((10, 1, high, low + 1))


def _host(number: int) -> bytes:
    return bytes((172, 16 + (number >> 16), number >> 8 & 255, number & 255))


def _text(host: bytes) -> str:
    return ".".join(map(str, host))
