"""LLVM IR of `split`: a super packet to packets in rows, as `wgpy.kernels.segment` does it.

It takes the address of a request, 8 bytes each:

    source         the super packet
    target         where its first packet goes
    stride         from one packet to the next
    room           what a packet may have, with zeros that pad it to a multiple of 16
    count          of packets, 1 at least
    headers        size of all headers
    payload, last  size of the payload of a packet, of the last one
    start          where the TCP or UDP header begins
    v4, udp        1 or 0
"""

from dataclasses import dataclass
from typing import Final

from llvmlite import ir

from wgpy.kernels.emit import I8, I32, I64, POINTER, Body, Loop, number
from wgpy.kernels.totals import ONES, Fields
from wgpy.wire.ip import (
    V4_ADDRESSES_AT,
    V4_CHECKSUM_AT,
    V4_ID_AT,
    V4_LENGTH_AT,
    V6_ADDRESSES_AT,
    V6_HEADER_SIZE,
    V6_LENGTH_AT,
)
from wgpy.wire.vnet import (
    TCP_CSUM_OFFSET,
    TCP_FLAGS_AT,
    TCP_SEQUENCE_AT,
    UDP_CSUM_OFFSET,
    UDP_LENGTH_AT,
)

_PADDING: Final = 16
_FIN_PSH: Final = 0x09
_CWR: Final = 0x80
_KEPT: Final = 0xFF & ~(_FIN_PSH | _CWR)
_TCP, _UDP = 6, 17


@dataclass(frozen=True, slots=True)
class _Request:
    source: ir.Value
    target: ir.Value
    stride: ir.Value
    room: ir.Value
    count: ir.Value
    headers: ir.Value
    payload: ir.Value
    last: ir.Value
    start: ir.Value
    v4: ir.Value
    udp: ir.Value


@dataclass(frozen=True, slots=True)
class _Row:
    """A packet in hand: its number, whether it is the first or last, its place and size."""

    index: ir.Value
    first: ir.Value
    last: ir.Value
    place: ir.Value
    size: ir.Value


def add_to(made: ir.Module, total: ir.Function, copied: ir.Function) -> None:
    """Add the function; the others are of `totals`."""
    function = ir.Function(made, ir.FunctionType(ir.VoidType(), [POINTER]), "split")
    _Split(Body(function), total, copied).build()


def pseudo_total(
    body: Body, total: ir.Function, packet: ir.Value, v4: ir.Value, udp: ir.Value
) -> ir.Value:
    """Return the total of a pseudo header without the length."""
    builder = body.builder
    place = builder.select(v4, number(V4_ADDRESSES_AT), number(V6_ADDRESSES_AT))
    size = builder.select(v4, number(8), number(32))
    protocol = builder.select(udp, number(_UDP << 8), number(_TCP << 8))
    return builder.add(builder.call(total, [body.at(packet, place), size]), protocol)


