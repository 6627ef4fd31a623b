"""A WireGuard device without cryptography: what a mesh sees of one, at a tenth of the cost.

Sessions, their handshakes, queues, keepalives and relays go as in `wgpy.engine`: a session is
an object that both ends hold; a message of one that the receiver does not hold is lost, and so
is an initiation older than one that came before.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

from wgpy.engine.constants import (
    KEEPALIVE_TIMEOUT,
    MAX_STAGED_PACKETS,
    REJECT_AFTER_TIME,
    REKEY_AFTER_TIME,
    REKEY_ATTEMPT_TIME,
    REKEY_TIMEOUT,
)
from wgpy.model import Endpoint, PeerChange, Prefix, PublicKey
from wgpy.wire.detour import via, via_id

# Of IPv4 and UDP; of a message of data, which is padded; of a relay message with n ids.
OUTSIDE = 28
SEALED = 32
PADDING = 16
RELAYED = 16
ID_SIZE = 8
# Seconds after which what was sent should have had an answer.
PATIENCE = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT


class Session:
    """The keys of two, with the time they are from, who asked for them, and the counters."""

    __slots__ = ("at", "by", "sent")

    def __init__(self, at: float, by: PublicKey) -> None:
        self.at = at
        self.by = by
        self.sent: dict[PublicKey, int] = {}

    def count(self, key: PublicKey) -> int:
        """Return the counter of the next message that one of the two sends."""
        number = self.sent.get(key, 0)
        self.sent[key] = number + 1
        return number


class Datagram(NamedTuple):
    payload: bytes


class Initiation(NamedTuple):
    sender: PublicKey
    session: Session


class Response(NamedTuple):
    sender: PublicKey
    session: Session


class Data(NamedTuple):
    sender: PublicKey
    session: Session
    inner: "Inner"
    counter: int


class Hop(NamedTuple):
    """A relay message; `failed` is the id that could not be reached, of an error."""

    turn: int
    source: bytes
    ids: tuple[bytes, ...]
    packet: "Packet | None"
    failed: bytes = b""


Inner: TypeAlias = bytes | Hop
Packet: TypeAlias = Datagram | Initiation | Response | Data


def size_of(packet: Packet) -> int:
    """Return the bytes of a packet, without IP and UDP."""
    match packet:
        case Datagram(payload):
            return len(payload)
        case Initiation():
            return 148
        case Response():
            return 92
        case Data(_, _, bytes(inner), _):
            return SEALED + -(-len(inner) // PADDING) * PADDING
        case Data(_, _, inner, _):
            assert isinstance(inner, Hop)
            body = ID_SIZE if inner.packet is None else size_of(inner.packet)
            inside = RELAYED + ID_SIZE * len(inner.ids) + body
            return SEALED + -(-inside // PADDING) * PADDING


class Listener(Protocol):
    """Who is told what happens to a device."""

    def receive_datagram(self, payload: bytes, remote: Endpoint) -> None: ...

    def receive_inner(self, public_key: PublicKey, payload: bytes) -> None: ...

    def session_begun(self, public_key: PublicKey) -> None: ...

    def roamed(self, public_key: PublicKey, endpoint: Endpoint) -> None: ...

    def relay_failed(self, destination: bytes, failed: bytes) -> None: ...


class Clock(Protocol):
    """The world of a station."""

    @property
    def now(self) -> float: ...

    def at(self, instant: float, action: Callable[[], None]) -> None: ...

    def transmit(self, station: "Station", endpoint: Endpoint, packet: Packet) -> None: ...


class Arrived:
    """What came of a session, as `Device.arrivals` tells: the newest wait for the next look."""

    __slots__ = ("before", "looked", "session", "settled", "since", "upcoming")

    def __init__(self, session: Session | None) -> None:
        self.session = session
        self.settled = self.looked = self.upcoming = 0
        # Came with counters below `looked`, and from there on.
        self.before = self.since = 0

    def take(self, counter: int) -> None:
        self.upcoming = max(self.upcoming, counter + 1)
        if counter >= self.looked:
            self.since += 1
        elif counter >= self.settled:
            self.before += 1

    def look(self) -> tuple[int, int]:
        found = self.looked - self.settled, self.before
        self.settled, self.looked = self.looked, self.upcoming
        self.before, self.since = self.since, 0
        return found


class Peer:
    """One peer of a station."""

    __slots__ = (
        "arrived",
        "asked_at",
        "attempts_since",
        "current",
        "doubted",
        "endpoint",
        "following",
        "handshake_at",
        "heard_at",
        "heeded",
        "initiated_at",
        "key",
        "pending",
        "prefixes",
        "previous",
        "rx",
        "tx",
        "waiting",
    )

    def __init__(self, key: PublicKey) -> None:
        self.key = key
        self.endpoint: Endpoint | None = None
        self.prefixes: tuple[Prefix, ...] = ()
        self.current: Session | None = None
        self.previous: Session | None = None
        # Of a handshake that we answered, or began.
        self.following: Session | None = None
        self.pending: Session | None = None
        self.handshake_at = float("-inf")
        self.attempts_since: float | None = None
        self.waiting: list[Inner] | None = None
        # When data was last sent that nothing came back for, data heard, anything sent.
        self.asked_at: float | None = None
        self.heard_at: float | None = None
        # Whether a look at these two is under way.
        self.doubted = self.heeded = False
        # The stamp of the newest initiation that came from it.
        self.initiated_at = float("-inf")
        self.rx = self.tx = 0
        self.arrived = Arrived(None)


class Station:
    """One device; `dead` once its program ended."""

    def __init__(self, clock: Clock, key: PublicKey, short: bytes, listener: Listener) -> None:
        self.clock = clock
        self.key = key
        self.short = short
        self.listener = listener
        self.peers: dict[PublicKey, Peer] = {}
        self.dead = False
        self.carries = True
        self._neighbours: Mapping[bytes, PublicKey] = {}
        self._ids: dict[PublicKey, bytes] = {}
        self._paths: Mapping[bytes, tuple[bytes, ...]] = {}
        self._seen: dict[PublicKey, tuple[int, int]] = {}
        self._grown: dict[PublicKey, Peer] = {}

    # --- what the mesh asks ---

    def endpoint(self, public_key: PublicKey) -> Endpoint | None:
        peer = self.peers.get(public_key)
        return None if peer is None else peer.endpoint

    def traffic(self, public_key: PublicKey) -> tuple[int, int, float]:
        peer = self.peers.get(public_key)
        if peer is None:
            return 0, 0, 0.0
        return peer.rx, peer.tx, 0.0 if peer.current is None else peer.current.at

    def arrivals(self, public_key: PublicKey) -> tuple[int, int]:
        peer = self.peers.get(public_key)
        return (0, 0) if peer is None else peer.arrived.look()

    def active(self) -> Iterable[tuple[PublicKey, bool, bool]]:
        grown, self._grown = self._grown, {}
        for key, peer in grown.items():
            rx, tx = self._seen.get(key, (0, 0))
            self._seen[key] = peer.rx, peer.tx
            yield key, peer.rx > rx, peer.tx > tx + SEALED

    # --- what the mesh wants ---

    def change(self, change: PeerChange) -> None:
        key = change.public_key
        if change.remove:
            self.peers.pop(key, None)
            self._seen.pop(key, None)
            self._grown.pop(key, None)
            return
        peer = self.peers.get(key)
        if peer is None:
            if change.update_only:
                return
            peer = self.peers[key] = Peer(key)
        if change.endpoint is not None:
            peer.endpoint = change.endpoint
        given = tuple(each.prefix for each in change.allowed_ips)
        if given or change.replace_allowed_ips:
            peer.prefixes = given if change.replace_allowed_ips else peer.prefixes + given

    def set_detours(
        self, neighbours: Mapping[bytes, PublicKey], paths: Mapping[bytes, tuple[bytes, ...]]
    ) -> None:
        self._neighbours, self._paths = neighbours, paths
        self._ids = {key: short for short, key in neighbours.items()}

    def hurry(self, public_key: PublicKey) -> None:
        peer = self.peers.get(public_key)
        if peer is not None and peer.waiting and not self._can_send(peer):
            peer.handshake_at = float("-inf")
            self._initiate(peer)

    def send_datagram(self, payload: bytes, remote: Endpoint) -> None:
        self.clock.transmit(self, remote, Datagram(payload))

    def send_inner(self, public_key: PublicKey, payloads: Iterable[Inner]) -> None:
        peer = self.peers.get(public_key)
        if peer is None:
            return
        for payload in payloads:
            self._send(peer, payload)

    # --- from the network ---

    def receive(self, packet: Packet, source: Endpoint) -> None:
        if isinstance(packet, Datagram):
            self.listener.receive_datagram(packet.payload, source)
            return
        peer = self.peers.get(packet.sender)
        if peer is None:
            return
        match packet:
            case Initiation(_, session):
                if session.at <= peer.initiated_at:
                    return
                peer.initiated_at = session.at
                peer.following = session
                if self.key <= peer.key:
                    peer.pending = None
                self._move(peer, source)
                peer.rx += 148
                self._emit(peer, Response(self.key, session))
            case Response(_, session):
                if peer.pending is not session:
                    return
                peer.rx += 92
                self._move(peer, source)
                peer.previous, peer.current, peer.pending = peer.current, session, None
                self._begun(peer)
                if not peer.waiting:
                    self._seal(peer, b"")
                self._flush(peer)
            case Data(_, session, inner, _):
                self._receive_data(peer, session, inner, packet, source)

    def _receive_data(
        self, peer: Peer, session: Session, inner: Inner, packet: Data, source: Endpoint
    ) -> None:
        if self.clock.now - session.at > REJECT_AFTER_TIME:
            return
        confirms = session is peer.following
        if confirms:
            peer.previous, peer.current, peer.following = peer.current, session, None
        elif session is not peer.current and session is not peer.previous:
            return
        peer.rx += size_of(packet)
        if peer.arrived.session is not session:
            peer.arrived = Arrived(session)
        peer.arrived.take(packet.counter)
        self._grown[peer.key] = peer
        peer.asked_at = None
        old = peer.endpoint
        relayed = old is not None and via_id(old) is not None
        if old is None or (via_id(source) is None and not relayed):
            self._move(peer, source)
        if confirms:
            self._begun(peer)
            self._flush(peer)
        if inner != b"":
            self._deliver(peer, inner, source)

    def _deliver(self, peer: Peer, inner: Inner, source: Endpoint) -> None:
        if peer.heard_at is None:
            peer.heard_at = self.clock.now
            if not peer.heeded:
                peer.heeded = True
                due = self.clock.now + KEEPALIVE_TIMEOUT
                self.clock.at(due, lambda: self._keep_alive(peer))
        if isinstance(inner, bytes):
            self.listener.receive_inner(peer.key, inner)
        elif via_id(source) is None:
            self._receive_hop(peer, inner)

    def _receive_hop(self, sender: Peer, hop: Hop) -> None:
        around = (hop.source, *hop.ids)
        before, own = around[hop.turn], around[hop.turn + 1]
        if hop.packet is None:
            before, own = own, before
        if own != self.short or self._ids.get(sender.key) != before:
            return
        if hop.packet is None:
            self._receive_error(hop)
        elif hop.turn == len(hop.ids) - 1:
            self.receive(hop.packet, via(hop.source))
        elif self.carries:
            following = hop.ids[hop.turn + 1]
            peer = self._next(following)
            if peer is not None:
                self._send(peer, hop._replace(turn=hop.turn + 1))
            else:
                self._send(sender, hop._replace(packet=None, failed=following))

    def _receive_error(self, error: Hop) -> None:
        destination = error.ids[-1]
        if error.turn == 0:
            if self._paths.get(destination) == error.ids:
                self.listener.relay_failed(destination, error.failed)
            return
        back = (error.source, *error.ids)[error.turn - 1]
        peer = self._next(back)
        if peer is not None:
            self._send(peer, error._replace(turn=error.turn - 1))

    # --- sending ---

    def _send(self, peer: Peer, inner: Inner) -> None:
        if self._can_send(peer):
            self._seal(peer, inner)
            return
        if peer.waiting is None:
            peer.waiting = []
        if len(peer.waiting) >= MAX_STAGED_PACKETS:
            del peer.waiting[0]
        peer.waiting.append(inner)
        self._initiate(peer)

    def _can_send(self, peer: Peer) -> bool:
        session = peer.current
        return session is not None and self.clock.now - session.at < REJECT_AFTER_TIME

    def _seal(self, peer: Peer, inner: Inner) -> None:
        session, now = peer.current, self.clock.now
        assert session is not None
        if inner != b"" and peer.asked_at is None:
            peer.asked_at = now
            if not peer.doubted:
                peer.doubted = True
                self.clock.at(now + PATIENCE, lambda: self._doubt(peer))
        self._emit(peer, Data(self.key, session, inner, session.count(self.key)))
        if now - session.at > REKEY_AFTER_TIME and session.by == self.key:
            self._initiate(peer)

    def _emit(self, peer: Peer, packet: Packet) -> None:
        endpoint = peer.endpoint
        if endpoint is None:
            return
        peer.heard_at = None
        peer.tx += size_of(packet)
        self._grown[peer.key] = peer
        destination = via_id(endpoint)
        if destination is None:
            self.clock.transmit(self, endpoint, packet)
            return
        ids = self._paths.get(destination)
        first = None if ids is None else self._next(ids[0])
        if ids is None or first is None:
            failed = destination if ids is None else ids[0]
            self.listener.relay_failed(destination, failed)
        else:
            self._send(first, Hop(0, self.short, ids, packet))

    def _next(self, short: bytes) -> Peer | None:
        """Return the peer to hand something to, None if there is no direct session with it."""
        key = self._neighbours.get(short)
        peer = None if key is None else self.peers.get(key)
        if peer is None or peer.endpoint is None or via_id(peer.endpoint) is not None:
            return None
        if not self._can_send(peer):
            self._initiate(peer)
            return None
        return peer

    def _flush(self, peer: Peer) -> None:
        waiting, peer.waiting = peer.waiting, None
        for inner in waiting or ():
            self._send(peer, inner)

    # --- handshakes ---

    def _initiate(self, peer: Peer) -> None:
        now = self.clock.now
        if now - peer.handshake_at < REKEY_TIMEOUT or peer.endpoint is None:
            return
        if peer.attempts_since is None:
            peer.attempts_since = now
        peer.handshake_at = now
        peer.pending = Session(now, self.key)
        self._emit(peer, Initiation(self.key, peer.pending))
        self.clock.at(now + REKEY_TIMEOUT, lambda: self._retry(peer))

    def _retry(self, peer: Peer) -> None:
        if not self._is_here(peer) or peer.pending is None:
            return
        now = self.clock.now
        if now - peer.handshake_at < REKEY_TIMEOUT:
            return
        since = peer.attempts_since
        if since is not None and now - since >= REKEY_ATTEMPT_TIME:
            peer.pending = peer.attempts_since = peer.waiting = None
            return
        self._initiate(peer)

    def _doubt(self, peer: Peer) -> None:
        """Begin a handshake if nothing came back for 15 s."""
        peer.doubted = False
        if not self._is_here(peer) or peer.asked_at is None:
            return
        due = peer.asked_at + PATIENCE
        if self.clock.now < due - 1e-6:
            peer.doubted = True
            self.clock.at(due, lambda: self._doubt(peer))
            return
        peer.asked_at = None
        self._initiate(peer)

    def _keep_alive(self, peer: Peer) -> None:
        peer.heeded = False
        if not self._is_here(peer) or peer.heard_at is None:
            return
        due = peer.heard_at + KEEPALIVE_TIMEOUT
        if self.clock.now < due - 1e-6:
            peer.heeded = True
            self.clock.at(due, lambda: self._keep_alive(peer))
        elif self._can_send(peer):
            self._seal(peer, b"")

    def _begun(self, peer: Peer) -> None:
        peer.attempts_since = None
        peer.handshake_at = float("-inf")
        self.listener.session_begun(peer.key)

    def _is_here(self, peer: Peer) -> bool:
        return not self.dead and self.peers.get(peer.key) is peer

    def _move(self, peer: Peer, source: Endpoint) -> None:
        if peer.endpoint != source:
            peer.endpoint = source
            self.listener.roamed(peer.key, source)
