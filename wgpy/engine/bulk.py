"""What the packet path wants done to many packets at once: one call a burst, not one a packet.

The engine decides, kernels compute. They are injected; without them every packet goes singly.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from wgpy.model import Buffer, TunBurst


class Sealed(NamedTuple):
    """Data messages end to end; all have `segment_size` bytes but the last."""

    payload: Buffer
    segment_size: int


class Heads(NamedTuple):
    """What the data messages of one burst have in common, and their counters."""

    receiver: int
    counters: list[int]


class Opened(NamedTuple):
    """Plaintexts as rows: row i at `i * stride` of `buffer`; its size, -1 if not authentic."""

    buffer: bytearray
    stride: int
    sizes: list[int]

    def row(self, number: int) -> Buffer:
        """Return one plaintext."""
        start = number * self.stride
        return memoryview(self.buffer)[start : start + self.sizes[number]]


class Cipher(Protocol):
    """One key of a session, for bursts (paper 5.4.6)."""

    def seal(self, burst: TunBurst, receiver: int, counter: int, mtu: int) -> Sealed:
        """Return a data message for each packet of a super packet that was counted."""

    def open(self, payload: Buffer, segment_size: int, counters: Sequence[int]) -> Opened:
        """Return the plaintexts of the data messages of a burst that had `Heads`."""


class Kernels(Protocol):
    """The operations on bursts that need no key."""

    def cipher(self, key: bytes) -> Cipher:
        """Return a key ready for use."""

    def count_untrusted(self, burst: TunBurst) -> int:
        """Return how many packets a super packet of the host is.

        Raises:
            Rejected: MALFORMED.
        """

    def segment(self, burst: TunBurst) -> list[Buffer]:
        """Return the packets of a super packet that was counted."""

    def complete(self, burst: TunBurst) -> Buffer:
        """Return one packet of the host with its checksum filled in."""

    def heads_untrusted(self, payload: Buffer, segment_size: int) -> Heads | None:
        """Return the heads of a burst; None unless all are data for one receiver."""

    def merge(self, opened: Opened) -> TunBurst | None:
        """Return all plaintexts as one super packet; None if they are not one flow in order."""

    def coalesce(self, packets: Sequence[Buffer]) -> list[TunBurst]:
        """Return packets for the host as fewer, larger ones."""
