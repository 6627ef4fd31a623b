"""Echo request and reply (RFC 792, RFC 4443), as a raw ICMP socket takes and gives them.

type u8 | code u8 = 0 | checksum u16 | identifier u16 | sequence u16 | mark: any bytes
"""

from struct import Struct
from typing import Final

from wgpy.wire.ip import V4_HEADER_SIZE, checksum

_HEADER: Final = Struct(">BBHHH")
_V4_REQUEST: Final = 8
_V4_REPLY: Final = 0
_V6_REQUEST: Final = 128
_V6_REPLY: Final = 129


def request(sequence: int, mark: bytes, *, v6: bool) -> bytes:
    """Return an echo request; over IPv6 the kernel fills in the checksum."""
    if v6:
        return _HEADER.pack(_V6_REQUEST, 0, 0, 0, sequence) + mark
    total = checksum(_HEADER.pack(_V4_REQUEST, 0, 0, 0, sequence) + mark)
    return _HEADER.pack(_V4_REQUEST, 0, total, 0, sequence) + mark


def is_reply_untrusted(packet: bytes, mark: bytes, *, v6: bool) -> bool:
    """Tell whether what a raw socket received answers the request with that mark.

    An IPv4 raw socket gives the IP header too, an IPv6 one does not.
    """
    message = packet if v6 else packet[V4_HEADER_SIZE:]
    kind = _V6_REPLY if v6 else _V4_REPLY
    return len(message) >= _HEADER.size and message[0] == kind and message.endswith(mark)
