"""What a device reports: values for whoever embeds or logs it."""

from dataclasses import dataclass
from typing import TypeAlias

from wgpy.errors import Drop
from wgpy.model import Endpoint, Local, PublicKey


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """A new session is confirmed; `initiator` tells whether we began it."""

    peer: PublicKey
    endpoint: Endpoint | None
    initiator: bool


@dataclass(frozen=True, slots=True)
class HandshakeGaveUp:
    """REKEY_ATTEMPT_TIME went by without an answer; staged packets were dropped."""

    peer: PublicKey


@dataclass(frozen=True, slots=True)
class HandshakeSent:
    """An initiation is out, the `attempt`-th since the peer was last in touch.

    Without an endpoint it went nowhere.
    """

    peer: PublicKey
    endpoint: Endpoint | None
    attempt: int


@dataclass(frozen=True, slots=True)
class HandshakeAnswered:
    """An initiation of the peer was found good and answered; no data proves it arrived."""

    peer: PublicKey
    endpoint: Endpoint | None


@dataclass(frozen=True, slots=True)
class HandshakeUnanswered:
    """Initiations have gone out for that many seconds without a valid answer; they go on."""

    peer: PublicKey
    endpoint: Endpoint | None
    seconds: float


@dataclass(frozen=True, slots=True)
class MessageRejected:
    """Something was dropped that may tell why a tunnel does not work; a sample, not each.

    `remote` is where it came from, None if from the host. `peer` is who sent it or was to get
    it, as far as that is proven; with UNKNOWN_PEER it is no peer, and only named. `inner` is
    the packed address in the tunnel that has no place: the source of a peer's packet, the
    destination of the host's and of what is relayed.
    """

    drop: Drop
    remote: Endpoint | None = None
    peer: PublicKey | None = None
    inner: bytes | None = None


@dataclass(frozen=True, slots=True)
class Roamed:
    """An authenticated packet of the peer came from another address than before."""

    peer: PublicKey
    old: Endpoint | None
    new: Endpoint


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The peer's last keys are gone: expired, replaced, or the peer or interface went."""

    peer: PublicKey
    why: str


@dataclass(frozen=True, slots=True)
class LoadChanged:
    """Handshakes began, or ceased, to need a cookie (paper 5.3)."""

    under_load: bool


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """A datagram with a first byte >= 0x80, which WireGuard does not use; not authenticated."""

    payload: bytes
    remote: Endpoint
    local: Local | None


@dataclass(frozen=True, slots=True)
class InnerReceived:
    """An authenticated payload of a peer whose IP version nibble is neither 4 nor 6."""

    peer: PublicKey
    payload: bytes


@dataclass(frozen=True, slots=True)
class RelayFailed:
    """What we send to a node through relays does not arrive: `failed` was not reached.

    Both are ids of nodes. `failed` is the next after who noticed; the destination itself if we
    know no way.
    """

    destination: bytes
    failed: bytes


Event: TypeAlias = (
    HandshakeCompleted
    | HandshakeGaveUp
    | HandshakeSent
    | HandshakeAnswered
    | HandshakeUnanswered
    | MessageRejected
    | Roamed
    | SessionEnded
    | LoadChanged
    | DatagramReceived
    | InnerReceived
    | RelayFailed
)
