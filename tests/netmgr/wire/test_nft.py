"""What rules of nftables do to a port and to what is forwarded."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.wire.nft import drops_forwarded, drops_port


def chain(name: str, hook: str | None = None, policy: str = "accept") -> dict[str, object]:
    base = {"type": "filter", "hook": hook, "prio": 0, "policy": policy} if hook else {}
    return {"chain": {"family": "inet", "table": "filter", "name": name, **base}}


def rule(name: str, *parts: object) -> dict[str, object]:
    where = {"family": "inet", "table": "filter", "chain": name}
    return {"rule": {**where, "expr": list(parts)}}


def match(left: object, right: object, op: str = "==") -> dict[str, object]:
    return {"match": {"op": op, "left": left, "right": right}}


def port(right: object, protocol: str = "udp", op: str = "==") -> dict[str, object]:
    return match({"payload": {"protocol": protocol, "field": "dport"}}, right, op)


def meta(key: str, right: object) -> dict[str, object]:
    return match({"meta": {"key": key}}, right)


def ruleset(*entries: object) -> str:
    return json.dumps({"nftables": [{"metainfo": {}}, *entries]})


ACCEPT, DROP, REJECT = {"accept": None}, {"drop": None}, {"reject": {"type": "tcp reset"}}
BASE = chain("input", "input", "drop")


@pytest.mark.parametrize(
    ("entries", "drops"),
    [
        ([], False),
        ([chain("input", "input")], False),
        ([BASE], True),
        ([BASE, rule("input", port(50001), ACCEPT)], False),
        ([BASE, rule("input", port(50001, "tcp"), ACCEPT)], True),
        ([BASE, rule("input", port(50001, op="!="), ACCEPT)], True),
        ([BASE, rule("input", port(50002), ACCEPT)], True),
        ([BASE, rule("input", port({"set": [22, {"range": [50000, 50010]}]}), ACCEPT)], False),
        ([BASE, rule("input", port({"range": [1, "x"]}), ACCEPT)], True),
        ([BASE, rule("input", meta("l4proto", "udp"), port(50001, "th"), ACCEPT)], False),
        ([BASE, rule("input", meta("l4proto", {"set": ["tcp"]}), ACCEPT)], True),
        ([BASE, rule("input", meta("iifname", "lo"), ACCEPT)], True),
        ([BASE, rule("input", {"counter": {}}, ACCEPT)], False),
        ([chain("input", "input"), rule("input", DROP)], True),
        ([chain("input", "input"), rule("input", port(50001), REJECT)], True),
        ([chain("input", "forward", "drop")], False),
        ([BASE, chain("users"), rule("input", {"jump": {"target": "users"}}),
          rule("users", {"log": None}), rule("users", port(50001), ACCEPT)], False),
        ([BASE, chain("users"), rule("input", {"goto": {"target": "users"}})], True),
        ([BASE, chain("a"), rule("input", {"jump": {"target": "a"}}),
          rule("a", {"jump": {"target": "a"}})], True),
        ([BASE, rule("input", {"jump": {"target": "none"}})], True),
        ([BASE, rule("elsewhere", ACCEPT)], True),
        ([BASE, {"rule": {"family": "inet", "table": "filter", "chain": "input"}}], True),
    ],
)  # fmt: skip
def test_a_port_is_closed_by_what_concerns_it(entries: list[object], *, drops: bool):
    found = drops_port(ruleset(*entries), 50001)
    assert found == ("inet filter input" if drops else None)


@pytest.mark.parametrize(
    ("parts", "drops"),
    [
        ([meta("iifname", "wg0"), ACCEPT], False),
        ([meta("iifname", "wg*"), meta("oifname", "eth0"), ACCEPT], False),
        ([meta("iifname", {"set": ["docker0", "wg0"]}), ACCEPT], False),
        ([meta("iifname", "docker0"), ACCEPT], True),
        ([match({"meta": {"key": "iifname"}}, "wg0", "!="), ACCEPT], True),
        ([port(1), ACCEPT], True),
    ],
)
def test_forwarding_is_dropped_unless_the_interface_is_named(
    parts: list[object], *, drops: bool
):
    found = drops_forwarded(
        ruleset(chain("FORWARD", "forward", "drop"), rule("FORWARD", *parts)), "wg0"
    )
    assert (found is not None) == drops


@given(st.one_of(st.text(), st.recursive(
    st.none() | st.integers() | st.sampled_from(["chain", "rule", "match", "accept"]),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["nftables", "chain", "rule", "expr", "match", "left", "right"]),
        inner),
).map(json.dumps)))  # fmt: skip
def test_what_is_no_ruleset_drops_nothing_and_raises_nothing(text: str):
    drops_port(text, 1)
    drops_forwarded(text, "wg0")
