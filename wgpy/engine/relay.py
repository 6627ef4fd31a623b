"""Packets of one peer for another: a router between tunnels, in process (RFC 1812).

What arrives from a peer for an address that the allowed IPs give to a peer is sealed for that
one at once; the host neither sees it nor needs `ip_forward`. As a router would:

- The node's own addresses, and what is for no single host beyond this link, are the host's.
- A source of ours, or one that names no host, is dropped; that it is one of the sender's was
  checked before.
- The hop limit goes down by one; what has none left, is too big or has nowhere to go is
  answered by ICMP from an address of ours, within a rate. IPv4 without DF goes on in fragments.

A packet may go back to the peer it came from, as the kernel would route it: a network behind a
peer may want that, and the hop limit ends every round.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wgpy.engine.common import Common
from wgpy.engine.loops import is_loop
from wgpy.engine.mtu import RouteMtus, fitting, towards
from wgpy.engine.peer import Peer
from wgpy.engine.ratelimit import RateLimiter
from wgpy.engine.roster import Roster
from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, InterfaceAddress, Opened, Prefix, Relayed
from wgpy.wire import hop, icmp, ip, messages

_MAX_LENGTH_WITH_BROADCAST = 30
# By address size: what every link can carry, by fragments of its own if need be (RFC 791; RFC
# 8200, 5). Nobody heeds an ICMP error that says less of IPv6; less of IPv4 is one nobody means.
_LEAST_MTU = {4: 68, 16: 1280}


@dataclass(slots=True)
class _Run:
    """Packets for one peer that leave together."""

    tos: int = -1
    mtu: int = 0
    packets: list[Buffer] = field(default_factory=list)


class Relay:
    """The way of packets from peer to peer; `relayed` is how much went it."""

    def __init__(self, common: Common[Peer], roster: Roster) -> None:
        self.relayed = Relayed()
        self._common = common
        self._roster = roster
        self._route_mtus = RouteMtus()
        self._icmp_limit = RateLimiter()
        self._own: frozenset[bytes] = frozenset()
        # By address size: the address of ours that errors come from.
        self._speakers: dict[int, bytes] = {}

    def set_own_addresses(self, addresses: Iterable[InterfaceAddress]) -> None:
        """Follow the addresses of the host; errors come from the first of a family."""
        own: set[bytes] = set()
        self._speakers = {}
        for address, length in addresses:
            own.add(address)
            if hop.is_routable(address):
                self._speakers.setdefault(len(address), address)
            if len(address) == 4 and length <= _MAX_LENGTH_WITH_BROADCAST:
                last = int.from_bytes(address) | (1 << (32 - length)) - 1
                own.add(last.to_bytes(4))
        self._own = frozenset(own)

    def set_route_mtus(self, routes: Iterable[tuple[Prefix, int]]) -> None:
        """Follow routes through the interface with an MTU of their own."""
        self._route_mtus = RouteMtus(routes)

    def way_untrusted(self, packet: Buffer) -> Peer | None:
        """Return the peer that a packet is for, None if it is the host's."""
        try:
            return self._way(ip.destination_untrusted(packet))
        except Rejected:
            return None

    # hot path: bench/engine
    def take(
        self,
        sender: Peer,
        packets: Sequence[Buffer],
        touched: dict[Peer, None],
        now: float,
    ) -> list[Buffer]:
        """Send on what is for peers; return the rest, which is for the host.

        The packets are whole, and their sources are the sender's. Peers that something was
        sent to are added to `touched`.
        """
        rest: list[Buffer] = []
        runs: dict[Peer, _Run] = {}
        for packet in packets:
            destination = ip.destination_untrusted(packet)
            peer = self._way(destination)
            if peer is None:
                rest.append(packet)
                continue
            mtu = self._mtu(destination, peer)
            if not self._passes(packet, destination, sender, peer, now):
                continue
            pieces = self._pieces(packet, sender, mtu, now)
            if not pieces:
                continue
            self._count(len(pieces), sum(map(len, pieces)))
            tos = ip.ecn_to_outer(packet)
            run = runs.setdefault(peer, _Run())
            if (run.tos, run.mtu) != (tos, mtu):
                self._send(peer, run, now)
                run = runs[peer] = _Run(tos, mtu)
            run.packets += pieces
        for peer, run in runs.items():
            touched[peer] = None
            self._send(peer, run, now)
        return rest

    # hot path: bench/engine
    def take_burst(
        self, sender: Peer, peer: Peer, opened: Opened, touched: dict[Peer, None], now: float
    ) -> bool:
        """Send a burst on as it is; False if it has to be looked at packet by packet.

        `peer` is the way of its first packet, and all its sizes are greater than 0.
        """
        kernels, head, sizes = self._common.kernels, opened.row(0), opened.sizes
        if kernels is None or not kernels.are_alike_untrusted(opened):
            return False
        source, size = ip.source_and_size_untrusted(head)
        destination = ip.destination_untrusted(head)
        mtu = self._mtu(destination, peer)
        if (
            self._roster.routes.lookup(source) is not sender
            or not self._may_come_from(source)
            or hop.hops_left(head) <= 1
            or (mtu and sizes[0] > mtu)
            or peer.path.endpoint is None
            or peer.path.endpoint.host == destination
        ):
            return False
        count, overhead = len(sizes), messages.DATA_OVERHEAD
        sender.traffic.rx_bytes += sum(sizes) + overhead * count
        _, last_size = ip.source_and_size_untrusted(opened.row(count - 1))
        self._count(count, size * (count - 1) + last_size)
        tos = ip.ecn_to_outer(head)
        kernels.take_hop(opened)
        touched[peer] = None
        peer.send_burst(opened, tos, mtu, now)
        return True

    # --- the rules ---

    def _way(self, destination: bytes) -> Peer | None:
        peer = self._roster.routes.lookup(destination)
        if peer is None or destination in self._own or not hop.is_routable(destination):
            return None
        return peer

    def _may_come_from(self, source: bytes) -> bool:
        return source not in self._own and hop.is_routable(source)

    def _passes(
        self, packet: Buffer, destination: bytes, sender: Peer, peer: Peer, now: float
    ) -> bool:
        """Tell whether a packet may go on to a peer; if not, it was counted and answered."""
        source = hop.source(packet)
        if not self._may_come_from(source):
            who = sender.public_key
            self._common.out.reject(Drop.MARTIAN, now, sender.path.endpoint, who, source)
        elif not hop.is_sound(packet):
            self._drop(Drop.BAD_INNER)
        elif hop.hops_left(packet) <= 1:
            self._drop(Drop.HOP_LIMIT)
            if self._may_answer(sender, now):
                self._answer(icmp.time_exceeded(packet, self._speaker(packet)), sender, now)
        elif peer.path.endpoint is None:
            who = peer.public_key
            self._common.out.reject(Drop.NO_ENDPOINT, now, None, who, destination)
            if self._may_answer(sender, now):
                self._answer(icmp.unreachable(packet, self._speaker(packet)), sender, now)
        elif destination == peer.path.endpoint.host and is_loop(packet, peer):
            self._drop(Drop.LOOPED)
        else:
            return True
        return False

    def _pieces(self, packet: Buffer, sender: Peer, mtu: int, now: float) -> Sequence[Buffer]:
        """Return what leaves of a packet, a hop further: itself, or its fragments."""
        pieces = fitting(hop.take_hop(packet), mtu)
        if not pieces:
            self._drop(Drop.TOO_BIG)
            if self._may_answer(sender, now):
                self._answer(icmp.too_big(packet, mtu, self._speaker(packet)), sender, now)
        return pieces

    def _mtu(self, destination: bytes, peer: Peer) -> int:
        """Return the MTU of the way to a packed address of a peer, 0 if it is unknown."""
        mtu = self._route_mtus.lookup(destination, self._common.mtu)
        mtu = towards(peer.path.endpoint, mtu)
        return mtu and max(mtu, _LEAST_MTU[len(destination)])

    def _may_answer(self, sender: Peer, now: float) -> bool:
        # Not by source: a peer may have any number of them, and would use up what others need.
        return self._icmp_limit.allow(sender.public_key, now)

    def _speaker(self, packet: Buffer) -> bytes | None:
        return self._speakers.get(4 if ip.version(packet) == 4 else 16)

    def _answer(self, answer: bytes | None, sender: Peer, now: float) -> None:
        if answer is not None:
            sender.send([answer], 0, self._common.mtu, now)

    def _send(self, peer: Peer, run: _Run, now: float) -> None:
        if run.packets:
            peer.send(run.packets, run.tos, run.mtu, now)

    def _count(self, packets: int, size: int) -> None:
        before = self.relayed
        self.relayed = Relayed(before.packets + packets, before.inner_bytes + size)

    def _drop(self, drop: Drop) -> None:
        self._common.out.drops[drop] += 1
