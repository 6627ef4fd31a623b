"""The demo shows what it promises and leaves nothing behind, also when it is ended early."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]


def left_by(pid: int) -> Iterator[str]:
    """Yield what a demo of that pid has on this host."""
    yield from (name for name in os.listdir("/run/netns") if f"-{pid}" in name)
    yield from (name for name in os.listdir("/run/wireguard") if f"demo{pid}" in name)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"demo{pid}".encode() in words:
            yield words.decode()


def test_the_demo_measures_both_ways_and_cleans_up(lab: Lab):
    demo = lab.python(None, "-m", "wgpy", "demo", "--seconds", "0.5")
    assert demo.wait(30) == 0, demo.log()
    log = demo.log()
    assert log.count("5 of 5 back") == 4
    assert max(float(found) for found in re.findall(r"first ([\d.]+) ms", log)) < 3000
    assert log.count("Mbit/s") == 2
    assert log.count("handshake") == 2
    assert list(left_by(demo.pid)) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_that_is_ended_cleans_up(lab: Lab, number: signal.Signals):
    demo = lab.python(None, "-m", "wgpy", "demo", "--seconds", "20")
    wait_until(lambda: demo.log().count("handshake") == 2, 20)
    demo.signal(number)
    assert demo.wait(20) == 1
    assert "interrupted" in demo.log()
    assert "Traceback" not in demo.log()
    assert list(left_by(demo.pid)) == []


def test_a_killed_demo_is_cleaned_up_after_by_the_next(lab: Lab):
    killed = lab.python(None, "-m", "wgpy", "demo", "--seconds", "20")
    killed.wait_log("ping ", timeout=20)
    killed.signal(signal.SIGKILL)
    killed.wait(10)
    demo = lab.python(None, "-m", "wgpy", "demo", "--seconds", "0.2")
    assert demo.wait(30) == 0, demo.log()
    wait_until(lambda: not list(left_by(killed.pid)), why="nothing of the killed one is left")
