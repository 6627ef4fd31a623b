"""Timestamps of handshakes: TAI64N, 12 bytes (paper 5.4.2).

seconds since 1970 TAI plus 2^62, u64 | nanoseconds, u32; both big-endian

Bytes therefore compare as times. Nanoseconds are rounded down to ticks of 2^24 ns (16.8 ms), as
the kernel does, so that a timestamp tells little of the clock it was read from.
"""

from struct import Struct
from typing import Final

TIMESTAMP_SIZE: Final = 12
# Before every other: what a peer is compared with that has sent none.
NEVER: Final = bytes(TIMESTAMP_SIZE)
TICK_NS: Final = 2**24
SECOND_NS: Final = 1_000_000_000

_TIMESTAMP: Final = Struct(">Q I")
# TAI was ten seconds ahead of UTC in 1970; leap seconds since are left out by all.
_UNIX_EPOCH: Final = 2**62 + 10


def encode(unix_nanoseconds: int) -> bytes:
    """Return the timestamp of a Unix time in nanoseconds, rounded down to a tick."""
    seconds, nanoseconds = divmod(unix_nanoseconds, SECOND_NS)
    return _TIMESTAMP.pack(_UNIX_EPOCH + seconds, nanoseconds - nanoseconds % TICK_NS)


def next_timestamp(previous: bytes, unix_nanoseconds: int) -> bytes:
    """Return the timestamp of now, or the tick after `previous` where that is not later.

    A peer takes no initiation whose timestamp is not after the last one's: a clock that steps
    back must not lock this node out. `previous` is this node's own, NEVER at first.
    """
    seconds, nanoseconds = _TIMESTAMP.unpack(previous)
    nanoseconds += TICK_NS
    if nanoseconds >= SECOND_NS:
        seconds, nanoseconds = seconds + 1, 0
    return max(encode(unix_nanoseconds), _TIMESTAMP.pack(seconds, nanoseconds))
