import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.engine.constants import MAX_RATELIMIT_ENTRIES
from wgpy.engine.ratelimit import RateLimiter

# Seconds to wait before a handshake of every source, and whether it is allowed.
SCHEDULE = [
    *[(0.0, True)] * 5,
    (0.0, False),
    (0.05, True),
    (0.0, False),
    (0.1, True),
    (0.0, True),
    (0.0, False),
]
SOURCES = [
    ipaddress.ip_address(text).packed
    for text in (
        "127.0.0.1",
        "192.168.1.1",
        "172.167.2.3",
        "97.231.252.215",
        "248.97.91.167",
        "188.208.233.47",
        "104.2.183.179",
        "72.129.46.120",
        "2001:db8:a0b:12f0::1",
        "f5c2:818f:c052:655a:9860:b136:6894:25f0",
        "b2d7:15ab:48a7:b07c:a541:f144:a9fe:54fc",
        "a47b:786e:1671:a22b:d6f9:4ab0:abc7:c918",
        "ea1e:d155:7f7a:98fb:2bf5:9483:80f6:5445",
        "3f0e:54a2:f5b4:cd19:a21d:58e1:3746:84c4",
    )
]
HOST = bytes([192, 0, 2, 1])


def host(number: int) -> bytes:
    return number.to_bytes(4)


@pytest.mark.parametrize("start", [0.0, 1.1, 1234.567, 31_536_000.123])
def test_every_source_has_its_burst_and_its_rate(start):
    limiter = RateLimiter()
    now = start
    for number, (wait, allowed) in enumerate(SCHEDULE):
        now += wait
        for source in SOURCES:
            assert limiter.allow(source, now) == allowed, (number, source)


def test_addresses_of_one_ipv6_network_share_a_bucket():
    limiter = RateLimiter()
    network = ipaddress.ip_address("2001:db8::").packed[:8]
    answers = [limiter.allow(network + bytes([last]) * 8, 0.0) for last in range(6)]
    assert answers == [True] * 5 + [False]
    assert limiter.allow(bytes([*network[:7], 1]) + bytes(8), 0.0)
    assert len(limiter) == 2


def test_refused_handshakes_do_not_put_off_the_next_token():
    limiter = RateLimiter()
    answers = [limiter.allow(HOST, at / 100) for at in range(101)]
    # The burst, then a token each 50 ms, however often it is tried between.
    assert answers[:6] == [True] * 5 + [True]
    assert sum(answers) == 5 + 20


def test_a_bucket_does_not_overflow():
    limiter = RateLimiter()
    assert limiter.allow(HOST, 0.0)
    answers = [limiter.allow(HOST, 0.9) for _ in range(6)]
    assert answers == [True] * 5 + [False]


def test_idle_sources_are_forgotten_as_others_come():
    limiter = RateLimiter()
    for number in range(100):
        limiter.allow(host(number), 0.0)
    limiter.allow(HOST, 1.0)
    assert len(limiter) == 101
    for _ in range(25):
        limiter.allow(HOST, 1.5)
    assert len(limiter) == 1


def test_a_source_that_is_heard_is_kept_longer_than_one_that_is_not():
    limiter = RateLimiter()
    limiter.allow(host(1), 0.0)
    limiter.allow(host(2), 0.1)
    for _ in range(5):
        limiter.allow(host(1), 1.0)
    assert not limiter.allow(host(1), 1.0)
    limiter.allow(host(3), 1.5)
    assert len(limiter) == 2
    assert not limiter.allow(host(1), 1.0)


def test_a_flood_of_sources_fills_the_table_and_no_more():
    limiter = RateLimiter()
    for number in range(MAX_RATELIMIT_ENTRIES):
        assert limiter.allow(host(number), 0.0)
    assert not limiter.allow(HOST, 0.5)
    assert limiter.allow(host(7), 0.5)
    assert len(limiter) == MAX_RATELIMIT_ENTRIES
    assert limiter.allow(HOST, 1.25)
    assert len(limiter) < MAX_RATELIMIT_ENTRIES


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400)), max_size=80))
def test_no_history_gives_a_source_more_than_burst_and_rate(steps):
    limiter = RateLimiter()
    allowed: dict[int, list[float]] = {}
    now = 0.0
    for number, wait in steps:
        now += wait / 1000
        if limiter.allow(host(number), now):
            times = allowed.setdefault(number, [])
            times.append(now)
            for first, since in enumerate(times):
                assert len(times) - first <= 5 + (now - since) * 20 + 0.001


def test_a_limiter_may_have_numbers_of_its_own():
    limiter = RateLimiter(10, 10)
    allowed = [limiter.allow(b"somebody", 0.0) for _ in range(20)]
    assert allowed == [True] * 10 + [False] * 10
    assert limiter.allow(b"somebody", 0.1)
    assert not limiter.allow(b"somebody", 0.1)
