"""The objects that a node holds: which to keep, which to pass on, when two nodes differ.

An object is new if its seq is higher than that of the one held with equal identity, kind and
part. What is new and verifies is kept and passed on to every neighbour but its sender. Sums of
marks (exclusive or) over 64 buckets of identities tell two nodes where they differ, whatever
got lost on the way. A mark covers the whole object, so that two of equal seq count as
different; of these the one that is smaller as bytes is kept everywhere.

Freshness is by seq alone; ages are by the own clock, from when an object was new here. What
grows by the will of others has a bound: identities that nobody here vouches for, new ones from
each neighbour, objects of each identity and the bytes of all, and how often one changes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, NamedTuple

from netmgr.engine.holding import Held, Holding, Standing, Value, read_untrusted
from netmgr.engine.pace import spend
from netmgr.engine.signing import short_id
from netmgr.errors import Reason, Rejected
from netmgr.wire import objects
from netmgr.wire.objects import Accept, Edge, Offer, Record, Signed

BUCKETS: Final = 64
BLOBS_PER_CALL: Final = 256
MIN_STRANGERS: Final = 4096
STRANGERS_PER_KEPT: Final = 4
# New identities from one neighbour: seconds each takes, and how many at once.
NEWCOMER_INTERVAL: Final = 3.0
NEWCOMER_BURST: Final = 4096
# Bytes of objects for each identity that there may be, all together.
BYTES_PER_IDENTITY: Final = 4096
UNREACHABLE_AFTER: Final = 3600.0
FORGOTTEN_AFTER: Final = 7 * 86400.0
MAX_GONE: Final = 4096

Verify = Callable[[bytes, bytes, bytes], None]


class OwnEcho(NamedTuple):
    """An object of this node that is ahead of what this node knows to have said.

    A backup was restored, or there are two with this identity. To be heard the node signs
    that kind again at `seq + 1`.
    """

    kind: int
    seq: int


class Expired(NamedTuple):
    """Identities that are from now on held for their addresses only, and those let go."""

    unreachable: tuple[bytes, ...]
    dropped: tuple[bytes, ...]


class Sums:
    """The sums of marks, one a bucket, and the bytes of all that was added.

    `cursor` is how far the objects have been told to those who differ.
    """

    __slots__ = ("cursor", "size", "sums")

    def __init__(self) -> None:
        self.cursor = 0
        self.sums = [0] * BUCKETS
        self.size = 0

    def change(self, short: bytes, new: Iterable[Held], old: Iterable[Held]) -> None:
        """Add objects of an identity, and take others away."""
        bucket = bucket_of(short)
        for held in new:
            self.sums[bucket] ^= held.mark
            self.size += len(held.blob)
        for held in old:
            self.sums[bucket] ^= held.mark
            self.size -= len(held.blob)


class News:
    """What happened since it was last asked for.

    Objects to pass on, and who has told them; identities that signed two of one seq, and
    identities let go.
    """

    __slots__ = ("conflicts", "dropped", "floods")

    def __init__(self) -> None:
        self.conflicts: dict[bytes, None] = {}
        self.dropped: dict[bytes, None] = {}
        self.floods: dict[tuple[bytes, int, int], tuple[bytes, set[bytes]]] = {}


def bucket_of(short: bytes) -> int:
    """Return the bucket of an identity, by its short id, which is a hash."""
    return short[0] % BUCKETS


class Objects:
    """All objects of a network that one node holds.

    `verify` takes identity, message and signature, and raises Rejected. `strangers` is how many
    identities that nobody vouches for there may be, if few are vouched for.
    """

    def __init__(
        self, net_id: bytes, verify: Verify, own: bytes, strangers: int = MIN_STRANGERS
    ) -> None:
        self._net_id, self._verify, self._own = net_id, verify, own
        self._strangers = strangers
        self._kept = {own}
        self._holdings: dict[bytes, Holding] = {}
        self._shorts: dict[bytes, bytes] = {}
        # The newest RECORD of identities let go, and when: others may hold them for longer.
        self._gone: dict[bytes, tuple[int, float]] = {}
        self._newcomers: dict[bytes, float] = {}
        self._sums = Sums()
        self._news = News()

    def __len__(self) -> int:
        """Return the number of identities."""
        return len(self._holdings)

    # --- what comes in ---

    def receive_untrusted(
        self, blob: bytes, sender: bytes | None, now: float
    ) -> Signed | OwnEcho | None:
        """Take an object, which is passed on if it is new; return it, None if it is known.

        `sender` is the short id of the neighbour that handed it over; None for the node's own
        and for what was saved, which is not held back for coming fast.

        Raises:
            Rejected: STALE, MALFORMED, BAD_SIGNATURE, TOO_MANY or TOO_FAST.
        """
        signed = objects.split_untrusted(blob)
        holding = self._holdings.get(signed.identity)
        standing = Standing.NEW if holding is None else holding.standing(signed)
        if standing is Standing.SAME or self._was_let_go(signed):
            return None
        if standing is Standing.OLDER:
            raise Rejected(Reason.STALE)
        value = read_untrusted(signed)
        if signed.identity == self._own and sender is not None:
            self._verify(signed.identity, *objects.signed_part(self._net_id, signed))
            return OwnEcho(signed.kind, signed.seq)
        due = self._due_untrusted(holding, signed, sender, now)
        self._verify(signed.identity, *objects.signed_part(self._net_id, signed))
        if holding is None:
            holding = self._admit(signed.identity, now)
        if standing is Standing.RIVAL:
            self._news.conflicts[signed.identity] = None
            if not holding.yields_to(signed):
                holding.charge(signed.kind, due)
                return None
        self._keep_object(holding, signed, value, due, now)
        tellers = set() if sender is None else {sender}
        self._news.floods[signed.identity, signed.kind, signed.part] = (blob, tellers)
        return signed

    @property
    def has_floods(self) -> bool:
        """Whether there is something to pass on."""
        return bool(self._news.floods)

    def repeats(self, blob: bytes, sender: bytes | None) -> bool:
        """Tell whether an object is held as it is: the quick answer to what comes again.

        Who says what waits to be passed on need not be told.
        """
        holding = self._holdings.get(objects.identity_of(blob))
        found = None if holding is None else holding.find(blob)
        if holding is None or found is None:
            return False
        news = self._news.floods.get((holding.identity, *found))
        if news is not None and sender is not None:
            news[1].add(sender)
        return True

    def take_floods(self) -> list[tuple[bytes, set[bytes]]]:
        """Return what came in since the last call, and whom not to send it to.

        Of what was replaced meanwhile the newest only.
        """
        floods = list(self._news.floods.values())
        self._news.floods.clear()
        return floods

    def withhold(self, signed: Signed) -> None:
        """Do not pass an object on by itself; who compares what it holds still gets it."""
        self._news.floods.pop((signed.identity, signed.kind, signed.part), None)

    def take_dropped(self) -> list[bytes]:
        """Return the identities that were let go since the last call, for whatever reason."""
        dropped = list(self._news.dropped)
        self._news.dropped.clear()
        return dropped

    def take_conflicts(self) -> list[bytes]:
        """Return the identities that signed two objects of one seq since the last call."""
        conflicts = list(self._news.conflicts)
        self._news.conflicts.clear()
        return conflicts

    # --- who is vouched for, and what becomes old ---

    def keep(self, identity: bytes) -> None:
        """Vouch for an identity: it is never let go, and does not count as a stranger."""
        self._kept.add(identity)
        self._gone.pop(identity, None)

    def release(self, identity: bytes) -> None:
        """Vouch for an identity no more."""
        if identity != self._own:
            self._kept.discard(identity)

    def expire(self, now: float, in_use: Collection[bytes]) -> Expired:
        """Let go of what is old; `in_use` are the identities that a usable edge leads to."""
        unreachable, dropped = [], []
        for holding in list(self._holdings.values()):
            identity, age = holding.identity, now - holding.heard_at
            if identity == self._own or identity in in_use or age < UNREACHABLE_AFTER:
                holding.absent = False
                continue
            if age >= FORGOTTEN_AFTER and identity not in self._kept:
                self._let_go(holding, now)
                dropped.append(identity)
            elif not holding.absent:
                holding.absent = True
                unreachable.append(identity)
        gone, newcomers = self._gone.items(), self._newcomers.items()
        self._gone = {one: let for one, let in gone if now - let[1] < FORGOTTEN_AFTER}
        self._newcomers = {sender: due for sender, due in newcomers if due > now}
        return Expired(tuple(unreachable), tuple(dropped))

    # --- where two nodes differ ---

    def digest(self) -> tuple[bytes, ...]:
        """Return the sum of each of the 64 buckets, 8 bytes each."""
        return tuple(map(objects.sum_bytes, self._sums.sums))

    def total_digest(self) -> bytes:
        """Return the sum of everything, 8 bytes: equal where equal objects are held."""
        total = 0
        for part in self._sums.sums:
            total ^= part
        return objects.sum_bytes(total)

    def differing(self, other_digest: tuple[bytes, ...]) -> list[int]:
        """Return the buckets in which another node holds something else."""
        pairs = zip(self.digest(), other_digest, strict=False)
        return [number for number, (own, other) in enumerate(pairs) if own != other]

    def in_buckets(self, buckets: Iterable[int]) -> list[bytes]:
        """Return objects of some buckets, at most 256; the next call goes on behind them."""
        wanted = set(buckets)
        found = [
            held.blob
            for holding in self._holdings.values()
            if bucket_of(holding.short) in wanted
            for held in holding.held()
        ]
        if len(found) <= BLOBS_PER_CALL:
            return found
        start = self._sums.cursor % len(found)
        self._sums.cursor = end = start + BLOBS_PER_CALL
        return (found + found)[start:end]

    # --- what is known ---

    def identities(self) -> tuple[bytes, ...]:
        """Return all identities, also those that left or are held for their addresses."""
        return tuple(self._holdings)

    def identity_of(self, short: bytes) -> bytes | None:
        """Return the identity of a short id."""
        return self._shorts.get(short)

    def record(self, identity: bytes) -> Record | None:
        """Return what a node said it is, also if it left."""
        holding = self._holdings.get(identity)
        return None if holding is None else holding.record

    def record_blob(self, identity: bytes) -> bytes:
        """Return the signed Record of a node, b"" if there is none."""
        holding = self._holdings.get(identity)
        held = () if holding is None else holding.held()
        return next((each.blob for each in held if isinstance(each.value, Record)), b"")

    def has_left(self, identity: bytes) -> bool:
        """Tell whether the last word of a node was that it leaves."""
        holding = self._holdings.get(identity)
        return holding is not None and holding.has_left

    def links(self, identity: bytes) -> tuple[Edge, ...]:
        """Return the last whole set of edges that a node told."""
        holding = self._holdings.get(identity)
        return () if holding is None or holding.has_left else holding.edges

    def offers(self, identity: bytes) -> tuple[Offer, ...]:
        """Return the prefixes that a node takes packets for."""
        holding = self._holdings.get(identity)
        return () if holding is None or holding.has_left else holding.offers

    def accepts(self, identity: bytes) -> tuple[Accept, ...]:
        """Return the identities that a node vouches for under a name and address."""
        holding = self._holdings.get(identity)
        return () if holding is None else holding.accepts

    def accept_parts(self, identity: bytes) -> dict[int, Value]:
        """Return what a node vouches for, by the parts it is said in."""
        holding = self._holdings.get(identity)
        return {} if holding is None else holding.parts(objects.ACCEPT)

    def newest(self, identity: bytes, kind: int) -> int:
        """Return the highest seq of a kind that an identity used, -1 if none is known."""
        holding = self._holdings.get(identity)
        return -1 if holding is None else holding.newest(kind)

    def blobs(self) -> Iterator[bytes]:
        """Yield all objects, for whoever saves them."""
        return (held.blob for each in self._holdings.values() for held in each.held())

    # --- how ---

    def _was_let_go(self, signed: Signed) -> bool:
        gone = self._gone.get(signed.identity)
        return gone is not None and (signed.kind != objects.RECORD or signed.seq <= gone[0])

    @property
    def _most(self) -> int:
        least = min(self._strangers, MIN_STRANGERS)
        return max(least, STRANGERS_PER_KEPT * len(self._kept))

    def _due_untrusted(
        self, holding: Holding | None, signed: Signed, sender: bytes | None, now: float
    ) -> float | None:
        """Check bounds, also of what is new, before the dear part; return `due` for put."""
        is_new = holding is None and signed.identity not in self._kept
        holding = holding or Holding(signed.identity, b"", now)
        size = self._sums.size + len(signed.blob)
        too_big = size > self._most * BYTES_PER_IDENTITY and signed.identity not in self._kept
        if too_big or not holding.has_room(signed, self._most // objects.EDGES_PER_PART):
            raise Rejected(Reason.TOO_MANY)
        if sender is None:
            return None
        if is_new:
            due = self._newcomers.get(sender, 0.0)
            spent = spend(due, now, NEWCOMER_INTERVAL, NEWCOMER_BURST)
            if spent is None:
                raise Rejected(Reason.TOO_FAST)
            self._newcomers[sender] = spent
        paced = holding.paced(signed, now)
        if paced is None:
            raise Rejected(Reason.TOO_FAST)
        return paced

    def _admit(self, identity: bytes, now: float) -> Holding:
        """Make room for an identity; a stranger that went away gives way to a new one."""
        if identity not in self._kept:
            self._make_room(now)
        holding = Holding(identity, short_id(identity), now)
        self._holdings[identity] = holding
        self._shorts.setdefault(holding.short, identity)
        self._gone.pop(identity, None)
        self._news.dropped.pop(identity, None)
        return holding

    def _make_room(self, now: float) -> None:
        if len(self._holdings) < self._most:
            return
        strangers = [h for key, h in self._holdings.items() if key not in self._kept]
        if len(strangers) < self._most:
            return
        absent = [holding for holding in strangers if holding.absent or holding.has_left]
        if not absent:
            raise Rejected(Reason.TOO_MANY)
        self._let_go(min(absent, key=lambda holding: holding.heard_at), now)

    def _keep_object(
        self, holding: Holding, signed: Signed, value: Value, due: float | None, now: float
    ) -> None:
        new, old = holding.put(signed, value, due, now)
        self._sums.change(holding.short, [new], old)

    def _let_go(self, holding: Holding, now: float) -> None:
        identity = holding.identity
        self._sums.change(holding.short, (), holding.held())
        del self._holdings[identity]
        self._news.dropped[identity] = None
        self._shorts.pop(holding.short, None)
        self._gone[identity] = (holding.newest(objects.RECORD), now)
        if len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]
