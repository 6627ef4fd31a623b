"""What the mesh wants done; the first five are the node's, the others the world's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from wgpy.model import Endpoint, Local, PeerChange, Prefix, PublicKey

# Stands for the admin port in the place of an address of this host.
ADMIN_PORT: Final = Local(b"", 0)


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """Send a message outside of the tunnel, from the UDP port of the node."""

    payload: bytes
    remote: Endpoint
    local: Local | None = None


@dataclass(frozen=True, slots=True)
class SendInner:
    """Send messages in the session of a peer."""

    public_key: PublicKey
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ChangePeers:
    """Change the peers of the WireGuard device."""

    changes: tuple[PeerChange, ...]


@dataclass(frozen=True, slots=True)
class SetDetours:
    """Relay by these tables: who may be handed a message, and the ways to each node."""

    neighbours: Mapping[bytes, PublicKey]
    paths: Mapping[bytes, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Hurry:
    """Let what waits for a session with a peer go out at once: there is a new way to it."""

    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for the addresses of a name; the answer is `Mesh.resolved`."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class CallLan:
    """Send a hello to everybody on the local networks."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Save:
    """What is to survive a restart has changed."""


@dataclass(frozen=True, slots=True)
class SetPrefixes:
    """Let the host send these prefixes, beyond the subnet, into the interface."""

    prefixes: tuple[Prefix, ...]


Effect: TypeAlias = (
    SendDatagram
    | SendInner
    | ChangePeers
    | SetDetours
    | Hurry
    | Resolve
    | CallLan
    | Save
    | SetPrefixes
)
