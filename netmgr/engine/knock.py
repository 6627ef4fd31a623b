"""First contact: proof of the network's key and of the sender's address before any state.

    knocker                     door
    KNOCK (padded)     ->                   keeps nothing
                       <-       ACK         the address it saw, a cookie bound to it
    FIN (cookie, Record) ->                 only now a signature is checked
                       <-       WELCOME     its own Record

What the Records claim is for `trust` to judge; that their owners are there, WireGuard proves.
Frames of strangers fail at the MAC and are answered with silence.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from netmgr.engine.signing import NONCE_SIZE, NetworkKeys, keyed_mac, same
from netmgr.errors import Reason, Rejected
from netmgr.wire import frames
from netmgr.wire.fields import encode_endpoint
from netmgr.wire.frames import Ack, Fin, Knock, Welcome
from wgpy.model import Buffer, Endpoint

# First contacts that are answered: a second from one host, and from all; half of these are for
# who has been here before.
PER_SOURCE: Final = 5
PER_NODE: Final = 50
# Seconds that a cookie holds at least; twice as long at most.
COOKIE_LIFE: Final = 120.0
# Seconds in which an answer to a knock is waited for, and knocks waited for at once.
KNOCK_LIFE: Final = 10.0
MAX_KNOCKS: Final = 512
_SOURCES: Final = 1024
_SECRET_SIZE: Final = 32
_KNOCK_NONCE_SIZE: Final = 16


def seal(keys: NetworkKeys, kind: int, body: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """Return a frame for members of the network."""
    nonce, first = entropy(NONCE_SIZE), frames.head(kind, len(body))
    box = keys.seal(nonce, first, body)
    return frames.join(first, nonce, keys.mac(first, nonce, box), box)


def open_untrusted(keys: NetworkKeys, payload: Buffer) -> tuple[int, bytes]:
    """Return kind and body of a frame of a member.

    Raises:
        Rejected: MALFORMED, BAD_MAC, NOT_AUTHENTIC.
    """
    frame = frames.split_untrusted(payload)
    if not same(frame.mac, keys.mac(frame.head, frame.nonce, frame.box)):
        raise Rejected(Reason.BAD_MAC)
    return frame.kind, keys.open_untrusted(frame.nonce, frame.head, frame.box)


class Rate:
    """A bucket of tokens: so many at once, so many a second in the long run."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at = float("-inf")

    def allow(self, now: float, spare: float = 0.0) -> bool:
        """Take a token if more than `spare` would be left; return False if there is none."""
        if self._at == float("-inf"):
            self._at = now
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1 + spare:
            return False
        self._tokens -= 1
        return True


class Door:
    """Answers knocks; `knows` tells whether an identity was here before."""

    def __init__(
        self,
        keys: NetworkKeys,
        entropy: Callable[[int], bytes],
        knows: Callable[[bytes], bool],
    ) -> None:
        self._keys = keys
        self._entropy = entropy
        self._knows = knows
        self._all = Rate(PER_NODE, PER_NODE)
        self._sources: OrderedDict[bytes, Rate] = OrderedDict()
        self._secrets = (entropy(_SECRET_SIZE), entropy(_SECRET_SIZE))
        self._made_at = float("-inf")

    def receive_knock_untrusted(self, body: bytes, remote: Endpoint, now: float) -> bytes:
        """Return the answer to a knock.

        Raises:
            Rejected: MALFORMED, RATE_LIMITED.
        """
        knock = Knock.decode_untrusted(body)
        self._admit(remote, knock.identity, now)
        self._renew(now)
        cookie = _cookie(self._secrets[0], knock, remote)
        ack = Ack(knock.nonce, remote, cookie)
        return seal(self._keys, frames.ACK, ack.encode(), self._entropy)

    def receive_fin_untrusted(self, body: bytes, remote: Endpoint, now: float) -> Fin:
        """Return a Fin whose sender is where it says; its Record is not looked at.

        Raises:
            Rejected: MALFORMED, RATE_LIMITED, BAD_COOKIE.
        """
        fin = Fin.decode_untrusted(body)
        self._admit(remote, fin.knock.identity, now)
        self._renew(now)
        if not any(same(fin.cookie, _cookie(one, fin.knock, remote)) for one in self._secrets):
            raise Rejected(Reason.BAD_COOKIE)
        return fin

    def welcome(self, fin: Fin, record: bytes) -> bytes:
        """Return the answer to a Fin that was believed."""
        body = Welcome(fin.knock.nonce, record).encode()
        return seal(self._keys, frames.WELCOME, body, self._entropy)

    def _admit(self, remote: Endpoint, identity: bytes, now: float) -> None:
        source = self._sources.pop(remote.host, None) or Rate(PER_SOURCE, 2 * PER_SOURCE)
        self._sources[remote.host] = source
        if len(self._sources) > _SOURCES:
            self._sources.popitem(last=False)
        spare = 0 if self._knows(identity) else PER_NODE / 2
        if not (source.allow(now) and self._all.allow(now, spare)):
            raise Rejected(Reason.RATE_LIMITED)

    def _renew(self, now: float) -> None:
        if now - self._made_at > COOKIE_LIFE:
            self._secrets = (self._entropy(_SECRET_SIZE), self._secrets[0])
            self._made_at = now


