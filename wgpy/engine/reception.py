"""How handshake messages are received: admitted on arrival, worked off a few at a time.

`intake` says which messages may wait, `peer` what each does; this joins them to a device.
"""

from collections.abc import Callable, Mapping

from wgpy.engine import constants
from wgpy.engine.common import Common, Path
from wgpy.engine.handshake import OpenedInitiation, open_initiation_untrusted
from wgpy.engine.intake import Intake, Waiting
from wgpy.engine.peer import Peer
from wgpy.errors import Drop, Rejected
from wgpy.events import LoadChanged
from wgpy.model import Buffer, Burst, Deadline, PublicKey
from wgpy.wire import messages


class Reception:
    """The handshake messages of a device; `backlog` is when to call `work_off` again."""

    def __init__(self, common: Common[Peer], peers: Mapping[PublicKey, Peer]) -> None:
        self.backlog: Deadline | None = None
        self._common = common
        self._peers = peers
        self._intake: Intake | None = None
        self._loaded = False
        self._turn_at = float("-inf")

    def __len__(self) -> int:
        """Return how many messages wait."""
        return len(self._intake) if self._intake else 0

    def reset(self) -> None:
        """Forget what waits: the identity is another, or the interface went down."""
        static = self._common.static
        self._intake = Intake(static.public, self._common.entropy) if static else None
        self.backlog = None
        if self._loaded:
            self._loaded = False
            self._common.out.events.append(LoadChanged(under_load=False))

    def admit_untrusted(self, payload: Buffer, kind: int, burst: Burst, now: float) -> None:
        """Let an initiation or response wait, or answer it with a cookie.

        Raises:
            Rejected: it has the wrong length, or may not wait.
        """
        if len(payload) != messages.HANDSHAKE_SIZES[kind]:
            raise Rejected(Drop.MALFORMED)
        if self._intake is None:
            raise Rejected(Drop.UNKNOWN_PEER)
        reply = self._intake.admit_untrusted(payload, burst.remote, burst.local, now)
        if reply is not None:
            self._common.out.drops[Drop.COOKIE_DEMANDED] += 1
            answer = Burst(reply, len(reply), burst.remote, burst.local)
            self._common.out.bursts.append(answer)
        self._report_load(self._intake, now)

    def work_off(self, touched: dict[Peer, None], now: float) -> None:
        """Take the messages whose turn it is; add the peers that they moved to `touched`."""
        self.backlog = None
        if self._intake is None or not (self._loaded or len(self._intake)):
            return
        if now >= self._turn_at and len(self._intake):
            self._turn_at = now + constants.BACKLOG_DELAY
            for waiting in self._intake.take():
                peer = self._receive_handshake(waiting, now)
                if peer is not None:
                    touched[peer] = None
        self._report_load(self._intake, now)
        if len(self._intake):
            self.backlog = Deadline(self._turn_at, "handshakes are waiting")
        elif self._loaded:
            look_at = now + constants.UNDER_LOAD_HYSTERESIS
            self.backlog = Deadline(look_at, "see whether the load is over")

    def _receive_handshake(self, waiting: Waiting, now: float) -> Peer | None:
        """Return the peer whose message it was; None if it was rejected."""
        message, path = waiting.message, Path(waiting.remote, waiting.local)
        sender: PublicKey | None = None

        def admits(named: bytes) -> bool:
            nonlocal sender
            key = PublicKey(named)
            if key not in self._peers:
                sender = key
            return sender is None

        try:
            if messages.type_untrusted(message) == messages.TYPE_INITIATION:
                opened = self._open_untrusted(message, admits)
                sender = PublicKey(opened.remote_static)
                peer = self._peers[sender]
                peer.receive_initiation(opened, path, now)
            else:
                response = messages.Response.decode_untrusted(message)
                owner, session = self._common.indices.lookup(response.receiver) or (None, None)
                peer = self._known(None if session else owner, Drop.UNKNOWN_INDEX)
                sender = peer.public_key
                peer.receive_response(response, path, now)
        except Rejected as rejected:
            self._common.out.reject(rejected.drop, now, waiting.remote, sender)
            return None
        peer.traffic.rx_bytes += len(message)
        return peer

    def _open_untrusted(
        self, message: bytes, admits: Callable[[bytes], bool]
    ) -> OpenedInitiation:
        static = self._common.static
        assert static is not None, "without an identity nothing is admitted"
        initiation = messages.Initiation.decode_untrusted(message)
        return open_initiation_untrusted(static, initiation, admits)

    def _known(self, peer: Peer | None, otherwise: Drop) -> Peer:
        if peer is None:
            raise Rejected(otherwise)
        return peer

    def _report_load(self, intake: Intake, now: float) -> None:
        loaded = intake.is_under_load(now)
        if loaded != self._loaded:
            self._loaded = loaded
            self._common.out.events.append(LoadChanged(loaded))
