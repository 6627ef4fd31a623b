"""A whole device with a live session, fed by a stranger who may replay what he has recorded.

The input is a program for the stranger: which payloads to send, made up or recorded and then
changed, from where, and when. Two real devices stand on one virtual wire; all is computed from
the input, so that an input that fails once fails always.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Final, NamedTuple

from wgpy.engine import constants
from wgpy.engine.cookie import LABEL_MAC1
from wgpy.engine.crypto import hash_, mac, public_key
from wgpy.engine.device import Device
from wgpy.errors import Drop
from wgpy.events import DatagramReceived, Event
from wgpy.model import (
    AllowedIPChange,
    Burst,
    DeviceChange,
    Endpoint,
    Local,
    PeerChange,
    Prefix,
    Secret,
    TunBurst,
)
from wgpy.wire import messages

SERVER: Final = Endpoint(bytes([192, 0, 2, 1]), 51820)
CLIENT: Final = Endpoint(bytes([192, 0, 2, 2]), 51821)
HERE: Final = Local(SERVER.host, 2)
SERVER_SECRET: Final = Secret(b"\x01" * 32)
CLIENT_SECRET: Final = Secret(b"\x02" * 32)
SERVER_KEY: Final = public_key(SERVER_SECRET)
CLIENT_KEY: Final = public_key(CLIENT_SECRET)
# What no input reaches: the session would end by its age.
START: Final = 1000.0
MAX_TIME: Final = 60.0
MAX_PAYLOADS: Final = 400
_OF_THE_HOST: Final = {
    drop.value for drop in (Drop.NO_PEER, Drop.NO_ENDPOINT, Drop.NOT_IP, Drop.STAGED_OVERFLOW)
}


def inner(source: int, destination: int, size: int = 84) -> bytes:
    """Return an IPv4 packet from 10.0.0.`source` to 10.0.0.`destination`."""
    head = bytes([0x45, 0]) + size.to_bytes(2) + bytes([0, 0, 0, 0, 64, 17, 0, 0])
    return head + bytes([10, 0, 0, source, 10, 0, 0, destination]) + bytes(size - 20)


PING: Final = inner(2, 1)
PONG: Final = inner(1, 2)


class Entropy:
    """Bytes that are random enough and the same in every run."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self, size: int) -> bytes:
        self._count += 1
        return blake2s(self._seed + self._count.to_bytes(8)).digest()[:size]


class Reader:
    """The input, taken from the front; zeros at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.take(size))


class Sent(NamedTuple):
    """A payload of the stranger and where it pretends to come from."""

    payload: bytes
    source: Endpoint
    tos: int


@dataclass
class Arena:
    """Server and client with a session, the stranger's recordings and the sums."""

    embedded: bool
    now: float = START
    payloads: int = 0
    foreign: int = 0
    recorded: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = Device(Entropy(b"server"), 1.7e9, embedded=self.embedded)
        self.client = Device(Entropy(b"client"), 1.7e9)
        for device, secret, key, host in (
            (self.server, SERVER_SECRET, CLIENT_KEY, 2),
            (self.client, CLIENT_SECRET, SERVER_KEY, 1),
        ):
            allowed = (AllowedIPChange(Prefix(bytes([10, 0, 0, host]), 32)),)
            where = SERVER if device is self.client else None
            peer = PeerChange(key, endpoint=where, allowed_ips=allowed)
            device.configure(DeviceChange(private_key=secret, peers=(peer,)), self.now)
            device.set_up(self.now, up=True)
        assert self.ping() == [PING], "the session of the beginning"
        self.server.receive_packets([TunBurst(PONG)], self.now)
        assert self.carry() == [PONG]

    def carry(self) -> list[bytes]:
        """Carry datagrams both ways until none is left; return what came out of tunnels."""
        came: list[bytes] = []
        for _ in range(10):
            there = self.client.take_bursts()
            back = [burst for burst in self.server.take_bursts() if burst.remote == CLIENT]
            came += [bytes(burst.whole()) for burst in self.client.take_packets()]
            came += [bytes(burst.whole()) for burst in self.server.take_packets()]
            if not there and not back:
                break
            self.recorded += _payloads(there)
            self.server.receive_bursts([_single(p, CLIENT) for p in _payloads(there)], self.now)
            self.recorded += _payloads(back)
            self.client.receive_bursts([_single(p, SERVER) for p in _payloads(back)], self.now)
        return came

    def ping(self) -> list[bytes]:
        """Send one packet of the client's host; return what came out."""
        self.client.receive_packets([TunBurst(PING)], self.now)
        return self.carry()

    def attack(self, sent: list[Sent]) -> None:
        """Let the stranger's payloads arrive at once."""
        self.payloads += len(sent)
        bursts = [
            Burst(each.payload, max(len(each.payload), 1), each.source, HERE, each.tos)
            for each in sent
        ]
        self.server.receive_bursts(bursts, self.now)
        self._look(self.server.take_events())

    def wait(self, seconds: float) -> None:
        """Let time go by, every deadline at its instant."""
        until = self.now + seconds
        for _ in range(10_000):
            deadline = self.server.next_deadline()
            if deadline is None or deadline.at > until:
                break
            self.now = max(self.now, deadline.at)
            self.server.handle_deadline(self.now)
            following = self.server.next_deadline()
            assert following is None or following.at > self.now, "no deadline stands still"
        else:
            raise AssertionError("deadlines without end")
        self.now = until
        self._look(self.server.take_events())

    def drops(self) -> int:
        """Return how many datagrams the server has refused, not packets of its host."""
        drops = self.server.status().drops
        return sum(count for why, count in drops if why not in _OF_THE_HOST)

    def endpoint(self) -> Endpoint | None:
        return self.server.status().peers[0].endpoint

    def _look(self, events: list[Event]) -> None:
        self.foreign += sum(isinstance(event, DatagramReceived) for event in events)
        assert len(events) <= constants.MAX_FOREIGN + 64


