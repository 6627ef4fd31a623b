"""Words of people: what is taken, and what is refused in one line."""

from base64 import b64encode
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import HostPort
from netmgr.wire import words
from wgpy.errors import ConfigError
from wgpy.model import Prefix, Secret
from wgpy.wire.text import parse_address

ID = bytes(range(1, 33))
PARSERS = [
    value
    for name, value in vars(words).items()
    if name.startswith("parse_") and value.__module__ == words.__name__
]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (words.parse_name, "Alice-2", "alice-2"),
        (words.parse_name, "a" * 63, "a" * 63),
        (words.parse_interface, "wg0", "wg0"),
        (words.parse_overlay, "10.1.1.1", bytes([10, 1, 1, 1])),
        (
            words.parse_fingerprint,
            "0A" * 8 + " " + "1b" * 8,
            "-".join(["0a0a"] * 4 + ["1b1b"] * 4),
        ),
        (words.parse_subnet, "10.1.1.0/8", Prefix(bytes([10, 0, 0, 0]), 8)),
        (words.parse_udp_port, "65535", 65535),
        (words.parse_place, "vps.example.org:50001", HostPort("vps.example.org", 50001)),
        (words.parse_place, "192.0.2.1:1", HostPort("192.0.2.1", 1)),
        (words.parse_place, "[2001:db8::1]:9", HostPort("2001:db8::1", 9)),
        (words.parse_place, "[fe80::1%eth0]:9", HostPort("fe80::1%eth0", 9)),
        (words.parse_place, "3com.example:9", HostPort("3com.example", 9)),
        (words.parse_identity, ID.hex(), ID),
        (words.parse_identity, b64encode(ID).decode(), ID),
        (words.parse_shared_key, b64encode(ID).decode(), Secret(ID)),
        (words.parse_route, "192.168.7.9/24", Prefix(bytes([192, 168, 7, 0]), 24)),
        (words.parse_via, "0.0.0.0/0=Bob", (Prefix(bytes(4), 0), "bob")),
        (words.parse_via, "::/0 = bob", (Prefix(bytes(16), 0), "bob")),
        (words.parse_mtu, "1280", 1280),
        (words.parse_flag, "YES", True),
        (words.parse_flag, "0", False),
        (words.parse_verbosity, "3", 3),
        (words.parse_log_format, "json", "json"),
        (words.parse_path, "a/b", "a/b"),
    ],
)
def test_what_people_write_is_understood(
    parse: Callable[[str], object], text: str, value: object
):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (words.parse_name, ""),
        (words.parse_name, "a" * 64),
        (words.parse_name, "alice_2"),
        (words.parse_name, "\u212a"),  # the sign of kelvin is no k
        (words.parse_fingerprint, "zzz"),
        (words.parse_fingerprint, "0a" * 15),
        (words.parse_fingerprint, "0a" * 17),
        (words.parse_interface, ".."),
        (words.parse_interface, "a/b"),
        (words.parse_overlay, "fd00::1"),
        (words.parse_subnet, "10.1.1.0"),
        (words.parse_subnet, "fd00::/64"),
        (words.parse_subnet, "10.0.0.0/0"),
        (words.parse_udp_port, "0"),
        (words.parse_udp_port, "65536"),
        (words.parse_udp_port, "-1"),
        (words.parse_place, "vps"),
        (words.parse_place, "vps:0"),
        (words.parse_place, ":50001"),
        (words.parse_place, "1.2.3:50001"),
        (words.parse_place, "a b:50001"),
        (words.parse_place, "2001:db8::1:50001"),
        (words.parse_place, "[1.2.3.4%eth0]:50001"),
        (words.parse_place, "[fe80::1%a/b]:50001"),
        (words.parse_identity, "ab"),
        (words.parse_identity, "=" * 44),
        (words.parse_shared_key, "AAAA"),
        (words.parse_shared_key, b64encode(bytes(32)).decode()),
        (words.parse_route, "0.0.0.0/0"),
        (words.parse_via, "0.0.0.0/0"),
        (words.parse_mtu, "575"),
        (words.parse_mtu, "big"),
        (words.parse_flag, "perhaps"),
        (words.parse_verbosity, "100"),
        (words.parse_log_format, "xml"),
        (words.parse_path, ""),
        (words.parse_path, "a\nb"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(parse: Callable[[str], object], text: str):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_key_that_is_wrong_is_not_repeated():
    key = b64encode(ID).decode()
    for parse in (words.parse_shared_key, words.parse_name, words.parse_log_format):
        with pytest.raises(ConfigError) as caught:
            parse(key + "x")
        assert key not in str(caught.value)


@given(st.sampled_from(PARSERS), st.text())
def test_any_text_is_taken_or_refused(parse: Callable[[str], object], text: str):
    try:
        parse(text)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("subnet", "address", "why"),
    [
        ("10.1.1.0/24", "10.1.1.1", None),
        ("10.1.1.0/24", "10.1.1.254", None),
        ("10.1.1.0/24", "10.1.1.0", "the network address"),
        ("10.1.1.0/24", "10.1.1.255", "the broadcast address"),
        ("10.1.1.0/24", "10.1.2.1", "outside"),
        ("10.1.1.0/24", "fd00::1", "outside"),
        ("10.1.1.0/31", "10.1.1.0", None),
        ("10.1.1.0/31", "10.1.1.1", None),
        ("10.1.1.1/32", "10.1.1.1", None),
    ],
)
def test_the_ends_of_a_subnet_are_no_nodes(subnet: str, address: str, why: str | None):
    call = partial(words.refuse_misfit, words.parse_subnet(subnet), parse_address(address))
    if why is None:
        call()
    else:
        with pytest.raises(ConfigError, match=why):
            call()
