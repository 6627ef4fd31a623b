"""A node whose device is wrapped by a manager that only knows fixed ways through relays.

`python -m tests.namespaces.managed_node NAME PRIVATE PORT ADDRESS CARRIES PEER...`; a peer is
`PUBLIC,ALLOWED_IP,WHERE`. WHERE is an endpoint; or the public keys of relays, each after a `>`.
The id of a node is the beginning of its public key. On SIGUSR1 it tells, as a line of JSON,
what the manager saw and what the device counted.
"""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import uvloop

import wgpy
from wgpy.engine.device import Device
from wgpy.io import report
from wgpy.model import Burst, Deadline, TunBurst
from wgpy.wire import detour
from wgpy.wire.text import parse_key


class Neighbour(NamedTuple):
    """A peer, and the relays on the way to it."""

    public: wgpy.PublicKey
    allowed: str
    where: str
    relays: tuple[wgpy.PublicKey, ...]

    def change(self) -> wgpy.PeerChange:
        where = detour.via(node_id(self.public)) if self.relays else self.where
        return wgpy.peer(
            self.public, allowed_ips=[self.allowed], endpoint=where, persistent_keepalive=1
        )


def near(public: str, inner: str, endpoint: str) -> str:
    """Return the word for a peer that is reached directly."""
    return f"{public},{inner}/32,{endpoint}"


def far(public: str, inner: str, *relays: str) -> str:
    """Return the word for a peer behind relays."""
    return f"{public},{inner}/32,{''.join(f'>{relay}' for relay in relays)}"


def node_id(public: bytes) -> bytes:
    return public[: detour.ID_SIZE]


def read(text: str) -> Neighbour:
    public, allowed, where = text.split(",")
    relays = tuple(map(key, where.split(">")[1:]))
    return Neighbour(key(public), allowed, where, relays)


def key(text: str) -> wgpy.PublicKey:
    return wgpy.PublicKey(parse_key(text))


class Static:
    """Hands everything through; `seen` are the kinds of events that the device had."""

    def __init__(self, device: Device) -> None:
        self.seen: Counter[str] = Counter()
        self.device = device
        self._events: list[wgpy.Event] = []

    def receive_bursts(self, bursts: Sequence[Burst], now: float) -> None:
        self.device.receive_bursts(bursts, now)

    def receive_packets(self, packets: Sequence[TunBurst], now: float) -> None:
        self.device.receive_packets(packets, now)

    def handle_deadline(self, now: float) -> None:
        self.device.handle_deadline(now)

    def next_deadline(self) -> Deadline | None:
        return self.device.next_deadline()

    def take_bursts(self) -> list[Burst]:
        events = self.device.take_events()
        self.seen.update(type(event).__name__ for event in events)
        self._events += events
        return self.device.take_bursts()

    def take_packets(self) -> list[TunBurst]:
        return self.device.take_packets()

    def take_events(self) -> list[wgpy.Event]:
        taken, self._events = self._events, []
        return taken


def tell(node: wgpy.Node, manager: Static, moves: list[int]) -> None:
    status = node.status()
    told = {
        "seen": manager.seen,
        "detoured": status.detoured,
        "drops": dict(status.drops),
        "moves": len(moves),
    }
    print("told", json.dumps(told), flush=True)


async def main(name: str, private: str, port: str, address: str, *more: str) -> None:
    carries, *described = more
    secret = wgpy.secret(private)
    peers = [*map(read, described)]
    managers: list[Static] = []
    moves: list[int] = []

    def manage(device: Device) -> Static:
        near = {node_id(peer.public): peer.public for peer in peers if not peer.relays}
        ways = {
            node_id(peer.public): tuple(map(node_id, (*peer.relays, peer.public)))
            for peer in peers
            if peer.relays
        }
        own = node_id(wgpy.public_key(secret))
        device.set_detours(own, near, ways, carries=carries == "carries")
        managers.append(Static(device))
        return managers[0]

    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    async with wgpy.Node(
        name,
        private_key=secret,
        listen_port=int(port),
        addresses=[address],
        peers=[peer.change() for peer in peers],
        manage=manage,
        on_network=lambda: moves.append(len(moves)),
        uapi=True,
    ) as node:
        loop.add_signal_handler(signal.SIGUSR1, tell, node, managers[0], moves)
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        assert node.act(lambda now: now) > 0
        print("serves", flush=True)
        await ended.wait()


if __name__ == "__main__":
    report.configure("info")
    uvloop.run(main(*sys.argv[1:]))
