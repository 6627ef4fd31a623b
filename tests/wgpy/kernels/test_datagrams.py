import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.model import Buffer
from wgpy.wire.datagrams import SEGMENTS_MAX, V4_MAX, V6_MAX, join, split

UDP_SEGMENT, UDP_GRO = 103, 104


def sizes(groups: list[list[Buffer]]) -> list[list[int]]:
    return [[len(payload) for payload in group] for group in groups]


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([], []),
        ([1], [[1]]),
        ([1, 1], [[1, 1]]),
        ([2, 1], [[2, 1]]),
        ([2, 1, 2], [[2, 1], [2]]),
        ([2, 1, 1], [[2, 1], [1]]),
        ([1, 2], [[1], [2]]),
        ([2, 0, 2], [[2], [0], [2]]),
        ([0, 0], [[0], [0]]),
        ([70_000, 1], [[70_000], [1]]),
        ([1] * 130, [[1] * 64, [1] * 64, [1] * 2]),
        ([1452] * 47, [[1452] * 45, [1452] * 2]),
        ([1023] * 64 + [22], [[1023] * 64, [22]]),
    ],
)
@pytest.mark.parametrize("v6", [True, False])
def test_datagrams_of_one_size_are_sent_together(lengths, groups, v6):
    assert sizes(join([bytes(length) for length in lengths], v6=v6)) == groups


@pytest.mark.parametrize(("v6", "limit"), [(False, V4_MAX), (True, V6_MAX)])
def test_a_group_may_fill_the_packet_and_no_more(v6, limit):
    whole = [bytes(1100)] * (limit // 1100)
    rest = limit % 1100
    assert len(join([*whole, bytes(rest)], v6=v6)) == 1
    assert len(join([*whole, bytes(rest + 1)], v6=v6)) == 2


@pytest.mark.parametrize(
    ("length", "gso_size", "datagrams"),
    [
        (3, 1, [1, 1, 1]),
        (1, 0, [1]),
        (1, 1, [1]),
        (4, 1, [1, 1, 1, 1]),
        (5, 2, [2, 2, 1]),
        (5, 9, [5]),
        (0, 0, [0]),
        (0, 3, [0]),
        (5, -1, [5]),
    ],
)
def test_a_receive_is_split_by_its_segment_size(length, gso_size, datagrams):
    assert [len(payload) for payload in split(bytes(length), gso_size)] == datagrams


@given(
    st.lists(st.sampled_from([b"", b"a", b"bc", b"de", b"fgh"]), max_size=150), st.booleans()
)
def test_splitting_undoes_joining(payloads, v6):
    groups = join(payloads, v6=v6)
    assert [payload for group in groups for payload in group] == payloads
    for group in groups:
        assert len(group) <= SEGMENTS_MAX
        assert [bytes(p) for p in split(b"".join(group), len(group[0]))] == group


@pytest.mark.parametrize(
    ("family", "host", "v6"),
    [(socket.AF_INET, "127.0.0.1", False), (socket.AF_INET6, "::1", True)],
)
def test_the_kernel_carries_the_largest_group_in_one_piece(family, host, v6):
    limit = V6_MAX if v6 else V4_MAX
    with (
        socket.socket(family, socket.SOCK_DGRAM) as to,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        try:
            to.bind((host, 0))
            to.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        except OSError as error:
            pytest.skip(f"no {host} with UDP_GRO: {error}")
        to.settimeout(5)
        payloads = [bytes([number]) * 1100 for number in range(limit // 1100)]
        payloads.append(bytes(limit % 1100))
        (group,) = join(payloads, v6=v6)
        control = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", len(group[0])))]
        sender.sendmsg(group, control, 0, to.getsockname())
        received, ancillary, _, _ = to.recvmsg(70_000, 64)
        ((_, kind, size),) = ancillary
        assert kind == UDP_GRO
        assert [bytes(p) for p in split(received, struct.unpack("=i", size)[0])] == payloads
