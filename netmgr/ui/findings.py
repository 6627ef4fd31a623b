"""What a snapshot says of the health of a network, in words, with the next step.

One rule a function: values in, findings out.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from netmgr.model import Finding, Level, PeerView, Snapshot

_ALONE_AFTER: Final = 30.0
_SHOWN: Final = 4
_MINUTE: Final = 60.0
_WIDTH: Final = 10


def of_snapshot(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield what is to be said of a running node."""
    there = [peer for peer in snapshot.peers if not peer.left]
    reached = [peer for peer in there if peer.reachable]
    yield from _peers(snapshot, there, reached)
    for peer in there:
        yield from _peer(peer)
    for each in snapshot.unheard:
        text = f"{each}: no node of that name was ever heard of"
        yield Finding(Level.WARN, "via", text, "is the name right? does that node run?")
    for route in snapshot.routes:
        if not route.to:
            text = f"{route.destination} is closed: nobody whom --via names for it is reached"
            yield Finding(Level.FAIL, "via", text, "start one of them, or take --via away")
    for refusal in snapshot.refusals:
        level = Level.WARN if reached else Level.FAIL
        yield Finding(level, "identity", refusal.text, refusal.todo)
    yield from _conflicts(snapshot)


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each finding."""
    for level, what, text, todo in findings:
        step = f"; {todo}" if todo else ""
        line = f"{level.value:<4}  {what:<{_WIDTH}}  {text}{step}"
        yield "".join(each if each.isprintable() else "?" for each in line)


def _peers(
    snapshot: Snapshot, there: Sequence[PeerView], reached: Sequence[PeerView]
) -> Iterator[Finding]:
    left = len(snapshot.peers) - len(there)
    text = f"{len(reached)} of {len(there)} other nodes are reached"
    text += f", {left} left" if left else ""
    if reached or (left and not there):
        yield Finding(Level.OK, "mesh", text)
    elif snapshot.uptime < _ALONE_AFTER:
        yield Finding(Level.WARN, "mesh", f"{text}; the node has just begun", "ask again soon")
    elif snapshot.seeds or snapshot.peers:
        yield Finding(Level.FAIL, "mesh", text, "see the seeds; do the others run?")
    else:
        yield Finding(
            Level.WARN,
            "mesh",
            "nobody is here, and network.yaml names no static peer",
            "add one to peers:, or --peer HOST:PORT, unless all are on one LAN",
        )


def _peer(peer: PeerView) -> Iterator[Finding]:
    tried = ", ".join(peer.tried[:_SHOWN])
    if peer.reachable and peer.via:
        why = f"no direct place of it answers ({tried})" if tried else "that is faster"
        text = f"{peer.name} is reached via {' > '.join(peer.via)}: {why}"
        todo = "allow UDP between the two, if it should be direct" if tried else ""
        yield Finding(Level.WARN if tried else Level.OK, "relayed", text, todo)
    elif not peer.reachable:
        places = f", nor any of {tried}" if tried else ""
        text = f"{peer.name} ({peer.address}) is not reached: no relay leads there{places}"
        yield Finding(
            Level.WARN, "peer", text, f"does it run? forget {peer.name} if it is gone"
        )


def _conflicts(snapshot: Snapshot) -> Iterator[Finding]:
    known = {refusal.fingerprint for refusal in snapshot.refusals}
    for claim in snapshot.conflicts:
        if claim.fingerprint in known:
            continue
        who = f"{claim.name} {claim.address}".strip() or "a node"
        text = f"{who}: {claim.fingerprint} {claim.why}; refused {claim.count} times"
        text += f", last {claim.age / _MINUTE:.0f} min ago" if claim.age >= _MINUTE else ""
        todo = "an address of the subnet is to be chosen there"
        if claim.name == snapshot.name or claim.address == snapshot.address:
            todo = "that is this node: one of the two needs another name and address"
        elif claim.name and "belongs to another" in claim.why:
            todo = (
                f"if {claim.name} was reinstalled: wg_netmanager accept {claim.name} "
                f"{claim.fingerprint}; if not, give that node another name and address"
            )
        level = Level.FAIL if claim.live else Level.WARN
        yield Finding(level, "identity", text, todo)
