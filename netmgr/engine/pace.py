"""How often something may be done: so often at once, and once an interval in the long run."""

from typing import Final

_ROUNDING: Final = 1e-6


def spend(due: float, now: float, interval: float, burst: int) -> float | None:
    """Take a token from a bucket; return when it is full again, None if it is empty.

    `due` is what was returned last, in seconds like `interval`; `burst` tokens fit in.
    """
    if due > now + (burst - 1) * interval + _ROUNDING:
        return None
    return max(due, now) + interval


def free_at(due: float, interval: float, burst: int) -> float:
    """Return when there is a token again."""
    return due - (burst - 1) * interval