def fuzz_device(data: bytes) -> None:
    """Any bursts: nothing raises, each is counted once, the session lives on."""
    reader = Reader(data)
    arena = Arena(embedded=bool(reader.number() & 1))
    # Sent by the client and never arrived: the stranger has them first.
    arena.client.receive_packets([TunBurst(PING)] * 2, arena.now)
    held = _payloads(arena.client.take_bursts())
    before = arena.drops()
    while reader and arena.payloads < MAX_PAYLOADS:
        _step(reader, arena, held)
    _check(arena, before)


def _step(reader: Reader, arena: Arena, held: list[bytes]) -> None:
    kind = reader.number()
    match kind % 4:
        case 0:
            left = MAX_TIME - (arena.now - START)
            arena.wait(min(left, (reader.number() % 64) / 16))
        case 1:
            arena.server.receive_packets([TunBurst(reader.take(reader.number()))], arena.now)
        case _:
            payloads = list(_stranger(reader, arena.recorded + held, 1 + kind // 4 % 16))
            # The owner of these would be let in, as it must be.
            arena.attack([each for each in payloads if each.payload not in held])


def _stranger(reader: Reader, known: list[bytes], count: int) -> Iterator[Sent]:
    for _ in range(count):
        shape = reader.number()
        if shape & 1:
            payload = reader.take(reader.number(2) % 1600)
        else:
            payload = _changed(reader, known[reader.number() % len(known)])
        if shape & 2 and len(payload) > 32:
            payload = _with_mac1(payload)
        host = CLIENT.host if shape & 4 else bytes([198, 51, 100, shape])
        port = CLIENT.port if shape & 8 else reader.number(2)
        yield Sent(payload, Endpoint(host, port), shape >> 4)


def _changed(reader: Reader, payload: bytes) -> bytes:
    how = reader.number()
    if how & 1:
        at = reader.number() % (len(payload) or 1)
        payload = payload[:at] + bytes([payload[at] ^ reader.number()]) + payload[at + 1 :]
    if how & 2:
        payload = payload[: reader.number()]
    if how & 4:
        payload += bytes(reader.number())
    return payload


def _with_mac1(payload: bytes) -> bytes:
    """Return a handshake message with the MAC that everybody who knows the key can make."""
    unsealed = bytes(messages.before_mac1(payload))
    return unsealed + mac(hash_(LABEL_MAC1 + SERVER_KEY), unsealed) + payload[-16:]


def _check(arena: Arena, before: int) -> None:
    assert arena.endpoint() == CLIENT, "only the authentic tell where a peer is"
    arena.wait(3.0)
    reception, common = arena.server._reception, arena.server._common  # noqa: SLF001 - tables
    assert len(reception) == 0, "what waited was worked off"
    assert len(common.indices) <= 4
    assert not common.out.events
    bursts = arena.server.take_bursts()
    assert sum(len(_payloads([burst])) for burst in bursts) <= arena.payloads + 600
    counted = arena.drops() - before + arena.foreign
    assert counted == arena.payloads, f"{counted} counted of {arena.payloads}"
    arena.server.take_packets()
    assert arena.ping() == [PING], "the session passes a genuine packet"


def _single(payload: bytes, source: Endpoint) -> Burst:
    return Burst(payload, len(payload), source, HERE)


def _payloads(bursts: list[Burst]) -> list[bytes]:
    return [bytes(segment) for burst in bursts for segment in burst.segments()]
