import os
import stat
from pathlib import Path

import pytest

from wgpy.kernels import cache


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "wgpy"


def test_what_was_written_is_read(place):
    assert cache.read("one") is None
    assert cache.write("one", b"first")
    assert cache.write("one", b"second")
    assert cache.read("one") == b"second"
    assert cache.read("other") is None


def test_nobody_else_sees_it_and_nothing_else_is_left(place):
    cache.write("one", b"content")
    assert [path.name for path in place.iterdir()] == ["one"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "one").stat().st_mode) == 0o600


def test_a_folder_that_others_may_write_to_is_none(place):
    cache.write("one", b"content")
    for mode in (0o720, 0o702, 0o1777):
        place.chmod(mode)
        assert cache.read("one") is None
        assert not cache.write("one", b"more")
    place.chmod(0o755)
    assert cache.read("one") == b"content"


def test_a_file_that_others_may_see_or_write_is_none(place):
    cache.write("one", b"content")
    for mode in (0o640, 0o604, 0o620, 0o602):
        (place / "one").chmod(mode)
        assert cache.read("one") is None
    (place / "one").chmod(0o600)
    assert cache.read("one") == b"content"


def test_a_link_is_none(place):
    cache.write("one", b"content")
    (place / "two").symlink_to(place / "one")
    assert cache.read("two") is None
    place.rename(place.with_name("real"))
    place.symlink_to(place.with_name("real"))
    assert cache.read("one") is None
    assert not cache.write("one", b"more")


def test_what_is_no_file_or_too_large_is_none(place):
    assert cache.write("large", bytes((1 << 20) + 1))
    assert cache.read("large") is None
    os.mkfifo(place / "pipe", 0o600)
    assert cache.read("pipe") is None
    (place / "folder").mkdir(mode=0o700)
    assert cache.read("folder") is None
    assert not cache.write("folder", b"content")
    assert sorted(path.name for path in place.iterdir()) == ["folder", "large", "pipe"]


def test_what_belongs_to_others_is_none(place):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    cache.write("one", b"content")
    os.chown(place / "one", 1, 1)
    assert cache.read("one") is None
    cache.write("one", b"content")
    os.chown(place, 1, 1)
    assert cache.read("one") is None
    assert not cache.write("one", b"more")


def test_where_nothing_can_be_made_nothing_is_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not cache.write("one", b"content")
    assert cache.read("one") is None


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    home = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    assert cache.folder() == home / "wgpy"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.folder() == Path("/elsewhere/wgpy")
