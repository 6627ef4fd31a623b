"""What an event is called in the log: its level, its sentence, its fields.

A person should be able to tell from the sentence what to look at. What strangers can cause, and
what repeats by itself, is `rare`: it has its level once in a while and is DEBUG otherwise.
"""

import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

from wgpy.errors import Drop
from wgpy.events import (
    DatagramReceived,
    Event,
    HandshakeAnswered,
    HandshakeCompleted,
    HandshakeGaveUp,
    HandshakeSent,
    HandshakeUnanswered,
    InnerReceived,
    LoadChanged,
    MessageRejected,
    RelayFailed,
    Roamed,
    SessionEnded,
)
from wgpy.model import Endpoint, PublicKey
from wgpy.wire.detour import via_id
from wgpy.wire.text import format_address, format_endpoint

_Fields: TypeAlias = Mapping[str, object]
_OfHandshake: TypeAlias = (
    HandshakeCompleted
    | HandshakeGaveUp
    | HandshakeSent
    | HandshakeAnswered
    | HandshakeUnanswered
)

_OTHERWISE: Final = "a message from {remote} was dropped: {why}"
_SENTENCES: Final = {
    Drop.BAD_MAC1: "a handshake from {remote} is for another public key than ours",
    Drop.UNKNOWN_PEER: "a handshake from {remote} is of {peer}, which is no peer here",
    Drop.NOT_AUTHENTIC: (
        "its answer from {remote} does not decrypt: "
        "is the preshared key the same on both sides?"
    ),
    Drop.OLD_TIMESTAMP: (
        "its handshake from {remote} is not newer than the last: "
        "replayed, or its clock was set back"
    ),
    Drop.NOT_ALLOWED: "inner source {inner} is not in its allowed IPs",
    Drop.MARTIAN: "inner source {inner} is ours or no host's, and was not sent on",
    Drop.NO_PEER: "no peer has {inner} in its allowed IPs",
    Drop.NO_ENDPOINT: "no endpoint is known, {inner} cannot be reached",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `rare` names what is to have its level only once in a while."""

    level: int
    event: str
    text: str
    fields: _Fields | None = None
    rare: Hashable = None


def line_of(event: Event) -> Line | None:
    """Return the line of an event; None for what is delivered to an embedding program."""
    match event:
        case Roamed(peer, old, new):
            text = f"roamed from {_name(old)} to {_name(new)}"
            fields = {"old": _name(old), "endpoint": _name(new)}
            # Who sends a peer's packets on from two addresses has it roam with each.
            return replace(
                _of_peer(logging.INFO, "roamed", peer, text, fields), rare=("roamed", peer)
            )
        case SessionEnded(peer, why):
            text = f"session ended: {why}"
            return _of_peer(logging.INFO, "session_ended", peer, text, {"why": why})
        case LoadChanged(under_load):
            return _load_changed(under_load=under_load)
        case MessageRejected() | RelayFailed():
            return _rejected(event) if isinstance(event, MessageRejected) else _failed(event)
        case DatagramReceived() | InnerReceived():
            return None
        case _:
            return _of_handshake(event)


def cannot_send(remote: Endpoint, code: int, why: str) -> Line:
    """Return the line of a datagram that the kernel did not take."""
    where = format_endpoint(remote)
    fields = {"endpoint": where, "errno": code}
    text = f"cannot send to {where}: {why}"
    return Line(logging.WARNING, "cannot_send", text, fields, rare=code)


def _load_changed(*, under_load: bool) -> Line:
    if under_load:
        text = "under load, handshakes need a cookie: is this host being flooded?"
        return Line(logging.WARNING, "under_load", text, rare="under_load")
    return Line(logging.INFO, "load_over", "no longer under load", rare="load_over")


def _failed(event: RelayFailed) -> Line:
    destination, failed = event.destination.hex(), event.failed.hex()
    text = f"on the way through relays to node {destination} {failed} is not reached"
    fields = {"destination": destination, "failed": failed}
    return Line(logging.INFO, "relay_failed", text, fields, rare=("relay", destination))


def _of_handshake(event: _OfHandshake) -> Line:
    peer = event.peer
    match event:
        case HandshakeCompleted(_, endpoint, initiator):
            who = "us" if initiator else "it"
            text = f"handshake completed with {_name(endpoint)}, begun by {who}"
            fields = {"endpoint": _name(endpoint), "initiator": initiator}
            return _of_peer(logging.INFO, "handshake_completed", peer, text, fields)
        case HandshakeGaveUp():
            text = "no handshake is answered, gave up until traffic"
            return _of_peer(logging.INFO, "handshake_gave_up", peer, text)
        case HandshakeSent():
            return _sent(event)
        case HandshakeAnswered(_, endpoint):
            text = f"initiation from {_name(endpoint)} answered"
            fields = {"endpoint": _name(endpoint)}
            return _of_peer(logging.DEBUG, "handshake_answered", peer, text, fields)
        case HandshakeUnanswered():
            return _unanswered(event)
        case _:
            assert_never(event)


def _sent(event: HandshakeSent) -> Line:
    if event.endpoint is None:
        text = "initiation not sent: no endpoint is known"
    else:
        text = f"initiation sent to {_name(event.endpoint)}"
    if event.attempt > 1:
        text += f", try {event.attempt}"
    fields = {"endpoint": _name(event.endpoint), "attempt": event.attempt}
    return _of_peer(logging.DEBUG, "handshake_sent", event.peer, text, fields)


def _unanswered(event: HandshakeUnanswered) -> Line:
    seconds = round(event.seconds)
    if event.endpoint is None:
        # On a host that others call this is how it is while they are away.
        level, text = (
            logging.INFO,
            f"no endpoint is known, and it has not called for {seconds} s",
        )
    elif via_id(event.endpoint) is not None:
        level, text = (
            logging.WARNING,
            f"no valid answer through relays for {seconds} s: is it there, and our key a peer?",
        )
    else:
        level, where = logging.WARNING, format_endpoint(event.endpoint)
        text = (
            f"no valid answer from {where} for {seconds} s: is the address right, UDP let "
            "through, and our key a peer there?"
        )
    fields = {"endpoint": _name(event.endpoint), "seconds": seconds}
    return _of_peer(level, "handshake_unanswered", event.peer, text, fields)


# --- what was dropped ------------------------------------------------------------------------


def _rejected(event: MessageRejected) -> Line:
    level, text = _level(event), _why(event)
    fields = {"drop": event.drop.name.lower()}
    if event.remote is not None:
        fields["remote"] = _name(event.remote)
    if event.inner is not None:
        fields["inner"] = format_address(event.inner)
    if event.peer is None:
        return Line(level, "rejected", text, fields, rare=event.drop)
    if event.drop is Drop.UNKNOWN_PEER:  # all strangers together: nobody fills the log
        fields["stranger"] = event.peer.short
        return Line(level, "rejected", text, fields, rare=event.drop)
    line = _of_peer(level, "rejected", event.peer, text, fields)
    return replace(line, rare=(event.drop, event.peer))


def _level(event: MessageRejected) -> int:
    match event.drop:
        case Drop.UNKNOWN_PEER | Drop.NO_ENDPOINT:
            return logging.INFO
        case Drop.OLD_TIMESTAMP:
            return logging.WARNING
        case Drop.NOT_AUTHENTIC if event.peer is not None:
            return logging.WARNING
        case Drop.NOT_ALLOWED | Drop.MARTIAN if not _is_link_local(event.inner):
            return logging.WARNING
        case _:
            return logging.DEBUG


def _why(event: MessageRejected) -> str:
    sentence = _SENTENCES.get(event.drop, _OTHERWISE)
    if event.peer is None and event.drop in (Drop.NOT_AUTHENTIC, Drop.UNKNOWN_PEER):
        sentence = _OTHERWISE
    return sentence.format(
        remote=_name(event.remote),
        peer=event.peer.short if event.peer is not None else "",
        inner="" if event.inner is None else format_address(event.inner),
        why=event.drop.value,
    )


def _is_link_local(address: bytes | None) -> bool:
    """Tell whether hosts send from it unasked: fe80::/10, 169.254.0.0/16 or no address."""
    if not address or not any(address):
        return True
    return address[:2] == b"\xa9\xfe" or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)


def _of_peer(
    level: int, event: str, peer: PublicKey, text: str, fields: _Fields | None = None
) -> Line:
    named = {"peer": peer.short, **(fields or {})}
    return Line(level, event, f"peer {peer.short}: {text}", named)


def _name(endpoint: Endpoint | None) -> str:
    if endpoint is None:
        return "an unknown address"
    return "relays" if via_id(endpoint) is not None else format_endpoint(endpoint)
