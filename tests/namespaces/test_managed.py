"""Nodes of a manager: a and b, who have no route to each other, through r, sealed."""

import json
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.interop.capture import Capture
from tests.lab import Child, Lab, keypair, wait_until
from tests.namespaces.managed_node import far, near

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("ping", "tcpdump")]
PORT = 51820
A, R, B = "10.9.0.1", "10.9.0.3", "10.9.0.2"
MARKER = b"seen by nobody"


class Row(NamedTuple):
    """Three nodes in their namespaces: programs, and interfaces by what they are for."""

    spaces: tuple[str, str, str]
    programs: tuple[Child, Child, Child]
    interfaces: tuple[str, str, str]
    cables: tuple[str, str]

    def told(self, number: int) -> dict[str, Any]:
        """Return what a node tells on a signal."""
        program = self.programs[number]
        before = program.log().count("told ")
        program.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: program.log().count("told ") > before, 5, "a node to tell")
        told: dict[str, Any] = json.loads(program.log().rpartition("told ")[2].splitlines()[0])
        return told


@pytest.fixture
def row(lab: Lab) -> Row:
    a, r, b = lab.ns(), lab.ns(), lab.ns()
    _, to_a = lab.veth(a, r, ["192.0.2.2/24"], ["192.0.2.1/24"])
    _, to_b = lab.veth(b, r, ["198.51.100.2/24"], ["198.51.100.1/24"])
    lab.sysctl(r, "net.ipv4.ip_forward", 0)
    keys = keypair(), keypair(), keypair()
    names = lab.ifname(), lab.ifname(), lab.ifname()
    (_, a_key), (_, r_key), (_, b_key) = keys
    described = (
        (f"{A}/24", "-", near(r_key, R, f"192.0.2.1:{PORT}"), far(b_key, B, r_key)),
        (
            *(f"{R}/24", "carries"),
            near(a_key, A, f"192.0.2.2:{PORT}"),
            near(b_key, B, f"198.51.100.2:{PORT}"),
        ),
        (f"{B}/24", "-", near(r_key, R, f"198.51.100.1:{PORT}"), far(a_key, A, r_key)),
    )
    programs = []
    for ns, name, own, words in zip((a, r, b), names, keys, described, strict=True):
        where = ("-m", "tests.namespaces.managed_node", name, own[0], PORT)
        programs.append(lab.python(ns, *where, *words))
        programs[-1].wait_log("serves")
    lab.wait_ping(a, B)
    first, second, third = programs
    return Row((a, r, b), (first, second, third), names, (to_a, to_b))


def test_pings_pass_the_relay_and_it_sees_nothing_of_them(lab: Lab, row: Row):
    a, r, b = row.spaces
    pattern = ("-s", 200, "-p", MARKER.hex())
    captures = [Capture(lab, r, name) for name in (*row.cables, row.interfaces[1])]
    with Capture(lab, a, row.interfaces[0]) as outside:
        for capture in captures:
            capture.__enter__()
        assert lab.ping(a, B, 5, options=pattern) == 5
        assert lab.ping(b, A, 5, options=pattern) == 5
        for capture in captures:
            capture.__exit__()
    assert MARKER in outside.file.read_bytes()
    for capture in captures:
        assert MARKER not in capture.file.read_bytes()
    assert captures[0].packets
    assert captures[1].packets
    assert captures[2].packets == [], "the relay's host sees none of it"
    carried, _, sent, _ = row.told(1)["detoured"]
    assert carried >= 20
    assert sent == 0
    assert row.told(0)["detoured"][2] >= 10


@pytest.mark.needs("iperf3")
def test_a_tcp_stream_passes_the_relay_in_bursts(lab: Lab, row: Row):
    a, _, b = row.spaces
    for sender, receiver, address in ((a, b, B), (b, a, A)):
        assert lab.iperf(sender, receiver, address, 2).bits_per_second > 20e6
    told = row.told(1)
    assert set(told["drops"]) <= {"no session with the next on the way through relays"}
    assert told["detoured"][1] > 10e6


def test_a_packet_too_big_for_relays_is_refused_by_the_node(lab: Lab, row: Row):
    a, _, _ = row.spaces
    fits, too_big = 1340 - 28, 1341 - 28
    assert lab.ping(a, B, 2, options=("-M", "do", "-s", fits)) == 2
    words = ("ping", "-n", "-c", 1, "-W", 1, "-M", "do", "-s", too_big, B)
    done = lab.run(a, *words, check=False)
    assert "mtu = 1340" in done.stdout + done.stderr or "mtu=1340" in done.stdout + done.stderr
    assert lab.ping(a, B, 2, options=("-M", "dont", "-s", 1392)) == 2


def test_a_manager_sees_what_its_device_reports(lab: Lab, row: Row):
    """Of a handshake that traffic began, and of one that going down and up did."""
    a, *_ = row.spaces
    first = row.told(0)["seen"]
    assert first["HandshakeCompleted"] >= 2
    lab.ip(a, "link", "set", row.interfaces[0], "down")
    seen(row, lambda told: told["seen"].get("SessionEnded", 0) >= 2)
    lab.ip(a, "link", "set", row.interfaces[0], "up")
    seen(row, lambda told: told["seen"]["HandshakeSent"] > first["HandshakeSent"])


def test_a_manager_is_told_that_routes_changed(lab: Lab, row: Row):
    a, *_ = row.spaces
    before = row.told(0)["moves"]
    lab.ip(a, "route", "add", "203.0.113.0/24", "via", "192.0.2.1")
    seen(row, lambda told: told["moves"] > before)


def seen(row: Row, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until what the first node tells is so."""
    wait_until(lambda: condition(row.told(0)), 10, "the manager to see it")
