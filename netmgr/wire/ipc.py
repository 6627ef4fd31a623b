"""What a running node and the commands say to each other: one line of JSON each way.

    request   {"verb": "pin", "arguments": {"name": "alice", "fingerprint": "..."}}
    answer    {"ok": true, "result": {...}}   or   {"ok": false, "error": "one line"}

A snapshot is the members of `netmgr.model.Snapshot`, by their names; members may be added. A
reader passes over what it does not know and puts nothing in the place of what is missing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final, NamedTuple

from netmgr.model import ConflictView, PeerView, RouteView, Snapshot
from wgpy.errors import ConfigError

MAX_LINE: Final = 64 * 2**20
_STRANGE: Final = "the node answers in a way that this program does not know; restart it"


class Request(NamedTuple):
    """What is asked of a node."""

    verb: str
    arguments: dict[str, str]


def format_request(verb: str, arguments: Mapping[str, str]) -> bytes:
    """Return the line of a request."""
    return _line({"verb": verb, "arguments": dict(arguments)})


def parse_request(line: bytes) -> Request:
    """Return what a line asks for.

    Raises:
        ConfigError: no request.
    """
    message = _load(line, "no request: one line of JSON with a verb")
    verb, arguments = message.get("verb"), message.get("arguments", {})
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise ConfigError("no request: a verb and arguments are wanted")
    texts = {str(key): value for key, value in arguments.items() if isinstance(value, str)}
    if len(texts) != len(arguments):
        raise ConfigError("no request: arguments are texts")
    return Request(verb, texts)


def format_answer(result: Mapping[str, object]) -> bytes:
    """Return the line of a good answer."""
    return _line({"ok": True, "result": dict(result)})


def format_refusal(error: str) -> bytes:
    """Return the line that says why not."""
    return _line({"ok": False, "error": " ".join(error.split())})


def parse_answer(line: bytes) -> dict[str, object]:
    """Return the result of an answer.

    Raises:
        ConfigError: the node refused, and why; or this is no answer.
    """
    message = _load(line, _STRANGE)
    if message.get("ok") is True:
        result = message.get("result")
        return result if isinstance(result, dict) else {}
    error = message.get("error")
    raise ConfigError(error if isinstance(error, str) and error.isprintable() else _STRANGE)


def snapshot_to_plain(snapshot: Snapshot) -> dict[str, object]:
    """Return a snapshot as what JSON can hold."""
    return asdict(snapshot)


def snapshot_from_plain(plain: Mapping[str, object]) -> Snapshot:
    """Return the snapshot that JSON held.

    Raises:
        ConfigError: a member has another type.
    """
    fields = _Fields(plain)
    return Snapshot(
        name=fields.text("name"),
        address=fields.text("address"),
        address6=fields.text("address6"),
        fingerprint=fields.text("fingerprint"),
        public_key=fields.text("public_key"),
        subnet=fields.text("subnet"),
        interface=fields.text("interface"),
        listen_port=fields.whole("listen_port"),
        uptime=fields.number("uptime"),
        data_path=fields.text("data_path"),
        seeds=fields.texts("seeds"),
        peers=tuple(_peer(each) for each in fields.parts("peers")),
        routes=tuple(_route(each) for each in fields.parts("routes")),
        conflicts=tuple(_conflict(each) for each in fields.parts("conflicts")),
        drops=fields.counts("drops"),
        digest=fields.text("digest"),
    )


def _peer(fields: "_Fields") -> PeerView:
    return PeerView(
        name=fields.text("name"),
        address=fields.text("address"),
        address6=fields.text("address6"),
        fingerprint=fields.text("fingerprint"),
        reachable=fields.flag("reachable"),
        path=fields.text("path"),
        via=fields.texts("via"),
        endpoint=fields.text("endpoint"),
        rtt=fields.number("rtt") if fields.has("rtt") else None,
        loss=fields.number("loss"),
        rx_bytes=fields.whole("rx_bytes"),
        tx_bytes=fields.whole("tx_bytes"),
        last_handshake=fields.number("last_handshake"),
        trust=fields.text("trust"),
        routes=fields.texts("routes"),
    )


def _route(fields: "_Fields") -> RouteView:
    return RouteView(
        destination=fields.text("destination"),
        to=fields.text("to"),
        path=fields.texts("path"),
        cost=fields.whole("cost"),
        kind=fields.text("kind"),
    )


def _conflict(fields: "_Fields") -> ConflictView:
    return ConflictView(
        fingerprint=fields.text("fingerprint"),
        name=fields.text("name"),
        address=fields.text("address"),
        why=fields.text("why"),
        count=fields.whole("count"),
    )


class _Fields:
    """The members of a JSON object; what is missing or null is empty or zero."""

    def __init__(self, plain: Mapping[str, object]) -> None:
        self._plain = plain

    def has(self, key: str) -> bool:
        return self._plain.get(key) is not None

    def text(self, key: str) -> str:
        value = self._plain.get(key)
        return self._whole_text("" if value is None else value)

    def flag(self, key: str) -> bool:
        value = self._plain.get(key)
        if not isinstance(value, bool | None):
            raise ConfigError(_STRANGE)
        return bool(value)

    def whole(self, key: str) -> int:
        value = self._plain.get(key)
        return 0 if value is None else self._whole_number(value)

    def number(self, key: str) -> float:
        value = self._plain.get(key)
        if value is None:
            return 0.0
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(_STRANGE)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._whole_text(each) for each in self._list(key))

    def counts(self, key: str) -> tuple[tuple[str, int], ...]:
        found = []
        for pair in self._list(key):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ConfigError(_STRANGE)
            found.append((self._whole_text(pair[0]), self._whole_number(pair[1])))
        return tuple(found)

    def parts(self, key: str) -> list["_Fields"]:
        found = []
        for each in self._list(key):
            if not isinstance(each, dict):
                raise ConfigError(_STRANGE)
            found.append(_Fields(each))
        return found

    def _list(self, key: str) -> list[object]:
        value = self._plain.get(key)
        if not isinstance(value, list | tuple | None):
            raise ConfigError(_STRANGE)
        return list(value or ())

    @staticmethod
    def _whole_text(value: object) -> str:
        if not isinstance(value, str):
            raise ConfigError(_STRANGE)
        return value

    @staticmethod
    def _whole_number(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(_STRANGE)
        return value


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _load(line: bytes, strange: str) -> dict[str, object]:
    try:
        message = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ConfigError(strange)
    return message
