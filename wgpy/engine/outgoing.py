"""Where the packets of the host go: to which peer, and which of them have to be refused.

A packet without a peer, or whose peer is nowhere, is answered by ICMP as a router would, within
a rate; the answers, and what is dropped, go to the outbox.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from wgpy.engine.common import Common
from wgpy.engine.loops import is_loop
from wgpy.engine.mtu import RouteMtus, fitting, towards
from wgpy.engine.peer import Peer
from wgpy.engine.ratelimit import RateLimiter
from wgpy.engine.roster import Roster
from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, Prefix, TunBurst
from wgpy.wire import hop, icmp, ip

_NO_FLOW: Final = ()
_new: Final = tuple.__new__


class Run(NamedTuple):
    """Packets for one peer, in order, with one outer TOS and one MTU of their route."""

    peer: Peer
    tos: int
    mtu: int
    packets: list[Buffer]
    # Instead of packets, a super packet.
    burst: TunBurst | None = None

    def send(self, now: float) -> None:
        """Hand the run to its peer."""
        if self.burst is not None:
            self.peer.send_burst(self.burst, self.tos, self.mtu, now)
        elif self.packets:
            self.peer.send(self.packets, self.tos, self.mtu, now)


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
        latest: dict[Peer, Run] = {}
        flow_of_run: tuple[object, ...] = _NO_FLOW
        together: list[Buffer] = []
        for burst in packets:
            try:
                packet, whole = self._whole(burst)
                flow = ip.flow_untrusted(packet)
            except Rejected as rejected:
                self._drop(rejected.drop)
                continue
            if whole and flow == flow_of_run:
                together.append(packet)
                continue
            flow_of_run = _NO_FLOW
            destination = ip.destination_untrusted(packet)
            peer = self._peer_for(destination, packet, now)
            if peer is None or (endpoint := peer.path.endpoint) is None:
                continue
            tos = ip.ecn_to_outer(packet)
            mtu = self._route_mtus.lookup(destination, self._common.mtu)
            pieces = None
            if not endpoint.port:  # as behind relays; else the host has kept to the MTU
                mtu = towards(endpoint, mtu)
                pieces = self._pieces(burst, packet, mtu, now, whole=whole)
            if pieces is None and not whole:
                latest.pop(peer, None)
                runs.append(_new(Run, (peer, tos, mtu, [], burst)))
                continue
            # What goes through relays, or to where the peer is, is looked at one by one.
            if endpoint.port and destination != endpoint.host:
                flow_of_run = flow
            run = latest.get(peer)
            if run is None or run.tos != tos or run.mtu != mtu:
                run = latest[peer] = _new(Run, (peer, tos, mtu, [], None))
                runs.append(run)
            together = run.packets
            if pieces is None:
                together.append(packet)
            else:
                together += pieces
        return runs

    def _pieces(
        self, burst: TunBurst, packet: Buffer, mtu: int, now: float, *, whole: bool
    ) -> list[Buffer] | None:
        """Return what may go of packets that are too big for their way; None if they are not.

        The first that must not be cut is answered by ICMP. A super packet may be malformed.
        """
        packets, kernels = [packet], self._common.kernels
        if whole and (not mtu or len(packet) <= mtu):
            return None
        if not whole:
            assert kernels is not None, "nobody asked the host for super packets"
            try:
                if kernels.measure_untrusted(burst).size <= mtu:
                    return None
            except Rejected:
                return None
            packets = kernels.segment(burst)
        kept: list[Buffer] = []
        refused: list[Buffer] = []
        for each in packets:
            fit = fitting(each, mtu) if hop.is_sound(each) else ()
            kept += fit
            refused += () if fit else (each,)
        if refused:
            self._common.out.drops[Drop.TOO_BIG] += len(refused)
            self._answer(refused[0], icmp.too_big(refused[0], mtu), now)
        return kept

    def _answer(self, packet: Buffer, answer: bytes | None, now: float) -> None:
        """Send the host an error about one of its packets, if that is not too soon."""
        try:
            source, _ = ip.source_and_size_untrusted(packet)
        except Rejected:
            return
        if answer is not None and self._icmp_limit.allow(source, now):
            self._common.out.packets.append(TunBurst(answer))

    def _whole(self, burst: TunBurst) -> tuple[Buffer, bool]:
        """Return the packet, its checksum filled in; False if it is a super packet.

        Raises:
            Rejected: NO_KERNELS.
        """
        packet, gso_type, _, csum_start, _ = burst
        assert not isinstance(packet, list), "only packets for the host are in pieces"
        if not csum_start:
            return packet, True
        kernels = self._common.kernels
        if kernels is None:  # it waited in the interface since somebody else served that
            raise Rejected(Drop.NO_KERNELS)
        if gso_type:
            return packet, False
        return kernels.complete(burst), True

    def _peer_for(self, destination: bytes, packet: Buffer, now: float) -> Peer | None:
        """Return whose a packet is; None if it was refused or is dropped."""
        peer = self._roster.routes.lookup(destination)
        if peer is None or (endpoint := peer.path.endpoint) is None:
            self._refuse(packet, peer, now)
            return None
        if destination == endpoint.host and is_loop(packet, peer):
            self._drop(Drop.LOOPED)
            return None
        return peer

    def _refuse(self, packet: Buffer, peer: Peer | None, now: float) -> None:
        drop = Drop.NO_PEER if peer is None else Drop.NO_ENDPOINT
        who = None if peer is None else peer.public_key
        self._common.out.reject(drop, now, None, who, ip.destination_untrusted(packet))
        self._answer(packet, icmp.unreachable(packet), now)

    def _drop(self, drop: Drop) -> None:
        self._common.out.drops[drop] += 1
