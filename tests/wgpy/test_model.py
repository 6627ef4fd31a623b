from typing import Any

import pytest

from wgpy.model import (
    Burst,
    Endpoint,
    InterfaceAddress,
    Local,
    Prefix,
    PublicKey,
    Secret,
    TunBurst,
)

REMOTE = Endpoint(bytes([192, 0, 2, 1]), 51820)


def test_a_secret_shows_nothing_of_itself():
    secret = Secret(bytes(range(32)))
    assert "00" not in repr(secret)
    assert repr(secret) == str(secret) == "Secret(hidden)"


def test_secrets_compare_by_content():
    assert Secret(bytes(32)) == Secret(bytes(32))
    assert Secret(bytes(32)) != Secret(b"\1" * 32)
    assert Secret(bytes(32)) != bytes(32)
    assert Secret(bytes(32)).is_zero


def test_a_secret_is_no_key_of_a_table():
    with pytest.raises(TypeError):
        hash(Secret(bytes(32)))


@pytest.mark.parametrize("kind", [PublicKey, Secret])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(kind, size):
    with pytest.raises(ValueError, match="32 bytes"):
        kind(bytes(size))


def test_a_public_key_reads_as_wg_shows_it():
    key = PublicKey(bytes(32))
    assert str(key) == "A" * 43 + "="
    assert key.short == "AAAAAAAA"
    assert repr(key) == f"PublicKey({key})"


V6 = bytes.fromhex("fe80") + bytes(13) + b"\1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Endpoint(bytes([1, 2, 3, 4]), 51820), "1.2.3.4:51820"),
        (Endpoint(V6, 5), "[fe80::1]:5"),
        (Endpoint(V6, 5, 2), "[fe80::1%2]:5"),
        (Prefix(bytes([10, 0, 0, 0]), 8), "10.0.0.0/8"),
        (InterfaceAddress(V6, 64), "fe80::1/64"),
        (Local(bytes([1, 2, 3, 4])), "1.2.3.4"),
        (Local(V6, 3), "fe80::1%3"),
    ],
)
def test_addresses_read_as_people_write_them(value, text):
    assert str(value) == f"{value}" == text
    assert repr(value) == f"{type(value).__name__}('{text}')"


def test_what_is_no_address_can_be_shown_all_the_same():
    assert repr(Prefix(b"abc", 3)) == "Prefix('616263/3')"
    wrong: Any = "host"
    assert str(Local(wrong)) == "'host'"


@pytest.mark.parametrize(
    ("payload", "size", "segments"),
    [
        (b"abcdefg", 3, [b"abc", b"def", b"g"]),
        (b"ab", 3, [b"ab"]),
        (b"", 0, [b""]),
        ([b"abc", b"d"], 3, [b"abc", b"d"]),
    ],
)
def test_a_burst_yields_its_datagrams(payload, size, segments):
    assert list(Burst(payload, size, REMOTE).segments()) == segments


@pytest.mark.parametrize("packet", [b"headers payload", [b"headers ", memoryview(b"payload")]])
def test_a_packet_in_pieces_can_be_had_whole(packet):
    assert TunBurst(packet).whole() == b"headers payload"
