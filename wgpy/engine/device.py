"""One interface: peers, cryptokey routing and the path of packets; an Engine (paper 2 to 6).

Feed it bursts, packets and the time; it answers with bursts, packets and events. Whatever
comes from the network is dropped and counted if it is not good, never raised. The order of
checks of a data packet is the kernel's: index, age, authenticity, replay, then where the peer
is, sessions and timers, and only then whether the inner source may come from this peer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from wgpy.engine import constants
from wgpy.engine.bulk import Kernels
from wgpy.engine.common import Common, Outbox
from wgpy.engine.deadlines import Deadlines
from wgpy.engine.detours import Detours, Plan
from wgpy.engine.incoming import Incoming
from wgpy.engine.indices import IndexTable
from wgpy.engine.outgoing import Outgoing
from wgpy.engine.peer import Peer
from wgpy.engine.reception import Reception
from wgpy.engine.relay import Relay
from wgpy.engine.roster import Roster
from wgpy.engine.session import PAPER_LIMITS, Limits
from wgpy.errors import Drop, Rejected
from wgpy.events import DatagramReceived, Event
from wgpy.model import (
    Arrivals,
    Buffer,
    Burst,
    Deadline,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    InterfaceAddress,
    Prefix,
    PublicKey,
    TunBurst,
)
from wgpy.wire import messages
from wgpy.wire.detour import Ids, via_id
from wgpy.wire.tai64n import SECOND_NS


class Device:
    """A WireGuard interface without a world of its own.

    Args:
        entropy: returns that many bytes fit for keys.
        wall_offset: Unix time minus `now`.
        limits: when sessions are renewed and end.
        embedded: hand over what is not WireGuard's (first byte >= 0x80; inner packets that are
            not IP) as events instead of dropping it.
        forward: send what a peer has for another on to that one, instead of to the host.
    """

    def __init__(
        self,
        entropy: Callable[[int], bytes],
        wall_offset: float,
        limits: Limits = PAPER_LIMITS,
        *,
        embedded: bool = False,
        forward: bool = False,
    ) -> None:
        self.listen_port = 0
        self.fwmark = 0
        self._common: Common[Peer] = Common(entropy, wall_offset, limits, IndexTable(entropy))
        self._roster = Roster(self._common)
        self._reception = Reception(self._common, self._roster.peers)
        self._deadlines: Deadlines[Peer] = Deadlines()
        self._outgoing = Outgoing(self._common, self._roster)
        self._relay = Relay(self._common, self._roster) if forward else None
        self._detours = Detours(self._common, self._roster)
        self._incoming = Incoming(
            *(self._common, self._roster, self._relay, self._detours), embedded=embedded
        )
        self._embedded = embedded

    # --- the engine's verbs ---

    def receive_bursts(self, bursts: Sequence[Burst], now: float) -> None:
        """Take what came from the network."""
        if not self._common.up:
            return
        touched: dict[Peer, None] = {}
        detours = self._detours
        if detours.plan is not None:
            for burst in bursts:
                if not burst.remote.port:
                    bursts = self._from_outside(bursts)
                    break
        self._receive(bursts, touched, now)
        if detours.arrived:
            # What came through relays has nothing in it that did: this is all.
            self._receive(detours.take_arrived(), touched, now)
        self._reception.work_off(touched, now)
        self._settle(touched, now)

    def receive_packets(self, packets: Sequence[TunBurst], now: float) -> None:
        """Take what the host wants sent."""
        if not self._common.up:
            return
        runs = self._outgoing.runs(packets, now)
        for run in runs:
            run.send(now)
        self._settle(dict.fromkeys(run.peer for run in runs), now)

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that is due at `now`; the next one is later than `now`."""
        touched = dict.fromkeys(self._deadlines.pop_due(now))
        for peer in touched:
            peer.handle_deadline(now)
        self._reception.work_off(touched, now)
        self._settle(touched, now)

    def next_deadline(self) -> Deadline | None:
        """Return when to call `handle_deadline`, or None."""
        deadline, backlog = self._deadlines.next(), self._reception.backlog
        if backlog is None or (deadline is not None and deadline.at < backlog.at):
            return deadline
        return backlog

    def take_bursts(self) -> list[Burst]:
        """Return and forget what is to be sent to the network."""
        out = self._common.out
        taken, out.bursts = out.bursts, []
        return taken

    def take_packets(self) -> list[TunBurst]:
        """Return and forget what is to be handed to the host."""
        out = self._common.out
        taken, out.packets = out.packets, []
        return taken

    def take_events(self) -> list[Event]:
        """Return and forget what happened."""
        out = self._common.out
        if not out.events:
            return []
        taken, out.events = out.events, []
        return taken

    # --- configuration ---

    def check(self, change: DeviceChange) -> None:
        """Refuse what `configure` cannot apply.

        Raises:
            ConfigError: too many peers.
        """
        self._roster.check(change)

    def configure(self, change: DeviceChange, now: float) -> None:
        """Apply a change as a whole; ports and marks are noted for `status`.

        Raises:
            ConfigError: it cannot be; nothing is changed.
        """
        self._roster.check(change)
        before = self._common.static
        touched = self._roster.apply(change, now)
        static = self._common.static
        if static is not before:
            self._reception.reset()
        if change.listen_port is not None:
            self.listen_port = change.listen_port
        if change.fwmark is not None:
            self.fwmark = change.fwmark
        self._settle(touched, now)

    def status(self) -> DeviceStatus:
        """Return the device and its peers as they are."""
        static = self._common.static
        return DeviceStatus(
            private_key=static.secret if static else None,
            public_key=static.public if static else None,
            listen_port=self.listen_port,
            fwmark=self.fwmark,
            peers=self._roster.status(),
            drops=tuple((drop.value, count) for drop, count in self._out.drops.items()),
            relayed=None if self._relay is None else self._relay.relayed,
            detoured=self._detours.counted,
        )

    def set_up(self, now: float, *, up: bool) -> None:
        """Follow the interface: down forgets sessions, up greets peers with a keepalive."""
        if up == self._common.up:
            return
        self._common.up = up
        for peer in self._roster.peers.values():
            if up:
                peer.came_up(now)
            else:
                peer.went_down("the interface is down")
        if not up:
            self._reception.reset()
        self._settle(dict.fromkeys(self._roster.peers.values()), now)

    def set_kernels(self, kernels: Kernels | None) -> None:
        """Work on bursts with these from now on; None: packet by packet."""
        self._common.kernels = kernels

    def set_mtu(self, mtu: int) -> None:
        """Follow the interface's MTU, in bytes: padding does not exceed it."""
        self._common.mtu = mtu

    def set_route_mtus(self, routes: Iterable[tuple[Prefix, int]]) -> None:
        """Follow routes through the interface with an MTU of their own."""
        routes = tuple(routes)
        self._outgoing.set_route_mtus(routes)
        if self._relay is not None:
            self._relay.set_route_mtus(routes)

    @property
    def forwards(self) -> bool:
        """Whether packets of a peer for another go on to that one, instead of to the host."""
        return self._relay is not None

    def set_own_addresses(self, addresses: Iterable[InterfaceAddress]) -> None:
        """Follow the addresses of the host: what is for them is not sent on to a peer."""
        if self._relay is not None:
            self._relay.set_own_addresses(addresses)

    def set_wall_offset(self, wall_offset: float) -> None:
        """Follow the wall clock: Unix time minus `now`."""
        self._common.wall_offset = wall_offset

    @property
    def stamped(self) -> float:
        """The Unix time that the latest handshake was stamped with, 0 if none was."""
        return self._common.stamped / SECOND_NS

    def stamp_after(self, wall: float) -> None:
        """Stamp no handshake before a Unix time: peers may have seen that in the last run.

        The clock may have been set back since, or be set back later.
        """
        self._common.stamped = max(self._common.stamped, int(wall * SECOND_NS))

    def source_lost(self, host: bytes | None) -> None:
        """Stop sending from a packed address that is gone; None: from any, routes changed."""
        for peer in self._roster.peers.values():
            local = peer.path.local
            if local is not None and host in (None, local.host):
                peer.forget_local()

    # --- for whoever embeds the node ---

    def send_datagram(self, burst: Burst) -> None:
        """Send datagrams that are not WireGuard's; their first byte is >= 0x80.

        Relays carry none of these.
        """
        if via_id(burst.remote) is None:
            self._out.bursts.append(burst)
        else:
            self._drop(Drop.NO_DETOUR)

    def send_inner(self, public_key: PublicKey, payloads: Sequence[bytes], now: float) -> bool:
        """Send payloads that are not IP in the peer's session; False if it is no peer."""
        peer = self._roster.peers.get(public_key)
        if peer is None or not self._common.up:
            return False
        if payloads:
            peer.send(payloads, 0, self._common.mtu, now)
            self._settle({peer: None}, now)
        return True

    def set_detours(
        self,
        own_id: bytes,
        neighbours: Mapping[bytes, PublicKey],
        paths: Mapping[bytes, Ids],
        *,
        carries: bool,
    ) -> None:
        """Follow what is known of relays; from now on relay messages are not `InnerReceived`.

        Args:
            own_id: our node id, of 8 bytes as all.
            neighbours: by node id, the peers that relay messages are handed to and come from.
            paths: by the node id of who is behind relays (an endpoint `wire.detour.via`), the
                ids on the way: 1 to 3 relays, the destination last.
            carries: relay for others.
        """
        ids = {key: node_id for node_id, key in neighbours.items()}
        self._detours.plan = Plan(own_id, dict(neighbours), ids, dict(paths), carries)

    def hurry(self, public_key: PublicKey, now: float) -> None:
        """Let what waits for a session with a peer not wait for the next try: a way is new."""
        peer = self._roster.peers.get(public_key)
        if peer is not None:
            peer.hurry(now)
            self._settle({peer: None}, now)

    def traffic(self, public_key: PublicKey) -> tuple[int, int, float] | None:
        """Return bytes received, bytes sent, Unix time of the last handshake; None: no peer."""
        peer = self._roster.peers.get(public_key)
        if peer is None:
            return None
        return peer.traffic.rx_bytes, peer.traffic.tx_bytes, peer.traffic.last_handshake

    def arrivals(self, public_key: PublicKey, since: Arrivals | None = None) -> Arrivals | None:
        """Return what came of a peer's messages since a look; None: no session, or no peer."""
        peer = self._roster.peers.get(public_key)
        return None if peer is None else peer.arrived(since)

    def peer_endpoint(self, public_key: PublicKey) -> Endpoint | None:
        """Return where a peer is; None if that is unknown, or it is no peer."""
        peer = self._roster.peers.get(public_key)
        return None if peer is None else peer.path.endpoint

    # --- inside: from the network ---

    @property
    def _out(self) -> Outbox:
        return self._common.out

    def _receive(self, bursts: Sequence[Burst], touched: dict[Peer, None], now: float) -> None:
        for burst, payload in self._incoming.receive(bursts, touched, now):
            self._receive_other(payload, burst, touched, now)

    def _receive_other(
        self, payload: Buffer, burst: Burst, touched: dict[Peer, None], now: float
    ) -> None:
        kind = messages.type_untrusted(payload)
        try:
            if kind in messages.HANDSHAKE_SIZES:
                self._reception.admit_untrusted(payload, kind, burst, now)
            elif kind == messages.TYPE_COOKIE_REPLY:
                touched[self._receive_cookie(payload, now)] = None
            elif self._embedded and messages.is_foreign(payload):
                self._receive_foreign(payload, burst)
            else:
                self._drop(Drop.MALFORMED)
        except Rejected as rejected:
            self._out.reject(rejected.drop, now, burst.remote)

    def _receive_cookie(self, payload: Buffer, now: float) -> Peer:
        reply = messages.CookieReply.decode_untrusted(payload)
        entry = self._common.indices.lookup(reply.receiver)
        if entry is None:
            raise Rejected(Drop.UNKNOWN_INDEX)
        entry[0].receive_cookie(reply, now)
        return entry[0]

    def _receive_foreign(self, payload: Buffer, burst: Burst) -> None:
        if len(self._out.events) >= constants.MAX_FOREIGN:
            self._drop(Drop.FOREIGN_OVERFLOW)
            return
        self._out.events.append(DatagramReceived(bytes(payload), burst.remote, burst.local))

    # --- inside ---

    def _drop(self, drop: Drop, count: int = 1) -> None:
        self._out.drops[drop] += count

    # hot path: bench/mesh
    def _from_outside(self, bursts: Sequence[Burst]) -> Sequence[Burst]:
        """Leave out what cannot come from the network, where no address is behind relays."""
        good = [each for each in bursts if via_id(each.remote) is None]
        if len(good) < len(bursts):
            self._drop(Drop.BAD_DETOUR, len(bursts) - len(good))
        return good

    def _settle(self, touched: dict[Peer, None], now: float) -> None:
        """End a call that moved peers: divert what goes through relays, set deadlines."""
        if self._detours.plan is not None:
            for burst in self._common.out.bursts:
                if not burst.remote.port:
                    self._detours.divert(touched, now)
                    break
        for peer in touched:
            self._deadlines.set(peer, peer.next_deadline())
