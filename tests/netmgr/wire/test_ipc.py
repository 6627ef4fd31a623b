"""Requests, answers and snapshots as lines of JSON."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import Snapshot
from netmgr.wire import ipc
from tests.netmgr.views import SNAPSHOT
from wgpy.errors import ConfigError


def test_a_request_comes_back_as_it_was():
    line = ipc.format_request("pin", {"name": "alice"})
    assert line.endswith(b"\n")
    assert ipc.parse_request(line) == ipc.Request("pin", {"name": "alice"})
    assert ipc.parse_request(b'{"verb": "reload"}') == ipc.Request("reload", {})


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"verb":1}', b'{"verb":"a","arguments":3}', b"[" * 100000]
)
def test_what_is_no_request_is_refused(line: bytes):
    with pytest.raises(ConfigError, match="no request"):
        ipc.parse_request(line)


def test_arguments_are_texts():
    with pytest.raises(ConfigError, match="arguments are texts"):
        ipc.parse_request(b'{"verb":"a","arguments":{"b":1}}')


def test_an_answer_is_a_result_or_a_reason():
    assert ipc.parse_answer(ipc.format_answer({"a": 1})) == {"a": 1}
    assert ipc.parse_answer(b'{"ok": true}') == {}
    with pytest.raises(ConfigError, match=r"^not that one$"):
        ipc.parse_answer(ipc.format_refusal("not\nthat one"))


@pytest.mark.parametrize("line", [b"", b"x", b'{"ok": false}', b'{"error": "a\\nb"}'])
def test_a_strange_answer_is_told_as_such(line: bytes):
    with pytest.raises(ConfigError, match="answers in a way"):
        ipc.parse_answer(line)


def test_a_snapshot_comes_back_as_it_was():
    line = ipc.format_answer(ipc.snapshot_to_plain(SNAPSHOT))
    assert ipc.snapshot_from_plain(ipc.parse_answer(line)) == SNAPSHOT


def test_members_may_lack_and_others_are_passed_over():
    empty = ipc.snapshot_from_plain({"name": "alice", "later": [1]})
    assert empty == Snapshot("alice", "", "", "", "", "", "", 0, 0.0)


@pytest.mark.parametrize(
    "plain",
    [
        {"name": 1},
        {"listen_port": "1"},
        {"listen_port": True},
        {"uptime": "1"},
        {"uptime": True},
        {"seeds": "a"},
        {"seeds": [1]},
        {"peers": [1]},
        {"peers": [{"reachable": 1}]},
        {"drops": [1]},
        {"drops": [["a"]]},
    ],
)
def test_a_member_of_another_type_is_strange(plain: dict[str, object]):
    with pytest.raises(ConfigError, match="answers in a way"):
        ipc.snapshot_from_plain(plain)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(
            st.sampled_from([*ipc.snapshot_to_plain(SNAPSHOT), "ok", "verb"]), inner
        ),
    ),
)


@given(JSON)
def test_any_json_is_taken_or_refused(value: object):
    line = json.dumps(value).encode()
    for parse in (ipc.parse_request, ipc.parse_answer):
        try:
            parse(line)
        except ConfigError as error:
            assert len(str(error).splitlines()) <= 1
    if isinstance(value, dict):
        with suppress(ConfigError):
            ipc.snapshot_from_plain(value)
