"""Datagrams that go through relays: sealed end to end, and hop by hop in the relays' sessions.

A peer whose endpoint is `wire.detour.via` is sent to as any other; what is to leave for it goes
as a relay message to the first node on the way instead, in the session with that one. So every
relay knows who hands it what, by the keys, and can neither read nor make what is inside. What
arrives for us is fed to the device again, as if it had come from that endpoint.

- A relay hands on what the node before it in the list gave it, if the node after it is one
  that it has a session with. Else it tells the node before, and so on to the source.
- A relay message never travels in a session that goes through relays itself: no nesting.
- A list has no node twice, and four at most: no loops.
- Of errors only those of the first hop of a way in use are believed: by the keys it is who says
  so, and it could drop everything anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from wgpy.engine import constants
from wgpy.engine.common import Common
from wgpy.engine.peer import Peer
from wgpy.engine.ratelimit import RateLimiter
from wgpy.engine.roster import Roster
from wgpy.errors import Drop, Rejected
from wgpy.events import RelayFailed
from wgpy.model import Buffer, Burst, Detoured, Opened, PublicKey
from wgpy.wire import detour, messages
from wgpy.wire.detour import Head, Ids

Touched: TypeAlias = dict[Peer, None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the device was told of relays; `ids` are the neighbours the other way round."""

    own_id: bytes
    neighbours: Mapping[bytes, PublicKey]
    ids: Mapping[PublicKey, bytes]
    paths: Mapping[bytes, Ids]
    carries: bool


