"""The state of a node as JSON."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.wire.saved import (
    HOW,
    MAX_PLACES,
    MAX_WALL,
    Pin,
    Saved,
    format_pins,
    format_saved,
    parse_pins,
    parse_saved,
    salvage_seq,
)
from wgpy.errors import ConfigError
from wgpy.model import Endpoint

IDENTITY = bytes(range(32))
PIN = Pin("alice", b"\x0a\x01\x01\x02", IDENTITY, "met")
SAVED = Saved(
    1001,
    (),
    (b"\x01signed", b""),
    ((IDENTITY, (Endpoint(b"\xc0\x00\x02\x01", 50001), Endpoint(bytes(15) + b"\x01", 7))),),
    1_700_000_000,
)

identities = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=4, max_size=4)
pinned = addresses | st.just(b"")
pins = st.builds(Pin, st.text(min_size=1), pinned, identities, st.sampled_from(HOW))
endpoints = st.builds(lambda host, port: Endpoint(host, port), addresses, st.integers(1, 65535))
places = st.tuples(identities, st.lists(endpoints, max_size=MAX_PLACES).map(tuple))
states = st.builds(
    Saved,
    st.integers(0, 2**63 - 1),
    st.just(()),
    st.lists(st.binary()).map(tuple),
    st.lists(places).map(tuple),
    st.integers(0, MAX_WALL),
)


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(format_saved(SAVED)), **fields}).encode()


@given(states)
def test_what_was_written_comes_back(saved: Saved):
    assert parse_saved(format_saved(saved)) == saved
    assert salvage_seq(format_saved(saved)) == saved.seq


@given(st.binary())
def test_garbage_is_refused_in_one_line(raw: bytes):
    with pytest.raises(ConfigError) as caught:
        parse_saved(raw)
    assert "\n" not in str(caught.value)


@given(states, st.data())
def test_a_file_cut_short_is_refused_and_tells_its_number_or_none(saved: Saved, data):
    raw = format_saved(saved)
    # The last byte is a line feed, the one before it the brace.
    cut = raw[: data.draw(st.integers(0, len(raw) - 2))]
    with pytest.raises(ConfigError):
        parse_saved(cut)
    assert salvage_seq(cut) <= saved.seq
    if b'"objects"' in cut:
        assert salvage_seq(cut) == saved.seq


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"[" * 100_000,
        changed(version=2),
        changed(seq=-1),
        changed(seq="1"),
        changed(seq=2**63),
    ],
)
def test_what_is_no_state_is_refused(raw: bytes):
    with pytest.raises(ConfigError):
        parse_saved(raw)


def test_a_number_beyond_the_greatest_is_salvaged_as_the_greatest():
    assert salvage_seq(b'{"seq": 9999999999999999999') == 2**63 - 1
    assert salvage_seq(b"nothing") == 0


def test_fields_that_are_not_known_are_passed_over():
    assert parse_saved(changed(colour="red")) == SAVED


@pytest.mark.parametrize(
    "bad",
    [
        None,
        {},
        {"name": "", "address": "10.1.1.2", "identity": "AA==", "how": "met"},
        {"name": "bob", "address": "10.1.1.2", "identity": "AA==", "how": "met"},
        {"name": "bob", "address": "10.1.1", "identity": "AA==", "how": "met"},
        {"name": 7, "address": "10.1.1.2", "identity": "AA==", "how": "met"},
        {"name": "bob", "address": "10.1.1.2", "identity": "AA==", "how": "guessed"},
    ],
)
def test_a_pin_that_cannot_be_read_does_not_hinder_the_others(bad: object):
    good = json.loads(format_pins((PIN,)))["pins"]
    assert parse_saved(changed(pins=[bad, *good])).pins == (PIN,)
    assert parse_pins(format_pins(()) + json.dumps(bad).encode()) == ((), False)


@pytest.mark.parametrize("bad", [None, 7, ["AA=="], [7, []], ["?", []], ["AA==", []]])
def test_a_place_that_cannot_be_read_does_not_hinder_the_others(bad: object):
    good = json.loads(format_saved(SAVED))["places"]
    assert parse_saved(changed(places=[bad, *good])).places == SAVED.places


def test_pins_are_not_written_to_the_state():
    assert format_saved(replace(SAVED, pins=(PIN,))) == format_saved(SAVED)


def test_lists_that_are_none_are_empty():
    assert parse_saved(changed(pins=7, objects={}, places=None)) == Saved(
        SAVED.seq, wall=SAVED.wall
    )


@pytest.mark.parametrize("bad", [None, "1", -1, MAX_WALL + 1, 1.5])
def test_a_time_that_cannot_be_is_none(bad: object):
    assert parse_saved(changed(wall=bad)).wall == 0


def test_at_most_eight_places_of_a_node_are_kept():
    many = tuple(Endpoint(b"\xc0\x00\x02\x01", port) for port in range(1, 20))
    saved = Saved(places=((IDENTITY, many),))
    assert parse_saved(format_saved(saved)).places == ((IDENTITY, many[:8]),)
    texts = [f"192.0.2.1:{port}" for port in range(1, 20)]
    entry = [json.loads(format_saved(saved))["places"][0][0], texts]
    assert parse_saved(changed(places=[entry])).places == ((IDENTITY, many[:8]),)


def test_a_place_on_one_link_is_not_kept():
    scoped = Endpoint(b"\xfe\x80" + bytes(13) + b"\x01", 7, 2)
    saved = Saved(places=((IDENTITY, (scoped,)),))
    assert parse_saved(format_saved(saved)).places == ((IDENTITY, ()),)


def test_a_pin_of_a_name_alone_comes_back_as_it_was():
    pin = PIN._replace(address=b"", how="person")
    assert parse_pins(format_pins((pin,))) == ((pin,), True)


@given(st.lists(pins).map(tuple))
def test_pins_that_were_written_come_back_and_are_json(found: tuple[Pin, ...]):
    raw = format_pins(found)
    assert parse_pins(raw) == (found, True)
    assert len(json.loads(raw)["pins"]) == len(found)


@given(st.binary())
def test_garbage_holds_no_pins(raw: bytes):
    assert parse_pins(raw) == ((), False)


@given(st.lists(pins, min_size=1).map(tuple), st.data())
def test_a_changed_byte_costs_at_most_the_pin_on_its_line(found: tuple[Pin, ...], data):
    raw = bytearray(format_pins(found))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    left, whole = parse_pins(bytes(raw))
    assert not whole
    # A line feed that is gone has joined two lines.
    assert len(left) >= len(found) - 2
    assert set(left) <= set(found)


@given(st.lists(pins).map(tuple), st.data())
def test_pins_cut_short_are_those_of_the_lines_before(found: tuple[Pin, ...], data):
    raw = format_pins(found)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    left, whole = parse_pins(cut)
    assert not whole
    assert left == found[: len(left)]
    assert len(left) >= min(cut.count(b"\n") - 1, len(found))
