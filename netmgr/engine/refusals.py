"""Who refuses this node for its name or address, and telling others that they are refused.

Who comes to the door with what belongs to another gets the signed Record of that other in its
WELCOME, in place of ours: that proves the claim, and tells nothing else. A Record that claims
our own name or address, as answer to our knock, thus says that we are refused there.
"""

from collections import OrderedDict
from typing import Final

from netmgr import events
from netmgr.engine.common import Context, text
from netmgr.engine.signing import fingerprint
from netmgr.engine.trust import Claim
from netmgr.errors import Reason
from netmgr.model import RefusalView
from wgpy.model import Endpoint
from wgpy.wire.text import format_endpoint

# Seconds after which a refusal that did not come again is none.
REFUSAL_LIFE: Final = 180.0
# Places remembered, and owners that were told of once.
MAX_PLACES: Final = 64
OWNED: Final = frozenset({Reason.NAME_TAKEN, Reason.ADDRESS_TAKEN, Reason.REPLACED})


class Refusals:
    """The places that refuse this node at the moment, and to whom it loses there."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._places: OrderedDict[Endpoint, tuple[Claim, float]] = OrderedDict()
        self._told: set[bytes] = set()

    def evidence(self, identity: bytes) -> bytes:
        """Return the Record of who has what an identity claims, b"" if none is held."""
        context = self._context
        claim = context.trust.claimed(identity)
        if claim is None:
            return b""
        if is_ours(context, claim):
            return context.own_record
        believed = [one for one in context.remotes.values() if one.record is not None]
        same = [one for one in believed if one.name == claim.name]
        address = claim.address
        same += [one for one in believed if one.record and one.record.address == address]
        return context.objects.record_blob(same[0].identity) if same else b""

    def heard(self, identity: bytes, place: Endpoint, now: float) -> None:
        """Take note that a place answered with the Record of who is not believed here."""
        context = self._context
        claim = context.trust.claimed(identity)
        if claim is None or not is_ours(context, claim):
            return
        self._places.pop(place, None)
        self._places[place] = claim, now
        if len(self._places) > MAX_PLACES:
            self._places.popitem(last=False)
        if identity not in self._told and len(self._told) < MAX_PLACES:
            self._told.add(identity)
            context.out.events.append(events.NodeRefused(self._view(place, claim)))

    def let_in(self, place: Endpoint) -> None:
        """Forget that a place refused us."""
        self._places.pop(place, None)

    def views(self, now: float) -> tuple[RefusalView, ...]:
        """Return what holds at the moment, for people."""
        reached = {one.endpoint for one in self._context.remotes.values() if one.up}
        return tuple(
            self._view(place, claim)
            for place, (claim, at) in self._places.items()
            if now - at < REFUSAL_LIFE and place not in reached
        )

    def _view(self, place: Endpoint, claim: Claim) -> RefusalView:
        settings = self._context.settings
        return RefusalView(
            place=format_endpoint(place),
            name=claim.name,
            address=text(claim.address),
            fingerprint=fingerprint(claim.identity),
            same_name=claim.name == settings.name,
            same_address=claim.address == settings.address,
            own=fingerprint(self._context.identity.public),
        )


def is_ours(context: Context, claim: Claim) -> bool:
    """Tell whether a claim is of our own name or address."""
    return claim.name == context.settings.name or claim.address == context.settings.address
