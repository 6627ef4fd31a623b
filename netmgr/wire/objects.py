"""Signed objects: what a node says about itself, kept and passed on byte for byte.

An object, big-endian, at most 1200 bytes:

offset  size  field
0       1     kind
1       1     version, 1
2       2     part, 0 where a kind has one only
4       32    identity: the Ed25519 key of the speaker (RFC 8032)
36      8     seq: of two objects with equal identity, kind and part the higher one counts
44      2     n, size of the body
46      n     body
46 + n  64    signature over the label, the network's id (8) and all before the signature

Every body of a known kind ends in optional parts of type (1), size (1), value; those of unknown
type are skipped. Kinds that are not known are kept and passed on unread.

kind    body before the optional parts
RECORD  features (2), lowest and highest version (1 + 1), size of the name (1), name.
        Optional: 1 address (4); 2 candidate: kind (1), port (2), host (4 or 16); at most 8
LINKS   parts of the whole (2), edges (1), then each edge: short id (8), RTT in us (4), loss (1)
ROUTES  offers (1), then each: flags (1; 1 exit, 128 IPv6), prefix length (1), metric (2),
        address (4 or 16)
LEAVE   nothing
ACCEPT  size of the name (1), name, address (4), identity (32)
"""

import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2s
from struct import Struct
from typing import Final, NamedTuple

from netmgr.errors import Reason, Rejected
from netmgr.model import ID_SIZE, SHORT_ID_SIZE, Candidate, Kind
from wgpy.model import Endpoint, Prefix

RECORD: Final = 1
LINKS: Final = 2
ROUTES: Final = 3
LEAVE: Final = 4
ACCEPT: Final = 5

RELAYS: Final = 1
GATEWAY: Final = 2
METERED: Final = 4
SEED: Final = 8

VERSION: Final = 1
MAX_BLOB: Final = 1200
MAX_CANDIDATES: Final = 8
MAX_OFFERS: Final = 32
EDGES_PER_PART: Final = 64
MAX_RTT_US: Final = 0xFFFFFFFF
MAX_LOSS: Final = 255

_LABEL: Final = b"netmgr/object/1"
_BEFORE: Final = Struct(">BBH")
_HEAD: Final = Struct(f"{_BEFORE.format}{ID_SIZE}sQH")
_IDENTITY: Final = slice(_BEFORE.size, _BEFORE.size + ID_SIZE)
_SIGNATURE_SIZE: Final = 64
_MIN_BLOB: Final = _HEAD.size + _SIGNATURE_SIZE

_NAME: Final = re.compile(r"[a-z0-9-]{1,63}")
_RECORD: Final = Struct(">HBB")
_PORT: Final = Struct(">BH")
_PART: Final = Struct(">HB")
_EDGE: Final = Struct(f">{SHORT_ID_SIZE}sIB")
_OFFER: Final = Struct(">BBH")
_ADDRESS_TAG, _CANDIDATE_TAG = 1, 2
_EXIT, _IPV6 = 0x01, 0x80
_V4_SIZE, _V6_SIZE = 4, 16
_MAPPED: Final = bytes(10) + b"\xff\xff"
_KINDS: Final = {kind.value: kind for kind in Kind}
_MARK_SIZE: Final = 8


class Signed(NamedTuple):
    """An object taken apart; whether the signature verifies is for others to say."""

    kind: int
    part: int
    identity: bytes
    seq: int
    body: bytes
    blob: bytes


class Record(NamedTuple):
    """What a node is; `address` is IPv4, `versions` the lowest and highest it speaks."""

    name: str
    address: bytes | None
    features: int
    versions: tuple[int, int] = (1, 1)
    candidates: tuple[Candidate, ...] = ()


class Edge(NamedTuple):
    """A neighbour as one end sees it; `peer` is its short id, `loss` is in 1/255."""

    peer: bytes
    rtt_us: int
    loss: int = 0


class Links(NamedTuple):
    """One of the `total` parts of all that a node is linked to."""

    total: int
    edges: tuple[Edge, ...]


class Offer(NamedTuple):
    """A prefix that a node takes packets for; `exit` if it leads out to the Internet."""

    prefix: Prefix
    metric: int
    exit: bool = False


class Accept(NamedTuple):
    """The word of a node that a name and address belong to another identity from now on."""

    name: str
    address: bytes
    identity: bytes


# --- the object ---


