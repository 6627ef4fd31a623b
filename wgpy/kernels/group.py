"""LLVM IR of ChaCha20-Poly1305 over a group of packets, one a SIMD lane (RFC 8439, 2.8).

ChaCha20 keeps a word of all their states in one vector; its blocks are transposed to rows for
the XOR with the packets, 64 bytes of each packet a round. Poly1305 keeps two vectors of
messages, the halves of a group, and the ciphertext is transposed to columns of 64-bit words
for it.

The last round works on a copy of 64 bytes a packet, so nothing outside the rows is touched.
The last group repeats its last packet in the lanes that are left: they read and write the same
bytes as it. Loads of a round go before its stores, so that a source may be its own target.

No branch and no address depends on a key or a packet's content; `open` branches on whether a
packet is authentic, which it reports anyway.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from llvmlite import ir

from wgpy.kernels.chacha20 import BLOCK_SIZE, COUNTER, KEY, NONCE, SIGMA, WORDS, ZERO
from wgpy.kernels.emit import I1, I8, I32, I64, POINTER, Body, Loop, number, splat
from wgpy.kernels.poly1305 import LIMBS, Poly1305

# The key, count and size, counters, source and target; then the header, or the flags.
ARGUMENTS: Final = (POINTER, I64, I64, POINTER, I64, POINTER, I64, POINTER, I64)
_KEY, _COUNT, _SIZE = range(3)
# 64-bit words of a half: those of 64 bytes of each packet, then the lengths.
_COLUMNS: Final = 10


@dataclass(frozen=True, slots=True)
class _Rooms:
    """What a group keeps on the stack."""

    state: ir.Value
    keystream: ir.Value
    columns: Sequence[ir.Value]
    spare: ir.Value
    sources: ir.Value
    targets: ir.Value
    tags: Sequence[ir.Value]


@dataclass(frozen=True, slots=True)
class _Round:
    """The 64 bytes of each packet in hand: where, how many count, and whether that is less."""

    offset: ir.Value
    size: ir.Value
    partial: ir.Value


class GroupBuilder:
    """Builds `seal` or `open` for one size of group: groups, rounds of 64 bytes, lanes.

    The function needs one packet at least.
    """

    def __init__(
        self, body: Body, lanes: int, helpers: tuple[ir.Function, ir.Function], *, opening: bool
    ) -> None:
        self._body = body
        self._builder = body.builder
        self._lanes = lanes
        self._words = ir.VectorType(I32, lanes)
        self._half = ir.VectorType(I64, lanes // 2)
        self._block, self._copy = helpers
        self._opening = opening
        self._rooms = _Rooms(
            state=body.room(self._words, WORDS),
            keystream=body.room(self._words, WORDS),
            columns=[body.room(self._half, _COLUMNS) for _ in range(2)],
            spare=body.room(I8, lanes * BLOCK_SIZE),
            sources=body.room(POINTER, lanes),
            targets=body.room(POINTER, lanes),
            tags=[body.room(I64, lanes) for _ in range(2)],
        )

    def build(self) -> None:
        """Write the function."""
        builder, count = self._builder, self._body.function.args[_COUNT]
        self._set_up()
        groups = Loop(self._body, count, step=self._lanes)
        self._each_lane(lambda lane: self._begin(groups.index, lane))
        self._keystream(number(0))
        halves = [Poly1305(self._body, self._one_time_keys(half)) for half in range(2)]
        limbs = self._rounds(halves)
        self._leave_tags(halves, limbs)
        finish = self._check if self._opening else self._put_tag
        self._each_lane(lambda lane: finish(groups.index, lane))
        groups.end()
        builder.ret_void()

    # --- a group: its addresses, nonces and one-time keys ---

    def _set_up(self) -> None:
        """Fill what stays the same: constants and key in the state, zeros in the copies."""
        body, rooms = self._body, self._rooms
        key = body.function.args[_KEY]
        for word, value in enumerate(SIGMA):
            self._set_word(word, splat(self._words, value))
        for word in KEY:
            part = body.load(I32, body.at(key, number(word - KEY.start), I32))
            self._set_word(word, body.spread(part, self._words))
        self._set_word(ZERO, splat(self._words, 0))
        for lane in range(WORDS):
            body.store(splat(self._words, 0), body.at(rooms.spare, number(lane), self._words))

    def _set_word(self, word: int, value: ir.Value) -> None:
        self._body.store(value, self._body.at(self._rooms.state, number(word), self._words), 64)

    def _each_lane(self, work: Callable[[ir.Value], None]) -> None:
        loop = Loop(self._body, number(self._lanes))
        work(loop.index)
        loop.end()

    def _packet(self, first: ir.Value, lane: ir.Value) -> ir.Value:
        """Return the number of the packet in a lane."""
        builder = self._builder
        last = builder.sub(self._body.function.args[_COUNT], number(1))
        wanted = builder.add(first, lane)
        return builder.select(builder.icmp_unsigned("<", wanted, last), wanted, last)

    def _begin(self, first: ir.Value, lane: ir.Value) -> None:
        """Note the addresses of a lane's packet, and put its counter into the state."""
        body, builder, rooms = self._body, self._builder, self._rooms
        counters, counter_stride, source, source_stride, target, target_stride, header = (
            body.function.args[3:]
        )
        packet = self._packet(first, lane)
        into = body.at(target, builder.mul(packet, target_stride))
        body.store(
            body.at(source, builder.mul(packet, source_stride)),
            body.at(rooms.sources, lane, POINTER),
            8,
        )
        body.store(into, body.at(rooms.targets, lane, POINTER), 8)
        counter = body.load(I64, body.at(counters, builder.mul(packet, counter_stride)))
        high = builder.lshr(counter, number(32))
        for word, part in zip(NONCE, (counter, high), strict=True):
            vector = body.at(rooms.state, number(word), self._words)
            body.store(builder.trunc(part, I32), body.at(vector, lane, I32), 4)
        if not self._opening:
            with builder.if_then(builder.icmp_unsigned("!=", header, number(0))):
                body.store(header, body.at(into, number(-16)))
                body.store(counter, body.at(into, number(-8)))

    def _keystream(self, number_of_block: ir.Value) -> None:
        word = self._builder.trunc(number_of_block, I32)
        self._set_word(COUNTER, self._body.spread(word, self._words))
        self._builder.call(self._block, [self._rooms.state, self._rooms.keystream])

    def _keystream_word(self, word: int) -> ir.Value:
        address = self._body.at(self._rooms.keystream, number(word), self._words)
        return self._body.load(self._words, address, 64)

    def _one_time_keys(self, half: int) -> list[ir.Value]:
        size = self._half.count
        keys = []
        for index in range(8):
            word = self._keystream_word(index)
            lanes = self._body.pick(word, word, range(half * size, (half + 1) * size))
            keys.append(self._builder.zext(lanes, self._half))
        return keys

    # --- the rounds: 64 bytes of each packet ---

    def _rounds(self, halves: Sequence[Poly1305]) -> list[list[ir.Value]]:
        """Encrypt or decrypt a group; return the accumulators of its halves."""
        builder, size = self._builder, self._body.function.args[_SIZE]
        blocks = builder.lshr(builder.add(size, number(BLOCK_SIZE - 1)), number(6))
        empty = builder.icmp_unsigned("==", size, number(0))
        blocks = builder.select(empty, number(1), blocks)
        start = [limb for half in halves for limb in half.zero()]
        loop = Loop(self._body, blocks, start)
        offset = builder.mul(loop.index, number(BLOCK_SIZE))
        left = builder.sub(size, offset)
        partial = builder.icmp_unsigned("<", left, number(BLOCK_SIZE))
        part = builder.select(partial, left, number(BLOCK_SIZE))
        this = _Round(offset, part, partial)
        self._keystream(builder.add(loop.index, number(1)))
        with builder.if_then(partial, likely=False):
            self._each_lane(lambda lane: self._copy_in(this, lane))
        self._crypt(this)
        with builder.if_then(partial, likely=False):
            self._each_lane(lambda lane: self._copy_out(this, lane))
        last = builder.icmp_unsigned("<=", left, number(BLOCK_SIZE))
        limbs = self._absorb(halves, loop.carried, this, last)
        loop.end(limbs)
        return [limbs[:LIMBS], limbs[LIMBS:]]

    def _lane_address(self, table: ir.Value, lane: ir.Value, offset: ir.Value) -> ir.Value:
        row = self._body.load(POINTER, self._body.at(table, lane, POINTER), 8)
        return self._body.at(row, offset)

    def _spare(self, lane: ir.Value) -> ir.Value:
        return self._body.at(self._rooms.spare, self._builder.mul(lane, number(BLOCK_SIZE)))

    def _copy_in(self, this: _Round, lane: ir.Value) -> None:
        source = self._lane_address(self._rooms.sources, lane, this.offset)
        self._builder.call(self._copy, [self._spare(lane), source, this.size])

    def _copy_out(self, this: _Round, lane: ir.Value) -> None:
        target = self._lane_address(self._rooms.targets, lane, this.offset)
        self._builder.call(self._copy, [target, self._spare(lane), this.size])

    def _crypt(self, this: _Round) -> None:
        """XOR a round with the keystream, and leave its ciphertext in columns."""
        body, builder, rooms = self._body, self._builder, self._rooms
        lanes = [number(lane) for lane in range(self._lanes)]
        sources, targets = (
            [
                builder.select(
                    this.partial,
                    self._spare(lane),
                    self._lane_address(table, lane, this.offset),
                )
                for lane in lanes
            ]
            for table in (rooms.sources, rooms.targets)
        )
        width = 4 * self._lanes
        for piece in range(BLOCK_SIZE // width):
            words = range(piece * self._lanes, (piece + 1) * self._lanes)
            rows = body.transpose([self._keystream_word(word) for word in words])
            place, mask = number(piece * width), self._mask(this, piece * width)
            read = [body.load(self._words, body.at(source, place)) for source in sources]
            if self._opening:
                ciphertext = [builder.and_(text, mask) for text in read]
                written = [builder.xor(text, row) for text, row in zip(read, rows, strict=True)]
            else:
                written = [builder.xor(text, row) for text, row in zip(read, rows, strict=True)]
                ciphertext = [builder.and_(text, mask) for text in written]
            for text, target in zip(written, targets, strict=True):
                body.store(text, body.at(target, place))
            self._put_columns(piece, ciphertext)

    def _mask(self, this: _Round, first: int) -> ir.Value:
        """Return ones for the bytes of a row that count, of those from `first` on."""
        kind = ir.VectorType(I8, 4 * self._lanes)
        places = ir.Constant(kind, list(range(first, first + kind.count)))
        size = self._body.spread(self._builder.trunc(this.size, I8), kind)
        inside = self._builder.icmp_unsigned("<", places, size)
        return self._builder.bitcast(self._builder.sext(inside, kind), self._words)

    def _put_columns(self, piece: int, rows: Sequence[ir.Value]) -> None:
        size = self._half.count
        for half, columns in enumerate(self._rooms.columns):
            square = [
                self._builder.bitcast(row, self._half)
                for row in rows[half * size : (half + 1) * size]
            ]
            for index, column in enumerate(self._body.transpose(square), piece * size):
                self._put_column(columns, number(index), column)

    def _put_column(self, columns: ir.Value, index: ir.Value, column: ir.Value) -> None:
        self._body.store(
            column, self._body.at(columns, index, self._half), self._half.count * 8
        )

    def _absorb(
        self,
        halves: Sequence[Poly1305],
        limbs: Sequence[ir.Value],
        this: _Round,
        last: ir.Value,
    ) -> list[ir.Value]:
        """Return the accumulators after a round, and after the lengths if it is the last."""
        body, builder = self._body, self._builder
        filled = builder.lshr(builder.add(this.size, number(15)), number(4))
        slot = builder.shl(filled, number(1))
        size = body.spread(body.function.args[_SIZE], self._half)
        for columns in self._rooms.columns:
            self._put_column(columns, slot, splat(self._half, 0))
            self._put_column(columns, builder.add(slot, number(1)), size)
        steps = Loop(body, builder.add(filled, builder.zext(last, I64)), limbs)
        low = builder.shl(steps.index, number(1))
        result: list[ir.Value] = []
        for index, (half, columns) in enumerate(zip(halves, self._rooms.columns, strict=True)):
            words = [
                body.load(self._half, body.at(columns, place, self._half), self._half.count * 8)
                for place in (low, builder.add(low, number(1)))
            ]
            result += half.absorb(steps.carried[index * LIMBS : (index + 1) * LIMBS], *words)
        steps.end(result)
        return result

    # --- the tags ---

    def _leave_tags(self, halves: Sequence[Poly1305], limbs: Sequence[list[ir.Value]]) -> None:
        for index, (half, accumulator) in enumerate(zip(halves, limbs, strict=True)):
            for room, words in zip(self._rooms.tags, half.tag(accumulator), strict=True):
                self._put_column(room, number(index), words)

    def _tag(self, lane: ir.Value) -> list[ir.Value]:
        return [
            self._body.load(I64, self._body.at(room, lane, I64), 8) for room in self._rooms.tags
        ]

    def _put_tag(self, _: ir.Value, lane: ir.Value) -> None:
        target = self._lane_address(self._rooms.targets, lane, self._body.function.args[_SIZE])
        for place, word in enumerate(self._tag(lane)):
            self._body.store(word, self._body.at(target, number(8 * place)))

    def _check(self, first: ir.Value, lane: ir.Value) -> None:
        """Flag a packet as authentic, or clear its plaintext."""
        body, builder = self._body, self._builder
        size, flags = body.function.args[_SIZE], body.function.args[-1]
        received = self._lane_address(self._rooms.sources, lane, size)
        differences = [
            builder.xor(word, body.load(I64, body.at(received, number(8 * place))))
            for place, word in enumerate(self._tag(lane))
        ]
        authentic = builder.icmp_unsigned("==", builder.or_(*differences), number(0))
        body.store(builder.zext(authentic, I8), body.at(flags, self._packet(first, lane)))
        forged = builder.icmp_unsigned("==", authentic, ir.Constant(I1, 0))
        with builder.if_then(forged, likely=False):
            self._clear(lane)

    def _clear(self, lane: ir.Value) -> None:
        """Write zeros over a plaintext."""
        body, builder = self._body, self._builder
        size = body.function.args[_SIZE]
        kind = ir.VectorType(I8, BLOCK_SIZE)
        whole = builder.and_(size, number(-BLOCK_SIZE))
        with builder.if_then(builder.icmp_unsigned("!=", whole, number(0))):
            loop = Loop(body, whole, step=BLOCK_SIZE)
            target = self._lane_address(self._rooms.targets, lane, loop.index)
            body.store(splat(kind, 0), target)
            loop.end()
        # Whatever a row of copies holds, it is masked when it is read.
        body.store(splat(kind, 0), self._rooms.spare, BLOCK_SIZE)
        rest = self._lane_address(self._rooms.targets, lane, whole)
        self._builder.call(
            self._copy, [rest, self._rooms.spare, builder.and_(size, number(BLOCK_SIZE - 1))]
        )
