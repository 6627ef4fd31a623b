"""What the mesh reports, for logs, people and tests."""

from dataclasses import dataclass
from typing import TypeAlias

from netmgr.errors import Reason
from netmgr.model import RefusalView
from wgpy.model import Endpoint


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node is known and believed; `fingerprint` is that of its identity."""

    name: str
    address: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node said goodbye, or is forgotten."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class NodePinned:
    """The first session with a node: its name and address are its own from now on."""

    name: str
    address: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class WayChanged:
    """Traffic to a node takes another way; texts for people, "nowhere" if there is none."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class ClaimRefused:
    """An identity claims what is not its own; told once for each claim.

    `is_ours` says that it is this node's own name or address.
    """

    name: str
    address: str
    fingerprint: str
    reason: Reason
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class NodeRefused:
    """Others refuse this node; told once for each identity that it loses to."""

    refusal: RefusalView


@dataclass(frozen=True, slots=True)
class RouteRefused:
    """A node offers a prefix that it may not."""

    name: str
    prefix: str
    why: str


@dataclass(frozen=True, slots=True)
class PrefixClosed:
    """Packets for a prefix go nowhere: none of the nodes that the file names is reached."""

    prefix: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PrefixOpened:
    """Packets for a prefix that was closed go through a node again."""

    prefix: str
    name: str


@dataclass(frozen=True, slots=True)
class SeedSilent:
    """A static peer has not answered for that many seconds; it is knocked at for ever."""

    place: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ObservedAt:
    """Others see this node at an endpoint that it did not know of."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class TwinSeen:
    """Somebody else runs with this node's identity; `silent` if this one stops talking."""

    silent: bool


Event: TypeAlias = (
    NodeJoined
    | NodeLeft
    | NodePinned
    | WayChanged
    | ClaimRefused
    | NodeRefused
    | RouteRefused
    | PrefixClosed
    | PrefixOpened
    | SeedSilent
    | ObservedAt
    | TwinSeen
)