def signing_input(net_id: bytes, head_and_body: bytes) -> bytes:
    """Return what is signed."""
    return _LABEL + net_id + head_and_body


def encode(  # noqa: PLR0913, PLR0917 - the fields of the head
    kind: int,
    part: int,
    identity: bytes,
    seq: int,
    body: bytes,
    net_id: bytes,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """Return an object; `sign` gives the signature of a message."""
    assert len(body) <= MAX_BLOB - _MIN_BLOB
    unsigned = _HEAD.pack(kind, VERSION, part, identity, seq, len(body)) + body
    return unsigned + sign(signing_input(net_id, unsigned))


def split_untrusted(blob: bytes) -> Signed:
    """Take an object apart; its body is not looked at.

    Raises:
        Rejected: MALFORMED.
    """
    if not _MIN_BLOB <= len(blob) <= MAX_BLOB:
        raise Rejected(Reason.MALFORMED)
    kind, version, part, identity, seq, size = _HEAD.unpack_from(blob)
    if version != VERSION or size != len(blob) - _MIN_BLOB:
        raise Rejected(Reason.MALFORMED)
    return Signed(kind, part, identity, seq, blob[_HEAD.size : -_SIGNATURE_SIZE], blob)


def identity_of(blob: bytes) -> bytes:
    """Return the identity of an object; whether it is one at all is for `split_untrusted`."""
    return blob[_IDENTITY]


def signed_part(net_id: bytes, signed: Signed) -> tuple[bytes, bytes]:
    """Return the message that an object's signature is over, and the signature."""
    blob = signed.blob
    return signing_input(net_id, blob[:-_SIGNATURE_SIZE]), blob[-_SIGNATURE_SIZE:]


def mark(blob: bytes) -> int:
    """Return the 64 bits that stand for an object in sums of what a node holds."""
    return int.from_bytes(blake2s(blob, digest_size=_MARK_SIZE).digest())


def sum_bytes(marks: int) -> bytes:
    """Return a sum (exclusive or) of marks as it is sent, 8 bytes."""
    return marks.to_bytes(_MARK_SIZE)


# --- bodies ---


def encode_record(record: Record) -> bytes:
    """Return the body of a RECORD, at most 266 bytes; scopes of candidates are left out."""
    tagged = [] if record.address is None else [(_ADDRESS_TAG, record.address)]
    for (host, port, _), kind in record.candidates[:MAX_CANDIDATES]:
        tagged.append((_CANDIDATE_TAG, _PORT.pack(kind.value, port) + host))
    fixed = _RECORD.pack(record.features, *record.versions) + _name_bytes(record.name)
    return fixed + b"".join(bytes((tag, len(value))) + value for tag, value in tagged)


def decode_record_untrusted(body: bytes) -> Record:
    """Read the body of a RECORD; candidates of unknown kind are left out.

    Raises:
        Rejected: MALFORMED.
    """
    fixed = _slice(body, 0, _RECORD.size)
    features, lowest, highest = _RECORD.unpack(fixed)
    name, at = _name_untrusted(body, _RECORD.size)
    address: bytes | None = None
    candidates: list[Candidate] = []
    for tag, value in _tagged_untrusted(body, at):
        if tag == _ADDRESS_TAG:
            if address is not None or len(value) != _V4_SIZE:
                raise Rejected(Reason.MALFORMED)
            address = value
        elif tag == _CANDIDATE_TAG and (found := _candidate_untrusted(value)):
            candidates.append(found)
    if lowest > highest or len(candidates) > MAX_CANDIDATES:
        raise Rejected(Reason.MALFORMED)
    return Record(name, address, features, (lowest, highest), tuple(candidates))


def encode_links(edges: Sequence[Edge]) -> list[bytes]:
    """Return the bodies of the parts of LINKS, one at least, in their order."""
    starts = range(0, max(len(edges), 1), EDGES_PER_PART)
    bodies = []
    for start in starts:
        some = edges[start : start + EDGES_PER_PART]
        packed = (
            _EDGE.pack(peer, min(rtt_us, MAX_RTT_US), min(loss, MAX_LOSS))
            for peer, rtt_us, loss in some
        )
        bodies.append(_PART.pack(len(starts), len(some)) + b"".join(packed))
    return bodies


def decode_links_untrusted(body: bytes, part: int) -> Links:
    """Read the body of one part of LINKS.

    Raises:
        Rejected: MALFORMED.
    """
    total, count = _PART.unpack(_slice(body, 0, _PART.size))
    if part >= total or count > EDGES_PER_PART:
        raise Rejected(Reason.MALFORMED)
    packed = _slice(body, _PART.size, count * _EDGE.size)
    _skip_untrusted(body, _PART.size + len(packed))
    return Links(total, tuple(map(Edge._make, _EDGE.iter_unpack(packed))))


def encode_routes(offers: Sequence[Offer]) -> bytes:
    """Return the body of ROUTES; a caller gives at most 32 offers."""
    assert len(offers) <= MAX_OFFERS
    packed = []
    for (address, length), metric, leads_out in offers:
        flags = (_EXIT if leads_out else 0) | (_IPV6 if len(address) == _V6_SIZE else 0)
        packed.append(_OFFER.pack(flags, length, metric) + address)
    return bytes((len(offers),)) + b"".join(packed)


def decode_routes_untrusted(body: bytes) -> tuple[Offer, ...]:
    """Read the body of ROUTES.

    Raises:
        Rejected: MALFORMED, also for a prefix whose host bits are not zero.
    """
    (count,) = _slice(body, 0, 1)
    if count > MAX_OFFERS:
        raise Rejected(Reason.MALFORMED)
    offers, at = [], 1
    for _ in range(count):
        flags, length, metric = _OFFER.unpack(_slice(body, at, _OFFER.size))
        size = _V6_SIZE if flags & _IPV6 else _V4_SIZE
        address = _slice(body, at + _OFFER.size, size)
        if length > 8 * size or int.from_bytes(address) & ((1 << 8 * size - length) - 1):
            raise Rejected(Reason.MALFORMED)
        offers.append(Offer(Prefix(address, length), metric, bool(flags & _EXIT)))
        at += _OFFER.size + size
    _skip_untrusted(body, at)
    return tuple(offers)


def encode_leave() -> bytes:
    """Return the body of LEAVE."""
    return b""


def decode_leave_untrusted(body: bytes) -> None:
    """Check the body of LEAVE.

    Raises:
        Rejected: MALFORMED.
    """
    _skip_untrusted(body, 0)


def encode_accept(accept: Accept) -> bytes:
    """Return the body of ACCEPT."""
    return _name_bytes(accept.name) + accept.address + accept.identity


def decode_accept_untrusted(body: bytes) -> Accept:
    """Read the body of ACCEPT.

    Raises:
        Rejected: MALFORMED.
    """
    name, at = _name_untrusted(body, 0)
    address = _slice(body, at, _V4_SIZE)
    identity = _slice(body, at + _V4_SIZE, ID_SIZE)
    _skip_untrusted(body, at + _V4_SIZE + ID_SIZE)
    return Accept(name, address, identity)


# --- what bodies are made of ---


def _slice(body: bytes, at: int, size: int) -> bytes:
    piece = body[at : at + size]
    if len(piece) != size:
        raise Rejected(Reason.MALFORMED)
    return piece


def _name_bytes(name: str) -> bytes:
    assert _NAME.fullmatch(name), name
    return bytes((len(name),)) + name.encode()


def _name_untrusted(body: bytes, at: int) -> tuple[str, int]:
    """Return the name that begins at an offset with its size, and the offset behind it."""
    (size,) = _slice(body, at, 1)
    name = _slice(body, at + 1, size).decode("latin-1")
    if not _NAME.fullmatch(name):
        raise Rejected(Reason.MALFORMED)
    return name, at + 1 + size


def _candidate_untrusted(value: bytes) -> Candidate | None:
    """Return a candidate; None if its kind is not known."""
    number, port = _PORT.unpack(_slice(value, 0, _PORT.size))
    host = value[_PORT.size :]
    mapped = len(host) == _V6_SIZE and host.startswith(_MAPPED)
    if len(host) not in (_V4_SIZE, _V6_SIZE) or mapped or not port:
        raise Rejected(Reason.MALFORMED)
    kind = _KINDS.get(number)
    return None if kind is None else Candidate(Endpoint(host, port), kind)


def _tagged_untrusted(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each optional part from an offset to the end."""
    while at < len(body):
        tag, size = _slice(body, at, 2)
        yield tag, _slice(body, at + 2, size)
        at += 2 + size


def _skip_untrusted(body: bytes, at: int) -> None:
    for _ in _tagged_untrusted(body, at):
        pass
