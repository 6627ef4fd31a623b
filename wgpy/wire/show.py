"""A running device for people, as `wg show` lays it out, and as JSON for programs.

JSON of `wgpy show --json`: one object, a member an interface, by name:

    public_key            base64, null without a private key
    listen_port           number
    fwmark                number, 0 is off
    data_path             what carries the packets, in words for people
    relayed               null unless it forwards; else an object of packets and bytes, which
                          went from peer to peer in process
    drops                 what was dropped: reason to number of packets or messages
    peers                 list, in the device's order, of
      public_key            base64
      has_preshared_key     true or false
      endpoint              "1.2.3.4:51820", "[2001:db8::1]:51820", null if unknown
      allowed_ips           list of "10.0.0.0/8"
      latest_handshake      Unix time, seconds with fraction; 0 if never
      rx_bytes, tx_bytes    numbers
      persistent_keepalive  seconds, 0 is off

Members may be added; these stay. Neither form shows private or preshared keys.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from wgpy.model import DeviceStatus, PeerStatus, Relayed
from wgpy.wire.text import format_endpoint, format_prefix

HIDDEN: Final = "(hidden)"
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024
_SPANS: Final = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))

# What a style does to a text; the identity where there is no colour.
Paint: TypeAlias = Callable[[str, str], str]
_CODES: Final = {"interface": "1;32", "peer": "1;33", "field": "1"}


def paint_ansi(style: str, text: str) -> str:
    """Return the text with the escapes of a terminal."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def paint_plain(_style: str, text: str) -> str:
    """Return the text."""
    return text


def format_human(name: str, device: DeviceStatus, wall_now: float, paint: Paint) -> str:
    """Return the lines of one interface; `wall_now` is Unix time in seconds.

    Peers come in the order of their latest handshake, as `wg show` has them.
    """
    blocks = [_block("interface", name, _device_fields(device), paint)]
    for peer in sorted(device.peers, key=lambda peer: -peer.last_handshake):
        fields = _peer_fields(peer, wall_now)
        blocks.append(_block("peer", str(peer.public_key), fields, paint))
    return "\n\n".join(blocks) + "\n"


def format_json(devices: Mapping[str, DeviceStatus]) -> str:
    """Return the object described above."""
    plain = {name: _plain_device(device) for name, device in devices.items()}
    return json.dumps(plain, indent=2) + "\n"


def _block(kind: str, name: str, fields: Sequence[tuple[str, str]], paint: Paint) -> str:
    width = max((len(field) for field, _ in fields), default=0) + 1
    lines = [f"{paint(kind, kind)}: {name}"]
    for field, text in fields:
        lines.append(f"  {paint('field', field)}{':':<{width - len(field)}} {text}")
    return "\n".join(lines)


def _device_fields(device: DeviceStatus) -> list[tuple[str, str]]:
    fields = []
    if device.public_key is not None:
        fields.append(("public key", str(device.public_key)))
    if device.private_key is not None:
        fields.append(("private key", HIDDEN))
    if device.listen_port:
        fields.append(("listening port", str(device.listen_port)))
    if device.fwmark:
        fields.append(("fwmark", f"{device.fwmark:#x}"))
    if device.data_path:
        fields.append(("data path", device.data_path))
    if device.relayed is not None:
        packets, size = device.relayed
        told = f"{packets} packets, {format_size(size)}, from peer to peer"
        fields.append(("forwarding", told))
    for reason, count in sorted(device.drops, key=lambda drop: -drop[1]):
        fields.append(("dropped", f"{count}: {reason}"))
    return fields


def _peer_fields(peer: PeerStatus, wall_now: float) -> list[tuple[str, str]]:
    allowed = ", ".join(map(format_prefix, peer.allowed_ips)) or "(none)"
    fields = []
    if not peer.preshared_key.is_zero:
        fields.append(("preshared key", HIDDEN))
    if peer.endpoint is not None:
        fields.append(("endpoint", format_endpoint(peer.endpoint)))
    fields.append(("allowed ips", allowed))
    ago = format_ago(wall_now - peer.last_handshake) if peer.last_handshake else "never"
    fields.append(("latest handshake", ago))
    if peer.rx_bytes or peer.tx_bytes:
        rx, tx = format_size(peer.rx_bytes), format_size(peer.tx_bytes)
        fields.append(("transfer", f"{rx} received, {tx} sent"))
    if peer.persistent_keepalive:
        every = _format_span(peer.persistent_keepalive)
        fields.append(("persistent keepalive", f"every {every}"))
    return fields


def format_size(size: int) -> str:
    """Return a number of bytes in a unit that keeps it short."""
    if size < _STEP:
        return f"{size} B"
    amount, unit = size / _STEP, 0
    while amount >= _STEP and unit + 1 < len(_UNITS):
        amount, unit = amount / _STEP, unit + 1
    return f"{amount:.2f} {_UNITS[unit]}"


def format_ago(seconds: float) -> str:
    """Return how long ago something was."""
    if seconds < 0:
        return "in the future: the clock was set back"
    if seconds < 1:
        return "now"
    return _format_span(int(seconds)) + " ago"


def _format_span(seconds: int) -> str:
    parts = []
    for name, size in _SPANS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}{'s' if count > 1 else ''}")
    return ", ".join(parts)


def _plain_device(device: DeviceStatus) -> dict[str, object]:
    key = device.public_key
    return {
        "public_key": None if key is None else str(key),
        "listen_port": device.listen_port,
        "fwmark": device.fwmark,
        "data_path": device.data_path,
        "relayed": _plain_relayed(device.relayed),
        "drops": dict(device.drops),
        "peers": [_plain_peer(peer) for peer in device.peers],
    }


def _plain_relayed(relayed: Relayed | None) -> dict[str, int] | None:
    if relayed is None:
        return None
    return {"packets": relayed.packets, "bytes": relayed.inner_bytes}


def _plain_peer(peer: PeerStatus) -> dict[str, object]:
    return {
        "public_key": str(peer.public_key),
        "has_preshared_key": not peer.preshared_key.is_zero,
        "endpoint": None if peer.endpoint is None else format_endpoint(peer.endpoint),
        "allowed_ips": [format_prefix(block) for block in peer.allowed_ips],
        "latest_handshake": peer.last_handshake,
        "rx_bytes": peer.rx_bytes,
        "tx_bytes": peer.tx_bytes,
        "persistent_keepalive": peer.persistent_keepalive,
    }
