"""What the ports of a node could not pass on, by reason; told with the drops."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# What reads and writes say of a deleted interface; on a read EFAULT is one that goes just now.
GONE: Final = frozenset({errno.EBADFD, errno.ENODEV, errno.EIO, errno.EFAULT})
# The kernel's words for "not from this source": the address or the interface went away, or
# the route leads elsewhere.
SOURCE_ERRORS: Final = frozenset({
    errno.EINVAL,
    errno.EADDRNOTAVAIL,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENODEV,
    errno.ENXIO,
})  # fmt: skip

_NO_BUFFER: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM})


@dataclass(slots=True)
class TunCounters:
    """Packets for the host that the kernel did not take, and reads that failed."""

    down: int = 0
    refused: int = 0
    no_buffer: int = 0
    gone: int = 0
    read_errors: int = 0

    def count(self, code: int | None) -> None:
        """Count a packet that the kernel refused; `code` is the errno."""
        if code == errno.EIO:
            self.down += 1
        elif code in _NO_BUFFER:
            self.no_buffer += 1
        elif code in GONE:
            self.gone += 1
        else:
            self.refused += 1

    def drops(self) -> Iterator[tuple[str, int]]:
        """Yield reason and number of each kind that there was."""
        yield from _above_zero(
            {
                "for the host, but the interface was down": self.down,
                "for the host, which did not take it for a packet": self.refused,
                "for the host, which had no memory for it": self.no_buffer,
                "for the host, but the interface was gone": self.gone,
                "from the host, but could not be read": self.read_errors,
            }
        )


@dataclass(slots=True)
class UdpCounters:
    """Datagrams that were not sent, by reason, and faults of receiving.

    `source_retries` and `segment_refusals` cost nothing: what met them was sent otherwise.
    """

    backlog_dropped: int = 0
    too_big: int = 0
    not_permitted: int = 0
    no_buffer: int = 0
    unreachable: int = 0
    no_socket: int = 0
    other: int = 0
    source_retries: int = 0
    segment_refusals: int = 0
    receive_errors: int = 0

    def count(self, code: int | None, datagrams: int) -> None:
        """Count datagrams that the kernel refused; `code` is the errno."""
        if code == errno.EMSGSIZE:
            self.too_big += datagrams
        elif code in (errno.EPERM, errno.EACCES):
            self.not_permitted += datagrams
        elif code in _NO_BUFFER:
            self.no_buffer += datagrams
        elif code in SOURCE_ERRORS:
            self.unreachable += datagrams
        else:
            self.other += datagrams

    def drops(self) -> Iterator[tuple[str, int]]:
        """Yield reason and number of each kind that there was."""
        yield from _above_zero(
            {
                "not sent: the socket was full for too long": self.backlog_dropped,
                "not sent: larger than a datagram, or the way, can be": self.too_big,
                "not sent: a firewall of this host forbids it": self.not_permitted,
                "not sent: the kernel had no memory for it": self.no_buffer,
                "not sent: no route to the endpoint": self.unreachable,
                "not sent: no socket of the endpoint's address family": self.no_socket,
                "not sent: refused by the kernel": self.other,
                "not received: the socket failed": self.receive_errors,
            }
        )


def _above_zero(counts: dict[str, int]) -> Iterator[tuple[str, int]]:
    return ((reason, count) for reason, count in counts.items() if count)
