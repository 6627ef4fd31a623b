"""What the peers of one device share: identity, indices, randomness, and where output goes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from wgpy.engine import constants
from wgpy.engine.bulk import Kernels
from wgpy.engine.crypto import StaticKey
from wgpy.engine.indices import IndexTable
from wgpy.engine.session import Limits, Session
from wgpy.errors import Drop
from wgpy.events import Event, MessageRejected
from wgpy.model import Burst, Endpoint, Local, PublicKey, TunBurst
from wgpy.wire.detour import via_id
from wgpy.wire.tai64n import SECOND_NS, TICK_NS

P = TypeVar("P")


@dataclass(slots=True)
class Outbox:
    """What an engine wants done, in order; whoever drives it takes the lists away.

    `told` is, by kind of rejection, when a second of telling began and how many were told.
    """

    bursts: list[Burst] = field(default_factory=list)
    packets: list[TunBurst] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    drops: Counter[Drop] = field(default_factory=Counter)
    told: dict[Drop, tuple[float, int]] = field(default_factory=dict)

    def reject(
        self,
        drop: Drop,
        now: float,
        remote: Endpoint | None = None,
        peer: PublicKey | None = None,
        inner: bytes | None = None,
    ) -> None:
        """Count a drop, and tell of it unless enough of its kind were told this second."""
        self.drops[drop] += 1
        began, count = self.told.get(drop, (now, 0))
        if now - began >= 1:
            began, count = now, 0
        if count < constants.REJECTIONS_PER_SECOND:
            self.told[drop] = began, count + 1
            self.events.append(MessageRejected(drop, remote, peer, inner))


@dataclass(slots=True)
class Common(Generic[P]):
    """The surroundings of a peer; `mtu` in bytes, `wall_offset` is Unix time minus `now`.

    `stamped` is the Unix time in nanoseconds that the latest handshake was stamped with.
    """

    entropy: Callable[[int], bytes]
    wall_offset: float
    limits: Limits
    # A peer, and its session or None for the handshake under way.
    indices: IndexTable[tuple[P, Session | None]]
    out: Outbox = field(default_factory=Outbox)
    static: StaticKey | None = None
    kernels: Kernels | None = None
    mtu: int = 1420
    up: bool = False
    stamped: int = 0

    def stamp(self, now: float) -> int:
        """Return the Unix time in nanoseconds to stamp a handshake with.

        None is stamped before another, also after the clock was set back: a peer that was
        removed and is one again remembers, and so may one of the last run (paper 5.1).
        """
        wall = int((now + self.wall_offset) * SECOND_NS)
        self.stamped = wall if wall >= self.stamped else self.stamped + TICK_NS
        return self.stamped


class Path(NamedTuple):
    """Where a peer is, and the address of ours it was last heard at.

    To an endpoint behind relays and away from it only a handshake moves a peer, whose initiator
    chose the path: data still under way on the other would move it back and forth. And whose id
    relays put on data is only their word.
    """

    endpoint: Endpoint | None = None
    local: Local | None = None

    def may_follow(self, before: "Path") -> bool:
        """Tell whether data that came by this path may move a peer that was at another."""
        old, new = before[0], self[0]
        return old == new or old is None or new is None or via_id(old) is via_id(new) is None


class Staged(NamedTuple):
    """A packet that waits for a session; `mtu` is that of its route."""

    packet: bytes
    tos: int
    mtu: int


KEEPALIVE: Final = Staged(b"", 0, 0)


@dataclass(slots=True)
class Traffic:
    """Bytes of UDP payload both ways; Unix time of the last handshake, 0.0 if never."""

    rx_bytes: int = 0
    tx_bytes: int = 0
    last_handshake: float = 0.0
