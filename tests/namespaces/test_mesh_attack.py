"""A mesh of real nodes, one of which was taken over."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.lab import Child, wait_until
from tests.namespaces.attacker import FASTER
from tests.namespaces.mesh import Box, Mesh, says
from wgpy.io import clock

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timed, pytest.mark.needs("ss")]

# Messages a second to each node, of a kilobyte mostly, and seconds of each round.
RATE, SECONDS = 200, 6
# Seconds before the first.
CALM = 12
# What an honest node may spend: a share of one processor, and kB.
PROCESSOR, GROWTH = 0.2, 4 * 1024


def resident(box: Box) -> int:
    """Return the memory that a node has at the moment, in kB."""
    assert box.child is not None
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{box.child.pid}/status").read_text())
    assert found is not None
    return int(found[1])


def busy(box: Box) -> float:
    """Return the seconds of processor that a node has used."""
    assert box.child is not None
    fields = Path(f"/proc/{box.child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def routes(box: Box, honest: list[Box]) -> list[object]:
    """Return how a node reaches the others, and where its host sends packets."""
    names = {one.name for one in honest}
    found = box.snapshot()
    assert found is not None
    ways = [(one.destination, one.to, one.path) for one in found.routes if one.to in names]
    kernel = box.mesh.lab.ip(box.ns, "route", "show", "table", "all").splitlines()
    return [*sorted(ways), *sorted(kernel)]


def flood(attacker: Child) -> list[int]:
    """Let it attack for one round; return what it sent in all."""
    rounds = attacker.log().count("sent")
    attacker.signal(signal.SIGUSR1)
    wait_until(lambda: attacker.log().count("sent") > rounds, 3 * SECONDS, "the end of a round")
    return list(map(int, attacker.log().split("sent")[-1].split()))


def test_a_member_that_was_taken_over_changes_nothing_but_its_own(trio: Mesh):
    lab, honest = trio.lab, list(trio.boxes)
    ns, interface = lab.ns(), lab.ifname()
    lab.plug(*trio.hub, ns, "10.128.1.9/24")
    trio.start()
    trio.wait_all(10)
    words = (interface, 50009, "10.1.1.9", "mallory", "10.128.1.1:50001")
    mallory = lab.python(
        *(ns, "-m", "tests.namespaces.attacker", *words, lab.directory / "m", RATE, SECONDS)
    )
    mallory.wait_log("joined")
    wait_until(lambda: all("mallory" in box.peers() for box in honest), 10)
    for box in honest:
        for other in honest:
            if other is not box:
                trio.wait_path(box, other, "lan", 10)
    flows = [trio.flow(one, other) for one in honest for other in honest if one is not other]
    wait_until(lambda: all(len(flow.came) >= 20 for flow in flows))
    # Round trips of nodes that have just started are long, and relays may seem better then.
    started_at = clock.now()
    wait_until(lambda: clock.now() - started_at > CALM, 2 * CALM)
    shares: list[float] = []
    grown: list[int] = []
    before = {box: routes(box, honest) for box in honest}
    changes = {box: reached(box, honest) for box in honest}
    attacks = {"signed by whom it says": 1, "and forged": 1, "forged nodes": FASTER}
    for what, faster in attacks.items():
        calm = {box: resident(box) for box in honest}
        flood(mallory)
        warm = {box: resident(box) for box in honest}
        spent = {box: busy(box) for box in honest}
        sent = flood(mallory)
        shares.append(max((busy(box) - spent[box]) / SECONDS for box in honest))
        grown.append(max(resident(box) - warm[box] for box in honest))
        first = max(warm[box] - calm[box] for box in honest)
        counts = dict(zip(("messages", "objects", "identities", "keys"), sent, strict=True))
        lost = sum(flow.lost() for flow in flows)
        figures = {"processor": shares[-1], "kB": grown[-1], "first_kB": first, "lost": lost}
        says(25, f"{faster * RATE} messages/s to each, {what}", **figures, **counts)
    for box in honest:
        found = box.snapshot()
        assert found is not None
        print(box, len(found.peers), dict(found.drops), *reached(box, honest), sep="\n  ")
        assert routes(box, honest) == before[box]
        assert reached(box, honest) == changes[box]
    assert not any(flow.lost() for flow in flows)
    assert max(shares) <= PROCESSOR
    assert max(grown) <= GROWTH
    mallory.stop()
    assert "Traceback" not in mallory.log()
    trio.finish(same=False)


def reached(box: Box, honest: list[Box]) -> list[str]:
    """Return what a node has said of the ways to the others."""
    names = [f" INFO {other.name} " for other in honest]
    return [line for line in box.log().splitlines() if any(one in line for one in names)]
