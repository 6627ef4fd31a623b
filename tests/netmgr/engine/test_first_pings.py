"""A way is measured more often while little is known of it, or something has changed."""

from netmgr.engine.liveness import FIRST_INTERVAL, PING_INTERVAL, Liveness
from netmgr.engine.remote import Remote, Via
from wgpy.model import Endpoint, PublicKey

PLACE = Endpoint(b"\x0a\x80\x01\x02", 50002)


def ping(pings: Liveness, number: int, rtt: float, now: float) -> None:
    txid = bytes([number])
    pings.pinged(txid, PING_INTERVAL, now)
    assert pings.ponged(txid, PING_INTERVAL, now + rtt) == now
    pings.measure(rtt)


def test_a_new_way_is_pinged_each_second_until_four_round_trips_are_known():
    pings = Liveness(0.0)
    for number, rtt in enumerate((0.08, 0.002, 0.002, 0.002)):
        assert not pings.is_settled
        ping(pings, number, rtt, float(number))
        assert pings.next_at == number + FIRST_INTERVAL
    assert pings.is_settled
    # The first impression is forgotten.
    assert pings.rtt == 0.002
    ping(pings, 9, 0.002, 4.0)
    assert pings.next_at == 4.0 + PING_INTERVAL


def test_what_is_forgotten_is_a_first_impression_again():
    pings = Liveness(0.0)
    for _ in range(4):
        pings.measure(0.01)
    pings.forget()
    assert not pings.is_settled


def test_a_direct_place_that_has_changed_is_checked_again_soon():
    remote = Remote(bytes(32), bytes(8), PublicKey(bytes(32)), 0.0)
    remote.take_up(PLACE, 0.0)
    remote.way = Via((b"r" * 8, bytes(8)))
    at, number = 10.0, 0

    def check(rtt: float) -> float:
        nonlocal at, number
        at, number = at + 10, number + 1
        remote.places.probed(bytes([number]), PLACE, at)
        assert remote.answered(bytes([number]), at + rtt) == PLACE
        found = remote.check_at()
        assert found is not None
        return found - at - rtt

    assert round(check(0.2), 6) == PING_INTERVAL
    assert round(check(0.21), 6) == PING_INTERVAL
    assert [round(check(0.04), 6) for _ in range(3)] == [FIRST_INTERVAL] * 2 + [PING_INTERVAL]
    assert round(remote.rtt or 0, 4) == 0.04
