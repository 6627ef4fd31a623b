"""UdpPort and TunPort: the two things the world must provide.

Both are non-blocking and work in bursts: `receive` returns what is there now, up to a bound
(maybe nothing), `send` sends, keeps or drops what the kernel does not take, and never raises
for one packet. What `receive` returned is valid until the next `receive` of the same port;
`send` has sent or copied its input when it returns.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from wgpy.model import Burst, Local, TunBurst

# Reads that one `receive` makes at most, so that timers and the other ports get their turn.
READS: Final = 64


class UdpPort(Protocol):
    """The bound UDP sockets of a node (IPv4 and IPv6 on one port), or their twin in memory."""

    # Called with a source address that the kernel no longer sends from.
    source_lost: Callable[[Local], None]

    def filenos(self) -> tuple[int, ...]:
        """Return the descriptors to wait on."""

    def receive(self, fileno: int, reads: int = READS) -> list[Burst]:
        """Return what has arrived at one of them, by `reads` reads at most."""

    def send(self, bursts: Sequence[Burst]) -> None:
        """Send in order; what the kernel cannot take now is kept, up to a bound."""

    def blocked(self) -> tuple[int, ...]:
        """Return the descriptors that hold unsent datagrams and wait to be writable."""

    def flush(self, fileno: int) -> None:
        """Send what is kept for a descriptor that is writable again."""


class TunPort(Protocol):
    """A TUN interface, or its twin in memory."""

    def fileno(self) -> int:
        """Return the descriptor to wait on."""

    def receive(self, reads: int = READS) -> list[TunBurst]:
        """Return packets that the host wants sent, by `reads` reads at most.

        Raises:
            EOFError: the interface is gone for good.
        """

    def send(self, packets: Sequence[TunBurst]) -> None:
        """Hand packets to the host, in order; drop and count what it does not take."""
