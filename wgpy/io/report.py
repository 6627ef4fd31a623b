"""Events to log lines; the only logger of wgpy.

One line an event, as text or as a JSON object. INFO is what an operator sees, WARNING is to be
looked at, DEBUG is the rest. Nothing is logged per packet, and never a key: a peer is the first
eight characters of its public key.

A program calls `configure` once. A library that embeds wgpy does not, and gets the records of
the logger `wgpy` in its own handlers.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TextIO, assert_never

from wgpy.errors import ConfigError
from wgpy.events import (
    DatagramReceived,
    Event,
    HandshakeCompleted,
    HandshakeGaveUp,
    InnerReceived,
    LoadChanged,
    Roamed,
    SessionEnded,
)
from wgpy.io import clock
from wgpy.model import Endpoint
from wgpy.wire.text import format_endpoint

# Lines per second and kind of event, and how many may come at once: a flood fills no log.
LINES_PER_SECOND: Final = 10.0
LINE_BURST: Final = 100.0

LEVELS: Final[Mapping[str, int]] = {
    "verbose": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "silent": logging.CRITICAL + 1,
}
DEFAULT_LEVEL: Final = "info"
FORMATS: Final = ("text", "json")

_LOGGER: Final = logging.getLogger("wgpy")
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%z"


def configure(
    level: str | None = None, form: str = "text", stream: TextIO | None = None
) -> None:
    """Send the lines of wgpy to a stream, standard error if None.

    `level` is the value of LOG_LEVEL, None or empty for `info`; `form` one of FORMATS.

    Raises:
        ConfigError: no such level or form.
    """
    name = (level or DEFAULT_LEVEL).lower()
    if name not in LEVELS:
        raise ConfigError(f"LOG_LEVEL={level}: it is one of {', '.join(LEVELS)}")
    if form not in FORMATS:
        raise ConfigError(f"log format {form!r}: it is one of {', '.join(FORMATS)}")
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(LEVELS[name])


class Reporter:
    """Logs the events of one interface, with a bound on the lines of each kind."""

    def __init__(self, interface: str, now: Callable[[], float] = clock.now) -> None:
        self._interface = interface
        self._now = now
        self._allowances: dict[str, _Allowance] = {}

    def report(self, events: Iterable[Event]) -> None:
        """Log events, in order; what is delivered to an embedding program is not logged."""
        for event in events:
            line = _line_of(event)
            if line is not None and _LOGGER.isEnabledFor(line.level):
                self._log_bounded(line)

    def debug(self, text: str) -> None:
        """Log a line for those who look for a fault."""
        self._log(_Line(logging.DEBUG, "note", text))

    def info(self, text: str) -> None:
        """Log a line that the operator wants to see."""
        self._log(_Line(logging.INFO, "note", text))

    def warning(self, text: str) -> None:
        """Log a line that the operator should act on."""
        self._log(_Line(logging.WARNING, "note", text))

    def error(self, text: str) -> None:
        """Log why the program cannot go on."""
        self._log(_Line(logging.ERROR, "failed", text))

    def crashed(self, error: BaseException) -> None:
        """Log a bug with its traceback; for the top of a program and of its event loop only."""
        line = _Line(logging.ERROR, "crashed", f"a bug: {type(error).__name__}: {error}")
        self._log_bounded(line, error)

    def callback_failed(self, _loop: object, context: Mapping[str, object]) -> None:
        """Log a bug in a callback of an event loop and go on: one packet ends no tunnel.

        It is what `set_exception_handler` of a loop takes.
        """
        error = context.get("exception")
        if not isinstance(error, Exception):
            error = RuntimeError(context.get("message"))
        self.crashed(error)

    def _log_bounded(self, line: "_Line", error: BaseException | None = None) -> None:
        allowance = self._allowances.get(line.event)
        if allowance is None:  # as many as there are kinds of event
            allowance = self._allowances[line.event] = _Allowance(self._now())
        if not allowance.take(self._now()):
            return
        if allowance.suppressed:
            text = f"{allowance.suppressed} lines like the next were left out"
            self._log(_Line(line.level, "suppressed", text))
            allowance.suppressed = 0
        self._log(line, error)

    def _log(self, line: "_Line", error: BaseException | None = None) -> None:
        fields = {"interface": self._interface, "event": line.event, **(line.fields or {})}
        _LOGGER.log(line.level, "%s", line.text, exc_info=error, extra={"fields": fields})


@dataclass(frozen=True, slots=True)
class _Line:
    level: int
    event: str
    text: str
    fields: Mapping[str, str | bool] | None = None


class _Allowance:
    """A token bucket for the lines of one kind."""

    def __init__(self, now: float) -> None:
        self.suppressed = 0
        self._tokens = LINE_BURST
        self._filled_at = now

    def take(self, now: float) -> bool:
        filled = self._tokens + (now - self._filled_at) * LINES_PER_SECOND
        self._tokens = min(filled, LINE_BURST)
        self._filled_at = now
        if self._tokens < 1:
            self.suppressed += 1
            return False
        self._tokens -= 1
        return True


def _line_of(event: Event) -> _Line | None:
    match event:
        case HandshakeCompleted() | HandshakeGaveUp() | Roamed() | SessionEnded():
            return _peer_line(event)
        case LoadChanged(under_load=True):
            text = "under load, handshakes need a cookie: is this host being flooded?"
            return _Line(logging.WARNING, "under_load", text)
        case LoadChanged():
            return _Line(logging.INFO, "load_over", "no longer under load")
        case DatagramReceived() | InnerReceived():
            return None
        case _:
            assert_never(event)


def _peer_line(event: HandshakeCompleted | HandshakeGaveUp | Roamed | SessionEnded) -> _Line:
    peer = event.peer.short
    fields: dict[str, str | bool] = {"peer": peer}
    match event:
        case HandshakeCompleted(_, endpoint, initiator):
            name, who = "handshake_completed", "us" if initiator else "it"
            text = f"handshake completed with {_name(endpoint)}, begun by {who}"
            fields |= {"endpoint": _name(endpoint), "initiator": initiator}
        case HandshakeGaveUp():
            name, text = "handshake_gave_up", "no handshake is answered, gave up until traffic"
        case Roamed(_, old, new):
            name, text = "roamed", f"roamed from {_name(old)} to {_name(new)}"
            fields |= {"old": _name(old), "endpoint": _name(new)}
        case SessionEnded(_, why):
            name, text = "session_ended", f"session ended: {why}"
            fields["why"] = why
        case _:
            assert_never(event)
    return _Line(logging.INFO, name, f"peer {peer}: {text}", fields)


def _name(endpoint: Endpoint | None) -> str:
    return "an unknown address" if endpoint is None else format_endpoint(endpoint)


# --- lines -----------------------------------------------------------------


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name there
        """Drop the line: a reader that went away must not stop the tunnel."""


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        interface = _fields(record).get("interface", record.name)
        text = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        line = f"{self.formatTime(record, _TIME_FORMAT)} {record.levelname} {interface}: {text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.formatTime(record, _TIME_FORMAT),
            "level": record.levelname.lower(),
            **_fields(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
