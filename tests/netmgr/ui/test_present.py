"""A snapshot for people: tables, words, units."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import RouteView
from netmgr.ui import present
from tests.netmgr.views import BOB, DAVE, SNAPSHOT

EMPTY = replace(SNAPSHOT, peers=(), routes=(), conflicts=(), drops=(), seeds=())


def test_status_tells_the_node_and_its_peers():
    lines = present.status(SNAPSHOT, 1000.0, present.paint_plain).splitlines()
    assert lines[0] == "name:         alice"
    assert "interface:    wg0, port 50001" in lines
    assert "up:           1 d 1 h" in lines
    assert "nodes:        2 of 3 reached" in lines
    refused = "bob 10.1.1.2 (cccc-3333): name belongs to another, 2 times, last now"
    assert f"refused:      {refused}" in lines
    assert "dropped:      3: does not decrypt" in lines
    assert not any(line.startswith("data path") or "none" in line for line in lines)
    assert lines[-4].startswith("NAME")


def test_peers_are_aligned_and_those_reached_come_first():
    text = present.peers(SNAPSHOT, 1000.0, present.paint_plain)
    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "bob", "carol", "dave?[2J"]
    assert lines[1].split()[2:8] == ["lan", "1.2", "ms", "-", "1", "min"]
    assert "via bob" in lines[2]
    assert " 25%" in lines[2]
    assert "never" in lines[2]
    assert "not reached" in lines[3]
    assert lines[0].index("ENDPOINT") == lines[1].index("192.168.1.2:50002")
    assert "\x1b" not in text


def test_a_route_to_nobody_says_so():
    view = replace(SNAPSHOT, routes=(RouteView("0.0.0.0/0", "", (), 0, "exit"),))
    _, line = present.routes(view, present.paint_plain).splitlines()
    assert line.split() == ["0.0.0.0/0", "exit", "nobody", "not", "reached", "-"]
    assert "\x1b[31m" in present.routes(view, present.paint_ansi)


def test_routes_tell_a_name_that_nobody_has():
    line = "0.0.0.0/0=vsp: no node of that name was ever heard of"
    view = replace(SNAPSHOT, unheard=("0.0.0.0/0=vsp",))
    assert present.routes(view, present.paint_plain).splitlines()[-1] == line
    assert present.routes(replace(view, routes=()), present.paint_plain) == line + "\n"


def test_routes_tell_the_nodes_on_the_way():
    lines = present.routes(SNAPSHOT, present.paint_plain).splitlines()
    assert lines[1].split() == ["10.1.1.2/32", "node", "bob", "direct", "1.2", "ms"]
    assert lines[2].split() == ["10.1.1.3/32", "node", "carol", "bob", "34.5", "ms"]


def test_fingerprints_tell_why_each_is_believed():
    text = present.fingerprints(SNAPSHOT, present.paint_plain)
    lines = text.splitlines()
    assert lines[1].endswith("aaaa-1111    this node")
    assert "met, pinned here" in lines[2]
    assert "pinned in network.yaml" in lines[3]
    assert "only heard of" in lines[4]
    assert "refused 2 times: name belongs to another" in lines[5]


def test_a_node_alone_says_so():
    assert present.peers(EMPTY, 0.0, present.paint_plain) == "no other node is known yet\n"
    assert present.routes(EMPTY, present.paint_plain) == "no route yet\n"
    assert "nodes:" in present.status(EMPTY, 0.0, present.paint_plain)


def test_colour_changes_no_column():
    text = present.peers(SNAPSHOT, 1000.0, present.paint_ansi)
    assert "\x1b[32m" in text
    for code in ("0", "1", "32", "33", "31"):
        text = text.replace(f"\x1b[{code}m", "")
    assert text == present.peers(SNAPSHOT, 1000.0, present.paint_plain)
    assert present.paint_ansi("", "x") == "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (present.size(0), "0 B"),
        (present.size(1023), "1023 B"),
        (present.size(1024), "1.0 KiB"),
        (present.size(2**80), "1073741824.0 PiB"),
        (present.span(0.4), "0 s"),
        (present.span(59), "59 s"),
        (present.span(3600), "1 h 0 min"),
        (present.span(-5), "0 s"),
        (present.ago(0.5), "now"),
        (present.ago(61), "1 min 1 s ago"),
        (present.round_trip(None), "-"),
        (present.round_trip(0.0123), "12.3 ms"),
        (present.share(0.004), "-"),
        (present.share(1.0), "100%"),
    ],
)
def test_units_keep_it_short(text: str, expected: str):
    assert text == expected


@given(st.text(), st.text())
def test_names_of_others_cannot_move_the_cursor(name: str, why: str):
    strange = replace(BOB, name=name, endpoint=why, via=(why,))
    text = present.status(replace(SNAPSHOT, peers=(strange,)), 0.0, present.paint_plain)
    assert all(line.isprintable() for line in text.split("\n"))


def test_who_left_is_shown_as_left_and_who_was_pinned_by_hand_as_that():
    gone = replace(DAVE, left=True, trust="person")
    view = replace(SNAPSHOT, peers=(gone, BOB))
    lines = present.status(view, 1000.0, present.paint_plain).splitlines()
    assert "nodes:        1 of 1 reached, 1 left" in lines
    assert " left " in present.peers(view, 1000.0, present.paint_plain)
    assert "not reached" not in present.peers(view, 1000.0, present.paint_plain)
    assert "pinned here by hand" in present.fingerprints(view, present.paint_plain)