class _Split:
    """Builds the function."""

    def __init__(self, body: Body, total: ir.Function, copied: ir.Function) -> None:
        self._body = body
        self._builder = body.builder
        self._fields = Fields(body)
        self._total, self._copied = total, copied
        request = body.function.args[0]
        kinds = [POINTER, POINTER, *[I64] * 9]
        values = [
            body.load(kind, body.at(request, number(8 * index)))
            for index, kind in enumerate(kinds)
        ]
        values[9:] = [self._builder.icmp_unsigned("!=", each, number(0)) for each in values[9:]]
        self._request = _Request(*values)

    def build(self) -> None:
        body, builder, request = self._body, self._builder, self._request
        transport = self._transport_total()
        network = self._network_total()
        last = builder.sub(request.count, number(1))
        loop = Loop(body, request.count)
        is_last = builder.icmp_unsigned("==", loop.index, last)
        payload = builder.select(is_last, request.last, request.payload)
        place = body.at(request.target, builder.mul(loop.index, request.stride))
        row = _Row(
            loop.index,
            builder.icmp_unsigned("==", loop.index, number(0)),
            is_last,
            place,
            builder.add(request.headers, payload),
        )
        builder.call(self._copied, [request.source, request.headers, place])
        sent = builder.add(request.headers, builder.mul(loop.index, request.payload))
        source, into = body.at(request.source, sent), body.at(place, request.headers)
        total = builder.add(transport, builder.call(self._copied, [source, payload, into]))
        self._fill_transport(row, total)
        with builder.if_else(request.v4) as (v4, v6):
            with v4:
                self._fill_v4(row, network)
            with v6:
                size = builder.sub(row.size, number(V6_HEADER_SIZE))
                self._fields.put(self._fields.swapped(size), place, V6_LENGTH_AT)
        self._pad(row)
        loop.end()
        builder.ret_void()

    def _transport_total(self) -> ir.Value:
        """Return the total of pseudo header and header, without what differs."""
        builder, fields, request = self._builder, self._fields, self._request
        header = self._body.at(request.source, request.start)
        size = builder.sub(request.headers, request.start)
        total = fields.sum(
            pseudo_total(self._body, self._total, request.source, request.v4, request.udp),
            builder.call(self._total, [header, size]),
        )

        def without_tcp() -> ir.Value:
            flags = builder.shl(fields.get(header, TCP_FLAGS_AT, I8), number(8))
            return fields.sum(
                total,
                fields.without(fields.get(header, TCP_SEQUENCE_AT, I32), (1 << 32) - 1),
                fields.without(flags),
                fields.without(fields.get(header, TCP_CSUM_OFFSET)),
            )

        def without_udp() -> ir.Value:
            return fields.sum(
                total,
                fields.without(fields.get(header, UDP_LENGTH_AT)),
                fields.without(fields.get(header, UDP_CSUM_OFFSET)),
            )

        tcp = self._body.when(builder.not_(request.udp), without_tcp, number(0))
        return self._body.when(request.udp, without_udp, tcp)

    def _network_total(self) -> ir.Value:
        """Return the total of a header of IPv4, without what differs."""
        fields, source = self._fields, self._request.source
        total = self._builder.call(self._total, [source, self._request.start])
        places = (V4_LENGTH_AT, V4_ID_AT, V4_CHECKSUM_AT)
        return fields.sum(total, *[fields.without(fields.get(source, at)) for at in places])

    def _fill_transport(self, row: _Row, total: ir.Value) -> None:
        builder, fields, request = self._builder, self._fields, self._request
        header = self._body.at(row.place, request.start)
        length = fields.swapped(builder.sub(row.size, request.start))
        total = builder.add(total, length)
        with builder.if_else(request.udp) as (udp, tcp):
            with udp:
                fields.put(length, header, UDP_LENGTH_AT)
                check = self._complement(builder.add(total, length))
                none = builder.icmp_unsigned("==", check, number(0))
                check = builder.select(none, number(ONES), check)
                fields.put(check, header, UDP_CSUM_OFFSET)
            with tcp:
                self._fill_tcp(row, header, total)

    def _fill_tcp(self, row: _Row, header: ir.Value, total: ir.Value) -> None:
        builder, fields, request = self._builder, self._fields, self._request
        original = self._body.at(request.source, request.start)
        first = fields.swapped(fields.get(original, TCP_SEQUENCE_AT, I32), I32)
        sent = builder.mul(row.index, request.payload)
        sequence = fields.swapped(builder.add(first, sent), I32)
        kept = builder.select(row.first, number(_KEPT | _CWR), number(_KEPT))
        ends = builder.select(row.last, number(_FIN_PSH), number(0))
        flags = builder.and_(fields.get(original, TCP_FLAGS_AT, I8), builder.or_(kept, ends))
        fields.put(sequence, header, TCP_SEQUENCE_AT, I32)
        fields.put(flags, header, TCP_FLAGS_AT, I8)
        total = fields.sum(total, sequence, builder.shl(flags, number(8)))
        fields.put(self._complement(total), header, TCP_CSUM_OFFSET)

    def _fill_v4(self, row: _Row, total: ir.Value) -> None:
        builder, fields = self._builder, self._fields
        length = fields.swapped(row.size)
        first = fields.swapped(fields.get(self._request.source, V4_ID_AT))
        identification = fields.swapped(builder.add(first, row.index))
        fields.put(length, row.place, V4_LENGTH_AT)
        fields.put(identification, row.place, V4_ID_AT)
        check = self._complement(fields.sum(total, length, identification))
        fields.put(check, row.place, V4_CHECKSUM_AT)

    def _complement(self, total: ir.Value) -> ir.Value:
        return self._builder.xor(self._fields.folded(total), number(ONES))

    def _pad(self, row: _Row) -> None:
        """Write zeros after a packet."""
        body, builder, room = self._body, self._builder, self._request.room
        padded = builder.and_(builder.add(row.size, number(_PADDING - 1)), number(-_PADDING))
        end = builder.select(builder.icmp_unsigned("<", padded, room), padded, room)
        size = builder.sub(end, row.size)
        place = body.at(row.place, row.size)
        for unit in (8, 4, 2, 1):
            part = builder.and_(size, number(unit))
            with builder.if_then(builder.icmp_unsigned("!=", part, number(0))):
                body.store(ir.Constant(ir.IntType(8 * unit), 0), place)
            place = body.at(place, part)
