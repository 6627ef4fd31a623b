"""Our node with every other implementation: sessions, both roles, both families, with a PSK."""

import pytest

from tests.interop.capture import Capture
from tests.interop.rig import BORINGTUN, OUR_ENDS, THEIR_ENDS, Rig
from tests.lab import command, keypair
from wgpy.io import clock

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.needs("wg", "ping", "iperf3"),
]


@pytest.mark.parametrize("with_psk", [False, True], ids=["plain", "psk"])
@pytest.mark.parametrize("family", [4, 6], ids=["outer4", "outer6"])
@pytest.mark.parametrize("we_begin", [True, False], ids=["initiator", "responder"])
def test_a_session_carries_both_families_both_ways(rig: Rig, we_begin, family, with_psk):
    psk = command(["wg", "genpsk"]).stdout.strip() if with_psk else None
    first = rig.ours if we_begin else rig.theirs
    second = rig.other(first)
    rig.introduce(first, family, psk)
    for side in (first, second):
        far = rig.other(side).ends
        assert side.ping(far.inner4) == 3
        assert side.ping(far.inner6, 2, options=("-s", 1200)) == 2
    ours, theirs = rig.peer(rig.ours), rig.peer(rig.theirs)
    assert ours.endpoint == THEIR_ENDS.outer(family)
    assert theirs.endpoint == OUR_ENDS.outer(family)
    assert ours.preshared_key == theirs.preshared_key == (psk or "(none)")
    if rig.rival != BORINGTUN:
        rig.wait_agreement()
    assert abs(ours.handshake - clock.now() - clock.wall_offset()) < 15
    # boringtun reports the age instead of the time.
    assert abs(ours.handshake - theirs.handshake) < 3 or rig.rival == BORINGTUN


def test_tcp_runs_both_ways(rig: Rig):
    """And a transfer by pings where the other side is an emulated machine."""
    rig.introduce()
    if rig.their_ns is None:
        for ip, count, size in ((THEIR_ENDS.inner4, 300, 1392), (THEIR_ENDS.inner6, 50, 5000)):
            assert rig.lab.flood(rig.ns, ip, count, size=size) == count
        rig.wait_agreement()
        return
    sent = rig.lab.iperf(rig.ns, rig.their_ns, THEIR_ENDS.inner4, 1)
    received = rig.lab.iperf(rig.ns, rig.their_ns, THEIR_ENDS.inner6, 1, options=("-R",))
    print(f"{sent.bits_per_second / 1e6:.0f} and {received.bits_per_second / 1e6:.0f} Mbit/s")
    assert min(sent.bits_per_second, received.bits_per_second) > 5e6


@pytest.mark.parametrize("we_move", [True, False], ids=["we", "they"])
def test_a_moved_port_is_followed(rig: Rig, we_move):
    mover = rig.ours if we_move else rig.theirs
    witness = rig.other(mover)
    rig.introduce()
    assert mover.ping(witness.ends.inner4) == 3
    mover.wg("set", mover.interface, "listen-port", "51999")
    assert mover.ping(witness.ends.inner4) == 3
    assert rig.peer(witness).endpoint == mover.ends.outer(4, 51999)
    assert witness.ping(mover.ends.inner6) == 3


def test_a_moved_family_is_followed(rig: Rig):
    """They are told another endpoint of ours; we follow without being told."""
    rig.introduce(rig.theirs, 6)
    assert rig.theirs.ping(OUR_ENDS.inner4) == 3
    rig.family = 4
    if rig.rival == BORINGTUN:  # it panics when a peer is changed
        rig.configure(rig.theirs, True, 4, None)
    else:
        words = ("peer", rig.our_keys[1], "endpoint", OUR_ENDS.outer(4))
        rig.theirs.wg("set", rig.theirs.interface, *words)
    assert rig.theirs.ping(OUR_ENDS.inner4) == 3
    assert rig.peer(rig.ours).endpoint == THEIR_ENDS.outer(4)
    assert rig.ours.ping(THEIR_ENDS.inner6) == 3


@pytest.mark.parametrize("we_begin", [True, False], ids=["initiator", "responder"])
def test_another_psk_gives_no_session(rig: Rig, we_begin):
    first = rig.ours if we_begin else rig.theirs
    rig.introduce(first, 4, command(["wg", "genpsk"]).stdout.strip())
    rig.configure(rig.other(first), False, 4, command(["wg", "genpsk"]).stdout.strip())
    assert first.ping(rig.other(first).ends.inner4, 2) == 0
    assert rig.peer(rig.ours).handshake == rig.peer(rig.theirs).handshake == 0
    # The same keys with one PSK do make a session, once the first has tried again.
    rig.configure(rig.other(first), False, 4, None)
    rig.configure(first, True, 4, None)
    for state in ("down", "up"):
        first.ip("link", "set", first.interface, state)
    assert first.ping(rig.other(first).ends.inner4, 2) == 2


@pytest.mark.parametrize("we_begin", [True, False], ids=["initiator", "responder"])
def test_a_stranger_hears_nothing(rig: Rig, we_begin):
    """The responder expects another public key than the initiator's."""
    first = rig.ours if we_begin else rig.theirs
    second = rig.other(first)
    rig.introduce(first)
    stranger = keypair()[1]
    peers = (rig.our_keys[1], rig.their_keys[1])
    known = peers[0] if we_begin else peers[1]
    second.wg("set", second.interface, "peer", known, "remove", "peer", stranger)
    with Capture(rig.lab, rig.ns, rig.cable) as seen:
        assert first.ping(second.ends.inner4, 2) == 0
    sources = [datagram.source for datagram in seen.datagrams]
    assert sources == [first.ends.outer4] * len(sources) != []
    assert rig.peer(first).handshake == 0
