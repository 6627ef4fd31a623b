"""One network over any WireGuard device: the parts put together (an engine without I/O).

Feed it what came outside and inside the tunnel, what the device reports and what the world
answers; take the effects. `Host` drives it over a device of wgpy.

    contacts   first contact: knocks, hellos        members   Records judged, nodes let in
    upkeep     pings and probes                     announce  what we say about ourselves
    ways       links to ways, prefixes to nodes
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from netmgr import effects, events
from netmgr.engine import thrift
from netmgr.engine.announce import Announcer
from netmgr.engine.common import Channel, Context
from netmgr.engine.contacts import Contacts
from netmgr.engine.flood import Objects
from netmgr.engine.knock import open_untrusted
from netmgr.engine.members import Members
from netmgr.engine.pace import spend
from netmgr.engine.remote import Remote
from netmgr.engine.signing import Identity, NetworkKeys, verify_untrusted
from netmgr.engine.trust import Pin, Trust, file_pins
from netmgr.engine.upkeep import Upkeep
from netmgr.engine.ways import Ways
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, Kind, Settings
from netmgr.wire import control, frames
from netmgr.wire.control import Message
from netmgr.wire.objects import split_untrusted
from wgpy.model import Buffer, Deadline, Endpoint, Local, Prefix, PublicKey

# Seconds between searches for nodes that were not heard of for too long.
EXPIRY_INTERVAL: Final = 300.0
# Seconds between two times that news is passed on: what comes meanwhile goes together.
FLOOD_GAP: Final = 0.05
# Of each node so many comparisons and requests for objects are answered: seconds each takes,
# and at once.
COMPARE_RATE: Final = (0.5, 8)
# So many forged objects of one neighbour are looked at; after that none of it, as long.
FORGED_RATE: Final = (0.1, 32)
# Identities that nobody vouches for, beyond one for each address that there is.
SPARE_STRANGERS: Final = 64
_NEVER: Final = float("inf")
Verifier = Callable[[bytes, bytes, bytes], None]


class Mesh:
    """A node of one network.

    Args:
        settings: of this node.
        identity: its secret.
        channel: the WireGuard device.
        entropy: returns that many bytes fit for keys.
        next_seq: returns a number never used before, not less than its argument.
        now: the time.
        verify: checks a signature; another one only in simulations of many nodes.
    """

    def __init__(  # noqa: PLR0913 - the surroundings, all by name but two
        self,
        settings: Settings,
        identity: Identity,
        *,
        channel: Channel,
        entropy: Callable[[int], bytes],
        next_seq: Callable[[int], int],
        now: float,
        verify: Verifier = verify_untrusted,
    ) -> None:
        keys = NetworkKeys(settings.network.shared_key)
        strangers = SPARE_STRANGERS + (1 << 32 - settings.network.subnet.length)
        objects = Objects(keys.net_id, verify, identity.public, strangers)
        trust = Trust(settings.network.subnet, file_pins(settings, identity))
        self.context = Context(
            settings, identity, keys, entropy, next_seq, channel, objects, trust
        )
        self.members = Members(self.context)
        self.ways = Ways(self.context, self.members)
        self.upkeep = Upkeep(self.context, self._changed, self.ways, now)
        self.announcer = Announcer(self.context, now)
        reached = self.ways.is_reachable
        self.contacts = Contacts(self.context, self.members, self._met, reached, now)
        self._expire_at = now + EXPIRY_INTERVAL
        # When news may be passed on; infinite while there is none.
        self._flood_at, self._flooded_at = _NEVER, float("-inf")

    # --- what was saved ---

    def restore(
        self,
        pins: Iterable[Pin],
        blobs: Iterable[bytes],
        places: Iterable[tuple[bytes, Iterable[Endpoint]]],
        now: float,
    ) -> None:
        """Take up where a run before this one ended."""
        self.members.restore(pins)
        for blob in blobs:
            with self._counting():
                if split_untrusted(blob).identity != self.context.identity.public:
                    self._receive_object(blob, None, now)
        for identity, endpoints in places:
            remote = self.context.remotes.get(identity)
            if remote is not None:
                candidates = [Candidate(each, Kind.CACHED) for each in endpoints]
                remote.offer(self.context.placed(candidates), now)
        self._settle(now)

    def places(self) -> list[tuple[bytes, tuple[Endpoint, ...]]]:
        """Return where nodes answered, to be saved."""
        found = []
        for remote in self.context.remotes.values():
            good = [one for one, trial in remote.trials.items() if trial.rtt is not None]
            if remote.endpoint is not None:
                good.insert(0, remote.endpoint)
            if good:
                found.append((remote.identity, tuple(dict.fromkeys(good))[:8]))
        return found

    # --- the engine's verbs ---

    def receive_datagram(
        self, payload: Buffer, remote: Endpoint, local: Local | None, now: float
    ) -> None:
        """Take what came to the UDP port and is not WireGuard's."""
        with self._counting():
            if not self.context.is_outside(remote):
                raise Rejected(Reason.TUNNELLED)
            kind, body = open_untrusted(self.context.keys, payload)
            if kind in (frames.PROBE, frames.PROBE_ACK):
                try:
                    self.upkeep.receive_probe_untrusted(kind, body, remote, local, now)
                except Rejected as rejected:
                    if kind == frames.PROBE and rejected.reason is Reason.UNKNOWN_NODE:
                        self.contacts.called(remote, now)
                    raise
            else:
                self.contacts.receive_untrusted(kind, body, remote, local, now)
        self._settle(now)

    def receive_lan(self, payload: Buffer, source: Endpoint, now: float) -> None:
        """Take a hello that came to everybody on the LAN."""
        with self._counting():
            self.contacts.receive_hello_untrusted(payload, source, now)
        self._settle(now)

    def receive_inner(self, public_key: PublicKey, payload: Buffer, now: float) -> None:
        """Take a message of a peer's session."""
        remote = self.context.by_key.get(public_key)
        if remote is None:
            self.context.out.drops[Reason.UNKNOWN_NODE] += 1
            return
        with self._counting():
            message = control.split_untrusted(payload)
            if not self.upkeep.receive_untrusted(remote, message, now):
                self._receive_objects(remote, message, now)
        self._settle(now)

    def handle_deadline(self, now: float) -> None:
        """Act on what is due; the next deadline is later than `now`."""
        for part in (self.contacts, self.upkeep, self.announcer):
            if part.next_at() <= now:
                part.handle(now)
        if self.ways.next_at() <= now:
            self.ways.handle(now)
            self.upkeep.choose_neighbours(now)
            for remote in self.ways.take_doubted():
                remote.lost_by_another(now)
                self.upkeep.touch(remote, now)
        if self._expire_at <= now:
            self._expire_at = now + EXPIRY_INTERVAL
            self._expire(now)
        self._settle(now)

    def next_deadline(self) -> Deadline:
        """Return when to call `handle_deadline`."""
        times = (
            (self.contacts.next_at(), "knocks"),
            (self.upkeep.next_at(), "pings"),
            (self.announcer.next_at(), "announcements"),
            (self.ways.next_at(), "routes"),
            (self._expire_at, "expiry"),
            (self._flood_at, "news"),
        )
        return Deadline(*min(times))

    def take_effects(self) -> list[effects.Effect]:
        """Return and forget what is to be done."""
        taken, self.context.out.effects = self.context.out.effects, []
        return taken

    def take_events(self) -> list[events.Event]:
        """Return and forget what happened."""
        taken = list(self.context.out.events)
        self.context.out.events.clear()
        return taken

    # --- what the device and the world report ---

    def session_begun(self, public_key: PublicKey, now: float) -> None:
        """A handshake with a peer is complete: it is who it says."""
        remote = self.context.by_key.get(public_key)
        if remote is None:
            return
        self.members.met(remote, now)
        endpoint = self.context.channel.endpoint(public_key)
        if endpoint is not None and not self.context.is_outside(endpoint):
            endpoint = None
        self.upkeep.session_begun(remote, endpoint, now)
        self._settle(now)

    def session_ended(self, public_key: PublicKey) -> None:
        """The keys of a peer are gone: what is asked next waits for new ones."""
        remote = self.context.by_key.get(public_key)
        if remote is not None:
            remote.calls.session_at = None

    def roamed(self, public_key: PublicKey, endpoint: Endpoint, now: float) -> None:
        """The device heard a peer from elsewhere; by relays: its direct place may be dead."""
        remote = self.context.by_key.get(public_key)
        if remote is None:
            return
        if self.context.is_outside(endpoint):
            self.upkeep.roamed(remote, endpoint, now)
        elif self.ways.keep(remote, endpoint):
            remote.pings.suspect(now)
            self.upkeep.touch(remote, now)
        self._settle(now)

    def relay_failed(self, destination: bytes, failed: bytes, now: float) -> None:
        """A relay on the way to a node cannot hand on to the next."""
        self.ways.relay_failed(destination, failed, now)
        self._settle(now)

    def resolved(
        self, host: str, port: int, endpoints: tuple[Endpoint, ...], now: float
    ) -> None:
        """The answer to a `Resolve`; no endpoints if there was none."""
        self.contacts.resolved(host, port, endpoints, now)
        self._settle(now)

    def set_local(
        self, endpoints: Iterable[Endpoint], networks: Iterable[Prefix], now: float
    ) -> None:
        """Follow the addresses of this host that others may reach it at, and its networks."""
        local, near = tuple(endpoints), tuple(networks)
        if (local, near) != (self.context.local, self.context.networks):
            self.context.local, self.context.networks = local, near
            self.network_changed(now)

    def network_changed(self, now: float) -> None:
        """Addresses, links or routes of this host changed: try everything at once."""
        self.upkeep.witnesses.forget()
        self.contacts.hurry(now)
        for remote in self.context.remotes.values():
            remote.doubt(now)
            self.upkeep.touch(remote, now)
        self.ways.stale(now)
        self._settle(now)

    def set_settings(self, settings: Settings, now: float) -> None:
        """Follow changed files; identity, network and address stay."""
        self.context.settings = settings
        self.contacts.set_seeds(settings.seeds, now)
        self.members.refile(file_pins(settings, self.context.identity), now)
        self.announcer.routes(now)
        self._settle(now)

    # --- people ---

    def accept(self, name: str, words: str, now: float) -> None:
        """Give a name to the identity with a fingerprint, here and wherever we are believed.

        Raises:
            ConfigError: no such identity, or it does not claim the name.
        """
        body = self.members.accept(name, self.members.find(name, words), now)
        self.announcer.accept(body, now)
        self._settle(now)

    def pin(self, name: str, words: str, now: float) -> None:
        """Give a name to the identity with a fingerprint, on this node.

        Raises:
            ConfigError: no such identity, or the file says otherwise.
        """
        self.members.pin(name, self.members.find(name, words), now)
        self._settle(now)

    def forget(self, name: str, now: float) -> None:
        """Take away the pins of a name.

        Raises:
            ConfigError: nothing to forget.
        """
        self.members.forget(name, now)
        self._settle(now)

    def leave(self, now: float) -> None:
        """Say goodbye to everybody."""
        self.announcer.leave(now)
        self._flood(now)

    # --- inside ---

    def _receive_objects(self, remote: Remote, message: Message, now: float) -> None:
        match message.kind:
            case control.OBJECTS:
                if spend(remote.calls.spent.get(message.kind, 0.0), now, *FORGED_RATE) is None:
                    raise Rejected(Reason.TOO_FAST)
                for blob in control.unpack_objects_untrusted(message.body):
                    if self._receive_object(blob, remote.short, now) is Reason.BAD_SIGNATURE:
                        remote.limit(message.kind, FORGED_RATE, now)
            case control.DIGEST:
                digest = control.decode_digest_untrusted(message.body)
                remote.limit(message.kind, COMPARE_RATE, now)
                buckets = self.context.objects.differing(digest)
                if buckets:
                    self._send(remote, control.PULL, control.encode_pull(buckets))
                if buckets and not message.flag:
                    own = b"".join(self.context.objects.digest())
                    self._send(remote, control.DIGEST, own, flag=True)
            case control.PULL:
                buckets = control.decode_pull_untrusted(message.body)
                remote.limit(message.kind, COMPARE_RATE, now)
                payloads = control.pack_objects(self.context.objects.in_buckets(buckets))
                self._send_all(remote, payloads)
            case _:
                return

    def _receive_object(self, blob: bytes, sender: bytes | None, now: float) -> Reason | None:
        """Take an object; return why it is rejected."""
        try:
            echo = self.members.receive_untrusted(blob, sender, now)
        except Rejected as rejected:
            self.context.out.drops[rejected.reason] += 1
            return rejected.reason
        if echo is not None:
            self.announcer.echoed(echo, now)
        return None

    def _met(self, remote: Remote, endpoint: Endpoint, now: float) -> None:
        self.upkeep.found(remote, endpoint, now)

    def _changed(self, remote: Remote, now: float) -> None:
        """A direct way has come, gone, or got another length."""
        self.ways.follow(remote, now)
        if not remote.up:
            self.contacts.lost(remote, now)
        self.announcer.links(self.upkeep.neighbours(), now)

    def _settle(self, now: float) -> None:
        """Bring in step what depends on what has changed; at the end of each input."""
        if self.members.changed or self.upkeep.unsettled:
            self.members.changed = self.upkeep.unsettled = False
            self.ways.stale(now)
        if self.announcer.next_at() <= now:
            self.announcer.handle(now)
        for remote in self.ways.take_moved():
            self.upkeep.touch(remote, now)
        news = self.context.objects.has_floods
        self._flood_at = max(now, self._flooded_at + FLOOD_GAP) if news else _NEVER
        if self._flood_at <= now:
            self._flood(now)

    def _flood(self, now: float) -> None:
        """Pass on what is new to all neighbours but those who told us."""
        self._flood_at, self._flooded_at = _NEVER, now
        floods = thrift.passed_on(self.context, self.context.objects.take_floods())
        for remote in self.upkeep.neighbours():
            blobs = [blob for blob, tellers in floods if remote.short not in tellers]
            self._send_all(remote, control.pack_objects(blobs))

    def _expire(self, now: float) -> None:
        in_use = self.ways.in_use()
        expired = self.context.objects.expire(now, in_use)
        self.members.rest(expired.unreachable, now)
        for identity in expired.dropped:
            self.members.drop(identity, "not heard of for a week", now)

    def _send(self, remote: Remote, kind: int, body: bytes, *, flag: bool = False) -> None:
        self._send_all(remote, [control.encode(kind, body, flag=flag)])

    def _send_all(self, remote: Remote, payloads: list[bytes]) -> None:
        if payloads:
            effect = effects.SendInner(remote.public_key, tuple(payloads))
            self.context.out.effects.append(effect)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Count what is rejected, and go on."""
        try:
            yield
        except Rejected as rejected:
            self.context.out.drops[rejected.reason] += 1
