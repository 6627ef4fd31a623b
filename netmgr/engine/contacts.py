"""How nodes find each other: knocks at static peers, hellos on the LAN, places of old.

A static peer is knocked at for ever: at once, then ever more rarely, at first up to every two
seconds, later up to every 30, at its WireGuard port and its admin port in turn of all addresses
that its name has. Hearing a hello leads to a knock, and so does a probe of a member that is not
known here. While nobody answers, places where nodes once were are knocked at too.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from netmgr import events
from netmgr.effects import CallLan, Resolve, SendDatagram
from netmgr.engine import thrift
from netmgr.engine.common import Context
from netmgr.engine.knock import Door, Knocker, Rate
from netmgr.engine.members import DOOR, Members
from netmgr.engine.refusals import OWNED
from netmgr.engine.remote import Remote
from netmgr.engine.signing import same
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, HostPort, Kind, StaticPeer
from netmgr.wire import frames
from netmgr.wire.frames import LanHello
from netmgr.wire.objects import RECORD, split_untrusted
from wgpy.model import Buffer, Endpoint, Local

FIRST_KNOCK: Final = 0.25
LAST_KNOCK: Final = 30.0
# Tries after the first that come every so many seconds at most: a door that is open to many at
# once turns most of them away for a while.
EARLY_TRIES: Final = 20
EARLY_KNOCK: Final = 2.0
# Seconds from the loss of a static peer to the first knock.
SOON: Final = 0.01
# Seconds between questions for the address of a name.
RESOLVE_SILENT: Final = 60.0
RESOLVE_CONNECTED: Final = 300.0
METERED_RESOLVE: Final = 3600.0
# Seconds after the start at which hellos go out on the LAN, and between them later.
HELLOS: Final = (0.0, 1.0, 3.0)
HELLO_INTERVAL: Final = 30.0
METERED_HELLO_INTERVAL: Final = 600.0
# Seconds between knocks at places of old while nobody answers.
OLD_PLACE_INTERVAL: Final = 5.0
# Seconds of silence that are told, and until they are told again.
SILENCE_TOLD: Final = 30.0
SILENCE_TOLD_AGAIN: Final = 240.0
# Seconds for which a place that called on the LAN is not knocked at again; how many places one
# caller may have, and how many callers are remembered.
KNOWN_FOR: Final = 600.0
METERED_KNOWN_FOR: Final = 86400.0
_CALLER_PLACES: Final = 4
_MAX_CALLERS: Final = 1024
_CALLER: Final = 8
# Members that probe us and are not known here: knocks a second in the long run, and at once.
_CALLED_RATE: Final = 1
_CALLED_BURST: Final = 5
# Addresses of a name that are knocked at.
_MAX_ENDPOINTS: Final = 16


@dataclass(slots=True)
class Seed:
    """A static peer: where its name leads, and when it is knocked at next."""

    peer: StaticPeer
    endpoints: tuple[Endpoint, ...] = ()
    resolve_at: float = 0.0
    knock_at: float = 0.0
    tries: int = 0
    silent_since: float | None = None
    tell_after: float = SILENCE_TOLD

    def places(self) -> list[HostPort]:
        """Return where it is asked for: its two ports."""
        host, port = self.peer.place
        ports = dict.fromkeys((port, self.peer.admin_port or port))
        return [HostPort(host, each) for each in ports]


class Hellos:
    """When to say hello on the LAN: three times at the start, then now and then."""

    __slots__ = ("_left", "at")

    def __init__(self, now: float) -> None:
        self.at = now
        self._left = list(HELLOS)

    def said(self, now: float, pause: float) -> bool:
        """Set the time of the next one; return whether that is of those of the start."""
        before = self._left.pop(0) if self._left else 0.0
        self.at = now + (self._left[0] - before if self._left else pause)
        return bool(self._left)


class Contacts:
    """First contact in both roles; `met` is called with a node and a place it was proven at.

    `is_reachable` tells whether there is a way to a node already.
    """

    def __init__(
        self,
        context: Context,
        members: Members,
        met: Callable[[Remote, Endpoint, float], None],
        is_reachable: Callable[[Remote], bool],
        now: float,
    ) -> None:
        self._context = context
        self._members = members
        self._met = met
        self._is_reachable = is_reachable
        entropy, keys = context.entropy, context.keys
        self._door = Door(keys, entropy, lambda one: context.trust.how(one) is not None)
        self._knocker = Knocker(keys, context.identity.public, entropy)
        self.seeds = [
            Seed(peer, resolve_at=now, knock_at=now) for peer in context.settings.seeds
        ]
        self._hellos = Hellos(now)
        # Who runs says so by the first half of the nonces of its hellos.
        self._caller = entropy(_CALLER)
        self._callers: OrderedDict[bytes, dict[Endpoint, float]] = OrderedDict()
        # At who says hello, and at who probes us.
        self._knocks = Rate(5, 10), Rate(_CALLED_RATE, _CALLED_BURST)
        self._old_place_at = now + FIRST_KNOCK

    # --- the clock ---

    def next_at(self) -> float:
        """Return when `handle` has something to do."""
        times = [self._hellos.at, self._old_place_at]
        times += [min(seed.resolve_at, seed.knock_at) for seed in self.seeds]
        return min(times)

    def handle(self, now: float) -> None:
        """Knock, ask for names and say hello, as far as it is time."""
        for seed in self.seeds:
            connected = self._is_connected(seed)
            if seed.resolve_at <= now:
                self._resolve(seed, now, connected=connected)
            if seed.knock_at <= now:
                self._knock_at_seed(seed, now, connected=connected)
        if self._hellos.at <= now:
            self._say_hello(now)
        if self._old_place_at <= now:
            self._knock_at_old_place(now)

    def hurry(self, now: float) -> None:
        """Try everything again soon: the network has changed."""
        for seed in self.seeds:
            seed.tries, seed.knock_at, seed.resolve_at = 0, now, now
        self._hellos = Hellos(now)
        self._callers.clear()
        self._old_place_at = now

    def resolved(
        self, host: str, port: int, endpoints: tuple[Endpoint, ...], now: float
    ) -> None:
        """Take the addresses of a name; none if it could not be asked for."""
        for seed in self.seeds:
            if HostPort(host, port) not in seed.places() or not endpoints:
                continue
            known = set(seed.endpoints)
            others = tuple(one for one in seed.endpoints if one.port != port)
            seed.endpoints = (*others, *endpoints[:_MAX_ENDPOINTS])
            if not known >= set(endpoints):
                seed.tries, seed.knock_at = 0, now
                remote = self.remote_of(seed)
                if remote is not None:
                    found = [each for each in endpoints if each.port == seed.peer.place.port]
                    candidates = [Candidate(each, Kind.STATIC) for each in found]
                    remote.offer(self._context.placed(candidates), now)
                    remote.try_now(now)

    def set_seeds(self, peers: Iterable[StaticPeer], now: float) -> None:
        """Follow changed files; those that stay go on as they are."""
        known = {seed.peer: seed for seed in self.seeds}
        fresh = (known.get(peer) or Seed(peer, resolve_at=now, knock_at=now) for peer in peers)
        self.seeds = list(fresh)

    def lost(self, remote: Remote, now: float) -> None:
        """Knock at a static peer that does not answer any more at once: it may be another."""
        for seed in self.seeds:
            if seed.silent_since is None and self.remote_of(seed) is remote:
                seed.tries, seed.knock_at = 0, now + SOON

    def remote_of(self, seed: Seed) -> Remote | None:
        """Return the node that a static peer turned out to be, None if not known yet."""
        peer = seed.peer
        for remote in self._context.remotes.values():
            record = remote.record
            if peer.identity is not None:
                fits = remote.identity == peer.identity
            elif peer.address is not None:
                fits = record is not None and record.address == peer.address
            else:
                fits = remote.endpoint in seed.endpoints
            if fits:
                return remote
        return None

    # --- from the network ---

    def receive_untrusted(
        self, kind: int, body: bytes, remote: Endpoint, local: Local | None, now: float
    ) -> None:
        """Take a frame of first contact that was opened already.

        Raises:
            Rejected: why it leads to nothing.
        """
        match kind:
            case frames.KNOCK:
                answer = self._door.receive_knock_untrusted(body, remote, now)
                self._send(answer, remote, local)
            case frames.ACK:
                record = self._context.own_record
                answered = self._knocker.receive_ack_untrusted(body, record, now)
                self._send(answered.fin, answered.endpoint)
            case frames.FIN:
                self._receive_fin(body, remote, local, now)
            case frames.WELCOME:
                blob, endpoint = self._knocker.receive_welcome_untrusted(body, now)
                self._welcomed(blob, endpoint, now)
            case _:
                raise Rejected(Reason.MALFORMED)

    def receive_hello_untrusted(self, payload: Buffer, source: Endpoint, now: float) -> None:
        """Take a hello of the LAN: knock at who calls, unless it is us or well known.

        Raises:
            Rejected: MALFORMED, BAD_MAC, TOO_FAST.
        """
        hello = LanHello.decode_untrusted(payload)
        if not same(hello.tag, self._hello_tag(hello.port, hello.nonce)):
            raise Rejected(Reason.BAD_MAC)
        caller = hello.nonce[:_CALLER]
        if caller == self._caller:
            return
        place = Endpoint(source.host, hello.port, source.scope)
        known = self._callers.pop(caller, {})
        known = {one: at for one, at in known.items() if now - at < self._known_for}
        self._callers[caller] = known
        if len(self._callers) > _MAX_CALLERS:
            self._callers.popitem(last=False)
        if place in known:
            return
        if len(known) >= _CALLER_PLACES or not self._knocks[0].allow(now):
            raise Rejected(Reason.TOO_FAST)
        known[place] = now
        if any(one.up and one.endpoint == place for one in self._context.remotes.values()):
            return
        self.knock(place, now)

    def called(self, endpoint: Endpoint, now: float) -> None:
        """Knock at a place from which a member asks for us that we do not know: it knows us."""
        if self._knocks[1].allow(now):
            self.knock(endpoint, now)

    def knock(self, endpoint: Endpoint, now: float) -> None:
        """Knock at a place, unless it is inside."""
        if self._context.is_outside(endpoint):
            self._send(self._knocker.knock(endpoint, now), endpoint)

    # --- inside ---

    def _receive_fin(
        self, body: bytes, remote: Endpoint, local: Local | None, now: float
    ) -> None:
        fin = self._door.receive_fin_untrusted(body, remote, now)
        if split_untrusted(fin.record).identity != fin.knock.identity:
            raise Rejected(Reason.MALFORMED)
        try:
            self._admit(fin.record, remote, now)
        except Rejected as refused:
            evidence = self._members.refusals.evidence(fin.knock.identity)
            if refused.reason in OWNED and evidence:
                self._send(self._door.welcome(fin, evidence), remote, local)
            raise
        self._send(self._door.welcome(fin, self._context.own_record), remote, local)

    def _welcomed(self, blob: bytes, endpoint: Endpoint, now: float) -> None:
        refusals = self._members.refusals
        try:
            self._admit(blob, endpoint, now)
        except Rejected as refused:
            if refused.reason in OWNED:
                refusals.heard(split_untrusted(blob).identity, endpoint, now)
            raise
        refusals.let_in(endpoint)

    def _admit(self, blob: bytes, endpoint: Endpoint, now: float) -> None:
        """Take the Record of who was met at a place."""
        signed = split_untrusted(blob)
        identity, context = signed.identity, self._context
        if signed.kind != RECORD:
            raise Rejected(Reason.MALFORMED)
        if identity == context.identity.public:
            raise Rejected(Reason.NOT_FOR_US)
        try:
            self._members.receive_untrusted(blob, DOOR, now)
        except Rejected as refused:
            # Who lost its numbers hears of them from those who let it in.
            if refused.reason is not Reason.STALE:
                raise
        if identity not in context.remotes:
            # Who was forgotten is judged anew when it is there again.
            self._members.heard(identity, now, arrived=True)
        remote = context.remotes.get(identity)
        if remote is None:
            raise Rejected(context.trust.judge(identity) or Reason.KEY_TAKEN)
        kind = Kind.STATIC if self._is_static(endpoint) else Kind.OBSERVED
        remote.offer(self._context.placed([Candidate(endpoint, kind)]), now)
        self._met(remote, endpoint, now)

    def _is_static(self, endpoint: Endpoint) -> bool:
        return any(endpoint in seed.endpoints for seed in self.seeds)

    @property
    def _known_for(self) -> float:
        return METERED_KNOWN_FOR if self._context.settings.metered else KNOWN_FOR

    def _is_connected(self, seed: Seed) -> bool:
        """Tell whether a static peer is reached, or was heard of and is none that we need."""
        remote = self.remote_of(seed)
        if remote is None:
            return False
        return self._is_reachable(remote) or thrift.is_served(self._context)

    def _resolve(self, seed: Seed, now: float, *, connected: bool) -> None:
        longest = METERED_RESOLVE if self._context.settings.metered else RESOLVE_CONNECTED
        pause = longest if connected or thrift.is_served(self._context) else RESOLVE_SILENT
        seed.resolve_at = now + pause * self._context.share(0.9, 1.1)
        for host, port in seed.places():
            self._context.out.effects.append(Resolve(host, port))

    def _knock_at_seed(self, seed: Seed, now: float, *, connected: bool) -> None:
        last = max(LAST_KNOCK, thrift.probe_interval(self._context))
        pays = self._context.settings.metered
        early = EARLY_KNOCK if seed.tries <= EARLY_TRIES and not pays else last
        pause = min(last, early, FIRST_KNOCK * 2 ** min(seed.tries, 16))
        seed.knock_at = now + pause * self._context.share(0.7, 1.0)
        if connected:
            seed.tries, seed.silent_since, seed.tell_after = 0, None, SILENCE_TOLD
            seed.knock_at = now + LAST_KNOCK / 3
            return
        seed.tries += 1
        if seed.silent_since is None:
            seed.silent_since = now
        silence = now - seed.silent_since
        if silence >= seed.tell_after:
            seed.tell_after = silence + SILENCE_TOLD_AGAIN
            self._context.out.events.append(events.SeedSilent(str(seed.peer.place), silence))
        for endpoint in seed.endpoints:
            self.knock(endpoint, now)

    def _knock_at_old_place(self, now: float) -> None:
        """Knock at the place of a node known of old, while nobody is there."""
        self._old_place_at = now + OLD_PLACE_INTERVAL * self._context.share(0.8, 1.2)
        remotes = list(self._context.remotes.values())
        if not remotes or any(remote.up for remote in remotes):
            return
        remote = remotes[int(self._context.share(0, len(remotes) - 0.01))]
        for endpoint in list(remote.trials)[:4]:
            self.knock(endpoint, now)

    def _say_hello(self, now: float) -> None:
        settings = self._context.settings
        pause = METERED_HELLO_INTERVAL if settings.metered else HELLO_INTERVAL
        first = self._hellos.said(now, pause * self._context.share(0.9, 1.1))
        if settings.metered and not first and thrift.count_up(self._context):
            return
        nonce = self._caller + self._context.entropy(_CALLER)
        port = settings.listen_port
        hello = LanHello(port, nonce, self._hello_tag(port, nonce))
        self._context.out.effects.append(CallLan(hello.encode()))

    def _hello_tag(self, port: int, nonce: bytes) -> bytes:
        return self._context.keys.lan_tag(port.to_bytes(2) + nonce)

    def _send(self, payload: bytes, remote: Endpoint, local: Local | None = None) -> None:
        self._context.out.effects.append(SendDatagram(payload, remote, local))
