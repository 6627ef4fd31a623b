"""One other node: which of its places is better, when it is given up, what it may ask."""

import pytest

from netmgr.engine.remote import Direct, Remote, Via
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, Kind
from wgpy.model import Endpoint, PublicKey

LAN = Endpoint(bytes([192, 168, 0, 2]), 50002)
WAN = Endpoint(bytes([198, 51, 100, 2]), 50002)
OTHER = Endpoint(bytes([203, 0, 113, 2]), 50002)


@pytest.fixture
def remote():
    made = Remote(bytes(32), bytes(8), PublicKey(bytes([9]) + bytes(31)), 0.0)
    made.offer([Candidate(LAN, Kind.LOCAL), Candidate(WAN, Kind.OBSERVED)], 0.0)
    return made


def prove(remote: Remote, endpoint: Endpoint, rtt: float, now: float = 0.0) -> None:
    remote.places.probed(b"%f" % now, endpoint, now)
    assert remote.answered(b"%f" % now, now + rtt) == endpoint


def use(remote: Remote, endpoint: Endpoint, rtt: float) -> None:
    prove(remote, endpoint, rtt)
    assert remote.take_up(endpoint, rtt)
    remote.way = Direct(endpoint)


def test_it_begins_without_name_and_way(remote):
    assert (remote.name, remote.rtt, remote.loss, remote.wants_us) == ("", None, 0, False)
    assert remote.answered(b"nothing", 0.0) is None


def test_while_it_is_not_reached_every_place_is_tried(remote):
    assert remote.probe_at() == 0.0
    assert remote.due_probes(0.0) == [LAN, WAN]
    assert remote.prefers(WAN, 20.0)


def test_on_the_internet_only_places_on_the_lan_are_tried(remote):
    use(remote, WAN, 0.03)
    remote.try_now(1.0)
    assert remote.due_probes(1.0) == [LAN]
    assert not remote.prefers(WAN, 20.0)


def test_on_the_lan_nothing_better_is_looked_for(remote):
    use(remote, LAN, 0.001)
    assert (remote.probe_at(), remote.due_probes(100.0)) == (None, [])


@pytest.mark.parametrize(("rtt", "taken"), [(0.001, True), (0.032, True), (0.08, False)])
def test_the_lan_beats_the_internet_unless_it_is_much_slower(remote, rtt, taken):
    use(remote, WAN, 0.03)
    assert not remote.prefers(LAN, 1.0), "never proven"
    prove(remote, LAN, rtt, 1.0)
    assert remote.prefers(LAN, 1.0) is taken


def test_the_internet_never_beats_the_lan(remote):
    use(remote, LAN, 0.03)
    prove(remote, WAN, 0.001, 1.0)
    assert not remote.prefers(WAN, 20.0)


@pytest.mark.parametrize(("rtt", "taken"), [(0.01, True), (0.029, False)])
def test_of_two_places_of_a_kind_one_has_to_be_clearly_better(remote, rtt, taken):
    remote.offer([Candidate(OTHER, Kind.OBSERVED)], 0.0)
    use(remote, WAN, 0.03)
    prove(remote, OTHER, rtt, 1.0)
    assert remote.prefers(OTHER, 20.0) is taken


def test_a_place_in_use_that_is_not_on_the_list_is_measured_by_pings(remote):
    remote.take_up(OTHER, 0.0)
    prove(remote, LAN, 0.001, 1.0)
    assert remote.prefers(LAN, 1.0)
    prove(remote, WAN, 0.001, 2.0)
    assert not remote.prefers(WAN, 20.0)
    remote.pings.measure(0.1)
    assert remote.prefers(WAN, 20.0)


def test_a_place_is_taken_up_once_and_brings_its_round_trip(remote):
    use(remote, WAN, 0.03)
    assert remote.rtt == pytest.approx(0.03)
    assert not remote.take_up(WAN, 1.0)
    remote.pings.missed = 2
    assert remote.take_up(LAN, 1.0)
    assert remote.pings.missed == 0


def test_what_is_given_up_is_looked_for_again_and_its_losses_are_remembered(remote):
    use(remote, WAN, 0.03)
    remote.calls.wants_us = True
    remote.give_up(5.0)
    assert (remote.up, remote.rtt, remote.wants_us) == (False, None, False)
    assert remote.due_probes(5.0) == [LAN, WAN]
    remote.give_up(6.0)
    assert remote.downs == (5.0, 6.0)


def test_what_comes_of_a_session_counts_for_the_direct_way_only(remote):
    assert not remote.arrived(100, 50, 0.0), "there is none"
    use(remote, WAN, 0.03)
    remote.way = Direct(WAN)
    assert remote.arrived(100, 50, 1.0)
    assert remote.loss == round(49 / 100 * 255)
    assert not remote.arrived(0, 0, 2.0)
    remote.way = Via((b"relay678", bytes(8)))
    before = remote.loss
    assert not remote.arrived(100, 0, 3.0)
    assert remote.loss == before


def test_checks_tell_what_the_direct_place_loses_while_relays_are_used(remote):
    use(remote, WAN, 0.03)
    remote.way = Direct(WAN)
    for at in range(8):
        remote.arrived(100, 80, float(at))
    lossy = remote.loss
    remote.way = Via((b"relay678", bytes(8)))
    now = 100.0
    for number in range(40):
        endpoint = remote.due_check(now)
        assert endpoint == WAN
        txid = number.to_bytes(8)
        remote.places.probed(txid, WAN, now)
        if number == 1:
            now = remote.check_at()
            continue
        remote.answered(txid, now + 0.03)
        now = remote.check_at()
        if number == 8:
            assert 0 < remote.loss < lossy
    assert remote.loss == 0


def test_pings_through_relays_do_not_begin_anew_as_the_direct_place_comes_and_goes(remote):
    remote.way = Via((b"relay678", bytes(8)))
    remote.pings.missed = 2
    remote.take_up(WAN, 0.0)
    remote.give_up(1.0)
    assert remote.pings.missed == 2


def test_behind_relays_the_direct_place_is_checked(remote):
    use(remote, WAN, 0.03)
    assert remote.due_check(100.0) is None
    remote.way = Via((b"relay678", bytes(8)))
    at = remote.check_at()
    assert at is not None
    assert remote.due_check(at - 0.1) is None
    assert remote.due_check(at) == WAN
    assert remote.checks.unanswered == 1
    prove(remote, WAN, 0.03, at)
    assert (remote.checks.unanswered, remote.rtt) == (0, pytest.approx(0.03))


def test_a_change_of_the_network_lets_everything_be_asked_anew(remote):
    use(remote, WAN, 0.03)
    remote.pings.next_at = remote.calls.next_at = 50.0
    remote.doubt(3.0)
    assert (remote.pings.next_at, remote.calls.next_at, remote.probe_at()) == (3.0, 3.0, 3.0)


def test_messages_are_taken_at_a_rate_of_their_kind(remote):
    for _ in range(4):
        remote.limit(1, (2.0, 4), 10.0)
    with pytest.raises(Rejected) as caught:
        remote.limit(1, (2.0, 4), 10.0)
    assert caught.value.reason is Reason.TOO_FAST
    remote.limit(2, (2.0, 4), 10.0)
    remote.limit(1, (2.0, 4), 12.0)
