from collections.abc import Iterator
from hashlib import shake_128
from typing import Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.engine.allowedips import MAX_CACHED, AllowedIPs
from wgpy.model import Prefix
from wgpy.wire.text import mask, parse_address, parse_prefix

Owner = TypeVar("Owner", str, int)


class Linear(Generic[Owner]):
    """The model: a list of what was inserted, searched from end to end."""

    def __init__(self) -> None:
        self.entries: list[tuple[Prefix, Owner]] = []

    def insert(self, prefix: Prefix, owner: Owner) -> None:
        self.entries = [entry for entry in self.entries if entry[0] != prefix]
        self.entries.append((prefix, owner))

    def remove(self, prefix: Prefix, owner: Owner) -> None:
        self.entries = [entry for entry in self.entries if entry != (prefix, owner)]

    def remove_owner(self, owner: Owner) -> None:
        self.entries = [entry for entry in self.entries if entry[1] != owner]

    def lookup(self, address: bytes) -> Owner | None:
        matches = [
            (prefix.length, owner)
            for prefix, owner in self.entries
            if len(prefix.address) == len(address) and mask(address, prefix.length) == prefix
        ]
        return max(matches)[1] if matches else None

    def prefixes(self, owner: Owner) -> list[Prefix]:
        return [prefix for prefix, of in self.entries if of == owner]


def table(text: str) -> AllowedIPs[str]:
    """Build a table of lines `OWNER PREFIX`."""
    allowed: AllowedIPs[str] = AllowedIPs()
    insert(allowed, text)
    return allowed


def insert(allowed: AllowedIPs[str], text: str) -> None:
    for line in text.split("\n"):
        if line.strip():
            owner, prefix = line.split()
            allowed.insert(parse_prefix(prefix), owner)


V4 = """
a 192.168.4.0/24
b 192.168.4.4/32
c 192.168.0.0/16
d 192.95.5.64/27
c 192.95.5.65/27
e 0.0.0.0/0
g 64.15.112.0/20
h 64.15.123.211/25
a 10.0.0.0/25
b 10.0.0.128/25
a 10.1.0.0/30
b 10.1.0.4/30
c 10.1.0.8/29
d 10.1.0.16/29
"""

V6 = """
d 2607:5300:6000:6b00::c05f:543/128
c 2607:5300:6000:6b00::/64
e ::/0
f ::/0
g 2404:6800::/32
h 2404:6800:4004:800:dead:beef:dead:beef/64
a 2404:6800:4004:800:dead:beef:dead:beef/128
c 2444:6800:40e4:800:deae:beef:def:beef/128
b 2444:6800:f0e4:800:eeae:beef::/98
"""


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("192.168.4.20", "a"),
        ("192.168.4.0", "a"),
        ("192.168.4.4", "b"),
        ("192.168.200.182", "c"),
        ("192.95.5.68", "c"),
        ("192.95.5.96", "e"),
        ("64.15.116.26", "g"),
        ("64.15.127.3", "g"),
        ("64.15.123.1", "g"),
        ("64.15.123.128", "h"),
        ("64.15.123.129", "h"),
        ("10.0.0.52", "a"),
        ("10.0.0.220", "b"),
        ("10.1.0.2", "a"),
        ("10.1.0.6", "b"),
        ("10.1.0.10", "c"),
        ("10.1.0.20", "d"),
        ("2607:5300:6000:6b00::c05f:543", "d"),
        ("2607:5300:6000:6b00::c02e:1ee", "c"),
        ("2607:5300:6000:6b01::", "f"),
        ("2404:6800:4004:806::1006", "g"),
        ("2404:6800:4004:806:0:1234:0:5678", "g"),
        ("2404:67ff:4004:806:0:1234:0:5678", "f"),
        ("2404:6801:4004:806:0:1234:0:5678", "f"),
        ("2404:6800:4004:800:0:1234:0:5678", "h"),
        ("2404:6800:4004:800::", "h"),
        ("2404:6800:4004:800:1010:1010:1010:1010", "h"),
        ("2404:6800:4004:800:dead:beef:dead:beef", "a"),
    ],
)
def test_the_longest_prefix_wins(address, owner):
    assert table(V4 + V6).lookup(parse_address(address)) == owner


