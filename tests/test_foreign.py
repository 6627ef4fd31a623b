"""The other implementations are found, built and started."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import foreign
from tests.cache import cache
from tests.lab import Lab, keypair

ROOT = Path(__file__).parent.parent


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("WGPY_TEST_CACHE", raising=False)
    assert cache() == tmp_path / "wgpy-tests"
    monkeypatch.setenv("WGPY_TEST_CACHE", str(tmp_path / "own"))
    assert cache() == tmp_path / "own"
    assert not cache().is_relative_to(ROOT)


def test_what_is_not_built_is_not_found(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WGPY_TEST_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert foreign.main(["list"]) == 0
    assert capsys.readouterr().out.count("missing") == 4
    assert foreign.main(["build"]) == 1


@pytest.mark.parametrize("arguments", [[], ["make"], ["list", "wireguard-c"]])
def test_other_commands_are_refused(arguments):
    assert foreign.main(arguments) == 2


def test_it_runs_as_a_module():
    argv = [sys.executable, "-m", "tests.foreign", "list"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        *foreign.NAMES,
        foreign.KERNEL,
    ]


@pytest.mark.root
@pytest.mark.interop
@pytest.mark.needs("wg", "ping")
@pytest.mark.parametrize("name", foreign.NAMES)
def test_an_implementation_tunnels_to_wireguard_go(lab, name):
    ends = lab.pair()
    addresses, keys = ["10.9.0.1", "10.9.0.2"], [keypair(), keypair()]
    nodes = [foreign.launch(lab, ends[0], "wireguard-go"), foreign.launch(lab, ends[1], name)]
    for this, node in enumerate(nodes):
        that = 1 - this
        node.configure(
            f"[Interface]\nPrivateKey = {keys[this][0]}\nListenPort = 51820\n"
            f"[Peer]\nPublicKey = {keys[that][1]}\nAllowedIPs = {addresses[that]}/32\n"
            f"Endpoint = 192.0.2.{that + 1}:51820\n"
        )
        node.up(f"{addresses[this]}/24")
    lab.wait_ping(ends[0], addresses[1])
    assert lab.flood(ends[1], addresses[0], 10) == 10
    _, received, sent = nodes[1].show("transfer").split()
    assert int(received) > 0
    assert int(sent) > 0


@pytest.mark.root
@pytest.mark.interop
@pytest.mark.needs("wg")
def test_with_private_runs_two_interfaces_have_the_same_name():
    with Lab(private_run=True) as one, Lab(private_run=True) as other:
        nodes = [foreign.launch(lab, lab.ns(), "wireguard-go", "wg0") for lab in (one, other)]
        for node, port in zip(nodes, (1001, 1002), strict=True):
            node.configure(f"[Interface]\nListenPort = {port}\n")
        assert [node.show("listen-port").strip() for node in nodes] == ["1001", "1002"]
    assert not nodes[0].child.alive
    assert not nodes[1].child.alive
