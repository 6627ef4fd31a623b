"""One snapshot of a node for people: rows, aligned tables, words and units.

A column that is a number stands right; colour is put on after the widths are known, by a
`Paint`, the identity where there is no terminal.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from netmgr.model import ConflictView, PeerView, Snapshot

# What a style does to a text.
Paint: TypeAlias = Callable[[str, str], str]

_CODES: Final = {"head": "1", "good": "32", "fair": "33", "bad": "31", "field": "1"}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024
_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_MILLISECONDS: Final = 1000
_TENTHS: Final = 10
_LOSS_SHOWN: Final = 0.005
_STYLES: Final = {"direct": "good", "lan": "good", "relayed": "fair"}
_TRUST: Final = {
    "file": "pinned in network.yaml",
    "person": "pinned here by hand",
    "met": "met, pinned here",
    "heard": "only heard of",
}
_NO_PEERS: Final = "no other node is known yet\n"
_NO_ROUTES: Final = "no route yet\n"


def paint_ansi(style: str, text: str) -> str:
    """Return the text with the escapes of a terminal."""
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style in _CODES else text


def paint_plain(_style: str, text: str) -> str:
    """Return the text."""
    return text


def status(snapshot: Snapshot, wall_now: float, paint: Paint) -> str:
    """Return the node, then its peers; `wall_now` is Unix time in seconds."""
    reached = sum(peer.reachable for peer in snapshot.peers)
    left = sum(peer.left for peer in snapshot.peers)
    nodes = f"{reached} of {len(snapshot.peers) - left} reached"
    rows = [
        ("name", snapshot.name),
        ("address", f"{snapshot.address}, {snapshot.address6}"),
        ("subnet", snapshot.subnet),
        ("fingerprint", snapshot.fingerprint),
        ("public key", snapshot.public_key),
        ("interface", f"{snapshot.interface}, port {snapshot.listen_port}"),
        ("up", span(snapshot.uptime)),
        ("data path", snapshot.data_path),
        ("static peers", ", ".join(snapshot.seeds)),
        ("nodes", f"{nodes}, {left} left" if left else nodes),
    ]
    rows += [("refused by", f"{each.text}: {each.todo}") for each in snapshot.refusals]
    rows += [("refused", _conflict(each)) for each in snapshot.conflicts]
    drops = sorted(snapshot.drops, key=lambda drop: -drop[1])
    rows += [("dropped", f"{count}: {reason}") for reason, count in drops if count]
    filled = [row for row in rows if row[1].strip(", ")]
    width = max(len(name) for name, _ in filled) + 1
    lines = [
        f"{paint('field', name + ':')}{' ' * (width - len(name))}{_clean(text)}"
        for name, text in filled
    ]
    return "\n".join(lines) + "\n\n" + peers(snapshot, wall_now, paint)


def peers(snapshot: Snapshot, wall_now: float, paint: Paint) -> str:
    """Return a line for each other node: where it is, how it is reached, how well."""
    if not snapshot.peers:
        return _NO_PEERS
    head = (
        "NAME",
        "ADDRESS",
        "PATH",
        "RTT",
        "LOSS",
        "HANDSHAKE",
        "RECEIVED",
        "SENT",
        "ENDPOINT",
    )
    found = sorted(snapshot.peers, key=lambda peer: (not peer.reachable, peer.name))
    rows = [
        (
            peer.name,
            peer.address,
            path(peer),
            round_trip(peer.rtt),
            share(peer.loss),
            ago(wall_now - peer.last_handshake) if peer.last_handshake else "never",
            size(peer.rx_bytes),
            size(peer.tx_bytes),
            peer.endpoint or "-",
        )
        for peer in found
    ]
    styles = [
        _STYLES.get(peer.path, "") if peer.reachable or peer.left else "bad" for peer in found
    ]
    return table(head, rows, "lllrrrrrl", styles, paint)


def routes(snapshot: Snapshot, paint: Paint) -> str:
    """Return a line for each destination: through whom, how far; then what cannot be."""
    unheard = "".join(
        paint("bad", _clean(f"{each}: no node of that name was ever heard of")) + "\n"
        for each in snapshot.unheard
    )
    if not snapshot.routes:
        return unheard or _NO_ROUTES
    head = ("DESTINATION", "KIND", "TO", "THROUGH", "COST")
    rows = [
        (
            route.destination,
            route.kind,
            route.to or "nobody",
            (" > ".join(route.path) or "direct") if route.to else "not reached",
            f"{route.cost / _TENTHS:.1f} ms" if route.to else "-",
        )
        for route in snapshot.routes
    ]
    styles = [
        ("fair" if route.path else "good") if route.to else "bad" for route in snapshot.routes
    ]
    return table(head, rows, "llllr", styles, paint) + unheard


def fingerprints(snapshot: Snapshot, paint: Paint) -> str:
    """Return a line for each node: its fingerprint, and why it is believed."""
    head = ("NAME", "ADDRESS", "FINGERPRINT", "TRUST")
    rows = [(snapshot.name, snapshot.address, snapshot.fingerprint, "this node")]
    styles = ["good"]
    for peer in sorted(snapshot.peers, key=lambda peer: peer.name):
        trust = _TRUST.get(peer.trust, peer.trust)
        rows.append((peer.name, peer.address, peer.fingerprint, trust))
        styles.append("fair" if peer.trust == "heard" else "good")
    for each in snapshot.conflicts:
        refused = f"refused {each.count} times: {each.why}"
        rows.append((each.name, each.address, each.fingerprint, refused))
        styles.append("bad")
    return table(head, rows, "llll", styles, paint)


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    sides: str,
    styles: Sequence[str],
    paint: Paint,
) -> str:
    """Return aligned lines; `sides` has l or r for each column, `styles` one for each row."""
    clean = [[_clean(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*clean, strict=True)]
    lines = []
    for style, row in zip(("head", *styles), clean, strict=True):
        cells = [
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ]
        lines.append(paint(style, "  ".join(cells).rstrip()))
    return "\n".join(lines) + "\n"


def path(peer: PeerView) -> str:
    """Return how a node is reached."""
    if peer.left:
        return "left"
    if not peer.reachable:
        return "not reached"
    if peer.via:
        return "via " + " > ".join(peer.via)
    return peer.path


def round_trip(seconds: float | None) -> str:
    """Return a round trip in ms."""
    return "-" if seconds is None else f"{seconds * _MILLISECONDS:.1f} ms"


def share(loss: float) -> str:
    """Return a share in per cent; what is next to nothing is a dash."""
    return f"{loss:.0%}" if loss >= _LOSS_SHOWN else "-"


def size(amount: int) -> str:
    """Return bytes in a unit that keeps them short."""
    value, unit = float(amount), 0
    while value >= _STEP and unit + 1 < len(_UNITS):
        value, unit = value / _STEP, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{amount} B"


def span(seconds: float) -> str:
    """Return a duration in its two greatest units."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for length, unit in _SPANS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def ago(seconds: float) -> str:
    """Return how long ago something was; a clock that was set back makes it now."""
    return "now" if seconds < 1 else f"{span(seconds)} ago"


def _conflict(claim: ConflictView) -> str:
    who = f"{claim.name} {claim.address}".strip() or "somebody"
    times = f"{claim.count} times, last {ago(claim.age)}"
    return f"{who} ({claim.fingerprint}): {claim.why}, {times}"


def _clean(text: str) -> str:
    """Return a text of others without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)
