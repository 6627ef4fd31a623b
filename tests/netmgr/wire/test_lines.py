"""Lines between a command and a node."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import Kind
from netmgr.wire.lines import (
    MAX_REQUEST_SIZE,
    Request,
    format_error,
    format_request,
    format_result,
    parse_answer,
    parse_request,
)
from wgpy.errors import ConfigError
from wgpy.model import Prefix

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@dataclass(frozen=True, slots=True)
class View:
    name: str
    prefix: Prefix
    kinds: frozenset[Kind] = frozenset()


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_a_request_comes_back_and_is_one_line(verb: str, arguments: dict[str, str]):
    line = format_request(verb, arguments)
    assert parse_request(line) == Request(verb, arguments)
    assert line.index(b"\n") == len(line) - 1


@given(json_values)
def test_a_result_comes_back_and_is_one_line(value: object):
    line = format_result(value)
    assert parse_answer(line) == value
    assert line.index(b"\n") == len(line) - 1


def test_values_of_ours_become_plain_ones():
    view = View("alice", Prefix(b"\x0a\x01\x01\x00", 24), frozenset({Kind.LOCAL}))
    assert parse_answer(format_result({7: (view,)})) == {
        "7": [{"name": "alice", "prefix": ["0a010100", 24], "kinds": [1]}]
    }


def test_what_cannot_be_told_is_a_bug():
    with pytest.raises(TypeError):
        format_result(View)


@given(st.text())
def test_a_refusal_keeps_its_words(words: str):
    with pytest.raises(ConfigError) as caught:
        parse_answer(format_error(words))
    assert str(caught.value) == words


@given(st.binary())
def test_garbage_is_refused(line: bytes):
    for parse in (parse_request, parse_answer):
        with pytest.raises(ConfigError):
            parse(line)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"verb": 7},
        {"verb": "pin", "arguments": []},
        {"verb": "pin", "arguments": {"name": 7}},
    ],
)
def test_what_asks_nothing_is_refused(value: object):
    with pytest.raises(ConfigError):
        parse_request(json.dumps(value).encode())


def test_arguments_may_be_missing():
    assert parse_request(b'{"verb":"status"}') == Request("status", {})


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"ok":false}', b'{"ok":1,"error":7}', b"7"])
def test_a_damaged_answer_is_refused(line: bytes):
    with pytest.raises(ConfigError):
        parse_answer(line)


def test_what_no_node_would_read_is_not_sent():
    with pytest.raises(ConfigError, match="longer"):
        format_request("pin", {"name": "x" * MAX_REQUEST_SIZE})
