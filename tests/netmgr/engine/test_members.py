"""Who is let in and shown out, and what adversaries with the shared key get from trying."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netmgr import events
from netmgr.effects import Save
from netmgr.engine import flood
from netmgr.engine.common import Context, text
from netmgr.engine.flood import OwnEcho
from netmgr.engine.members import DOOR, EVIDENCE_INTERVAL, Members
from netmgr.engine.remote import Remote
from netmgr.engine.signing import _PRIME, address6, fingerprint
from netmgr.engine.trust import How, Pin
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, Kind
from netmgr.reloading import refuse_name
from netmgr.wire import objects
from netmgr.wire.objects import Edge
from tests.netmgr.engine.surroundings import (
    KEYS,
    ME,
    NEIGHBOUR,
    SUBNET,
    Other,
    effects_of,
    peer_changes,
    refused,
    surroundings,
    told,
)
from tests.sim.tunnel import v4
from wgpy.errors import ConfigError
from wgpy.model import AllowedIPChange, Endpoint, PeerChange, Prefix

BOB = Other("bob", "bob", "10.1.1.2")
EVE = Other("eve", "bob", "10.1.1.2")
CAROL = Other("carol", "carol", "10.1.1.3")
FRED = Other("fred", "fred", "10.1.1.9")
FILED = Pin("", v4("10.1.1.9"), FRED.public, How.FILE)


def made(*pins: Pin) -> tuple[Members, Context]:
    context = surroundings(*pins)
    return Members(context), context


def hear(members: Members, *blobs: bytes, now: float = 0.0) -> None:
    for blob in blobs:
        members.receive_untrusted(blob, NEIGHBOUR, now)


def is_in(context: Context, *others: Other) -> bool:
    """Tell whether all are let in, everywhere."""
    places = (context.remotes, context.by_key, context.by_short)
    found = {
        (other.public in places[0], other.key in places[1], other.short in places[2])
        for other in others
    }
    assert found <= {(True,) * 3, (False,) * 3}
    return found == {(True,) * 3}


def meet(members: Members, context: Context, other: Other, seq: int = 1) -> None:
    hear(members, other.record(seq))
    members.met(context.remotes[other.public], 0.0)


def allowed(other: Other, address: str | None = None) -> tuple[AllowedIPChange, ...]:
    own = [Prefix(address6(KEYS.net_id, other.public), 128)]
    if address is not None:
        own.append(Prefix(v4(address), 32))
    return tuple(map(AllowedIPChange, own))


# --- in and out ---


def test_who_is_believed_is_let_in_with_its_addresses():
    members, context = made()
    members.changed = False
    hear(members, BOB.record())
    assert is_in(context, BOB) and members.changed
    (change,) = peer_changes(context)
    assert (change.public_key, change.allowed_ips) == (BOB.key, allowed(BOB, "10.1.1.2"))
    assert change.preshared_key is not None
    (event,) = told(context, events.NodeJoined)
    assert event == events.NodeJoined("bob", "10.1.1.2", fingerprint(BOB.public))
    assert context.objects.take_floods() == [(BOB.record(), {NEIGHBOUR})]


def test_who_has_no_address_is_let_in_with_that_of_its_identity():
    members, context = made()
    hear(members, Other("x", "x", None).record())
    assert peer_changes(context)[0].allowed_ips == allowed(Other("x"))


def test_who_is_not_believed_any_more_is_shown_out_with_its_peer():
    members, context = made()
    hear(members, BOB.record())
    peer_changes(context)
    members.changed = False
    hear(members, EVE.record())
    assert not is_in(context, BOB) and not is_in(context, EVE) and members.changed
    assert peer_changes(context) == [PeerChange(BOB.key, remove=True)]
    left = events.NodeLeft("bob", Reason.NAME_TAKEN.value)
    assert left in context.out.events


def test_a_rival_that_goes_away_lets_the_other_in():
    members, context = made()
    hear(members, BOB.record(), EVE.record())
    hear(members, EVE.record(2, "eve", "10.1.1.7"))
    assert is_in(context, BOB, EVE)
    hear(members, EVE.record(3))
    assert not is_in(context, BOB)
    members.drop(EVE.public, "for a test", 1.0)
    assert is_in(context, BOB)


def test_rivals_are_judged_in_the_order_of_their_identities():
    for number in range(8):
        members, context = made()
        rivals = BOB, Other(f"carol {number}", "carol", "10.1.1.3")
        liar = Other(f"eve {number}", "bob", "10.1.1.3")
        hear(members, *(each.record() for each in (*rivals, liar)))
        assert not context.remotes
        members.drop(liar.public, "for a test", 1.0)
        assert list(context.remotes) == sorted(each.public for each in rivals)


def test_an_address_that_is_given_up_is_the_nodes_no_more():
    members, context = made()
    hear(members, BOB.record())
    remote = context.remotes[BOB.public]
    peer_changes(context)
    hear(members, BOB.record(2, address="10.1.1.7"))
    assert context.remotes[BOB.public] is remote
    gone = AllowedIPChange(Prefix(v4("10.1.1.2"), 32), remove=True)
    new = AllowedIPChange(Prefix(v4("10.1.1.7"), 32))
    assert peer_changes(context) == [
        PeerChange(BOB.key, update_only=True, allowed_ips=(gone, new))
    ]
    hear(members, BOB.record(3, address="10.1.1.7"))
    assert peer_changes(context) == []


def test_places_that_are_no_hosts_outside_are_not_tried():
    members, context = made()
    good = Endpoint(v4("192.0.2.9"), 1)
    others = ["10.1.1.7", "224.0.0.1", "255.255.255.255", "0.0.0.0"]
    bad = [Endpoint(v4(each), 1) for each in others]
    places = (Candidate(good, Kind.STATIC), *(Candidate(each, Kind.LOCAL) for each in bad))
    hear(members, BOB.record(candidates=places))
    trials = context.remotes[BOB.public].trials
    assert {place: trial.kind for place, trial in trials.items()} == {good: Kind.OBSERVED}


def test_a_goodbye_is_told():
    members, context = made()
    hear(members, BOB.record(), BOB.leave(2))
    assert told(context, events.NodeLeft) == [events.NodeLeft("bob", "said goodbye")]
    hear(members, BOB.record(3), EVE.record())
    context.out.events.clear()
    hear(members, EVE.leave(2))
    assert told(context, events.NodeLeft) == []


def test_one_is_not_a_member_of_ones_own():
    members, context = made()
    assert members.receive_untrusted(ME.record(5), NEIGHBOUR, 0.0) == OwnEcho(objects.RECORD, 5)
    assert members.receive_untrusted(ME.record(5), None, 0.0) is None
    assert not members.heard(ME.public, 0.0)
    members.judge_all(0.0)
    assert context.remotes == {} and peer_changes(context) == []


def test_what_was_vouched_for_in_a_former_run_is_kept():
    members, context = made()
    blob = ME.accept(5, "bob", "10.1.1.2", BOB.public)
    assert members.receive_untrusted(blob, NEIGHBOUR, 0.0) == OwnEcho(objects.ACCEPT, 5)
    assert len(context.objects.accepts(ME.public)) == 1
    assert members.receive_untrusted(blob, NEIGHBOUR, 0.0) is None


# --- adversaries ---


@pytest.mark.parametrize(
    ("name", "address", "reason"),
    [
        ("me", "10.1.1.7", Reason.NAME_TAKEN),
        ("bob", "10.1.1.7", Reason.NAME_TAKEN),
        ("eve", "10.1.1.1", Reason.ADDRESS_TAKEN),
        ("eve", "10.1.1.2", Reason.ADDRESS_TAKEN),
        ("eve", "8.8.8.8", Reason.OUTSIDE_SUBNET),
        ("eve", "10.1.1.255", Reason.OUTSIDE_SUBNET),
    ],
)
def test_what_belongs_to_others_is_not_given_to_who_claims_it(name, address, reason):
    members, context = made()
    meet(members, context, BOB)
    told(context, events.ClaimRefused)
    peer_changes(context)
    hear(members, EVE.record(1, name, address))
    assert is_in(context, BOB) and not is_in(context, EVE)
    ours = name == "me" or address == "10.1.1.1"
    refusal = events.ClaimRefused(name, address, fingerprint(EVE.public), reason, ours)
    assert told(context, events.ClaimRefused) == [refusal]
    assert peer_changes(context) == []


def test_nothing_is_kept_of_who_never_sent_a_record():
    members, context = made()
    for blob in (
        BOB.links(1, Edge(ME.short, 1)),
        BOB.routes(1),
        BOB.leave(1),
        BOB.accept(1, "x", "10.1.1.7", EVE.public),
        BOB.said(200, 1),
    ):
        assert refused(members.receive_untrusted, blob, NEIGHBOUR, 0.0) is Reason.UNKNOWN_NODE
    assert len(context.objects) == 0 and context.objects.take_floods() == []


def test_a_record_that_is_forged_leaves_nothing_behind():
    members, context = made()
    blob = bytearray(BOB.record())
    blob[-1] ^= 1
    reason = refused(members.receive_untrusted, bytes(blob), NEIGHBOUR, 0.0)
    assert reason is Reason.BAD_SIGNATURE
    assert len(context.objects) == 0
    assert context.trust.claimed(BOB.public) is None
    assert not context.out.events and not context.out.effects


def test_an_identity_for_which_anybody_can_sign_is_refused():
    members, context = made()
    order8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
    for identity in (order8, (1).to_bytes(32, "little"), b"\xff" * 32):
        body = objects.encode_record(objects.Record("eve", None, 0))
        blob = objects.encode(1, 0, identity, 1, body, KEYS.net_id, lambda message: bytes(64))
        assert refused(members.receive_untrusted, blob, NEIGHBOUR, 0.0) is Reason.MALFORMED
    assert len(context.objects) == 0


class Mirrored(Other):
    """The other identity with the same WireGuard key: the opposite point."""

    def __init__(self, other: Other, name: str, address: str) -> None:
        super().__init__("unused", name, address)
        number = int.from_bytes(other.public, "little") ^ 1 << 255
        self.public, self.key = number.to_bytes(32, "little"), other.key


def test_a_wireguard_key_belongs_to_the_identity_that_was_first():
    members, context = made()
    mirrored = Mirrored(BOB, "eve", "10.1.1.7")
    context.objects._verify = lambda *signed: None  # noqa: SLF001
    hear(members, BOB.record(), mirrored.record())
    assert is_in(context, BOB) and mirrored.public not in context.remotes
    (event,) = told(context, events.ClaimRefused)
    assert isinstance(event, events.ClaimRefused) and event.reason is Reason.KEY_TAKEN
    hear(members, CAROL.record(1, "bob", "10.1.1.7"))
    assert not context.remotes and not context.by_key
    assert int.from_bytes(mirrored.public, "little") % (1 << 255) < _PRIME


def test_a_claim_that_is_refused_is_passed_on_once_and_nothing_else_of_it():
    members, context = made()
    meet(members, context, BOB)
    context.objects.take_floods()
    hear(members, EVE.record(), EVE.links(2))
    assert context.objects.take_floods() == [(EVE.record(), {NEIGHBOUR})]
    hear(members, EVE.record(), EVE.record(3), EVE.said(99, 1))
    assert context.objects.take_floods() == []
    assert len(list(context.objects.blobs())) == 4


def test_one_refused_claim_a_minute_from_each_neighbour_is_passed_on():
    members, context = made()
    meet(members, context, BOB)
    context.objects.take_floods()
    for number in range(8):
        members.receive_untrusted(Other(f"{number}").record(), NEIGHBOUR, 0.0)
    members.receive_untrusted(EVE.record(), b"another!", 0.0)
    members.receive_untrusted(CAROL.record(1, "bob"), None, 0.0)
    assert len(context.objects.take_floods()) == 2
    members.receive_untrusted(Other("late").record(), NEIGHBOUR, EVIDENCE_INTERVAL)
    assert len(context.objects.take_floods()) == 1


def test_neighbours_that_passed_evidence_on_are_forgotten_in_the_end():
    members, context = made()
    meet(members, context, BOB)
    for number in range(1100):
        rate = members._is_evidence(number.to_bytes(8), 0.0)  # noqa: SLF001
        assert rate
    assert len(members._evidence) == 1024  # noqa: SLF001
    assert members.conflicts.current(0.0) == []


def test_refusals_are_told_of_at_a_bearable_rate():
    members, context = made()
    meet(members, context, BOB)
    for number in range(100):
        hear(members, Other(f"{number}").record())
    assert len(told(context, events.ClaimRefused)) == 64


def test_who_gives_way_to_others_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr(flood, "MIN_STRANGERS", 4)
    members, context = made()
    for number in range(2, 60):
        one = Other(f"{number}", f"n{number}", f"10.1.1.{number}")
        hear(members, one.record(), one.leave(2), now=float(number))
    assert len(context.objects) == len(context.remotes) == len(context.by_key) == 4
    assert len(context.by_short) == 4
    assert sum(change.remove for change in peer_changes(context)) == 54


def test_who_is_pinned_gives_way_to_nobody(monkeypatch):
    monkeypatch.setattr(flood, "MIN_STRANGERS", 1)
    monkeypatch.setattr(flood, "STRANGERS_PER_KEPT", 0)
    members, context = made(FILED)
    meet(members, context, BOB)
    hear(members, FRED.record(), FRED.leave(2), BOB.leave(2))
    hear(members, CAROL.record(), CAROL.leave(2), EVE.record(1, "eve", "10.1.1.7"))
    assert set(context.objects.identities()) == {BOB.public, FRED.public, EVE.public}


# --- meeting ---


def test_who_is_met_is_pinned_and_that_is_saved():
    members, context = made()
    meet(members, context, BOB)
    assert Pin("bob", v4("10.1.1.2"), BOB.public, How.MET) in context.trust.pins()
    (event,) = told(context, events.NodePinned)
    assert event == events.NodePinned("bob", "10.1.1.2", fingerprint(BOB.public))
    assert effects_of(context, Save) == [Save()]
    members.met(context.remotes[BOB.public], 0.0)
    assert effects_of(context, Save) == []


def test_who_was_shown_out_meanwhile_is_not_met():
    members, context = made()
    hear(members, BOB.record())
    remote = context.remotes[BOB.public]
    members.drop(BOB.public, "for a test", 0.0)
    members.met(remote, 0.0)
    members.met(Remote(EVE.public, EVE.short, EVE.key, 0.0), 0.0)
    assert told(context, events.NodePinned) == []


def test_who_is_met_under_another_name_frees_the_one_before():
    members, context = made()
    meet(members, context, BOB)
    hear(members, EVE.record())
    hear(members, BOB.record(2, "robert", "10.1.1.7"))
    assert not is_in(context, EVE)
    members.met(context.remotes[BOB.public], 0.0)
    assert is_in(context, BOB, EVE)


@pytest.mark.parametrize("session_at", [0.0, None])
def test_who_signs_another_name_in_a_session_is_pinned_to_it_at_once(session_at):
    members, context = made()
    meet(members, context, BOB)
    context.remotes[BOB.public].calls.session_at = session_at
    renamed = Other("bob", "robert", "10.1.1.2")
    hear(members, renamed.record(2))
    assert context.remotes[BOB.public].name == "robert"
    is_pinned = session_at is not None
    assert (context.trust.pinned("robert") is not None) == is_pinned
    assert (context.trust.pinned("bob") is None) == is_pinned
    # Who contests the name is the one who is refused, not both.
    hear(members, Other("eve", "robert", "10.1.1.7").record())
    assert is_in(context, BOB) == is_pinned


def test_a_name_of_another_is_none_for_this_node():
    members, context = made(Pin("me", b"", ME.public, How.FILE))
    meet(members, context, BOB)
    hear(members, CAROL.record())
    for name in ("bob", "carol"):
        with pytest.raises(ConfigError, match=f"name: {name} is another node, "):
            refuse_name(context, name)
    for name in ("me", "free"):
        refuse_name(context, name)


# --- accept ---


def test_a_node_of_the_file_gives_a_name_to_another():
    members, context = made(FILED)
    meet(members, context, BOB)
    hear(members, FRED.record(), EVE.record())
    hear(members, FRED.accept(2, "bob", "10.1.1.2", EVE.public))
    assert is_in(context, EVE) and not is_in(context, BOB)


def test_a_name_is_given_away_by_a_node_of_the_file_though_it_is_refused():
    members, context = made(FILED, Pin("fred", b"", BOB.public, How.FILE))
    hear(members, FRED.record(), FRED.accept(2, "carol", "10.1.1.3", EVE.public))
    assert not is_in(context, FRED)
    pinned = context.trust.pinned("carol")
    assert pinned is not None and pinned.identity == EVE.public


@pytest.mark.parametrize("speaker", [BOB, EVE, CAROL])
def test_nobody_else_does(speaker):
    members, context = made(FILED)
    meet(members, context, BOB)
    hear(members, CAROL.record(), EVE.record())
    hear(members, speaker.accept(2, "bob", "10.1.1.2", EVE.public))
    assert is_in(context, BOB) and not is_in(context, EVE)


@pytest.mark.parametrize(
    ("name", "address", "identity"),
    [
        ("me", "10.1.1.1", EVE.public),
        ("bob", "10.1.1.9", EVE.public),
        ("bob", "10.1.1.3", EVE.public),
        ("carol", "10.1.1.2", EVE.public),
    ],
)
def test_a_node_of_the_file_cannot_give_away_what_is_of_others(name, address, identity):
    members, context = made(FILED, Pin("carol", v4("10.1.1.3"), CAROL.public, How.MET))
    meet(members, context, BOB)
    before = context.trust.pins()
    hear(members, FRED.record(), FRED.accept(2, name, address, identity))
    assert context.trust.pins() == before


def test_a_replacement_by_no_key_is_refused():
    members, context = made(FILED)
    hear(members, FRED.record())
    blob = FRED.accept(2, "bob", "10.1.1.2", bytes(32))
    assert refused(members.receive_untrusted, blob, NEIGHBOUR, 0.0) is Reason.MALFORMED
    assert context.trust.pinned("bob") is None


def test_a_replacement_heard_again_does_not_undo_what_a_person_said():
    members, context = made(FILED)
    hear(members, FRED.record(), BOB.record(), EVE.record())
    members.pin("bob", BOB.public, 0.0)
    hear(members, FRED.accept(2, "bob", "10.1.1.2", EVE.public))
    assert is_in(context, BOB) and not is_in(context, EVE)


def test_a_replacement_that_was_saved_changes_no_pins():
    members, context = made(FILED)
    hear(members, FRED.record())
    blob = FRED.accept(2, "bob", "10.1.1.2", EVE.public)
    members.receive_untrusted(blob, None, 0.0)
    assert context.trust.pinned("bob") is None
    hear(members, blob)
    assert context.trust.pinned("bob") is None


# --- conflicts ---


def test_who_is_replaced_or_says_goodbye_is_no_conflict():
    members, context = made()
    meet(members, context, BOB)
    hear(members, EVE.record())
    assert [each.claim.identity for each in members.conflicts.current(0.0)] == [EVE.public]
    hear(members, EVE.leave(2))
    assert members.conflicts.current(0.0) == []
    hear(members, EVE.record(3))
    assert members.conflicts.current(0.0)
    members.accept("bob", EVE.public, 0.0)
    members.judge_all(1.0)
    hear(members, BOB.record(2))
    assert members.conflicts.current(0.0) == [] and not is_in(context, BOB)


def test_only_what_is_claimed_at_the_door_is_there():
    members, context = made()
    meet(members, context, BOB)
    hear(members, EVE.record())
    (conflict,) = members.conflicts.current(0.0)
    assert conflict.knocked_at < 0
    members.receive_untrusted(EVE.record(2), DOOR, 9.0)
    members.heard(EVE.public, 9.0, arrived=True)
    assert (conflict.count, conflict.at, conflict.knocked_at) == (2, 9.0, 9.0)
    members.judge_all(10.0)
    assert (conflict.count, conflict.at) == (2, 9.0)


# --- people ---


def test_of_two_rivals_the_one_a_person_pins_is_let_in():
    members, context = made()
    hear(members, BOB.record(), EVE.record())
    members.pin("bob", members.find("bob", fingerprint(BOB.public).upper()), 0.0)
    assert is_in(context, BOB) and not is_in(context, EVE)
    assert Save() in effects_of(context, Save)
    members.pin("bob", EVE.public, 0.0)
    assert is_in(context, EVE) and not is_in(context, BOB)


def test_a_name_is_pinned_before_its_owner_claims_it():
    members, context = made()
    hear(members, BOB.record(1, "robert"), EVE.record(1, "eve", "10.1.1.7"))
    members.pin("bob", BOB.public, 0.0)
    hear(members, EVE.record(2, "bob", "10.1.1.7"))
    assert is_in(context, BOB) and not is_in(context, EVE)


def test_pins_that_cannot_be_are_refused_with_the_reason():
    members, context = made(FILED, Pin("dora", v4("10.1.1.4"), CAROL.public, How.FILE))
    meet(members, context, BOB)
    hear(members, EVE.record(1, "eve", "10.1.1.2"))
    with pytest.raises(ConfigError, match=r"eve claims 10\.1\.1\.2, which belongs to bob"):
        members.pin("eve", EVE.public, 0.0)
    with pytest.raises(ConfigError, match="dora is pinned by network"):
        members.pin("dora", EVE.public, 0.0)
    hear(members, EVE.record(2, "eve", "10.1.1.9"))
    with pytest.raises(ConfigError, match=r"network.yaml pins 10\.1\.1\.9"):
        members.pin("eve", EVE.public, 0.0)
    assert is_in(context, BOB)


def test_a_node_that_is_forgotten_makes_room_for_its_successor():
    members, context = made()
    meet(members, context, BOB)
    hear(members, EVE.record())
    assert not is_in(context, EVE)
    members.forget("bob", 0.0)
    assert is_in(context, EVE) and not is_in(context, BOB)
    assert PeerChange(BOB.key, remove=True) in peer_changes(context)
    assert Other("nobody").public not in context.remotes


def test_who_said_goodbye_or_is_not_heard_of_gives_its_name_to_who_is_there():
    members, context = made()
    hear(members, BOB.record(), EVE.record(), BOB.leave(2))
    assert is_in(context, EVE) and not is_in(context, BOB)
    hear(members, BOB.record(3))
    assert not is_in(context, EVE)
    members.rest([EVE.public, CAROL.public], 0.0)
    assert is_in(context, BOB)


def test_what_is_not_pinned_or_pinned_by_the_file_cannot_be_forgotten():
    members, context = made()
    for name in ("bob", "me"):
        with pytest.raises(ConfigError, match=name):
            members.forget(name, 0.0)
    assert context.trust.pinned("me")


def test_who_was_forgotten_is_let_in_when_it_is_there_again():
    members, context = made()
    meet(members, context, BOB)
    members.forget("bob", 0.0)
    assert not is_in(context, BOB)
    members.heard(BOB.public, 0.0)
    assert is_in(context, BOB)


def test_a_name_of_the_file_keeps_its_address_when_it_is_forgotten():
    members, context = made(FILED)
    meet(members, context, FRED)
    members.forget("fred", 0.0)
    assert is_in(context, FRED)


def test_fingerprints_are_found_among_all_that_were_heard_of():
    members, _ = made()
    hear(members, BOB.record())
    words = fingerprint(BOB.public)
    assert members.find("bob", words) == members.find("x", words.replace("-", " "))
    with pytest.raises(ConfigError, match="no node with the fingerprint"):
        members.find("bob", words[:-1])


def test_a_person_gives_a_name_away_by_an_object_for_all():
    members, context = made()
    meet(members, context, BOB)
    hear(members, EVE.record())
    body = members.accept("bob", EVE.public, 0.0)
    accept = objects.decode_accept_untrusted(body)
    assert accept == ("bob", v4("10.1.1.2"), EVE.public)
    assert is_in(context, EVE)
    for name, identity in (("carol", EVE.public), ("bob", CAROL.public)):
        with pytest.raises(ConfigError, match="does not claim the name"):
            members.accept(name, identity, 0.0)


@pytest.mark.parametrize("address", ["8.8.8.8", "10.1.1.0", "10.1.1.255"])
def test_a_claim_that_can_never_hold_is_not_accepted(address):
    members, context = made()
    hear(members, EVE.record(1, "eve", address))
    with pytest.raises(ConfigError, match=f"eve claims {address}, which no node"):
        members.accept("eve", EVE.public, 0.0)
    assert context.trust.pinned("eve") is None


def test_the_name_of_this_node_is_not_given_away():
    members, _ = made()
    hear(members, EVE.record(1, "me", "10.1.1.7"))
    with pytest.raises(ConfigError, match="me is this node itself"):
        members.accept("me", EVE.public, 0.0)


def test_a_changed_file_is_followed():
    members, context = made(FILED)
    hear(members, FRED.record(), EVE.record(1, "eve", "10.1.1.9"))
    assert is_in(context, FRED) and not is_in(context, EVE)
    own = Pin("me", v4("10.1.1.1"), ME.public, How.FILE)
    members.refile([own, Pin("", v4("10.1.1.9"), EVE.public, How.FILE)], 0.0)
    assert is_in(context, EVE) and not is_in(context, FRED)


# --- whatever comes ---


@given(st.binary(max_size=400), st.sampled_from([NEIGHBOUR, None]))
def test_garbage_is_refused(blob, sender):
    members, context = made()
    assert refused(members.receive_untrusted, blob, sender, 0.0) is Reason.MALFORMED
    assert len(context.objects) == 0


CROWD = [Other(f"crowd {number}") for number in range(4)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(1, 5),
            st.sampled_from(["bob", "me", "carol"]),
            st.sampled_from(["10.1.1.2", "10.1.1.1", "10.1.1.3", "8.8.8.8"]),
            st.sampled_from(["record", "leave", "met", "drop", "accept", "links"]),
        ),
        max_size=15,
    )
)
def test_whatever_is_signed_the_tables_agree_and_addresses_are_of_one(steps):
    members, context = made(FILED)
    for who, seq, name, address, what in steps:
        one = CROWD[who]
        try:
            match what:
                case "record":
                    hear(members, one.record(seq, name, address))
                case "leave":
                    hear(members, one.leave(seq))
                case "links":
                    hear(members, one.links(seq))
                case "accept":
                    hear(members, one.accept(seq, name, address, CROWD[0].public))
                case "drop":
                    members.drop(one.public, "for a test", 0.0)
                case _ if one.public in context.remotes:
                    members.met(context.remotes[one.public], 0.0)
                case _:
                    pass
        except Rejected:
            pass
        is_in(context, *CROWD)
        remotes = context.remotes.values()
        assert len({text(r.record.address) for r in remotes if r.record}) == len(remotes)
        assert all(r.name != "me" for r in remotes)
    assert context.settings.network.subnet == SUBNET
