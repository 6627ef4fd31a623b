"""What is held of one identity: its objects as they came, and what they say.

LINKS come in parts that count once all of one seq are there; until then the last complete set
does. A node counts its kinds with one counter: a LEAVE ends LINKS and ROUTES of lower seq, and
is ended by a RECORD of equal or higher seq. Of an object that was ended its seq stays known,
so that it cannot come back by way of a node that did not hear. Who comes back signs LINKS and
ROUTES anew, also if there are none: nodes that never heard of the LEAVE hold the former ones.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from netmgr.engine.pace import spend
from netmgr.errors import Reason, Rejected
from netmgr.wire import objects
from netmgr.wire.objects import Accept, Edge, Links, Offer, Record, Signed


class Routes(NamedTuple):
    """All that a node offers to take packets for."""

    offers: tuple[Offer, ...]


Value: TypeAlias = Record | Links | Routes | Accept | None

MAX_ACCEPTS: Final = 64
# Objects of kinds that are not known, of one identity.
MAX_UNREAD: Final = 32
# Changes of one kind by one identity: seconds each takes, and how many at once.
CHANGE_INTERVAL: Final = 1.0
CHANGE_BURST: Final = 5

_ENDED: Final = b""


class Standing(Enum):
    """What an object is to the one held with equal identity, kind and part."""

    NEW = 0
    SAME = 1
    OLDER = 2
    RIVAL = 3


class Held(NamedTuple):
    """An object, read; `blob` is empty if it was ended and only its seq is known."""

    part: int
    seq: int
    blob: bytes
    mark: int
    value: Value


class Shelf:
    """The objects of one kind; `due` is when the bucket of changes is full again."""

    __slots__ = ("due", "held", "kind", "newest")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.newest = -1
        self.due = 0.0
        self.held: tuple[Held, ...] = ()


def read_untrusted(signed: Signed) -> Value:
    """Return what an object says, None if it says nothing or its kind is not known.

    Raises:
        Rejected: MALFORMED.
    """
    kind, part, body = signed.kind, signed.part, signed.body
    if kind == objects.LINKS:
        return objects.decode_links_untrusted(body, part)
    if kind == objects.ACCEPT:
        return objects.decode_accept_untrusted(body)
    if part and kind in (objects.RECORD, objects.ROUTES, objects.LEAVE):
        raise Rejected(Reason.MALFORMED)
    if kind == objects.RECORD:
        return objects.decode_record_untrusted(body)
    if kind == objects.ROUTES:
        return Routes(objects.decode_routes_untrusted(body))
    if kind == objects.LEAVE:
        objects.decode_leave_untrusted(body)
    return None


class Holding:
    """One identity. `heard_at` is when its RECORD, or the first of it at all, was new here.

    `edges`, `offers` and `record` are what counts of what was said. `absent` says that the
    identity is held for its addresses only.
    """

    __slots__ = (
        "absent",
        "edges",
        "heard_at",
        "identity",
        "left",
        "offers",
        "record",
        "shelves",
        "short",
    )

    def __init__(self, identity: bytes, short: bytes, now: float) -> None:
        self.identity = identity
        self.short = short
        self.heard_at = now
        self.absent = False
        # The seq of the LEAVE that was the last word, -1 if there is none.
        self.left = -1
        self.record: Record | None = None
        self.edges: tuple[Edge, ...] = ()
        self.offers: tuple[Offer, ...] = ()
        self.shelves: tuple[Shelf, ...] = ()

    def held(self) -> Iterator[Held]:
        """Yield what is held and was not ended."""
        return (held for shelf in self.shelves for held in shelf.held if held.blob)

    def find(self, blob: bytes) -> tuple[int, int] | None:
        """Return kind and part of an object that is held as it is, None if it is not."""
        for shelf in self.shelves:
            for held in shelf.held:
                if held.blob == blob:
                    return shelf.kind, held.part
        return None

    @property
    def has_left(self) -> bool:
        """Whether the last word was a LEAVE."""
        return self.left >= 0

    def newest(self, kind: int) -> int:
        """Return the highest seq of a kind, -1 if there is none."""
        shelf = self._shelf(kind)
        return -1 if shelf is None else shelf.newest

    def parts(self, kind: int) -> dict[int, Value]:
        """Return what the objects of a kind say, by part."""
        shelf = self._shelf(kind)
        return {} if shelf is None else {held.part: held.value for held in shelf.held}

    @property
    def accepts(self) -> tuple[Accept, ...]:
        """All that the identity vouches for."""
        shelf = self._shelf(objects.ACCEPT)
        if shelf is None:
            return ()
        return tuple(held.value for held in shelf.held if isinstance(held.value, Accept))

    def standing(self, signed: Signed) -> Standing:
        """Compare an object to what is held, before its signature is looked at."""
        seq = signed.seq
        if signed.kind == objects.LEAVE and seq <= self.newest(objects.RECORD):
            return Standing.OLDER
        shelf = self._shelf(signed.kind)
        held = None if shelf is None else _find(shelf, signed.part)
        if held is not None and seq <= held.seq:
            if seq < held.seq:
                return Standing.OLDER
            return Standing.SAME if held.blob in (_ENDED, signed.blob) else Standing.RIVAL
        if signed.kind == objects.LINKS and shelf is not None and seq < shelf.newest:
            return Standing.OLDER
        by_leave = signed.kind in (objects.LINKS, objects.ROUTES) and self.has_left
        return Standing.OLDER if by_leave and seq < self.newest(objects.LEAVE) else Standing.NEW

    def has_room(self, signed: Signed, max_parts: int) -> bool:
        """Tell whether an object is within what one identity may have."""
        if signed.kind == objects.LINKS:
            return signed.part < max_parts
        if signed.kind == objects.ACCEPT:
            return signed.part < MAX_ACCEPTS
        if signed.kind in (objects.RECORD, objects.ROUTES, objects.LEAVE):
            return True
        shelf = self._shelf(signed.kind)
        if shelf is not None and _find(shelf, signed.part) is not None:
            return True
        unread = (s for s in self.shelves if not objects.RECORD <= s.kind <= objects.ACCEPT)
        return sum(len(s.held) for s in unread) < MAX_UNREAD

    def paced(self, signed: Signed, now: float) -> float | None:
        """Return `due` of the kind once an object is taken; None if that were too fast.

        The parts of one seq of LINKS are one change.
        """
        shelf = self._shelf(signed.kind)
        if shelf is None:
            return spend(0.0, now, CHANGE_INTERVAL, CHANGE_BURST)
        held = _find(shelf, signed.part)
        another = held is None or held.seq < signed.seq
        if signed.kind == objects.LINKS and signed.seq == shelf.newest and another:
            return shelf.due
        return spend(shelf.due, now, CHANGE_INTERVAL, CHANGE_BURST)

    def yields_to(self, signed: Signed) -> bool:
        """Tell whether a rival counts, and not what is held: the smaller does, everywhere."""
        shelf = self._shelf(signed.kind)
        held = None if shelf is None else _find(shelf, signed.part)
        return held is None or signed.blob < held.blob

    def charge(self, kind: int, due: float | None) -> Shelf:
        """Note what `paced` returned, None for what was not paced; return the shelf."""
        shelf = self._shelf(kind)
        if shelf is None:
            shelf = Shelf(kind)
            self.shelves = tuple(sorted((*self.shelves, shelf), key=lambda each: each.kind))
        if due is not None:
            shelf.due = due
        return shelf

    def put(
        self, signed: Signed, value: Value, due: float | None, now: float
    ) -> tuple[Held, list[Held]]:
        """Keep an object; return it, and those it takes the place of or ends."""
        shelf = self.charge(signed.kind, due)
        new = Held(signed.part, signed.seq, signed.blob, objects.mark(signed.blob), value)
        old = [held for held in shelf.held if held.part == signed.part]
        rest = [held for held in shelf.held if held.part != signed.part]
        shelf.held = tuple(sorted((*rest, new), key=lambda held: held.part))
        shelf.newest = max(shelf.newest, signed.seq)
        left = self.newest(objects.LEAVE)
        self.left = left if left > self.newest(objects.RECORD) else -1
        return new, old + self._take_in(shelf, new, now)

    def _take_in(self, shelf: Shelf, new: Held, now: float) -> list[Held]:
        """Let what is new count; return what it ends."""
        match new.value:
            case Record():
                self.record = new.value
                self.heard_at = now
                self.absent = False
                return self._end(objects.LEAVE, new.seq + 1)
            case Links():
                return self._complete(shelf, new.seq, new.value.total)
            case Routes():
                self.offers = new.value.offers
            case Accept() | None:
                pass
        if shelf.kind == objects.LEAVE:
            return self._end(objects.LINKS, new.seq) + self._end(objects.ROUTES, new.seq)
        return []

    def _complete(self, shelf: Shelf, seq: int, total: int) -> list[Held]:
        """Use a set of LINKS if it is whole; return parts of older sets beyond it."""
        parts = [held.value for held in shelf.held[:total] if held.seq == seq]
        known = [value for value in parts if isinstance(value, Links) and value.total == total]
        if len(known) < total:
            return []
        beyond = list(shelf.held[total:])
        shelf.held = shelf.held[:total]
        one = known[0].edges
        self.edges = one if total == 1 else tuple(e for part in known for e in part.edges)
        return beyond

    def _end(self, kind: int, before: int) -> list[Held]:
        """End what was said of a kind, if all of it has a seq below `before`."""
        shelf = self._shelf(kind)
        if shelf is None or shelf.newest >= before:
            return []
        if kind == objects.LINKS:
            self.edges = ()
        elif kind == objects.ROUTES:
            self.offers = ()
        ended = [held for held in shelf.held if held.blob]
        shelf.held = tuple(
            held._replace(blob=_ENDED, mark=0, value=None) for held in shelf.held
        )
        return ended

    def _shelf(self, kind: int) -> Shelf | None:
        for shelf in self.shelves:
            if shelf.kind == kind:
                return shelf
        return None


def _find(shelf: Shelf, part: int) -> Held | None:
    return next((held for held in shelf.held if held.part == part), None)
