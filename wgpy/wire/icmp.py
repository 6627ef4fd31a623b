"""The ICMP errors of a tunnel and of a router: what is told of a packet that cannot go on.

field               IPv4: 20 + 8 + quote         IPv6: 40 + 8 + quote
type, code          3, 1: host unreachable       1, 3: address unreachable
                    11, 0: time exceeded         3, 0: hop limit exceeded
                    3, 4: fragmentation needed   2, 0: packet too big
checksum            of the ICMP message          and of the pseudo header
MTU, or zeros       4, RFC 1191: the last 2      4
quote               to 576 bytes in all          to 1280 bytes in all
                    (RFC 1812, 4.3.2.3)          (RFC 4443, 2.4 c)

By default it comes from the destination that could not be reached, as if that had answered.
None is returned where no error MUST be sent (RFC 1122, 3.2.2; RFC 4443, 2.4 e): for an ICMP
error, a fragment other than the first, an address that does not name one host, a malformed
packet. How often to send is the caller's to limit. (RFC 792, RFC 4443)
"""

from ipaddress import IPv6Address
from struct import Struct
from typing import Final, NamedTuple

from wgpy.model import Buffer
from wgpy.wire.ip import V4_HEADER_SIZE, V6_HEADER_SIZE, checksum, version

_V4_HEADER: Final = Struct(">B B H H H B B H 4s 4s")
_V6_HEADER: Final = Struct(">I H B B 16s 16s")
_ICMP_HEADER: Final = Struct(">B B H I")
_WORD: Final = Struct(">H")

_V4_MAX_SIZE: Final = 576
_V6_MAX_SIZE: Final = 1280
_HOP_LIMIT: Final = 64
# Precedence "internetwork control", which an error has (RFC 1812, 4.3.2.5).
_V4_TOS: Final = 0xC0
# An unfragmented packet that must not be fragmented needs no identification (RFC 6864, 4.1).
_V4_DONT_FRAGMENT: Final = 0x4000
_V4_FRAGMENT_OFFSET: Final = 0x1FFF
_V6_FRAGMENT_OFFSET: Final = 0xFFF8
_V6_VERSION: Final = 6 << 28

_ICMP: Final = 1
_ICMP6: Final = 58
# Unreachable, source quench, redirect, time exceeded, parameter problem.
_V4_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
_V6_FIRST_INFORMATIONAL: Final = 128
_V6_REDIRECT: Final = 137

_HOP_BY_HOP: Final = 0
_ROUTING: Final = 43
_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51
_DESTINATION_OPTIONS: Final = 60
_EXTENSIONS: Final = frozenset(
    {_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION_OPTIONS}
)
_MAX_EXTENSIONS: Final = 16


class _Error(NamedTuple):
    """What is told: type and code of either family, and the word that follows them."""

    v4: tuple[int, int]
    v6: tuple[int, int]
    word: int = 0


_UNREACHABLE: Final = _Error((3, 1), (1, 3))
_TIME_EXCEEDED: Final = _Error((11, 0), (3, 0))
_TOO_BIG: Final = _Error((3, 4), (2, 0))


def unreachable(packet: Buffer, speaker: bytes | None = None) -> bytes | None:
    """Return the packet that tells the sender of `packet` that its destination is unreachable.

    `speaker` is the packed address that it comes from.
    """
    return _answer(packet, _UNREACHABLE, speaker)


def time_exceeded(packet: Buffer, speaker: bytes | None = None) -> bytes | None:
    """Return the packet that tells the sender of `packet` that it has made too many hops."""
    return _answer(packet, _TIME_EXCEEDED, speaker)


def too_big(packet: Buffer, mtu: int, speaker: bytes | None = None) -> bytes | None:
    """Return the packet that tells the sender of `packet` how large it may be, in bytes."""
    return _answer(packet, _TOO_BIG._replace(word=mtu), speaker)


