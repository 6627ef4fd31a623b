"""Where others see this node: what most of them say, so that one liar hides nothing."""

from collections import Counter
from typing import Final

from netmgr.engine.common import Context
from netmgr.engine.remote import Remote
from wgpy.model import Endpoint

# Places that are told of.
OBSERVED: Final = 2


class Witnesses:
    """What each node said last; `observed` of the context follows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._seen: dict[bytes, Endpoint] = {}

    def saw(self, remote: Remote, endpoint: Endpoint) -> None:
        """Take note of where a node sees this one."""
        context = self._context
        if context.is_near(endpoint) or not context.is_outside(endpoint):
            return
        if context.observed and self._seen.get(remote.identity) == endpoint:
            return
        self._seen[remote.identity] = endpoint
        self._seen = {one: each for one, each in self._seen.items() if one in context.remotes}
        votes = Counter(each for each in self._seen.values() if each not in context.local)
        told = context.observed
        ranked = sorted(votes, key=lambda each: (-votes[each], each not in told))
        context.observed = tuple(ranked[:OBSERVED])

    def forget(self) -> None:
        """Forget what was said: the network has changed."""
        self._seen.clear()
        self._context.observed = ()
