"""One peer: its handshake, sessions, timers, path and waiting packets (paper 4 to 6).

The rules of the kernel's send.c, receive.c and timers.c, in this node's words:

- A packet without a usable session waits in a queue of 128, oldest dropped first, and begins a
  handshake. Handshakes of one peer begin at most every REKEY_TIMEOUT.
- Whoever began the session renews it: on sending after REKEY_AFTER_TIME, on receiving shortly
  before REJECT_AFTER_TIME. The responder relies on that.
- Every authentic packet, whatever is in it, tells where the peer is, as far as `Path` says.
"""

from collections import deque
from collections.abc import Sequence
from itertools import groupby

from wgpy import events
from wgpy.engine import constants
from wgpy.engine.common import KEEPALIVE, Common, Path, Staged, Traffic
from wgpy.engine.cookie import CookieHolder
from wgpy.engine.handshake import Handshake, InitiationSent, OpenedInitiation, TransportKeys
from wgpy.engine.session import Session, Slots
from wgpy.engine.silence import Silence
from wgpy.engine.timers import Timer, Timers
from wgpy.errors import Drop, Rejected
from wgpy.model import (
    KEY_SIZE,
    NO_KEY,
    Arrivals,
    Buffer,
    Burst,
    Deadline,
    Endpoint,
    Opened,
    PublicKey,
    TunBurst,
)
from wgpy.wire.messages import DATA_OVERHEAD, CookieReply, Response


