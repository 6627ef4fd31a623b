"""The two faults: the remote's and ours. Anything else that an engine raises is a bug.

WireGuardError
  Rejected       the remote sent what it must not; counted by the engine, never leaves it
  ConfigError    the caller asked for what cannot be; one line that says what to do
    UsageError   by the words of the command line or the environment
    ToldError    and a process that was started has said so already
"""

from enum import Enum
from errno import EINVAL


class Drop(Enum):
    """Why a packet or message was dropped; each has its counter, the value is its text."""

    MALFORMED = "wrong length or type"
    BAD_MAC1 = "first MAC does not verify"
    COOKIE_DEMANDED = "answered with a cookie: under load"
    RATE_LIMITED = "handshakes from one source too fast"
    HANDSHAKE_QUEUE_FULL = "too many handshakes waiting"
    UNKNOWN_INDEX = "receiver index not ours"
    UNKNOWN_PEER = "handshake from a key that is no peer"
    NOT_AUTHENTIC = "does not decrypt"
    OLD_TIMESTAMP = "handshake replayed, or the sender's clock stepped back"
    HANDSHAKE_FLOOD = "initiations of one peer too fast"
    KEY_EXPIRED = "session too old"
    REPLAYED = "data packet replayed or too late"
    BAD_INNER = "decrypted to no IP packet"
    NOT_ALLOWED = "inner source not allowed for the peer"
    NO_PEER = "no peer has the destination in its allowed IPs"
    NO_ENDPOINT = "endpoint of the peer unknown"
    MARTIAN = "from an address of ours or of no host, to another peer"
    HOP_LIMIT = "hop limit reached on the way to another peer"
    TOO_BIG = "too big for the way to another peer"
    LOOPED = "a datagram of ours, led back into its own tunnel by a route"
    NOT_IP = "packet of the host is not IP"
    NO_KERNELS = "super packet of the host, left by who served the interface before"
    STAGED_OVERFLOW = "too many packets waiting for a handshake"
    NO_DETOUR = "no way through relays to the peer is known"
    NO_RELAY = "no session with the next on the way through relays"
    NOT_CARRIED = "to be relayed sealed, which this node does not do"
    BAD_DETOUR = "relayed message that is malformed, nested or not from who it says"
    FOREIGN_OVERFLOW = "too many datagrams waiting for the embedding program"


class WireGuardError(Exception):
    """Every exception that wgpy raises on purpose."""


class Rejected(WireGuardError):
    """The remote sent what it must not; each engine catches it where it counts drops."""

    def __init__(self, drop: Drop) -> None:
        super().__init__(drop.name)
        self.drop = drop


class ConfigError(WireGuardError):
    """The caller asked for what cannot be; the message is one line that says what and where.

    `errno` is what the UAPI answers.
    """

    def __init__(self, message: str, errno: int = EINVAL) -> None:
        super().__init__(message)
        self.errno = errno


class UsageError(ConfigError):
    """The command line or the environment is wrong: the exit code is 2."""


class ToldError(ConfigError):
    """The user has read why already, from a process that this one started."""
