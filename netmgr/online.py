"""What is asked of a running node, and how its answers are shown."""

import json
import os
import select
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from netmgr.io.control_client import call
from netmgr.model import Snapshot
from netmgr.ui import present
from netmgr.wire.choices import choice
from netmgr.wire.ipc import snapshot_from_plain
from wgpy.io import clock

VIEWS: Final = ("status", "peers", "routes", "fingerprints")
EVERY: Final = 2.0
_TENTHS: Final = 10
_CLEAR: Final = "\x1b[H\x1b[2J"


def view(name: str, interface: str | None, *, as_json: bool, watch: bool) -> int:
    """Show one view of a node, once or until it is interrupted; return the exit code.

    Raises:
        ConfigError: no node answers.
    """
    paint = present.paint_ansi if in_colour() else present.paint_plain
    while True:
        plain = ask(interface, "snapshot", {})
        text = as_text(name, plain, paint, as_json=as_json)
        clear = _CLEAR if watch and sys.stdout.isatty() else ""
        sys.stdout.write(clear + text)
        sys.stdout.flush()
        if not watch:
            return 0
        select.select([], [], [], EVERY)


def as_text(
    name: str, plain: Mapping[str, object], paint: present.Paint, *, as_json: bool
) -> str:
    """Return one view of what a node answered.

    Raises:
        ConfigError: it is no snapshot.
    """
    snapshot = snapshot_from_plain(plain)
    if as_json:
        return json.dumps(_part(name, snapshot, plain)) + "\n"
    wall_now = clock.now() + clock.wall_offset()
    match name:
        case "status":
            return present.status(snapshot, wall_now, paint)
        case "peers":
            return present.peers(snapshot, wall_now, paint)
        case "routes":
            return present.routes(snapshot, paint)
        case _:
            return present.fingerprints(snapshot, paint)


def _part(name: str, snapshot: Snapshot, plain: Mapping[str, object]) -> object:
    match name:
        case "status":
            return {**plain, "routes": _routes(snapshot)}
        case "routes":
            return _routes(snapshot)
        case "fingerprints":
            found = {peer.name: peer.fingerprint for peer in snapshot.peers}
            return {snapshot.name: snapshot.fingerprint, **found}
        case _:
            return plain.get(name, [])


def _routes(snapshot: Snapshot) -> list[dict[str, object]]:
    """Return the routes for programs, with the cost in ms."""
    found = []
    for route in snapshot.routes:
        plain = asdict(route)
        plain["cost_ms"] = plain.pop("cost") / _TENTHS
        found.append(plain)
    return found


def tell(verb: str, interface: str | None, arguments: Mapping[str, str]) -> int:
    """Tell a node to do something; say what it answers; return the exit code.

    Raises:
        ConfigError: no node answers, or it refuses.
    """
    message = ask(interface, verb, arguments).get("message")
    if isinstance(message, str) and message:
        sys.stdout.write(
            "".join(each if each.isprintable() else "?" for each in message) + "\n"
        )
    return 0


def asked(interface: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the interface of the node that is asked; None if it is the only one."""
    return interface or environ.get(choice("interface").variable) or None


def ask(interface: str | None, verb: str, arguments: Mapping[str, str]) -> Mapping[str, object]:
    """Return what a node answers; without an interface the only one is asked.

    Raises:
        ConfigError: no node answers, or it refuses.
    """
    result: object = call(interface, verb, dict(arguments))
    return result if isinstance(result, dict) else {}


def in_colour(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether output is for a terminal that shows colour (no-color.org)."""
    return sys.stdout.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
