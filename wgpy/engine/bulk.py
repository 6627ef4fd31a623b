"""What the packet path wants done to many packets at once: one call a burst, not one a packet.

The engine decides, kernels compute. They are injected; without them every packet goes singly.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from wgpy.model import Buffer, Heads, Opened, Segments, TunBurst

Sealed: TypeAlias = tuple[Buffer, int]


class Cipher(Protocol):
    """One key of a session, for bursts (paper 5.4.6)."""

    def seal(
        self,
        burst: TunBurst | Opened,
        segments: Segments,
        receiver: int,
        counter: int,
        mtu: int,
    ) -> Sealed:
        """Return a data message for each packet of what was measured.

        They lie end to end; the number is the size of all but the last. A burst for another
        peer, alike, has its padding already.
        """

    def seal_equal(
        self, packets: Sequence[Buffer], receiver: int, counter: int, mtu: int
    ) -> Sealed | None:
        """Return a data message for each of some packets, end to end, and the size of each.

        None if they are not of one size, or not worth it.
        """

    def open(self, payload: Buffer, segment_size: int, counters: Sequence[int]) -> Opened:
        """Return the plaintexts of the data messages of a burst that had `Heads`."""


class Kernels(Protocol):
    """The operations on bursts that need no key."""

    def cipher(self, key: bytes) -> Cipher:
        """Return a key ready for use."""

    def measure_untrusted(self, burst: TunBurst | Opened) -> Segments:
        """Return what packets a super packet of the host, or a burst for a peer, is.

        Raises:
            Rejected: MALFORMED.
        """

    def segment(self, burst: TunBurst | Opened) -> list[Buffer]:
        """Return the packets of a super packet or burst that was measured."""

    def complete(self, burst: TunBurst) -> Buffer:
        """Return one packet of the host with its checksum filled in."""

    def heads_untrusted(self, payload: Buffer, segment_size: int) -> Heads | None:
        """Return the heads of a burst; None unless all are data for one receiver."""

    def merge(self, opened: Opened) -> TunBurst | None:
        """Return all plaintexts as one super packet; None if they are not one flow in order.

        With one, the plaintexts but the first are used up.
        """

    def are_alike_untrusted(self, opened: Opened) -> bool:
        """Tell whether all rows are IP packets that a router would treat alike.

        All have a size above 0. With True, all are sound, and their padding is short and zero.
        """

    def take_hop(self, opened: Opened) -> None:
        """Lower the hop limit of rows that are alike by one; it is 1 at least."""

    def coalesce(self, packets: Sequence[Buffer]) -> list[TunBurst]:
        """Return packets for the host as fewer, larger ones."""


class Ciphers:
    """The two keys of a session, made ready by whatever kernels are in use."""

    __slots__ = ("_keys", "_made")

    def __init__(self, send: bytes, receive: bytes) -> None:
        self._keys = send, receive
        self._made: tuple[Kernels, Cipher, Cipher] | None = None

    def by(self, kernels: Kernels) -> tuple[Cipher, Cipher]:
        """Return what sends and what receives."""
        if self._made is None or self._made[0] is not kernels:
            send, receive = self._keys
            self._made = kernels, kernels.cipher(send), kernels.cipher(receive)
        return self._made[1:]
