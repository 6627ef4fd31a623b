"""LLVM IR of Poly1305, one message a SIMD lane of 64 bits (RFC 8439, 2.5).

The accumulator is five limbs of 26 bits. After `absorb` each is below 2^26 + 2^9, so a product
has less than 58 bits and no factor more than 32, which is what a vector multiplication takes.
"""

from collections.abc import Sequence
from typing import Final

from llvmlite import ir

from wgpy.kernels.emit import Body, splat

LIMBS: Final = 5
_LIMB_BITS: Final = 26
_LIMB: Final = (1 << _LIMB_BITS) - 1
_WORD: Final = (1 << 32) - 1
# The clamp of r (RFC 8439, 2.5.1), limb by limb.
_CLAMP: Final = (0x3FFFFFF, 0x3FFFF03, 0x3FFC0FF, 0x3F03FFF, 0x00FFFFF)
# Each carries into the next; two chains side by side, so that none waits long.
_CARRIES: Final = (3, 0, 4, 1, 0, 2, 3)


class Poly1305:
    """The one-time keys of a vector of messages, and what is done with them.

    `key` is eight vectors, each of a 32-bit word of the keys (RFC 8439, 2.6).
    """

    def __init__(self, body: Body, key: Sequence[ir.Value]) -> None:
        self._body = body
        self._kind = key[0].type
        self._r = [
            self._and(limb, clamp)
            for limb, clamp in zip(self._limbs_of_words(key[:4]), _CLAMP, strict=True)
        ]
        self._times_5 = [self._five(limb) for limb in self._r]
        self._pad = key[4:]

    def zero(self) -> list[ir.Value]:
        """Return the accumulator at the start."""
        return [self._constant(0)] * LIMBS

    def absorb(
        self, limbs: Sequence[ir.Value], low: ir.Value, high: ir.Value
    ) -> list[ir.Value]:
        """Return the accumulator after 16 bytes more: two 64-bit words."""
        added = [
            self._add(limb, part)
            for limb, part in zip(limbs, self._limbs_of_block(low, high), strict=True)
        ]
        product = [self._sum_of_products(added, place) for place in range(LIMBS)]
        for place in _CARRIES:
            self._carry(product, place)
        return product

    def tag(self, limbs: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value]:
        """Return the tags as two 64-bit words: (accumulator mod 2^130 - 5) + pad."""
        reduced = list(limbs)
        for place in (*range(LIMBS), *range(LIMBS), 0):
            self._carry(reduced, place)
        reduced = self._subtract_prime_once(reduced)
        words, carry = [], self._constant(0)
        for word, pad in zip(self._words(reduced), self._pad, strict=True):
            total = self._add(self._add(word, pad), carry)
            words.append(self._and(total, _WORD))
            carry = self._right(total, 32)
        return (
            self._or(words[0], self._left(words[1], 32)),
            self._or(words[2], self._left(words[3], 32)),
        )

    def _limbs_of_words(self, words: Sequence[ir.Value]) -> list[ir.Value]:
        return [
            words[0],
            self._or(self._right(words[0], 26), self._left(words[1], 6)),
            self._or(self._right(words[1], 20), self._left(words[2], 12)),
            self._or(self._right(words[2], 14), self._left(words[3], 18)),
            self._right(words[3], 8),
        ]

    def _limbs_of_block(self, low: ir.Value, high: ir.Value) -> list[ir.Value]:
        return [
            self._and(low, _LIMB),
            self._and(self._right(low, 26), _LIMB),
            self._and(self._or(self._right(low, 52), self._left(high, 12)), _LIMB),
            self._and(self._right(high, 14), _LIMB),
            # The bit above a full block, 2^128.
            self._or(self._right(high, 40), self._constant(1 << 24)),
        ]

    def _sum_of_products(self, limbs: Sequence[ir.Value], place: int) -> ir.Value:
        """Return what the product by r has at 2^(26 place); 2^130 is 5 modulo the prime."""
        total = self._constant(0)
        for index, limb in enumerate(limbs):
            of_r = place - index
            factor = self._r[of_r] if of_r >= 0 else self._times_5[of_r + LIMBS]
            product = self._body.builder.mul(self._and(limb, _WORD), self._and(factor, _WORD))
            total = product if index == 0 else self._add(total, product)
        return total

    def _carry(self, limbs: list[ir.Value], place: int) -> None:
        over = self._right(limbs[place], _LIMB_BITS)
        limbs[place] = self._and(limbs[place], _LIMB)
        if place == LIMBS - 1:
            limbs[0] = self._add(limbs[0], self._five(over))
        else:
            limbs[place + 1] = self._add(limbs[place + 1], over)

    def _subtract_prime_once(self, limbs: Sequence[ir.Value]) -> list[ir.Value]:
        """Return limbs - (2^130 - 5) if that is not negative, else limbs."""
        less, carry = [], self._constant(5)
        for limb in limbs[:-1]:
            total = self._add(limb, carry)
            less.append(self._and(total, _LIMB))
            carry = self._right(total, _LIMB_BITS)
        builder = self._body.builder
        top = builder.sub(self._add(limbs[-1], carry), self._constant(1 << _LIMB_BITS))
        negative = builder.ashr(top, self._constant(63))
        return [
            builder.xor(other, builder.and_(builder.xor(limb, other), negative))
            for limb, other in zip(limbs, (*less, top), strict=True)
        ]

    def _words(self, limbs: Sequence[ir.Value]) -> list[ir.Value]:
        """Return four words of 32 bits of canonical limbs; what is above 2^128 falls off."""
        return [
            self._and(self._or(limbs[0], self._left(limbs[1], 26)), _WORD),
            self._and(self._or(self._right(limbs[1], 6), self._left(limbs[2], 20)), _WORD),
            self._and(self._or(self._right(limbs[2], 12), self._left(limbs[3], 14)), _WORD),
            self._and(self._or(self._right(limbs[3], 18), self._left(limbs[4], 8)), _WORD),
        ]

    def _constant(self, value: int) -> ir.Constant:
        return splat(self._kind, value)

    def _add(self, one: ir.Value, other: ir.Value) -> ir.Value:
        return self._body.builder.add(one, other)

    def _or(self, one: ir.Value, other: ir.Value) -> ir.Value:
        return self._body.builder.or_(one, other)

    def _and(self, value: ir.Value, mask: int) -> ir.Value:
        return self._body.builder.and_(value, self._constant(mask))

    def _left(self, value: ir.Value, bits: int) -> ir.Value:
        return self._body.builder.shl(value, self._constant(bits))

    def _right(self, value: ir.Value, bits: int) -> ir.Value:
        return self._body.builder.lshr(value, self._constant(bits))

    def _five(self, value: ir.Value) -> ir.Value:
        return self._add(value, self._left(value, 2))
