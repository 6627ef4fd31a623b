"""What people write in files, options and the environment: names, places, prefixes, keys.

Every `parse_*` raises ConfigError, one line, and nothing else, for any text.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from re import compile as regex
from typing import Final

from netmgr.model import ID_SIZE, HostPort
from wgpy.errors import ConfigError
from wgpy.model import Prefix, Secret
from wgpy.wire.text import (
    BASE64_KEY_SIZE,
    covers,
    format_address,
    format_prefix,
    parse_address,
    parse_key,
    parse_number,
    parse_prefix,
    shorten,
    split_host_port,
)

MAX_PORT: Final = 65535
MIN_MTU: Final = 576
_MAX_VERBOSITY: Final = 99
_V4_SIZE: Final = 4
# Longer than any usual name, and shorter than a key.
_LONGEST_REPEATED: Final = 30
_NAME: Final = regex(r"[a-z0-9-]{1,63}")
_STRANGE: Final = regex(r"[^a-z0-9-]+")
_INTERFACE: Final = regex(r"[a-zA-Z0-9_=+.-]{1,15}")
_FINGERPRINT: Final = regex(r"[0-9a-f]{32}")
_HOST: Final = regex(r"(?=.*[^\d.])[\w-][\w.-]{0,252}")
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def parse_name(text: str) -> str:
    """Return the name of a node in lower case.

    Raises:
        ConfigError: not 1 to 63 letters, digits or hyphens.
    """
    name = text.lower() if text.isascii() else text
    if not _NAME.fullmatch(name):
        taken = _STRANGE.sub("-", name).strip("-")[:63]
        hint = f", like {taken}" if taken and len(text) <= _LONGEST_REPEATED else ""
        raise ConfigError(f"{shorten(text)} is no name: 1 to 63 of a-z, 0-9 and -{hint}")
    return name


def parse_interface(text: str) -> str:
    """Return the name of an interface.

    Raises:
        ConfigError: no such name.
    """
    if not _INTERFACE.fullmatch(text) or text in (".", ".."):
        raise ConfigError(
            f"{shorten(text)} is no name of an interface: 1 to 15 letters, digits or _ = + . -"
        )
    return text


def parse_overlay(text: str) -> bytes:
    """Return an address of a node within the network: IPv4, packed.

    Raises:
        ConfigError: no IPv4 address.
    """
    packed = parse_address(text)
    if len(packed) != _V4_SIZE:
        raise ConfigError(f"{shorten(text)}: an IPv4 address is wanted")
    return packed


def refuse_misfit(subnet: Prefix, address: bytes) -> None:
    """Make sure that a node of the subnet can have an address: not its first or last.

    A subnet of one or two addresses has no such ends.

    Raises:
        ConfigError: it cannot.
    """
    shown, block = format_address(address), format_prefix(subnet)
    host_bits = 8 * len(subnet.address) - subnet.length
    if not covers(subnet, Prefix(address, 8 * len(address))):
        raise ConfigError(f"{shown} is outside of subnet {block}")
    last = (1 << host_bits) - 1
    if len(address) == len(subnet.address) and host_bits > 1:
        number = int.from_bytes(address) & last
        if number in (0, last):
            what = "broadcast" if number else "network"
            raise ConfigError(f"{shown} is the {what} address of subnet {block}, no node's")


def parse_subnet(text: str) -> Prefix:
    """Return the block that all addresses of nodes are in; host bits are cleared.

    Raises:
        ConfigError: no IPv4 block with its length, or one without an end.
    """
    if "/" not in text:
        raise ConfigError(f"{shorten(text)}: write it with its length, like 10.1.1.0/24")
    prefix = parse_prefix(text)
    if len(prefix.address) != _V4_SIZE or not prefix.length:
        raise ConfigError(f"{shorten(text)}: an IPv4 subnet like 10.1.1.0/24 is wanted")
    return prefix


def parse_udp_port(text: str) -> int:
    """Return a UDP port, 1 to 65535.

    Raises:
        ConfigError: no such number.
    """
    try:
        port = parse_number(text, MAX_PORT)
    except ConfigError:
        port = 0
    if not port:
        raise ConfigError(f"{shorten(text)} is no port: a number from 1 to {MAX_PORT}")
    return port


def parse_place(text: str) -> HostPort:
    """Return `HOST:PORT` or `[V6]:PORT`; whether the host is there is not looked at.

    Raises:
        ConfigError: no such form, port 0, or what can be neither a name nor an address.
    """
    host, port = split_host_port(text)
    parse_udp_port(str(port))
    return HostPort(parse_host(host), port)


def parse_host(text: str) -> str:
    """Return a name, or an address in digits.

    Raises:
        ConfigError: it can be neither.
    """
    if not _HOST.fullmatch(text):
        address, percent, zone = text.partition("%")
        packed = parse_address(address)
        if percent and (len(packed) == _V4_SIZE or not _INTERFACE.fullmatch(zone)):
            raise ConfigError(f"{shorten(text)} is no IP address")
    return text


def parse_identity(text: str) -> bytes:
    """Return the Ed25519 key of a node: 64 hexadecimal digits, or base64.

    Raises:
        ConfigError: neither.
    """
    try:
        short = len(text) == BASE64_KEY_SIZE
        raw = b64decode(text, validate=True) if short else bytes.fromhex(text)
    except (Base64Error, ValueError):
        raw = b""
    if len(raw) != ID_SIZE:
        raise ConfigError("an id is 64 hexadecimal digits, or 44 characters of base64")
    return raw


def parse_fingerprint(text: str) -> str:
    """Return the fingerprint of a node as nodes show it; hyphens and capitals are one's own.

    Raises:
        ConfigError: not 32 hexadecimal digits.
    """
    digits = text.lower().replace("-", "").replace(" ", "")
    if not _FINGERPRINT.fullmatch(digits):
        raise ConfigError(
            f"{shorten(text)} is no fingerprint: 8 groups of 4 hexadecimal digits, "
            "as wg_netmanager fingerprints shows them"
        )
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def parse_shared_key(text: str) -> Secret:
    """Return the key of a network.

    Raises:
        ConfigError: not 32 bytes of base64, or all zero.
    """
    key = Secret(parse_key(text))
    if key.is_zero:
        raise ConfigError("the key is all zero, which is none")
    return key


def parse_route(text: str) -> Prefix:
    """Return a prefix behind a node.

    Raises:
        ConfigError: no prefix, or the default route.
    """
    prefix = parse_prefix(text)
    if not prefix.length:
        raise ConfigError(f"{shorten(text)}: the default route is offered with exit")
    return prefix


def parse_via(text: str) -> tuple[Prefix, str]:
    """Return `PREFIX=NAME`: what shall go through which node.

    Raises:
        ConfigError: no such form.
    """
    prefix, equals, name = text.partition("=")
    if not equals:
        raise ConfigError(f"{shorten(text)}: write PREFIX=NAME, like 0.0.0.0/0=alice")
    return parse_prefix(prefix.strip()), parse_name(name.strip())


def parse_mtu(text: str) -> int:
    """Return a maximum transmission unit, bytes.

    Raises:
        ConfigError: no such number.
    """
    try:
        mtu = parse_number(text, MAX_PORT)
    except ConfigError:
        mtu = 0
    if mtu < MIN_MTU:
        raise ConfigError(f"{shorten(text)} is no MTU: a number from {MIN_MTU} to {MAX_PORT}")
    return mtu


def parse_flag(text: str) -> bool:
    """Return true or false.

    Raises:
        ConfigError: neither.
    """
    flag = _FLAGS.get(text.lower())
    if flag is None:
        raise ConfigError(f"{shorten(text)} is neither true nor false")
    return flag


def parse_verbosity(text: str) -> int:
    """Return how much is logged: how often -v would be given.

    Raises:
        ConfigError: no such number.
    """
    return parse_number(text, _MAX_VERBOSITY)


def parse_log_format(text: str) -> str:
    """Return text or json.

    Raises:
        ConfigError: another word.
    """
    if text not in ("text", "json"):
        raise ConfigError(f"{shorten(text)} is no format of the log: text or json")
    return text


def parse_path(text: str) -> str:
    """Return a path.

    Raises:
        ConfigError: empty, or no path at all.
    """
    if not text or not text.isprintable():
        raise ConfigError(f"{shorten(text)} is no path")
    return text
