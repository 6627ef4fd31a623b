"""Records of changes on disk."""

import os
from pathlib import Path

import pytest

from wgpy.errors import ConfigError
from wgpy.hostmodel import CreateInterface
from wgpy.io.undo_file import UndoFile, locked
from wgpy.wire.steps import Record

RECORD = Record("/etc/wireguard/wg0.conf", 1, done=(CreateInterface("wg0"),))


def test_a_record_is_private_and_comes_back(tmp_path: Path):
    with locked("wg0", str(tmp_path / "wgpy")) as file:
        assert file.read() is None
        file.write(RECORD)
        assert file.read() == RECORD
        assert Path(file.path).stat().st_mode & 0o777 == 0o600
        file.remove()
        file.remove()
        assert file.read() is None
    assert (tmp_path / "wgpy").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "wgpy").iterdir()) == []


def test_one_command_at_a_time_works_on_an_interface(tmp_path: Path):
    folder = str(tmp_path)
    busy = pytest.raises(ConfigError, match="another wgpy command")
    with locked("wg0", folder), locked("wg1", folder), busy, locked("wg0", folder):
        pass
    with locked("wg0", folder):
        pass


def test_a_damaged_record_names_its_file(tmp_path: Path):
    file = UndoFile("wg0", str(tmp_path))
    Path(file.path).write_text("{")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        file.read()


def test_others_are_the_readable_records_of_other_interfaces(tmp_path: Path):
    mine, good, bad = (UndoFile(name, str(tmp_path)) for name in ("wg0", "wg1", "wg2"))
    mine.write(RECORD)
    good.write(RECORD)
    Path(bad.path).write_text("{")
    assert [(other.path, record) for other, record in mine.others()] == [(good.path, RECORD)]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as caught, locked("wg0", str(tmp_path / "file")):
        pass
    assert ("use sudo" in str(caught.value)) == (os.geteuid() != 0)
