"""Snapshots as JSON and back."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import Snapshot
from netmgr.wire import ipc
from netmgr.wire.lines import format_result, parse_answer
from tests.netmgr.views import REFUSAL, SNAPSHOT
from wgpy.errors import ConfigError


def test_a_snapshot_comes_back_as_it_was():
    for each in (SNAPSHOT, replace(SNAPSHOT, refusals=(REFUSAL,))):
        text = json.dumps(ipc.snapshot_to_plain(each))
        assert ipc.snapshot_from_plain(json.loads(text)) == each
    told = parse_answer(format_result(SNAPSHOT))
    assert isinstance(told, dict)
    assert ipc.snapshot_from_plain(told) == SNAPSHOT


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


NAMES = st.sampled_from(list(ipc.snapshot_to_plain(SNAPSHOT)))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(NAMES, inner)),
)


@given(st.dictionaries(NAMES, JSON))
def test_any_object_is_taken_or_refused(value: dict[str, object]):
    with suppress(ConfigError):
        ipc.snapshot_from_plain(value)