class Detours:
    """The ways through relays of a device: what leaves, passes and arrives by them."""

    def __init__(self, common: Common[Peer], roster: Roster) -> None:
        self.plan: Plan | None = None
        self.counted = Detoured()
        self._common = common
        self._peers = roster.peers
        # Datagrams that came through relays for us.
        self.arrived: list[Burst] = []
        self._errors = RateLimiter()
        self._failures = RateLimiter()
        through = constants.HANDSHAKES_THROUGH_RELAY
        self._handshakes = RateLimiter(through, through)

    # --- what leaves ---

    # hot path: bench/mesh
    def divert(self, touched: Touched, now: float) -> None:
        """Send what is to leave for peers behind relays to the first of these."""
        out = self._common.out
        if self.plan is None:
            return
        bursts, out.bursts = out.bursts, []
        for burst in bursts:
            destination = detour.via_id(burst.remote)
            if destination is None:
                out.bursts.append(burst)
            else:
                self._send(self.plan, destination, burst, touched, now)

    def _send(
        self, plan: Plan, destination: bytes, burst: Burst, touched: Touched, now: float
    ) -> None:
        payload, size = burst.payload, burst.segment_size
        count = len(payload) if isinstance(payload, list) else -(-len(payload) // size)
        ids = plan.paths.get(destination)
        if ids is None:
            self._drop(Drop.NO_DETOUR, count)
            self._fail(destination, destination, now)
            return
        peer = self._next(ids[0], touched, now)
        if peer is None:
            self._drop(Drop.NO_RELAY, count)
            self._fail(destination, ids[0], now)
            return
        head = Head(detour.RELAY, 0, plan.own_id, ids)
        if isinstance(payload, list) or count == 1 or self._common.kernels is None:
            made = detour.wrap(head, burst.segments())
            total = sum(map(len, made)) - count * head.size
            # No padding: the datagrams have theirs.
            peer.send(made, burst.tos, max(map(len, made)), now)
        else:
            total = len(payload)
            peer.send_burst(detour.wrap_equal(head, payload, size), burst.tos, 0, now)
        carried, carried_bytes, sent, sent_bytes = self.counted
        self.counted = Detoured(carried, carried_bytes, sent + count, sent_bytes + total)

    def _next(self, node_id: bytes, touched: Touched, now: float) -> Peer | None:
        """Return the peer to hand something to; None if there is no session, or no peer.

        Without a session a handshake begins, so that there is one for what comes next.
        """
        assert self.plan is not None, "without a plan there are no ways"
        key = self.plan.neighbours.get(node_id)
        peer = None if key is None else self._peers.get(key)
        if peer is None or (endpoint := peer.path.endpoint) is None:
            return None
        if detour.via_id(endpoint) is not None:
            return None
        touched[peer] = None
        if peer.can_send(now):
            return peer
        peer.initiate(now)
        return None

    def _fail(self, destination: bytes, failed: bytes, now: float) -> None:
        events = self._common.out.events
        if len(events) < constants.MAX_FOREIGN and self._failures.allow(destination, now):
            events.append(RelayFailed(destination, failed))

    # --- what arrives ---

    def take_arrived(self) -> list[Burst]:
        """Return and forget `arrived`."""
        taken, self.arrived = self.arrived, []
        return taken

    def receive(
        self,
        sender: Peer,
        payloads: Sequence[Buffer],
        burst: Burst,
        touched: Touched,
        now: float,
    ) -> None:
        """Take relay messages that a peer sent in its session; `burst` is how they came."""
        decoded: list[tuple[Head, Buffer]] = []
        for payload in payloads:
            try:
                decoded.append(detour.decode_untrusted(payload))
            except Rejected as rejected:
                self._reject(rejected.drop, sender, burst, now)
        for head, run in groupby(decoded, key=lambda found: found[0]):
            bodies = [body for _, body in run]
            if not self._is_genuine(head, sender, burst):
                self._drop(Drop.BAD_DETOUR, len(bodies) - 1)
                self._reject(Drop.BAD_DETOUR, sender, burst, now)
            elif head.kind == detour.RELAY_ERROR:
                self._receive_error(head, bodies[0], touched, now)
            elif head.turn == len(head.ids) - 1:
                self._arrive(head, bodies, sender, burst.tos, now)
            elif (peer := self._carrier(head, len(bodies), sender, touched, now)) is not None:
                self._count_carried(len(bodies), sum(map(len, bodies)))
                made = detour.wrap(head._replace(turn=head.turn + 1), bodies)
                peer.send(made, burst.tos, max(map(len, made)), now)

    # hot path: bench/engine
    def take_burst(
        self, sender: Peer, opened: Opened, burst: Burst, touched: Touched, now: float
    ) -> bool:
        """Take relay messages that came as one burst; False if they go one by one.

        All sizes are greater than 0.
        """
        try:
            head, _ = detour.decode_untrusted(opened.row(0))
        except Rejected:
            return False
        if head.kind != detour.RELAY or not self._is_genuine(head, sender, burst):
            return False
        lengths = detour.lengths_untrusted(head, opened)
        if lengths is None:
            return False
        count = len(opened.sizes)
        if head.turn == len(head.ids) - 1:
            datagrams = detour.bodies(head, opened, lengths)
            self._arrive(head, datagrams, sender, burst.tos, now)
        elif (peer := self._carrier(head, count, sender, touched, now)) is not None:
            self._count_carried(count, lengths[0] * (count - 1) + lengths[1])
            detour.pass_on(opened, head.turn + 1)
            peer.send_burst(opened, burst.tos, 0, now)
        sender.traffic.rx_bytes += sum(opened.sizes) + messages.DATA_OVERHEAD * count
        return True

    def _is_genuine(self, head: Head, sender: Peer, burst: Burst) -> bool:
        """Tell whether it is our turn, and the sender is who had it before."""
        plan = self.plan
        assert plan is not None, "without a plan nothing is received"
        if detour.via_id(burst.remote) is not None:
            return False
        around = (head.source, *head.ids)
        before, turn = around[head.turn], around[head.turn + 1]
        if head.kind == detour.RELAY_ERROR:
            before, turn = turn, before
        return turn == plan.own_id and plan.ids.get(sender.public_key) == before

    def _arrive(
        self, head: Head, datagrams: Sequence[Buffer], sender: Peer, tos: int, now: float
    ) -> None:
        """Keep the datagrams for the device; what is no message of WireGuard is dropped."""
        kept: list[Buffer] = []
        if {datagram[0] for datagram in datagrams} == {messages.TYPE_DATA}:
            self.arrived.append(_burst(datagrams, head.source, tos))
            return
        for datagram in datagrams:
            kind = datagram[0]
            if kind == messages.TYPE_DATA or kind == messages.TYPE_COOKIE_REPLY:
                kept.append(datagram)
            elif kind not in messages.HANDSHAKE_SIZES:
                self._drop(Drop.BAD_DETOUR)
            elif self._handshakes.allow(sender.public_key, now):
                kept.append(datagram)
            else:
                self._drop(Drop.RATE_LIMITED)
        if kept:
            self.arrived.append(_burst(kept, head.source, tos))

    def _carrier(
        self, head: Head, count: int, sender: Peer, touched: Touched, now: float
    ) -> Peer | None:
        """Return the peer that comes next; None if it was dropped, and the sender told."""
        assert self.plan is not None, "without a plan nothing is carried"
        if not self.plan.carries:
            self._drop(Drop.NOT_CARRIED, count)
            return None
        following = head.ids[head.turn + 1]
        peer = self._next(following, touched, now)
        if peer is None:
            self._drop(Drop.NO_RELAY, count)
            if self._errors.allow(sender.public_key, now):
                error = head._replace(kind=detour.RELAY_ERROR)
                self._send_error(error, following, sender, touched, now)
        return peer

    def _receive_error(self, error: Head, failed: Buffer, touched: Touched, now: float) -> None:
        assert self.plan is not None, "without a plan nothing is received"
        plan, failed = self.plan, bytes(failed)
        destination = error.ids[-1]
        if failed not in error.ids[error.turn :]:
            self._drop(Drop.BAD_DETOUR)
        elif error.turn == 0:
            if plan.paths.get(destination) == error.ids:
                self._fail(destination, failed, now)
            else:
                self._drop(Drop.BAD_DETOUR)
        elif not plan.carries:
            self._drop(Drop.NOT_CARRIED)
        else:
            back = (error.source, *error.ids)[error.turn - 1]
            peer = self._next(back, touched, now)
            if peer is not None and self._errors.allow(peer.public_key, now):
                passed = error._replace(turn=error.turn - 1)
                self._send_error(passed, failed, peer, touched, now)

    def _send_error(
        self, error: Head, failed: bytes, peer: Peer, touched: Touched, now: float
    ) -> None:
        touched[peer] = None
        made = detour.wrap(error, [failed])
        peer.send(made, 0, len(made[0]), now)

    # --- counting ---

    def _count_carried(self, packets: int, size: int) -> None:
        carried, carried_bytes, sent, sent_bytes = self.counted
        self.counted = Detoured(carried + packets, carried_bytes + size, sent, sent_bytes)

    def _reject(self, drop: Drop, sender: Peer, burst: Burst, now: float) -> None:
        self._common.out.reject(drop, now, burst.remote, sender.public_key)

    def _drop(self, drop: Drop, count: int = 1) -> None:
        self._common.out.drops[drop] += count


def _burst(datagrams: Sequence[Buffer], source: bytes, tos: int) -> Burst:
    """Return datagrams as they would have come; end to end if their sizes allow."""
    remote, sizes = detour.via(source), [*map(len, datagrams)]
    size = sizes[0]
    if sizes[:-1] == [size] * (len(sizes) - 1) and sizes[-1] <= size:
        return Burst(b"".join(datagrams), size, remote, None, tos)
    return Burst([*datagrams], max(sizes), remote, None, tos)
