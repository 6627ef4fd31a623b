"""First contact: proof of the network's key and of the sender's address before any state.

    knocker                     door
    KNOCK (padded)     ->                   keeps nothing
                       <-       ACK         the address it saw, a cookie bound to it
    FIN (cookie, Record) ->                 only now a signature is checked
                       <-       WELCOME     its own Record

What the Records claim is for `trust` to judge; that their owners are there, WireGuard proves.
Frames of strangers fail at the MAC and are answered with silence. What a knock says of its
sender is proven by nothing, so knocks have a budget of their own: a flood of them from made-up
places leaves that of Fins to those who hold a cookie. A cookie is good for one Fin, and an answer
to a knock for one Fin, so nothing that is heard and sent again has an effect.
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

# Frames that are answered: a second from one host (IPv6: one /64), and of each of the two kinds
# from all; half of these are for who has been here before.
PER_SOURCE: Final = 5
PER_NODE: Final = 50
# Seconds that a cookie holds at least; twice as long at most.
COOKIE_LIFE: Final = 120.0
# Seconds in which an answer to a knock is waited for, and knocks waited for at once.
KNOCK_LIFE: Final = 10.0
MAX_KNOCKS: Final = 512
_SOURCES: Final = 1024
# Cookies that were used, of the last seconds; as many as are let in during a cookie's life.
_MAX_USED: Final = 12_000
_SITE_SIZE: Final = 8
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
        self._knocks = Rate(PER_NODE, PER_NODE)
        self._fins = Rate(PER_NODE, PER_NODE)
        self._sources: OrderedDict[bytes, Rate] = OrderedDict()
        self._used: OrderedDict[bytes, float] = OrderedDict()
        self._secrets = (entropy(_SECRET_SIZE), entropy(_SECRET_SIZE))
        # How many lives of a cookie went by when the first of the secrets was made.
        self._term = float("-inf")

    def receive_knock_untrusted(self, body: bytes, remote: Endpoint, now: float) -> bytes:
        """Return the answer to a knock.

        Raises:
            Rejected: MALFORMED, RATE_LIMITED.
        """
        knock = Knock.decode_untrusted(body)
        self._admit(self._knocks, remote, knock.identity, now)
        self._renew(now)
        cookie = _cookie(self._secrets[0], knock, remote)
        ack = Ack(knock.nonce, remote, cookie)
        return seal(self._keys, frames.ACK, ack.encode(), self._entropy)

    def receive_fin_untrusted(self, body: bytes, remote: Endpoint, now: float) -> Fin:
        """Return a Fin whose sender is where it says, once; its Record is not looked at.

        Raises:
            Rejected: MALFORMED, RATE_LIMITED, BAD_COOKIE.
        """
        fin = Fin.decode_untrusted(body)
        self._renew(now)
        known = [same(fin.cookie, _cookie(one, fin.knock, remote)) for one in self._secrets]
        if not any(known) or fin.cookie in self._used:
            raise Rejected(Reason.BAD_COOKIE)
        self._admit(self._fins, remote, fin.knock.identity, now)
        self._used[fin.cookie] = now
        return fin

    def welcome(self, fin: Fin, record: bytes) -> bytes:
        """Return the answer to a Fin that was believed."""
        body = Welcome(fin.knock.nonce, record).encode()
        return seal(self._keys, frames.WELCOME, body, self._entropy)

    def _admit(self, budget: Rate, remote: Endpoint, identity: bytes, now: float) -> None:
        host = remote.host if len(remote.host) <= _SITE_SIZE else remote.host[:_SITE_SIZE]
        source = self._sources.pop(host, None) or Rate(PER_SOURCE, 2 * PER_SOURCE)
        self._sources[host] = source
        if len(self._sources) > _SOURCES:
            self._sources.popitem(last=False)
        spare = 0 if self._knows(identity) else PER_NODE / 2
        if not (source.allow(now) and budget.allow(now, spare)):
            raise Rejected(Reason.RATE_LIMITED)

    def _renew(self, now: float) -> None:
        """Make a new secret; the one before holds on only if it is not too old itself."""
        term = now // COOKIE_LIFE
        if term != self._term:
            fresh = self._entropy(_SECRET_SIZE)
            before = self._secrets[0] if term == self._term + 1 else fresh
            self._secrets, self._term = (fresh, before), term
        while self._used:
            cookie, at = next(iter(self._used.items()))
            if now - at <= 2 * COOKIE_LIFE and len(self._used) <= _MAX_USED:
                return
            del self._used[cookie]


def _cookie(secret: bytes, knock: Knock, remote: Endpoint) -> bytes:
    versions = bytes([knock.oldest, knock.newest])
    place = encode_endpoint(remote)
    return keyed_mac(secret, knock.nonce, knock.identity, versions, place)


class _Asked(NamedTuple):
    endpoint: Endpoint
    at: float
    answered: bool = False


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
        """Return what to send to the place that answered, once for each knock.

        Raises:
            Rejected: MALFORMED, UNASKED.
        """
        ack = Ack.decode_untrusted(body)
        asked = self._answer(ack.nonce, now, answered=False)
        self._asked[ack.nonce] = asked._replace(answered=True)
        fin = Fin(Knock(ack.nonce, self._identity), ack.cookie, record).encode()
        payload = seal(self._keys, frames.FIN, fin, self._entropy)
        return Answered(payload, asked.endpoint, ack.observed)

    def receive_welcome_untrusted(self, body: bytes, now: float) -> tuple[bytes, Endpoint]:
        """Return the Record of who answered, and where it was knocked at.

        Raises:
            Rejected: MALFORMED, UNASKED.
        """
        welcome = Welcome.decode_untrusted(body)
        asked = self._answer(welcome.nonce, now, answered=True)
        del self._asked[welcome.nonce]
        return welcome.record, asked.endpoint

    def _answer(self, nonce: bytes, now: float, *, answered: bool) -> _Asked:
        asked = self._asked.get(nonce)
        if asked is None or now - asked.at > KNOCK_LIFE or asked.answered is not answered:
            raise Rejected(Reason.UNASKED)
        return asked
