"""A TCP transfer from one network namespace to another, measured where it arrives."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from wgpy.io import clock, namespaces

CHUNK: Final = bytes(2**18)
# Seconds without progress after which a transfer is given up.
PATIENCE: Final = 10.0


def transfer(sender: str | None, receiver: str | None, address: str, seconds: float) -> float:
    """Return the bits per second of a TCP transfer, as the receiver got them.

    Args:
        sender: the namespace that sends; None is the one of this thread.
        receiver: the namespace that the address is in.
        address: where it goes, IPv4 in digits.
        seconds: how long the sender goes on.

    Raises:
        OSError: no connection, or nothing came for a while.
    """
    with _inside(receiver):
        listener = socket.create_server((address, 0))
    with _inside(sender):
        source = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener, source:
        for each in (listener, source):
            each.settimeout(PATIENCE)
        source.connect(listener.getsockname())
        sink, _ = listener.accept()
        thread = threading.Thread(target=_pour, args=(source, clock.now() + seconds))
        thread.start()
        began, count, buffer = clock.now(), 0, bytearray(len(CHUNK))
        with sink:
            sink.settimeout(PATIENCE)
            while received := sink.recv_into(buffer):
                count += received
        thread.join()
    return count * 8 / (clock.now() - began)


@contextmanager
def _inside(namespace: str | None) -> Iterator[None]:
    if namespace is None:
        yield
        return
    with namespaces.inside(namespace):
        yield


def _pour(source: socket.socket, until: float) -> None:
    with suppress(OSError):  # the receiver is gone, or nothing moves: the transfer is over
        while clock.now() < until:
            source.sendall(CHUNK)
        source.shutdown(socket.SHUT_WR)
