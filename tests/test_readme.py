"""What the README shows runs as it stands there."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from netmgr import options
from netmgr.cli import main
from tests.lab import Lab, wait_until

README = Path(__file__).parent.parent / "README.md"
PARTS = {"wgpy": ("engine", "wire", "io", "kernels"), "netmgr": ("engine", "wire", "io", "ui")}
MAPPED = [
    path for top, parts in PARTS.items() for path in (top, *(f"{top}/{one}" for one in parts))
]
# What stands for each program of the two commands: it tells its name and words. `python3` makes
# the environment, `sudo` runs what it is given.
STUB = """#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
case ${0##*/} in
  python3)
    mkdir -p .venv/bin
    for name in pip python wg_netmanager; do ln -s "$0" .venv/bin/$name; done;;
  sudo) "$@";;
esac
"""


@pytest.mark.parametrize("sudo", [True, False], ids=["sudo", "no_sudo"])
def test_the_two_commands_run_with_sudo_and_without(tmp_path: Path, sudo: bool):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("python3", "sudo") if sudo else ("python3",):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    for name in ("mkdir", "ln"):
        (programs / name).symlink_to(shutil.which(name) or "")
    chapter = README.read_text().partition("## Two commands")[2].partition("## A network")[0]
    commands = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    assert len(commands) == 2
    for number, (command, last) in enumerate(
        zip(commands, ("wg_netmanager demo", "python -m tests.check"), strict=True)
    ):
        place, log = tmp_path / str(number), tmp_path / f"{number}.log"
        place.mkdir()
        env = {"PATH": str(programs), "LOG": str(log)}
        subprocess.run(["/bin/sh", "-c", command], cwd=place, env=env, check=True)
        said = log.read_text().splitlines()
        assert [line.split()[0] for line in said[:2]] == ["python3", "pip"]
        assert said[2:] == ([f"sudo .venv/bin/{last}", last] if sudo else [last])


@pytest.mark.parametrize("folder", MAPPED)
def test_the_map_names_every_module_and_no_other(folder: str):
    row = re.search(rf"^\| `{folder}/` \|(.*)$", README.read_text(), re.MULTILINE)
    assert row is not None
    there = {path.stem for path in (README.parent / folder).glob("[!_]*.py")}
    named = set(re.findall(r"`(\w+)`", row[1]))
    assert there - named == set()
    assert named - there <= {"up", "reload"}  # the commands


def test_the_commands_of_a_network_are_those_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(options, "NETWORK_FILE", str(tmp_path / "network.yaml"))
    monkeypatch.setattr(options, "PEER_FILE", str(tmp_path / "peer.yaml"))
    chapter = README.read_text().partition("## A network in")[2].partition("### Containers")[0]
    lines = [
        shlex.split(line.partition("#")[0])[1:]
        for line in re.findall(r"^ *wg_netmanager (?:init|-i) .*$", chapter, re.MULTILINE)
    ]
    assert len(lines) >= 8
    for words in lines:
        starts = [word for word in words if word != "install"]
        assert main(words if words[0] == "init" else [*starts, "-O"]) == 0, words
    assert "10.1.1.4" in capsys.readouterr().out


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("ip")
def test_the_example_serves_until_its_interface_is_deleted(lab: Lab, tmp_path: Path):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    program = tmp_path / "example.py"
    program.write_text(example)
    ns = lab.ns()
    child = lab.python(ns, "-u", str(program))
    child.wait_log("serving wg0 on port 51820", timeout=10)
    wait_until(lambda: "10.0.0.1/24" in lab.ip(ns, "addr", "show", "wg0"), why="its address")
    lab.ip(ns, "link", "delete", "wg0")
    assert child.wait(5) == 0, child.log()
