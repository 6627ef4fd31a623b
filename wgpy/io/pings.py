"""Echo requests of this process, one after the other, each with its own time for its answer.

`ping -f` ends two round trips after its last request, so that an answer a few milliseconds
late, from a busy machine, counts as lost.
"""

import socket
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Final

from wgpy.io import clock, namespaces
from wgpy.wire.echo import is_reply_untrusted, request

MARK_SIZE: Final = 8
_REPLY_SIZE: Final = 2**16


def pings(
    namespace: str | None,
    address: str,
    count: int,
    *,
    size: int = 56,
    patience: float = 1.0,
) -> Iterator[float]:
    """Yield the seconds of each echo that came back; the next is sent as soon as it is there.

    Needs CAP_NET_RAW. A request that cannot be sent, or that ICMP says is not delivered, is
    lost like one without an answer.

    Args:
        namespace: where to send from; None is where this thread is.
        address: of either family.
        count: how many requests.
        size: bytes of each after the header, `MARK_SIZE` at least.
        patience: seconds that each answer may take.

    Raises:
        OSError: no raw socket, or no such namespace.
    """
    v6 = ":" in address
    with nullcontext() if namespace is None else namespaces.inside(namespace):
        echo = _echo_socket(v6=v6)
    with echo:
        for sequence in range(count):
            mark = clock.entropy(MARK_SIZE)
            began = clock.now()
            try:
                echo.connect((address, 0))
                echo.send(request(sequence, bytes(size - MARK_SIZE) + mark, v6=v6))
                answered = _answered(echo, mark, began + patience, v6=v6)
            except OSError:
                continue
            if answered:
                yield clock.now() - began


def _echo_socket(*, v6: bool) -> socket.socket:
    if v6:
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _answered(echo: socket.socket, mark: bytes, deadline: float, *, v6: bool) -> bool:
    """Return whether the reply with a mark comes before the deadline; others are passed over.

    Raises:
        OSError: ICMP says that the request is not delivered.
    """
    while (left := deadline - clock.now()) > 0:
        echo.settimeout(left)
        try:
            reply = echo.recv(_REPLY_SIZE)
        except TimeoutError:
            return False
        if is_reply_untrusted(reply, mark, v6=v6):
            return True
    return False
