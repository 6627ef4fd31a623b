"""Messages outside the tunnel: the bytes of each kind, there and back, and what is refused."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import Reason, Rejected
from netmgr.wire import frames
from netmgr.wire.frames import Ack, Fin, Knock, LanHello, Probe, Welcome
from wgpy.model import Endpoint

V4 = Endpoint(ip_address("192.0.2.1").packed, 51820)
# Of a frame without its body: head, nonce and mac before it, the tag of the box behind.
AROUND = 4 + 24 + 16 + 16

# The bytes below are the format: a change of them is another version.
NONCE, IDENTITY, COOKIE = "11" * 16, "22" * 32, "33" * 16
KNOCK = Knock(b"\x11" * 16, b"\x22" * 32, 1, 2)
PROBE = Probe(b"\1" * 8, b"\2" * 8, b"\3" * 8, b"\4" * 16)
PROBE_HEX = "01" * 8 + "02" * 8 + "03" * 8 + "04" * 16
PLACE = "04" + "c0000201" + "00" * 12 + "ca6c"

nonces = st.binary(min_size=16, max_size=16)
shorts = st.binary(min_size=8, max_size=8)
octets = st.integers(0, 255)
places = st.none() | st.builds(
    Endpoint,
    st.binary(min_size=4, max_size=4).filter(any),
    st.integers(1, 65535),
    st.just(0),
)
knocks = st.builds(Knock, nonces, st.binary(min_size=32, max_size=32), octets, octets)


def malformed(decode, *arguments: object) -> bool:
    with pytest.raises(Rejected) as caught:
        decode(*arguments)
    return caught.value.reason is Reason.MALFORMED


# --- the frame ---


def test_a_frame_has_these_bytes():
    first = frames.head(frames.ACK, 2)
    assert first.hex() == "8101003e"
    raw = frames.join(first, b"n" * 24, b"m" * 16, b"b" * 18)
    assert raw == first + b"n" * 24 + b"m" * 16 + b"b" * 18
    assert frames.split_untrusted(memoryview(raw)) == (
        frames.ACK,
        first,
        b"n" * 24,
        b"m" * 16,
        b"b" * 18,
    )


def test_a_frame_begins_like_no_message_of_wireguard():
    kinds = (frames.KNOCK, frames.ACK, frames.FIN, frames.WELCOME, frames.PROBE)
    for kind in (*kinds, frames.PROBE_ACK, frames.LAN_HELLO):
        assert kind >= 0x80


@pytest.mark.parametrize("size", [0, 1, 43, 59, 1401, 65535])
def test_a_frame_too_short_or_too_long_is_refused(size):
    raw = b"\x81\x01" + min(size, 65535).to_bytes(2) + bytes(size)
    assert malformed(frames.split_untrusted, raw[:size])


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_frame_of_another_version_or_length_is_refused(at):
    raw = bytearray(frames.join(frames.head(frames.ACK, 0), bytes(24), bytes(16), bytes(16)))
    frames.split_untrusted(raw)
    raw[at] ^= 1
    assert malformed(frames.split_untrusted, bytes(raw))


@given(st.binary(max_size=1500))
def test_garbage_is_no_frame(raw):
    try:
        frame = frames.split_untrusted(raw)
    except Rejected as refused:
        assert refused.reason is Reason.MALFORMED
    else:
        assert frames.join(*frame[1:]) == raw


# --- bodies ---


def test_a_knock_has_these_bytes_and_fills_its_frame():
    body = KNOCK.encode()
    assert body.hex() == NONCE + IDENTITY + "0102" + "00" * (512 - AROUND - 50)
    assert AROUND + len(body) == frames.KNOCK_SIZE
    assert Knock.decode_untrusted(body) == KNOCK


def test_an_ack_has_these_bytes_and_is_smaller_than_a_knock():
    ack = Ack(b"\x11" * 16, V4, b"\x33" * 16)
    assert ack.encode().hex() == NONCE + PLACE + COOKIE
    assert Ack.decode_untrusted(ack.encode()) == ack
    assert AROUND + len(ack.encode()) < frames.KNOCK_SIZE


def test_a_fin_has_these_bytes():
    fin = Fin(KNOCK, b"\x33" * 16, b"record")
    assert fin.encode().hex() == NONCE + IDENTITY + "0102" + COOKIE + b"record".hex()
    assert Fin.decode_untrusted(fin.encode()) == fin


def test_a_welcome_has_these_bytes():
    welcome = Welcome(b"\x11" * 16, b"record")
    assert welcome.encode().hex() == NONCE + b"record".hex()
    assert Welcome.decode_untrusted(welcome.encode()) == welcome


def test_a_probe_and_its_answer_have_these_bytes():
    answer = PROBE._replace(observed=V4)
    assert PROBE.encode(frames.PROBE).hex() == PROBE_HEX
    assert answer.encode(frames.PROBE_ACK).hex() == PROBE_HEX + PLACE
    assert Probe.decode_untrusted(frames.PROBE, PROBE.encode(frames.PROBE)) == PROBE
    back = Probe.decode_untrusted(frames.PROBE_ACK, answer.encode(frames.PROBE_ACK))
    assert back == answer


def test_the_proof_of_a_probe_is_not_that_of_its_answer():
    assert PROBE.proven(frames.PROBE).hex() == "84" + "01" * 8 + "02" * 8 + "03" * 8
    assert PROBE.proven(frames.PROBE) != PROBE.proven(frames.PROBE_ACK)


def test_a_hello_has_these_bytes():
    hello = LanHello(50001, b"\x11" * 16, b"\x33" * 16)
    assert hello.encode().hex() == "90" + "c351" + NONCE + COOKIE
    assert LanHello.decode_untrusted(memoryview(hello.encode())) == hello


@pytest.mark.parametrize("change", [b"", b"\x90", bytes(35), b"\x90" + bytes(34)])
def test_what_is_no_hello_is_refused(change):
    assert malformed(LanHello.decode_untrusted, change)


def test_a_hello_too_long_is_refused():
    raw = LanHello(1, bytes(16), bytes(16)).encode()
    assert malformed(LanHello.decode_untrusted, raw + b"\0")


@given(knocks, places, nonces, st.binary(max_size=300))
def test_first_contact_comes_back_as_it_was(knock, place, cookie, record):
    assert Knock.decode_untrusted(knock.encode()) == knock
    ack = Ack(knock.nonce, place, cookie)
    assert Ack.decode_untrusted(ack.encode()) == ack
    fin = Fin(knock, cookie, record)
    assert Fin.decode_untrusted(fin.encode()) == fin
    welcome = Welcome(knock.nonce, record)
    assert Welcome.decode_untrusted(welcome.encode()) == welcome


@given(shorts, shorts, shorts, nonces, places)
def test_probes_come_back_as_they_were(sender, target, txid, proof, place):
    for kind, observed in ((frames.PROBE, None), (frames.PROBE_ACK, place)):
        probe = Probe(sender, target, txid, proof, observed)
        assert Probe.decode_untrusted(kind, probe.encode(kind)) == probe


@given(st.binary(max_size=600) | st.binary(min_size=452, max_size=452))
def test_garbage_is_refused_or_read_without_another_error(raw):
    decoders = (
        Knock.decode_untrusted,
        Ack.decode_untrusted,
        Fin.decode_untrusted,
        Welcome.decode_untrusted,
        LanHello.decode_untrusted,
        lambda body: Probe.decode_untrusted(frames.PROBE, body),
        lambda body: Probe.decode_untrusted(frames.PROBE_ACK, body),
    )
    for decode in decoders:
        try:
            decode(raw)
        except Rejected as refused:
            assert refused.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        (Knock.decode_untrusted, KNOCK.encode()),
        (Ack.decode_untrusted, Ack(bytes(16), None, bytes(16)).encode()),
        (Fin.decode_untrusted, Fin(KNOCK, bytes(16), b"").encode()),
        (Welcome.decode_untrusted, Welcome(bytes(16), b"").encode()),
    ],
)
def test_a_body_that_is_cut_off_is_refused(decode, body):
    decode(body)
    for size in (0, 1, len(body) - 1):
        assert malformed(decode, body[:size])
