"""Two interfaces that set the same thing: what the one that goes leaves to the other."""

from collections.abc import Sequence
from dataclasses import replace

from wgpy.hostmodel import Recorded, SetDns, SetSysctl


def hand_over(done: Sequence[Recorded], other: Sequence[Recorded]) -> tuple[Recorded, ...]:
    """Return `other`, the record of an interface that stays, with what it must restore later.

    Where two interfaces set the same thing, the one that came later found the other's value as
    the old one. If the earlier goes first, its own old value passes to the later.
    """
    return tuple(_inherit(change, done) for change in other)


def still_needed(change: Recorded, others: Sequence[Recorded]) -> bool:
    """Return whether undoing a change would pull it from under another interface."""
    if isinstance(change, SetSysctl):
        names = {other.name for other in others if isinstance(other, SetSysctl)}
        return change.name in names
    return False


def _inherit(change: Recorded, done: Sequence[Recorded]) -> Recorded:
    for ours in done:
        if isinstance(change, SetSysctl) and isinstance(ours, SetSysctl):
            # Who found the value set already was not the first.
            if change.name == ours.name and ours.old != ours.value:
                return replace(change, old=ours.old)
        elif (
            isinstance(change, SetDns)
            and isinstance(ours, SetDns)
            and change.old == ours.file_text()
        ):
            return replace(change, old=ours.old)
    return change
