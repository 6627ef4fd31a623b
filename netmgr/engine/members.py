"""Who belongs to the network: Records judged, nodes let in and shown out, pins kept.

Whatever changes what is believed - a Record, a pin, a session, a word of a person - leads to
one judgement of all who are concerned; nodes that are believed have a `Remote`, others none.

Of an identity a Record comes first: nothing else is kept of who has none. A claim that is
refused is kept like any other, so that neighbours agree on what they hold, but it is passed on
only once, as evidence, and one a minute from each neighbour at most; what else such an identity
says is not passed on at all.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from netmgr import events
from netmgr.effects import ChangePeers, Save
from netmgr.engine.common import Context, is_place, text
from netmgr.engine.conflicts import Conflicts
from netmgr.engine.flood import OwnEcho
from netmgr.engine.knock import Rate
from netmgr.engine.refusals import Refusals, is_ours
from netmgr.engine.remote import Remote
from netmgr.engine.signing import address6, fingerprint, short_id, wireguard_key
from netmgr.engine.trust import Claim, How, Pin
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, Kind
from netmgr.wire import objects
from wgpy.errors import ConfigError
from wgpy.model import AllowedIPChange, PeerChange, Prefix

# Refused claims that are passed on: seconds between two from one neighbour; neighbours known.
EVIDENCE_INTERVAL: Final = 60.0
_MAX_NEIGHBOURS: Final = 1024
# Stands for all who come to the door, as a neighbour that hands over what is claimed there.
DOOR: Final = b"the door"
# Refused claims that are told of: a second in the long run, and at once.
_TOLD_RATE: Final = 0.2
_TOLD_BURST: Final = 64
_ANNOUNCED: Final = (objects.RECORD, objects.LINKS, objects.ROUTES, objects.LEAVE)


class Members:
    """Judges; `changed` is set when routes must be computed anew, and reset by who does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.changed = True
        self.refusals = Refusals(context)
        self.conflicts = Conflicts()
        self._evidence: OrderedDict[bytes, Rate] = OrderedDict()
        self._told = Rate(_TOLD_RATE, _TOLD_BURST)
        self._vouch(pin.identity for pin in context.trust.pins())

    def restore(self, pins: Iterable[Pin]) -> None:
        """Take pins that were saved."""
        trust = self._context.trust
        trust.restore(pins)
        self._vouch(pin.identity for pin in trust.pins())

    # --- objects ---

    def receive_untrusted(
        self, blob: bytes, sender: bytes | None, now: float
    ) -> OwnEcho | None:
        """Take a signed object of anybody; return what it says of ourselves that we did not.

        `sender` is the short id of who handed it over, `DOOR` if that is the one whose it is,
        None if it was saved.

        Raises:
            Rejected: why it is not kept.
        """
        context = self._context
        if context.objects.repeats(blob, sender):
            return None
        self._expect_untrusted(objects.split_untrusted(blob))
        signed = context.objects.receive_untrusted(blob, sender, now)
        if isinstance(signed, OwnEcho):
            if signed.kind not in _ANNOUNCED:
                # Said in a run before this one, and still true.
                context.objects.receive_untrusted(blob, None, now)
            return signed
        for dropped in context.objects.take_dropped():
            self.drop(dropped, "gave way to others", now)
        if signed is None or signed.identity == context.identity.public:
            return None
        is_news = signed.kind == objects.RECORD and self.heard(
            signed.identity, now, arrived=sender == DOOR
        )
        if signed.kind == objects.LEAVE:
            self._left(signed.identity, now)
        elif signed.kind == objects.ACCEPT and sender is not None:
            self._accepted(signed, now)
        if signed.identity in context.remotes:
            self.changed = True
        elif not (is_news and self._is_evidence(sender, now)):
            context.objects.withhold(signed)
        return None

    def heard(self, identity: bytes, now: float, *, arrived: bool = False) -> bool:
        """Judge what the Record of an identity claims; return whether a refusal is news.

        `arrived` says that it is there at the door: it may be who was forgotten.
        """
        context = self._context
        record = context.objects.record(identity)
        if record is None or identity == context.identity.public:
            return False
        claim = Claim(record.name, record.address, identity)
        before = context.trust.claimed(identity)
        context.trust.claim(claim)
        if arrived:
            context.trust.arrived(identity)
        concerned = context.trust.rivals(claim)
        if before is not None:
            concerned |= context.trust.rivals(before)
        is_news = self.judge(identity, now, again=True)
        if arrived:
            self.conflicts.knocked(identity, now)
        for one in sorted(concerned):
            self.judge(one, now)
        remote = context.remotes.get(identity)
        if remote is not None and before != claim and remote.calls.session_at is not None:
            # It holds the key at this moment: nobody may contest its new name meanwhile.
            self.met(remote, now)
        return is_news

    def _expect_untrusted(self, signed: objects.Signed) -> None:
        """Refuse what would leave something behind of who never gets in."""
        context = self._context
        identity = signed.identity
        if identity == context.identity.public or context.objects.record(identity) is not None:
            return
        if signed.kind != objects.RECORD:
            raise Rejected(Reason.UNKNOWN_NODE)
        wireguard_key(identity)

    def _is_evidence(self, sender: bytes | None, now: float) -> bool:
        if sender is None:
            return False
        rate = self._evidence.pop(sender, None) or Rate(1 / EVIDENCE_INTERVAL, 1)
        self._evidence[sender] = rate
        if len(self._evidence) > _MAX_NEIGHBOURS:
            self._evidence.popitem(last=False)
        return rate.allow(now)

    def rest(self, identities: Iterable[bytes], now: float) -> None:
        """Let claims of who is not there count less than those of others."""
        for identity in identities:
            for rival in sorted(self._context.trust.rest(identity)):
                self.judge(rival, now)

    def _left(self, identity: bytes, now: float) -> None:
        self.rest([identity], now)
        remote = self._context.remotes.get(identity)
        if remote is None:
            self.conflicts.settle(identity)
        else:
            self._tell(events.NodeLeft(remote.name, "said goodbye"))

    def _accepted(self, signed: objects.Signed, now: float) -> None:
        """Believe a replacement if it comes from a node that the file pins."""
        context = self._context
        if context.trust.how(signed.identity) is not How.FILE:
            return
        name, address, identity = objects.decode_accept_untrusted(signed.body)
        wireguard_key(identity)
        # As strong as a meeting: what a person said here holds, also when this comes again.
        self._replace(name, address, identity, How.MET, now)

    # --- judgement ---

    def judge(self, identity: bytes, now: float, *, again: bool = False) -> bool:
        """Let a node in or show it out, by its claim; return whether a refusal is news.

        `again` says that it was claimed anew.
        """
        context = self._context
        claim = context.trust.claimed(identity)
        record = context.objects.record(identity)
        if claim is None or record is None:
            return False
        reason = context.trust.judge(identity)
        remote = context.remotes.get(identity)
        if reason is None and remote is None and context.has_key_of_another(identity):
            reason = Reason.KEY_TAKEN
        if reason is None:
            self.conflicts.settle(identity)
            if remote is None:
                remote = self._let_in(identity, record, now)
            else:
                self._follow(remote, record)
            remote.offer(context.placed(self._places(record)), now)
            return False
        if remote is not None:
            self._show_out(remote, reason.value)
        if reason is Reason.REPLACED:
            self.conflicts.settle(identity)
            return False
        is_news = self.conflicts.report(claim, reason, now, again=again)
        if is_news and self._told.allow(now):
            address, who = text(claim.address), fingerprint(identity)
            ours = is_ours(context, claim)
            self._tell(events.ClaimRefused(claim.name, address, who, reason, ours))
        return is_news

    def _let_in(self, identity: bytes, record: objects.Record, now: float) -> Remote:
        context = self._context
        key = wireguard_key(identity)
        remote = Remote(identity, short_id(identity), key, now)
        remote.record = record
        context.remotes[identity] = remote
        self.changed = True
        context.by_key[key] = context.by_short[remote.short] = remote
        psk = context.keys.preshared_key(key, context.identity.wireguard_public)
        change = PeerChange(key, preshared_key=psk, allowed_ips=self.addresses(remote))
        context.out.effects.append(ChangePeers((change,)))
        self._tell(events.NodeJoined(record.name, text(record.address), fingerprint(identity)))
        return remote

    def _follow(self, remote: Remote, record: objects.Record) -> None:
        """Take a newer Record; an address that it gives up is the node's no more."""
        old = self.addresses(remote)
        remote.record = record
        new = self.addresses(remote)
        if old != new:
            gone = [each._replace(remove=True) for each in old if each not in new]
            allowed = (*gone, *(each for each in new if each not in old))
            change = PeerChange(remote.public_key, update_only=True, allowed_ips=allowed)
            self._context.out.effects.append(ChangePeers((change,)))

    def _places(self, record: objects.Record) -> list[Candidate]:
        """Return the places of a Record that are worth a try; what is static the file says."""
        subnet, net_id = self._context.settings.network.subnet, self._context.keys.net_id
        found = [each for each in record.candidates if is_place(each.endpoint, subnet, net_id)]
        return [
            each._replace(kind=Kind.OBSERVED) if each.kind is Kind.STATIC else each
            for each in found
        ]

    def _show_out(self, remote: Remote, why: str) -> None:
        context = self._context
        del context.remotes[remote.identity]
        del context.by_key[remote.public_key]
        context.by_short.pop(remote.short, None)
        self.changed = True
        change = PeerChange(remote.public_key, remove=True)
        context.out.effects.append(ChangePeers((change,)))
        self._tell(events.NodeLeft(remote.name, why))

    def addresses(self, remote: Remote) -> tuple[AllowedIPChange, ...]:
        """Return the addresses that are a node's own."""
        own = [address6(self._context.keys.net_id, remote.identity)]
        if remote.record is not None and remote.record.address is not None:
            own.append(remote.record.address)
        return tuple(AllowedIPChange(Prefix(each, 8 * len(each))) for each in own)

    def drop(self, identity: bytes, why: str, now: float) -> None:
        """Forget a node and its claim; who contested it may be believed from now on."""
        trust = self._context.trust
        claim = trust.claimed(identity)
        trust.withdraw(identity)
        self.conflicts.settle(identity)
        remote = self._context.remotes.get(identity)
        if remote is not None:
            self._show_out(remote, why)
        for rival in sorted(set() if claim is None else trust.rivals(claim)):
            self.judge(rival, now)

    # --- meeting ---

    def met(self, remote: Remote, now: float) -> None:
        """Act on a session: the claim of who holds the key is its own from now on."""
        trust, identity = self._context.trust, remote.identity
        before = [pin for pin in trust.pins() if pin.identity == identity]
        pin = trust.met(identity)
        if pin is None:
            return
        self._vouch([remote.identity])
        self._tell(events.NodePinned(pin.name, text(pin.address), fingerprint(identity)))
        self._context.out.effects.append(Save())
        for former in before:
            given_up = Claim(former.name, former.address or None, identity)
            for rival in sorted(trust.rivals(given_up)):
                self.judge(rival, now)

    def refile(self, pins: Iterable[Pin], now: float) -> None:
        """Follow what a changed file pins."""
        trust = self._context.trust
        before = trust.pins()
        trust.refile(pins)
        self._vouch(pin.identity for pin in (*before, *trust.pins()))
        self.judge_all(now)

    # --- people ---

    def pin(self, name: str, identity: bytes, now: float) -> None:
        """Bind a name, and the address that the identity claims with it, to the identity.

        Raises:
            ConfigError: the file says otherwise, or the address belongs to another name.
        """
        trust = self._context.trust
        claim = self._context.trust.claimed(identity)
        address = claim.address if claim is not None and claim.name == name else None
        if address and not trust.in_subnet(address):
            raise ConfigError(f"{name} claims {text(address)}, which no node of the subnet has")
        if self._replace(name, address or b"", identity, How.PERSON, now):
            return
        pinned = trust.pinned(name)
        if name == self._context.settings.name:
            raise ConfigError(f"{name} is this node itself: one of the two needs another name")
        if pinned is not None and pinned.how is How.FILE and pinned.identity != identity:
            raise ConfigError(f"{name} is pinned by network.yaml: change its id there")
        holder = trust.pinned_address(address or b"")
        if holder is None or holder.how is How.FILE:
            raise ConfigError(f"{name}: network.yaml pins {text(address)} to another identity")
        raise ConfigError(f"{name} claims {text(address)}, which belongs to {holder.name}")

    def forget(self, name: str, now: float) -> None:
        """Take away the pins of a name, and what is known of who had it.

        Raises:
            ConfigError: nothing to forget, or the file pins it.
        """
        context = self._context
        if context.trust.pinned(name) is None:
            raise ConfigError(f"{name} is not pinned")
        found = context.trust.forget(name)
        if not found:
            raise ConfigError(f"{name} is pinned by network.yaml: remove its id there")
        context.out.effects.append(Save())
        identities = {pin.identity for pin in found}
        self._vouch(identities)
        for identity in identities:
            if context.trust.how(identity) is None:
                self.drop(identity, "is forgotten", now)
        self.judge_all(now)

    def find(self, name: str, words: str) -> bytes:
        """Return the identity with a fingerprint, among all that were heard of.

        Raises:
            ConfigError: none has it.
        """
        wanted = words.lower().replace("-", "").replace(" ", "")
        for identity in self._context.objects.identities():
            if fingerprint(identity).replace("-", "") == wanted:
                return identity
        raise ConfigError(f"{name}: no node with the fingerprint {words} was heard of")

    def accept(self, name: str, identity: bytes, now: float) -> bytes:
        """Give a name and its address to a new identity; return the object that tells all.

        Raises:
            ConfigError: the identity does not claim that name.
        """
        claim = self._context.trust.claimed(identity)
        if claim is None or claim.name != name or claim.address is None:
            raise ConfigError(f"{name}: the node with that fingerprint does not claim the name")
        self.pin(name, identity, now)
        return objects.encode_accept(objects.Accept(name, claim.address, identity))

    def judge_all(self, now: float) -> None:
        """Judge everybody anew."""
        self.changed = True
        for identity in list(self._context.objects.identities()):
            self.judge(identity, now)

    # --- inside ---

    def _replace(
        self, name: str, address: bytes, identity: bytes, how: How, now: float
    ) -> bool:
        trust = self._context.trust
        before = [trust.pinned(name), trust.pinned_address(address)]
        if not trust.replace(name, address, identity, how):
            return False
        self._vouch([identity, *(pin.identity for pin in before if pin is not None)])
        self._context.out.effects.append(Save())
        self.judge_all(now)
        return True

    def _vouch(self, identities: Iterable[bytes]) -> None:
        """Keep what is said by those who are pinned, and by others as long as there is room."""
        for identity in identities:
            if self._context.trust.how(identity) is None:
                self._context.objects.release(identity)
            else:
                self._context.objects.keep(identity)

    def _tell(self, event: events.Event) -> None:
        self._context.out.events.append(event)
