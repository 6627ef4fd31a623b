"""One session's keys, and the three slots that sessions move through (paper 5.4.6, 6.1-6.3).

A session seals with its sending key and a counter, and opens with its receiving key and a
replay window. `previous`, `current` and `next` may all receive; only `current` sends. The
responder's new session waits in `next` until a packet proves that the initiator has the keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wgpy.engine import constants
from wgpy.engine.bulk import Ciphers, Kernels, Sealed
from wgpy.engine.crypto import Aead, NotAuthentic
from wgpy.engine.replay import ReplayWindow
from wgpy.errors import Drop, Rejected
from wgpy.model import Arrivals, Buffer, Burst, Opened, Segments, TunBurst
from wgpy.wire.messages import ciphertext, encode_data_header, nonce


@dataclass(frozen=True, slots=True)
class Limits:
    """When a session is renewed and when it ends: the paper's values, or a test's."""

    rekey_after_messages: int = constants.REKEY_AFTER_MESSAGES
    reject_after_messages: int = constants.REJECT_AFTER_MESSAGES
    rekey_after_time: float = constants.REKEY_AFTER_TIME
    reject_after_time: float = constants.REJECT_AFTER_TIME


PAPER_LIMITS = Limits()

# So many messages may have overtaken one that is still to come.
OVERTAKEN = 1024
# In place of the size of a plaintext: authentic, but seen before or too late.
REPLAYED = -2


class Session:
    """The keys, the counter and the replay window of one handshake's outcome."""

    __slots__ = (
        "_bulk",
        "_limits",
        "_open",
        "_renewal_asked_at",
        "_seal",
        "_window",
        "created_at",
        "initiator",
        "local_index",
        "may_send",
        "remote_index",
        "sent",
    )

    def __init__(
        self,
        keys: tuple[bytes, bytes, int],
        local_index: int,
        now: float,
        limits: Limits,
        *,
        initiator: bool,
    ) -> None:
        send, receive, remote_index = keys
        self._seal = Aead(send)
        self._open = Aead(receive)
        self._window = ReplayWindow()
        self._bulk = Ciphers(send, receive)
        self._limits = limits
        self._renewal_asked_at: float | None = None
        self.local_index = local_index
        self.remote_index = remote_index
        self.initiator = initiator
        self.created_at = now
        self.sent = 0
        self.may_send = True

    def age(self, now: float) -> float:
        """Return seconds since the keys were derived."""
        return now - self.created_at

    def can_send(self, count: int, now: float) -> bool:
        """Tell whether `count` more packets may be sealed; what expired never sends again."""
        if (
            self.age(now) >= self._limits.reject_after_time
            or self.sent + count > self._limits.reject_after_messages
        ):
            self.may_send = False
        return self.may_send

    def is_stale(self, now: float) -> bool:
        """Tell whether sending on this session must begin a new handshake (paper 6.2)."""
        return self.may_send and (
            self.sent > self._limits.rekey_after_messages
            or (self.initiator and self.age(now) >= self._limits.rekey_after_time)
        )

    def asks_renewal(self, now: float) -> bool:
        """Tell, once, that receiving on this session must begin a new handshake (paper 6.2)."""
        last_minute = self._limits.reject_after_time - (
            constants.KEEPALIVE_TIMEOUT + constants.REKEY_TIMEOUT
        )
        if (
            self._renewal_asked_at is not None
            or not (self.may_send and self.initiator)
            or self.age(now) < last_minute
        ):
            return False
        self._renewal_asked_at = now
        return True

    # hot path: bench/engine
    def seal(self, packets: Sequence[Buffer], mtu: int) -> list[Buffer]:
        """Return a data message for each packet; the caller asked `can_send`.

        Plaintexts are padded with zeros to a multiple of 16, but not above the MTU (paper
        5.4.6); an empty packet, the keepalive, stays empty.
        """
        encrypt = self._seal.encrypt
        remote_index, counter = self.remote_index, self.sent
        sealed: list[Buffer] = []
        for packet in packets:
            size = len(packet)
            # A packet as large as the MTU, the bulk of what is sent, has no room for padding.
            if size != mtu and (size % constants.PADDING_MULTIPLE or size > mtu):
                packet = bytes(packet) + bytes(padding(size, mtu))
            sealed.append(
                encode_data_header(remote_index, counter)
                + encrypt(nonce(counter), packet, None)
            )
            counter += 1
        self.sent = counter
        return sealed

    # hot path: bench/engine
    def open_untrusted(
        self, messages: Sequence[tuple[int, Buffer]], now: float, drops: dict[Drop, int]
    ) -> list[bytes]:
        """Return the plaintexts of those data messages, (counter, message), that are genuine.

        The rest is counted in `drops`. The replay window is asked only for authentic packets.
        """
        if self.age(now) >= self._limits.reject_after_time:
            drops[Drop.KEY_EXPIRED] += len(messages)
            return []
        decrypt, accept = self._open.decrypt, self._window.accept
        opened: list[bytes] = []
        for counter, message in messages:
            try:
                plaintext = decrypt(nonce(counter), ciphertext(message), None)
            except NotAuthentic:
                drops[Drop.NOT_AUTHENTIC] += 1
                continue
            if accept(counter):
                opened.append(plaintext)
            else:
                drops[Drop.REPLAYED] += 1
        return opened

    def seal_burst(
        self, burst: TunBurst | Opened, segments: Segments, mtu: int, kernels: Kernels
    ) -> Sealed:
        """Return the data messages of a super packet; the caller asked `can_send`."""
        sending, _ = self._bulk.by(kernels)
        sealed = sending.seal(burst, segments, self.remote_index, self.sent, mtu)
        self.sent += segments.packets
        return sealed

    def seal_equal(
        self, packets: Sequence[Buffer], mtu: int, kernels: Kernels
    ) -> Sealed | None:
        """Return data messages for packets of one size, None if `seal` has to be asked."""
        sending, _ = self._bulk.by(kernels)
        sealed = sending.seal_equal(packets, self.remote_index, self.sent, mtu)
        if sealed is not None:
            self.sent += len(packets)
        return sealed

    def open_burst_untrusted(
        self, burst: Burst, counters: list[int], now: float, kernels: Kernels
    ) -> Opened:
        """Return the plaintexts of a burst of data messages; size -1 for what is not good.

        Raises:
            Rejected: KEY_EXPIRED, for all of them.
        """
        if self.age(now) >= self._limits.reject_after_time:
            raise Rejected(Drop.KEY_EXPIRED)
        _, receiving = self._bulk.by(kernels)
        assert not isinstance(burst.payload, list)
        opened = receiving.open(burst.payload, burst.segment_size, counters)
        accept, sizes = self._window.accept, opened.sizes
        first, count = counters[0], len(counters)
        if (
            min(sizes) >= 0
            and counters == [*range(first, first + count)]
            and self._window.accept_run(first, count)
        ):
            return opened
        for row, counter in enumerate(counters):
            if sizes[row] >= 0 and not accept(counter):
                sizes[row] = REPLAYED
        return opened

    def arrived(self, since: Arrivals | None) -> Arrivals:
        """Return what came of the other's messages since a look, or since the beginning."""
        upcoming = self._window.upcoming
        if since is None or since.session != self.local_index:
            return Arrivals(self.local_index, 0, upcoming, 0, 0)
        settled = max(since.upcoming, upcoming - OVERTAKEN)
        found = self._window.arrived(since.settled, settled)
        return Arrivals(self.local_index, settled, upcoming, *found)


