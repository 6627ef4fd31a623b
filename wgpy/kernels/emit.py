"""Writing LLVM IR: loops with carried values, vectors, addresses."""

from collections.abc import Callable, Sequence

from llvmlite import ir

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
POINTER = ir.PointerType()


def number(value: int) -> ir.Constant:
    """Return a 64-bit constant."""
    return ir.Constant(I64, value)


def splat(kind: ir.VectorType, value: int) -> ir.Constant:
    """Return a vector constant of one value."""
    return ir.Constant(kind, [value] * kind.count)


class Body:
    """The body of one function under construction: LLVM's builder, and what it lacks."""

    def __init__(self, function: ir.Function) -> None:
        self.function = function
        self.builder = ir.IRBuilder(function.append_basic_block())

    def room(self, kind: ir.Type, count: int) -> ir.Value:
        """Return the address of `count` values on the stack, aligned for any vector."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(kind, count)
            place.align = 64
        # What is stored there is of many kinds, so its address is of none.
        place.type = POINTER
        return place

    def at(self, base: ir.Value, offset: ir.Value, unit: ir.Type = I8) -> ir.Value:
        """Return an address `offset` units after `base`."""
        return self.builder.gep(base, [offset], source_etype=unit)

    def load(self, kind: ir.Type, address: ir.Value, align: int = 1) -> ir.Value:
        """Return the value of a kind at an address."""
        return self.builder.load(address, typ=kind, align=align)

    def store(self, value: ir.Value, address: ir.Value, align: int = 1) -> None:
        """Put a value at an address."""
        self.builder.store(value, address, align=align)

    def spread(self, value: ir.Value, kind: ir.VectorType) -> ir.Value:
        """Return a vector of one value."""
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, number(0))
        return self.pick(one, one, [0] * kind.count)

    def when(
        self, condition: ir.Value, make: Callable[[], ir.Value], otherwise: ir.Value
    ) -> ir.Value:
        """Return what `make` writes, which runs only on a condition, or else another value."""
        builder = self.builder
        before = builder.block
        with builder.if_then(condition):
            value = make()
            inside = builder.block
        result = builder.phi(otherwise.type)
        result.add_incoming(otherwise, before)
        result.add_incoming(value, inside)
        return result

    def pick(self, one: ir.Value, other: ir.Value, lanes: Sequence[int]) -> ir.Value:
        """Return these lanes of two vectors put one after the other."""
        mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return self.builder.shuffle_vector(one, other, mask)

    def transpose(self, rows: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the columns of a square of vectors; their number is a power of two.

        Each round exchanges the off-diagonal halves of squares twice as large.
        """
        size, side, square = len(rows), 1, list(rows)
        while side < size:
            low = [lane if not lane & side else size + (lane ^ side) for lane in range(size)]
            high = [lane | side if not lane & side else size + lane for lane in range(size)]
            for index in range(size):
                if not index & side:
                    one, other = square[index], square[index | side]
                    square[index] = self.pick(one, other, low)
                    square[index | side] = self.pick(one, other, high)
            side *= 2
        return square


class Loop:
    """A loop that runs at least once, for `index` from 0 while it is less than `count`.

    `carried` are values that each round takes from the one before. What is built between
    construction and `end` is the body.
    """

    def __init__(
        self, body: Body, count: ir.Value, carried: Sequence[ir.Value] = (), step: int = 1
    ) -> None:
        builder = body.builder
        before = builder.block
        self._body, self._count, self._step = body, count, step
        self._head = body.function.append_basic_block()
        builder.branch(self._head)
        builder.position_at_end(self._head)
        self.index = self._begin_with(number(0), before)
        self.carried = [self._begin_with(value, before) for value in carried]

    def _begin_with(self, value: ir.Value, before: ir.Block) -> ir.Value:
        phi = self._body.builder.phi(value.type)
        phi.add_incoming(value, before)
        return phi

    def end(self, carried: Sequence[ir.Value] = ()) -> None:
        """Close the loop; the round's values go to the next, and stay after the last."""
        builder = self._body.builder
        index = builder.add(self.index, number(self._step))
        last = builder.block
        for phi, value in zip((self.index, *self.carried), (index, *carried), strict=True):
            phi.add_incoming(value, last)
        after = self._body.function.append_basic_block()
        builder.cbranch(builder.icmp_unsigned("<", index, self._count), self._head, after)
        builder.position_at_end(after)
