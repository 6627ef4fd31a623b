"""The nouns of the node: plain values shared by every layer.

Instants are seconds on one monotonic clock (`now`, or a name in `_at`); sizes are bytes.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, NamedTuple, Self, TypeAlias

KEY_SIZE = 32
_PACKED_SIZES = (4, 16)

Buffer: TypeAlias = bytes | bytearray | memoryview


class PublicKey(bytes):
    """A Curve25519 public key: 32 bytes; `str()` gives the base64 that `wg` shows."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Wrap 32 bytes.

        Raises:
            ValueError: another length (text of people goes through `wire.text.parse_key`).
        """
        if len(raw) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    def __str__(self) -> str:
        return b64encode(self).decode()

    def __repr__(self) -> str:
        return f"PublicKey({self})"

    @property
    def short(self) -> str:
        """The first eight characters: how logs name a peer."""
        return str(self)[:8]


class Secret:
    """A private or preshared key: 32 bytes that no repr, log or comparison time gives away."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(raw)}")
        self._raw = bytes(raw)

    def reveal(self) -> bytes:
        """Return the 32 bytes; for crypto and for writing where the owner asked for it."""
        return self._raw

    def to_base64(self) -> str:
        """Return the key as `wg` writes it."""
        return b64encode(self._raw).decode()

    @property
    def is_zero(self) -> bool:
        """Whether all bits are zero: how the field writes "no key"."""
        return hmac.compare_digest(self._raw, bytes(KEY_SIZE))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._raw, other.reveal())

    def __hash__(self) -> int:
        raise TypeError("a secret is no key of a table")

    def __repr__(self) -> str:
        return "Secret(hidden)"


# How the field writes "no private key" and "no preshared key".
NO_KEY: Final = Secret(bytes(KEY_SIZE))


def _address_text(packed: bytes, zone: int = 0) -> str:
    """Return an address for people; what is no packed one is shown as it is."""
    suffix = f"%{zone}" if zone else ""
    if not isinstance(packed, bytes):
        return f"{packed!r}{suffix}"
    return (str(ip_address(packed)) if len(packed) in _PACKED_SIZES else packed.hex()) + suffix


class Prefix(NamedTuple):
    """A block of addresses; `address` is packed (4 or 16 bytes) with the host bits zero."""

    address: bytes
    length: int

    def __str__(self) -> str:
        return f"{_address_text(self.address)}/{self.length}"

    def __repr__(self) -> str:
        return f"Prefix('{self}')"


class InterfaceAddress(NamedTuple):
    """An address of an interface, packed with its host bits; `length` is that of its subnet."""

    address: bytes
    length: int

    def __str__(self) -> str:
        return f"{_address_text(self.address)}/{self.length}"

    def __repr__(self) -> str:
        return f"InterfaceAddress('{self}')"


class Endpoint(NamedTuple):
    """A UDP address; `host` is packed (4 or 16 bytes, never IPv4-mapped IPv6).

    `scope` is the interface index of a link-local IPv6 address, else 0.
    """

    host: bytes
    port: int
    scope: int = 0

    def __str__(self) -> str:
        host = _address_text(self.host, self.scope)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Endpoint('{self}')"


class Local(NamedTuple):
    """The address of this host that a datagram came to or leaves from, and the interface.

    `interface` is an index, 0 if any.
    """

    host: bytes
    interface: int = 0

    def __str__(self) -> str:
        return _address_text(self.host, self.interface)

    def __repr__(self) -> str:
        return f"Local('{self}')"


class Burst(NamedTuple):
    """UDP payloads of one remote address, end to end: the unit of UDP I/O both ways.

    Every payload has `segment_size` bytes but the last, which may be shorter. One payload is a
    burst of one; a GSO send or a GRO receive is a burst of many. A burst may hold a list of
    payloads instead of one buffer, each one datagram of at most `segment_size` bytes. Valid
    until the next `receive` of its port. `tos` is the whole byte (DSCP and ECN) of the outer IP
    header. `local` is where it arrived or shall leave from; None leaves the choice to the
    kernel.
    """

    payload: Buffer | list[Buffer]
    segment_size: int
    remote: Endpoint
    local: Local | None = None
    tos: int = 0
    dont_fragment: bool = False

    def segments(self) -> Iterator[Buffer]:
        """Yield each UDP payload."""
        if isinstance(self.payload, list):
            yield from self.payload
        elif len(self.payload) <= self.segment_size:
            yield self.payload
        else:
            for start in range(0, len(self.payload), self.segment_size):
                yield self.payload[start : start + self.segment_size]


