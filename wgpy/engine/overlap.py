"""What clashes: addresses of a tunnel with those of other interfaces, a file with itself."""

from collections.abc import Iterator

from wgpy.engine.crypto import public_key
from wgpy.engine.sync import allowed_after
from wgpy.hostmodel import HostState, Routing, Wanted
from wgpy.model import NO_KEY, Prefix, PublicKey
from wgpy.wire.text import covers, format_address, format_prefix, mask


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


def doubtful(wanted: Wanted) -> Iterator[str]:
    """Yield a line for each thing of a file that cannot work."""
    device = wanted.device
    secret = device.private_key or NO_KEY
    if secret == NO_KEY:
        if not (device.peers or device.listen_port or wanted.addresses):
            yield "the file says nothing: no key, no address, no peer"
            return
        yield "there is no PrivateKey: no peer can be reached; wgpy genkey makes one"
    else:
        ours = public_key(secret)
        if any(peer.public_key == ours for peer in device.peers):
            yield f"peer {ours.short} has the key of this interface: each end needs its own"
    yield from _claimed_twice(wanted)
    if wanted.table is not Routing.OFF:
        yield from _looping(wanted)


def _claimed_twice(wanted: Wanted) -> Iterator[str]:
    first: dict[Prefix, PublicKey] = {}
    for peer in wanted.device.peers:
        for prefix, remove in peer.allowed_ips:
            other = first.setdefault(prefix, peer.public_key)
            if not remove and other != peer.public_key:
                yield (
                    f"allowed ips {format_prefix(prefix)} are those of peer {other.short} and "
                    f"of peer {peer.public_key.short}: the later has them"
                )


def _looping(wanted: Wanted) -> Iterator[str]:
    """Yield endpoints that a route leads into the tunnel; a default route spares them."""
    blocks = {
        prefix
        for its in allowed_after(wanted.device.peers).values()
        for prefix in its
        if prefix.length > 0
    }
    lengths = sorted({prefix.length for prefix in blocks})
    for peer in wanted.device.peers:
        if peer.endpoint is None:
            continue
        host = peer.endpoint.host
        around = (mask(host, length) for length in lengths if length <= len(host) * 8)
        inside = next((block for block in around if block in blocks), None)
        if inside is not None:
            yield (
                f"the endpoint {format_address(host)} of peer {peer.public_key.short} "
                f"is inside the allowed ips {format_prefix(inside)}: unless another route "
                "leads there, what is sent to it goes into the tunnel itself"
            )
