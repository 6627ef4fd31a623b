"""The handshake of one peer: Noise_IKpsk2 as WireGuard uses it (paper 5.4.2, 5.4.3, 5.4.5).

Only two states outlive a call. `Zeroed`: nothing under way. `InitiationSent`: we wait for a
response to the index we chose. A responder consumes an initiation, creates the response and has
its keys within one call, which leaves the state alone: whether an initiation of our own still
counts afterwards is the caller's decision. The newest timestamp and the time of the last
initiation survive all of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from wgpy.engine import constants
from wgpy.engine.crypto import EphemeralKey, StaticKey
from wgpy.engine.noise import NoiseHandshake
from wgpy.errors import Drop, Rejected
from wgpy.model import Secret
from wgpy.wire.messages import Initiation, Response, split_initiation, split_response
from wgpy.wire.tai64n import NEVER, next_timestamp

IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"


class TransportKeys(NamedTuple):
    """The outcome of a handshake: a key each way and the index the other side chose."""

    send: bytes
    receive: bytes
    remote_index: int

    def __repr__(self) -> str:
        return f"TransportKeys(hidden, remote_index={self.remote_index:#010x})"


@dataclass(frozen=True, slots=True)
class Zeroed:
    """No handshake is under way."""


@dataclass(frozen=True, slots=True)
class InitiationSent:
    """Our initiation is out; a response must name `local_index`."""

    noise: NoiseHandshake
    local_index: int


State: TypeAlias = Zeroed | InitiationSent
ZEROED: Final = Zeroed()


class OpenedInitiation(NamedTuple):
    """A decrypted initiation: who sent it is proven, that it is new is not."""

    noise: NoiseHandshake
    timestamp: bytes
    sender: int

    @property
    def remote_static(self) -> bytes:
        """The static public key of the sender."""
        return self.noise.remote_static


def open_initiation_untrusted(
    static: StaticKey, message: Initiation, admits: Callable[[bytes], bool] | None = None
) -> OpenedInitiation:
    """Decrypt an initiation that anybody may have sent.

    `admits` is asked whether the public key it names is a peer's: a stranger costs one
    exchange.

    Raises:
        Rejected: NOT_AUTHENTIC; UNKNOWN_PEER if it is not admitted.
    """
    noise = NoiseHandshake.as_responder(static, IDENTIFIER)
    timestamp = noise.read(message.noise, admits)
    return OpenedInitiation(noise, timestamp, message.sender)


class Handshake:
    """Where the handshake with one peer stands."""

    def __init__(self, remote: bytes) -> None:
        self._remote = remote
        self.state: State = ZEROED
        self._latest_timestamp = NEVER
        self._sent_timestamp = NEVER
        self._consumed_at = float("-inf")

    def clear(self) -> None:
        """Forget the handshake under way; what protects from replays is kept."""
        self.state = ZEROED

    def create_initiation(
        self, static: StaticKey, local_index: int, entropy: bytes, unix_nanoseconds: int
    ) -> Initiation:
        """Begin: return the first message without its MACs.

        Its timestamp is later than that of the last one even if the wall clock stepped back.

        Raises:
            Rejected: the peer's public key has a low order; it can never be reached.
        """
        noise = NoiseHandshake.as_initiator(
            static, EphemeralKey(entropy), self._remote, IDENTIFIER
        )
        self._sent_timestamp = next_timestamp(self._sent_timestamp, unix_nanoseconds)
        ephemeral, sealed_static, sealed_timestamp = split_initiation(
            noise.write(self._sent_timestamp)
        )
        self.state = InitiationSent(noise, local_index)
        return Initiation(local_index, ephemeral, sealed_static, sealed_timestamp)

    def accept(self, opened: OpenedInitiation, now: float) -> None:
        """Check that an initiation of this peer is new and not too soon; note that it came.

        The caller decides whether the handshake under way, if any, goes on.

        Raises:
            Rejected: OLD_TIMESTAMP or HANDSHAKE_FLOOD.
        """
        if opened.timestamp <= self._latest_timestamp:
            raise Rejected(Drop.OLD_TIMESTAMP)
        if now - self._consumed_at < 1 / constants.INITIATIONS_PER_SECOND:
            raise Rejected(Drop.HANDSHAKE_FLOOD)
        self._latest_timestamp = opened.timestamp
        self._consumed_at = now

    def create_response(
        self, opened: OpenedInitiation, local_index: int, entropy: bytes, psk: Secret
    ) -> tuple[Response, TransportKeys]:
        """Answer an accepted initiation: return the message without its MACs, and the keys.

        It cannot fail: with a key of low order the initiation would not have opened.
        """
        noise = opened.noise
        noise.set_ephemeral(EphemeralKey(entropy))
        noise.set_psk(psk.reveal())
        ephemeral, empty = split_response(noise.write(b""))
        send, receive = noise.transport_keys()
        response = Response(local_index, opened.sender, ephemeral, empty)
        return response, TransportKeys(send, receive, opened.sender)

    def consume_response(self, message: Response, psk: Secret) -> TransportKeys:
        """Finish the handshake we began.

        Raises:
            Rejected: UNKNOWN_INDEX if it answers nothing of ours, NOT_AUTHENTIC; in both cases
                nothing changes.
        """
        match self.state:
            case InitiationSent(noise, local_index) if local_index == message.receiver:
                noise.set_psk(psk.reveal())
                noise.read(message.noise)
                self.state = ZEROED
                send, receive = noise.transport_keys()
                return TransportKeys(send, receive, message.sender)
            case InitiationSent() | Zeroed():
                raise Rejected(Drop.UNKNOWN_INDEX)
