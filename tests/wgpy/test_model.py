import pytest

from wgpy.model import Burst, Endpoint, PublicKey, Secret, TunBurst

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
