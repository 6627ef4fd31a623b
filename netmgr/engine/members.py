"""Who belongs to the network: Records judged, nodes let in and shown out, pins kept.

Whatever changes what is believed - a Record, a pin, a session, a word of a person - leads to
one judgement of all who are concerned; nodes that are believed have a `Remote`, others none.
"""

from netmgr import events
from netmgr.effects import ChangePeers, Save
from netmgr.engine.common import Context, text
from netmgr.engine.flood import OwnEcho
from netmgr.engine.remote import Remote
from netmgr.engine.signing import address6, fingerprint, short_id, wireguard_key
from netmgr.engine.trust import Claim, How, Pin
from netmgr.errors import Rejected
from netmgr.wire import objects
from wgpy.errors import ConfigError
from wgpy.model import AllowedIPChange, PeerChange, Prefix


class Members:
    """Judges; `changed` is set when routes must be computed anew, and reset by who does."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.changed = True

    # --- objects ---

    def receive_untrusted(
        self, blob: bytes, sender: bytes | None, now: float
    ) -> OwnEcho | None:
        """Take a signed object of anybody; return what it says of ourselves that we did not.

        `sender` is the short id of who handed it over, None if it was saved.

        Raises:
            Rejected: why it is not kept.
        """
        signed = self._context.objects.receive_untrusted(blob, sender, now)
        if signed is None or isinstance(signed, OwnEcho):
            return signed
        self.changed = True
        match signed.kind:
            case objects.RECORD:
                self._heard(signed.identity, now)
            case objects.LEAVE:
                self._left(signed.identity)
            case objects.ACCEPT:
                if sender is not None:
                    self._accepted(signed, now)
            case _:
                pass
        return None

    def _heard(self, identity: bytes, now: float) -> None:
        context = self._context
        record = context.objects.record(identity)
        if record is None or identity == context.identity.public:
            return
        claim = Claim(record.name, record.address, identity)
        before = context.trust.claimed(identity)
        context.trust.claim(claim)
        concerned = {identity} | context.trust.rivals(claim)
        if before is not None:
            concerned |= context.trust.rivals(before)
        for one in concerned:
            self.judge(one, now)

    def _left(self, identity: bytes) -> None:
        remote = self._context.remotes.get(identity)
        if remote is not None:
            self._tell(events.NodeLeft(remote.name, "said goodbye"))

    def _accepted(self, signed: objects.Signed, now: float) -> None:
        """Believe a replacement if it comes from a node that the file pins."""
        context = self._context
        if context.trust.how(signed.identity) is not How.FILE:
            return
        accept = objects.decode_accept_untrusted(signed.body)
        self._replace(accept.name, accept.address, accept.identity)
        self.judge_all(now)

    # --- judgement ---

    def judge(self, identity: bytes, now: float) -> None:
        """Let a node in or show it out, by what is believed of its claim."""
        context = self._context
        claim = context.trust.claimed(identity)
        record = context.objects.record(identity)
        if claim is None or record is None or identity == context.identity.public:
            return
        reason = context.trust.judge(identity)
        remote = context.remotes.get(identity)
        if reason is None:
            context.trust.settle(identity)
            if remote is None:
                remote = self._let_in(identity, record, now)
            remote.record = record
            remote.offer(context.placed(record.candidates), now)
            return
        if context.trust.report(claim, reason):
            address = text(claim.address)
            who = fingerprint(identity)
            self._tell(events.ClaimRefused(claim.name, address, who, reason))
        if remote is not None:
            self._show_out(remote, reason.value)

    def _let_in(self, identity: bytes, record: objects.Record, now: float) -> Remote:
        context = self._context
        key = wireguard_key(identity)
        remote = Remote(identity, short_id(identity), key, now)
        remote.record = record
        context.remotes[identity] = remote
        context.by_key[key] = context.by_short[remote.short] = remote
        psk = context.keys.preshared_key(key, context.identity.wireguard_public)
        change = PeerChange(key, preshared_key=psk, allowed_ips=self.addresses(remote))
        context.out.effects.append(ChangePeers((change,)))
        who = fingerprint(identity)
        self._tell(events.NodeJoined(record.name, text(record.address), who))
        return remote

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

    def drop(self, identity: bytes, why: str) -> None:
        """Forget a node that was not heard of for too long."""
        self._context.trust.withdraw(identity)
        remote = self._context.remotes.get(identity)
        if remote is not None:
            self._show_out(remote, why)

    # --- meeting ---

    def met(self, remote: Remote, now: float) -> None:
        """Act on a session: the claim of who holds the key is its own from now on."""
        pin = self._context.trust.met(remote.identity)
        if pin is None:
            return
        self._context.objects.keep(remote.identity)
        who = fingerprint(remote.identity)
        self._tell(events.NodePinned(pin.name, text(pin.address), who))
        self._context.out.effects.append(Save())
        self._judge_rivals(pin, now)

    # --- people ---

    def pin(self, name: str, identity: bytes, now: float) -> None:
        """Bind a name, and the address that the identity claims with it, to the identity.

        Raises:
            ConfigError: the file says otherwise.
        """
        claim = self._context.trust.claimed(identity)
        address = claim.address if claim is not None and claim.name == name else None
        self._replace(name, address or b"", identity)
        pinned = self._context.trust.pinned(name)
        if pinned is None or pinned.identity != identity:
            raise ConfigError(f"{name} is pinned by network.yaml: change its id there")
        self.judge_all(now)

    def forget(self, name: str, now: float) -> None:
        """Take away the pins of a name, and what is known of who had it.

        Raises:
            ConfigError: nothing to forget, or the file pins it.
        """
        context = self._context
        pinned = context.trust.pinned(name)
        if pinned is None:
            raise ConfigError(f"{name} is not pinned")
        if not context.trust.forget(name):
            raise ConfigError(f"{name} is pinned by network.yaml: remove its id there")
        context.out.effects.append(Save())
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

    def _replace(self, name: str, address: bytes, identity: bytes) -> None:
        try:
            wireguard_key(identity)
        except Rejected:
            return
        self._context.trust.replace(name, address, identity, How.PERSON)
        self._context.out.effects.append(Save())

    def _judge_rivals(self, pin: Pin, now: float) -> None:
        claim = Claim(pin.name, pin.address or None, pin.identity)
        for rival in self._context.trust.rivals(claim):
            self.judge(rival, now)

    def _tell(self, event: events.Event) -> None:
        self._context.out.events.append(event)
