"""A deterministic world for engines: one virtual clock, one lossy network, no sockets.

`World` is to tests what `wgpy.driver` is to production: the only caller of a top engine. What
happens is a function of the seed, the links and the inputs, in this order at each instant:
datagrams arrive in the order they were sent, hosts wake in the order they were added.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random  # noqa: TID251  (seeded: the point of this module)
from typing import NamedTuple

from tests.sim.nat import Nat
from wgpy.driver import Engine
from wgpy.model import Burst, Endpoint, TunBurst


@dataclass(frozen=True)
class Link:
    """How the network treats a datagram; probabilities are in 0..1, times in seconds.

    A reordered datagram is held back by `reordering_delay`, so that later ones overtake it.
    """

    latency: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    reordering_delay: float = 0.05
    # Whether routers mark ECN-capable datagrams: congestion experienced.
    congested: bool = False


class Sent(NamedTuple):
    """One datagram as it left its host, or the NAT that its host is behind."""

    at: float
    source: Endpoint
    destination: Endpoint
    payload: bytes
    tos: int

    @property
    def kind(self) -> int:
        """WireGuard's message type."""
        return self.payload[0]


@dataclass(eq=False)
class Host:
    """An engine and where it is; `received` are the packets that its engine gave its TUN."""

    engine: Engine
    endpoint: Endpoint
    nat: Nat | None = None
    up: bool = True
    received: list[bytes] = field(default_factory=list)
    received_at: list[float] = field(default_factory=list)
    asleep_until: float = 0.0


class _Arrival(NamedTuple):
    at: float
    serial: int
    source: Endpoint
    destination: Endpoint
    payload: bytes
    tos: int


class World:
    """Hosts, the datagrams in flight between them, and the time."""

    def __init__(self, seed: int = 0, link: Link | None = None) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.trace: list[Sent] = []
        self.link = link or Link()
        # Links that differ, one direction each, by the hosts that send and receive.
        self.links: dict[tuple[Host, Host], Link] = {}
        # Called for each datagram sent; False loses it.
        self.filter: Callable[[Sent], bool] = _everything
        self._hosts: list[Host] = []
        self._in_flight: list[_Arrival] = []
        self._serial = count()

    # --- making it ---

    def add(self, engine: Engine, endpoint: Endpoint, nat: Nat | None = None) -> Host:
        """Connect an engine to the network, maybe behind a NAT."""
        host = Host(engine, endpoint, nat)
        self._hosts.append(host)
        return host

    def entropy(self) -> Callable[[int], bytes]:
        """Return a source of entropy of its own, decided by the seed."""
        return Random(self.random.getrandbits(64)).randbytes

    def replace(self, host: Host, engine: Engine) -> None:
        """Let a program die without a word, and another begin in its place."""
        host.engine = engine

    # --- what happens from outside ---

    def send(self, host: Host, packets: Sequence[bytes]) -> None:
        """Let the operating system of a host send packets through its TUN."""
        host.engine.receive_packets([TunBurst(packet) for packet in packets], self.now)
        self.settle()

    def inject(self, host: Host, payload: bytes, source: Endpoint, tos: int = 0) -> None:
        """Let a datagram of anybody arrive at a host now."""
        burst = Burst(payload, len(payload), source, None, tos)
        host.engine.receive_bursts([burst], self.now)
        self.settle()

    def suspend(self, host: Host, seconds: float) -> None:
        """Let a host sleep: its clock runs on, but it neither wakes nor hears anything."""
        host.asleep_until = self.now + seconds

    # --- the time ---

    def run_for(self, seconds: float) -> None:
        """Advance by a duration."""
        self.run_until(self.now + seconds)

    def run_until(self, instant: float) -> None:
        """Advance from one thing that happens to the next, up to `instant`."""
        self.settle()
        while (next_at := self._next_at()) is not None and next_at <= instant:
            self.now = max(self.now, next_at)
            self._deliver()
            self._wake()
            self.settle()
        self.now = max(self.now, instant)

    def run_while(self, condition: Callable[[], bool], limit: float) -> bool:
        """Advance while something holds; False if it held for `limit` seconds."""
        end = self.now + limit
        self.settle()
        while condition():
            next_at = self._next_at()
            if next_at is None or next_at > end:
                return False
            self.run_until(next_at)
        return True

    def settle(self) -> None:
        """Take from the engines what they want done; after a call to one of them."""
        for host in self._hosts:
            for packet in host.engine.take_packets():
                host.received.append(bytes(packet.whole()))
                host.received_at.append(self.now)
            for burst in host.engine.take_bursts():
                for payload in burst.segments():
                    self._send(host, burst.remote, bytes(payload), burst.tos)

    # --- inside ---

    def _next_at(self) -> float | None:
        instants = [arrival.at for arrival in self._in_flight[:1]]
        for host in self._hosts:
            deadline = host.engine.next_deadline()
            if deadline is not None:
                instants.append(max(deadline.at, host.asleep_until))
        return min(instants, default=None)

    def _deliver(self) -> None:
        while self._in_flight and self._in_flight[0].at <= self.now:
            arrival = heappop(self._in_flight)
            found = self._addressee(arrival)
            if found is None:
                continue
            host = found
            payload = arrival.payload
            burst = Burst(payload, len(payload), arrival.source, None, arrival.tos)
            host.engine.receive_bursts([burst], self.now)
            self.settle()

    def _addressee(self, arrival: _Arrival) -> Host | None:
        for host in self._hosts:
            if not host.up or self.now < host.asleep_until:
                continue
            inside: Endpoint | None = arrival.destination
            if host.nat is not None:
                inside = host.nat.inward(arrival.destination, arrival.source, self.now)
            if inside == host.endpoint:
                return host
        return None

    def _wake(self) -> None:
        for host in self._hosts:
            if self.now < host.asleep_until:
                continue
            deadline = host.engine.next_deadline()
            if deadline is not None and deadline.at <= self.now:
                host.engine.handle_deadline(self.now)
                after = host.engine.next_deadline()
                assert after is None or after.at > self.now, f"hot loop: {after}"

    def _send(self, host: Host, destination: Endpoint, payload: bytes, tos: int) -> None:
        source = host.endpoint
        if host.nat is not None:
            source = host.nat.outward(source, destination, self.now)
        sent = Sent(self.now, source, destination, payload, tos)
        self.trace.append(sent)
        link = self._link(host, destination)
        for _ in range(1 + (self.random.random() < link.duplication)):
            delay = link.latency + self.random.random() * link.jitter
            if self.random.random() < link.reordering:
                delay += link.reordering_delay
            lost = self.random.random() < link.loss
            if lost or not host.up or not self.filter(sent):
                continue
            marked = tos | 3 if link.congested and tos & 3 else tos
            arrival = _Arrival(
                self.now + delay, next(self._serial), source, destination, payload, marked
            )
            heappush(self._in_flight, arrival)

    def _link(self, host: Host, destination: Endpoint) -> Link:
        for (sender, receiver), link in self.links.items():
            outside = receiver.nat.host if receiver.nat else receiver.endpoint.host
            if sender is host and outside == destination.host:
                return link
        return self.link


def _everything(_: Sent) -> bool:
    return True
