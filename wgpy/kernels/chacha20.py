"""LLVM IR of the ChaCha20 block, one block a SIMD lane (RFC 8439, 2.3)."""

from typing import Final

from llvmlite import ir

from wgpy.kernels.emit import I32, POINTER, Body, Loop, number, splat

SIGMA: Final = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
KEY: Final = range(4, 12)
COUNTER: Final = 12
# The first word of a nonce of WireGuard is zero.
ZERO: Final = 13
NONCE: Final = (14, 15)
WORDS: Final = 16
BLOCK_SIZE: Final = 64

_DOUBLE_ROUNDS: Final = 10
_COLUMNS_AND_DIAGONALS: Final = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def block_function(module: ir.Module, lanes: int) -> ir.Function:
    """Return `void chacha20(state, keystream)`: 16 vectors of words each, word by word."""
    vector = ir.VectorType(I32, lanes)
    kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])
    function = ir.Function(module, kind, f"chacha20x{lanes}")
    function.linkage = "internal"
    function.attributes.add("noinline")
    body = Body(function)
    state, keystream = function.args
    initial = [
        body.load(vector, body.at(state, number(word), vector), 64) for word in range(WORDS)
    ]
    rounds = Loop(body, number(_DOUBLE_ROUNDS), initial)
    words = list(rounds.carried)
    for quarter in _COLUMNS_AND_DIAGONALS:
        _quarter_round(body, words, quarter)
    rounds.end(words)
    for word, (mixed, first) in enumerate(zip(words, initial, strict=True)):
        into = body.at(keystream, number(word), vector)
        body.store(body.builder.add(mixed, first), into, 64)
    body.builder.ret_void()
    return function


def _quarter_round(
    body: Body, words: list[ir.Value], quarter: tuple[int, int, int, int]
) -> None:
    builder = body.builder
    a, b, c, d = quarter
    for to, by, turned, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        words[to] = builder.add(words[to], words[by])
        mixed = builder.xor(words[turned], words[to])
        left = builder.shl(mixed, splat(mixed.type, bits))
        words[turned] = builder.or_(left, builder.lshr(mixed, splat(mixed.type, 32 - bits)))
