from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.errors import Drop, Rejected
from wgpy.model import Buffer, Endpoint
from wgpy.wire.messages import (
    COOKIE_REPLY_SIZE,
    DATA_HEADER_SIZE,
    DATA_OVERHEAD,
    INITIATION_SIZE,
    NO_MAC,
    RESPONSE_SIZE,
    TYPE_COOKIE_REPLY,
    TYPE_DATA,
    TYPE_INITIATION,
    TYPE_RESPONSE,
    CookieReply,
    Initiation,
    Response,
    before_mac1,
    before_mac2,
    ciphertext,
    data_fields_untrusted,
    encode_data_header,
    is_foreign,
    macs,
    nonce,
    sender_untrusted,
    source_bytes,
    split_initiation,
    split_response,
    type_untrusted,
)

INDEX = st.integers(0, 2**32 - 1)
COUNTER = st.integers(0, 2**64 - 1)


def raw(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


MAC = raw(16)
INITIATION = st.builds(Initiation, INDEX, raw(32), raw(48), raw(28), MAC, MAC)
RESPONSE = st.builds(Response, INDEX, INDEX, raw(32), raw(16), MAC, MAC)
COOKIE_REPLY = st.builds(CookieReply, INDEX, raw(24), raw(32))
DECODERS: list[tuple[Callable[[Buffer], object], int, int]] = [
    (Initiation.decode_untrusted, TYPE_INITIATION, INITIATION_SIZE),
    (Response.decode_untrusted, TYPE_RESPONSE, RESPONSE_SIZE),
    (CookieReply.decode_untrusted, TYPE_COOKIE_REPLY, COOKIE_REPLY_SIZE),
]


@given(INITIATION)
def test_an_initiation_has_its_fields_in_148_bytes(message):
    encoded = message.encode()
    assert encoded == b"".join(
        [b"\1\0\0\0", message.sender.to_bytes(4, "little"), *message[1:]]
    )
    assert len(encoded) == INITIATION_SIZE == 148
    assert Initiation.decode_untrusted(encoded) == message
    assert Initiation.decode_untrusted(memoryview(bytearray(encoded))) == message
    assert message.noise == encoded[8:116]
    assert split_initiation(message.noise) == (
        message.ephemeral,
        message.static,
        message.timestamp,
    )


@given(RESPONSE)
def test_a_response_has_its_fields_in_92_bytes(message):
    encoded = message.encode()
    indices = (index.to_bytes(4, "little") for index in message[:2])
    assert encoded == b"".join([b"\2\0\0\0", *indices, *message[2:]])
    assert len(encoded) == RESPONSE_SIZE == 92
    assert Response.decode_untrusted(encoded) == message
    assert message.noise == encoded[12:60]
    assert split_response(message.noise) == (message.ephemeral, message.empty)


@given(COOKIE_REPLY)
def test_a_cookie_reply_has_its_fields_in_64_bytes(message):
    encoded = message.encode()
    assert encoded == b"".join(
        [b"\3\0\0\0", message.receiver.to_bytes(4, "little"), *message[1:]]
    )
    assert len(encoded) == COOKIE_REPLY_SIZE == 64
    assert CookieReply.decode_untrusted(encoded) == message


@given(INDEX, COUNTER, st.binary(min_size=16, max_size=64))
def test_a_data_packet_has_a_header_of_16_bytes(receiver, counter, sealed):
    head = encode_data_header(receiver, counter)
    expected = b"\4\0\0\0" + receiver.to_bytes(4, "little") + counter.to_bytes(8, "little")
    assert head == expected
    assert len(head) == DATA_HEADER_SIZE
    packet = head + sealed
    assert type_untrusted(packet) == TYPE_DATA
    assert data_fields_untrusted(packet) == (TYPE_DATA, receiver, counter)
    assert data_fields_untrusted(memoryview(packet)) == (TYPE_DATA, receiver, counter)
    assert ciphertext(packet) == sealed


@pytest.mark.parametrize("size", [0, 4, 16, DATA_OVERHEAD - 1])
def test_what_has_no_room_for_a_tag_has_no_fields_of_data(size):
    assert data_fields_untrusted((b"\4" + bytes(DATA_OVERHEAD))[:size]) == (0, 0, 0)


@given(st.binary(min_size=1, max_size=64))
def test_data_fields_have_the_type_of_the_payload_or_none(payload):
    kind, _, _ = data_fields_untrusted(payload)
    assert kind == (type_untrusted(payload) if len(payload) >= DATA_OVERHEAD else 0)
    assert is_foreign(payload) == (payload[0] >= 0x80)


def test_an_empty_datagram_is_not_foreign():
    assert not is_foreign(b"")


@given(COUNTER)
def test_a_nonce_is_four_zeros_and_the_counter(counter):
    assert nonce(counter) == bytes(4) + counter.to_bytes(8, "little")


@pytest.mark.parametrize(("decode", "kind", "size"), DECODERS)
def test_another_size_or_type_is_malformed(decode, kind, size):
    good = bytes([kind]) + bytes(size - 1)
    assert decode(good)
    wrong = [good[:-1], good + b"\0", b"", good[:3]]
    wrong += [bytes([other]) + good[1:] for other in range(6) if other != kind]
    wrong += [good[:at] + b"\1" + good[at + 1 :] for at in (1, 2, 3)]
    for payload in wrong:
        with pytest.raises(Rejected) as rejected:
            decode(payload)
        assert rejected.value.drop is Drop.MALFORMED


@given(
    st.binary(max_size=160)
    | st.sampled_from([64, 92, 148]).flatmap(raw)
    | st.builds(
        lambda kind, rest: bytes([kind, 0, 0, 0]) + rest,
        st.integers(1, 4),
        st.sampled_from([12, 60, 88, 144]).flatmap(raw),
    )
)
def test_any_bytes_decode_to_what_encodes_to_them_or_are_malformed(payload):
    for decode in (
        Initiation.decode_untrusted,
        Response.decode_untrusted,
        CookieReply.decode_untrusted,
    ):
        try:
            message = decode(payload)
        except Rejected as rejected:
            assert rejected.drop is Drop.MALFORMED
        else:
            assert message.encode() == payload


@given(st.binary(max_size=8))
def test_the_type_includes_the_reserved_bytes(payload):
    expected = int.from_bytes(payload[:4], "little") if len(payload) >= 4 else 0
    assert type_untrusted(payload) == expected
    assert type_untrusted(memoryview(payload)) == expected


@given(INITIATION | RESPONSE)
def test_the_macs_cover_what_comes_before_them(message):
    encoded = message.encode()
    assert macs(memoryview(encoded)) == (message.mac1, message.mac2)
    assert bytes(before_mac1(encoded)) + message.mac1 == before_mac2(encoded)
    assert bytes(before_mac2(encoded)) + message.mac2 == encoded
    assert sender_untrusted(encoded) == message.sender


def test_a_message_begins_without_macs():
    message = Response(1, 2, bytes(32), bytes(16))
    assert macs(message.encode()) == (NO_MAC, NO_MAC) == (bytes(16), bytes(16))


@pytest.mark.parametrize(
    ("endpoint", "bound"),
    [
        (Endpoint(bytes([192, 0, 2, 1]), 51820), "c0000201ca6c"),
        (Endpoint(bytes(15) + b"\1", 1), "000000000000000000000000000000010001"),
        (Endpoint(bytes(15) + b"\1", 1, scope=3), "000000000000000000000000000000010001"),
    ],
)
def test_a_cookie_binds_address_and_port(endpoint, bound):
    assert source_bytes(endpoint).hex() == bound
