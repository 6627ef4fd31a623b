"""What the log of a node says, and how much of it by default."""

import json
import logging
from collections.abc import Iterator

import pytest

from netmgr import events
from netmgr.errors import Reason
from netmgr.io import report
from tests.netmgr.views import REFUSAL
from wgpy.model import Endpoint

HAPPENED = (
    events.RouteRefused("bob", "192.168.7.0/24", "it overlaps a network of this host"),
    events.NodeJoined("bob", "10.1.1.2", "bbbb"),
)


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Put the loggers back as they were."""
    found = [logging.getLogger(name) for name in ("netmgr", "wgpy")]
    before = [(each.level, each.handlers[:], each.propagate) for each in found]
    yield
    for each, (level, handlers, propagate) in zip(found, before, strict=True):
        each.setLevel(level)
        each.handlers[:], each.propagate = handlers, propagate


def said(capsys: pytest.CaptureFixture[str], verbosity: int) -> list[str]:
    report.configure(verbosity, None, as_json=False)
    report.announce("alice is up")
    report.report(HAPPENED)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("wgpy").log(level, "tunnel %s", logging.getLevelName(level))
    return [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()]


def test_by_default_the_log_has_the_start_warnings_and_errors(
    capsys: pytest.CaptureFixture[str],
):
    assert said(capsys, 0) == [
        "INFO alice is up",
        "WARNING refused: 192.168.7.0/24 behind bob: it overlaps a network of this host",
        "ERROR tunnel ERROR",
    ]


def test_once_v_adds_what_happens_and_twice_the_tunnel(capsys: pytest.CaptureFixture[str]):
    once, twice, often = said(capsys, 1), said(capsys, 2), said(capsys, 99)
    assert "INFO bob (10.1.1.2) is a node, bbbb" in once
    assert "WARNING tunnel WARNING" in once
    assert "INFO tunnel INFO" not in once
    assert "INFO tunnel INFO" in twice
    assert often == twice


def test_lines_can_be_objects(capsys: pytest.CaptureFixture[str]):
    report.configure(0, None, as_json=True)
    report.announce("alice is up")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("info", "alice is up")


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (events.ClaimRefused("a", "b", "c", Reason.NAME_TAKEN), logging.WARNING),
        (events.PrefixClosed("0.0.0.0/0", ("a", "b")), logging.WARNING),
        (events.PrefixOpened("0.0.0.0/0", "a"), logging.WARNING),
        (events.SeedSilent("a:1", 60.0), logging.WARNING),
        (events.TwinSeen(silent=True), logging.ERROR),
        (events.TwinSeen(silent=False), logging.WARNING),
        (events.WayChanged("a", "direct", "nowhere"), logging.INFO),
        (events.NodeLeft("a", "it said goodbye"), logging.INFO),
        (events.NodePinned("a", "b", "c"), logging.INFO),
        (events.ObservedAt(Endpoint(bytes(4), 1)), logging.INFO),
    ],
)
def test_what_an_operator_is_to_look_at_is_a_warning(event: events.Event, level: int):
    found, text = report.line_of(event)
    assert found == level
    assert "\n" not in text


@pytest.mark.parametrize(
    ("reason", "is_ours", "todo"),
    [
        (Reason.NAME_TAKEN, False, "wg_netmanager accept bob ff-1"),
        (Reason.NAME_TAKEN, True, "one of the two needs another"),
        (Reason.OUTSIDE_SUBNET, False, "is to be chosen there"),
    ],
)
def test_a_refused_claim_is_to_be_accepted_only_where_that_can_be(reason, is_ours, todo):
    _, line = report.line_of(events.ClaimRefused("bob", "10.1.1.2", "ff-1", reason, is_ours))
    assert line.endswith(todo)
    assert ("accept" in line) is ("accept" in todo)


def test_who_is_refused_itself_reads_what_to_do():
    _, line = report.line_of(events.NodeRefused(REFUSAL))
    assert line == (
        "192.0.2.1:1 refuses this node: the name alice belongs to ff-1 (10.1.1.1): "
        "choose another -n and -a, or, if this is that machine reinstalled, type on the "
        "others: wg_netmanager accept alice aaaa-1111"
    )