class Peer:
    """One peer of a device; its methods are the moments of its life."""

    def __init__(self, public_key: PublicKey, common: "Common[Peer]") -> None:
        self.public_key = public_key
        self.preshared_key = NO_KEY
        self.path = Path()
        self.traffic = Traffic()
        self._common = common
        self._handshake = Handshake(public_key)
        self._slots = Slots()
        self._timers = Timers(common.entropy)
        self._silence = Silence()
        self._cookie = CookieHolder(public_key)
        self._staged: deque[Staged] = deque()
        self._handshake_sent_at = float("-inf")

    @property
    def persistent_keepalive(self) -> int:
        """The interval in seconds, 0 if off."""
        return self._timers.persistent_keepalive

    def next_deadline(self) -> Deadline | None:
        """Return when `handle_deadline` must be called, or None."""
        return self._timers.next_deadline()

    def handle_deadline(self, now: float) -> None:
        """Act on every timer that is due."""
        for timer in self._timers.pop_expired(now):
            match timer:
                case Timer.RETRANSMIT_HANDSHAKE:
                    self._retransmit(now)
                case Timer.SEND_KEEPALIVE:
                    self.send_keepalive(now)
                    self._timers.keepalive_sent(now)
                case Timer.NEW_HANDSHAKE:
                    self.forget_local()
                    self.initiate(now)
                case Timer.ZERO_KEYS:
                    self._clear_handshake()
                    self._end_sessions("keys are too old")
                case Timer.PERSISTENT_KEEPALIVE:
                    self.send_keepalive(now)

    # --- sending ---

    def send(self, packets: Sequence[Buffer], tos: int, mtu: int, now: float) -> None:
        """Send packets of the host, or let them wait for a session."""
        session = self._slots.current
        if session is None or self._staged or not session.can_send(len(packets), now):
            self._stage([Staged(bytes(packet), tos, mtu) for packet in packets])
            self.flush(now)
            return
        kernels = self._common.kernels
        if kernels is None or (sealed := session.seal_equal(packets, mtu, kernels)) is None:
            self._emit(session.seal(packets, mtu), tos)
        else:
            self._emit_burst(*sealed, len(packets), tos)
        self._sent(session, now, data=True)

    def send_burst(self, burst: TunBurst | Opened, tos: int, mtu: int, now: float) -> None:
        """Send a super packet or burst, sealed as one; without a session its packets wait."""
        kernels, session = self._common.kernels, self._slots.current
        assert kernels is not None, "nobody asked the host for super packets"
        try:
            segments = kernels.measure_untrusted(burst)
        except Rejected as rejected:
            self._common.out.drops[rejected.drop] += 1
            return
        count = segments.packets
        if session is None or self._staged or not session.can_send(count, now):
            self.send(kernels.segment(burst), tos, mtu, now)
            return
        self._emit_burst(*session.seal_burst(burst, segments, mtu, kernels), count, tos)
        self._sent(session, now, data=True)

    def send_keepalive(self, now: float) -> None:
        """Send what waits; if nothing does, an empty packet (paper 6.5)."""
        if not self._staged:
            self._staged.append(KEEPALIVE)
        self.flush(now)

    def flush(self, now: float) -> None:
        """Send what waits, or begin a handshake if there is no session to send it with."""
        if not self._staged:
            return
        session = self._slots.current
        if session is None or not session.can_send(len(self._staged), now):
            self.initiate(now)
            return
        staged, self._staged = self._staged, deque()
        for (tos, mtu), run in groupby(staged, key=lambda waiting: (waiting.tos, waiting.mtu)):
            self._emit(session.seal([waiting.packet for waiting in run], mtu), tos)
        self._sent(session, now, data=any(waiting.packet for waiting in staged))

    def initiate(self, now: float) -> None:
        """Begin a handshake, unless one was sent less than REKEY_TIMEOUT ago (paper 6.4)."""
        self._timers.attempts = 0
        self._send_initiation(now)

    def can_send(self, now: float) -> bool:
        """Tell whether there is a session to send with at once."""
        return (session := self._slots.current) is not None and session.can_send(1, now)

    def hurry(self, now: float) -> None:
        """Begin the handshake that something waits for at once: there is a new way."""
        # Deviation: the kernel waits for REKEY_TIMEOUT, as nobody tells it of ways.
        if self._staged and not self.can_send(now):
            self._handshake_sent_at = float("-inf")
            self.initiate(now)

    def sends_with(self, index: int) -> bool:
        """Tell whether messages to this peer begin with an index: ours, or of its sessions."""
        owner, _ = self._common.indices.lookup(index) or (None, None)
        return owner is self or any(one.remote_index == index for one in self._slots.all())

    # --- receiving; the caller authenticated nothing yet unless said otherwise ---

    def receive_initiation(self, opened: OpenedInitiation, path: Path, now: float) -> None:
        """Answer a decrypted initiation of this peer.

        Raises:
            Rejected: it is old or too soon after the last.
        """
        self._handshake.accept(opened, now)
        if not self._wins_tie():
            self._clear_handshake()
        self._move(path)
        index = self._common.indices.add((self, None))
        response, keys = self._handshake.create_response(
            opened, index, self._common.entropy(KEY_SIZE), self.preshared_key
        )
        self._handshake_sent_at = now
        self._begin_session(keys, index, now, initiator=False)
        self._send_handshake(response.encode(), now)
        self._common.out.events.append(
            events.HandshakeAnswered(self.public_key, self.path.endpoint)
        )
        self._heard(now)

    def receive_response(self, message: Response, path: Path, now: float) -> None:
        """Finish the handshake we began, and prove it to the other side by sending.

        Raises:
            Rejected: it answers nothing of ours, or is not authentic.
        """
        keys = self._handshake.consume_response(message, self.preshared_key)
        self._move(path)
        self._begin_session(keys, message.receiver, now, initiator=True)
        self._handshake_complete(now, initiator=True)
        self.send_keepalive(now)
        self._heard(now)

    def receive_cookie(self, reply: CookieReply, now: float) -> None:
        """Keep the cookie for the next handshake message; nothing else changes (paper 5.4.7).

        Raises:
            Rejected: it answers no message of ours.
        """
        self._cookie.consume(reply, now)

    def receive_data(
        self, session: Session, messages: Sequence[tuple[int, Buffer]], path: Path, now: float
    ) -> list[bytes]:
        """Return what is in data messages, (counter, message), on a session of this peer.

        Keepalives are left out. Padding is still on the rest, and its source is not checked.
        """
        opened = session.open_untrusted(messages, now, self._common.out.drops)
        if not opened:
            return []
        packets = [plaintext for plaintext in opened if plaintext]
        self.traffic.rx_bytes += DATA_OVERHEAD * (len(opened) - len(packets))
        self.received(session, path, now, data=bool(packets))
        return packets

    def received(self, session: Session, path: Path, now: float, *, data: bool) -> None:
        """Act on authentic messages on a session; `data` tells if one was no keepalive."""
        if path != self.path and path.may_follow(self.path):
            self._move(path)
        gone = self._slots.confirm(session)
        if gone is not None:
            self._drop_sessions(gone)
            self._handshake_complete(now, initiator=False)
            self.flush(now)
        current = self._slots.current
        if current is not None and current.asks_renewal(now):
            self.initiate(now)
        self._heard(now)
        if data:
            self._timers.data_received(now)

    def arrived(self, since: Arrivals | None) -> Arrivals | None:
        """Return what came of the peer's messages in the session in use, None if none is."""
        return None if (session := self._slots.current) is None else session.arrived(since)

    # --- configuration and the interface's life ---

    def set_endpoint(self, endpoint: Endpoint) -> None:
        """Set where to begin; authentic packets from elsewhere move it."""
        if endpoint != self.path.endpoint:
            self._silence.broken()
        self.path = Path(endpoint)

    def set_persistent_keepalive(self, interval: int, now: float) -> None:
        """Set the interval in seconds, 0 for off; switched on, one goes out at once."""
        if self._timers.persistent_keepalive_changed(interval) and self._common.up:
            self.send_keepalive(now)

    def forget_local(self) -> None:
        """Let the kernel choose the source address again."""
        self.path = Path(self.path.endpoint)

    def came_up(self, now: float) -> None:
        """Act on the interface going up."""
        self.flush(now)
        if self.persistent_keepalive:
            self.send_keepalive(now)

    def went_down(self, why: str) -> None:
        """Forget sessions, timers and waiting packets: the interface is down, or we go."""
        self._staged.clear()
        self._timers.stop()
        self._silence.broken()
        self._clear_handshake()
        self._handshake_sent_at = float("-inf")
        self._end_sessions(why)

    def identity_changed(self) -> None:
        """Act on a new private key: the next packet begins a handshake with it."""
        self._clear_handshake()
        self._silence.broken()
        self._handshake_sent_at = float("-inf")
        self._slots.expire_sending()

    # --- inside ---

    def _stage(self, waiting: Sequence[Staged]) -> None:
        self._staged.extend(waiting)
        while len(self._staged) > constants.MAX_STAGED_PACKETS:
            self._staged.popleft()
            self._common.out.drops[Drop.STAGED_OVERFLOW] += 1

    def _emit(self, payloads: list[Buffer], tos: int) -> None:
        endpoint, local = self.path
        if endpoint is None:
            self._common.out.drops[Drop.NO_ENDPOINT] += len(payloads)
            return
        sizes = [len(payload) for payload in payloads]
        self.traffic.tx_bytes += sum(sizes)
        self._common.out.bursts.append(Burst(payloads, max(sizes), endpoint, local, tos))

    def _emit_burst(self, payload: Buffer, size: int, count: int, tos: int) -> None:
        endpoint, local = self.path
        if endpoint is None:
            self._common.out.drops[Drop.NO_ENDPOINT] += count
            return
        self.traffic.tx_bytes += len(payload)
        self._common.out.bursts.append(Burst(payload, size, endpoint, local, tos))

    def _sent(self, session: Session, now: float, *, data: bool) -> None:
        timers = self._timers
        timers.traversed(now)
        timers.authenticated_sent()
        if data:
            timers.data_sent(now)
        if session.is_stale(now):
            self.initiate(now)

    def _heard(self, now: float) -> None:
        self._timers.authenticated_received()
        self._timers.traversed(now)

    def _send_initiation(self, now: float) -> None:
        static = self._common.static
        if static is None or not self._common.up:
            return
        wait = constants.REKEY_TIMEOUT - (now - self._handshake_sent_at)
        if wait > 0:
            self._timers.handshake_postponed(now + wait)
            return
        self._handshake_sent_at = now
        self._clear_handshake()
        index = self._common.indices.add((self, None))
        try:
            message = self._handshake.create_initiation(
                static, index, self._common.entropy(KEY_SIZE), self._common.stamp(now)
            )
        except Rejected:
            # A public key of low order: silence, for ever.
            self._common.indices.drop(index)
            return
        self._send_handshake(message.encode(), now)
        self._timers.handshake_initiated(now)
        told, endpoint = self._common.out.events, self.path.endpoint
        seconds = self._silence.initiated(now)
        told.append(events.HandshakeSent(self.public_key, endpoint, self._silence.attempts))
        if seconds is not None:
            told.append(events.HandshakeUnanswered(self.public_key, endpoint, seconds))

    def _send_handshake(self, message: bytes, now: float) -> None:
        self._timers.traversed(now)
        self._timers.authenticated_sent()
        self._emit([self._cookie.seal(message, now)], constants.HANDSHAKE_TOS)

    def _retransmit(self, now: float) -> None:
        if self._timers.attempts > constants.MAX_TIMER_HANDSHAKES:
            self._staged.clear()
            self._timers.handshake_given_up(now)
            self._common.out.events.append(events.HandshakeGaveUp(self.public_key))
            return
        self._timers.attempts += 1
        self.forget_local()
        self._send_initiation(now)

    def _wins_tie(self) -> bool:
        """Tell whether our initiation stays valid though we answer one of the peer's.

        Deviation: the paper lets the newer replace the other: if two crossed, both sides end as
        responders that must not send. Here one round trip decides, not the jitter of retries.
        """
        static = self._common.static
        return static is not None and static.public > self.public_key

    def _begin_session(
        self, keys: TransportKeys, index: int, now: float, *, initiator: bool
    ) -> None:
        session = Session(keys, index, now, self._common.limits, initiator=initiator)
        self._common.indices.point(index, (self, session))
        self._drop_sessions(self._slots.begin(session))
        self._timers.session_derived(now)

    def _handshake_complete(self, now: float, *, initiator: bool) -> None:
        self._timers.handshake_complete()
        self._silence.broken()
        self.traffic.last_handshake = now + self._common.wall_offset
        event = events.HandshakeCompleted(self.public_key, self.path.endpoint, initiator)
        self._common.out.events.append(event)

    def _clear_handshake(self) -> None:
        if isinstance(self._handshake.state, InitiationSent):
            self._common.indices.drop(self._handshake.state.local_index)
        self._handshake.clear()

    def _end_sessions(self, why: str) -> None:
        if gone := self._slots.clear():
            self._drop_sessions(gone)
            self._common.out.events.append(events.SessionEnded(self.public_key, why))

    def _drop_sessions(self, gone: Sequence[Session]) -> None:
        for session in gone:
            self._common.indices.drop(session.local_index)

    def _move(self, path: Path) -> None:
        old, self.path = self.path.endpoint, path
        if path.endpoint is not None and path.endpoint != old:
            self._common.out.events.append(events.Roamed(self.public_key, old, path.endpoint))
