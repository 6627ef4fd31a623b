"""What a snapshot says of the health of a network."""

from dataclasses import replace

from netmgr.model import ConflictView, Finding, Level, RouteView
from netmgr.ui.findings import lines, of_snapshot
from tests.netmgr.views import BOB, CAROL, REFUSAL, SNAPSHOT

WELL = replace(SNAPSHOT, peers=(BOB,), conflicts=())


def test_a_network_that_is_well_is_one_good_line():
    assert list(of_snapshot(WELL)) == [
        Finding(Level.OK, "mesh", "1 of 1 other nodes are reached")
    ]


def test_a_relayed_node_tells_which_places_did_not_answer():
    tried = replace(CAROL, tried=("192.0.2.1:1", "192.0.2.2:2"))
    (_, found) = of_snapshot(replace(WELL, peers=(tried,)))
    assert found.level is Level.WARN
    assert (
        "carol is reached via bob: no direct place of it answers (192.0.2.1:1, " in found.text
    )
    (_, found) = of_snapshot(replace(WELL, peers=(CAROL,)))
    assert (found.level, found.todo) == (Level.OK, "")


def test_a_node_that_is_not_reached_is_a_warning_with_its_places():
    gone = replace(BOB, reachable=False, path="none", tried=("192.0.2.1:1",))
    first, found = of_snapshot(replace(WELL, peers=(gone,)))
    assert first.level is Level.FAIL
    assert found.level is Level.WARN
    assert "192.0.2.1:1" in found.text
    assert "forget bob" in found.todo


def test_a_prefix_that_goes_nowhere_is_closed():
    closed = RouteView("0.0.0.0/0", "", (), 0, "exit")
    _, found = of_snapshot(replace(WELL, routes=(*WELL.routes, closed)))
    assert (found.level, found.what) == (Level.FAIL, "via")
    assert found.text.startswith("0.0.0.0/0 is closed")


def test_a_node_that_left_on_purpose_is_no_worry():
    gone = replace(BOB, reachable=False, path="none", left=True)
    for others, text in (((), "0 of 0"), ((CAROL,), "1 of 1")):
        first, *more = of_snapshot(replace(WELL, peers=(gone, *others)))
        assert first == Finding(Level.OK, "mesh", f"{text} other nodes are reached, 1 left")
        assert {each.level for each in more} <= {Level.OK}


def test_a_node_alone_fails_unless_it_has_just_begun_or_knows_of_nobody():
    alone = replace(WELL, peers=())
    assert [each.level for each in of_snapshot(alone)] == [Level.FAIL]
    assert [each.level for each in of_snapshot(replace(alone, uptime=1.0))] == [Level.WARN]
    (found,) = of_snapshot(replace(alone, seeds=()))
    assert found.level is Level.WARN
    assert "--peer" in found.todo


def test_a_refused_claim_says_how_it_is_repaired():
    mine = ConflictView("ff-1", "bob", "10.1.1.2", "claims a name that belongs to another", 2)
    far = ConflictView("ff-2", "", "", "claims an address outside of the subnet", 1)
    _, first, second = of_snapshot(replace(WELL, conflicts=(mine, far)))
    assert first.level is second.level is Level.FAIL
    assert "wg_netmanager accept bob ff-1" in first.todo
    assert second.text.startswith("a node: ff-2")


def test_a_claim_of_who_is_not_there_is_a_warning_with_its_age():
    (old,) = SNAPSHOT.conflicts
    old = replace(old, live=False, age=600.0)
    _, found = of_snapshot(replace(WELL, conflicts=(old,)))
    assert found.level is Level.WARN
    assert found.text.endswith("refused 2 times, last 10 min ago")


def test_who_is_refused_by_others_is_told_that_and_not_to_accept_the_owner():
    rival = ConflictView(
        "ff-1", "alice", "10.1.1.1", "claims a name that belongs to another", 2
    )
    refused = replace(WELL, peers=(), conflicts=(rival,), refusals=(REFUSAL,))
    _, found = of_snapshot(refused)
    assert found == Finding(Level.FAIL, "identity", REFUSAL.text, REFUSAL.todo)
    _, found = of_snapshot(replace(refused, peers=(BOB,)))
    assert found.level is Level.WARN


def test_who_claims_the_name_of_this_node_is_not_to_be_accepted():
    rival = ConflictView(
        "ff-1", "alice", "10.1.1.7", "claims a name that belongs to another", 2
    )
    _, found = of_snapshot(replace(WELL, conflicts=(rival,)))
    assert "accept" not in found.todo and "this node" in found.todo


def test_a_line_has_no_escapes_and_ends_with_the_next_step():
    found = Finding(Level.FAIL, "x", "bad\x1b", "do this")
    assert list(lines([found])) == ["FAIL  x           bad?; do this"]
    assert list(lines([Finding(Level.OK, "x", "good")])) == ["ok    x           good"]


def test_a_name_in_via_that_nobody_has_is_a_warning():
    _, found = of_snapshot(replace(WELL, unheard=("0.0.0.0/0=vsp",)))
    assert (found.level, found.what) == (Level.WARN, "via")
    assert found.text == "0.0.0.0/0=vsp: no node of that name was ever heard of"
