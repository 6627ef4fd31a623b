"""What the README shows runs as it stands there."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import netmgr
from netmgr import options
from netmgr.cli import main
from tests.lab import Lab, wait_until
from tests.namespaces.mesh import KEY, three_boxes

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


def examples() -> list[str]:
    """Return the programs in Python: a node, a node of a mesh, settings without a file."""
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


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
    program = tmp_path / "example.py"
    program.write_text(examples()[0])
    ns = lab.ns()
    child = lab.python(ns, "-u", str(program))
    child.wait_log("serving wg0 on port 51820", timeout=10)
    wait_until(lambda: "10.0.0.1/24" in lab.ip(ns, "addr", "show", "wg0"), why="its address")
    lab.ip(ns, "link", "delete", "wg0")
    assert child.wait(5) == 0, child.log()


def test_the_settings_without_a_file_are_those_of_one(tmp_path: Path):
    found: dict[str, netmgr.Settings] = {}
    exec(examples()[2], {"netmgr": netmgr}, found)
    path = tmp_path / "network.yaml"
    path.write_text(
        f"network: {{sharedKey: {KEY}, subnet: 10.1.1.0/24}}\n"
        'peers: [{endPoint: "vps.example.org:50001", wgIp: 10.1.1.1}]\n'
    )
    path.chmod(0o600)
    same = netmgr.load_settings(path, address="10.1.1.5", name="web", interface="wg1")
    assert found["settings"] == same


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("ip", "ping")
@pytest.mark.parametrize("end", ["signal", "interface"])
def test_the_example_of_a_mesh_joins_it_and_ends_cleanly(lab: Lab, end: str):
    """Only where the file and the state are, and the name of the interface, is of the test."""
    mesh, _, _ = three_boxes(lab, sys.executable)
    alice, web = mesh.boxes[0], mesh.boxes[1]
    alice.start()
    text = examples()[1].replace("/etc/wg_netmanager/network.yaml", str(mesh.file))
    words = f'interface="{web.interface}", state="{web.state}"'
    child = lab.python(web.ns, "-u", "-c", text.replace('interface="wg1"', words))
    child.wait_log(r"NodeJoined\(name='alice'", 10)
    child.wait_log(r"alice 10\.1\.1\.1 (none|lan|direct) (None|0\.\d+)", 10)
    lab.wait_ping(alice.ns, "10.1.1.5")
    if end == "signal":
        child.signal(signal.SIGTERM)
    else:
        lab.ip(web.ns, "link", "delete", web.interface)
    assert child.wait(10) == 0, child.log()
    assert "Traceback" not in child.log()
    web.leaves_nothing()
    if end == "signal":
        assert alice.child is not None
        alice.child.wait_log("web is gone: said goodbye", 10)
