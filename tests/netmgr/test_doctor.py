"""What doctor says of a host, its files, its static peers and its node."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from netmgr import doctor, options
from netmgr.cli import main
from netmgr.engine.knock import Door, open_untrusted
from netmgr.engine.signing import NetworkKeys, address6
from netmgr.io import control_client, health
from netmgr.model import HostPort, Level
from netmgr.wire import ipc, lines
from tests.netmgr.answering import Answering
from tests.netmgr.texts import KEY, THREE_BOXES
from tests.netmgr.views import SNAPSHOT
from wgpy.hostmodel import AddUnreachable
from wgpy.io import clock
from wgpy.io.undo_file import UndoFile
from wgpy.model import Endpoint, Secret
from wgpy.wire.steps import Record
from wgpy.wire.text import parse_key

KEYS = NetworkKeys(Secret(parse_key(KEY)))


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(options, "PEER_FILE", str(tmp_path / "peer.yaml"))
    monkeypatch.setattr(options, "NETWORK_FILE", str(tmp_path / "network.yaml"))
    monkeypatch.setattr(health, "_PATIENCE", 0.2)
    for name in [each for each in os.environ if each.startswith("NETMGR_")]:
        monkeypatch.delenv(name)
    return tmp_path


def write(host: Path, place: HostPort) -> None:
    text = THREE_BOXES.replace("10.128.1.1:50001", str(place))
    (host / "network.yaml").write_text(text)
    (host / "network.yaml").chmod(0o600)


class Seed:
    """A static peer that opens its door to some key; without one it keeps silent."""

    def __init__(self, keys: NetworkKeys | None) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.place = HostPort("127.0.0.1", self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._answer, args=(keys,))

    def __enter__(self) -> "Seed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.place)
        self._thread.join()
        self._socket.close()

    def _answer(self, keys: NetworkKeys | None) -> None:
        door = Door(KEYS, clock.entropy, lambda _: False)
        while True:
            knock, (name, port) = self._socket.recvfrom(2048)
            if not knock:
                return
            if keys is None:
                continue
            _, body = open_untrusted(KEYS, knock)
            remote = Endpoint(socket.inet_aton(name), port)
            self._socket.sendto(
                door.receive_knock_untrusted(body, remote, clock.now()), (name, port)
            )


def test_a_seed_that_answers_tells_how_it_sees_us():
    with Seed(KEYS) as seed:
        found = doctor.seed(KEYS, seed.place)
    assert found.level is Level.OK
    assert found.text == f"{seed.place} answers, sees us as 127.0.0.1"


def test_a_silent_seed_an_absent_one_and_an_unknown_name_are_told_apart():
    with Seed(None) as seed:
        found = doctor.seed(KEYS, seed.place)
    assert (found.level, found.text) == (Level.FAIL, f"{seed.place}: no answer")
    assert "sharedKey" in found.todo
    absent = doctor.seed(KEYS, seed.place)
    assert absent.text.endswith("Connection refused")
    assert "start the node" in absent.todo
    unknown = doctor.seed(KEYS, HostPort("nowhere.invalid", 1))
    assert unknown.level is Level.FAIL
    assert "does not resolve" in unknown.text


def test_an_answer_of_another_network_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "ask", lambda *_: b"\x81" * 100)
    assert doctor.seed(KEYS, HostPort("127.0.0.1", 9)).text.endswith("no answer")


def test_wrong_files_fail_and_name_the_command_that_tells_more(
    host: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["doctor"]) == 1
    (line,) = [each for each in capsys.readouterr().out.splitlines() if " files " in each]
    assert line.startswith("FAIL  files ")
    assert "wg_netmanager check" in line


def test_json_has_the_same_findings(host: Path, capsys: pytest.CaptureFixture[str]):
    with Seed(KEYS) as seed:
        write(host, seed.place)
        main(["doctor", "-i", "wgt0", "-a", "10.1.1.2", "-n", "bob", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"level", "what", "text", "todo"} == set(found[0])
    levels = {each["what"]: each["level"] for each in found}
    assert (levels["files"], levels["seed"], levels["node"]) == ("ok", "ok", "warn")
    assert {"port", "clock", "privileges", "firewall", "rp_filter", "sockets"} <= set(levels)


@pytest.fixture
def node(host: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """Return the node that runs for wg0."""

    def ask(name: str, verb: str, arguments: dict[str, str], timeout: float) -> object:
        where = str(host)
        return control_client.call(name, verb, arguments, directory=where, timeout=timeout)

    monkeypatch.setattr(doctor, "call", ask)
    with Answering(host / "wg0.sock") as answering:
        yield answering


def running(*seeds: HostPort, **more: Any) -> bytes:
    """Return what a node of the network answers."""
    address = str(IPv6Address(address6(KEYS.net_id, bytes(32))))
    found = replace(SNAPSHOT, address6=address, seeds=tuple(map(str, seeds)), **more)
    return lines.format_result(ipc.snapshot_to_plain(found))


def test_a_running_node_is_asked(
    host: Path, capsys: pytest.CaptureFixture[str], node: Answering
):
    with Seed(KEYS) as seed:
        node.answer = running(seed.place)
        write(host, seed.place)
        code = main(["doctor", "-i", "wg0"])
    said = capsys.readouterr().out
    assert code == 1  # the snapshot has a conflict
    assert "ok    node        alice runs on wg0, UDP port 50001" in said
    assert "carol is reached via bob" in said
    assert "wg_netmanager accept bob cccc-3333" in said
    assert "ok    seed" in said


def test_the_seeds_of_a_running_node_are_looked_at_not_those_of_the_files(
    host: Path, capsys: pytest.CaptureFixture[str], node: Answering
):
    with Seed(KEYS) as seed:
        node.answer = running(HostPort("nowhere.invalid", 50001))
        write(host, seed.place)
        main(["doctor", "-i", "wg0"])
    said = [line for line in capsys.readouterr().out.splitlines() if "  seed " in line]
    assert len(said) == 1
    assert said[0].startswith("FAIL  seed        nowhere.invalid:50001: the name does not")


def test_a_node_that_runs_with_other_files_is_told(
    host: Path, capsys: pytest.CaptureFixture[str], node: Answering
):
    seeds = ("127.0.0.1:9", "[::1]:9")
    node.answer = lines.format_result(ipc.snapshot_to_plain(replace(SNAPSHOT, seeds=seeds)))
    write(host, HostPort("nowhere.invalid", 1))
    main(["doctor", "-i", "wg0"])
    said = capsys.readouterr().out
    assert (
        "warn  files       alice runs on wg0 with other files than these; name its own by -c"
        in said
    )
    assert "ok    seed        127.0.0.1:9 has an address; it was not asked" in said
    assert "nowhere.invalid" not in said


def test_a_taken_port_fails_and_tells_how_to_see_by_whom():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        number = taken.getsockname()[1]
        found = health.port(number)
        assert found.level is Level.FAIL
        assert f"ss -ulnp 'sport = {number}'" in found.todo
    assert health.port(number).level is Level.OK


def test_rules_of_a_firewall_become_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = {"family": "ip", "table": "filter", "type": "filter", "prio": 0, "policy": "drop"}
    chains = [{"chain": {**base, "name": hook, "hook": hook}} for hook in ("input", "forward")]
    program = tmp_path / "nft"
    program.write_text(f"#!/bin/sh\necho '{json.dumps({'nftables': chains})}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    first, second = health.firewall(50001, "wg0", forwards=True)
    assert (first.level, second.level) == (Level.WARN, Level.FAIL)
    assert "nft insert rule ip filter input udp dport 50001 accept" in first.todo
    program.write_text("#!/bin/sh\nexit 1\n")
    (only,) = health.firewall(50001, "wg0", forwards=True)
    assert "no rules to be seen" in only.text


def test_a_setting_that_somebody_switched_off_fails():
    off, missing = "net.ipv4.conf.lo.bootp_relay", "net.ipv4.conf.lo.no_such_thing"
    (found,) = health.forwarding([off, missing])
    assert (found.level, found.todo) == (Level.FAIL, f"sysctl -w {off}=1")


def test_sockets_of_dead_nodes_are_told(tmp_path: Path):
    assert health.sockets(str(tmp_path)).level is Level.OK
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "wg0.sock"))
    found = health.sockets(str(tmp_path))
    assert "wg0.sock" in found.text
    assert found.todo.endswith("or wg_netmanager purge --keep-identity -i wg0")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "wg1.sock"))
    assert health.sockets(str(tmp_path)).todo.endswith("--keep-identity")
    UndoFile("wg1", str(tmp_path)).write(Record("", 1, done=(AddUnreachable(4, 51820),)))
    found = health.sockets(str(tmp_path))
    assert found.level is Level.FAIL
    assert "its default route stays closed" in found.text


def test_a_clock_before_this_program_fails(monkeypatch: pytest.MonkeyPatch):
    assert health.wall_clock().level is Level.OK
    monkeypatch.setattr(clock, "wall_offset", lambda: -clock.now())
    assert health.wall_clock().level is Level.FAIL


def test_strict_reverse_paths_matter_to_those_that_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "conf" / "all").mkdir(parents=True)
    (tmp_path / "conf" / "all" / "rp_filter").write_text("1\n")
    monkeypatch.setattr(health, "_SYSCTL", str(tmp_path))
    assert health.reverse_path(matters=False).level is Level.OK
    found = health.reverse_path(matters=True)
    assert (found.level, found.todo) == (
        Level.WARN,
        "sysctl net.ipv4.conf.all.rp_filter=2",
    )
