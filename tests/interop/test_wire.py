"""What others on the path see of us: sizes, TOS and ECN, compared with the other side's."""

import pytest

from tests.interop.capture import Capture, Datagram
from tests.interop.rig import BORINGTUN, KERNEL, OUR_ENDS, PORT, RIVALS, THEIR_ENDS, Rig

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.needs("wg", "ping", "tcpdump", "nft"),
]

PADDING = [rival for rival in RIVALS if rival != BORINGTUN]
INITIATION, RESPONSE, DATA = 1, 2, 4
KEEPALIVE_SIZE = 32
HANDSHAKE_TOS = 0x88
ECT1, ECT0, CE = 1, 2, 3
ENDS4 = (OUR_ENDS.outer4, THEIR_ENDS.outer4)


def data_sizes(seen: Capture, source: str) -> list[int]:
    """Return the sizes of the data messages of one side, without keepalives."""
    return [
        message.size
        for message in seen.datagrams
        if (message.source, message.kind) == (source, DATA) and message.size > KEEPALIVE_SIZE
    ]


def exchange(rig: Rig, ip: str, sizes: list[int]) -> None:
    """Send one ping of each size of ICMP payload; each answer has the size of its question."""
    script = f"for size in {' '.join(map(str, sizes))}; do ping -nqc1 -W2 -s $size {ip}; done"
    rig.lab.run(rig.ns, "sh", "-ec", script, timeout=60)


@pytest.mark.parametrize("rig", PADDING, indirect=True)
@pytest.mark.parametrize("mtu", [1420, 1397])
def test_the_same_packets_have_the_same_sizes_outside(rig: Rig, mtu):
    """Padding to 16, but not above the MTU, which here is no multiple of 16."""
    rig.introduce()
    rig.set_mtu(mtu)
    most = mtu - 28
    sizes4 = [*range(18), *range(37, most - 20, 97), *range(most - 20, most + 1)]
    sizes6 = [0, 15, 16, 17, 700, *range(most - 24, most - 19)]
    assert rig.ours.ping(THEIR_ENDS.inner4, 1) == 1
    with Capture(rig.lab, rig.ns, rig.cable) as seen:
        exchange(rig, THEIR_ENDS.inner4, sizes4)
        exchange(rig, THEIR_ENDS.inner6, sizes6)
    rig.set_mtu(1420)
    ours, theirs = (data_sizes(seen, source) for source in ENDS4)
    assert len(ours) == len(sizes4) + len(sizes6)
    assert ours == theirs


@pytest.mark.parametrize("rig", [KERNEL], indirect=True)
def test_padding_keeps_to_the_mtu_of_the_route(rig: Rig):
    """The packet of 1297 bytes becomes 1299, not 1312; the others know their device's alone."""
    rig.introduce()
    rig.set_mtu(1300)
    rig.route("replace", 1299)
    assert rig.ours.ping(THEIR_ENDS.inner4, 1) == 1
    with Capture(rig.lab, rig.ns, rig.cable) as seen:
        exchange(rig, THEIR_ENDS.inner4, [1269, 1271, 1200])
    rig.route("delete", 1299)
    rig.set_mtu(1420)
    ours, theirs = (data_sizes(seen, source) for source in ENDS4)
    assert ours == theirs
    assert max(ours) == 1299 + KEEPALIVE_SIZE


@pytest.mark.parametrize("family", [4, 6], ids=["outer4", "outer6"])
@pytest.mark.parametrize("we_begin", [True, False], ids=["initiator", "responder"])
def test_handshakes_are_marked_and_data_shows_its_ecn_alone(rig: Rig, we_begin, family):
    first = rig.ours if we_begin else rig.theirs
    rig.introduce(first, family)
    with Capture(rig.lab, rig.ns, rig.cable) as seen:
        assert first.ping(rig.other(first).ends.inner4, 1) == 1
        for tos in (0, ECT1, ECT0, CE, 0xB8 | ECT0, 0x20):
            for ip in (THEIR_ENDS.inner4, THEIR_ENDS.inner6):
                assert rig.ours.ping(ip, 1, options=("-Q", tos)) == 1
    us, they = (ends[0 if family == 4 else 1] for ends in (OUR_ENDS, THEIR_ENDS))
    # Congestion that came before the tunnel stays inside (RFC 3168, 9.1.1), as in the kernel.
    expected = [ecn for ecn in (0, ECT1, ECT0, ECT0, ECT0, 0) for _ in "46"]
    assert tos_of(seen.datagrams, us)[-12:] == expected
    handshakes = [d for d in seen.datagrams if d.kind in (INITIATION, RESPONSE)]
    ours = [(d.kind, d.tos) for d in handshakes if d.source == us]
    assert ours == [(INITIATION if we_begin else RESPONSE, HANDSHAKE_TOS)]
    if rig.rival == KERNEL:
        assert {d.tos for d in handshakes} == {HANDSHAKE_TOS}
        assert tos_of(seen.datagrams, they)[-12:] == expected


def tos_of(datagrams: list[Datagram], source: str) -> list[int]:
    return [
        one.tos
        for one in datagrams
        if (one.source, one.kind) == (source, DATA) and one.size > KEEPALIVE_SIZE
    ]


def test_congestion_outside_is_seen_inside(rig: Rig):
    """ECN-capable senders learn of it, packets of others stay as they are."""
    assert answers_with(rig, "prerouting") == [0, CE, CE, 0xB8, 0xB8 | CE]


@pytest.mark.parametrize("rig", [KERNEL], indirect=True)
def test_our_ecn_outside_is_seen_inside_by_the_kernel(rig: Rig):
    """Its answers have the TOS of the question, as it came out of the tunnel."""
    assert answers_with(rig, "output") == [0, CE, CE, 0xB8, 0xB8 | CE]


def answers_with(rig: Rig, hook: str) -> list[int]:
    """Return the TOS of answers to pings while all that passes `hook` here is marked CE."""
    rig.introduce()
    assert rig.ours.ping(THEIR_ENDS.inner4, 1) == 1
    rule = f"type filter hook {hook} priority 0; udp sport {PORT} ip ecn set ce;"
    rig.lab.nft(rig.ns, f"table ip t {{ chain c {{ {rule} }}; }}")
    try:
        with Capture(rig.lab, rig.ns, rig.ours.interface) as seen:
            for tos in (0, ECT0, ECT1, 0xB8, 0xB8 | ECT0):
                assert rig.ours.ping(THEIR_ENDS.inner4, 1, options=("-Q", tos)) == 1
    finally:
        rig.lab.nft(rig.ns, "delete table ip t")
    return [packet.tos for packet in seen.packets if packet.source == THEIR_ENDS.inner4]
