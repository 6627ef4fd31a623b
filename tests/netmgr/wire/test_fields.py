"""Fields of messages: endpoints and blobs, there and back, and what is refused."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import Reason, Rejected
from netmgr.wire import fields
from netmgr.wire.fields import ENDPOINT_SIZE
from wgpy.model import Endpoint

V4 = Endpoint(ip_address("192.0.2.1").packed, 51820)
V6 = Endpoint(ip_address("2001:db8::1").packed, 50001)
# The bytes below are the format: a change of them is another version.
GOLDEN = [
    (None, "00" * 19),
    (V4, "04" + "c0000201" + "00" * 12 + "ca6c"),
    (V6, "06" + "20010db8000000000000000000000001" + "c351"),
]
MAPPED = bytes(10) + b"\xff\xff"

hosts = (st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)).filter(
    lambda host: any(host) and not host.startswith(MAPPED)
)
endpoints = st.builds(Endpoint, hosts, st.integers(1, 65535), st.just(0))


@pytest.mark.parametrize(("endpoint", "raw"), GOLDEN)
def test_an_endpoint_has_these_bytes(endpoint, raw):
    assert fields.encode_endpoint(endpoint).hex() == raw
    assert fields.decode_endpoint_untrusted(bytes.fromhex(raw)) == endpoint


@given(st.none() | endpoints)
def test_an_endpoint_comes_back_as_it_was(endpoint):
    raw = fields.encode_endpoint(endpoint)
    assert len(raw) == ENDPOINT_SIZE
    assert fields.decode_endpoint_untrusted(memoryview(raw)) == endpoint


def test_a_scope_is_not_told():
    scoped = Endpoint(ip_address("fe80::1").packed, 1, 7)
    raw = fields.encode_endpoint(scoped)
    assert fields.decode_endpoint_untrusted(raw) == scoped._replace(scope=0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(18),
        bytes(20),
        b"\x05" + bytes([192, 0, 2, 1]) + bytes(12) + b"\0\1",
        b"\x04" + bytes([192, 0, 2, 1]) + bytes(12) + b"\0\0",
        b"\x04" + bytes([192, 0, 2, 1]) + bytes(11) + b"\1\0\1",
        b"\x04" + bytes(16) + b"\0\1",
        b"\x06" + bytes(16) + b"\0\1",
        b"\x06" + MAPPED + bytes([192, 0, 2, 1]) + b"\0\1",
    ],
)
def test_what_is_no_endpoint_is_refused(raw):
    with pytest.raises(Rejected) as caught:
        fields.decode_endpoint_untrusted(raw)
    assert caught.value.reason is Reason.MALFORMED


@given(st.binary(min_size=ENDPOINT_SIZE, max_size=ENDPOINT_SIZE) | st.binary(max_size=40))
def test_garbage_is_an_endpoint_or_refused(raw):
    try:
        endpoint = fields.decode_endpoint_untrusted(raw)
    except Rejected as refused:
        assert refused.reason is Reason.MALFORMED
    else:
        assert endpoint is None or fields.encode_endpoint(endpoint) == raw


def test_blobs_have_these_bytes():
    raw = bytes.fromhex("000261620000000163")
    assert fields.encode_blobs([b"ab", b"", b"c"]) == raw
    assert fields.decode_blobs_untrusted(raw) == [b"ab", b"", b"c"]


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_blobs_come_back_as_they_were(blobs):
    assert fields.decode_blobs_untrusted(memoryview(fields.encode_blobs(blobs))) == blobs


@pytest.mark.parametrize("raw", [b"\0", b"\0\1", b"\0\0\0", b"\xff\xffabc"])
def test_blobs_that_are_cut_off_are_refused(raw):
    with pytest.raises(Rejected) as caught:
        fields.decode_blobs_untrusted(raw)
    assert caught.value.reason is Reason.MALFORMED


@given(st.binary(max_size=100))
def test_garbage_is_blobs_or_refused(raw):
    try:
        blobs = fields.decode_blobs_untrusted(raw)
    except Rejected as refused:
        assert refused.reason is Reason.MALFORMED
    else:
        assert fields.encode_blobs(blobs) == raw
