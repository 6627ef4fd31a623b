"""The two faults of the manager: a stranger's, counted; the caller's, told in one line.

`wgpy.errors.ConfigError` and `UsageError` are the caller's here too.
"""

from enum import Enum


class Reason(Enum):
    """Why something from the network is not used; each is counted. The value is its text."""

    MALFORMED = "wrong length, type or content"
    BAD_MAC = "not from this network, or damaged"
    NOT_AUTHENTIC = "does not decrypt"
    NOT_FOR_US = "meant for another node"
    TUNNELLED = "from an address of the network itself"
    RATE_LIMITED = "first contacts too fast"
    BAD_COOKIE = "cookie unknown or too old"
    BAD_SIGNATURE = "signature does not verify"
    STALE = "older than what is known"
    OUTSIDE_SUBNET = "claims an address outside of the subnet"
    NAME_TAKEN = "claims a name that belongs to another"
    ADDRESS_TAKEN = "claims an address that belongs to another"
    REPLACED = "was replaced by another identity"
    KEY_TAKEN = "has the WireGuard key or short id of another"
    TOO_MANY = "more than this node keeps"
    TOO_FAST = "more often than is taken"
    UNKNOWN_NODE = "from or about a node that is not known"
    UNASKED = "answers nothing that was asked"


class Rejected(Exception):
    """What came from the network is not used; caught and counted where it came in."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason
