"""Asking a node through its socket, and what is said when none answers."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmgr.io.asking import call
from netmgr.io.sockets import find_socket
from netmgr.wire import ipc
from tests.netmgr.answering import Answering
from wgpy.errors import ConfigError, UsageError


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Answering]:
    with Answering(tmp_path / "wg0.sock") as answering:
        yield answering


def test_a_question_is_answered(node: Answering):
    node.answer = ipc.format_answer({"message": "x" * 200_000})
    assert call(node.path, "pin", {"name": "bob"}) == {"message": "x" * 200_000}
    assert node.asked == [ipc.Request("pin", {"name": "bob"})]


def test_a_refusal_is_a_fault_in_one_line(node: Answering):
    node.answer = ipc.format_refusal("bob is unknown")
    with pytest.raises(ConfigError, match=r"^bob is unknown$"):
        call(node.path, "forget", {})


def test_an_answer_that_breaks_off_is_strange(node: Answering):
    node.answer = b'{"ok": tr'
    with pytest.raises(ConfigError, match="answers in a way"):
        call(node.path, "snapshot", {})


def test_no_node_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"x\.sock: no node is running there"):
        call(str(tmp_path / "x.sock"), "snapshot", {})
    with pytest.raises(ConfigError, match=r"nonexistent9\.sock: no node is running there"):
        call("nonexistent9", "snapshot", {})
    with pytest.raises(ConfigError, match="AF_UNIX path too long"):
        call("/" + "x" * 200, "snapshot", {})


def test_a_socket_left_behind_is_no_node(tmp_path: Path):
    path = str(tmp_path / "wg0.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with pytest.raises(ConfigError, match="no node is running there"):
        call(path, "snapshot", {})


def test_the_only_socket_is_taken(tmp_path: Path):
    folder = str(tmp_path)
    assert find_socket("wg7", folder) == f"{folder}/wg7.sock"
    with pytest.raises(ConfigError, match="no node is running"):
        find_socket(None, folder)
    with pytest.raises(ConfigError, match="no node is running"):
        find_socket(None, folder + "/none")
    (tmp_path / "wg0.sock").touch()
    assert find_socket(None, folder) == f"{folder}/wg0.sock"
    (tmp_path / "wg1.sock").touch()
    with pytest.raises(UsageError, match="choose one with -i: wg0, wg1"):
        find_socket(None, folder)
    with pytest.raises(ConfigError, match="Not a directory"):
        find_socket(None, folder + "/wg0.sock")
