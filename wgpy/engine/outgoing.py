"""Where the packets of the host go: to which peer, and which of them have to be refused.

A packet without a peer, or whose peer is nowhere, is answered by ICMP as a router would, within
a rate; the answers, and what is dropped, go to the outbox.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from wgpy.engine.common import Common
from wgpy.engine.loops import is_loop
from wgpy.engine.mtu import RouteMtus
from wgpy.engine.peer import Peer
from wgpy.engine.ratelimit import RateLimiter
from wgpy.engine.roster import Roster
from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, Prefix, TunBurst
from wgpy.wire import icmp, ip

_NO_FLOW: Final = ()


class Run(NamedTuple):
    """Packets for one peer, in order, with one outer TOS and one MTU of their route."""

    peer: Peer
    tos: int
    mtu: int
    packets: list[Buffer]


class Outgoing:
    """Sorts the packets of the host by peer."""

    def __init__(self, common: Common[Peer], roster: Roster) -> None:
        self._common = common
        self._roster = roster
        self._route_mtus = RouteMtus()
        self._icmp_limit = RateLimiter()

    def set_route_mtus(self, routes: Iterable[tuple[Prefix, int]]) -> None:
        """Follow routes through the interface with an MTU of their own."""
        self._route_mtus = RouteMtus(routes)

    # hot path: bench/engine
    def runs(self, packets: Sequence[TunBurst], now: float) -> list[Run]:
        """Return the packets that may go, in runs; those of one peer keep their order.

        Where to is found once for all packets of a flow that come one after the other.
        """
        runs: list[Run] = []
        new = tuple.__new__
        latest: dict[Peer, Run] = {}
        flow_of_run: tuple[object, ...] = _NO_FLOW
        together: list[Buffer] = []
        for burst in packets:
            packet = burst[0]
            try:
                flow = ip.flow_untrusted(packet)
            except Rejected as rejected:
                self._drop(rejected.drop)
                continue
            if flow == flow_of_run:
                together.append(packet)
                continue
            destination = ip.destination_untrusted(packet)
            peer = self._roster.routes.lookup(destination)
            if peer is None or (endpoint := peer.path.endpoint) is None:
                self._refuse(packet, peer, now)
                continue
            # What goes to where the peer is has to be looked at packet by packet.
            flow_of_run = flow if destination != endpoint.host else _NO_FLOW
            if flow_of_run is _NO_FLOW and is_loop(packet, peer):
                self._drop(Drop.LOOPED)
                continue
            tos = ip.ecn_to_outer(packet)
            mtu = self._route_mtus.lookup(destination, self._common.mtu)
            run = latest.get(peer)
            if run is None or run.tos != tos or run.mtu != mtu:
                run = latest[peer] = new(Run, (peer, tos, mtu, []))
                runs.append(run)
            together = run.packets
            together.append(packet)
        return runs

    def _refuse(self, packet: Buffer, peer: Peer | None, now: float) -> None:
        drop = Drop.NO_PEER if peer is None else Drop.NO_ENDPOINT
        who = None if peer is None else peer.public_key
        self._common.out.reject(drop, now, None, who, ip.destination_untrusted(packet))
        try:
            source, _ = ip.source_and_size_untrusted(packet)
        except Rejected:
            return
        if self._icmp_limit.allow(source, now):
            answer = icmp.unreachable(packet)
            if answer is not None:
                self._common.out.packets.append(TunBurst(answer))

    def _drop(self, drop: Drop) -> None:
        self._common.out.drops[drop] += 1