class TunBurst(NamedTuple):
    """One packet of the TUN interface, or several as one super packet (virtio_net_hdr).

    `packet` begins with the IP header. With `gso_type` 0 it is one packet; `csum_start` other
    than 0 says that the checksum at `csum_start + csum_offset` is to be completed. A super
    packet for the host may be a list of buffers: the headers, then the payloads, end to end.
    """

    packet: Buffer | list[Buffer]
    gso_type: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def whole(self) -> Buffer:
        """Return the packet in one buffer."""
        return b"".join(self.packet) if isinstance(self.packet, list) else self.packet


class Segments(NamedTuple):
    """The packets of a super packet: all have `size` bytes but the last."""

    packets: int
    size: int
    last_size: int
    headers_size: int


class Heads(NamedTuple):
    """What the data messages of one burst have in common, and the counter of each."""

    receiver: int
    counters: list[int]


class Opened(NamedTuple):
    """Plaintexts of one burst as rows: row i is at `i * stride`; its size, negative if bad."""

    buffer: bytearray | memoryview
    stride: int
    sizes: list[int]

    def row(self, number: int) -> Buffer:
        """Return one plaintext."""
        start = number * self.stride
        return memoryview(self.buffer)[start : start + self.sizes[number]]


class Relayed(NamedTuple):
    """What went from one peer to another without the host; bytes are those of inner packets."""

    packets: int = 0
    inner_bytes: int = 0


class Detoured(NamedTuple):
    """What went through relays, sealed: of others through us, and of ours.

    Bytes are those of the datagrams.
    """

    carried_packets: int = 0
    carried_bytes: int = 0
    sent_packets: int = 0
    sent_bytes: int = 0


NOTHING_DETOURED: Final = Detoured()


class Arrivals(NamedTuple):
    """What came of the messages of a peer's session, by their counters, since the last look.

    `session` is its index here, `upcoming` one above the greatest counter. Those below
    `settled` were looked at: the newest wait for the next look, as they may have overtaken
    others. Of `sent` messages `came` so many; of very many the last count.
    """

    session: int
    settled: int
    upcoming: int
    sent: int
    came: int


class Deadline(NamedTuple):
    """When an engine wants to be woken, and why (for logs and tests)."""

    at: float
    why: str


# --- configuration: what may be asked of a running device (UAPI `set`, `wg set`) ---


class AllowedIPChange(NamedTuple):
    """Give a prefix to the peer (moving it from its owner), or take it away from this peer."""

    prefix: Prefix
    remove: bool = False


@dataclass(frozen=True, slots=True)
class PeerChange:
    """What is to change about one peer; None leaves a property as it is.

    `preshared_key` all zero and `persistent_keepalive` 0 (seconds) switch off.
    """

    public_key: PublicKey
    remove: bool = False
    update_only: bool = False
    preshared_key: Secret | None = None
    endpoint: Endpoint | None = None
    persistent_keepalive: int | None = None
    replace_allowed_ips: bool = False
    allowed_ips: Sequence[AllowedIPChange] = ()


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """What is to change about the device, applied as one; None leaves a property as it is.

    `private_key` all zero removes the identity; `listen_port` 0 chooses one; `fwmark` 0 is off.
    Peers are changed in the order given; a key may occur more than once.
    """

    private_key: Secret | None = None
    listen_port: int | None = None
    fwmark: int | None = None
    replace_peers: bool = False
    peers: Sequence[PeerChange] = ()


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One peer as it is; `last_handshake` is Unix time in seconds, 0.0 if never."""

    public_key: PublicKey
    preshared_key: Secret
    endpoint: Endpoint | None
    last_handshake: float
    rx_bytes: int
    tx_bytes: int
    persistent_keepalive: int
    allowed_ips: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device as it is; `listen_port` is the port in use, or the one asked for while down.

    `drops` are reasons and numbers; `data_path` says in words what carries the packets.
    `relayed` is None where packets of a peer for another are left to the host. `detoured` is
    what went through relays without being opened there.
    """

    private_key: Secret | None
    public_key: PublicKey | None
    listen_port: int
    fwmark: int
    peers: tuple[PeerStatus, ...]
    drops: tuple[tuple[str, int], ...] = ()
    data_path: str = ""
    relayed: Relayed | None = None
    detoured: Detoured = NOTHING_DETOURED
