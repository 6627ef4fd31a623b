"""The program that an image is made of: all functions that a node calls, in one module."""

from collections.abc import Sequence

from llvmlite import ir

from wgpy.kernels import aead, joining, splitting, totals


def module(widths: Sequence[int], triple: str) -> str:
    """Return `seal`, `open`, `split` and `join`; `widths` are the AEAD's groups, falling."""
    made = ir.Module("kernels")
    made.triple = triple
    aead.add_to(made, widths)
    total, copied = (totals.function(made, copying=copying) for copying in (False, True))
    splitting.add_to(made, total, copied)
    joining.add_to(made, total, copied)
    return str(made)