def _cookie(secret: bytes, knock: Knock, remote: Endpoint) -> bytes:
    versions = bytes([knock.oldest, knock.newest])
    place = encode_endpoint(remote)
    return keyed_mac(secret, knock.nonce, knock.identity, versions, place)


class _Asked(NamedTuple):
    endpoint: Endpoint
    at: float


class Answered(NamedTuple):
    """What an ACK leads to: where the FIN goes, and how we are seen from there."""

    fin: bytes
    endpoint: Endpoint
    observed: Endpoint | None


class Knocker:
    """Knocks at places and remembers, for a while and not without bound, which are open."""

    def __init__(
        self, keys: NetworkKeys, identity: bytes, entropy: Callable[[int], bytes]
    ) -> None:
        self._keys = keys
        self._identity = identity
        self._entropy = entropy
        self._asked: OrderedDict[bytes, _Asked] = OrderedDict()

    def knock(self, endpoint: Endpoint, now: float) -> bytes:
        """Return a knock for a place."""
        while self._asked and now - next(iter(self._asked.values())).at > KNOCK_LIFE:
            self._asked.popitem(last=False)
        if len(self._asked) >= MAX_KNOCKS:
            self._asked.popitem(last=False)
        nonce = self._entropy(_KNOCK_NONCE_SIZE)
        self._asked[nonce] = _Asked(endpoint, now)
        body = Knock(nonce, self._identity).encode()
        return seal(self._keys, frames.KNOCK, body, self._entropy)

    def receive_ack_untrusted(self, body: bytes, record: bytes, now: float) -> Answered:
        """Return what to send to the place that answered.

        Raises:
            Rejected: MALFORMED, UNASKED.
        """
        ack = Ack.decode_untrusted(body)
        asked = self._answer(ack.nonce, now)
        fin = Fin(Knock(ack.nonce, self._identity), ack.cookie, record).encode()
        payload = seal(self._keys, frames.FIN, fin, self._entropy)
        return Answered(payload, asked.endpoint, ack.observed)

    def receive_welcome_untrusted(self, body: bytes, now: float) -> tuple[bytes, Endpoint]:
        """Return the Record of who answered, and where it was knocked at.

        Raises:
            Rejected: MALFORMED, UNASKED.
        """
        welcome = Welcome.decode_untrusted(body)
        asked = self._answer(welcome.nonce, now)
        del self._asked[welcome.nonce]
        return welcome.record, asked.endpoint

    def _answer(self, nonce: bytes, now: float) -> _Asked:
        asked = self._asked.get(nonce)
        if asked is None or now - asked.at > KNOCK_LIFE:
            raise Rejected(Reason.UNASKED)
        return asked
