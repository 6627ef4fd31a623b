"""Pins on the disk: pins.json, and pins.json.bak, which is to say the same.

They are what a network stands on and cannot be learned anew from anybody who is trusted more,
so one damaged file costs none of them, and two cost only those that both have lost.
"""

import os
from collections.abc import Callable
from typing import Final

from netmgr.wire.saved import Pin, format_pins, parse_pins
from wgpy.io.process import write_whole

PINS: Final = "pins.json"
BACKUP: Final = "pins.json.bak"
CORRUPT: Final = "pins.json.corrupt"


class PinFiles:
    """The two files in a state directory; written one after the other, if there is news."""

    def __init__(self, directory: str) -> None:
        self._path, self._backup, self._corrupt = (
            os.path.join(directory, name) for name in (PINS, BACKUP, CORRUPT)
        )
        # What both files are known to hold.
        self._written: bytes | None = None

    def read(self, say: Callable[[str], None]) -> tuple[Pin, ...] | None:
        """Return the pins, as many as are left; None if there never were such files."""
        first, second = _read(self._path), _read(self._backup)
        if first is None and second is None:
            return None
        pins, whole = parse_pins(first or b"")
        if whole:
            self._written = first if first == second else None
            return pins
        fault = f"{self._path} is {_fault(first)}"
        others, whole = parse_pins(second or b"")
        if whole:
            say(f"{fault}; {_left(others)}, as {BACKUP} has them")
            return others
        pins += tuple(pin for pin in others if not any(_disagree(pin, one) for one in pins))
        say(
            f"{fault}, {BACKUP} is {_fault(second)}: pins were lost, {_left(pins)};"
            " the other names go to who is met first"
        )
        self._set_aside(first)
        return pins

    def write(self, pins: tuple[Pin, ...]) -> None:
        """Have both files hold these pins.

        Raises:
            OSError: one cannot be written; one of the two is whole at every moment.
        """
        content = format_pins(pins)
        if content != self._written:
            self._written = None
            write_whole(self._path, content)
            write_whole(self._backup, content)
            self._written = content

    def _set_aside(self, damaged: bytes | None) -> None:
        """Keep what a person may still read in it; the file itself is written anew."""
        if damaged:
            try:
                write_whole(self._corrupt, damaged)
            except OSError:
                return


def _fault(content: bytes | None) -> str:
    return "missing" if content is None else "damaged"


def _left(pins: tuple[Pin, ...]) -> str:
    return f"{len(pins)} {'pin is' if len(pins) == 1 else 'pins are'} left"


def _disagree(one: Pin, other: Pin) -> bool:
    """Tell whether two pins are the same, or give a name or an address to two identities."""
    if one.identity == other.identity:
        return one == other
    return one.name == other.name or bool(one.address and one.address == other.address)


def _read(path: str) -> bytes | None:
    """Return what a file holds, nothing if the disk does not give it."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError:
        return b""
