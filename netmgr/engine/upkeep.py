"""Keeping ways alive: pings of neighbours, probes of places, word of what died.

Neighbours, and only they, are pinged regularly and stand in Links. Any other node is pinged
when traffic to it stays without an answer.
"""

from collections.abc import Callable
from typing import Final

from netmgr.effects import SendDatagram, SendInner
from netmgr.engine import knock, thrift
from netmgr.engine.common import Context, is_metered
from netmgr.engine.liveness import FIRST_INTERVAL, PING_INTERVAL
from netmgr.engine.neighbours import Neighbours
from netmgr.engine.remote import Direct, Remote, Via
from netmgr.engine.signing import keyed_mac, same
from netmgr.engine.ways import Ways
from netmgr.engine.witnesses import Witnesses
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, Kind
from netmgr.wire import control, frames
from netmgr.wire.control import Message, Ping, Pong
from netmgr.wire.frames import Probe
from wgpy.engine.deadlines import Deadlines
from wgpy.model import Deadline, Endpoint, Local
from wgpy.wire.detour import via_id

# Neighbours that chose us, so many at once; who pays has only two, and may have no others.
ACCEPTED: Final = 24
ACCEPTED_METERED: Final = 256
# Probes of the direct place that go unanswered before it is given up while relays are used.
CHECKS: Final = 3
# Seconds between looks at the traffic, while there is some and while there is none.
BUSY_TICK: Final = 0.3
IDLE_TICK: Final = 0.5
# Seconds after the first call for probes at which it is repeated.
CALLS: Final = (0.0, 5.0, 15.0, 30.0, 60.0, 300.0)
# Seconds between two comparisons of what is held, whoever with: the first may do for all.
COMPARE_GAP: Final = 0.5
# Seconds between looks for others in place of neighbours that do not answer.
CHOOSE_INTERVAL: Final = 5.0
# A direct way that was lost twice within so many seconds has to prove itself for a while.
FLAP_TIME: Final = 60.0
# Of each kind of message of one node so many are answered: seconds each takes, and at once.
PING_RATE: Final = (0.1, 20)
PROBE_RATE: Final = (0.02, 64)
CALL_RATE: Final = (2.0, 4)
_TXID_SIZE: Final = 8


