"""LLVM IR of `seal` and `open`: ChaCha20-Poly1305 over many packets of one size (RFC 8439).

Associated data is empty, and a nonce is four zero bytes and the counter (paper 5.4.6).
Both take the address of a request, as arguments are converted one by one on the way from
Python:

    key               32
    count, size       8 each; of packets, of a plaintext
    counters          8, and 8 for the bytes from one to the next
    source            8, 8
    target            8, 8
    header or flags   8

Counters are little-endian u64 anywhere in memory. `seal` writes size + 16 bytes at each target
and, unless `header` is 0, `header` and the counter in the 16 bytes before it. `open` reads
size + 16 bytes at each source, writes size at each target (zeros if the packet is not
authentic) and a byte of 1 or 0 to each of `flags`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from llvmlite import ir

from wgpy.kernels import chacha20
from wgpy.kernels.emit import I64, POINTER, Body, number
from wgpy.kernels.group import ARGUMENTS, GroupBuilder

_KEY_SIZE: Final = 32


def add_to(made: ir.Module, widths: Sequence[int]) -> None:
    """Add `seal` and `open` for groups of these sizes (4, 8, 16), falling.

    Packets go to the widest group; those left over to a narrower one if all fit in it.
    """
    copy = _copy_function(made)
    blocks = {lanes: chacha20.block_function(made, lanes) for lanes in widths}
    for name, last in (("seal", I64), ("open", POINTER)):
        kind = ir.FunctionType(ir.VoidType(), [*ARGUMENTS, last])
        groups: dict[int, ir.Function] = {}
        for lanes, block in blocks.items():
            groups[lanes] = ir.Function(made, kind, f"{name}{lanes}")
            groups[lanes].linkage = "internal"
            GroupBuilder(
                Body(groups[lanes]), lanes, (block, copy), opening=name == "open"
            ).build()
        entry = ir.Function(made, ir.FunctionType(ir.VoidType(), [POINTER]), name)
        _share_out(Body(entry), kind.args, groups)


def _share_out(body: Body, kinds: Sequence[ir.Type], groups: Mapping[int, ir.Function]) -> None:
    """Write the function that gives each packet to a group of one of the sizes."""
    builder = body.builder
    request = body.function.args[0]
    fields = [
        body.load(kind, body.at(request, number(_KEY_SIZE + 8 * index)))
        for index, kind in enumerate(kinds[1:])
    ]
    count, size, *places, last = fields
    done: ir.Value = number(0)
    for lanes, function in groups.items():
        left = builder.sub(count, done)
        rest = builder.and_(left, number(lanes - 1))
        narrower = [width for width in groups if width < lanes]
        fits = builder.icmp_unsigned("<=", rest, number(max(narrower, default=0)))
        share = builder.select(fits, builder.sub(left, rest), left)
        moved = []
        for address, stride in zip(places[::2], places[1::2], strict=True):
            moved += [body.at(address, builder.mul(done, stride)), stride]
        # Flags have a stride of one; a header is the same for all.
        tail = body.at(last, done) if last.type == POINTER else last
        with builder.if_then(builder.icmp_unsigned("!=", share, number(0))):
            builder.call(function, [request, share, size, *moved, tail])
        done = builder.add(done, share)
    builder.ret_void()


def _copy_function(made: ir.Module) -> ir.Function:
    """Return `void copy(target, source, size)` for less than 64 bytes."""
    function = ir.Function(
        made, ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64]), "copy"
    )
    function.linkage = "internal"
    body = Body(function)
    builder = body.builder
    target, source, size = function.args
    done: ir.Value = number(0)
    for unit in (32, 16, 8, 4, 2, 1):
        kind = ir.IntType(8 * unit)
        part = builder.and_(size, number(unit))
        with builder.if_then(builder.icmp_unsigned("!=", part, number(0))):
            body.store(body.load(kind, body.at(source, done)), body.at(target, done))
        done = builder.add(done, part)
    builder.ret_void()
    return function
