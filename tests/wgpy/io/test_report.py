import asyncio
import errno
import io
import json
import logging

import pytest

from wgpy.errors import ConfigError, Drop
from wgpy.events import (
    DatagramReceived,
    Event,
    HandshakeAnswered,
    HandshakeCompleted,
    HandshakeGaveUp,
    HandshakeSent,
    HandshakeUnanswered,
    InnerReceived,
    LoadChanged,
    MessageRejected,
    RelayFailed,
    Roamed,
    SessionEnded,
)
from wgpy.io.report import (
    LINE_BURST,
    LINES_PER_SECOND,
    RARE_INTERVAL,
    RARE_LIMIT,
    Reporter,
    configure,
    toggle_debug,
)
from wgpy.model import Endpoint, PublicKey
from wgpy.wire.detour import via

PEER = PublicKey(bytes(range(32)))
HOME = Endpoint(b"\xc0\x00\x02\x01", 51820)
AWAY = Endpoint(b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01", 7)
NAME, HOME_TEXT = "peer AAECAwQF:", "192.0.2.1:51820"

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
    (HandshakeSent(PEER, HOME, 1), "DEBUG", f"{NAME} initiation sent to {HOME_TEXT}"),
    (HandshakeSent(PEER, HOME, 3), "DEBUG", f"{NAME} initiation sent to {HOME_TEXT}, try 3"),
    (
        HandshakeSent(PEER, None, 1),
        "DEBUG",
        f"{NAME} initiation not sent: no endpoint is known",
    ),
    (HandshakeAnswered(PEER, HOME), "DEBUG", f"{NAME} initiation from {HOME_TEXT} answered"),
    (
        HandshakeUnanswered(PEER, HOME, 15.2),
        "WARNING",
        f"{NAME} no valid answer from {HOME_TEXT} for 15 s: is the address right, UDP let "
        "through, and our key a peer there?",
    ),
    (
        HandshakeUnanswered(PEER, via(b"abcdefgh"), 15.2),
        "WARNING",
        f"{NAME} no valid answer through relays for 15 s: is it there, and our key a peer?",
    ),
    (HandshakeSent(PEER, via(b"abcdefgh"), 1), "DEBUG", f"{NAME} initiation sent to relays"),
    (
        HandshakeUnanswered(PEER, None, 15.2),
        "INFO",
        f"{NAME} no endpoint is known, and it has not called for 15 s",
    ),
    (
        RelayFailed(b"abcdefgh", b"ijklmnop"),
        "INFO",
        "on the way through relays to node 6162636465666768 696a6b6c6d6e6f70 is not reached",
    ),
    (
        MessageRejected(Drop.BAD_MAC1, HOME),
        "DEBUG",
        f"a handshake from {HOME_TEXT} is for another public key than ours",
    ),
    (
        MessageRejected(Drop.UNKNOWN_PEER, HOME, PEER),
        "INFO",
        f"a handshake from {HOME_TEXT} is of AAECAwQF, which is no peer here",
    ),
    (
        MessageRejected(Drop.UNKNOWN_PEER, HOME),
        "INFO",
        f"a message from {HOME_TEXT} was dropped: handshake from a key that is no peer",
    ),
    (
        MessageRejected(Drop.NOT_AUTHENTIC, HOME, PEER),
        "WARNING",
        f"{NAME} its answer from {HOME_TEXT} does not decrypt: "
        "is the preshared key the same on both sides?",
    ),
    (
        MessageRejected(Drop.NOT_AUTHENTIC, HOME),
        "DEBUG",
        f"a message from {HOME_TEXT} was dropped: does not decrypt",
    ),
    (
        MessageRejected(Drop.OLD_TIMESTAMP, HOME, PEER),
        "WARNING",
        f"{NAME} its handshake from {HOME_TEXT} is not newer than the last: "
        "replayed, or its clock was set back",
    ),
    (
        MessageRejected(Drop.NOT_ALLOWED, HOME, PEER, bytes([10, 1, 2, 3])),
        "WARNING",
        f"{NAME} inner source 10.1.2.3 is not in its allowed IPs",
    ),
    (
        MessageRejected(Drop.NOT_ALLOWED, HOME, PEER, b"\xfe\x80" + bytes(13) + b"\x01"),
        "DEBUG",
        f"{NAME} inner source fe80::1 is not in its allowed IPs",
    ),
    (
        MessageRejected(Drop.NOT_ALLOWED, HOME, PEER, bytes(4)),
        "DEBUG",
        f"{NAME} inner source 0.0.0.0 is not in its allowed IPs",
    ),
    (
        MessageRejected(Drop.MARTIAN, HOME, PEER, bytes([10, 1, 2, 3])),
        "WARNING",
        f"{NAME} inner source 10.1.2.3 is ours or no host's, and was not sent on",
    ),
    (
        MessageRejected(Drop.MARTIAN, HOME, PEER, b"\xfe\x80" + bytes(13) + b"\x01"),
        "DEBUG",
        f"{NAME} inner source fe80::1 is ours or no host's, and was not sent on",
    ),
    (
        MessageRejected(Drop.NO_PEER, inner=bytes([10, 1, 2, 3])),
        "DEBUG",
        "no peer has 10.1.2.3 in its allowed IPs",
    ),
    (
        MessageRejected(Drop.NO_ENDPOINT, None, PEER, bytes([10, 1, 2, 3])),
        "INFO",
        f"{NAME} no endpoint is known, 10.1.2.3 cannot be reached",
    ),
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


def test_what_strangers_cause_has_its_level_once_in_a_while():
    stream, clock = io.StringIO(), Clock()
    configure("verbose", "text", stream)
    reporter = Reporter("wg0", clock.now)
    other = PublicKey(bytes(32))
    reporter.report([MessageRejected(Drop.UNKNOWN_PEER, HOME, key) for key in (PEER, other)])
    reporter.report([MessageRejected(Drop.OLD_TIMESTAMP, HOME, key) for key in (PEER, other)])
    clock.at += RARE_INTERVAL
    reporter.report([MessageRejected(Drop.OLD_TIMESTAMP, HOME, PEER)] * 2)
    levels = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert levels == ["INFO", "DEBUG", "WARNING", "WARNING", "WARNING", "DEBUG"]


@pytest.mark.parametrize(
    "flood",
    [
        [LoadChanged(under_load=True), LoadChanged(under_load=False)],
        [Roamed(PEER, HOME, AWAY), Roamed(PEER, AWAY, HOME)],
    ],
)
def test_a_day_of_what_a_stranger_can_cause_is_a_few_hundred_lines(flood):
    stream, clock = io.StringIO(), Clock()
    configure("info", "text", stream)
    reporter = Reporter("wg0", clock.now)
    for second in range(0, 86400, 2):
        clock.at = second
        reporter.report(flood)
    assert 0 < stream.getvalue().count("\n") <= len(flood) * 86400 / RARE_INTERVAL


def test_what_is_rare_is_remembered_up_to_a_bound():
    stream = io.StringIO()
    configure("verbose", "text", stream)
    reporter = Reporter("wg0", lambda: 0.0)
    for number in range(RARE_LIMIT + 1):
        peer = PublicKey(number.to_bytes(32))
        reporter.report([MessageRejected(Drop.NOT_ALLOWED, HOME, peer, HOME.host)])
    assert len(reporter._rare) == 1  # noqa: SLF001


def test_what_cannot_be_sent_is_told_with_the_kernels_words():
    stream = io.StringIO()
    configure("verbose", "text", stream)
    reporter = Reporter("wg0", lambda: 0.0)
    for code in (errno.ENETUNREACH, errno.ENETUNREACH, errno.EPERM):
        reporter.cannot_send(HOME, code)
    assert [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()] == [
        f"WARNING wg0: cannot send to {HOME_TEXT}: Network is unreachable",
        f"DEBUG wg0: cannot send to {HOME_TEXT}: Network is unreachable",
        f"WARNING wg0: cannot send to {HOME_TEXT}: Operation not permitted",
    ]


@pytest.mark.parametrize(("level", "texts"), [(None, "bd"), ("silent", "b"), ("debug", "abcd")])
def test_debug_lines_can_be_had_for_a_while(level, texts):
    stream = io.StringIO()
    configure(level, "text", stream)
    reporter = Reporter("wg0")
    reporter.debug("a")
    toggle_debug(level)
    reporter.debug("b")
    toggle_debug(level)
    reporter.debug("c")
    reporter.info("d")
    said = [line.rpartition(" ")[2] for line in stream.getvalue().splitlines()]
    assert said == list(texts)


def test_a_flood_of_one_kind_is_bounded_and_its_rest_is_counted():
    stream, clock = io.StringIO(), Clock()
    configure("info", "text", stream)
    reporter = Reporter("wg0", clock.now)
    reporter.report([HandshakeGaveUp(PEER)] * 1000)
    assert stream.getvalue().count("\n") == LINE_BURST
    reporter.report([SessionEnded(PEER, "expired")])
    assert "session ended" in stream.getvalue()
    clock.at += 1 / LINES_PER_SECOND + 0.01
    reporter.report([HandshakeGaveUp(PEER)] * 10)
    left_out, last = stream.getvalue().splitlines()[-2:]
    assert left_out.endswith(f"wg0: {1000 - LINE_BURST:.0f} lines like the next were left out")
    assert "gave up" in last


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
