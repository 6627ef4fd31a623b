"""Whole nodes with their mesh in a simulated world: hosts, LANs, names."""

from collections.abc import Iterable, Sequence
from hashlib import blake2s
from weakref import WeakKeyDictionary

from netmgr import effects, events
from netmgr.engine.host import Host as MeshHost
from netmgr.engine.remote import Direct, Remote, Via
from netmgr.engine.signing import Identity
from netmgr.model import HostPort, NetworkFile, Settings, StaticPeer
from tests.sim.nat import Nat
from tests.sim.tunnel import EPOCH, number_of, packet, prefix, v4
from tests.sim.world import World
from wgpy.engine.device import Device
from wgpy.model import Burst, Deadline, DeviceChange, Endpoint, Prefix, Secret, TunBurst

SHARED = Secret(blake2s(b"the key of the network").digest())
SUBNET = prefix("10.1.1.0/24")


def static(outside: str, port: int, address: str) -> StaticPeer:
    """Return an entry of `peers:`."""
    return StaticPeer(HostPort(outside, port), None, v4(address))


_NEIGHBOURS: "WeakKeyDictionary[World, list[Node]]" = WeakKeyDictionary()


class Numbers:
    """Sequence numbers of a node, which outlive its process."""

    def __init__(self) -> None:
        self.next = 1

    def take(self, at_least: int) -> int:
        self.next = max(self.next, at_least) + 1
        return self.next - 1


class Node:
    """A node of a mesh in a world; an engine, so that the world can drive it."""

    def __init__(
        self,
        world: World,
        name: str,
        address: str,
        outside: str,
        peers: Iterable[StaticPeer] = (),
        *,
        lan: str | None = None,
        nat: Nat | None = None,
        shared: Secret = SHARED,
        **options: object,
    ) -> None:
        self.world, self.name, self.address, self.lan = world, name, address, lan
        self.port = 50000 + v4(address)[3]
        peers = tuple(peers)
        network = NetworkFile(shared, SUBNET, peers)
        own = v4(address)
        seeds = tuple(peer for peer in peers if peer.address != own)
        self.settings = Settings(
            network,
            name,
            own,
            "wg0",
            self.port,
            seeds=seeds,
            **options,  # type: ignore[arg-type]
        )
        self.seed = Secret(blake2s(name.encode()).digest())
        self.numbers = Numbers()
        self.told: list[events.Event] = []
        self.prefixes: tuple[Prefix, ...] = ()
        self.inner = self._start()
        self.host = world.add(self, Endpoint(v4(outside), self.port), nat)
        self.neighbours = _NEIGHBOURS.setdefault(world, [])
        self.neighbours.append(self)
        self.learn_local()

    def _start(self) -> MeshHost:
        now = self.world.now
        device = Device(self.world.entropy(), EPOCH, embedded=True)
        device.configure(DeviceChange(listen_port=self.port), now)
        device.set_up(now, up=True)
        return MeshHost(
            device,
            self.settings,
            Identity(self.seed),
            entropy=self.world.entropy(),
            next_seq=self.numbers.take,
            now=now,
        )

    def learn_local(self) -> None:
        networks = [] if self.lan is None else [prefix(self.lan)]
        self.inner.mesh.set_local([self.host.endpoint], networks, self.world.now)
        self.inner.settle(self.world.now)

    def restart(self, *, remembers: bool = True) -> None:
        """Begin anew, with what was on disk or with nothing but the identity."""
        mesh = self.inner.mesh
        pins, blobs = mesh.context.trust.lasting(), list(mesh.context.objects.blobs())
        places = mesh.places()
        self.inner = self._start()
        if remembers:
            self.inner.mesh.restore(pins, blobs, places, self.world.now)
        self.learn_local()

    # --- the engine's verbs ---

    def receive_bursts(self, bursts: Sequence[Burst], now: float) -> None:
        self.inner.receive_bursts(bursts, now)

    def receive_packets(self, packets: Sequence[TunBurst], now: float) -> None:
        self.inner.receive_packets(packets, now)

    def handle_deadline(self, now: float) -> None:
        self.inner.handle_deadline(now)

    def next_deadline(self) -> Deadline | None:
        return self.inner.next_deadline()

    def take_packets(self) -> list[TunBurst]:
        return self.inner.take_packets()

    def take_bursts(self) -> list[Burst]:
        self._carry_out()
        return self.inner.take_bursts()

    def _carry_out(self) -> None:
        self.inner.take_events()
        self.told += self.inner.mesh.take_events()
        now = self.world.now
        for effect in self.inner.take_effects():
            match effect:
                case effects.Resolve(host, port):
                    found = (Endpoint(v4(host), port),)
                    self.inner.mesh.resolved(host, port, found, now)
                    self.inner.settle(now)
                case effects.CallLan(payload) if self.lan is not None:
                    for other in self.neighbours:
                        if other.lan == self.lan and other is not self:
                            other.inner.mesh.receive_lan(payload, self.host.endpoint, now)
                            other.inner.settle(now)
                case effects.SetPrefixes(prefixes):
                    self.prefixes = prefixes
                case _:
                    pass

    # --- what tests ask ---

    def remote(self, other: "Node") -> Remote | None:
        """Return what this node knows of another."""
        return self.inner.mesh.context.remotes.get(Identity(other.seed).public)

    def way(self, other: "Node") -> str:
        """Return how another is reached: direct, the names of relays, or nothing."""
        remote = self.remote(other)
        mesh = self.inner.mesh
        if remote is None or not mesh.ways.is_reachable(remote):
            return ""
        match remote.way:
            case Direct():
                return "direct"
            case Via(hops):
                found = (mesh.context.by_short.get(hop) for hop in hops[:-1])
                return " ".join("?" if one is None else one.name for one in found)
            case _:
                return ""

    def send(self, other: "Node", *numbers: int) -> None:
        """Send packets with numbers to another."""
        packets = [packet(self.address, other.address, number) for number in numbers]
        self.world.send(self.host, packets)

    def got(self, other: "Node") -> list[int]:
        """Return the numbers of packets that came from another."""
        source = v4(other.address)
        return [number_of(one) for one in self.host.received if one[12:16] == source]


def everybody_reaches_everybody(nodes: Iterable[Node]) -> bool:
    """Tell whether every node knows a way to every other."""
    nodes = list(nodes)
    return all(a.way(b) for a in nodes for b in nodes if a is not b)
