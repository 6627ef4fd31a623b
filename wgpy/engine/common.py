"""What the peers of one device share: identity, indices, randomness, and where output goes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from wgpy.engine.bulk import Kernels
from wgpy.engine.crypto import StaticKey
from wgpy.engine.indices import IndexTable
from wgpy.engine.session import Limits, Session
from wgpy.errors import Drop
from wgpy.events import Event
from wgpy.model import Burst, TunBurst

P = TypeVar("P")


@dataclass(slots=True)
class Outbox:
    """What an engine wants done, in order; whoever drives it takes the lists away."""

    bursts: list[Burst] = field(default_factory=list)
    packets: list[TunBurst] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    drops: Counter[Drop] = field(default_factory=Counter)


@dataclass(slots=True)
class Common(Generic[P]):
    """The surroundings of a peer; `mtu` in bytes, `wall_offset` is Unix time minus `now`."""

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
