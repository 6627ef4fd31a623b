"""Messages inside the tunnel: the bytes of each kind, there and back, and what is refused."""

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netmgr.errors import Reason, Rejected
from netmgr.wire import control
from netmgr.wire.control import Message, Ping, Pong
from wgpy.model import Endpoint
from wgpy.wire import detour

V4 = Endpoint(ip_address("192.0.2.1").packed, 51820)
V6 = Endpoint(ip_address("2001:db8::1").packed, 50001)
V4_HEX = "04" + "c0000201" + "00" * 12 + "ca6c"
V6_HEX = "06" + "20010db8000000000000000000000001" + "c351"
KINDS = (
    control.PING,
    control.PONG,
    control.CALL_ME,
    control.OBJECTS,
    control.DIGEST,
    control.PULL,
)

eights = st.binary(min_size=8, max_size=8)
places = st.builds(
    Endpoint,
    st.binary(min_size=4, max_size=4).filter(any),
    st.integers(1, 65535),
    st.just(0),
)


def malformed(decode, *arguments: object) -> bool:
    with pytest.raises(Rejected) as caught:
        decode(*arguments)
    return caught.value.reason is Reason.MALFORMED


# --- the message ---


def test_a_message_has_these_bytes():
    assert control.encode(control.PING, b"abc").hex() == "02000003" + b"abc".hex()
    assert control.encode(control.PONG, b"", flag=True).hex() == "03010000"


def test_no_message_is_taken_for_a_packet_or_a_relay():
    for kind in KINDS:
        assert kind >> 4 in (0, 1)
        assert kind not in (detour.RELAY, detour.RELAY_ERROR)


@given(st.integers(0, 255), st.booleans(), st.binary(max_size=100), st.integers(0, 16))
def test_a_message_comes_back_without_its_padding(kind, flag, body, padding):
    raw = control.encode(kind, body, flag=flag) + bytes(padding)
    assert control.split_untrusted(memoryview(raw)) == Message(kind, flag, body)


def test_flags_that_are_not_known_are_passed_over():
    assert control.split_untrusted(b"\x02\xfe\0\0").flag is False
    assert control.split_untrusted(b"\x02\xff\0\0").flag is True


@pytest.mark.parametrize(
    "raw", [b"", b"\2", b"\2\0\0", b"\2\0\0\1", b"\2\0\xff\xff" + b"a" * 9]
)
def test_a_message_that_is_cut_off_is_refused(raw):
    assert malformed(control.split_untrusted, raw)


# --- bodies ---


def test_a_ping_has_these_bytes():
    ping = Ping(b"\1" * 8, b"\2" * 8, 12345)
    assert ping.encode().hex() == "01" * 8 + "02" * 8 + "00003039"
    assert Ping.decode_untrusted(ping.encode()) == ping


def test_a_round_trip_too_long_for_its_field_is_told_as_the_longest():
    ping = Ping(bytes(8), bytes(8), 1 << 40)
    assert Ping.decode_untrusted(ping.encode()).rtt_us == 0xFFFFFFFF


def test_a_pong_has_these_bytes():
    pong = Pong(b"\1" * 8, b"\2" * 8, V4)
    assert pong.encode().hex() == "01" * 8 + "02" * 8 + V4_HEX
    assert Pong.decode_untrusted(pong.encode()) == pong
    relayed = Pong(b"\1" * 8, b"\2" * 8, None)
    assert Pong.decode_untrusted(relayed.encode()) == relayed


def test_a_call_has_these_bytes():
    assert control.encode_endpoints([V4, V6]).hex() == V4_HEX + V6_HEX
    assert control.decode_endpoints_untrusted(bytes.fromhex(V4_HEX + V6_HEX)) == [V4, V6]


def test_a_call_names_sixteen_places_at_most():
    raw = control.encode_endpoints([V4] * 17)
    assert len(control.decode_endpoints_untrusted(raw)) == 16
    assert malformed(control.decode_endpoints_untrusted, raw + bytes.fromhex(V4_HEX))


def test_a_place_that_is_none_is_passed_over():
    assert control.decode_endpoints_untrusted(bytes(19) + bytes.fromhex(V4_HEX)) == [V4]


def test_objects_have_these_bytes():
    (raw,) = control.pack_objects([b"ab", b"c"])
    assert raw.hex() == "10000007" + "0002" + "6162" + "0001" + "63"
    assert control.unpack_objects_untrusted(raw[4:]) == [b"ab", b"c"]
    assert control.pack_objects([]) == []


@given(st.lists(st.binary(min_size=1, max_size=1200), max_size=30))
@example([b"a" * 548, b"b" * 548, b"c"])
@example([b"a" * 1200, b"b" * 1200])
def test_all_objects_arrive_in_messages_that_pass(blobs):
    messages = control.pack_objects(blobs)
    bodies = [control.split_untrusted(message).body for message in messages]
    arrived = [blob for body in bodies for blob in control.unpack_objects_untrusted(body)]
    assert arrived == blobs
    for body in bodies:
        alone = len(control.unpack_objects_untrusted(body)) == 1
        assert alone or len(body) <= control.OBJECTS_SIZE


def test_a_digest_is_64_buckets():
    raw = bytes(range(256)) * 2
    buckets = control.decode_digest_untrusted(raw)
    assert len(buckets) == 64 and b"".join(buckets) == raw
    assert malformed(control.decode_digest_untrusted, raw[:-1])
    assert malformed(control.decode_digest_untrusted, raw + b"\0")


def test_a_pull_has_these_bytes():
    assert control.encode_pull([0, 9, 63, 9]).hex() == "8000000000000201"
    assert control.decode_pull_untrusted(bytes.fromhex("8000000000000201")) == [0, 9, 63]
    assert malformed(control.decode_pull_untrusted, bytes(7))


@given(st.sets(st.integers(0, 63)))
def test_a_pull_comes_back_as_it_was(buckets):
    raw = control.encode_pull(sorted(buckets))
    assert control.decode_pull_untrusted(raw) == sorted(buckets)


@given(eights, eights, st.integers(0, 0xFFFFFFFF), st.none() | places)
def test_pings_and_pongs_come_back_as_they_were(txid, digest, rtt_us, place):
    ping, pong = Ping(txid, digest, rtt_us), Pong(txid, digest, place)
    assert Ping.decode_untrusted(ping.encode()) == ping
    assert Pong.decode_untrusted(pong.encode()) == pong


@given(st.binary(max_size=600) | st.binary(min_size=35, max_size=35))
def test_garbage_is_refused_or_read_without_another_error(raw):
    for decode in (
        control.split_untrusted,
        Ping.decode_untrusted,
        Pong.decode_untrusted,
        control.decode_endpoints_untrusted,
        control.unpack_objects_untrusted,
        control.decode_digest_untrusted,
        control.decode_pull_untrusted,
    ):
        try:
            decode(raw)
        except Rejected as refused:
            assert refused.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        (Ping.decode_untrusted, bytes(20)),
        (Pong.decode_untrusted, bytes(35)),
        (control.decode_endpoints_untrusted, bytes(19)),
        (control.decode_pull_untrusted, bytes(8)),
    ],
)
def test_a_body_too_short_or_too_long_is_refused(decode, body):
    decode(body)
    assert malformed(decode, body[:-1])
    assert malformed(decode, body + b"\0")
