"""Data messages from the network: opened, checked, and handed to the host or relayed.

The order of checks is the kernel's: index, age, authenticity, replay, then where the peer is,
sessions and timers, and only then whether the inner source may come from this peer. A burst
that is all data for one session is opened at once; if it is one flow it stays one packet.
"""

from collections.abc import Iterator, Sequence

from wgpy.engine import constants
from wgpy.engine.common import Common, Path
from wgpy.engine.detours import Detours
from wgpy.engine.peer import Peer
from wgpy.engine.relay import Relay
from wgpy.engine.roster import Roster
from wgpy.engine.session import REPLAYED
from wgpy.errors import Drop, Rejected
from wgpy.events import InnerReceived
from wgpy.model import Buffer, Burst, Heads, Opened, TunBurst
from wgpy.wire import ip, messages
from wgpy.wire.detour import RELAY, is_relay_message


class Incoming:
    """The way of data messages through a device; `embedded` as in `Device`.

    Without a relay all IP packets that are good are the host's.
    """

    def __init__(
        self,
        common: Common[Peer],
        roster: Roster,
        relay: Relay | None,
        detours: Detours,
        *,
        embedded: bool,
    ) -> None:
        self._common = common
        self._roster = roster
        self._relay = relay
        self._detours = detours
        self._embedded = embedded

    # hot path: bench/engine
    def receive(
        self, bursts: Sequence[Burst], touched: dict[Peer, None], now: float
    ) -> Iterator[tuple[Burst, Buffer]]:
        """Take bursts; yield what is no data message, and add the peers that were moved.

        Data messages that come one after the other by one way for one session are one run.
        """
        run: list[tuple[int, Buffer]] = []
        run_receiver, run_burst = -1, None
        for burst in bursts:
            heads = self._heads(burst)
            if heads is not None:
                self._receive_run(run_receiver, run, run_burst, touched, now)
                run, run_receiver, run_burst = [], -1, None
                self._receive_burst(burst, heads, touched, now)
                continue
            for payload in burst.segments():
                kind, receiver, counter = messages.data_fields_untrusted(payload)
                if kind != messages.TYPE_DATA:
                    yield burst, payload
                    continue
                if receiver != run_receiver or not _same_path(burst, run_burst):
                    self._receive_run(run_receiver, run, run_burst, touched, now)
                    run, run_receiver, run_burst = [], receiver, burst
                run.append((counter, payload))
        self._receive_run(run_receiver, run, run_burst, touched, now)

    def _heads(self, burst: Burst) -> Heads | None:
        payload, kernels = burst.payload, self._common.kernels
        if kernels is None or isinstance(payload, list) or len(payload) <= burst.segment_size:
            return None
        return kernels.heads_untrusted(payload, burst.segment_size)

    # --- a run of single messages ---

    # hot path: bench/engine
    def _receive_run(
        self,
        receiver: int,
        run: Sequence[tuple[int, Buffer]],
        burst: Burst | None,
        touched: dict[Peer, None],
        now: float,
    ) -> None:
        if burst is None:
            return
        peer, session = self._common.indices.lookup(receiver) or (None, None)
        if peer is None or session is None:
            self._drop(Drop.UNKNOWN_INDEX, len(run))
            return
        touched[peer] = None
        path = Path(burst.remote, burst.local)
        plaintexts = peer.receive_data(session, run, path, now)
        self._deliver(peer, plaintexts, burst, touched, now)

    def _deliver(
        self,
        peer: Peer,
        plaintexts: Sequence[Buffer],
        burst: Burst,
        touched: dict[Peer, None],
        now: float,
    ) -> None:
        """Check plaintexts that are not empty, and hand on those that are good."""
        received = 0
        packets: list[Buffer] = []
        relayed: list[Buffer] = []
        lookup = self._roster.routes.lookup
        for plaintext in plaintexts:
            try:
                source, size = ip.source_and_size_untrusted(plaintext)
            except Rejected as rejected:
                if self._detours.plan is not None and is_relay_message(plaintext):
                    relayed.append(plaintext)
                else:
                    self._receive_inner(peer, plaintext, rejected.drop)
                continue
            if lookup(source) is not peer:
                self._reject(peer, burst, source, now)
                continue
            received += len(plaintext) + messages.DATA_OVERHEAD
            packet: Buffer = plaintext if size == len(plaintext) else plaintext[:size]
            if burst.tos:
                packet = ip.ecn_from_outer(packet, burst.tos)
            packets.append(packet)
        if relayed:
            received += sum(map(len, relayed))
            received += messages.DATA_OVERHEAD * len(relayed)
            self._detours.receive(peer, relayed, burst, touched, now)
        peer.traffic.rx_bytes += received
        if self._relay is not None:
            packets = self._relay.take(peer, packets, touched, now)
        kernels, new = self._common.kernels, tuple.__new__
        if kernels is not None and len(packets) > 1:
            self._common.out.packets += kernels.coalesce(packets)
        else:
            self._common.out.packets += [new(TunBurst, (each, 0, 0, 0, 0)) for each in packets]

    def _receive_inner(self, peer: Peer, payload: Buffer, drop: Drop) -> None:
        out = self._common.out
        if not self._embedded or ip.version(payload) in (4, 6):
            self._drop(drop)
        elif len(out.events) >= constants.MAX_FOREIGN:
            self._drop(Drop.FOREIGN_OVERFLOW)
        else:
            peer.traffic.rx_bytes += len(payload) + messages.DATA_OVERHEAD
            out.events.append(InnerReceived(peer.public_key, bytes(payload)))

    # --- a burst at once ---

    # hot path: bench/engine
    def _receive_burst(
        self, burst: Burst, heads: Heads, touched: dict[Peer, None], now: float
    ) -> None:
        count, kernels = len(heads.counters), self._common.kernels
        peer, session = self._common.indices.lookup(heads.receiver) or (None, None)
        if peer is None or session is None or kernels is None:
            self._drop(Drop.UNKNOWN_INDEX, count)
            return
        try:
            opened = session.open_burst_untrusted(burst, heads.counters, now, kernels)
        except Rejected as rejected:
            self._drop(rejected.drop, count)
            return
        sizes = opened.sizes
        smallest = min(sizes)
        if smallest < 0:
            self._drop(Drop.REPLAYED, sizes.count(REPLAYED))
            self._drop(Drop.NOT_AUTHENTIC, sizes.count(-1))
            if max(sizes) < 0:
                return
        touched[peer] = None
        peer.received(session, Path(burst.remote, burst.local), now, data=max(sizes) > 0)
        if (
            smallest > 0
            and self._detours.plan is not None
            and opened.buffer[0] == RELAY
            and self._detours.take_burst(peer, opened, burst, touched, now)
        ):
            return
        if smallest > 0 and not ip.marks(burst.tos):
            way = None if self._relay is None else self._relay.way_untrusted(opened.row(0))
            if self._relay is None or way is None:
                done = self._deliver_whole(peer, opened, burst, now)
            else:
                done = self._relay.take_burst(peer, way, opened, touched, now)
            if done:
                return
        peer.traffic.rx_bytes += messages.DATA_OVERHEAD * sizes.count(0)
        rows = [opened.row(number) for number, size in enumerate(sizes) if size > 0]
        self._deliver(peer, rows, burst, touched, now)

    def _deliver_whole(self, peer: Peer, opened: Opened, burst: Burst, now: float) -> bool:
        """Hand all plaintexts to the host as one super packet, if they are one good flow."""
        kernels = self._common.kernels
        merged = None if kernels is None else kernels.merge(opened)
        if merged is None:
            return False
        source, _ = ip.source_and_size_untrusted(opened.row(0))
        if self._roster.routes.lookup(source) is not peer:
            self._drop(Drop.NOT_ALLOWED, len(opened.sizes) - 1)
            self._reject(peer, burst, source, now)
            return True
        overhead = messages.DATA_OVERHEAD * len(opened.sizes)
        peer.traffic.rx_bytes += sum(opened.sizes) + overhead
        self._common.out.packets.append(merged)
        return True

    def _reject(self, peer: Peer, burst: Burst, source: bytes, now: float) -> None:
        who = peer.public_key
        self._common.out.reject(Drop.NOT_ALLOWED, now, burst.remote, who, source)

    def _drop(self, drop: Drop, count: int = 1) -> None:
        if count:
            self._common.out.drops[drop] += count


def _same_path(burst: Burst, other: Burst | None) -> bool:
    """Tell whether two bursts differ in nothing but what they carry."""
    return burst is other or (other is not None and burst[2:] == other[2:])
