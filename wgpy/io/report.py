"""Events to log lines; the only logger of wgpy.

One line an event, as text or as a JSON object. INFO is what an operator sees, WARNING is to be
looked at, DEBUG is the rest. Nothing is logged per packet, and never a key: a peer is the first
eight characters of its public key.

A program calls `configure` once. A library that embeds wgpy does not, and gets the records of
the logger `wgpy` in its own handlers.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TextIO

from wgpy.errors import UsageError
from wgpy.events import Event
from wgpy.io import clock
from wgpy.io.lines import Line, cannot_send, line_of
from wgpy.io.syslog import SyslogHandler
from wgpy.model import Endpoint

# Lines per second and kind of event, and how many may come at once: a flood fills no log.
LINES_PER_SECOND: Final = 10.0
LINE_BURST: Final = 100.0
# Seconds until what is rare may have its level again, and how many of them are remembered.
RARE_INTERVAL: Final = 600.0
RARE_LIMIT: Final = 4096

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
        UsageError: no such level or form.
    """
    name = (level or DEFAULT_LEVEL).lower()
    if name not in LEVELS:
        raise UsageError(f"LOG_LEVEL={level}: it is one of {', '.join(LEVELS)}")
    if form not in FORMATS:
        raise UsageError(f"log format {form!r}: it is one of {', '.join(FORMATS)}")
    handler = _Handler(sys.stderr if stream is None else stream)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(LEVELS[name])


def to_syslog() -> None:
    """Send the lines to the system's log from now on, in the form and level they have."""
    for old in _LOGGER.handlers:
        handler = SyslogHandler()
        form = (
            _JsonFormatter() if isinstance(old.formatter, _JsonFormatter) else _PlainFormatter()
        )
        handler.setFormatter(form)
        _LOGGER.handlers[:] = [handler]


def toggle_debug(usual: str | None = None) -> None:
    """Log everything from now on; called again, what the level `usual` of `configure` says."""
    level = LEVELS[(usual or DEFAULT_LEVEL).lower()]
    _LOGGER.setLevel(level if _LOGGER.level == logging.DEBUG else logging.DEBUG)


class Reporter:
    """Logs the events of one interface, with a bound on the lines of each kind."""

    def __init__(self, interface: str, now: Callable[[], float] = clock.now) -> None:
        self._interface = interface
        self._now = now
        self._allowances: dict[str, _Allowance] = {}
        self._rare: dict[Hashable, float] = {}

    def report(self, events: Iterable[Event]) -> None:
        """Log events, in order; what is delivered to an embedding program is not logged."""
        for event in events:
            line = line_of(event)
            if line is not None:
                self._log_event(line)

    def cannot_send(self, remote: Endpoint, code: int) -> None:
        """Log that the kernel did not take a datagram; `code` is the errno."""
        self._log_event(cannot_send(remote, code, os.strerror(code)))

    def debug(self, text: str) -> None:
        """Log a line for those who look for a fault."""
        self._log(Line(logging.DEBUG, "note", text))

    def info(self, text: str) -> None:
        """Log a line that the operator wants to see."""
        self._log(Line(logging.INFO, "note", text))

    def warning(self, text: str) -> None:
        """Log a line that the operator should act on."""
        self._log(Line(logging.WARNING, "note", text))

    def error(self, text: str) -> None:
        """Log why the program cannot go on."""
        self._log(Line(logging.ERROR, "failed", text))

    def crashed(self, error: BaseException) -> None:
        """Log a bug with its traceback; for the top of a program and of its event loop only."""
        line = Line(logging.ERROR, "crashed", f"a bug: {type(error).__name__}: {error}")
        self._log_bounded(line, error)

    def callback_failed(self, _loop: object, context: Mapping[str, object]) -> None:
        """Log a bug in a callback of an event loop and go on: one packet ends no tunnel.

        It is what `set_exception_handler` of a loop takes.
        """
        error = context.get("exception")
        if not isinstance(error, Exception):
            error = RuntimeError(context.get("message"))
        self.crashed(error)

    def _log_event(self, line: Line) -> None:
        if line.rare is not None and not self._is_first(line.rare):
            line = replace(line, level=logging.DEBUG)
        if _LOGGER.isEnabledFor(line.level):
            self._log_bounded(line)

    def _is_first(self, what: Hashable) -> bool:
        now = self._now()
        if now - self._rare.get(what, float("-inf")) < RARE_INTERVAL:
            return False
        if len(self._rare) >= RARE_LIMIT:
            self._rare.clear()
        self._rare[what] = now
        return True

    def _log_bounded(self, line: Line, error: BaseException | None = None) -> None:
        kind = line.event if line.level > logging.DEBUG else f"{line.event} debug"
        allowance = self._allowances.get(kind)
        if allowance is None:  # as many as there are kinds of event
            allowance = self._allowances[kind] = _Allowance(self._now())
        if not allowance.take(self._now()):
            return
        if allowance.suppressed:
            text = f"{allowance.suppressed} lines like the next were left out"
            self._log(Line(line.level, "suppressed", text))
            allowance.suppressed = 0
        self._log(line, error)

    def _log(self, line: Line, error: BaseException | None = None) -> None:
        fields = {"interface": self._interface, "event": line.event, **(line.fields or {})}
        _LOGGER.log(line.level, "%s", line.text, exc_info=error, extra={"fields": fields})


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


# --- lines -----------------------------------------------------------------


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name there
        """Drop the line: a reader that went away must not stop the tunnel."""


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        interface = _fields(record).get("interface", record.name)
        text = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        line = f"{interface}: {text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _TextFormatter(_PlainFormatter):
    def format(self, record: logging.LogRecord) -> str:
        time = self.formatTime(record, _TIME_FORMAT)
        return f"{time} {record.levelname} {super().format(record)}"


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
