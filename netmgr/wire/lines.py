"""What a command says to a running node and hears from it: one line of JSON each way.

    request    {"verb": text, "arguments": {text: text}}; arguments may be missing
    answer     {"ok": true, "result": anything} or {"ok": false, "error": text}

Values of ours become objects by the names of their fields, bytes become hexadecimal digits.
"""

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from wgpy.errors import ConfigError

MAX_REQUEST_SIZE: Final = 64 * 1024

# mypy knows no recursive JSON that callers could use without asserting at each step.
Result: TypeAlias = object


class Request(NamedTuple):
    """What is asked of a node."""

    verb: str
    arguments: dict[str, str]


def format_request(verb: str, arguments: dict[str, str]) -> bytes:
    """Return the line that asks.

    Raises:
        ConfigError: it is longer than a node reads.
    """
    line = _line({"verb": verb, "arguments": arguments})
    if len(line) > MAX_REQUEST_SIZE:
        raise ConfigError(f"{verb}: what is asked is longer than {MAX_REQUEST_SIZE} bytes")
    return line


def parse_request(line: bytes) -> Request:
    """Return what a line asks.

    Raises:
        ConfigError: it asks nothing that can be understood.
    """
    value = _object(line, "the request")
    verb, arguments = value.get("verb"), value.get("arguments", {})
    if not isinstance(verb, str) or not isinstance(arguments, dict):
        raise ConfigError('the request is not {"verb": text, "arguments": object}')
    if not all(isinstance(each, str) for each in arguments.values()):
        raise ConfigError("the arguments of a request are texts")
    return Request(verb, arguments)


def format_result(result: Result) -> bytes:
    """Return the line that answers."""
    return _line({"ok": True, "result": _plain(result)})


def format_error(error: str) -> bytes:
    """Return the line that refuses."""
    return _line({"ok": False, "error": error})


def parse_answer(line: bytes) -> Result:
    """Return the result that a line holds.

    Raises:
        ConfigError: the node refused, with its words, or the line is no answer.
    """
    value = _object(line, "the answer")
    if value.get("ok") is True:
        return value.get("result")
    error = value.get("error")
    raise ConfigError(error if isinstance(error, str) else "the answer is damaged")


def _object(line: bytes, what: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ConfigError(f"{what} is no JSON") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{what} is no JSON object")
    return value


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return _plain(value.value)
    return value.hex() if isinstance(value, bytes) else value
