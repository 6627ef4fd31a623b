"""A snapshot of a node as JSON: what the local socket and the local API tell.

Its members are those of `netmgr.model.Snapshot`, by their names; members may be added. A reader
passes over what it does not know, and takes what is missing as empty or zero.
"""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from netmgr.model import Snapshot
from wgpy.errors import ConfigError

_STRANGE: Final = "the node answers in a way that this program does not know; restart it"


def snapshot_to_plain(snapshot: Snapshot) -> dict[str, object]:
    """Return a snapshot as what JSON can hold."""
    return asdict(snapshot)


def snapshot_from_plain(plain: Mapping[str, object]) -> Snapshot:
    """Return the snapshot that JSON held.

    Raises:
        ConfigError: a member has another type.
    """
    try:
        return Snapshot(**_members(Snapshot, plain))
    except TypeError:
        raise ConfigError(_STRANGE) from None


_hints: Final = cache(get_type_hints)
_SCALARS: Final[Mapping[Any, tuple[type, ...]]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
}


def _members(kind: Any, plain: Mapping[str, object]) -> dict[str, Any]:
    found = {}
    for name, hint in _hints(kind).items():
        value = plain.get(name)
        found[name] = _empty(hint) if value is None else _value(hint, value)
    return found


def _empty(kind: Any) -> object:
    return None if get_origin(kind) is UnionType else (get_origin(kind) or kind)()


def _value(kind: Any, value: object) -> object:
    """Return what JSON held as what an annotation says.

    Raises:
        TypeError: it is something else.
    """
    if get_origin(kind) is UnionType:
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if len(kinds) == len(value):
            return tuple(map(_value, kinds, value))
    elif is_dataclass(kind) and isinstance(value, dict):
        return kind(**_members(kind, value))  # type: ignore[operator]
    elif type(value) in _SCALARS.get(kind, ()):
        return value
    raise TypeError(kind)
