"""Relay messages: their bytes, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.errors import Drop, Rejected
from wgpy.model import Endpoint, Opened
from wgpy.wire import detour, ip
from wgpy.wire.detour import Head

SOURCE, RELAY, OTHER, TARGET = (bytes([number] * 8) for number in (1, 2, 3, 4))
HEAD = Head(detour.RELAY, 0, SOURCE, (RELAY, TARGET))
VECTOR = bytes.fromhex(
    "0a000200 00030000 0101010101010101 0202020202020202 0404040404040404 aabbcc"
)
ids = st.lists(st.binary(min_size=8, max_size=8), min_size=3, max_size=5, unique=True)


def rejection(payload: bytes | memoryview) -> Drop:
    with pytest.raises(Rejected) as caught:
        detour.decode_untrusted(payload)
    return caught.value.drop


def changed(at: int, value: int, payload: bytes = VECTOR) -> bytes:
    return payload[:at] + bytes([value]) + payload[at + 1 :]


def rows(messages: list[bytes]) -> Opened:
    """Return messages as a burst that was opened has them."""
    stride = len(messages[0])
    buffer = bytearray(b"".join(message.ljust(stride, b"\xee") for message in messages))
    return Opened(buffer, stride, [*map(len, messages)])


def unwrapped(opened: Opened) -> list[bytes] | None:
    """Return the bodies of rows, None if they are not alike."""
    lengths = detour.lengths_untrusted(HEAD, opened)
    return lengths and [*map(bytes, detour.bodies(HEAD, opened, lengths))]


def test_an_endpoint_behind_relays_is_in_the_discard_only_prefix():
    endpoint = detour.via(b"abcdefgh")
    assert str(endpoint) == "[100::6162:6364:6566:6768]:0"
    assert detour.via_id(endpoint) == b"abcdefgh"


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(b"\x01" + bytes(7) + b"abcdefgh", 51820),
        Endpoint(bytes([1, 0, 0, 0]), 0),
        Endpoint(b"\x20\x01" + bytes(14), 0),
        Endpoint(b"\x01" + bytes(6) + b"\x01abcdefgh", 0),
    ],
)
def test_other_endpoints_are_behind_no_relay(endpoint):
    assert detour.via_id(endpoint) is None


def test_a_message_has_the_bytes_of_the_table():
    assert detour.wrap(HEAD, [b"\xaa\xbb\xcc"]) == [VECTOR]
    assert HEAD.size == 32


def test_a_message_is_no_packet():
    assert detour.is_relay_message(VECTOR)
    assert detour.is_relay_message(b"\x0b")
    assert not detour.is_relay_message(b"\x0c")
    assert ip.version(VECTOR) == 0


def test_the_padding_of_wireguard_is_no_part_of_the_body():
    head, body = detour.decode_untrusted(VECTOR + bytes(13))
    assert (head, bytes(body)) == (HEAD, b"\xaa\xbb\xcc")


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 0x0C),  # neither a datagram nor an error
        (0, 0x0B),  # an error whose body is no id
        (1, 2),  # turn out of range
        (1, 255),
        (2, 0),  # count
        (2, 1),
        (2, 3),
        (2, 5),
        (2, 255),
        (3, 1),  # zeros
        (5, 0),  # length
        (5, 4),
        (4, 255),
        (6, 1),
        (7, 1),
    ],
)
def test_a_field_that_is_wrong_is_refused(at, value):
    assert rejection(changed(at, value)) is Drop.BAD_DETOUR


@pytest.mark.parametrize("size", range(len(VECTOR)))
def test_what_is_cut_off_is_refused(size):
    assert rejection(VECTOR[:size]) is Drop.BAD_DETOUR


@pytest.mark.parametrize(
    ("source", "way"),
    [
        (SOURCE, (RELAY, RELAY)),
        (SOURCE, (RELAY, SOURCE)),
        (SOURCE, (RELAY, OTHER, RELAY, TARGET)),
        (TARGET, (RELAY, TARGET)),
    ],
)
def test_a_way_that_meets_a_node_twice_is_refused(source, way):
    (message,) = detour.wrap(Head(detour.RELAY, 0, source, way), [b"x"])
    assert rejection(message) is Drop.BAD_DETOUR


@given(ids, st.data(), st.binary(min_size=1, max_size=200), st.binary(max_size=15))
def test_what_was_encoded_is_decoded(nodes, data, body, padding):
    source, *way = nodes
    turn = data.draw(st.integers(0, len(way) - 1))
    kind = data.draw(st.sampled_from([detour.RELAY, detour.RELAY_ERROR]))
    if kind == detour.RELAY_ERROR:
        body = way[-1]
    head = Head(kind, turn, source, tuple(way))
    (message,) = detour.wrap(head, [body])
    found, got = detour.decode_untrusted(memoryview(message + padding))
    assert (found, bytes(got)) == (head, body)


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: VECTOR[:8] + tail))
def test_garbage_is_refused_or_sound(payload):
    try:
        head, body = detour.decode_untrusted(payload)
    except Rejected as rejected:
        assert rejected.drop is Drop.BAD_DETOUR
        return
    assert head.turn < len(head.ids) <= 4
    assert len({head.source, *head.ids}) == len(head.ids) + 1
    assert 0 < len(body) <= len(payload) - head.size


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 40))
def test_datagrams_end_to_end_become_rows_and_come_back(size, count, last):
    last = min(size, last)
    payload = bytes(number % 251 for number in range(size * (count - 1) + last))
    opened = detour.wrap_equal(HEAD, payload, size)
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    assert [bytes(opened.row(row)) for row in range(count)] == detour.wrap(HEAD, pieces)
    assert len(opened.buffer) == count * opened.stride
    assert unwrapped(opened) == pieces


def test_rows_take_another_turn_where_they_are():
    messages = detour.wrap(HEAD, [b"one", b"two", b"3"])
    opened = rows(messages)
    detour.pass_on(opened, 1)
    for row, before in enumerate(messages):
        assert bytes(opened.row(row)) == changed(1, 1, before)


@pytest.mark.parametrize(
    "last",
    [
        *(changed(at, VECTOR[at] ^ 1) for at in range(32)),
        changed(5, 0),
        VECTOR[:20],
        VECTOR[:34],
    ],
)
@pytest.mark.parametrize("others", [1, 2])
def test_rows_that_differ_are_not_alike(last, others):
    opened = rows([VECTOR] * others + [last])
    expected = None
    if last[4:6] == b"\x00\x02":
        expected = [b"\xaa\xbb\xcc"] * others + [b"\xaa\xbb"]
    assert unwrapped(opened) == expected


def test_rows_in_the_middle_have_the_length_of_the_first():
    opened = rows([VECTOR, changed(5, 2), VECTOR])
    assert unwrapped(opened) is None


def test_the_room_for_headers_is_enough_for_the_longest_way():
    head = Head(detour.RELAY, 0, SOURCE, (RELAY, OTHER, b"5" * 8, TARGET))
    datagram = bytes(detour.VIA_MTU + 32)
    (message,) = detour.wrap(head, [datagram])
    assert len(message) + 32 + 8 + 40 == 1500