@pytest.mark.parametrize(
    ("network", "address", "common"),
    [
        ("0.0.0.0", "1.4.53.128", 7),
        ("0.0.0.0", "0.4.53.128", 13),
        ("0.4.53.252", "0.4.53.253", 31),
        ("192.169.1.1", "192.168.1.1", 15),
        ("192.169.1.1", "65.168.1.1", 0),
    ],
)
def test_a_prefix_matches_as_long_as_its_bits_are_common(network, address, common):
    packed = parse_address(network)
    for length in range(33):
        allowed: AllowedIPs[str] = AllowedIPs()
        allowed.insert(mask(packed, length), "a")
        found = allowed.lookup(parse_address(address))
        assert found == ("a" if length <= common else None), length


def test_a_removed_owner_matches_nothing():
    hosts = ["1.0.0.0", "64.0.0.0", "128.0.0.0", "192.0.0.0", "255.0.0.0"]
    allowed = table(V4 + "\n".join(f"a {host}/32" for host in hosts))
    assert [allowed.lookup(parse_address(host)) for host in hosts] == ["a"] * 5
    allowed.remove_owner("a")
    assert [allowed.lookup(parse_address(host)) for host in hosts] == ["e"] * 5
    assert allowed.prefixes("a") == []


def test_a_table_is_empty_when_every_owner_is_removed():
    allowed = table(V4 + V6)
    for owner in "aabcdefgh":
        allowed.remove_owner(owner)
    assert all(allowed.prefixes(owner) == [] for owner in "abcdefgh")
    assert allowed.lookup(parse_address("192.168.4.4")) is None
    assert allowed.lookup(parse_address("::1")) is None
    insert(allowed, "a 192.168.0.0/16\na 192.168.0.0/24")
    allowed.remove_owner("a")
    assert allowed.lookup(parse_address("192.168.0.1")) is None


def test_hosts_that_differ_in_one_bit_are_kept_apart():
    allowed: AllowedIPs[int] = AllowedIPs()
    hosts = [(2**128 - 1 ^ 1 << bit).to_bytes(16) for bit in range(128)]
    for number, host in enumerate(hosts):
        allowed.insert(Prefix(host, 128), number)
    assert [allowed.lookup(host) for host in hosts] == list(range(128))


def test_the_prefixes_of_an_owner_are_masked_and_in_order():
    text = """
    a 192.95.5.93/27
    a 2607:5300:6000:6b00::c05f:543/128
    a 10.1.0.20/29
    a 2607:5300:6d8a:6bf8:dab1:f1df:c05f:1523/83
    a 2607:5300:6d8a:6bf8:dab1:f1df:c05f:1523/21
    """
    expected = [
        "192.95.5.64/27",
        "2607:5300:6000:6b00::c05f:543/128",
        "10.1.0.16/29",
        "2607:5300:6d8a:6bf8:dab1:e000::/83",
        "2607:5000::/21",
    ]
    assert table(text).prefixes("a") == [parse_prefix(prefix) for prefix in expected]


def test_a_prefix_moves_to_its_new_owner():
    allowed = table("a 10.0.0.0/8\na 10.1.0.0/16\nb 10.0.0.0/8")
    assert allowed.lookup(parse_address("10.2.0.1")) == "b"
    assert allowed.prefixes("a") == [parse_prefix("10.1.0.0/16")]
    assert allowed.prefixes("b") == [parse_prefix("10.0.0.0/8")]


def test_a_prefix_inserted_again_becomes_the_latest():
    allowed = table("a 10.0.0.0/8\na 10.1.0.0/16\na 10.0.0.0/8")
    assert allowed.prefixes("a") == [parse_prefix("10.1.0.0/16"), parse_prefix("10.0.0.0/8")]


def test_a_prefix_is_removed_by_its_owner_only():
    allowed = table("a 10.0.0.0/8\na 10.1.0.0/16\nb 10.1.0.0/24")
    allowed.remove(parse_prefix("10.1.0.0/16"), "b")
    allowed.remove(parse_prefix("10.1.0.0/16"), "nobody")
    allowed.remove(parse_prefix("10.1.0.0/15"), "a")
    assert allowed.lookup(parse_address("10.1.1.1")) == "a"
    allowed.remove(parse_prefix("10.1.0.0/16"), "a")
    assert allowed.prefixes("a") == [parse_prefix("10.0.0.0/8")]
    allowed.remove(parse_prefix("10.1.0.0/24"), "b")
    assert allowed.prefixes("b") == []
    assert allowed.lookup(parse_address("10.1.0.1")) == "a"


