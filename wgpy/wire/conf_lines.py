"""The lines of a configuration file: which section and which key each belongs to.

What the values mean is `conf`'s; here are the places that errors name. Keys of any case become
those of wg(8) and wg-quick(8); white space inside a value is kept for keys of wg-quick alone,
as `wg` itself removes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple, TypeVar

from wgpy.errors import ConfigError
from wgpy.wire.text import shorten

HOOK_KEYS = ("PreUp", "PostUp", "PreDown", "PostDown")
_QUICK_KEYS = ("Address", "DNS", "MTU", "Table", "SaveConfig", *HOOK_KEYS)
_KEYS = {
    "Interface": ("PrivateKey", "ListenPort", "FwMark", *_QUICK_KEYS),
    "Peer": ("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"),
}
_SPELLINGS = {
    place: {name.casefold(): name for name in names} for place, names in _KEYS.items()
}
_MAX_KEY_NAME = 32

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Section:
    """The lines of one section as text: for each key in its usual spelling (line, value)."""

    source: str
    name: str
    line: int
    entries: dict[str, list[tuple[int, str]]] = field(default_factory=dict, repr=False)

    def every(self, key: str, convert: Callable[[str], Sequence[_T]]) -> tuple[_T, ...]:
        """Return all values of a list that may go over several lines."""
        values: list[_T] = []
        for line, text in self.entries.get(key, ()):
            try:
                values += convert(text)
            except ConfigError as error:
                raise fault(self.source, line, f"{key}: {error}") from None
        return tuple(values)

    def last(self, key: str, convert: Callable[[str], _T]) -> _T | None:
        """Return the value that holds, None if there is none; all are checked."""
        values = self.every(key, lambda text: (convert(text),))
        return values[-1] if values else None


def fault(source: str, line: int, why: str) -> ConfigError:
    """Return the error that names a place of a file."""
    return ConfigError(f"{source}:{line}: {why}")


class Sections(NamedTuple):
    """A file: its section `[Interface]`, None if there is none, and the `[Peer]`s in order."""

    interface: Section | None
    peers: tuple[Section, ...]


def read_sections(text: str | bytes, source: str) -> Sections:
    """Return the sections of a file; `source` is its name in errors.

    Raises:
        ConfigError: `SOURCE:LINE: ...`; no text, or a section or key that nobody knows.
    """
    interface: Section | None = None
    peers: list[Section] = []
    section: Section | None = None
    for number, line in enumerate(_decode(text, source).split("\n"), 1):
        words = line.partition("#")[0].strip()
        if words.startswith("["):
            section = Section(source, _section_name(words, source, number), number)
            if section.name == "Peer":
                peers.append(section)
            elif interface is None:
                interface = section
            else:
                why = f"[Interface] is given twice, first on line {interface.line}"
                raise fault(source, number, why)
        elif words:
            _read_entry(section, words, source, number)
    return Sections(interface, tuple(peers))


def _decode(text: str | bytes, source: str) -> str:
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise fault(source, line, "not UTF-8") from None
    before, nul, _ = text.partition("\0")
    if nul:
        raise fault(source, before.count("\n") + 1, "a NUL character")
    return text.removeprefix("\ufeff")


def _section_name(words: str, source: str, line: int) -> str:
    wanted = _squeeze(words).casefold()
    for name in _KEYS:
        if wanted == f"[{name}]".casefold():
            return name
    raise fault(source, line, f"unknown section {shorten(words)}: [Interface] or [Peer]")


def _read_entry(section: Section | None, words: str, source: str, line: int) -> None:
    key, equals, value = words.partition("=")
    key = _squeeze(key)
    if not equals:
        raise fault(source, line, 'this line has no "=": write KEY = VALUE')
    if section is None:
        raise fault(source, line, "a key before the first section: begin with [Interface]")
    name = _SPELLINGS[section.name].get(key.casefold())
    if name is None:
        raise fault(source, line, _unknown_key(key, section.name))
    value = value.strip() if name in _QUICK_KEYS else _squeeze(value)
    section.entries.setdefault(name, []).append((line, value))


def _unknown_key(key: str, section: str) -> str:
    if not (key.isidentifier() and len(key) <= _MAX_KEY_NAME):
        return f"unknown key in [{section}]"  # It may be a secret in the wrong place.
    why = f'unknown key "{key}" in [{section}]'
    wanted = key.casefold()
    for place, spellings in _SPELLINGS.items():
        if wanted in spellings:
            return f"{why}; {spellings[wanted]} belongs in [{place}]"
    near = get_close_matches(wanted, _SPELLINGS[section], 1)
    return f"{why}; did you mean {_SPELLINGS[section][near[0]]}?" if near else why


def _squeeze(text: str) -> str:
    return "".join(text.split())
