"""Steps of `wgpy up` as text: a line for people, JSON for the record of what is to be undone.

The record, /run/wgpy/IF.json: one object of

    version     1
    complete    whether `up` came to its end
    namespace   inode of the network namespace it was written in
    index       of the interface, 0 before it exists
    config      the file it was made from
    done        list of [name of the change, its fields by name]
    pre_down    commands to run if the file is gone by then
    post_down   the same
    up_hooks    commands that `up` has run; may be missing
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Final, TypeAlias

from wgpy.errors import ConfigError
from wgpy.hostmodel import (
    MAIN_TABLE,
    V4,
    AddAddress,
    AddRoute,
    AddRule,
    AddUnreachable,
    Change,
    CreateInterface,
    DnsBackend,
    Recorded,
    RunHook,
    SetDns,
    SetFirewall,
    SetMtu,
    SetSysctl,
    SetUp,
    SetWireGuard,
    Step,
    Undo,
)
from wgpy.model import InterfaceAddress, Prefix
from wgpy.wire.text import format_prefix, parse_interface_address, parse_prefix

RECORD_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What `up` has done, or is about to: written before each change is made."""

    config: str
    namespace: int
    complete: bool = False
    index: int = 0
    done: tuple[Recorded, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()
    up_hooks: tuple[str, ...] = ()


def describe(step: Step) -> str:
    """Return one line, aligned in columns: sign, kind, what; nothing secret."""
    if not isinstance(step, Undo):
        sign, kind = _HEADS[type(step)]
        return f"{sign} {kind:<9} {_subject(step)}"
    change = step.change
    kind = _HEADS[type(change)][1]
    if isinstance(change, SetSysctl):
        return f"= {kind:<9} {change.name} = {change.old}"
    return f"- {kind:<9} {_subject(change)}"


_Plain: TypeAlias = CreateInterface | SetUp | SetMtu | AddAddress | SetWireGuard | RunHook

_HEADS: Final[Mapping[type[Change], tuple[str, str]]] = {
    CreateInterface: ("+", "interface"),
    SetWireGuard: ("=", "wireguard"),
    AddAddress: ("+", "address"),
    SetMtu: ("=", "mtu"),
    SetUp: ("=", "up"),
    AddRoute: ("+", "route"),
    AddUnreachable: ("+", "route"),
    AddRule: ("+", "rule"),
    SetSysctl: ("=", "sysctl"),
    SetFirewall: ("+", "firewall"),
    SetDns: ("+", "dns"),
    RunHook: ("!", "run"),
}


def _subject(change: Change) -> str:
    if isinstance(change, _Plain):
        return _plain_subject(change)
    match change:
        case AddRoute(name, prefix, table):
            return f"{format_prefix(prefix)} dev {name} table {_table(table)}"
        case AddRule() | AddUnreachable():
            return _policy_text(change)
        case SetSysctl(name, value):
            return f"{name} = {value}"
        case SetFirewall(table_name, family):
            return f"nft table {'ip' if family == V4 else 'ip6'} {table_name}"
        case SetDns(_, servers, search, through):
            return f"{' '.join((*servers, *search))} through {through.value}"


def _plain_subject(change: _Plain) -> str:
    match change:
        case CreateInterface(name) | SetUp(name):
            return name
        case SetMtu(name, mtu):
            return f"{mtu} dev {name}"
        case AddAddress(name, address):
            return f"{format_prefix(address)} dev {name}"
        case SetWireGuard(name, device):
            count = len(device.peers)
            return f"{name}, {count} peer{'' if count == 1 else 's'}"
        case RunHook(command):
            return command


def _policy_text(rule: AddRule | AddUnreachable) -> str:
    if isinstance(rule, AddUnreachable):
        return f"ipv{rule.family} unreachable default table {_table(rule.table)}"
    what = (
        f"lookup {_table(rule.table)} suppress_prefixlength 0"
        if rule.unless_mark is None
        else f"not fwmark {rule.unless_mark} lookup {_table(rule.table)}"
    )
    return f"ipv{rule.family} {rule.priority}: {what}"


def _table(number: int) -> str:
    return "main" if number == MAIN_TABLE else str(number)


def format_record(record: Record) -> bytes:
    """Return the record as JSON."""
    value = {
        "version": RECORD_VERSION,
        "complete": record.complete,
        "namespace": record.namespace,
        "index": record.index,
        "config": record.config,
        "done": [[type(change).__name__, _plain_fields(change)] for change in record.done],
        "pre_down": list(record.pre_down),
        "post_down": list(record.post_down),
        "up_hooks": list(record.up_hooks),
    }
    return json.dumps(value, indent=1).encode() + b"\n"


def parse_record(raw: bytes) -> Record:
    """Return the record that `format_record` wrote.

    Raises:
        ConfigError: it is none, or of another version.
    """
    try:
        value = json.loads(raw)
        if value["version"] != RECORD_VERSION:
            raise ConfigError(f"the record is of version {value['version']}")
        return Record(
            config=_text(value["config"]),
            namespace=_number(value["namespace"]),
            complete=value["complete"] is True,
            index=_number(value["index"]),
            done=tuple(map(_change, _list(value["done"]))),
            pre_down=_texts(value["pre_down"]),
            post_down=_texts(value["post_down"]),
            up_hooks=_texts(value.get("up_hooks", [])),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"the record of changes is damaged: {error!r}") from None


def _plain_fields(change: Recorded) -> dict[str, object]:
    return {each.name: _plain(getattr(change, each.name)) for each in fields(change)}


def _plain(value: object) -> object:
    if isinstance(value, InterfaceAddress | Prefix):
        return format_prefix(value)
    if isinstance(value, DnsBackend):
        return value.name
    return list(value) if isinstance(value, tuple) else value


def _change(value: object) -> Recorded:
    name, plain = _list(value)
    if not isinstance(plain, dict):
        raise TypeError("fields expected")
    return _READERS[_text(name)](plain)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("number expected")
    return value


def _number_or_none(value: object) -> int | None:
    return None if value is None else _number(value)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("list expected")
    return value


_Fields: TypeAlias = Mapping[str, object]

_READERS: Final[Mapping[str, Callable[[_Fields], Recorded]]] = {
    "CreateInterface": lambda of: CreateInterface(_text(of["name"])),
    "AddAddress": lambda of: AddAddress(
        _text(of["name"]), parse_interface_address(_text(of["address"]))
    ),
    "AddRoute": lambda of: AddRoute(
        _text(of["name"]), parse_prefix(_text(of["prefix"])), _number(of["table"])
    ),
    "AddUnreachable": lambda of: AddUnreachable(_number(of["family"]), _number(of["table"])),
    "AddRule": lambda of: AddRule(
        _number(of["family"]),
        _number(of["priority"]),
        _number(of["table"]),
        _number_or_none(of["unless_mark"]),
    ),
    "SetSysctl": lambda of: SetSysctl(_text(of["name"]), _text(of["value"]), _text(of["old"])),
    "SetFirewall": lambda of: SetFirewall(
        _text(of["table"]), _number(of["family"]), _text(of["text"])
    ),
    "SetDns": lambda of: SetDns(
        _text(of["name"]),
        _texts(of["servers"]),
        _texts(of["search"]),
        DnsBackend[_text(of["through"])],
        _text_or_none(of["old"]),
    ),
}
