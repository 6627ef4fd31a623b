"""Sessions that end and begin anew under traffic, with every other implementation."""

import pytest

from tests.interop.rig import OUR_ENDS, THEIR_ENDS, Pinging, Rig
from tests.lab import wait_until

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.needs("wg", "ping"),
]


def test_we_renew_without_losing_a_packet(rig: Rig):
    """Handshakes of one peer are five seconds apart at least, so that is the pace."""
    rig.ours.restart("1")
    try:
        rig.introduce(rig.ours)
        assert rig.ours.ping(THEIR_ENDS.inner4) == 3
        times = [rig.peer(rig.ours).handshake]

        def renewed_twice() -> bool:
            times.append(rig.peer(rig.ours).handshake)
            return len(set(times)) > 2

        with Pinging(rig.lab, rig.ns, THEIR_ENDS.inner4) as pinging:
            wait_until(renewed_twice, 20)
        print(f"{pinging.sent} pings, handshakes at {sorted({*times})}")
        assert pinging.sent > 100
        assert pinging.lost == 0
    finally:
        rig.ours.restart()


def test_they_begin_anew_while_we_send_on(rig: Rig):
    """They have forgotten us and are told again: their session replaces ours, which is lost.

    A dozen pings, at twenty a second, may be lost meanwhile.
    """
    rig.introduce()
    assert rig.ours.ping(THEIR_ENDS.inner4) == 3
    with Pinging(rig.lab, rig.ns, THEIR_ENDS.inner4) as pinging:
        rig.theirs.wg("set", rig.theirs.interface, "peer", rig.our_keys[1], "remove")
        rig.configure(rig.theirs, True, 4, None)
        assert rig.theirs.ping(OUR_ENDS.inner4, 5) == 5
        assert rig.ours.ping(THEIR_ENDS.inner6, 5) == 5
    print(f"{pinging.lost} of {pinging.sent} pings were lost")
    assert pinging.sent > 10
    assert pinging.lost <= 15


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "theirs"])
def test_a_restarted_node_is_back_with_its_first_packet(rig: Rig, ours):
    rig.introduce()
    again = rig.ours if ours else rig.theirs
    other = rig.other(again)
    assert other.ping(again.ends.inner4) == 3
    again.restart()
    rig.configure(again, True, 4, None)
    assert again.ping(other.ends.inner4) == 3
    assert other.ping(again.ends.inner6) == 3
