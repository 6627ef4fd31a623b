import asyncio
import io
import json
import logging

import pytest

from wgpy.errors import ConfigError
from wgpy.events import (
    DatagramReceived,
    Event,
    HandshakeCompleted,
    HandshakeGaveUp,
    InnerReceived,
    LoadChanged,
    Roamed,
    SessionEnded,
)
from wgpy.io.report import LINE_BURST, LINES_PER_SECOND, Reporter, configure
from wgpy.model import Endpoint, PublicKey

PEER = PublicKey(bytes(range(32)))
HOME = Endpoint(b"\xc0\x00\x02\x01", 51820)
AWAY = Endpoint(b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", 7)

EVENTS: list[tuple[Event, str, str]] = [
    (
        HandshakeCompleted(PEER, HOME, initiator=True),
        "INFO",
        "peer AAECAwQF: handshake completed with 192.0.2.1:51820, begun by us",
    ),
    (
        HandshakeCompleted(PEER, None, initiator=False),
        "INFO",
        "peer AAECAwQF: handshake completed with an unknown address, begun by it",
    ),
    (
        HandshakeGaveUp(PEER),
        "INFO",
        "peer AAECAwQF: no handshake is answered, gave up until traffic",
    ),
    (
        Roamed(PEER, HOME, AWAY),
        "INFO",
        "peer AAECAwQF: roamed from 192.0.2.1:51820 to [2001:db8::1]:7",
    ),
    (SessionEnded(PEER, "expired"), "INFO", "peer AAECAwQF: session ended: expired"),
    (
        LoadChanged(under_load=True),
        "WARNING",
        "under load, handshakes need a cookie: is this host being flooded?",
    ),
    (LoadChanged(under_load=False), "INFO", "no longer under load"),
]


@pytest.fixture(autouse=True)
def _logging_as_found():
    logger = logging.getLogger("wgpy")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at


@pytest.mark.parametrize(("event", "level", "text"), EVENTS)
def test_each_event_is_one_line_that_names_the_interface(event, level, text):
    stream = io.StringIO()
    configure("verbose", "text", stream)
    Reporter("wg7").report([event])
    time, rest = stream.getvalue().split(" ", 1)
    assert len(time) == len("2026-01-01T00:00:00+0000")
    assert rest == f"{level} wg7: {text}\n"


@pytest.mark.parametrize(("event", "level", "text"), EVENTS)
def test_each_event_is_one_json_object(event, level, text):
    stream = io.StringIO()
    configure("debug", "json", stream)
    Reporter("wg7").report([event])
    line = json.loads(stream.getvalue())
    assert line["level"] == level.lower()
    assert line["message"] == text
    assert line["interface"] == "wg7"
    assert ("peer" in line) == text.startswith("peer")


def test_what_is_delivered_per_packet_is_not_logged():
    stream = io.StringIO()
    configure("debug", "text", stream)
    Reporter("wg0").report([DatagramReceived(b"\x80", HOME, None), InnerReceived(PEER, b"x")])
    assert stream.getvalue() == ""


def test_a_flood_of_one_kind_is_bounded_and_its_rest_is_counted():
    stream, clock = io.StringIO(), Clock()
    configure("info", "text", stream)
    reporter = Reporter("wg0", clock.now)
    reporter.report([Roamed(PEER, HOME, AWAY)] * 1000)
    assert stream.getvalue().count("\n") == LINE_BURST
    reporter.report([SessionEnded(PEER, "expired")])
    assert "session ended" in stream.getvalue()
    clock.at += 1 / LINES_PER_SECOND + 0.01
    reporter.report([Roamed(PEER, HOME, AWAY)] * 10)
    left_out, last = stream.getvalue().splitlines()[-2:]
    assert left_out.endswith(f"wg0: {1000 - LINE_BURST:.0f} lines like the next were left out")
    assert "roamed" in last


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        ("verbose", 4),
        ("debug", 4),
        (None, 3),
        ("", 3),
        ("INFO", 3),
        ("error", 1),
        ("silent", 0),
    ],
)
def test_the_level_says_how_much_is_logged(level, lines):
    stream = io.StringIO()
    configure(level, "text", stream)
    reporter = Reporter("wg0")
    reporter.debug("d")
    reporter.info("i")
    reporter.warning("w")
    reporter.error("e")
    assert stream.getvalue().count("\n") == lines


def test_a_line_break_in_a_text_makes_no_second_line():
    stream = io.StringIO()
    configure("info", "text", stream)
    Reporter("wg0").info("a\nb\rc")
    assert stream.getvalue().endswith(" INFO wg0: a\\nb\\rc\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_bug_is_logged_with_its_traceback(form):
    stream = io.StringIO()
    configure("error", form, stream)
    with pytest.raises(IndexError) as caught:
        [][0]
    Reporter("wg0").crashed(caught.value)
    assert "a bug: IndexError: list index out of range" in stream.getvalue()
    assert "Traceback" in stream.getvalue()


def test_a_loop_goes_on_after_a_bug_in_a_callback_and_says_so():
    stream = io.StringIO()
    configure("error", "text", stream)

    async def meet_one() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(Reporter("wg0").callback_failed)
        loop.call_soon([].pop)
        loop.call_exception_handler({"message": "no exception at all"})
        await asyncio.sleep(0)

    asyncio.run(meet_one())
    assert "a bug: IndexError: pop from empty list" in stream.getvalue()
    assert "a bug: RuntimeError: no exception at all" in stream.getvalue()


def test_a_bug_that_every_packet_meets_fills_no_log():
    stream = io.StringIO()
    configure("error", "text", stream)
    reporter = Reporter("wg0", lambda: 0.0)
    for _ in range(1000):
        reporter.crashed(IndexError("one packet"))
    assert stream.getvalue().count("a bug:") == LINE_BURST


def test_a_reader_that_went_away_stops_nothing(capsys):
    stream = io.StringIO()
    configure("info", "text", stream)
    stream.close()
    Reporter("wg0").info("nobody reads this")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("level", "form"), [("loud", "text"), ("info", "xml")])
def test_an_unknown_level_or_form_is_refused_with_the_known_ones(level, form):
    with pytest.raises(ConfigError, match="it is one of"):
        configure(level, form)
