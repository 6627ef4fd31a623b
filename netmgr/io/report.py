"""Events of the mesh to log lines; the only logger of the manager.

One line an event. A node is its name; an identity is its fingerprint.
"""

import json
import logging
import sys
from collections.abc import Iterable
from typing import Final, TypeAlias

from netmgr import events
from netmgr.errors import Reason
from netmgr.events import Event
from wgpy.wire.text import format_endpoint

LEVELS: Final = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
_LOGGER: Final = logging.getLogger("netmgr")
# The tunnel tells less than the mesh at the same level.
_PARTS: Final = (("netmgr", 1), ("wgpy", 0))
_News: TypeAlias = (
    events.NodeJoined
    | events.NodeLeft
    | events.NodePinned
    | events.WayChanged
    | events.ObservedAt
)


def configure(verbosity: int, path: str | None, *, as_json: bool) -> None:
    """Send lines to standard error, and to a file as well.

    0 is warnings, errors and what is announced, 1 what happens as well, 2 the tunnel, too.

    Called again it takes the place of what was said before.

    Raises:
        OSError: the file cannot be written.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path is not None:
        handlers.append(logging.FileHandler(path))
    formatter = (
        _Json() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    for part, more in _PARTS:
        logger = logging.getLogger(part)
        logger.setLevel(LEVELS[min(verbosity + more, len(LEVELS) - 1)])
        logger.propagate = False
        for old in logger.handlers:
            old.close()
        logger.handlers[:] = handlers
    for handler in handlers:
        handler.setFormatter(formatter)


class _Json(logging.Formatter):
    """A line is an object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        return json.dumps(line)


def say(text: str) -> None:
    """Log what an operator is to look at."""
    _LOGGER.warning("%s", text)


def tell(text: str) -> None:
    """Log what an operator sees."""
    _LOGGER.info("%s", text)


def announce(text: str) -> None:
    """Log what is told at any verbosity: that a node begins, and that it ends."""
    record = _LOGGER.makeRecord(_LOGGER.name, logging.INFO, "", 0, "%s", (text,), None)
    _LOGGER.handle(record)


def report(happened: Iterable[Event]) -> None:
    """Log events."""
    for event in happened:
        level, text = line_of(event)
        _LOGGER.log(level, "%s", text)


def line_of(event: Event) -> tuple[int, str]:
    """Return level and text of an event."""
    match event:
        case events.ClaimRefused() | events.NodeRefused():
            return logging.WARNING, _refused(event)
        case events.RouteRefused() | events.PrefixClosed() | events.PrefixOpened():
            return logging.WARNING, _of_prefix(event)
        case events.SeedSilent(place, seconds):
            return logging.WARNING, f"{place} has not answered for {seconds:.0f} s; trying on"
        case events.TwinSeen(silent):
            twin = "another node runs with this identity: this one says nothing any more"
            old = "state is older than what others know: signed anew"
            return (logging.ERROR, twin) if silent else (logging.WARNING, old)
        case _:
            return logging.INFO, _news(event)


def _of_prefix(event: events.RouteRefused | events.PrefixClosed | events.PrefixOpened) -> str:
    match event:
        case events.RouteRefused(name, prefix, why):
            return f"refused: {prefix} behind {name}: {why}"
        case events.PrefixClosed(prefix, names):
            why = f"{' or '.join(names)} is not reached"
            return f"{prefix} is closed and goes nowhere: {why}"
        case events.PrefixOpened(prefix, name):
            return f"{prefix} is open again: it goes through {name}"


def _refused(event: events.ClaimRefused | events.NodeRefused) -> str:
    """Return who is refused, and what to do if that is wrong."""
    if isinstance(event, events.NodeRefused):
        return f"{event.refusal.text}: {event.refusal.todo}"
    name, who = event.name, event.fingerprint
    todo = f"if it is right: wg_netmanager accept {name} {who}"
    if event.is_ours:
        todo = "that is this node: one of the two needs another"
    elif event.reason is Reason.OUTSIDE_SUBNET:
        todo = "an address of the subnet is to be chosen there"
    return f"refused: {who} says it is {name} ({event.address}): {event.reason.value}; {todo}"


def _news(event: _News) -> str:
    """Return the text of what is as it should be."""
    match event:
        case events.NodeJoined(name, address, fingerprint):
            return f"{name} ({address}) is a node, {fingerprint}"
        case events.NodeLeft(name, why):
            return f"{name} is gone: {why}"
        case events.NodePinned(name, address, fingerprint):
            return f"{name} ({address}) was met and is {fingerprint} from now on"
        case events.WayChanged(name, old, new):
            return f"{name} is reached {new}, before {old}"
        case events.ObservedAt(endpoint):
            return f"others see this node at {format_endpoint(endpoint)}"
