"""What a change makes of a running device, a line for each field."""

from collections.abc import Iterator, Sequence

from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    PeerChange,
    PeerStatus,
    Prefix,
)
from wgpy.wire.text import format_endpoint, format_prefix


def differences(change: DeviceChange, status: DeviceStatus) -> Iterator[str]:
    """Yield a line for each field of a device that a change alters; nothing secret."""
    if change.private_key is not None:
        yield "private key changes"
    if change.listen_port is not None:
        yield f"listen port {status.listen_port} -> {change.listen_port}"
    if change.fwmark is not None:
        yield f"fwmark {status.fwmark:#x} -> {change.fwmark:#x}"
    there = {peer.public_key: peer for peer in status.peers}
    for peer in change.peers:
        present = there.get(peer.public_key)
        if peer.remove:
            yield f"- peer {peer.public_key.short}"
        elif present is None:
            yield _line(f"+ peer {peer.public_key.short}", _told(peer))
        else:
            yield _line(f"peer {peer.public_key.short}", _altered(peer, present))


def _line(head: str, parts: Iterator[str]) -> str:
    text = ", ".join(parts)
    return f"{head}: {text}" if text else head


def _told(peer: PeerChange) -> Iterator[str]:
    if peer.preshared_key is not None:
        yield "preshared key"
    if peer.endpoint is not None:
        yield f"endpoint {format_endpoint(peer.endpoint)}"
    if peer.allowed_ips:
        yield f"allowed ips {' '.join(map(format_prefix, _prefixes(peer.allowed_ips)))}"
    if peer.persistent_keepalive:
        yield f"persistent keepalive {peer.persistent_keepalive}"


def _altered(peer: PeerChange, present: PeerStatus) -> Iterator[str]:
    if peer.preshared_key is not None:
        yield "preshared key changes"
    if peer.endpoint is not None:
        old = "none" if present.endpoint is None else format_endpoint(present.endpoint)
        yield f"endpoint {old} -> {format_endpoint(peer.endpoint)}"
    if peer.replace_allowed_ips:
        wanted = _prefixes(peer.allowed_ips)
        asked, held = set(wanted), set(present.allowed_ips)
        added = [f"+{format_prefix(each)}" for each in wanted if each not in held]
        gone = [f"-{format_prefix(each)}" for each in present.allowed_ips if each not in asked]
        yield f"allowed ips {' '.join((*added, *gone))}"
    if peer.persistent_keepalive is not None:
        old_seconds, seconds = present.persistent_keepalive, peer.persistent_keepalive
        yield f"persistent keepalive {old_seconds} -> {seconds}"


def _prefixes(changes: Sequence[AllowedIPChange]) -> list[Prefix]:
    return [prefix for prefix, remove in changes if not remove]
