"""The text of the UAPI: configuration of a running device over a stream, the device's end.

An operation is lines of `key=value` closed by an empty line; the first is `get=1` or `set=1`.
The answer ends with `errno=N` and an empty line (https://www.wireguard.com/xplatform/). Errors
of `set` go out negative, as wireguard-go sends them and `wg set` wants them; those of `get`
positive, since `wg show` takes digits only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from errno import EINVAL, EPROTO
from math import modf
from typing import Final, TypeAlias

from wgpy.errors import ConfigError
from wgpy.model import (
    AllowedIPChange,
    Buffer,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    PeerChange,
    PeerStatus,
    PublicKey,
    Secret,
)
from wgpy.wire.text import (
    format_endpoint,
    format_prefix,
    parse_endpoint,
    parse_hex_key,
    parse_number,
    parse_prefix,
)

MAX_LINE_SIZE: Final = 4096
_MAX_U16 = 2**16 - 1
_MAX_U32 = 2**32 - 1
_NANO = 10**9
_MAX_KEY_NAME = 32
DROP_KEY: Final = "wgpy_drop"
DATA_PATH_KEY: Final = "wgpy_data_path"
RELAYED_KEY: Final = "wgpy_relayed"


class Operation(Enum):
    """What a client asks for; the value is the first line."""

    GET = "get=1"
    SET = "set=1"


_OPERATIONS: Final = {operation.value.encode(): operation for operation in Operation}


class UapiError(ConfigError):
    """What the UAPI refuses; `errno` is the positive number to answer."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message, errno)


@dataclass(frozen=True, slots=True)
class GetRequest:
    """The client wants the state of the device."""


