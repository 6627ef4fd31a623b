import ipaddress
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.errors import ConfigError
from wgpy.model import Endpoint, Prefix
from wgpy.wire import text

V4 = st.binary(min_size=4, max_size=4)
V6 = st.binary(min_size=16, max_size=16) | st.lists(
    st.sampled_from([b"\0\0", b"\0\1", b"\xab\0"]), min_size=8, max_size=8
).map(b"".join)
PARSERS = [
    text.parse_key,
    text.parse_hex_key,
    text.parse_address,
    text.parse_prefix,
    text.parse_port,
    text.split_host_port,
    text.parse_endpoint,
]


@given(st.text() | st.text("0123456789abcdef.:/%[]-", max_size=50))
def test_any_text_is_a_value_or_one_line(words):
    for parse in PARSERS:
        try:
            parse(words)
        except ConfigError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 400


def test_keys_are_base64_or_hexadecimal():
    assert text.parse_key("A" * 42 + "E=") == bytes(31) + b"\1"
    assert text.parse_hex_key("0" * 63 + "1") == bytes(31) + b"\1"


@pytest.mark.parametrize("key", ["", "A" * 43, "A" * 44, "A" * 42 + "==", "é" * 44, "A" * 88])
def test_what_is_no_base64_key_is_refused_and_not_repeated(key):
    with pytest.raises(ConfigError, match="44 characters") as caught:
        text.parse_key(key)
    assert "AAAA" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "0" * 63, "0" * 65, "g" * 64, "0 " * 32, "é" * 64])
def test_what_is_no_hexadecimal_key_is_refused(key):
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        text.parse_hex_key(key)


@given(V4 | V6)
def test_addresses_read_back_and_are_as_short_as_may_be(address):
    written = text.format_address(address)
    assert text.parse_address(written) == address
    assert len(written) <= len(str(ipaddress.ip_address(address)))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (bytes(16), "::"),
        (bytes(15) + b"\1", "::1"),
        (b"\xfd" + bytes(15), "fd00::"),
        (b"\0\1" * 8, "1:1:1:1:1:1:1:1"),
        (bytes.fromhex("0001000000000000000100000000 0001"), "1::1:0:0:1"),
        (bytes.fromhex("0001000000000001000100000000 0001"), "1::1:1:0:0:1"),
        (bytes.fromhex("0000000100010001000100010001 0000"), "0:1:1:1:1:1:1:0"),
    ],
)
def test_ipv6_is_written_as_rfc_5952_says(address, words):
    assert text.format_address(address) == words


@pytest.mark.parametrize(
    "words",
    ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.+4", "1.2.3.\u0664", ":::", "g"],
)
def test_what_is_no_address_is_refused(words):
    with pytest.raises(ConfigError, match="is no IP address"):
        text.parse_address(words)


def test_an_address_has_no_zone():
    with pytest.raises(ConfigError, match="zone has no place"):
        text.parse_address("fe80::1%2")


@pytest.mark.parametrize(
    ("words", "prefix"),
    [
        ("10.1.2.3", Prefix(bytes([10, 1, 2, 3]), 32)),
        ("10.1.2.3/8", Prefix(bytes([10, 0, 0, 0]), 8)),
        ("10.1.2.3/0", Prefix(bytes(4), 0)),
        ("::1", Prefix(bytes(15) + b"\1", 128)),
        ("fd00::1/064", Prefix(b"\xfd" + bytes(15), 64)),
        ("::ffff:1.2.3.4/128", Prefix(bytes(10) + bytes([255, 255, 1, 2, 3, 4]), 128)),
    ],
)
def test_prefixes(words, prefix):
    assert text.parse_prefix(words) == prefix
    assert text.parse_prefix(text.format_prefix(prefix)) == prefix


@pytest.mark.parametrize(
    "words", ["1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/0000000128", "::/129", "::/1_0"]
)
def test_a_length_beyond_the_address_is_refused(words):
    with pytest.raises(ConfigError, match="the length of a prefix is 0 to"):
        text.parse_prefix(words)


@pytest.mark.parametrize(
    "words", ["", "-1", "65536", "000000070000", "1 ", "\u0661", "9" * 5000]
)
def test_what_is_no_port_is_refused(words):
    with pytest.raises(ConfigError, match="is no port"):
        text.parse_port(words)


@pytest.mark.parametrize(
    ("words", "endpoint"),
    [
        ("1.2.3.4:051820", Endpoint(bytes([1, 2, 3, 4]), 51820)),
        ("[::ffff:1.2.3.4]:5", Endpoint(bytes([1, 2, 3, 4]), 5)),
        ("[fe80::1%2]:5", Endpoint(bytes.fromhex("fe80" + "0" * 27 + "1"), 5, 2)),
        ("[::1]:65535", Endpoint(bytes(15) + b"\1", 65535)),
    ],
)
def test_endpoints(words, endpoint):
    assert text.parse_endpoint(words) == endpoint
    assert text.parse_endpoint(text.format_endpoint(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("1.2.3.4", "no endpoint"),
        (":5", "no endpoint"),
        ("::1:5", "write an IPv6 endpoint as"),
        ("host:5", "resolve host names first: 'host' is no IP address"),
        ("1.2.3.400:5", "^'1.2.3.400' is no IP address"),
        ("1.2.3.4:0", "port 0"),
        ("1.2.3.4%2:5", "no zone"),
        ("[::ffff:1.2.3.4%2]:5", "no zone"),
        ("[fe80::1%eth0]:5", "number of an interface"),
        ("[fe80::1%]:5", "number of an interface"),
        ("[fe80::1%4294967296]:5", "number of an interface"),
    ],
)
def test_what_is_no_endpoint_is_refused(words, why):
    with pytest.raises(ConfigError, match=why):
        text.parse_endpoint(words)


def number_of(name: str) -> int:
    if "\0" in name:
        raise ValueError("embedded null character")
    if name != "eth0":
        raise OSError("no interface with this name")
    return 7


def test_the_zone_is_a_name_where_names_are_known():
    host = bytes.fromhex("fe80" + "0" * 27 + "1")
    assert text.parse_endpoint("[fe80::1%eth0]:5", number_of) == Endpoint(host, 5, 7)
    assert text.parse_endpoint("[fe80::1%2]:5", number_of) == Endpoint(host, 5, 2)
    for zone in ("eth1", "", "\0", "4294967296"):
        with pytest.raises(ConfigError, match="number of an interface"):
            text.parse_endpoint(f"[fe80::1%{zone}]:5", number_of)


def test_a_name_is_a_host():
    assert text.split_host_port("vpn.example.org:51820") == ("vpn.example.org", 51820)


KEYS = ["ab" * 32, b64encode(b"\xfe" * 32).decode(), "A" * 43]


@pytest.mark.parametrize(
    "words", [form.format(k) for k in KEYS for form in ("{}", "[{}", "x={}")]
)
def test_a_key_in_the_wrong_place_is_not_repeated(words):
    for parse in (text.parse_endpoint, text.parse_prefix, text.parse_port, text.parse_address):
        with pytest.raises(ConfigError) as refused:
            parse(words)
        assert words[-30:-10] not in str(refused.value)
        assert words[3:20] not in str(refused.value)
