"""What the ports could not pass on, in words."""

import errno
from dataclasses import fields

import pytest

from wgpy.errors import Drop
from wgpy.io.counters import TunCounters, UdpCounters

# What met these was sent otherwise.
HARMLESS = {"source_retries", "segment_refusals"}


@pytest.mark.parametrize("kind", [TunCounters, UdpCounters])
def test_each_reason_has_its_words_and_only_what_was_is_told(kind):
    assert list(kind().drops()) == []
    told: list[str] = []
    for number, field in enumerate(fields(kind), 1):
        drops = list(kind(**{field.name: number}).drops())
        assert [count for _, count in drops] == ([] if field.name in HARMLESS else [number])
        told += [reason for reason, _ in drops]
    assert len(set(told)) == len(told)
    assert set(told).isdisjoint(drop.value for drop in Drop)


def test_an_errno_is_counted_by_what_it_means():
    udp = UdpCounters()
    for code in (
        errno.EMSGSIZE,
        errno.EPERM,
        errno.EACCES,
        errno.ENOBUFS,
        errno.ENETUNREACH,
        errno.EIO,
        None,
    ):
        udp.count(code, 3)
    assert udp == UdpCounters(too_big=3, not_permitted=6, no_buffer=3, unreachable=3, other=6)
    tun = TunCounters()
    for code in (errno.EIO, errno.ENOMEM, errno.EBADFD, errno.EINVAL):
        tun.count(code)
    assert tun == TunCounters(down=1, no_buffer=1, gone=1, refused=1)