class Upkeep:
    """Pings and probes; `changed` is called when a way has come, gone or got another length."""

    def __init__(
        self,
        context: Context,
        changed: Callable[[Remote, float], None],
        ways: Ways,
        now: float,
    ) -> None:
        self._context = context
        self._changed = changed
        self._ways = ways
        self._deadlines: Deadlines[Remote] = Deadlines()
        self._tick_at = self._choose_at = self._compare_at = now
        # Whether a direct way came or went since neighbours were chosen.
        self.unsettled = False
        self.witnesses = Witnesses(context)
        self._neighbours = Neighbours(context, ways.has_way, ways.is_cut_off)

    # --- the clock ---

    def next_at(self) -> float:
        """Return when `handle` has something to do."""
        deadline = self._deadlines.next()
        return self._tick_at if deadline is None else min(self._tick_at, deadline.at)

    def handle(self, now: float) -> None:
        """Look at the traffic, ping and probe, as far as it is time."""
        if self._tick_at <= now:
            self._look(now)
        for remote in self._deadlines.pop_due(now):
            if self._context.remotes.get(remote.identity) is remote:
                self._work(remote, now)

    def choose_neighbours(self, now: float) -> None:
        """Choose whom to keep a direct way to; after nodes have come or gone."""
        for remote in self._context.remotes.values():
            if remote.up and self._context.objects.has_left(remote.identity):
                self._gave_up(remote, now)
        pause = thrift.probe_interval(self._context)
        for remote in self._neighbours.choose():
            remote.places.last_probe = pause
            self.touch(remote, now)

    def is_neighbour(self, remote: Remote) -> bool:
        """Tell whether a direct way to a node is kept and told of."""
        return self._neighbours.wants(remote) or remote.wants_us

    def neighbours(self) -> list[Remote]:
        """Return the neighbours that answer."""
        remotes = self._context.remotes.values()
        return [one for one in remotes if one.up and self.is_neighbour(one)]

    def touch(self, remote: Remote, now: float) -> None:
        """Compute anew when something is due for a node."""
        due = [self._ping_at(remote), remote.pings.overdue_at(), self._quiet_at(remote)]
        if self._wants_direct(remote, now):
            due += [remote.probe_at(), remote.check_at()]
            if not remote.up and isinstance(remote.way, Via):
                due.append(remote.calls.next_at)
        at = min((each for each in due if each is not None), default=None)
        deadline = None if at is None else Deadline(max(at, now + 0.001), "a node is due")
        self._deadlines.set(remote, deadline)

    # --- what is known of a way ---

    def proven(self, remote: Remote, endpoint: Endpoint, now: float) -> None:
        """Use a place from which an answer came, if it is better than what there is."""
        if self._context.objects.has_left(remote.identity):
            return
        if remote.prefers(endpoint, now):
            fresh = not remote.up and now - remote.downs[0] > FLAP_TIME
            if remote.take_up(endpoint, now):
                self._came_up(remote, now, fresh=fresh)
        else:
            self._changed(remote, now)
        self.touch(remote, now)

    def session_begun(self, remote: Remote, endpoint: Endpoint | None, now: float) -> None:
        """A handshake is complete; `endpoint` is where the other is, None if behind relays."""
        if remote.calls.session_at is None:
            remote.calls.session_at = now
            if remote.up:
                self._ping(remote, now)
        if endpoint is not None and not remote.up:
            self.proven(remote, endpoint, now)
        self.touch(remote, now)

    def found(self, remote: Remote, endpoint: Endpoint, now: float) -> None:
        """Take a place where a node was met: use it if there is no way, otherwise probe it."""
        if isinstance(remote.way, Direct | Via):
            self._probe(remote, endpoint, now)
        else:
            self.proven(remote, endpoint, now)

    def roamed(self, remote: Remote, endpoint: Endpoint, now: float) -> None:
        """Follow the device, which heard the node directly from another place."""
        before = remote.checks.moved_at
        remote.offer(self._context.placed([Candidate(endpoint, Kind.OBSERVED)]), now)
        if remote.up and remote.take_up(endpoint, now):
            self.unsettled = True  # no prefix may hold a place where a node is reached
            self._changed(remote, now)
            # Not at once: two who answer from elsewhere each time would do so without end.
            remote.pings.next_at = max(now, before + FIRST_INTERVAL)
        self.touch(remote, now)

    # --- from the network ---

    def receive_probe_untrusted(
        self, kind: int, body: bytes, remote: Endpoint, local: Local | None, now: float
    ) -> None:
        """Take a probe, or an answer to one.

        Raises:
            Rejected: it is not for us, or of nobody we know.
        """
        probe = Probe.decode_untrusted(kind, body)
        context = self._context
        if probe.target != context.identity.short:
            raise Rejected(Reason.NOT_FOR_US)
        node = context.by_short.get(probe.sender)
        if node is None:
            raise Rejected(Reason.UNKNOWN_NODE)
        key = context.identity.pair_key(node.public_key)
        if not same(probe.proof, keyed_mac(key, probe.proven(kind))):
            raise Rejected(Reason.NOT_AUTHENTIC)
        if kind == frames.PROBE:
            node.limit(kind, PROBE_RATE, now)
            answer = Probe(probe.target, probe.sender, probe.txid, b"", remote)
            self._send_probe(frames.PROBE_ACK, answer, key, remote, local)
            node.offer(context.placed([Candidate(remote, Kind.OBSERVED)]), now)
            node.places.heard_from(remote, now)
            if not node.up:
                for place in node.due_probes(now):
                    self._probe(node, place, now)
            self.touch(node, now)
            return
        endpoint = node.answered(probe.txid, now)
        if endpoint is None:
            raise Rejected(Reason.UNASKED)
        if probe.observed is not None:
            self.witnesses.saw(node, probe.observed)
        self.proven(node, endpoint, now)

    def receive_untrusted(self, remote: Remote, message: Message, now: float) -> bool:
        """Take a message of a node's session; False if it is of a kind for others.

        Raises:
            Rejected: MALFORMED.
        """
        match message.kind:
            case control.PING:
                self._receive_ping(remote, message, now)
            case control.PONG:
                self._receive_pong(remote, message, now)
            case control.CALL_ME:
                self._receive_call(remote, message, now)
            case _:
                return False
        self.touch(remote, now)
        return True

    # --- inside: answers ---

    def _receive_ping(self, remote: Remote, message: Message, now: float) -> None:
        ping = Ping.decode_untrusted(message.body)
        remote.limit(control.PING, PING_RATE, now)
        observed, digest = self._direct_endpoint(remote), self._context.objects.total_digest()
        pong = Pong(ping.txid, digest, observed).encode()
        self._send(remote, control.PONG, pong, flag=self._neighbours.wants(remote))
        self._take_flag(remote, message, now)
        if observed is not None:
            if not remote.up:
                # It may have come through relays all the same: that place proves nothing yet.
                remote.offer(self._context.placed([Candidate(observed, Kind.OBSERVED)]), now)
                remote.places.heard_from(observed, now)
            else:
                interval = self._interval(remote) or PING_INTERVAL
                remote.pings.asked(ping.rtt_us / 1_000_000, interval, now)
        self._compare(remote, ping.digest, now)

    def _receive_pong(self, remote: Remote, message: Message, now: float) -> None:
        pong = Pong.decode_untrusted(message.body)
        interval = self._interval(remote) or PING_INTERVAL
        sent_at = remote.pings.ponged(pong.txid, interval, now)
        if sent_at is None:
            raise Rejected(Reason.UNASKED)
        self._take_flag(remote, message, now)
        if pong.observed is not None and self._direct_endpoint(remote) is not None:
            self.witnesses.saw(remote, pong.observed)
            if remote.calls.session_at is not None and sent_at >= remote.calls.session_at:
                remote.pings.measured_at = now
                if remote.up:
                    remote.pings.measure(now - sent_at)
                    self._changed(remote, now)
        elif isinstance(remote.way, Direct) and remote.up:
            # Its answers take another way than ours, and do not measure it.
            self._probe(remote, remote.way.endpoint, now)
        self._compare(remote, pong.digest, now)

    def _receive_call(self, remote: Remote, message: Message, now: float) -> None:
        found = control.decode_endpoints_untrusted(message.body)
        remote.limit(control.CALL_ME, CALL_RATE, now)
        remote.offer(self._context.placed(Candidate(one, Kind.OBSERVED) for one in found), now)
        if message.flag:
            self._call(remote, answer=False)
        if remote.up:
            remote.pings.suspect(now)
            return
        remote.try_now(now)
        remote.pings.traffic_at = now

    def _take_flag(self, remote: Remote, message: Message, now: float) -> None:
        if message.flag == remote.wants_us:
            return
        pays = is_metered(remote.record)
        others = (one for one in self._context.remotes.values() if one.wants_us)
        held = sum(is_metered(one.record) == pays for one in others)
        most = ACCEPTED_METERED if pays else ACCEPTED
        if not message.flag or self._context.is_seed or held < most:
            remote.calls.wants_us = message.flag
            self._changed(remote, now)

    def _compare(self, remote: Remote, digest: bytes, now: float) -> None:
        objects = self._context.objects
        if remote.differs(objects.total_digest(), digest, now) and self._compare_at <= now:
            remote.calls.compared_at, self._compare_at = now, now + COMPARE_GAP
            self._send(remote, control.DIGEST, b"".join(objects.digest()))

    # --- inside: the clock ---

    def _look(self, now: float) -> None:
        busy = False
        for key, rx_grew, tx_grew in self._context.channel.active():
            remote = self._context.by_key.get(key)
            if remote is not None:
                remote.pings.observe(now, rx_grew=rx_grew, tx_grew=tx_grew)
                if rx_grew:
                    self._ways.heard(remote, now)
                if remote.arrived(*self._context.channel.arrivals(key), now):
                    self._changed(remote, now)
                busy = True
                self.touch(remote, now)
        self._tick_at = now + (BUSY_TICK if busy else IDLE_TICK)
        if self._choose_at <= now:
            self._choose_at = now + CHOOSE_INTERVAL
            if self._neighbours.lacks_some:
                self.choose_neighbours(now)

    def _work(self, remote: Remote, now: float) -> None:
        if remote.pings.miss(now):
            self._died(remote, now)
        quiet_at = self._quiet_at(remote)
        if quiet_at is not None and quiet_at <= now:
            self._gave_up(remote, now)
        ping_at = self._ping_at(remote)
        if ping_at is not None and ping_at <= now:
            self._ping(remote, now)
        if self._wants_direct(remote, now):
            check = remote.due_check(now)
            if check is not None and remote.checks.unanswered > CHECKS:
                self._gave_up(remote, now)
            elif check is not None:
                self._probe(remote, check, now)
            for endpoint in remote.due_probes(now):
                self._probe(remote, endpoint, now)
            if not remote.up and isinstance(remote.way, Via) and remote.calls.next_at <= now:
                self._call(remote, answer=True)
                remote.calls.tries += 1
                remote.calls.next_at = now + CALLS[min(remote.calls.tries, len(CALLS) - 1)]
        self.touch(remote, now)

    def _died(self, remote: Remote, now: float) -> None:
        remote.pings.died(now)
        if isinstance(remote.way, Via):
            self._ways.relayed_dead(remote, now)
        elif remote.up:
            self._gave_up(remote, now)

    def _came_up(self, remote: Remote, now: float, *, fresh: bool) -> None:
        self.unsettled = True
        if fresh:
            self._ways.forget(remote)
        self._changed(remote, now)
        self._ping(remote, now)

    def _gave_up(self, remote: Remote, now: float) -> None:
        self.unsettled = True
        remote.give_up(now)
        self._changed(remote, now)

    def _interval(self, remote: Remote) -> float | None:
        if not remote.up or not isinstance(remote.way, Direct):
            return None
        if not self.is_neighbour(remote):
            return None
        return thrift.ping_interval(self._context, remote)

    def _ping_at(self, remote: Remote) -> float | None:
        # Where nothing answers probes ask; a ping would have the device ask for a session.
        if not remote.up and not self._ways.has_way(remote):
            return None
        return remote.pings.ping_at(self._interval(remote))

    def _quiet_at(self, remote: Remote) -> float | None:
        return None if self.is_neighbour(remote) else thrift.quiet_at(self._context, remote)

    def _wants_direct(self, remote: Remote, now: float) -> bool:
        return self.is_neighbour(remote) or remote.pings.busy(now)

    def _direct_endpoint(self, remote: Remote) -> Endpoint | None:
        """Return where a node was last heard directly, None if that was through relays."""
        endpoint = self._context.channel.endpoint(remote.public_key)
        return None if endpoint is None or via_id(endpoint) is not None else endpoint

    # --- inside: sending ---

    def _ping(self, remote: Remote, now: float) -> None:
        txid = self._context.entropy(_TXID_SIZE)
        rtt_us = 0 if remote.rtt is None else int(remote.rtt * 1_000_000)
        ping = Ping(txid, self._context.objects.total_digest(), rtt_us).encode()
        interval = (self._interval(remote) or PING_INTERVAL) * self._context.share(0.95, 1.05)
        remote.pings.pinged(txid, interval, now)
        self._send(remote, control.PING, ping, flag=self._neighbours.wants(remote))

    def _call(self, remote: Remote, *, answer: bool) -> None:
        body = control.encode_endpoints((*self._context.observed, *self._context.local))
        self._send(remote, control.CALL_ME, body, flag=answer)

    def _send(self, remote: Remote, kind: int, body: bytes, *, flag: bool = False) -> None:
        payloads = (control.encode(kind, body, flag=flag),)
        self._context.out.effects.append(SendInner(remote.public_key, payloads))

    def _probe(self, remote: Remote, endpoint: Endpoint, now: float) -> None:
        context = self._context
        txid = context.entropy(_TXID_SIZE)
        remote.places.probed(txid, endpoint, now)
        probe = Probe(context.identity.short, remote.short, txid, b"")
        key = context.identity.pair_key(remote.public_key)
        if not context.is_tunnelled(endpoint):
            self._send_probe(frames.PROBE, probe, key, endpoint, None)

    def _send_probe(
        self, kind: int, probe: Probe, key: bytes, remote: Endpoint, local: Local | None
    ) -> None:
        context = self._context
        body = probe._replace(proof=keyed_mac(key, probe.proven(kind))).encode(kind)
        payload = knock.seal(context.keys, kind, body, context.entropy)
        context.out.effects.append(SendDatagram(payload, remote, local))
