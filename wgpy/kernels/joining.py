"""LLVM IR of `join`: packets in rows to one super packet, as `wgpy.kernels.inorder` does it.

It takes the address of a request, 8 bytes each, and that of two masks:

    rows       the first packet, which is one that may be merged, without PSH
    stride     from one packet to the next; a packet has no more
    count      of packets, 2 at least
    headers    size of all headers, a multiple of 4
    size       of each packet but the last
    last       of the row of the last, more than that of the headers
    start      where the TCP or UDP header begins
    v4, udp    1 or 0
    masks      ones for the bits of headers that all but the last have in common, then for
               those that all have

Unless all are one flow in order and whole, it returns 0 and nothing is changed. Otherwise the
payloads are moved to be one after the other, the first stays where it is, as do its headers;
the result is the size of all payloads times 2, and 1 more if the last packet has PSH.
"""

from dataclasses import dataclass
from typing import Final

from llvmlite import ir

from wgpy.kernels.emit import I1, I8, I32, I64, POINTER, Body, Loop, number
from wgpy.kernels.splitting import pseudo_total
from wgpy.kernels.totals import ONES, Fields
from wgpy.wire.ip import V4_LENGTH_AT, V6_HEADER_SIZE, V6_LENGTH_AT
from wgpy.wire.vnet import TCP_FLAGS_AT, TCP_SEQUENCE_AT, UDP_LENGTH_AT

_PACKET_MAX: Final = 65535
_PSH_BIT: Final = 3


@dataclass(frozen=True, slots=True)
class _Request:
    rows: ir.Value
    stride: ir.Value
    count: ir.Value
    headers: ir.Value
    size: ir.Value
    last: ir.Value
    start: ir.Value
    v4: ir.Value
    udp: ir.Value
    masks: ir.Value


def add_to(made: ir.Module, total: ir.Function, copied: ir.Function) -> None:
    """Add the function; the others are of `totals`."""
    function = ir.Function(made, ir.FunctionType(I64, [POINTER]), "join")
    _Join(Body(function), total, copied).build()