def test_a_change_is_seen_by_addresses_looked_up_before():
    allowed: AllowedIPs[str] = AllowedIPs()
    address = parse_address("10.1.1.1")
    assert allowed.lookup(address) is None
    seen: list[str | None] = []
    insert(allowed, "a 10.0.0.0/8")
    seen.append(allowed.lookup(address))
    insert(allowed, "b 10.1.0.0/16")
    seen.append(allowed.lookup(address))
    allowed.remove(parse_prefix("10.1.0.0/16"), "b")
    seen.append(allowed.lookup(address))
    allowed.remove_owner("a")
    seen.append(allowed.lookup(address))
    assert seen == ["a", "b", "a", None]


def test_lookups_of_many_addresses_hold_little_memory():
    allowed = table("a 10.0.0.0/8\nb 10.0.1.0/24")
    base = int.from_bytes(parse_address("10.0.0.0"))
    for _ in range(2):
        for host in range(MAX_CACHED + 256):
            owner = "b" if host >> 8 == 1 else "a"
            assert allowed.lookup((base + host).to_bytes(4)) == owner
    assert len(allowed._cache) <= MAX_CACHED  # noqa: SLF001


def numbers(seed: str) -> Iterator[int]:
    """Yield 64-bit numbers that look random and are the same in every run."""
    stream = shake_128(seed.encode()).digest(8 * 100_000)
    for at in range(0, len(stream), 8):
        yield int.from_bytes(stream[at : at + 8])


@pytest.mark.parametrize("size", [4, 16])
def test_random_prefixes_are_found_as_by_a_linear_router(size):
    source = numbers(f"allowedips {size}")

    def address_at_random() -> bytes:
        return (next(source) << 64 | next(source)).to_bytes(16)[:size]

    allowed: AllowedIPs[int] = AllowedIPs()
    linear: Linear[int] = Linear()
    for _ in range(250):
        prefix = mask(address_at_random(), next(source) % (size * 8 + 1))
        owner = next(source) % 100
        allowed.insert(prefix, owner)
        linear.insert(prefix, owner)
    routes = [
        (int.from_bytes(prefix.address) >> shift, shift, owner)
        for prefix, owner in sorted(linear.entries, key=lambda entry: -entry[0].length)
        for shift in [size * 8 - prefix.length]
    ]
    for number in range(10_000):
        address = address_at_random()
        if number % 2:  # near a prefix, so that long ones are met as well
            network = linear.entries[next(source) % len(linear.entries)][0].address
            address = network[: size // 2] + address[size // 2 :]
        value = int.from_bytes(address)
        expected = next((who for net, cut, who in routes if value >> cut == net), None)
        assert allowed.lookup(address) == expected


# Few bits that differ, so that prefixes meet, nest and move.
ADDRESSES = st.one_of(
    st.integers(0, 15).map(lambda low: bytes([10, 0, low >> 2, (low & 3) << 6])),
    st.integers(0, 15).map(lambda low: bytes([0x20, 1, low << 4]) + bytes(12) + bytes([low])),
)
PREFIXES = st.tuples(ADDRESSES, st.integers(0, 128)).map(
    lambda pair: mask(pair[0], pair[1] * len(pair[0]) * 8 // 128)
)
OWNERS = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("insert"), PREFIXES, OWNERS),
    st.tuples(st.just("remove"), PREFIXES, OWNERS),
    st.tuples(st.just("remove_owner"), OWNERS),
    st.tuples(st.just("lookup"), ADDRESSES),
)


@given(st.lists(STEPS, max_size=60), st.lists(ADDRESSES, max_size=8))
def test_every_history_ends_as_in_a_linear_table(steps, addresses):
    allowed: AllowedIPs[str] = AllowedIPs()
    linear: Linear[str] = Linear()
    for name, *arguments in steps:
        assert getattr(allowed, name)(*arguments) == getattr(linear, name)(*arguments)
    for address in addresses:
        assert allowed.lookup(address) == linear.lookup(address)
    for owner in "abc":
        assert allowed.prefixes(owner) == linear.prefixes(owner)
