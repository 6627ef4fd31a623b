"""Packets for the host to super packets: fewer writes, fewer passes through its stack (GRO).

TCP segments are joined at either end of what is there already, wherever their sequence numbers
fit; a UDP datagram only at the end of the last super packet of its flow, so that none overtakes
another. All segments have one size, the last may be shorter; PSH ends a super packet. Since the
host trusts the checksums of a super packet, a packet whose own does not verify stays alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from wgpy.kernels import flow
from wgpy.kernels.flow import PACKET_MAX, SEQUENCES, Packet
from wgpy.model import Buffer, TunBurst

# How many unfinished super packets of a stream a segment is compared with, the latest first: a
# stream that is nothing but gaps would cost the square of its length.
LOOKED_AT: Final = 8
# Payloads of a super packet: a write takes 1024 buffers (IOV_MAX), two of which are headers.
_PAYLOADS_MAX: Final = 1022


@dataclass(slots=True)
class _Item:
    """A super packet that grows; `size` is that of its payloads, `gso_size` of each."""

    head: Packet
    gso_size: int
    size: int
    psh: bool
    intact: bool | None = None
    payloads: list[Buffer] = field(default_factory=list)

    def is_intact(self) -> bool:
        if self.intact is None:
            self.intact = flow.is_intact(self.head)
        return self.intact

    def finish(self) -> TunBurst:
        if len(self.payloads) == 1:
            return TunBurst(self.head.raw)
        return flow.merged(self.head, self.gso_size, self.payloads, psh=self.psh)


def coalesce(packets: Sequence[Buffer], *, udp: bool) -> list[TunBurst]:
    """Return the packets as fewer, larger ones, each at the place of its first arrival.

    `udp` tells whether the host takes super packets of UDP. The payloads are slices of
    `packets`. Any bytes may come; what is no whole TCP or UDP packet is passed on alone.
    """
    done: list[_Item | TunBurst] = []
    streams: dict[tuple[object, ...], list[_Item]] = {}
    # Per pair of addresses, so that whatever comes between two datagrams keeps them apart.
    datagrams: dict[bytes, dict[tuple[object, ...], _Item]] = {}
    for raw in packets:
        packet = flow.parse_untrusted(raw, udp=udp)
        if packet is None:
            if datagrams:
                datagrams.pop(_addresses(raw), None)
            done.append(TunBurst(raw))
        elif packet.flow[2] == flow.TCP:
            items = streams.setdefault((packet.flow, packet.traits), [])
            if not _join_stream(items, packet):
                items.append(_begin(packet))
                done.append(items[-1])
        else:
            flows = datagrams.setdefault(packet.flow[0], {})
            item = flows.get(packet.flow)
            if item is None or not _append_datagram(item, packet):
                item = flows[packet.flow] = _begin(packet)
                done.append(item)
    return [item.finish() if isinstance(item, _Item) else item for item in done]


def _begin(packet: Packet) -> _Item:
    size = packet.payload_size
    return _Item(packet, size, size, packet.psh, None, [_payload(packet)])


def _payload(packet: Packet) -> Buffer:
    return memoryview(packet.raw)[packet.headers_size :]


def _addresses(raw: Buffer) -> bytes:
    """Return where the addresses of a packet are, if it is one."""
    return bytes(raw[12:20] if raw[:1] and raw[0] >> 4 == 4 else raw[8:40])


def _join_stream(items: list[_Item], packet: Packet) -> bool:
    """Join a segment to one of the latest items of its stream, if it fits any.

    A broken item is taken off the list. A broken packet joins nothing; whatever would follow it
    does not verify with it, so it may well be an item.
    """
    for at in range(len(items) - 1, max(len(items) - LOOKED_AT, 0) - 1, -1):
        item = items[at]
        append = _is_appendable(item, packet)
        if not append and not _is_prependable(item, packet):
            continue
        if not item.is_intact():
            del items[at]
            continue
        if not flow.is_intact(packet):
            return False
        item.size += packet.payload_size
        if append:
            item.payloads.append(_payload(packet))
            item.psh = packet.psh
        else:
            item.payloads.insert(0, _payload(packet))
            item.head = packet
            item.gso_size = packet.payload_size
        return True
    return False


def _is_appendable(item: _Item, packet: Packet) -> bool:
    return (
        packet.sequence == (item.head.sequence + item.size) % SEQUENCES
        and not item.psh
        and _has_room(item, packet)
    )


def _is_prependable(item: _Item, packet: Packet) -> bool:
    size = packet.payload_size
    return (
        (packet.sequence + size) % SEQUENCES == item.head.sequence
        and not packet.psh
        and (size == item.gso_size or (size > item.gso_size and len(item.payloads) == 1))
        and len(packet.raw) + item.size <= PACKET_MAX
        and len(item.payloads) < _PAYLOADS_MAX
    )


def _has_room(item: _Item, packet: Packet) -> bool:
    """Tell whether the item has no short segment at its end, and is not full."""
    return (
        item.size % item.gso_size == 0
        and packet.payload_size <= item.gso_size
        and len(packet.raw) + item.size <= PACKET_MAX
        and len(item.payloads) < _PAYLOADS_MAX
    )


def _append_datagram(item: _Item, packet: Packet) -> bool:
    if (
        item.head.traits != packet.traits
        or not _has_room(item, packet)
        or not item.is_intact()
        or not flow.is_intact(packet)
    ):
        return False
    item.payloads.append(_payload(packet))
    item.size += packet.payload_size
    return True
