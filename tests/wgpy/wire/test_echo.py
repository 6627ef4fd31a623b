import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.wire.echo import is_reply_untrusted, request
from wgpy.wire.ip import checksum

MARK = b"12345678"


def test_a_request_over_ipv4_sums_to_zero():
    message = request(7, MARK, v6=False)
    assert message[0] == 8
    assert checksum(message) == 0
    assert message.endswith(MARK)


def test_a_request_over_ipv6_leaves_the_sum_to_the_kernel():
    assert request(7, MARK, v6=True) == b"\x80\0\0\0\0\0\0\7" + MARK


@pytest.mark.parametrize("v6", [False, True])
def test_its_reply_is_known_by_type_and_mark(v6):
    head = b"" if v6 else bytes(20)
    reply = head + bytes([129 if v6 else 0]) + bytes(7) + MARK
    assert is_reply_untrusted(reply, MARK, v6=v6)
    assert not is_reply_untrusted(reply, b"other---", v6=v6)
    assert not is_reply_untrusted(head + request(7, MARK, v6=v6), MARK, v6=v6)


@given(st.binary(max_size=64), st.booleans())
def test_garbage_is_no_reply(packet, v6):
    assert not is_reply_untrusted(packet, MARK + MARK + packet, v6=v6)
