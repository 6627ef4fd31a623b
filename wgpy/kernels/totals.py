"""LLVM IR of Internet checksums (RFC 1071), and the fields of headers.

A total is any 64-bit number congruent to the sum of 16-bit words modulo 65535, the words read
as this machine has them: swapping the bytes of all of them swaps those of their sum
(RFC 1071, 2 B), so a checksum made of it is stored as it is.
"""

from typing import Final

from llvmlite import ir

from wgpy.kernels.emit import I8, I16, I32, I64, POINTER, Body, Loop, number, splat

ONES: Final = 0xFFFF
_BLOCK: Final = 64
_WORDS: Final = ir.VectorType(I64, _BLOCK // 8)
_LOW: Final = (1 << 32) - 1


def function(made: ir.Module, *, copying: bool) -> ir.Function:
    """Return `u64 total(source, size)`, or `u64 copied(source, size, target)`.

    The first bytes of a word are of even places from `source`; an odd byte at the end is
    padded. A target may begin before its source and overlap it.
    """
    arguments = [POINTER, I64, POINTER] if copying else [POINTER, I64]
    name = "copied" if copying else "total"
    result = ir.Function(made, ir.FunctionType(I64, arguments), name)
    result.linkage = "internal"
    result.attributes.add("noinline")
    _Sum(Body(result), copying=copying).build()
    return result


class _Sum:
    """Builds the function: blocks of 64 bytes, words of 8, and what is left."""

    def __init__(self, body: Body, *, copying: bool) -> None:
        self._body = body
        self._copying = copying
        self._source, self._size = body.function.args[:2]

    def build(self) -> None:
        body, builder, size = self._body, self._body.builder, self._size
        whole = builder.and_(size, number(-_BLOCK))
        some = builder.icmp_unsigned("!=", whole, number(0))
        vector = body.when(some, lambda: self._blocks(whole), splat(_WORDS, 0))
        total: ir.Value = number(0)
        for lane in range(_WORDS.count):
            total = builder.add(total, builder.extract_element(vector, number(lane)))
        words = builder.and_(size, number(_BLOCK - 8))
        some = builder.icmp_unsigned("!=", words, number(0))
        before = total
        total = body.when(some, lambda: self._longs(whole, words, before), before)
        done = builder.add(whole, words)
        for kind in (I32, I16, I8):
            total = self._piece(done, kind, total)
            done = builder.add(done, builder.and_(size, number(kind.width // 8)))
        builder.ret(total)

    def _moved(self, kind: ir.Type, place: ir.Value) -> ir.Value:
        value = self._body.load(kind, self._body.at(self._source, place))
        if self._copying:
            self._body.store(value, self._body.at(self._body.function.args[2], place))
        return value

    def _blocks(self, whole: ir.Value) -> ir.Value:
        builder = self._body.builder
        loop = Loop(self._body, whole, [splat(_WORDS, 0)], step=_BLOCK)
        words = self._moved(_WORDS, loop.index)
        total = builder.add(loop.carried[0], builder.and_(words, splat(_WORDS, _LOW)))
        total = builder.add(total, builder.lshr(words, splat(_WORDS, 32)))
        loop.end([total])
        return total

    def _longs(self, place: ir.Value, size: ir.Value, total: ir.Value) -> ir.Value:
        builder = self._body.builder
        loop = Loop(self._body, size, [total], step=8)
        word = self._moved(I64, builder.add(place, loop.index))
        total = builder.add(loop.carried[0], builder.and_(word, number(_LOW)))
        total = builder.add(total, builder.lshr(word, number(32)))
        loop.end([total])
        return total

    def _piece(self, place: ir.Value, kind: ir.IntType, total: ir.Value) -> ir.Value:
        builder = self._body.builder
        part = builder.and_(self._size, number(kind.width // 8))
        return self._body.when(
            builder.icmp_unsigned("!=", part, number(0)),
            lambda: builder.add(total, builder.zext(self._moved(kind, place), I64)),
            total,
        )


class Fields:
    """Reading and writing what headers hold, and folding totals, in one function."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def get(self, base: ir.Value, place: int, kind: ir.IntType = I16) -> ir.Value:
        """Return what is `place` bytes after `base`, with its bytes in their order."""
        value = self._body.load(kind, self._body.at(base, number(place)))
        return self._body.builder.zext(value, I64)

    def put(self, value: ir.Value, base: ir.Value, place: int, kind: ir.IntType = I16) -> None:
        """Store the low bits of a value `place` bytes after `base`."""
        low = self._body.builder.trunc(value, kind)
        self._body.store(low, self._body.at(base, number(place)))

    def swapped(self, value: ir.Value, kind: ir.IntType = I16) -> ir.Value:
        """Return the low bits of a value from one byte order to the other."""
        builder = self._body.builder
        return builder.zext(builder.bswap(builder.trunc(value, kind)), I64)

    def sum(self, *values: ir.Value) -> ir.Value:
        """Return a sum."""
        total, *others = values
        for value in others:
            total = self._body.builder.add(total, value)
        return total

    def without(self, value: ir.Value, ones: int = ONES) -> ir.Value:
        """Return what to add to a total to take a value of it away again."""
        return self._body.builder.sub(number(ones), value)

    def folded(self, total: ir.Value) -> ir.Value:
        """Return a total other than 0 as a sum of 16 bits, 1 to 65535."""
        builder = self._body.builder
        for bits in (32, 16, 16, 16):
            low = builder.and_(total, number((1 << bits) - 1))
            total = builder.add(low, builder.lshr(total, number(bits)))
        return total
