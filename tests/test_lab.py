"""The lab itself: what it makes works, and nothing of it is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import UAPI, Lab, LabError, command, keypair, sweep, wait_until

ROOT = Path(__file__).parent.parent


def namespaces() -> set[str]:
    """Return those of this run; others may run at the same time."""
    return {path.name for path in Path("/run/netns").glob(f"wgpyt-{os.getpid()}-*")}


def test_waiting_returns_what_came_true():
    answers = iter(["", None, "there"])
    assert wait_until(lambda: next(answers)) == "there"


def test_waiting_ends_with_what_was_waited_for():
    with pytest.raises(LabError, match=r"not within 0\.05 s: rain"):
        wait_until(lambda: False, 0.05, "rain")


def test_a_program_that_fails_tells_why():
    with pytest.raises(LabError, match="3\nso it is"):
        command(["sh", "-c", "echo so it is >&2; exit 3"])


def test_a_child_without_a_namespace_needs_no_root():
    with Lab() as lab:
        child = lab.spawn(None, "sh", "-c", "echo up; exec sleep 60")
        child.wait_log("up")
        assert child.alive
    assert not child.alive
    assert not lab.directory.exists()


def test_waiting_for_the_log_of_an_ended_program_fails_at_once():
    with Lab() as lab, pytest.raises(LabError, match="ended without"):
        lab.spawn(None, "sh", "-c", "echo down").wait_log("up")


@pytest.mark.needs("wg")
def test_key_pairs_are_what_wg_writes():
    private, public = keypair()
    assert len(private) == len(public) == 44
    assert private != public


@pytest.mark.root
@pytest.mark.needs("ping")
def test_a_pair_reaches_each_other_on_both_families(lab):
    a, b = lab.pair()
    assert lab.flood(a, "192.0.2.2", 20) == 20
    assert lab.ping(b, "2001:db8::1", 2) == 2
    assert lab.ping(a, "192.0.2.9", 1) == 0


@pytest.mark.root
@pytest.mark.needs("ping")
def test_a_bridge_joins_many(lab):
    switch, *hosts = [lab.ns() for _ in range(4)]
    bridge = lab.bridge(switch)
    for number, host in enumerate(hosts, 1):
        lab.plug(switch, bridge, host, f"192.0.2.{number}/24")
    assert [lab.ping(hosts[0], f"192.0.2.{n}", 1) for n in (2, 3)] == [1, 1]


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("iperf3")
def test_throughput_is_measured_over_tcp_and_udp(lab):
    a, b = lab.pair()
    assert lab.iperf(a, b, "192.0.2.2", 1).bits_per_second > 1e7
    udp = lab.iperf(a, b, "2001:db8::2", 1, udp="5M")
    assert 2e6 < udp.bits_per_second < 6e6
    assert udp.lost_percent < 50


@pytest.mark.root
@pytest.mark.needs("nft", "ping")
def test_rules_are_loaded_into_one_namespace(lab):
    a, b = lab.pair()
    lab.nft(b, "table ip t { chain c { type filter hook input priority 0; policy drop; }; }")
    assert lab.ping(a, "192.0.2.2", 1) == 0


@pytest.mark.root
def test_a_file_of_etc_is_seen_in_one_namespace(lab):
    ns = lab.ns()
    lab.etc(ns, "resolv.conf", "nameserver 192.0.2.53\n")
    assert "192.0.2.53" in lab.run(ns, "cat", "/etc/resolv.conf").stdout
    assert "192.0.2.53" not in Path("/etc/resolv.conf").read_text()


@pytest.mark.root
def test_nothing_is_left_after_a_failure():
    before = namespaces()
    with pytest.raises(ZeroDivisionError), Lab() as lab:
        a, _ = lab.pair()
        lab.run(a, "sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
        stray = int(lab.ip(None, "netns", "pids", a).split()[0])
        assert namespaces() - before
        _ = 1 // 0
    assert namespaces() <= before
    wait_until(lambda: not Path(f"/proc/{stray}/cmdline").exists(), 5, "the stray's end")


@pytest.mark.root
def test_a_dead_run_is_swept():
    program = (
        "import os; from tests.lab import Lab; lab = Lab();"
        "print(*lab.pair(), lab.ifname(), lab.directory); os._exit(os.EX_OK)"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
    )
    *left, interface, folder = done.stdout.split()
    assert len(left) == 2
    UAPI.mkdir(exist_ok=True)
    socket = UAPI / f"{interface}.sock"
    socket.touch()
    sweep()
    assert not [name for name in left if Path("/run/netns", name).exists()]
    assert not socket.exists()
    assert not Path(folder).exists()


@pytest.mark.root
def test_the_living_are_not_swept(lab):
    ns = lab.ns()
    assert not [name for name in sweep() if f"-{os.getpid()}-" in name]
    assert ns in namespaces()


@pytest.mark.root
def test_a_private_run_is_seen_by_the_lab_alone():
    with Lab(private_run=True) as lab:
        a, b = lab.pair()
        lab.run(a, "touch", UAPI / "here")
        assert "here" in lab.run(b, "ls", UAPI).stdout
        assert (lab.uapi("x").parent / "here").exists()
        assert not (UAPI / "here").exists()
