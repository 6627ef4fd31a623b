"""Do without a capability for a moment."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wgpy.io import libc

NET_BROADCAST = 11
NET_ADMIN = 12
VERSION_3 = 0x20080522


@contextmanager
def without(*numbers: int) -> Iterator[None]:
    """Take capabilities out of the effective set of this thread."""
    status = Path("/proc/thread-self/status").read_text()
    lines = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
    effective, permitted, inherited = (
        int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapInh")
    )
    reduced = effective & ~sum(1 << number for number in numbers)
    capset(reduced, permitted, inherited)
    try:
        yield
    finally:
        capset(effective, permitted, inherited)


def capset(*sets: int) -> None:
    low = [value & 0xFFFFFFFF for value in sets]
    high = [value >> 32 for value in sets]
    libc.call("capset", struct.pack("=Ii", VERSION_3, 0), struct.pack("=6I", *low, *high))