def padding(size: int, mtu: int) -> int:
    """Return how many zeros follow a plaintext of `size` bytes; `mtu` 0 means unknown."""
    last_unit = size % mtu if mtu and size > mtu else size
    padded = -(-last_unit // constants.PADDING_MULTIPLE) * constants.PADDING_MULTIPLE
    return (min(mtu, padded) if mtu else padded) - last_unit


class Slots:
    """The sessions of one peer in their order; each method returns those that are gone."""

    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.previous: Session | None = None
        self.current: Session | None = None
        self.next: Session | None = None

    def begin(self, session: Session) -> list[Session]:
        """Put a new session in its place."""
        if session.initiator:
            gone = [self.previous]
            if self.next is not None:
                # A session that the other side never confirmed may still be in use there.
                gone.append(self.current)
                self.previous, self.next = self.next, None
            else:
                self.previous = self.current
            self.current = session
        else:
            gone = [self.next, self.previous]
            self.next, self.previous = session, None
        return [session for session in gone if session is not None]

    def all(self) -> list[Session]:
        """Return the sessions there are."""
        return [s for s in (self.previous, self.current, self.next) if s is not None]

    def confirm(self, session: Session) -> list[Session] | None:
        """Note an authentic packet on a session; None unless that confirmed `next`."""
        if session is not self.next:
            return None
        gone = [self.previous] if self.previous is not None else []
        self.previous, self.current, self.next = self.current, session, None
        return gone

    def clear(self) -> list[Session]:
        """Forget all keys."""
        gone = self.all()
        self.previous = self.current = self.next = None
        return gone

    def expire_sending(self) -> None:
        """Let the next packet begin a handshake; what is under way can still be received."""
        for session in (self.current, self.next):
            if session is not None:
                session.may_send = False
