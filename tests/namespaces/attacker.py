"""A member that was taken over: `attacker IFACE PORT ADDRESS NAME SEED STATE RATE SECONDS`.

It joins like any other node. At SIGUSR1 it sends to all others, for SECONDS, RATE messages a
second to each: twice what is signed by whom it says, twice that and what is forged, then only
nodes that are forged, FASTER times as many. After each round it says `sent MESSAGES OBJECTS
IDENTITIES SIGNED`, in all: how many identities were made up, and how many of them with keys.
"""

import asyncio
import random  # noqa: TID251 - nothing here is a key of anybody
import signal
import sys
from collections import deque
from collections.abc import Iterator
from ipaddress import ip_address

from netmgr.effects import SendDatagram, SendInner
from netmgr.engine.remote import Remote
from netmgr.engine.signing import Identity
from netmgr.model import HostPort, NetworkFile, Settings, StaticPeer
from netmgr.network import Network
from netmgr.wire import control, objects
from netmgr.wire.objects import Accept, Edge, Offer, Record
from netmgr.wire.words import parse_shared_key
from tests.namespaces.mesh import KEY
from wgpy.io import clock
from wgpy.model import Buffer, Endpoint, Local, Prefix, Secret

TICK = 0.01
FUTURE = 1 << 40
FASTER = 3
dice = random.Random(7)


