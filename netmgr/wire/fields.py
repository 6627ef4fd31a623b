"""Fields that several messages have: endpoints and blobs with a length; big-endian."""

from collections.abc import Iterable
from struct import Struct, error
from typing import Final

from netmgr.errors import Reason, Rejected
from wgpy.model import Buffer, Endpoint

# family u8 (4, 6; 0 for none) | address 16, IPv4 first four | port u16
ENDPOINT_SIZE: Final = 19
_ENDPOINT: Final = Struct(">B 16s H")
_LENGTH: Final = Struct(">H")
_SIZES: Final = {4: 4, 6: 16}
_MAPPED: Final = bytes(10) + b"\xff\xff"


def encode_endpoint(endpoint: Endpoint | None) -> bytes:
    """Return the 19 bytes of an endpoint; scopes mean nothing to others and are left out."""
    if endpoint is None:
        return bytes(ENDPOINT_SIZE)
    return _ENDPOINT.pack(4 if len(endpoint.host) == 4 else 6, endpoint.host, endpoint.port)


def decode_endpoint_untrusted(field: Buffer) -> Endpoint | None:
    """Return the endpoint in 19 bytes, None if it says that there is none.

    Raises:
        Rejected: MALFORMED.
    """
    try:
        family, host, port = _ENDPOINT.unpack(field)
    except error:
        raise Rejected(Reason.MALFORMED) from None
    if family == 0:
        return None
    size = _SIZES.get(family, 0)
    mapped = size == len(host) and host.startswith(_MAPPED)
    if not size or not port or any(host[size:]) or not any(host) or mapped:
        raise Rejected(Reason.MALFORMED)
    return Endpoint(host[:size], port)


def encode_blobs(blobs: Iterable[bytes]) -> bytes:
    """Return blobs one after the other, each behind its length u16."""
    return b"".join(_LENGTH.pack(len(blob)) + blob for blob in blobs)


def decode_blobs_untrusted(field: Buffer) -> list[bytes]:
    """Return the blobs of a field.

    Raises:
        Rejected: MALFORMED.
    """
    raw, blobs, at = bytes(field), [], 0
    while at < len(raw):
        end = at + _LENGTH.size
        if end > len(raw):
            raise Rejected(Reason.MALFORMED)
        end += _LENGTH.unpack_from(raw, at)[0]
        if end > len(raw):
            raise Rejected(Reason.MALFORMED)
        blobs.append(raw[at + _LENGTH.size : end])
        at = end
    return blobs
