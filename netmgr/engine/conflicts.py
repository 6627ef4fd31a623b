"""Refused claims, for people to see: by whom, how often, when there was a sign of it."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from netmgr.engine.trust import Claim
from netmgr.errors import Reason

# Conflicts remembered; the oldest go first.
MAX_CONFLICTS: Final = 256
# Seconds after its last knock in which who is refused counts as there, and for which a conflict
# is shown.
LIVE: Final = 300.0
SHOWN: Final = 3600.0
_NEVER: Final = float("-inf")


@dataclass(slots=True)
class Conflict:
    """A refused claim, how often and when it was last made, and when at the door."""

    claim: Claim
    reason: Reason
    at: float
    knocked_at: float = _NEVER
    count: int = 1


class Conflicts:
    """The claims that were refused of late."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[bytes, Reason], Conflict] = OrderedDict()

    def report(self, claim: Claim, reason: Reason, now: float, *, again: bool = True) -> bool:
        """Note a refusal; return whether it is news. `again` says that it was claimed anew."""
        key = claim.identity, reason
        known = self._held.get(key)
        if known is not None and known.claim == claim:
            if again and now > known.at:
                known.count += 1
                known.at = now
                self._held.move_to_end(key)
            return False
        self._held[key] = Conflict(claim, reason, now)
        if len(self._held) > MAX_CONFLICTS:
            self._held.popitem(last=False)
        return True

    def knocked(self, identity: bytes, now: float) -> None:
        """Note that who is refused is there."""
        for (one, _), conflict in self._held.items():
            if one == identity:
                conflict.at = conflict.knocked_at = now

    def settle(self, identity: bytes) -> None:
        """Forget the conflicts of an identity that is believed, replaced or gone."""
        for key in [key for key in self._held if key[0] == identity]:
            del self._held[key]

    def current(self, now: float) -> list[Conflict]:
        """Return what is to be shown, the oldest first."""
        return [one for one in self._held.values() if now - one.at < SHOWN]
