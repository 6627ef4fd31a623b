"""Events as lines of a log."""

import pytest

from netmgr import events
from netmgr.errors import Reason
from netmgr.io.report import line_of
from tests.netmgr.views import REFUSAL


@pytest.mark.parametrize(
    ("reason", "is_ours", "todo"),
    [
        (Reason.NAME_TAKEN, False, "wg_netmanager accept bob ff-1"),
        (Reason.NAME_TAKEN, True, "one of the two needs another"),
        (Reason.OUTSIDE_SUBNET, False, "is to be chosen there"),
    ],
)
def test_a_refused_claim_is_to_be_accepted_only_where_that_can_be(reason, is_ours, todo):
    _, line = line_of(events.ClaimRefused("bob", "10.1.1.2", "ff-1", reason, is_ours))
    assert line.endswith(todo)
    assert ("accept" in line) is ("accept" in todo)


def test_who_is_refused_itself_reads_what_to_do():
    _, line = line_of(events.NodeRefused(REFUSAL))
    assert line == (
        "192.0.2.1:1 refuses this node: the name alice belongs to ff-1 (10.1.1.1): "
        "choose another -n and -a, or, if this is that machine reinstalled, type on the "
        "others: wg_netmanager accept alice aaaa-1111"
    )
