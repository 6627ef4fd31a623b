"""What the firewall's rules do to a datagram, from `nft --json list ruleset`.

Rules are not carried out: the verdict is what the rules of a hook say of a port or an interface
by name, else the policy of its chain. That is how people, Docker and ufw write them; chains
that are jumped to count as part of the hook.
"""

import json
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

_REFUSALS: Final = ("drop", "reject")
_MAX_DEPTH: Final = 16

Tree: TypeAlias = dict[str, object]


class _Chain(NamedTuple):
    name: str
    policy: str
    rules: list[list[Tree]]


def drops_port(ruleset: str, port: int) -> str | None:
    """Return the chain that drops datagrams to a UDP port of this host; None if none does."""
    return _dropping(ruleset, "input", lambda match: _is_port(match, port))


def drops_forwarded(ruleset: str, interface: str) -> str | None:
    """Return the chain that drops what an interface forwards; None if none does."""
    return _dropping(ruleset, "forward", lambda match: _is_interface(match, interface))


def _dropping(ruleset: str, hook: str, concerns: Callable[[Tree], bool]) -> str | None:
    """Return the first base chain of a hook that does not let through what is meant."""
    chains, bases = _chains(ruleset)
    for base in bases.get(hook, []):
        verdict = _verdict(chains, chains[base], concerns, _MAX_DEPTH)
        if (verdict or chains[base].policy) in _REFUSALS:
            return chains[base].name
    return None


def _verdict(
    chains: dict[tuple[str, ...], _Chain],
    chain: _Chain,
    concerns: Callable[[Tree], bool],
    depth: int,
) -> str | None:
    table = tuple(chain.name.split()[:2])
    for rule in chain.rules:
        matches = [_tree(part["match"]) for part in rule if "match" in part]
        if not matches or all(map(concerns, matches)):
            target = _target(rule)
            if target in ("accept", *_REFUSALS):
                return target
            follow = chains.get((*table, target)) if target and depth else None
            found = _verdict(chains, follow, concerns, depth - 1) if follow else None
            if found is not None:
                return found
    return None


def _target(rule: list[Tree]) -> str | None:
    """Return the verdict of a rule, or the chain that it goes on with."""
    for part in rule:
        for word in ("accept", *_REFUSALS):
            if word in part:
                return word
        for word in ("jump", "goto"):
            if word in part:
                return str(_tree(part[word]).get("target"))
    return None


def _is_port(match: Tree, port: int) -> bool:
    """Tell whether a match is true of any datagram to the port, from wherever it comes."""
    left, right = _tree(match.get("left")), match.get("right")
    payload, meta = _tree(left.get("payload")), _tree(left.get("meta"))
    if payload.get("field") == "dport" and payload.get("protocol") in ("udp", "th"):
        return match.get("op") == "==" and any(_covers(each, port) for each in _values(right))
    if meta.get("key") == "l4proto" or payload.get("field") in ("protocol", "nexthdr"):
        return any(each in ("udp", 17) for each in _values(right))
    return False


def _is_interface(match: Tree, interface: str) -> bool:
    meta = _tree(_tree(match.get("left")).get("meta"))
    if meta.get("key") == "oifname":  # wherever it goes
        return True
    if meta.get("key") != "iifname" or match.get("op") != "==":
        return False
    return any(
        each == interface
        or (isinstance(each, str) and each.endswith("*") and interface.startswith(each[:-1]))
        for each in _values(match.get("right"))
    )


def _values(right: object) -> list[object]:
    inner = _tree(right).get("set", right)
    return list(inner) if isinstance(inner, list) else [inner]


def _covers(value: object, port: int) -> bool:
    bounds = _tree(value).get("range")
    if isinstance(bounds, list) and len(bounds) == 2:
        low, high = bounds
        return isinstance(low, int) and isinstance(high, int) and low <= port <= high
    return value == port


def _chains(
    ruleset: str,
) -> tuple[dict[tuple[str, ...], _Chain], dict[str, list[tuple[str, ...]]]]:
    """Return all chains by family, table and name, and the base chains of each hook."""
    chains: dict[tuple[str, ...], _Chain] = {}
    bases: dict[str, list[tuple[str, ...]]] = {}
    for kind, entry in _entries(ruleset):
        name = "name" if kind == "chain" else "chain"
        key = tuple(str(entry.get(part)) for part in ("family", "table", name))
        if kind == "chain":
            chains[key] = _Chain(" ".join(key), str(entry.get("policy", "accept")), [])
            if entry.get("type") == "filter":
                bases.setdefault(str(entry.get("hook")), []).append(key)
        elif key in chains:
            parts = entry.get("expr")
            chains[key].rules.append(list(map(_tree, parts)) if isinstance(parts, list) else [])
    return chains, bases


def _entries(ruleset: str) -> Iterator[tuple[str, Tree]]:
    """Yield chains and rules; nothing if this is no ruleset."""
    try:
        found = _tree(json.loads(ruleset)).get("nftables")
    except (ValueError, RecursionError):
        return
    for each in found if isinstance(found, list) else []:
        for kind in ("chain", "rule"):
            entry = _tree(each).get(kind)
            if isinstance(entry, dict):
                yield kind, entry


def _tree(value: object) -> Tree:
    return value if isinstance(value, dict) else {}