class Attacker:
    """What one member can say; each kind of it is an endless row of inner payloads."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.mesh = network.host.mesh
        context = self.mesh.context
        self.own, self.net_id = context.identity, context.keys.net_id
        self.objects = self.identities = self.messages = self.keys = 0
        self.old = list(context.objects.blobs())
        self.frames: deque[bytes] = deque(maxlen=256)
        self._receive = self.mesh.receive_datagram
        self.mesh.receive_datagram = self._record  # type: ignore[method-assign]
        true = [self.signed(), self.signed(), self.replays(), self.mine()]
        nobody = self.unsigned()
        # Who forges is not listened to any more, so that comes later.
        false = [*true, self.forged(), nobody]
        self.rounds = iter(
            [(true, 1), (true, 1), (false, 1), (false, 1), *2 * [([nobody], FASTER)]]
        )
        self.kinds = true

    def _record(
        self, payload: Buffer, remote: Endpoint, local: Local | None, now: float
    ) -> None:
        self.frames.append(bytes(payload))
        self._receive(payload, remote, local, now)

    # --- objects ---

    def said(
        self, who: Identity | bytes, kind: int, body: bytes, seq: int, part: int = 0
    ) -> bytes:
        """Return an object of an identity; a bare one cannot sign it."""
        if isinstance(who, Identity):
            return objects.encode(kind, part, who.public, seq, body, self.net_id, who.sign)
        return objects.encode(
            kind, part, who, seq, body, self.net_id, lambda _: dice.randbytes(64)
        )

    def bodies(self) -> Iterator[tuple[int, bytes]]:
        """Yield what may be said of a node, with its kind."""
        while True:
            number = dice.randrange(1, 255)
            name = dice.choice(("alice", "bob", "charlie", f"n{dice.randrange(10**6)}"))
            address = bytes((10, 1, 1, number)) if number % 4 else None
            yield objects.RECORD, objects.encode_record(Record(name, address, objects.RELAYS))
            edges = [Edge(dice.randbytes(8), 0) for _ in range(12)]
            edges += [Edge(one, 0) for one in self.mesh.context.by_short]
            yield objects.LINKS, objects.encode_links(edges)[0]
            yield objects.LEAVE, objects.encode_leave()
            offers = [("0.0.0.0", 0), ("10.1.1.0", 24), ("10.128.1.0", 24), ("8.8.8.8", 32)]
            prefixes = [Prefix(ip_address(one).packed, length) for one, length in offers]
            yield objects.ROUTES, objects.encode_routes([Offer(one, 0) for one in prefixes])
            identity = dice.randbytes(32)
            yield (
                objects.ACCEPT,
                objects.encode_accept(Accept("alice", bytes((10, 1, 1, 1)), identity)),
            )

    def packed(self, blobs: list[bytes]) -> bytes:
        self.objects += len(blobs)
        return control.encode(
            control.OBJECTS, b"".join(len(blob).to_bytes(2) + blob for blob in blobs)
        )

    def forged(self) -> Iterator[bytes]:
        """What others are to have said, Leave among it."""
        bodies, seq = self.bodies(), FUTURE
        while True:
            victims = list(self.mesh.context.remotes)
            blobs = []
            for _ in range(4):
                seq += 1
                kind, body = next(bodies)
                blobs.append(self.said(dice.choice(victims), kind, body, seq))
            yield self.packed(blobs)

    def unsigned(self) -> Iterator[bytes]:
        """Nodes that are not, by the dozen; nobody signed for them."""
        while True:
            record = objects.encode_record(Record(f"n{self.identities}", None, 0))
            blobs = [self.said(dice.randbytes(32), objects.RECORD, record, 1) for _ in range(8)]
            self.identities += len(blobs)
            yield self.packed(blobs)

    def signed(self) -> Iterator[bytes]:
        """Nodes with keys of their own, and names and addresses of others or nobody's."""
        bodies = self.bodies()
        while True:
            who = Identity(Secret(dice.randbytes(32)))
            self.identities += 1
            self.keys += 1
            first = [next(bodies) for _ in range(5)]
            yield self.packed([self.said(who, *first[0], 1), self.said(who, *first[1], 2)])
            edges = [Edge(dice.randbytes(8), 0) for _ in range(64)]
            body = objects.encode_links(edges)[0]
            yield self.packed([self.said(who, objects.LINKS, body, 3)])

    def replays(self) -> Iterator[bytes]:
        """What was true once."""
        while True:
            yield self.packed([dice.choice(self.old) for _ in range(4)])

    def mine(self) -> Iterator[bytes]:
        """Links to all and nobody, prefixes of others, more often than anybody may."""
        bodies, seq = self.bodies(), self.mesh.context.next_seq(0)
        while True:
            blobs: list[bytes] = []
            while len(blobs) < 3:
                kind, body = next(bodies)
                if kind in (objects.LINKS, objects.ROUTES, objects.ACCEPT):
                    seq += 1
                    blobs.append(self.said(self.own, kind, body, seq))
            yield self.packed(blobs)
            yield control.encode(control.PULL, bytes([0xFF]) * 8)
            yield control.encode(control.DIGEST, dice.randbytes(512))

    # --- sending ---

    def tick(self, count: int) -> None:
        """Send so many messages to each other node."""

        def act(now: float) -> None:
            effects = self.mesh.context.out.effects
            for remote in list(self.mesh.context.remotes.values()):
                if remote.up:
                    payloads = tuple(self.payload() for _ in range(count))
                    effects.append(SendInner(remote.public_key, payloads))
                    self.replay_frame(remote)

        self.network.act(act)

    def payload(self) -> bytes:
        self.messages += 1
        return next(self.kinds[self.messages % len(self.kinds)])

    def replay_frame(self, remote: Remote) -> None:
        """Send on what came from outside of the tunnel, of anybody."""
        if self.frames and remote.endpoint is not None:
            effects = self.mesh.context.out.effects
            effects.append(SendDatagram(dice.choice(self.frames), remote.endpoint))

    async def attack(self, seconds: float, rate: float) -> None:
        self.kinds, faster = next(self.rounds)
        began, sent = clock.now(), 0
        while (elapsed := clock.now() - began) < seconds:
            due = int(elapsed * rate * faster) - sent
            if due > 0:
                self.tick(due)
                sent += due
            await asyncio.sleep(TICK)
        made = (self.identities, self.keys)
        print("sent", self.messages, self.objects, *made, flush=True)


async def main(interface: str, port: str, address: str, name: str, *rest: str) -> None:
    seed, state, rate, seconds = rest
    network = NetworkFile(parse_shared_key(KEY), Prefix(bytes((10, 1, 1, 0)), 24))
    host, _, number = seed.partition(":")
    settings = Settings(
        network,
        name,
        ip_address(address).packed,
        interface,
        int(port),
        seeds=(StaticPeer(HostPort(host, int(number))),),
        state=state,
    )
    async with Network(settings) as running:
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, asked.set)
        print("joined", flush=True)
        await asked.wait()
        attacker = Attacker(running)
        while True:
            await asked.wait()
            asked.clear()
            await attacker.attack(float(seconds), float(rate))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
