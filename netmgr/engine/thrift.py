"""What is spared where one of two nodes pays for its bytes: `metered`, 1 MB a day at rest.

It chooses two neighbours, and nobody chooses it where anybody relays. One of each two asks
whether the other is there, more often than a NAT may forget (RFC 4787, 4.3: two minutes). What
it hears of others it passes on to nobody, a direct way to any other node is let go of once
nothing goes there, and who has neighbours seeks nobody but static peers never heard of. So its
death is known in two minutes, and under traffic as soon as that of others.
"""

from collections.abc import Sequence
from typing import Final

from netmgr.engine.common import Context, is_metered
from netmgr.engine.liveness import PING_INTERVAL
from netmgr.engine.places import LAST_PROBE
from netmgr.engine.remote import Remote

# Its answer's keepalive, too, comes before WireGuard would renew the session for it.
METERED_INTERVAL: Final = 100.0
# Seconds without traffic after which a direct way to no neighbour is let go of.
QUIET: Final = 120.0
# Neighbours.
NEIGHBOURS: Final = 2
# Seconds between the last probes of a place, and knocks, while there are other neighbours.
LAST_TRIAL: Final = 300.0


def pays(context: Context, remote: Remote) -> bool:
    """Tell whether one of the two pays for what they say to each other."""
    return context.settings.metered or is_metered(remote.record)


def ping_interval(context: Context, remote: Remote) -> float:
    """Return the seconds between pings of a neighbour."""
    return METERED_INTERVAL if pays(context, remote) else PING_INTERVAL


def probe_interval(context: Context) -> float:
    """Return the seconds between the last probes of a place."""
    return LAST_TRIAL if context.settings.metered and count_up(context) else LAST_PROBE


def count_up(context: Context) -> int:
    """Return how many nodes answer directly."""
    return sum(remote.up and remote.rtt is not None for remote in context.remotes.values())


def is_served(context: Context) -> bool:
    """Tell whether we pay, and seek nobody, because there are neighbours."""
    return context.settings.metered and count_up(context) >= NEIGHBOURS


def quiet_at(context: Context, remote: Remote) -> float | None:
    """Return when the direct way to who is no neighbour is let go of; None: never for this."""
    if not remote.up or not pays(context, remote):
        return None
    if not context.settings.metered and context.is_static(remote):
        return None
    return max(remote.pings.lively_at, remote.checks.moved_at) + QUIET


def passed_on(
    context: Context, floods: Sequence[tuple[bytes, set[bytes]]]
) -> Sequence[tuple[bytes, set[bytes]]]:
    """Return the objects to pass on, with who told us: if we pay, what we alone may have."""
    if not context.settings.metered:
        return floods
    return [each for each in floods if context.by_short.keys().isdisjoint(each[1])]
