from errno import EADDRINUSE, EPROTO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.model import (
    NO_KEY,
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    PeerChange,
    PeerStatus,
    PublicKey,
    Relayed,
    Secret,
)
from wgpy.wire.detour import via
from wgpy.wire.text import mask, unmap
from wgpy.wire.uapi import (
    GetRequest,
    RequestReader,
    SetRequest,
    UapiError,
    format_get,
    parse_set,
)
from wgpy.wire.uapi_client import GET, format_set, parse_get, parse_set_answer

KEY = "ab" * 32

raw_keys = st.binary(min_size=32, max_size=32)
secrets = raw_keys.map(Secret)
u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
v4 = st.binary(min_size=4, max_size=4)
v6 = st.binary(min_size=16, max_size=16).filter(lambda host: unmap(host) == host)
prefixes = st.builds(mask, v4, st.integers(0, 32)) | st.builds(mask, v6, st.integers(0, 128))
ports = st.integers(1, 2**16 - 1)
endpoints = st.builds(Endpoint, v4, ports, st.just(0)) | st.builds(Endpoint, v6, ports, u32)
maybe = st.none()
peer_changes = st.builds(
    PeerChange,
    raw_keys.map(PublicKey),
    st.booleans(),
    st.booleans(),
    maybe | secrets,
    maybe | endpoints,
    maybe | u16,
    st.booleans(),
    st.lists(st.builds(AllowedIPChange, prefixes, st.booleans()), max_size=4).map(tuple),
)
device_changes = st.builds(
    DeviceChange,
    maybe | secrets,
    maybe | u16,
    maybe | u32,
    st.booleans(),
    st.lists(peer_changes, max_size=4).map(tuple),
)
peer_states = st.builds(
    PeerStatus,
    raw_keys.map(PublicKey),
    secrets,
    maybe | endpoints,
    st.just(0.0) | st.floats(1e9, 4e9),
    u64,
    u64,
    u16,
    st.lists(prefixes, max_size=4).map(tuple),
)
device_states = st.builds(
    DeviceStatus,
    maybe | secrets.filter(lambda secret: not secret.is_zero),
    maybe,
    u16,
    u32,
    st.lists(peer_states, max_size=4).map(tuple),
)


@given(device_changes)
def test_a_change_arrives_as_it_was_sent(change):
    (request,) = RequestReader().feed(format_set(change))
    assert isinstance(request, SetRequest)
    assert parse_set(request.lines) == change


@given(device_states)
def test_a_state_arrives_as_it_was_answered(status):
    assert parse_get(format_get(status)) == status


def test_the_question_for_the_state_is_one():
    assert RequestReader().feed(GET) == [GetRequest()]


def test_the_state_of_a_foreign_device_is_read():
    status = parse_get(
        f"own_public_key={KEY}\nlisten_port=5\ndaita=1\npublic_key={KEY}\nnew=\n"
        "rx_bytes=7\nlast_handshake_time_sec=1\nerrno=0\n\n".encode()
    )
    key = PublicKey(bytes.fromhex(KEY))
    peer = PeerStatus(key, Secret(bytes(32)), None, 1.0, 7, 0, 0, ())
    assert status == DeviceStatus(None, key, 5, 0, (peer,))


@pytest.mark.parametrize(
    ("answer", "errno", "why"),
    [
        (b"errno=-98\n\n", EADDRINUSE, "refuses: EADDRINUSE"),
        (b"errno=98\n\n", EADDRINUSE, "refuses: EADDRINUSE"),
        (b"errno=-9999\n\n", 9999, "refuses: 9999"),
        (b"errno=x\n\n", EPROTO, "errno that the device answers"),
        (b"errno=0\n", EPROTO, "not to the end"),
        (b"", EPROTO, "not to the end"),
        (b"\xff\nerrno=0\n\n", EPROTO, "no text"),
        (b"\n\n", EPROTO, "does not end with its errno"),
        (b"errno=0\n\nx", EPROTO, "does not end with its errno"),
        (b"errno=0\nx\n", EPROTO, "does not end with its errno"),
    ],
)
def test_a_refusal_or_a_broken_answer_has_its_number(answer, errno, why):
    for read in (parse_get, parse_set_answer):
        with pytest.raises(UapiError, match=why) as caught:
            read(answer)
        assert caught.value.errno == errno


def test_success_is_silent():
    parse_set_answer(b"errno=0\n\n")


@pytest.mark.parametrize("line", ["listen_port=x", "public_key=x", "fwmark=-1", "private_key="])
def test_a_state_that_is_none_is_refused(line):
    with pytest.raises(UapiError, match="no state") as caught:
        parse_get(f"{line}\nerrno=0\n\n".encode())
    assert caught.value.errno == EPROTO


@given(
    st.binary()
    | st.text("=\nabc019./", max_size=40).map(lambda t: f"{t}\nerrno=0\n\n".encode())
)
def test_any_answer_is_a_state_or_an_error(answer):
    try:
        assert isinstance(parse_get(answer), DeviceStatus)
    except UapiError as error:
        assert error.errno > 0


def test_how_much_a_device_relayed_arrives():
    status = DeviceStatus(None, None, 0, 0, (), relayed=Relayed(7, 2**40))
    assert parse_get(format_get(status)) == status


@pytest.mark.parametrize("text", ["", "1", "1 2 3", "-1 2", "x y", f"{2**64} 1"])
def test_what_is_no_number_of_relayed_packets_is_no_state(text):
    with pytest.raises(UapiError):
        parse_get(f"wgpy_relayed={text}\nerrno=0\n\n".encode())


def test_what_a_device_dropped_arrives_with_its_reason():
    status = DeviceStatus(None, None, 0, 0, (), (("no peer has it", 3), ("replayed", 1)))
    assert parse_get(format_get(status)) == status


def test_a_peer_behind_relays_is_shown():
    behind = PeerStatus(PublicKey(bytes(32)), NO_KEY, via(b"somebody"), 0.0, 0, 0, 0, ())
    device = DeviceStatus(None, None, 0, 0, (behind,))
    assert parse_get(format_get(device)).peers[0].endpoint == via(b"somebody")
