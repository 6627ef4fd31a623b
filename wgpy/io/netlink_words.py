"""Messages of routes, rules and addresses as pyroute2 has them, from and to our own nouns."""

import socket
from typing import Any, Final, TypeAlias

from wgpy.hostmodel import ROUTE_PROTOCOL, V4, V6, AddRule, AddUnreachable, Rule
from wgpy.model import InterfaceAddress, Prefix
from wgpy.wire.text import parse_address

FAMILIES: Final = {V4: int(socket.AF_INET), V6: int(socket.AF_INET6)}
_EMPTY: Final = {int(socket.AF_INET): bytes(4), int(socket.AF_INET6): bytes(16)}
# linux/fib_rules.h
_FIB_RULE_INVERT: Final = 2
# Any other default route of a table comes before it.
_LAST_PRIORITY: Final = 1 << 31
# pyroute2 is not typed: a netlink message.
Message: TypeAlias = Any


def interface_address(message: Message) -> InterfaceAddress:
    """Return the address; of a point-to-point pair the own end."""
    host = message.get("local") or message.get("address")
    return InterfaceAddress(parse_address(host), int(message["prefixlen"]))


def destination(route: Message) -> Prefix:
    """Return what a route leads to."""
    text, length = route.get("dst"), int(route["dst_len"])
    return Prefix(parse_address(text) if text else _EMPTY[int(route["family"])], length)


def rule(family: int, message: Message) -> Rule:
    """Return the rule; what it does is told only of ours, so that no other is ever met."""
    priority = int(message.get("priority") or 0)
    if message.get("protocol") != ROUTE_PROTOCOL:
        return Rule(family, priority)
    mark = message.get("fwmark") if message["flags"] & _FIB_RULE_INVERT else None
    suppress = message.get("suppress_prefixlen") == 0
    return Rule(family, priority, int(message.get("table")), mark, suppress)


def unreachable_words(route: AddUnreachable) -> dict[str, object]:
    """Return such a route of ours in the words of pyroute2."""
    return {
        "family": FAMILIES[route.family],
        "dst": "0.0.0.0/0" if route.family == V4 else "::/0",
        "type": "unreachable",
        "table": route.table,
        "proto": ROUTE_PROTOCOL,
        "priority": _LAST_PRIORITY,
    }


def rule_words(rule: AddRule) -> dict[str, object]:
    """Return a rule of ours in the words of pyroute2."""
    words: dict[str, object] = {
        "family": FAMILIES[rule.family],
        "priority": rule.priority,
        "table": rule.table,
        "FRA_PROTOCOL": ROUTE_PROTOCOL,
    }
    if rule.unless_mark is None:
        return {**words, "FRA_SUPPRESS_PREFIXLEN": 0}
    return {**words, "fwmark": rule.unless_mark, "flags": _FIB_RULE_INVERT}
