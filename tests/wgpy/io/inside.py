"""Run the test itself inside a network namespace for a moment."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000


@contextmanager
def inside(ns: str) -> Iterator[None]:
    """Move this thread into `ns`; what is opened meanwhile stays there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    target = os.open(Path("/run/netns") / ns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(target)
        yield
    finally:
        enter(home)
        os.close(target)
        os.close(home)


def enter(fd: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
