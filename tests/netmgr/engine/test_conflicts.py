"""Refused claims are counted, forgotten in the end, and tell whether who claims is there."""

from netmgr.engine.conflicts import MAX_CONFLICTS, SHOWN, Conflict, Conflicts
from netmgr.engine.trust import Claim
from netmgr.errors import Reason
from tests.sim.tunnel import v4

ONE = v4("10.1.1.1")
A, B = b"a" * 32, b"b" * 32
CLAIM = Claim("alice", ONE, A)


def test_a_refusal_is_news_once_and_counted_when_it_is_claimed_anew():
    one = Conflicts()
    assert one.report(CLAIM, Reason.NAME_TAKEN, 0.0)
    assert not one.report(CLAIM, Reason.NAME_TAKEN, 1.0)
    assert not one.report(CLAIM, Reason.NAME_TAKEN, 2.0, again=False)
    assert one.current(2.0) == [Conflict(CLAIM, Reason.NAME_TAKEN, 1.0, count=2)]
    assert one.report(CLAIM, Reason.ADDRESS_TAKEN, 3.0)
    assert one.report(CLAIM._replace(name="bob"), Reason.NAME_TAKEN, 4.0)
    assert [each.count for each in one.current(4.0)] == [1, 1]
    one.settle(B)
    assert len(one.current(4.0)) == 2
    one.settle(A)
    assert not one.current(4.0)


def test_who_knocks_is_there_and_who_is_not_heard_of_is_shown_no_more():
    one = Conflicts()
    one.report(CLAIM, Reason.NAME_TAKEN, 0.0)
    one.report(CLAIM._replace(identity=B), Reason.NAME_TAKEN, 0.0)
    one.knocked(A, 60.0)
    (conflict,) = one.current(SHOWN)
    assert (conflict.claim, conflict.at, conflict.knocked_at) == (CLAIM, 60.0, 60.0)
    assert one.current(SHOWN + 60.0) == []


def test_conflicts_are_bounded_and_the_oldest_go_first():
    one = Conflicts()
    claims = [Claim("alice", ONE, number.to_bytes(32)) for number in range(MAX_CONFLICTS + 1)]
    for claim in claims[:-1]:
        one.report(claim, Reason.NAME_TAKEN, 0.0)
    one.report(claims[0], Reason.NAME_TAKEN, 1.0)
    one.report(claims[-1], Reason.NAME_TAKEN, 1.0)
    held = [each.claim for each in one.current(1.0)]
    assert held == [*claims[2:-1], claims[0], claims[-1]]
