"""The client's end of the UAPI: what asks a device, and what reads its answer.

The device may be another program: what it says beyond the known keys is passed over.
An answer is complete when it ends with an empty line (https://www.wireguard.com/xplatform/).
"""

from collections.abc import Mapping, Sequence
from errno import EPROTO, errorcode
from typing import Final, TypeAlias

from wgpy.errors import ConfigError
from wgpy.model import (
    NO_KEY,
    Buffer,
    DeviceChange,
    DeviceStatus,
    PeerChange,
    PeerStatus,
    PublicKey,
    Relayed,
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
from wgpy.wire.uapi import DATA_PATH_KEY, DROP_KEY, RELAYED_KEY, Operation, UapiError

GET: Final = f"{Operation.GET.value}\n\n".encode()
_MAX_U16 = 2**16 - 1
_MAX_U32 = 2**32 - 1
_MAX_U64 = 2**64 - 1
_NANO = 10**9

_Section: TypeAlias = Mapping[str, Sequence[str]]


def format_set(change: DeviceChange) -> bytes:
    """Return the whole `set` operation; `parse_set` of its lines is the change again."""
    lines = [Operation.SET.value]
    if change.private_key is not None:
        lines.append(f"private_key={change.private_key.reveal().hex()}")
    if change.listen_port is not None:
        lines.append(f"listen_port={change.listen_port}")
    if change.fwmark is not None:
        lines.append(f"fwmark={change.fwmark}")
    if change.replace_peers:
        lines.append("replace_peers=true")
    for peer in change.peers:
        lines += _peer_change_lines(peer)
    return ("\n".join(lines) + "\n\n").encode()


def _peer_change_lines(peer: PeerChange) -> list[str]:
    lines = [f"public_key={peer.public_key.hex()}"]
    if peer.remove:
        lines.append("remove=true")
    if peer.update_only:
        lines.append("update_only=true")
    if peer.preshared_key is not None:
        lines.append(f"preshared_key={peer.preshared_key.reveal().hex()}")
    if peer.endpoint is not None:
        lines.append(f"endpoint={format_endpoint(peer.endpoint)}")
    if peer.persistent_keepalive is not None:
        lines.append(f"persistent_keepalive_interval={peer.persistent_keepalive}")
    if peer.replace_allowed_ips:
        lines.append("replace_allowed_ips=true")
    for prefix, remove in peer.allowed_ips:
        lines.append(f"allowed_ip={'-' if remove else ''}{format_prefix(prefix)}")
    return lines


def parse_set_answer(answer: Buffer) -> None:
    """Check the answer to a `set`, from its first byte to the empty line.

    Raises:
        UapiError: the device refused, or EPROTO if this is no answer.
    """
    _answer_lines(answer)


def parse_get(answer: Buffer) -> DeviceStatus:
    """Return the state that a device gives, from the first byte to the empty line.

    Keys that are not known are passed over. The public key is None unless the device names it
    (boringtun does, in the place of the private key).

    Raises:
        UapiError: the device refused, or EPROTO if this is no answer.
    """
    sections: list[dict[str, list[str]]] = [{}]
    for line in _answer_lines(answer):
        key, _, value = line.partition("=")
        if key == "public_key":
            sections.append({})
        sections[-1].setdefault(key, []).append(value)
    try:
        device = sections[0]
        return DeviceStatus(
            _secret(device, "private_key"),
            _public_key(device, "own_public_key"),
            _number(device, "listen_port", _MAX_U16),
            _number(device, "fwmark", _MAX_U32),
            tuple(_peer_status(section) for section in sections[1:]),
            tuple(map(_drop, device.get(DROP_KEY, ()))),
            device.get(DATA_PATH_KEY, [""])[-1],
            _relayed(device[RELAYED_KEY][-1]) if RELAYED_KEY in device else None,
        )
    except ConfigError as error:
        raise UapiError(EPROTO, f"the device answers what is no state: {error}") from None


def _peer_status(section: _Section) -> PeerStatus:
    endpoint = section.get("endpoint")
    seconds = _number(section, "last_handshake_time_sec", _MAX_U64)
    nanoseconds = _number(section, "last_handshake_time_nsec", _NANO - 1)
    return PeerStatus(
        PublicKey(parse_hex_key(section["public_key"][-1])),
        _secret(section, "preshared_key") or NO_KEY,
        parse_endpoint(endpoint[-1]) if endpoint else None,
        seconds + nanoseconds / _NANO,
        _number(section, "rx_bytes", _MAX_U64),
        _number(section, "tx_bytes", _MAX_U64),
        _number(section, "persistent_keepalive_interval", _MAX_U16),
        tuple(parse_prefix(text) for text in section.get("allowed_ip", ())),
    )


def _drop(text: str) -> tuple[str, int]:
    count, _, reason = text.partition(" ")
    return reason, parse_number(count, _MAX_U64)


def _relayed(text: str) -> Relayed:
    packets, _, size = text.partition(" ")
    return Relayed(parse_number(packets, _MAX_U64), parse_number(size, _MAX_U64))


def _secret(section: _Section, key: str) -> Secret | None:
    return Secret(parse_hex_key(section[key][-1])) if key in section else None


def _public_key(section: _Section, key: str) -> PublicKey | None:
    return PublicKey(parse_hex_key(section[key][-1])) if key in section else None


def _number(section: _Section, key: str, most: int) -> int:
    return parse_number(section[key][-1], most) if key in section else 0


def _answer_lines(answer: Buffer) -> list[str]:
    """Return the lines before `errno=0`."""
    try:
        *lines, status, end, rest = bytes(answer).decode().split("\n")
    except ValueError:
        raise UapiError(EPROTO, "the device answers no text, or not to the end") from None
    key, _, number = status.partition("=")
    if key != "errno" or end or rest:
        raise UapiError(EPROTO, "the answer of the device does not end with its errno")
    try:
        errno = parse_number(number.removeprefix("-"), _MAX_U32)
    except ConfigError as error:
        raise UapiError(EPROTO, f"the errno that the device answers: {error}") from None
    if errno:
        raise UapiError(errno, f"the device refuses: {errorcode.get(errno, errno)}")
    return lines
