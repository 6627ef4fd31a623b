"""What a node remembers between two runs, as JSON: state.json and pins.json.

state.json is one object; entries that cannot be read are passed over, and so are fields that
are not known:

    version   1
    seq       greatest sequence number that may have been used; first, so that what is left of
              a damaged file still tells it
    objects   list of signed objects
    places    list of [identity, [endpoint, ...]], best first
    wall      Unix time that no handshake of this node is stamped after, seconds
    pins      list of {name, address, identity, how}: read where it is, not written any more

pins.json is one object too, {version, pins}, with each pin on a line of its own that ends with
the CRC-32 of the rest: of a damaged file all lines that are whole count.

Bytes are base64, addresses and endpoints are in digits.
"""

import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from netmgr.model import ID_SIZE
from wgpy.errors import ConfigError
from wgpy.model import Endpoint
from wgpy.wire.text import format_address, format_endpoint, parse_address, parse_endpoint

VERSION: Final = 1
MAX_PLACES: Final = 8
MAX_SEQ: Final = 2**63 - 1
# The year 2500: a clock that was that wrong once is not to be followed for ever.
MAX_WALL: Final = 16_725_225_600
HOW: Final = ("file", "met", "person", "replaced")
_SEQ: Final = re.compile(rb'"seq"\s*:\s*(\d{1,19})\b')

_T = TypeVar("_T")


class Pin(NamedTuple):
    """A name and an overlay address that belong to an identity, and who says so.

    `how` is file (network.yaml), met (a session with it) or person (`pin`, `accept`); replaced
    is who lost both to another. Without an address, which is b"", only the name is pinned.
    """

    name: str
    address: bytes
    identity: bytes
    how: str


@dataclass(frozen=True, slots=True)
class Saved:
    """State of one node in one network.

    `objects` are signed and stay as they came; `places` are where nodes were last reached, by
    identity, best first. Handshakes of the next run are stamped after `wall`, in Unix time.
    """

    seq: int = 0
    pins: tuple[Pin, ...] = ()
    objects: tuple[bytes, ...] = ()
    places: tuple[tuple[bytes, tuple[Endpoint, ...]], ...] = ()
    wall: int = 0


def format_saved(saved: Saved) -> bytes:
    """Return the state as JSON, all but the pins.

    Places with a scope are left out: the number of an interface does not outlive a restart.
    """
    value = {
        "version": VERSION,
        "seq": saved.seq,
        "objects": [_base64(each) for each in saved.objects],
        "places": [
            [_base64(identity), [format_endpoint(each) for each in _lasting(endpoints)]]
            for identity, endpoints in saved.places
        ],
        "wall": saved.wall,
    }
    return json.dumps(value, indent=1).encode() + b"\n"


def parse_saved(raw: bytes) -> Saved:
    """Return the state that `format_saved` wrote.

    Raises:
        ConfigError: it is none, or of another version; one line.
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise ConfigError("it is no JSON") from None
    if not isinstance(value, dict):
        raise ConfigError("it is no JSON object")
    version, seq = value.get("version"), value.get("seq")
    if version != VERSION:
        raise ConfigError(f"it is of version {str(version)[:20]!r}, not {VERSION}")
    if not isinstance(seq, int) or not 0 <= seq <= MAX_SEQ:
        raise ConfigError("it holds no sequence number")
    return Saved(
        seq,
        tuple(_readable(value.get("pins"), _pin)),
        tuple(_readable(value.get("objects"), _bytes)),
        tuple(_readable(value.get("places"), _place)),
        _wall(value.get("wall")),
    )


def format_pins(pins: tuple[Pin, ...]) -> bytes:
    """Return pins as JSON, with a line for each."""
    head = f'{{"version": {VERSION}, "pins": [\n'
    return (head + ",\n".join(map(_line, pins)) + "\n]}\n").encode()


def parse_pins(raw: bytes) -> tuple[tuple[Pin, ...], bool]:
    """Return the pins that can be read, and whether these are all that were written."""
    lines = (line.removesuffix(",") for line in raw.decode("ascii", "replace").split("\n"))
    pins = tuple(_readable(list(lines), _checked))
    return pins, format_pins(pins) == raw


def salvage_seq(raw: bytes) -> int:
    """Return the sequence number that a damaged file still tells, 0 if it tells none."""
    match = _SEQ.search(raw)
    return min(int(match[1]), MAX_SEQ) if match else 0


def _lasting(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    return tuple(each for each in endpoints if not each.scope)[:MAX_PLACES]


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode()


def _readable(entries: object, read: Callable[[object], _T]) -> Iterator[_T]:
    for entry in entries if isinstance(entries, list) else []:
        try:
            yield read(entry)
        except (ConfigError, ValueError, LookupError, TypeError, RecursionError):
            continue


def _line(pin: Pin) -> str:
    value = {
        "name": pin.name,
        "address": format_address(pin.address) if pin.address else "",
        "identity": _base64(pin.identity),
        "how": pin.how,
    }
    check = zlib.crc32(json.dumps(value).encode())
    return json.dumps({**value, "check": f"{check:08x}"})


def _checked(line: object) -> Pin:
    """Return the pin on a line, of which no byte has changed."""
    pin = _pin(json.loads(_text(line)))
    if _line(pin) != line:
        raise ValueError("damaged")
    return pin


def _pin(entry: object) -> Pin:
    if not isinstance(entry, dict):
        raise TypeError("object expected")
    name, address, how = _text(entry["name"]), _text(entry["address"]), _text(entry["how"])
    if not name or how not in HOW:
        raise ValueError("no pin")
    packed = parse_address(address) if address else b""
    return Pin(name, packed, _identity(entry["identity"]), how)


def _place(entry: object) -> tuple[bytes, tuple[Endpoint, ...]]:
    if not isinstance(entry, list):
        raise TypeError("list expected")
    identity, endpoints = entry
    places = tuple(_readable(endpoints, lambda each: parse_endpoint(_text(each))))
    return _identity(identity), places[:MAX_PLACES]


def _wall(entry: object) -> int:
    return entry if isinstance(entry, int) and 0 <= entry <= MAX_WALL else 0


def _identity(entry: object) -> bytes:
    raw = _bytes(entry)
    if len(raw) != ID_SIZE:
        raise ValueError("no identity")
    return raw


def _bytes(entry: object) -> bytes:
    return b64decode(_text(entry), validate=True)


def _text(entry: object) -> str:
    if not isinstance(entry, str):
        raise TypeError("text expected")
    return entry