class _Join:
    """Builds the function: headers first, as most of what fails does there."""

    def __init__(self, body: Body, total: ir.Function, copied: ir.Function) -> None:
        self._body = body
        self._builder = body.builder
        self._fields = Fields(body)
        self._total, self._copied = total, copied
        request = body.function.args[0]
        kinds = [POINTER, *[I64] * 8, POINTER]
        values = [
            body.load(kind, body.at(request, number(8 * index)))
            for index, kind in enumerate(kinds)
        ]
        for at in (7, 8):
            values[at] = body.builder.icmp_unsigned("!=", values[at], number(0))
        self._request = _Request(*values)
        self._payload = body.builder.sub(self._request.size, self._request.headers)
        self._last = body.builder.sub(self._request.count, number(1))
        self._tail = self._row(self._last)

    def build(self) -> None:
        tail_size = self._tail_size()
        fits = self._builder.and_(self._headers_fit(), self._tail_fits(tail_size))

        def join_if_whole() -> ir.Value:
            return self._body.when(
                self._are_whole(tail_size), lambda: self._join(tail_size), number(0)
            )

        self._builder.ret(self._body.when(fits, join_if_whole, number(0)))

    def _row(self, index: ir.Value) -> ir.Value:
        return self._body.at(self._request.rows, self._builder.mul(index, self._request.stride))

    def _is_last(self, index: ir.Value) -> ir.Value:
        return self._builder.icmp_unsigned("==", index, self._last)

    def _headers_fit(self) -> ir.Value:
        """Return whether headers are those of the first but for what may differ."""
        body, builder, fields, request = (
            self._body,
            self._builder,
            self._fields,
            self._request,
        )
        tcp = body.at(request.rows, request.start)
        first = fields.swapped(fields.get(tcp, TCP_SEQUENCE_AT, I32), I32)
        rows = Loop(body, self._last, [number(0)])
        index = builder.add(rows.index, number(1))
        row = self._row(index)
        masks = builder.select(self._is_last(index), request.headers, number(0))
        mask = body.at(request.masks, masks)
        words = Loop(body, request.headers, rows.carried, step=4)
        found, wanted, counts = (
            builder.zext(body.load(I32, body.at(base, words.index)), I64)
            for base in (row, request.rows, mask)
        )
        differs = builder.and_(builder.xor(found, wanted), counts)
        differs = builder.or_(words.carried[0], differs)
        words.end([differs])
        sequence = fields.get(body.at(row, request.start), TCP_SEQUENCE_AT, I32)
        sent = builder.add(first, builder.mul(index, self._payload))
        leaps = builder.xor(sequence, fields.swapped(sent, I32))
        differs = builder.or_(differs, builder.select(request.udp, number(0), leaps))
        rows.end([differs])
        return builder.icmp_unsigned("==", differs, number(0))

    def _tail_size(self) -> ir.Value:
        """Return the size that the last packet claims."""
        builder, fields = self._builder, self._fields
        v4 = fields.swapped(fields.get(self._tail, V4_LENGTH_AT))
        v6 = fields.swapped(fields.get(self._tail, V6_LENGTH_AT))
        v6 = builder.add(v6, number(V6_HEADER_SIZE))
        return builder.select(self._request.v4, v4, v6)

    def _tail_fits(self, size: ir.Value) -> ir.Value:
        """Return whether the sizes of the last packet are in order."""
        builder, fields, request = self._builder, self._fields, self._request
        udp = self._body.at(self._tail, request.start)
        length = fields.swapped(fields.get(udp, UDP_LENGTH_AT))
        agrees = builder.icmp_unsigned("==", builder.sub(size, request.start), length)
        agrees = builder.or_(agrees, builder.not_(request.udp))
        whole = builder.add(size, builder.mul(self._last, self._payload))
        for condition in (
            builder.icmp_unsigned(">", size, request.headers),
            builder.icmp_unsigned("<=", size, request.last),
            builder.icmp_unsigned("<=", size, request.size),
            builder.icmp_unsigned("<=", whole, number(_PACKET_MAX)),
        ):
            agrees = builder.and_(agrees, condition)
        return agrees

    def _are_whole(self, tail_size: ir.Value) -> ir.Value:
        """Return whether the checksums verify, those of IPv4 and of what it carries as one."""
        body, builder, fields, request = (
            self._body,
            self._builder,
            self._fields,
            self._request,
        )
        pseudo = pseudo_total(body, self._total, request.rows, request.v4, request.udp)
        begin = builder.select(request.v4, number(0), number(V6_HEADER_SIZE))
        rows = Loop(body, request.count, [ir.Constant(I1, 1)])
        size = builder.select(self._is_last(rows.index), tail_size, request.size)
        place = body.at(self._row(rows.index), begin)
        total = fields.sum(
            builder.call(self._total, [place, builder.sub(size, begin)]),
            pseudo,
            fields.swapped(builder.sub(size, request.start)),
        )
        good = builder.icmp_unsigned("==", fields.folded(total), number(ONES))
        good = builder.and_(rows.carried[0], good)
        rows.end([good])
        return good

    def _join(self, tail_size: ir.Value) -> ir.Value:
        """Move payloads together; return how much they are, and PSH."""
        body, builder, request = self._body, self._builder, self._request
        pushes = body.when(builder.not_(request.udp), self._pushes, number(0))
        tail = builder.sub(tail_size, request.headers)
        first = body.at(request.rows, request.headers)
        rows = Loop(body, self._last)
        index = builder.add(rows.index, number(1))
        size = builder.select(self._is_last(index), tail, self._payload)
        done = builder.mul(index, self._payload)
        source = body.at(self._row(index), request.headers)
        builder.call(self._copied, [source, size, body.at(first, done)])
        rows.end()
        whole = builder.add(builder.mul(self._last, self._payload), tail)
        return builder.or_(builder.shl(whole, number(1)), pushes)

    def _pushes(self) -> ir.Value:
        """Return 1 if the last packet, of TCP, has PSH."""
        builder = self._builder
        tcp = self._body.at(self._tail, self._request.start)
        flags = self._fields.get(tcp, TCP_FLAGS_AT, I8)
        return builder.and_(builder.lshr(flags, number(_PSH_BIT)), number(1))
