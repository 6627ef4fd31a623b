"""An object file to one piece of memory that runs wherever it is mapped (ELF-64, System V ABI).

The kernels call nothing and hold no address: their object is code, constants, and distances
between the two. Filling in the distances once makes an image that needs no linker and no LLVM
in the process that runs it. Anything else in an object is refused.

An image is, little-endian:

    magic      8  names the format
    digest    32  SHA-256 of what follows
    entries   32  where each of `ENTRIES` begins in the code, u64 each
    code          what is mapped, at the start of a page
"""

import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

ENTRIES: Final = ("seal", "open", "split", "join")
_MAGIC: Final = b"wgpyimg2"
_HEAD: Final = struct.Struct("<8s32s")
_WHERE: Final = struct.Struct("<4Q")
# Wide enough for the widest vector.
_ALIGNMENT: Final = 64

_FILE_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_RELOCATION: Final = struct.Struct("<QQq")
_ELF: Final = b"\x7fELF\x02\x01"
_PROGBITS: Final = 1
_SYMTAB: Final = 2
_RELA: Final = 4
_ALLOC: Final = 2


class BadImage(Exception):
    """An object or an image is not what the kernels can use; says why."""


class Image(NamedTuple):
    """Code to map, and where in it each of `ENTRIES` begins."""

    code: bytes
    entries: tuple[int, ...]


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    applies_to: int
    alignment: int
    entry_size: int


def encode(image: Image) -> bytes:
    """Return the bytes that `decode` takes."""
    body = _WHERE.pack(*image.entries) + image.code
    return _HEAD.pack(_MAGIC, sha256(body).digest()) + body


def decode(raw: bytes) -> Image:
    """Return the image of `encode`.

    Raises:
        BadImage: it is damaged, or of another format.
    """
    body = raw[_HEAD.size :]
    if len(body) < _WHERE.size or raw[: _HEAD.size] != _HEAD.pack(
        _MAGIC, sha256(body).digest()
    ):
        raise BadImage("damaged image")
    return Image(body[_WHERE.size :], _WHERE.unpack_from(body))


def link(raw: bytes) -> Image:
    """Return the image of an object file.

    Raises:
        BadImage: it refers to something outside itself, or in a way not known here.
    """
    if raw[: len(_ELF)] != _ELF:
        raise BadImage("not an object of this kind of machine")
    header = _FILE_HEADER.unpack_from(raw)
    machine, table, count = header[2], header[6], header[12]
    sections = [
        _Section(*_SECTION.unpack_from(raw, table + index * _SECTION.size))
        for index in range(count)
    ]
    names = sections[header[13]]
    code, places = bytearray(), {}
    for index, section in enumerate(sections):
        if _is_wanted(section, _text(raw, names, section.name)):
            code += bytes(-len(code) % max(_ALIGNMENT, section.alignment))
            places[index] = len(code)
            code += raw[section.offset : section.offset + section.size]
    symbols = _Symbols(raw, sections, places)
    for section in sections:
        if section.kind == _RELA and section.applies_to in places:
            for offset, kind, symbol, addend in _relocations(raw, section):
                place = places[section.applies_to] + offset
                _relocate(code, (machine, kind), place, symbols.place(symbol) + addend)
    return Image(bytes(code), tuple(symbols.named(name) for name in ENTRIES))


def _text(raw: bytes, table: _Section, offset: int) -> bytes:
    start = table.offset + offset
    return raw[start : raw.index(b"\0", start)]


def _is_wanted(section: _Section, name: bytes) -> bool:
    """Tell code and constants from the rest; nothing unwinds through the kernels."""
    if section.kind != _PROGBITS or not section.flags & _ALLOC or not section.size:
        return False
    if name == b".eh_frame":
        return False
    if not name.startswith((b".text", b".rodata")):
        raise BadImage(f"section {name.decode(errors='replace')}")
    return True


def _relocations(raw: bytes, section: _Section) -> Iterator[tuple[int, int, int, int]]:
    end = section.offset + section.size
    for at in range(section.offset, end, _RELOCATION.size):
        offset, info, addend = _RELOCATION.unpack_from(raw, at)
        yield offset, info & 0xFFFFFFFF, info >> 32, addend


class _Symbols:
    """The symbols of an object, by number and by name, as places in the image."""

    def __init__(self, raw: bytes, sections: list[_Section], places: dict[int, int]) -> None:
        table = next((each for each in sections if each.kind == _SYMTAB), None)
        if table is None:
            raise BadImage("no symbols")
        self._places: list[int | None] = []
        self._named: dict[bytes, int] = {}
        for at in range(table.offset, table.offset + table.size, _SYMBOL.size):
            name, _, _, section, value, _ = _SYMBOL.unpack_from(raw, at)
            place = places[section] + value if section in places else None
            self._places.append(place)
            if place is not None:
                self._named[_text(raw, sections[table.link], name)] = place

    def place(self, number: int) -> int:
        place = self._places[number]
        if place is None:
            raise BadImage("an address outside the object")
        return place

    def named(self, name: str) -> int:
        place = self._named.get(name.encode())
        if place is None:
            raise BadImage(f"no {name}")
        return place


_WORD: Final = struct.Struct("<I")
_DISTANCE: Final = struct.Struct("<i")
_PAGE_BITS: Final = 12


def _relocate(code: bytearray, kind: tuple[int, int], place: int, target: int) -> None:
    """Fill in one distance; `kind` is the machine (e_machine) and the type of relocation."""
    match kind:
        # R_X86_64_PC32, R_X86_64_PLT32
        case (62, 2 | 4):
            _DISTANCE.pack_into(code, place, target - place)
        # R_AARCH64_ADR_PREL_PG_HI21
        case (183, 275):
            pages = (target >> _PAGE_BITS) - (place >> _PAGE_BITS)
            _or_into(code, place, (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5)
        # R_AARCH64_LDST128_ABS_LO12_NC
        case (183, 299):
            _or_into(code, place, (target & 0xFFF) >> 4 << 10)
        case _:
            raise BadImage(f"relocation {kind[1]} of machine {kind[0]}")


def _or_into(code: bytearray, place: int, bits: int) -> None:
    _WORD.pack_into(code, place, _WORD.unpack_from(code, place)[0] | bits)
