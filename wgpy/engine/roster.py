"""The peers of a device, their prefixes, and what a change of configuration does to them.

The semantics of the kernel's netlink.c: keys, prefixes that move between peers, a peer that has
our own key, keepalives that start at once.
"""

from wgpy.engine import constants
from wgpy.engine.allowedips import AllowedIPs
from wgpy.engine.common import Common
from wgpy.engine.crypto import StaticKey
from wgpy.engine.peer import Peer
from wgpy.errors import ConfigError
from wgpy.model import DeviceChange, PeerChange, PeerStatus, PublicKey, Secret


class Roster:
    """Who the peers are and which addresses are theirs."""

    def __init__(self, common: Common[Peer]) -> None:
        self.peers: dict[PublicKey, Peer] = {}
        self.routes: AllowedIPs[Peer] = AllowedIPs()
        self._common = common

    def check(self, change: DeviceChange) -> None:
        """Refuse what cannot be applied.

        Raises:
            ConfigError: too many peers, or a number out of range.
        """
        _check_range("listen port", change.listen_port, constants.MAX_PORT)
        _check_range("fwmark", change.fwmark, constants.MAX_FWMARK)
        for peer in change.peers:
            interval = peer.persistent_keepalive
            _check_range("persistent keepalive", interval, constants.MAX_PERSISTENT_KEEPALIVE)
        present = set() if change.replace_peers else self.peers.keys()
        if len(present | {peer.public_key for peer in change.peers}) > constants.MAX_PEERS:
            raise ConfigError(f"a device has at most {constants.MAX_PEERS} peers")

    def apply(self, change: DeviceChange, now: float) -> dict[Peer, None]:
        """Apply a checked change; return all peers whose deadlines may have moved.

        In the order met; the dict is used as an ordered set.
        """
        touched: dict[Peer, None] = {}
        if change.private_key is not None:
            touched |= self._set_identity(change.private_key)
        if change.replace_peers:
            for public_key in list(self.peers):
                touched |= self._remove(public_key)
        for peer_change in change.peers:
            touched |= self._apply_to_peer(peer_change, now)
        return touched

    def status(self) -> tuple[PeerStatus, ...]:
        """Return all peers as they are, in the order they were added."""
        return tuple(
            PeerStatus(
                public_key=peer.public_key,
                preshared_key=peer.preshared_key,
                endpoint=peer.path.endpoint,
                last_handshake=peer.traffic.last_handshake,
                rx_bytes=peer.traffic.rx_bytes,
                tx_bytes=peer.traffic.tx_bytes,
                persistent_keepalive=peer.persistent_keepalive,
                allowed_ips=tuple(self.routes.prefixes(peer)),
            )
            for peer in self.peers.values()
        )

    def _set_identity(self, secret: Secret) -> dict[Peer, None]:
        static = None if secret.is_zero else StaticKey(secret)
        old = self._common.static
        if (old and old.public) == (static and static.public):
            return {}
        self._common.static = static
        touched = self._remove(static.public) if static else {}
        for public_key, peer in self.peers.items():
            if static is not None:
                static.remember(public_key)
            peer.identity_changed()
            touched[peer] = None
        return touched

    def _apply_to_peer(self, change: PeerChange, now: float) -> dict[Peer, None]:
        static = self._common.static
        if change.remove:
            return self._remove(change.public_key)
        peer = self.peers.get(change.public_key)
        if peer is None:
            if change.update_only or (static and static.public == change.public_key):
                return {}
            peer = self.peers[change.public_key] = Peer(change.public_key, self._common)
            if static is not None:
                static.remember(change.public_key)
        if change.preshared_key is not None:
            peer.preshared_key = change.preshared_key
        if change.endpoint is not None:
            peer.set_endpoint(change.endpoint)
        self._change_allowed_ips(peer, change)
        if change.persistent_keepalive is not None:
            peer.set_persistent_keepalive(change.persistent_keepalive, now)
        if self._common.up:
            peer.flush(now)
        return {peer: None}

    def _change_allowed_ips(self, peer: Peer, change: PeerChange) -> None:
        if change.replace_allowed_ips:
            self.routes.remove_owner(peer)
        for prefix, remove in change.allowed_ips:
            if remove:
                self.routes.remove(prefix, peer)
            else:
                self.routes.insert(prefix, peer)

    def _remove(self, public_key: PublicKey) -> dict[Peer, None]:
        peer = self.peers.pop(public_key, None)
        if peer is None:
            return {}
        self.routes.remove_owner(peer)
        peer.went_down("the peer was removed")
        if self._common.static is not None:
            self._common.static.forget(public_key)
        return {peer: None}


def _check_range(what: str, value: int | None, most: int) -> None:
    if value is not None and not 0 <= value <= most:
        raise ConfigError(f"{what} {value} is none of 0 to {most}")
