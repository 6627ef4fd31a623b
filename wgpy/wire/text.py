"""Keys, endpoints and prefixes as people and the UAPI write them (wg(8)).

Every `parse_*` raises ConfigError, one line, and nothing else, for any text.
"""

import ipaddress
import struct
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from re import compile as regex

from wgpy.errors import ConfigError
from wgpy.model import KEY_SIZE, Endpoint, InterfaceAddress, Prefix
from wgpy.wire.detour import via_id

BASE64_KEY_SIZE = 44
_V4_BITS = 32
_V6_BITS = 128
_MAX_PORT = 65535
_MAX_SCOPE = 2**32 - 1
_MAX_DIGITS = 20
_MAX_QUOTE = 60
# 32 bytes in base64 without what follows them, or more than that in hexadecimal.
_MAYBE_KEY = regex(r"[A-Za-z0-9+/]{42}")
# A name has a letter; the colon of an IPv6 address is in none.
_HOST_NAME = regex(r"(?=.*[A-Za-z])[\w.-]+")
_V6_WORDS = struct.Struct(">8H")
_V6_TEXT = ":{:x}" * 8 + ":"
_V6_ZERO_RUNS = tuple(":0" * words + ":" for words in range(8, 1, -1))
_OCTETS = {str(number): number for number in range(256)}


def parse_key(text: str) -> bytes:
    """Return the 32 bytes of a base64 key as `wg genkey` writes it.

    Raises:
        ConfigError: not 44 characters of base64 for 32 bytes. The text is not repeated in the
            message: it may be a private key.
    """
    try:
        raw = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raw = b""
    if len(text) != BASE64_KEY_SIZE or len(raw) != KEY_SIZE:
        raise ConfigError(
            "a key is 32 bytes in 44 characters of base64, as wg genkey writes it"
        )
    return raw


def parse_hex_key(text: str) -> bytes:
    """Return the 32 bytes of a key in hexadecimal, as the UAPI writes it.

    Raises:
        ConfigError: not 64 hexadecimal digits.
    """
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(text) != 2 * KEY_SIZE or len(raw) != KEY_SIZE:
        raise ConfigError("a key is 64 hexadecimal digits")
    return raw


def parse_number(text: str, most: int) -> int:
    """Return a decimal number of ASCII digits, 0 to `most`.

    Raises:
        ConfigError: anything else: a sign, spaces, other digits, too large.
    """
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        number = int(text)
        if number <= most:
            return number
    raise ConfigError(f"{shorten(text)} is no number from 0 to {most}")


def shorten(text: str) -> str:
    """Return what somebody wrote quoted, on one line and not longer than a line of a log.

    What may be a key, in the wrong place, is not repeated.
    """
    if _MAYBE_KEY.search(text):
        return "what may be a key"
    return repr(text if len(text) <= _MAX_QUOTE else text[:_MAX_QUOTE] + "...")


def parse_address(text: str) -> bytes:
    """Return an IP address packed, 4 or 16 bytes.

    Raises:
        ConfigError: no IPv4 or IPv6 address.
    """
    octets = text.split(".")
    if len(octets) == _V4_BITS // 8:
        # The table knows what ipaddress takes as an octet, at a sixth of its time: `wg` sends
        # allowed IPs by the hundred thousand. Other text is looked at below.
        try:
            return bytes([_OCTETS[octet] for octet in octets])
        except KeyError:
            pass
    try:
        address = ipaddress.IPv6Address(text) if ":" in text else ipaddress.IPv4Address(text)
    except ValueError:
        raise ConfigError(f"{shorten(text)} is no IP address") from None
    if "%" in text:
        raise ConfigError(f"{shorten(text)}: a zone has no place here")
    return address.packed


def parse_prefix(text: str) -> Prefix:
    """Return `ADDRESS[/LENGTH]`; without a length it is one address. Host bits are cleared.

    Raises:
        ConfigError: no address, or a length out of range.
    """
    host, slash, length_text = text.partition("/")
    packed = parse_address(host)
    bits = len(packed) * 8
    if not slash:
        return Prefix(packed, bits)
    try:
        length = parse_number(length_text, bits)
    except ConfigError:
        raise ConfigError(f"{shorten(text)}: the length of a prefix is 0 to {bits}") from None
    return mask(packed, length)


def parse_interface_address(text: str) -> InterfaceAddress:
    """Return `ADDRESS[/LENGTH]` with its host bits; without a length it is one address.

    Raises:
        ConfigError: no address, or a length out of range.
    """
    prefix = parse_prefix(text)
    return InterfaceAddress(parse_address(text.partition("/")[0]), prefix.length)


