"""Addresses of a tunnel that clash with what other interfaces of the host have."""

from collections.abc import Iterator

from wgpy.hostmodel import HostState, Wanted
from wgpy.model import InterfaceAddress
from wgpy.wire.text import covers, format_address, mask


def taken(wanted: Wanted, present: HostState) -> Iterator[str]:
    """Yield a line for each address wanted that another interface has already."""
    for address in wanted.addresses:
        for name, theirs in present.neighbours:
            if theirs.address == address.address:
                yield f"address {_text(address)} is taken: {name} has {_text(theirs)}"


def shared(wanted: Wanted, present: HostState) -> Iterator[str]:
    """Yield a line for each subnet wanted that overlaps one of another interface."""
    for address in wanted.addresses:
        ours = mask(*address)
        for name, theirs in present.neighbours:
            other = mask(*theirs)
            if covers(ours, other) or covers(other, ours):
                yield (
                    f"{_text(address)} overlaps {_text(theirs)} of {name}: "
                    "what is meant for one may go to the other"
                )


def _text(address: InterfaceAddress) -> str:
    return f"{format_address(address.address)}/{address.length}"
