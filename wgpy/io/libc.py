"""Calls of the C library that this Python has no function for.

ctypes is loaded at the first call, not with the module: short programs have no use for it.
"""

import os
from collections.abc import Callable
from functools import cache


def call(name: str, *arguments: int | bytes | None) -> int:
    """Call `name` with C ints and pointers to bytes (None is a null pointer).

    A result of -1 is the failure.

    Raises:
        OSError: the call failed.
    """
    function, errno_of = _function(name)
    result = function(*arguments)
    if result == -1:
        code = errno_of()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


@cache
def _function(name: str) -> tuple[Callable[..., int], Callable[[], int]]:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)[name], ctypes.get_errno
