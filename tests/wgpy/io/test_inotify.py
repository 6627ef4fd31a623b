import os
import re
import select
import socket
from pathlib import Path

import pytest

from wgpy.errors import ConfigError
from wgpy.io import inotify
from wgpy.io.inotify import FileWatch


@pytest.fixture
def path(tmp_path):
    return tmp_path / "wg0.sock"


@pytest.fixture
def watch(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        made = FileWatch(path)
        yield made
        made.close()


def woken(watch: FileWatch, timeout: float = 5) -> bool:
    return bool(select.select([watch], [], [], timeout)[0])


def test_nothing_happened_is_not_gone(watch):
    assert not woken(watch, 0)
    assert not watch.gone()
    assert not os.get_inheritable(watch.fileno())


def test_an_unlinked_socket_is_gone_while_still_open(watch, path):
    path.unlink()
    assert woken(watch)
    assert watch.gone()
    assert watch.gone()


def test_a_socket_moved_away_or_replaced_is_gone(watch, path):
    path.rename(path.with_suffix(".old"))
    path.touch()
    assert woken(watch)
    assert watch.gone()


def test_a_file_moved_over_it_is_gone(watch, path):
    other = path.with_suffix(".new")
    other.touch()
    other.rename(path)
    assert woken(watch)
    assert watch.gone()


def test_a_change_of_mode_or_a_client_is_not_gone(watch, path):
    path.chmod(0o600)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert woken(watch)
    assert not watch.gone()
    path.unlink()
    assert woken(watch)
    assert watch.gone()


def test_a_missing_file_cannot_be_watched(path):
    with pytest.raises(ConfigError, match=r"wg0\.sock cannot be watched: No such file"):
        FileWatch(path)


def test_the_constants_are_those_of_the_system():
    header = Path("/usr/include/x86_64-linux-gnu/sys/inotify.h")
    if not header.exists():
        pytest.skip("needs the headers of the C library")
    for name in ("IN_ATTRIB", "IN_DELETE_SELF", "IN_MOVE_SELF"):
        match = re.search(rf"{name}\s+(0x\w+)", header.read_text())
        assert match is not None
        assert int(match[1], 16) == getattr(inotify, name)
