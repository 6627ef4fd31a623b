"""The unit of systemd."""

import shutil
import subprocess
from pathlib import Path

import pytest

from netmgr.io.service import systemd_unit

COMMAND = ("/usr/bin/wg_netmanager", "-n", 'a "b"', "--state", "/s%d", "$HOME", "", "a\\b")


def test_words_reach_the_program_as_they_are():
    unit = systemd_unit(COMMAND, "/etc/50%.yaml")
    assert (
        'ExecStart=/usr/bin/wg_netmanager -n "a \\"b\\"" --state /s%%d $$HOME "" "a\\\\b"\n'
        in unit
    )
    assert "ConditionPathExists=/etc/50%%.yaml\n" in unit
    assert "ReadWritePaths" not in unit


def test_a_folder_of_state_and_of_logs_can_be_written():
    unit = systemd_unit(("/bin/x",), "/n", state="/srv/mesh", logs=True)
    assert "ReadWritePaths=-/srv/mesh\n" in unit
    assert "WorkingDirectory=%L/wg_netmanager\n" in unit


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path):
    path = tmp_path / "wg_netmanager.service"
    path.write_text(systemd_unit(("/bin/true", "a b", "$x"), "/n", state="/srv", logs=True))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert "wg_netmanager.service" not in done.stderr
