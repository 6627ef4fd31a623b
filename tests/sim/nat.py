"""A NAT as RFC 4787 describes them: mappings that expire, and what they let in."""

from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from wgpy.model import Endpoint


class _Mapping(NamedTuple):
    inside: Endpoint
    # Where the inside sent to, None if the mapping serves every destination.
    towards: Endpoint | None


@dataclass
class _Use:
    port: int
    used_at: float
    # The remote endpoints that the inside has sent to, and when.
    sent_to: dict[Endpoint, float]


class Nat:
    """One NAT box.

    `symmetric` maps each destination to another port (address and port-dependent mapping);
    else a source keeps its port whatever the destination. Only who was sent to within `expiry`
    seconds is let in (address and port-dependent filtering). Only outbound traffic renews.
    """

    def __init__(self, host: bytes, expiry: float = 30.0, *, symmetric: bool = False) -> None:
        self.host = host
        self._expiry = expiry
        self._symmetric = symmetric
        self._uses: dict[_Mapping, _Use] = {}
        self._ports = count(40000)

    def outward(self, source: Endpoint, destination: Endpoint, now: float) -> Endpoint:
        """Return how a datagram from inside looks outside."""
        mapping = _Mapping(source, destination if self._symmetric else None)
        use = self._uses.get(mapping)
        if use is None or now - use.used_at >= self._expiry:
            use = self._uses[mapping] = _Use(next(self._ports), now, {})
        use.used_at = use.sent_to[destination] = now
        return Endpoint(self.host, use.port)

    def inward(self, outside: Endpoint, source: Endpoint, now: float) -> Endpoint | None:
        """Return whom a datagram from outside is for, None if it is not let in."""
        for mapping, use in self._uses.items():
            if Endpoint(self.host, use.port) == outside:
                sent_at = use.sent_to.get(source)
                if sent_at is not None and now - sent_at < self._expiry:
                    return mapping.inside
        return None