def _answer(packet: Buffer, error: _Error, speaker: bytes | None) -> bytes | None:
    if len(packet) >= V4_HEADER_SIZE and version(packet) == 4:
        return _answer_v4(bytes(packet), error, speaker)
    if len(packet) >= V6_HEADER_SIZE and version(packet) == 6:
        return _answer_v6(bytes(packet), error, speaker)
    return None


def _answer_v4(packet: bytes, error: _Error, speaker: bytes | None) -> bytes | None:
    first, _, size, _, fragment, _, protocol, _, source, destination = _V4_HEADER.unpack_from(
        packet
    )
    header_size = (first & 15) * 4
    if header_size < V4_HEADER_SIZE or not header_size <= size <= len(packet):
        return None
    if fragment & _V4_FRAGMENT_OFFSET or not (_is_v4_host(source) and _is_v4_host(destination)):
        return None
    if protocol == _ICMP and (size == header_size or packet[header_size] in _V4_ERRORS):
        return None
    quote = packet[: min(size, _V4_MAX_SIZE - V4_HEADER_SIZE - _ICMP_HEADER.size)]
    message = _message(error.v4, error.word, quote, 0)
    header = bytearray(V4_HEADER_SIZE)
    fields = (0, _V4_DONT_FRAGMENT, _HOP_LIMIT, _ICMP, 0, speaker or destination, source)
    _V4_HEADER.pack_into(header, 0, 0x45, _V4_TOS, V4_HEADER_SIZE + len(message), *fields)
    _WORD.pack_into(header, 10, checksum(header))
    return bytes(header) + message


def _answer_v6(packet: bytes, error: _Error, speaker: bytes | None) -> bytes | None:
    _, after, upper, _, source, destination = _V6_HEADER.unpack_from(packet)
    size = V6_HEADER_SIZE + after
    if size > len(packet) or not (_is_v6_host(source) and _is_v6_host(destination)):
        return None
    if not _may_be_answered_v6(packet[:size], upper):
        return None
    speaker = speaker or destination
    quote = packet[: min(size, _V6_MAX_SIZE - V6_HEADER_SIZE - _ICMP_HEADER.size)]
    message_size = _ICMP_HEADER.size + len(quote)
    pseudo = int.from_bytes(source) + int.from_bytes(speaker) + message_size + _ICMP6
    message = _message(error.v6, error.word, quote, pseudo)
    head = _V6_HEADER.pack(_V6_VERSION, message_size, _ICMP6, _HOP_LIMIT, speaker, source)
    return head + message


def _may_be_answered_v6(packet: bytes, header: int) -> bool:
    """Follow the extension headers (RFC 8200, 4); False for an error or what cannot be told."""
    at = V6_HEADER_SIZE
    for _ in range(_MAX_EXTENSIONS):
        if header not in _EXTENSIONS:
            break
        if len(packet) < at + 8:
            return False
        if header == _FRAGMENT:
            if _WORD.unpack_from(packet, at + 2)[0] & _V6_FRAGMENT_OFFSET:
                return False
            size = 8
        elif header == _AUTHENTICATION:
            size = 4 * (packet[at + 1] + 2)
        else:
            size = 8 * (packet[at + 1] + 1)
        header = packet[at]
        at += size
    if header != _ICMP6:
        return header not in _EXTENSIONS
    if len(packet) <= at:
        return False
    return packet[at] >= _V6_FIRST_INFORMATIONAL and packet[at] != _V6_REDIRECT


def _message(kind: tuple[int, int], word: int, quote: bytes, pseudo: int) -> bytes:
    blank = _ICMP_HEADER.pack(*kind, 0, word) + quote
    return _ICMP_HEADER.pack(*kind, checksum(blank, pseudo), word) + quote


def _is_v4_host(address: bytes) -> bool:
    """Return whether it is not "this network", loopback, multicast, class E or broadcast."""
    return 0 < address[0] < 224 and address[0] != 127


def _is_v6_host(address: bytes) -> bool:
    """Return whether it is not unspecified, loopback or multicast."""
    host = IPv6Address(address)
    return not (host.is_unspecified or host.is_loopback or host.is_multicast)
