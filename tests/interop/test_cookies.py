"""While somebody floods a node with handshakes, cookies let the others still get a session."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.interop.capture import Capture
from tests.interop.rig import KERNEL, OUR_ENDS, PORT, THEIR_ENDS, Rig, Side
from tests.lab import Lab, LabError, wait_until

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.needs("wg", "ping", "tcpdump"),
]

INITIATION, RESPONSE, COOKIE = 1, 2, 3


@contextmanager
def flooded(
    rig: Rig, host: str, public_key: str, count: int, rest: float = 0
) -> Iterator[None]:
    """Flood a node from our namespace, where another port is somebody else."""
    arguments = ("-m", "tests.interop.flooder", public_key, host, PORT, count, rest)
    flooder = rig.lab.python(rig.ns, *arguments)
    try:
        flooder.wait_log("cookies are demanded", 20)
        yield
    finally:
        flooder.stop()


def goes_through(rig: Rig, first: Side, second: Side) -> None:
    """Get a session from a flooded node: an initiation, a cookie, an initiation with it."""
    between = f"udp and src port {PORT} and dst port {PORT}"
    with Capture(rig.lab, rig.ns, rig.cable, between) as seen:
        first.ping(second.ends.inner4, 1)
        wait_until(lambda: rig.peer(rig.ours).handshake, 40, "a session")
    messages = [
        (one.source == first.ends.outer4, one.payload[8], any(one.payload[-16:]))
        for one in seen.packets
    ]
    assert (True, INITIATION, False) in messages
    assert (False, COOKIE, True) in messages
    assert messages.index((True, INITIATION, True)) < messages.index((False, RESPONSE, False))


def test_our_cookies_are_understood(rig: Rig):
    rig.introduce(rig.theirs)
    with flooded(rig, OUR_ENDS.outer4, rig.our_keys[1], 100):
        goes_through(rig, rig.theirs, rig.ours)


def test_we_understand_the_cookies_of_the_kernel(swept: None):
    """An emulated machine is slow enough to be flooded by a script.

    The machine is one of its own, with time to breathe between the waves; one whose network
    card hangs for good in the flood is replaced by another, twice at most.
    """
    for _ in range(3):
        with Lab() as lab, closing(Rig(lab, KERNEL)) as rig:
            rig.introduce(rig.ours)
            try:
                with flooded(rig, THEIR_ENDS.outer4, rig.their_keys[1], 50, rest=0.2):
                    goes_through(rig, rig.ours, rig.theirs)
            except LabError:
                if lab.ping(rig.ns, THEIR_ENDS.outer4, 10):
                    raise
            else:
                return
    pytest.fail("no machine lived through a flood")
