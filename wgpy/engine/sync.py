"""What `wg syncconf` means: from a running device to the wanted one (wg(8))."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from wgpy.model import (
    NO_KEY,
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    PeerChange,
    PeerStatus,
    Prefix,
    PublicKey,
)

_Owned: TypeAlias = Mapping[PublicKey, tuple[Prefix, ...]]


def sync(wanted: DeviceChange, present: DeviceStatus) -> DeviceChange | None:
    """Return the smallest change to a running device, None if there is none.

    Peers that stay keep their sessions; a listen port, mark or endpoint that `wanted` leaves
    open stays as it is.
    """
    there = {peer.public_key: peer for peer in present.peers}
    allowed = allowed_after(wanted.peers)
    gone = [PeerChange(key, remove=True) for key in there if key not in allowed]
    changed = [
        change
        for peer in wanted.peers
        if (change := _sync_peer(peer, allowed, there.get(peer.public_key))) is not None
    ]
    key = wanted.private_key
    found = DeviceChange(
        private_key=key if key != (present.private_key or NO_KEY) else None,
        listen_port=_differs(wanted.listen_port or None, present.listen_port),
        fwmark=_differs(wanted.fwmark, present.fwmark),
        peers=(*gone, *changed),
    )
    return None if found == DeviceChange(peers=()) else found


def restore(status: DeviceStatus) -> DeviceChange:
    """Return the change whose `sync` leads back to a state; endpoints learned since stay."""
    return DeviceChange(
        private_key=status.private_key or NO_KEY,
        listen_port=status.listen_port,
        fwmark=status.fwmark,
        peers=tuple(
            PeerChange(
                peer.public_key,
                preshared_key=peer.preshared_key,
                endpoint=peer.endpoint,
                persistent_keepalive=peer.persistent_keepalive,
                replace_allowed_ips=True,
                allowed_ips=tuple(map(AllowedIPChange, peer.allowed_ips)),
            )
            for peer in status.peers
        ),
    )


def _sync_peer(
    wanted: PeerChange, owned: _Owned, present: PeerStatus | None
) -> PeerChange | None:
    allowed = owned[wanted.public_key]
    changes = tuple(map(AllowedIPChange, allowed))
    if present is None:
        return replace(wanted, allowed_ips=changes)
    psk, keepalive = wanted.preshared_key or NO_KEY, wanted.persistent_keepalive or 0
    same_allowed = set(allowed) == set(present.allowed_ips)
    change = PeerChange(
        wanted.public_key,
        preshared_key=psk if psk != present.preshared_key else None,
        endpoint=wanted.endpoint if wanted.endpoint != present.endpoint else None,
        persistent_keepalive=_differs(keepalive, present.persistent_keepalive),
        replace_allowed_ips=not same_allowed,
        allowed_ips=() if same_allowed else changes,
    )
    return None if change == PeerChange(wanted.public_key) else change


def allowed_after(peers: Sequence[PeerChange]) -> dict[PublicKey, tuple[Prefix, ...]]:
    """Return who has which prefixes after the changes, made in order: who asks last, wins."""
    owner: dict[Prefix, PublicKey] = {}
    for peer in peers:
        for prefix, remove in peer.allowed_ips:
            if not remove:
                owner[prefix] = peer.public_key
            elif owner.get(prefix) == peer.public_key:
                del owner[prefix]
    blocks: dict[PublicKey, list[Prefix]] = {peer.public_key: [] for peer in peers}
    for prefix, key in owner.items():
        blocks[key].append(prefix)
    return {key: tuple(its) for key, its in blocks.items()}


def _differs(wanted: int | None, present: int) -> int | None:
    return wanted if wanted != present else None
