"""YAML as a tree of texts with their lines; nothing is interpreted (YAML 1.2, 3.2.1).

Made for small files that people write: one document, no aliases, little depth, so that neither
size nor nesting of a text can cost more than reading it. What is wrong is collected by line.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml

MAX_SIZE: Final = 2**20
MAX_DEPTH: Final = 16
_MOST_FAULTS: Final = 100
_MOST_CHARACTERS: Final = 300
_INDENT: Final = "; keys of one level begin below each other, indented with spaces, no tabs"
# In what both parsers say of a line that stands too far left or right.
_OF_LEVELS: Final = ("expected key", "block", "'-' indicator", "mapping values")
_NULLS: Final = ("", "~", "null", "Null", "NULL")
# libyaml is thirty times as fast as the parser in Python, and is not in every build.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text; `plain` is one without quotes. Lines count from 1."""

    line: int
    text: str
    plain: bool = True

    @property
    def is_null(self) -> bool:
        """Whether nothing is written, or null."""
        return self.plain and self.text in _NULLS


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    line: int
    nodes: list["Node"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and what is written to it."""

    line: int
    key: str
    value: "Node"


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping; a key may occur more than once."""

    line: int
    pairs: list[Pair]


Node: TypeAlias = Scalar | Items | Entries


@dataclass(slots=True)
class Faults:
    """What is wrong with one file, as lines `FILE:LINE: what is wrong, what to do`."""

    source: str
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, line: int, why: str) -> None:
        """Note what makes the file unusable."""
        self._note(self.errors, line, why)

    def warn(self, line: int, why: str) -> None:
        """Note what a person should look at."""
        self._note(self.warnings, line, why)

    def _note(self, lines: list[str], line: int, why: str) -> None:
        if len(lines) < _MOST_FAULTS:
            text = "".join(each if each.isprintable() else " " for each in why)
            lines.append(f"{self.source}:{line}: {text[:_MOST_CHARACTERS]}")


class _Unreadable(Exception):
    """The text is not what is read here; carries line and reason."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line, self.why = line, why


def read_tree(text: str | bytes, faults: Faults) -> Node | None:
    """Return the one document of a text; None if it is empty, or not to be read: see faults."""
    if len(text) > MAX_SIZE:
        faults.error(1, f"larger than {MAX_SIZE >> 20} MiB, which no such file is")
        return None
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        decoded.encode()
    except UnicodeError:
        faults.error(1, "no text in UTF-8; save it as such")
        return None
    try:
        return _document(decoded)
    except _Unreadable as error:
        faults.error(error.line, error.why)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        last = max(len(decoded.splitlines()), 1)
        line = 1 if mark is None else min(mark.line + 1, last)
        why = str(error.problem or error.context)
        faults.error(line, f"no YAML: {why}{_hint(decoded, line, why)}")
    except yaml.YAMLError as error:
        faults.error(_line_of(error, decoded), "no YAML: a character that has no place in it")
    return None


def _line_of(error: yaml.YAMLError, text: str) -> int:
    position = getattr(error, "position", 0)
    return text.count("\n", 0, max(position, 0)) + 1


def _hint(text: str, line: int, problem: str) -> str:
    lines = text.splitlines()
    at = lines[line - 1] if line <= len(lines) else ""
    before = lines[line - 2] if 2 <= line <= len(lines) + 1 else ""
    if "]:" in at or "]:" in before:
        return '; put an IPv6 endpoint in quotes: "[2001:db8::1]:50001"'
    if "\t" in at:
        return "; indent with spaces, not with tabs"
    return _INDENT if any(word in problem for word in _OF_LEVELS) else ""


def _document(text: str) -> Node | None:
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
    root: Node | None = None
    for event in events:
        match event:
            case yaml.DocumentStartEvent() if root is not None:
                raise _Unreadable(_line(event), "a second document begins (---); only one")
            case yaml.NodeEvent():
                root = _node(event, events, 1)
            case _:
                pass
    return None if isinstance(root, Scalar) and root.is_null else root


def _node(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
    line = _line(event)
    if depth > MAX_DEPTH:
        raise _Unreadable(line, f"nested more than {MAX_DEPTH} deep")
    match event:
        case yaml.ScalarEvent():
            return Scalar(line, event.value, plain=not event.style)
        case yaml.SequenceStartEvent():
            items = Items(line, [])
            while not isinstance(first := next(events), yaml.SequenceEndEvent):
                items.nodes.append(_node(first, events, depth + 1))
            return items
        case yaml.MappingStartEvent():
            entries = Entries(line, [])
            while not isinstance(first := next(events), yaml.MappingEndEvent):
                key = _node(first, events, depth + 1)
                if not isinstance(key, Scalar):
                    raise _Unreadable(key.line, "a key is one word")
                value = _node(next(events), events, depth + 1)
                entries.pairs.append(Pair(key.line, key.text, value))
            return entries
        case _:
            raise _Unreadable(line, "aliases (*name) are not read; write it out")


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return 1 if mark is None else int(mark.line) + 1
