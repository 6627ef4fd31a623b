"""Identities that are taken along, and nothing left behind."""

import io
import os
import re
import socket
from pathlib import Path

import pytest

from netmgr import keeping, options
from netmgr.cli import main
from netmgr.engine.signing import NetworkKeys
from netmgr.io import store
from netmgr.io.health import sockets
from netmgr.io.store import IDENTITY, STATE, Store, default_directory
from tests.netmgr.texts import THREE_BOXES
from wgpy.hostmodel import SetSysctl
from wgpy.io.undo_file import UndoFile
from wgpy.wire.steps import Record


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the program places of the test's own."""
    monkeypatch.setattr(options, "PEER_FILE", str(tmp_path / "peer.yaml"))
    monkeypatch.setattr(options, "NETWORK_FILE", str(tmp_path / "network.yaml"))
    monkeypatch.setattr(store, "ROOT", str(tmp_path / "lib"))
    monkeypatch.setattr(keeping, "DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(keeping, "UNIT_PATH", str(tmp_path / "unit"))
    for name in [each for each in os.environ if each.startswith("NETMGR_")]:
        monkeypatch.delenv(name)
    (tmp_path / "network.yaml").write_text(THREE_BOXES)
    (tmp_path / "network.yaml").chmod(0o600)
    return tmp_path


def home(host: Path, last: int = 2) -> Path:
    network = options.load_network(str(host / "network.yaml"), print)
    net_id = NetworkKeys(network.shared_key).net_id
    return Path(default_directory(net_id, bytes([10, 1, 1, last])))


def made(path: Path) -> None:
    Store(str(path), print, {}).close()
    (path / STATE).write_text("{}")
    (path / f".{STATE}.1.new").touch()


def test_an_identity_is_exported_once_and_imported_where_none_is(
    host: Path, capsys: pytest.CaptureFixture[str]
):
    made(home(host))
    file = host / "bob.key"
    assert main(["identity", "export", str(file)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"id: [0-9a-f]{64}\n", told)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == (home(host) / IDENTITY).read_text()
    assert main(["identity", "export", str(file)]) == 1
    assert "exists" in capsys.readouterr().err
    new = host / "new"
    assert main(["identity", "import", str(file), "--state", str(new)]) == 0
    assert capsys.readouterr().out.rsplit(" ", 1)[1] in told
    assert (new / IDENTITY).read_text() == file.read_text()
    made(host / "other")
    assert main(["identity", "import", str(file), "--state", str(host / "other")]) == 1
    assert "another identity" in capsys.readouterr().err


def test_an_identity_of_the_environment_is_exported_too(
    host: Path, monkeypatch: pytest.MonkeyPatch
):
    made(home(host))
    text = (home(host) / IDENTITY).read_text().strip()
    monkeypatch.setenv("NETMGR_IDENTITY", text)
    assert main(["identity", "export", str(host / "key"), "--state", "/nowhere"]) == 0
    assert (host / "key").read_text().strip() == text


@pytest.mark.parametrize("nodes", [(), (2, 3)])
def test_the_node_that_is_meant_must_be_clear(
    host: Path, capsys: pytest.CaptureFixture[str], nodes: tuple[int, ...]
):
    for last in nodes:
        made(home(host, last))
    assert main(["identity", "export", str(host / "key")]) == 2
    said = capsys.readouterr().err
    assert "-a 10.1.1.2 or 10.1.1.3" in said if nodes else "-a names one" in said
    assert main(["identity", "export", str(host / "key"), "-a", "10.1.1.9"]) == 1
    assert "no such file" in capsys.readouterr().err


def test_purge_removes_what_was_written_and_its_own_dead_socket(host: Path):
    made(home(host))
    (host / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as alive:
        dead.bind(str(host / "run" / "wg0.sock"))
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(host / "run" / "wg2.sock"))
        alive.bind(str(host / "run" / "wg1.sock"))
        alive.listen()
        dead.close()
        assert main(["purge", "-i", "wg0", "--yes"]) == 0
    assert not (host / "lib" / home(host).parent.name).exists()
    assert {each.name for each in (host / "run").iterdir()} == {"wg1.sock", "wg2.sock"}
    assert (host / "network.yaml").exists()
    assert main(["purge", "-a", "10.1.1.2", "--yes"]) == 0


@pytest.mark.parametrize("words", [(), ("-i", "wg0")])
def test_what_a_killed_node_left_is_removed_without_its_identity(
    host: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
):
    made(home(host))
    kept = home(host) / IDENTITY
    (host / "network.yaml").unlink()  # it takes none
    (host / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as alive:
        dead.bind(str(host / "run" / "wg0.sock"))
        alive.bind(str(host / "run" / "wg1.sock"))
        alive.listen()
        dead.close()
        # It is as it was already: no privilege is asked.
        setting = SetSysctl("net.ipv4.conf.lo.bootp_relay", "1", "0")
        namespace = os.stat("/proc/self/ns/net").st_ino
        UndoFile("wg0", str(host / "run")).write(Record("", namespace, done=(setting,)))
        assert "of its routes, rules and settings 1 are left" in sockets(f"{host}/run").text
        assert main(["purge", "--keep-identity", *words]) == 0
        assert capsys.readouterr().out == (
            f"= sysctl    {setting.name} = 0\n"
            f"removed {host}/run/wg0.sock\nremoved {host}/run/wg0.json\n"
        )
        assert main(["purge", "--keep-identity", *words]) == 0
        assert "nothing of a node that is gone" in capsys.readouterr().out
    assert {each.name for each in (host / "run").iterdir()} == {"wg1.sock"}
    assert kept.exists()


def test_of_several_identities_purge_wants_to_know_which(
    host: Path, capsys: pytest.CaptureFixture[str]
):
    for last in (2, 3):
        made(home(host, last))
    assert main(["purge", "-i", "wg0", "--yes"]) == 2
    assert "-a 10.1.1.2 or 10.1.1.3, or --all" in capsys.readouterr().err
    assert home(host, 2).exists() and home(host, 3).exists()
    assert main(["purge", "--all", "--yes"]) == 0
    said = capsys.readouterr().out
    for last in (2, 3):
        assert f"to be removed: {home(host, last)}, with the identity" in said
        assert not home(host, last).exists()


def test_purge_refuses_while_the_node_runs(host: Path, capsys: pytest.CaptureFixture[str]):
    with Store(str(home(host)), print, {}):
        assert main(["purge", "--yes"]) == 1
        assert f"is in use by the node with pid {os.getpid()}" in capsys.readouterr().err
        assert (home(host) / IDENTITY).exists()


@pytest.mark.parametrize("address", ["10.9.9.9", "10.1.1.255"])
def test_an_address_that_no_node_can_have_is_refused(
    host: Path, capsys: pytest.CaptureFixture[str], address: str
):
    for words in (["purge", "--yes"], ["identity", "export", str(host / "key")]):
        assert main([*words, "-a", address]) == 2
        assert f"-a: {address} is " in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "gone"), [("n\n", False), ("yes\n", True)])
def test_purge_asks(host: Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, gone: bool):
    made(home(host))
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["purge"]) == (0 if gone else 1)
    assert home(host).exists() != gone


def test_purge_without_anybody_to_ask_wants_yes(
    host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    made(home(host))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["purge"]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert home(host).exists()
