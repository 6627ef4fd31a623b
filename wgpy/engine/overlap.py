"""Addresses of a tunnel that clash with what other interfaces of the host have."""

from collections.abc import Iterator

from wgpy.hostmodel import HostState, Wanted
from wgpy.wire.text import covers, format_prefix, mask


def taken(wanted: Wanted, present: HostState) -> Iterator[str]:
    """Yield a line for each address wanted that another interface has already."""
    for address in wanted.addresses:
        for name, theirs in present.neighbours:
            if theirs.address == address.address:
                ours = format_prefix(address)
                yield f"address {ours} is taken: {name} has {format_prefix(theirs)}"


def shared(wanted: Wanted, present: HostState) -> Iterator[str]:
    """Yield a line for each subnet wanted that overlaps one of another interface."""
    for address in wanted.addresses:
        ours = mask(*address)
        for name, theirs in present.neighbours:
            other = mask(*theirs)
            if covers(ours, other) or covers(other, ours):
                yield (
                    f"{format_prefix(address)} overlaps {format_prefix(theirs)} of {name}: "
                    "what is meant for one may go to the other"
                )
