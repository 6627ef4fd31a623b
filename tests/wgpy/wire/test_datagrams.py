import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.model import Buffer, Burst, Endpoint
from wgpy.wire.datagrams import SEGMENTS_MAX, V4_MAX, V6_MAX, join


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


@given(
    st.lists(st.sampled_from([b"", b"a", b"bc", b"de", b"fgh"]), max_size=150), st.booleans()
)
def test_a_group_is_the_burst_of_its_datagrams(payloads, v6):
    groups = join(payloads, v6=v6)
    assert [payload for group in groups for payload in group] == payloads
    for group in groups:
        assert len(group) <= SEGMENTS_MAX
        burst = Burst(b"".join(group), len(group[0]), Endpoint(bytes(4), 1))
        assert list(burst.segments()) == group
