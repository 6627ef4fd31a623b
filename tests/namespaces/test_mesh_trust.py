"""A mesh of real nodes among liars, crashes and changed files."""

import json
import signal

import pytest

from tests.lab import wait_until
from tests.namespaces.mesh import Box, Mesh, says
from wgpy.io import clock

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timed, pytest.mark.needs("ss")]


def wait_logs(boxes: list[Box], text: str, began: float, limit: float = 10) -> float:
    """Wait until all have logged a text; return the seconds since `began`."""
    wait_until(lambda: all(text in box.log() for box in boxes), limit, text)
    return clock.now() - began


def test_who_holds_the_key_takes_no_name_and_no_address(trio: Mesh):
    lab, honest = trio.lab, list(trio.boxes)
    alice, bob, charlie = honest
    liar = trio.box("alice", 1, lab.ns())
    hub, bridge = trio.hub
    lab.plug(hub, bridge, liar.ns, "10.128.1.9/24")
    liar.state = lab.directory / "state-liar"
    for box in honest:
        box.start()
    trio.wait_all(10, honest)
    wait_until(lambda: all(peer.trust == "met" for peer in bob.peers().values()))
    flows = [trio.flow(one, alice) for one in (bob, charlie)]
    wait_until(lambda: all(len(flow.came) >= 5 for flow in flows))
    began = clock.now()
    liar.start().wait_log("is up on")
    up = clock.now()
    named = wait_logs(honest, "says it is alice (10.1.1.1)", up)
    words = (liar.interface, 50099, "8.8.8.8", "google", "10.128.1.1:50001", liar.state)
    liar.stop()
    stranger = lab.python(liar.ns, "-m", "tests.namespaces.stranger", *words)
    stranger.wait_log("claims")
    up = clock.now()
    numbered = wait_logs(honest, "says it is google (8.8.8.8)", up)
    wait_until(lambda: clock.now() - began > 5)
    lost = sum(flow.lost(began) for flow in flows)
    says(24, "impersonation", name=named, address=numbered, lost=lost)
    assert max(named, numbered) <= 2
    assert lost == 0
    for box in honest:
        found = box.snapshot()
        assert found is not None
        claims = {(one.name, one.address) for one in found.conflicts}
        assert ("google", "8.8.8.8") in claims
        assert "google" in box.ask("status")
        assert "8.8.8.8" not in lab.ip(box.ns, "route")
    stranger.stop()
    assert "Traceback" not in stranger.log()
    trio.finish()


def test_changed_files_are_followed_without_losing_a_packet(trio: Mesh):
    lab, (alice, bob, charlie) = trio.lab, trio.boxes
    lines = trio.file.read_text()
    file = lab.directory / "alice.yaml"
    file.write_text("name: alice\nmtu: 1400\nlogFormat: text\nroutes: []\n")
    alice.start("-p", file, named=False)
    bob.start()
    charlie.start()
    trio.wait_all(10)
    trio.wait_path(bob, alice, "lan", 5)
    handshakes = {name: peer.last_handshake for name, peer in bob.peers().items()}
    assert trio.echoes is not None
    flows = [
        trio.echoes.flow(one.ns, other.address, interval=0.02)
        for one, other in ((alice, bob), (bob, alice), (charlie, bob))
    ]
    wait_until(lambda: all(len(flow.came) >= 20 for flow in flows))
    began = clock.now()
    trio.file.write_text(lines + "  - endPoint: 10.128.1.3:50003\n    wgIp: 10.1.1.3\n")
    assert "mtu 1400" in lab.ip(alice.ns, "link", "show", alice.interface)
    new = "name: dora\nmtu: 1300\nlogFormat: json\nroutes: [192.168.77.0/24]\n"
    file.write_text(new)
    assert alice.child is not None
    alice.child.signal(signal.SIGHUP)
    assert bob.ask("reload") == "reloaded\n"
    alice.name = "dora"
    handshakes["dora"] = handshakes.pop("alice")

    def followed() -> bool:
        found = [box.snapshot() for box in (alice, bob)]
        seeds = ["10.128.1.3:50003" in one.seeds for one in found if one is not None]
        renamed = all("dora" in box.peers() for box in (bob, charlie))
        routes = renamed and bob.peers()["dora"].routes
        mtu = "mtu 1300" in lab.ip(alice.ns, "link", "show", alice.interface)
        return seeds == [True, True] and routes == ("192.168.77.0/24",) and mtu

    wait_until(followed, 5, "the new seed, name, route and MTU")
    assert "dora" in alice.ask("status")
    assert '"message": "reloaded"' in alice.log()
    pinned = "dora (10.1.1.1) was met"
    wait_until(lambda: all(pinned in box.log() for box in (bob, charlie)), 5, "the new pin")
    took = clock.now() - began
    wait_until(lambda: clock.now() - began > took + 2)
    lost = sum(flow.lost(began) for flow in flows)
    sent = sum(sum(at >= began for at in flow.sent) for flow in flows)
    says(34, "reload", took=took, sent=sent, lost=lost)
    assert lost == 0
    assert {name: peer.last_handshake for name, peer in bob.peers().items()} == handshakes
    # What cannot be followed is told, and nothing of it is done.
    for line, why in (
        ("name: bob", "name: bob is another node"),
        ("name: dora\nmtu: 1000", "mtu: below 1280"),
        ("name: dora\nadminPort: 50777", "adminPort has changed: that takes a restart"),
    ):
        file.write_text(line + "\n")
        alice.child.signal(signal.SIGHUP)
        wait_logs([alice], why, clock.now())
    assert "mtu 1300" in lab.ip(alice.ns, "link", "show", alice.interface)
    trio.finish()


def wall_time() -> float:
    """Return Unix time."""
    return clock.now() + clock.wall_offset()


def saved_number(box: Box) -> int:
    """Return up to where a node has reserved sequence numbers."""
    return int(json.loads((box.state / "state.json").read_text())["seq"])


def test_a_node_that_is_killed_again_and_again_is_the_same_at_once(trio: Mesh):
    alice, bob, _ = trio.boxes
    trio.start()
    trio.wait_all(10)
    wait_until(lambda: bob.peers()["alice"].trust == "met")
    identity = bob.peers()["alice"].fingerprint
    times, numbers = [], [saved_number(alice)]
    for _ in range(5):
        alice.kill()
        alice.start().wait_log("is up on")
        times.append(trio.wait_pairs(10, [(alice, bob), (bob, alice)]))
        found = bob.peers()["alice"]
        assert (found.fingerprint, found.trust) == (identity, "met")
        numbers.append(saved_number(alice))
    says(35, "killed five times", slowest=max(times))
    assert max(times) <= 2
    assert numbers == sorted(set(numbers)), "each life has numbers of its own"
    # Handshakes are stamped by the clock as long as that is right.
    ahead = [peer.last_handshake - wall_time() for peer in alice.peers().values()]
    assert max(ahead) <= 1
    for box in trio.boxes:
        # What those say who repeat a number, or are taken for another.
        for text in ("older than what others know", "with this identity", "refused"):
            assert text not in box.log()
    trio.finish()