def mask(address: bytes, length: int) -> Prefix:
    """Return the prefix of `length` bits that holds a packed address."""
    bits = len(address) * 8
    if length == bits:
        return Prefix(address, length)
    kept = int.from_bytes(address) >> (bits - length) << (bits - length)
    return Prefix(kept.to_bytes(len(address)), length)


def covers(block: Prefix, prefix: Prefix) -> bool:
    """Return whether every address of `prefix` is in `block`."""
    return (
        len(block.address) == len(prefix.address)
        and block.length <= prefix.length
        and mask(prefix.address, block.length) == block
    )


def parse_port(text: str) -> int:
    """Return a UDP port, 0 to 65535.

    Raises:
        ConfigError: no such number.
    """
    try:
        return parse_number(text, _MAX_PORT)
    except ConfigError:
        raise ConfigError(
            f"{shorten(text)} is no port: a number from 0 to {_MAX_PORT}"
        ) from None


def split_host_port(text: str) -> tuple[str, int]:
    """Return host (name or address, brackets removed) and port of `HOST:PORT` or `[V6]:PORT`.

    Raises:
        ConfigError: no such form, or no such port.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"{shorten(text)}: write an IPv6 endpoint as [ADDRESS]:PORT")
    if not colon or not host:
        raise ConfigError(f"{shorten(text)} is no endpoint: HOST:PORT or [ADDRESS]:PORT")
    return host, parse_port(port)


def parse_endpoint(text: str, number_of: Callable[[str], int] | None = None) -> Endpoint:
    """Return a numeric endpoint: `1.2.3.4:51820`, `[2001:db8::1]:51820`, `[fe80::1%2]:51820`.

    IPv4-mapped IPv6 becomes IPv4. `number_of` tells the number of an interface by its name, as
    in `[fe80::1%eth0]:51820`; without it, or if it raises OSError or ValueError, names are
    refused.

    Raises:
        ConfigError: no numeric endpoint, or port 0 of one that is not behind relays.
    """
    host, port = split_host_port(text)
    host, percent, zone = host.partition("%")
    if not percent and _HOST_NAME.fullmatch(host):
        raise ConfigError(f"resolve host names first: {shorten(host)} is no IP address")
    packed = unmap(parse_address(host))
    if percent and len(packed) * 8 == _V4_BITS:
        raise ConfigError(f"{shorten(text)}: an IPv4 address has no zone")
    try:
        scope = _parse_zone(zone, number_of) if percent else 0
    except (ConfigError, OSError, ValueError):
        raise ConfigError(f"{shorten(text)}: the zone is the number of an interface") from None
    endpoint = Endpoint(packed, port, scope)
    if port == 0 and via_id(endpoint) is None:
        raise ConfigError(f"{shorten(text)}: port 0 cannot be sent to")
    return endpoint


def _parse_zone(zone: str, number_of: Callable[[str], int] | None) -> int:
    if number_of is None or zone.isdigit():
        return parse_number(zone, _MAX_SCOPE)
    return number_of(zone)


def unmap(address: bytes) -> bytes:
    """Return an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) as IPv4, any other as it is."""
    if len(address) * 8 == _V6_BITS and address.startswith(_V4_MAPPED):
        return address[len(_V4_MAPPED) :]
    return address


_V4_MAPPED = bytes(10) + b"\xff\xff"


def format_address(address: bytes) -> str:
    """Return a packed address as text, IPv6 in the shortest form (RFC 5952, 4)."""
    if len(address) * 8 == _V4_BITS:
        return ".".join(map(str, address))
    text = _V6_TEXT.format(*_V6_WORDS.unpack(address))
    for run in _V6_ZERO_RUNS:
        if run in text:
            text = text.replace(run, "::", 1)
            break
    start = 0 if text.startswith("::") else 1
    return text[start:] if text.endswith("::") else text[start:-1]


def format_prefix(prefix: Prefix | InterfaceAddress) -> str:
    """Return `ADDRESS/LENGTH`."""
    return f"{format_address(prefix.address)}/{prefix.length}"


def format_endpoint(endpoint: Endpoint) -> str:
    """Return the endpoint as `parse_endpoint` reads it."""
    host = format_address(endpoint.host)
    if len(endpoint.host) * 8 == _V4_BITS:
        return f"{host}:{endpoint.port}"
    zone = f"%{endpoint.scope}" if endpoint.scope else ""
    return f"[{host}{zone}]:{endpoint.port}"