@dataclass(frozen=True, slots=True)
class SetRequest:
    """The client wants a change: the lines between `set=1` and the empty line."""

    lines: Sequence[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class BadRequest:
    """What is no request; answer `error.errno`.

    With `operation` None the stream is no UAPI: answer and close, the reader is deaf from here.
    Otherwise the stream goes on behind the empty line.
    """

    operation: Operation | None
    error: UapiError


Request: TypeAlias = GetRequest | SetRequest | BadRequest


class RequestReader:
    """The requests of one connection, from its bytes as they come.

    A line is bounded by MAX_LINE_SIZE; an operation is not, since a `set` of all allowed IPs of
    a large network has megabytes and only the owner of the socket can send it.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._operation: Operation | None = None
        self._lines: list[str] = []
        self._error: UapiError | None = None
        self._is_deaf = False

    def feed(self, data: Buffer) -> list[Request]:
        """Take what has arrived, of any length; return the requests that it completes."""
        if self._is_deaf:
            return []
        lines = (self._tail + bytes(data)).split(b"\n")
        # One byte over the limit is kept, so that the line is still too long when it ends.
        self._tail = lines.pop()[: MAX_LINE_SIZE + 1]
        requests: list[Request] = []
        for line in lines:
            if self._operation is not None:
                if line:
                    self._collect(line)
                else:
                    requests.append(self._close(self._operation))
            elif line in _OPERATIONS:
                self._operation = _OPERATIONS[line]
            elif line:
                self._is_deaf = True
                error = UapiError(EPROTO, "line 1: neither get=1 nor set=1")
                requests.append(BadRequest(None, error))
                break
        return requests

    def _collect(self, line: bytes) -> None:
        if self._error is not None:
            return
        if len(line) > MAX_LINE_SIZE:
            self._refuse(EPROTO, f"longer than {MAX_LINE_SIZE} bytes")
        elif b"\0" in line:
            self._refuse(EPROTO, "a NUL byte")
        elif self._operation is Operation.GET:
            self._refuse(EINVAL, "get=1 is followed by an empty line")
        else:
            try:
                self._lines.append(line.decode())
            except UnicodeDecodeError:
                self._refuse(EPROTO, "not UTF-8")

    def _refuse(self, errno: int, why: str) -> None:
        self._error = UapiError(errno, f"line {len(self._lines) + 2}: {why}")
        self._lines = []

    def _close(self, operation: Operation) -> Request:
        lines, error = self._lines, self._error
        self._operation, self._lines, self._error = None, [], None
        if error is not None:
            return BadRequest(operation, error)
        return SetRequest(tuple(lines)) if operation is Operation.SET else GetRequest()


# --- set ---


@dataclass(slots=True)
class _PeerDraft:
    public_key: PublicKey
    remove: bool = False
    update_only: bool = False
    preshared_key: Secret | None = None
    endpoint: Endpoint | None = None
    persistent_keepalive: int | None = None
    replace_allowed_ips: bool = False
    allowed_ips: list[AllowedIPChange] = field(default_factory=list)

    def finish(self) -> PeerChange:
        return PeerChange(
            self.public_key,
            self.remove,
            self.update_only,
            self.preshared_key,
            self.endpoint,
            self.persistent_keepalive,
            self.replace_allowed_ips,
            tuple(self.allowed_ips),
        )


@dataclass(slots=True)
class _DeviceDraft:
    private_key: Secret | None = None
    listen_port: int | None = None
    fwmark: int | None = None
    replace_peers: bool = False
    peers: list[_PeerDraft] = field(default_factory=list)

    def finish(self) -> DeviceChange:
        return DeviceChange(
            self.private_key,
            self.listen_port,
            self.fwmark,
            self.replace_peers,
            tuple(peer.finish() for peer in self.peers),
        )


def parse_set(
    lines: Iterable[str], number_of: Callable[[str], int] | None = None
) -> DeviceChange:
    """Return the change that the lines of a SetRequest ask for; all of it or an error.

    A key given again replaces its value. `replace_allowed_ips` forgets what its section added
    before it. Properties of the device stand before the first peer. `number_of` tells the
    number of an interface by its name, raising OSError: zones of endpoints may be names.

    Raises:
        UapiError: EPROTO for a line without `=`, EINVAL for any other fault. The message names
            the line (`set=1` is line 1) and never repeats a key.
    """
    draft = _DeviceDraft()
    for number, line in enumerate(lines, 2):
        key, equals, value = line.partition("=")
        if not equals:
            raise UapiError(EPROTO, f"line {number}: no key=value")
        try:
            if key == "public_key":
                draft.peers.append(_PeerDraft(PublicKey(parse_hex_key(value))))
            elif draft.peers:
                _read_peer_line(draft.peers[-1], key, value, number_of)
            else:
                _read_device_line(draft, key, value)
        except ConfigError as error:
            raise UapiError(EINVAL, f"line {number}: {_name(key)}: {error}") from None
    return draft.finish()


def _read_device_line(draft: _DeviceDraft, key: str, value: str) -> None:
    match key:
        case "private_key":
            draft.private_key = Secret(parse_hex_key(value))
        case "listen_port":
            draft.listen_port = parse_number(value, _MAX_U16)
        case "fwmark":
            draft.fwmark = parse_number(value, _MAX_U32)
        case "replace_peers":
            draft.replace_peers = _parse_true(value)
        case _:
            raise ConfigError("no property of a device")


def _read_peer_line(
    draft: _PeerDraft, key: str, value: str, number_of: Callable[[str], int] | None
) -> None:
    match key:
        case "allowed_ip":
            remove = value.startswith("-")
            prefix = parse_prefix(value[1:] if remove else value)
            draft.allowed_ips.append(AllowedIPChange(prefix, remove))
        case "remove":
            draft.remove = _parse_true(value)
        case "update_only":
            draft.update_only = _parse_true(value)
        case "preshared_key":
            draft.preshared_key = Secret(parse_hex_key(value))
        case "endpoint":
            draft.endpoint = parse_endpoint(value, number_of)
        case "persistent_keepalive_interval":
            draft.persistent_keepalive = parse_number(value, _MAX_U16)
        case "replace_allowed_ips":
            draft.replace_allowed_ips = _parse_true(value)
            draft.allowed_ips.clear()
        case "protocol_version":
            if value != "1":
                raise ConfigError("the only version is 1")
        case _:
            raise ConfigError("no property of a peer")


def _parse_true(value: str) -> bool:
    if value != "true":
        raise ConfigError("the only value is true")
    return True


def _name(key: str) -> str:
    """Return what stands before `=`, unless it may be a secret in the wrong place."""
    is_name = key.isidentifier() and key.isascii() and len(key) <= _MAX_KEY_NAME
    return key if is_name else "unknown key"


# --- answers ---


def format_errno(errno: int, operation: Operation | None) -> bytes:
    """Return the answer that says how an operation ended.

    `errno` is positive, 0 for success. `operation` is None if the request was none.
    """
    return f"errno={-errno if operation is Operation.SET else errno}\n\n".encode()


def format_get(status: DeviceStatus) -> bytes:
    """Return the answer to a `get`, in the order of wireguard-go.

    What carries the packets, what was relayed (packets, a blank, bytes) and what was dropped (a
    count, a blank, the reason) follow the device's properties under keys of our own, which `wg`
    passes over.
    """
    lines: list[str] = []
    if status.private_key is not None and not status.private_key.is_zero:
        lines.append(f"private_key={status.private_key.reveal().hex()}")
    if status.listen_port:
        lines.append(f"listen_port={status.listen_port}")
    if status.fwmark:
        lines.append(f"fwmark={status.fwmark}")
    if status.data_path:
        lines.append(f"{DATA_PATH_KEY}={status.data_path}")
    if status.relayed is not None:
        packets, size = status.relayed
        lines.append(f"{RELAYED_KEY}={packets} {size}")
    lines += [f"{DROP_KEY}={count} {reason}" for reason, count in status.drops]
    for peer in status.peers:
        lines += _peer_status_lines(peer)
    lines.append("errno=0")
    return ("\n".join(lines) + "\n\n").encode()


def _peer_status_lines(peer: PeerStatus) -> list[str]:
    fraction, seconds = modf(peer.last_handshake)
    nanoseconds = min(round(fraction * _NANO), _NANO - 1)
    lines = [
        f"public_key={peer.public_key.hex()}",
        f"preshared_key={peer.preshared_key.reveal().hex()}",
        "protocol_version=1",
    ]
    if peer.endpoint is not None:
        lines.append(f"endpoint={format_endpoint(peer.endpoint)}")
    lines += (
        f"last_handshake_time_sec={seconds:.0f}",
        f"last_handshake_time_nsec={nanoseconds}",
        f"tx_bytes={peer.tx_bytes}",
        f"rx_bytes={peer.rx_bytes}",
        f"persistent_keepalive_interval={peer.persistent_keepalive}",
    )
    lines += [f"allowed_ip={format_prefix(prefix)}" for prefix in peer.allowed_ips]
    return lines
