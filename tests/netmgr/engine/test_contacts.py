"""First contact of whole nodes' parts: doors, seeds, hellos, and what adversaries do there."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr import events
from netmgr.effects import CallLan, Resolve, SendDatagram
from netmgr.engine import contacts, knock
from netmgr.engine.announce import Announcer
from netmgr.engine.common import Context
from netmgr.engine.contacts import (
    EARLY_KNOCK,
    EARLY_TRIES,
    HELLO_INTERVAL,
    KNOWN_FOR,
    LAST_KNOCK,
    SILENCE_TOLD,
    SILENCE_TOLD_AGAIN,
    Contacts,
)
from netmgr.engine.knock import Door, Knocker, open_untrusted
from netmgr.engine.members import Members
from netmgr.engine.remote import Remote
from netmgr.engine.thrift import LAST_TRIAL
from netmgr.engine.trust import How, Pin
from netmgr.errors import Reason, Rejected
from netmgr.model import Kind, StaticPeer
from netmgr.wire import frames
from netmgr.wire.frames import LanHello
from netmgr.wire.objects import split_untrusted
from tests.netmgr.engine.surroundings import (
    KEYS,
    ME,
    NEIGHBOUR,
    Numbers,
    Other,
    effects_of,
    entropy,
    refused,
    static,
    surroundings,
    told,
)
from tests.sim.tunnel import v4
from wgpy.model import Endpoint, Local

SEED_PLACE = Endpoint(v4("192.0.2.9"), 50009)
ADMIN_PLACE = SEED_PLACE._replace(port=50509)
SEED = static("seed.example", 50009, admin_port=50509, address=v4("10.1.1.2"))
BOB = Other("bob", "bob", "10.1.1.2")
EVE = Other("eve", "eve", "10.1.1.3")
ENTROPY = entropy()
OUTSIDE = Endpoint(v4("198.51.100.1"), 4444)


class Node:
    """The parts of `ME` that first contact needs."""

    def __init__(self, *pins: Pin, peers: Iterable[StaticPeer] = (), **options: object) -> None:
        self.context: Context = surroundings(*pins, peers=peers, **options)  # type: ignore[arg-type]
        self.members = Members(self.context)
        self.found: list[tuple[Remote, Endpoint]] = []
        Announcer(self.context, 0.0)
        self.contacts = Contacts(
            self.context, self.members, self._met, lambda remote: remote.up, 0.0
        )

    def _met(self, remote: Remote, endpoint: Endpoint, now: float) -> None:
        self.found.append((remote, endpoint))

    def sent(self) -> list[tuple[int, bytes, Endpoint]]:
        """Return kind, body and place of what was sent, and forget all effects."""
        return [
            (*open_untrusted(KEYS, one.payload), one.remote)
            for one in effects_of(self.context, SendDatagram)
            if isinstance(one, SendDatagram)
        ]

    def knocked(self) -> list[Endpoint]:
        return [place for kind, _, place in self.sent() if kind == frames.KNOCK]

    def receive(self, payload: bytes, source: Endpoint = OUTSIDE, now: float = 0.0) -> None:
        kind, body = open_untrusted(KEYS, payload)
        self.contacts.receive_untrusted(kind, body, source, None, now)

    def admit(self, other: Other) -> Remote:
        self.members.receive_untrusted(other.record(), NEIGHBOUR, 0.0)
        return self.context.remotes[other.public]


def visit(node: Node, other: Other, record: bytes, now: float = 0.0) -> bytes:
    """Knock at a node and return the Fin that would follow."""
    guest = Knocker(KEYS, other.public, ENTROPY)
    node.sent()
    node.receive(guest.knock(OUTSIDE, now), now=now)
    ((kind, body, place),) = node.sent()
    assert (kind, place) == (frames.ACK, OUTSIDE)
    return guest.receive_ack_untrusted(body, record, now).fin


def answer(node: Node, other: Other, record: bytes, now: float = 0.0) -> bytes:
    """Let a node knock at another; return the Welcome that the other gives in the end."""
    door = Door(KEYS, ENTROPY, lambda identity: False)
    node.sent()
    node.contacts.knock(SEED_PLACE, now)
    ((_, body, _),) = node.sent()
    node.receive(door.receive_knock_untrusted(body, OUTSIDE, now), SEED_PLACE, now)
    ((kind, body, place),) = node.sent()
    assert (kind, place) == (frames.FIN, SEED_PLACE)
    fin = door.receive_fin_untrusted(body, OUTSIDE, now)
    assert fin.record == node.context.own_record
    return door.welcome(fin, record)


# --- doors ---


def test_a_guest_is_let_in_and_gets_our_record():
    node = Node()
    node.receive(visit(node, BOB, BOB.record()))
    ((kind, body, place),) = node.sent()
    assert (kind, place) == (frames.WELCOME, OUTSIDE)
    assert frames.Welcome.decode_untrusted(body).record == node.context.own_record
    remote = node.context.remotes[BOB.public]
    assert node.found == [(remote, OUTSIDE)]
    assert remote.trials[OUTSIDE].kind is Kind.OBSERVED


def test_answers_leave_by_the_address_that_was_knocked_at():
    node, local = Node(), Local(v4("192.0.2.1"), 3)
    kind, body = open_untrusted(KEYS, Knocker(KEYS, BOB.public, entropy()).knock(OUTSIDE, 0.0))
    node.contacts.receive_untrusted(kind, body, OUTSIDE, local, 0.0)
    (sent,) = effects_of(node.context, SendDatagram)
    assert isinstance(sent, SendDatagram) and sent.local == local


def test_who_answers_our_knock_is_let_in():
    node = Node()
    node.receive(answer(node, BOB, BOB.record()), SEED_PLACE)
    assert node.found == [(node.context.remotes[BOB.public], SEED_PLACE)]


@pytest.mark.parametrize("how", [visit, answer])
def test_who_is_not_believed_learns_nothing(how):
    node = Node(Pin("bob", v4("10.1.1.2"), BOB.public, How.MET))
    payload = how(node, EVE, EVE.record(1, "bob"))
    assert refused(node.receive, payload) is Reason.NAME_TAKEN
    assert not node.sent()
    payload = how(node, EVE, EVE.record(2, "eve", "8.8.8.8"), 1.0)
    assert refused(node.receive, payload, OUTSIDE, 1.0) is Reason.OUTSIDE_SUBNET
    assert not node.sent() and not node.found
    assert EVE.public not in node.context.remotes


def test_who_claims_what_is_of_another_gets_the_record_of_that_one_only():
    node = Node(Pin("bob", v4("10.1.1.2"), BOB.public, How.MET))
    node.admit(BOB)
    payload = visit(node, EVE, EVE.record(1, "bob"))
    assert refused(node.receive, payload) is Reason.NAME_TAKEN
    ((kind, body, place),) = node.sent()
    assert (kind, place) == (frames.WELCOME, OUTSIDE)
    assert frames.Welcome.decode_untrusted(body).record == BOB.record()


def test_the_record_of_who_has_our_name_says_that_we_are_refused_until_we_are_let_in():
    node = Node()
    rival = EVE.record(1, "me")
    assert refused(node.receive, answer(node, EVE, rival), SEED_PLACE) is Reason.NAME_TAKEN
    (refusal,) = node.members.refusals.views(0.0)
    assert (refusal.place, refusal.same_name) == ("192.0.2.9:50009", True)
    node.receive(answer(node, BOB, BOB.record()), SEED_PLACE)
    assert node.members.refusals.views(0.0) == ()


@pytest.mark.parametrize("how", [visit, answer])
def test_one_does_not_let_oneself_in(how):
    node = Node()
    payload = how(node, ME, ME.record())
    assert refused(node.receive, payload) is Reason.NOT_FOR_US
    assert node.context.remotes == {}


@pytest.mark.parametrize("how", [visit, answer])
@pytest.mark.parametrize("record", [b"", BOB.leave(1), BOB.record()[:-1], bytes(300)])
def test_what_is_no_record_opens_no_door(how, record):
    node = Node()
    assert refused(node.receive, how(node, BOB, record)) is Reason.MALFORMED
    assert len(node.context.objects) == 1


def test_the_record_of_another_opens_no_door():
    node = Node()
    assert refused(node.receive, visit(node, EVE, BOB.record())) is Reason.MALFORMED


def test_a_forged_record_opens_no_door():
    node = Node()
    forged = BOB.record()[:-1] + b"?"
    assert refused(node.receive, visit(node, BOB, forged)) is Reason.BAD_SIGNATURE
    assert len(node.context.objects) == 1


def test_who_lost_its_numbers_is_let_in_to_hear_of_them():
    node = Node()
    node.members.receive_untrusted(BOB.record(100), NEIGHBOUR, 0.0)
    node.receive(visit(node, BOB, BOB.record(1)))
    assert [kind for kind, _, _ in node.sent()] == [frames.WELCOME]
    assert node.context.objects.newest(BOB.public, 1) == 100


def test_who_was_forgotten_is_let_in_when_it_knocks():
    node = Node()
    node.members.met(node.admit(BOB), 0.0)
    node.members.forget("bob", 0.0)
    node.receive(visit(node, BOB, BOB.record()))
    assert BOB.public in node.context.remotes


def test_new_identities_at_the_door_come_no_faster_than_from_a_neighbour(monkeypatch):
    monkeypatch.setattr("netmgr.engine.flood.NEWCOMER_BURST", 2)
    monkeypatch.setattr(knock, "PER_SOURCE", 1000)
    node = Node()
    reasons = []
    for number in range(4):
        other = Other(f"{number}", f"n{number}", f"10.1.1.{number + 2}")
        try:
            node.receive(visit(node, other, other.record()))
        except Rejected as caught:
            reasons.append(caught.reason)
    assert reasons == [Reason.TOO_FAST] * 2
    assert len(node.context.remotes) == 2


def test_a_fin_heard_again_leads_to_nothing():
    node = Node()
    fin = visit(node, BOB, BOB.record())
    node.receive(fin)
    node.sent()
    assert refused(node.receive, fin) is Reason.BAD_COOKIE
    assert len(node.found) == 1 and node.sent() == []


@given(st.integers(0, 255), st.binary(max_size=600))
def test_garbage_of_members_is_refused(kind, body):
    node = Node()
    try:
        node.contacts.receive_untrusted(kind, body, OUTSIDE, None, 0.0)
    except Rejected:
        pass
    else:
        assert kind == frames.KNOCK
    assert node.context.remotes == {}


# --- seeds ---


def at_seed(node: Node, now: float = 0.0) -> None:
    """Let the name of the seed be known."""
    node.contacts.resolved("seed.example", 50009, (SEED_PLACE,), now)
    node.contacts.resolved("seed.example", 50509, (ADMIN_PLACE,), now)


def pass_time(node: Node, until: float) -> list[float]:
    """Handle what is due; return when it was."""
    times = []
    while (at := node.contacts.next_at()) <= until:
        node.contacts.handle(at)
        assert node.contacts.next_at() > at
        times.append(at)
    return times


def test_a_seed_is_asked_for_and_knocked_at_on_both_ports():
    node = Node(peers=[SEED])
    node.contacts.handle(0.0)
    asked = effects_of(node.context, Resolve)
    assert asked == [Resolve("seed.example", 50009), Resolve("seed.example", 50509)]
    at_seed(node)
    node.contacts.handle(0.0)
    assert node.knocked() == [SEED_PLACE, ADMIN_PLACE]


def test_a_seed_is_knocked_at_for_ever_and_ever_more_rarely():
    node = Node(peers=[SEED])
    at_seed(node)
    times = []
    for _ in range(400):
        at = node.contacts.next_at()
        node.contacts.handle(at)
        if SEED_PLACE in node.knocked():
            times.append(at)
    pauses = [later - one for one, later in pairwise(times)]
    assert pauses[0] <= 0.3 and times[-1] > 1000
    assert max(pauses[: EARLY_TRIES + 1]) <= EARLY_KNOCK
    assert max(pauses) <= LAST_KNOCK and min(pauses[EARLY_TRIES + 1 :]) > 15


def test_a_seed_that_is_silent_is_told_of_and_much_later_again():
    node = Node(peers=[SEED])
    pass_time(node, 300.0)
    first, again = told(node.context, events.SeedSilent)
    assert isinstance(first, events.SeedSilent) and isinstance(again, events.SeedSilent)
    assert first.place == "seed.example:50009" and first.seconds >= SILENCE_TOLD
    assert again.seconds - first.seconds >= SILENCE_TOLD_AGAIN


def connected(node: Node, other: Other, endpoint: Endpoint = SEED_PLACE) -> Remote:
    remote = node.admit(other)
    remote.up, remote.endpoint = True, endpoint
    remote.pings.measure(0.01)
    return remote


@pytest.mark.parametrize(
    ("peer", "other"),
    [
        (SEED, BOB),
        (static("seed.example", 50009, address=v4("10.1.1.2"), identity=BOB.public), BOB),
        (static("seed.example", 50009), BOB),
    ],
)
def test_a_seed_that_is_connected_is_not_knocked_at(peer, other):
    node = Node(peers=[peer])
    at_seed(node)
    connected(node, other)
    node.admit(EVE)
    node.sent()
    pass_time(node, 100.0)
    assert node.knocked() == []
    assert node.contacts.seeds[0].tries == 0


def test_a_node_that_is_not_whom_the_file_pins_is_not_taken_for_the_seed():
    node = Node(peers=[static("seed.example", 50009, identity=EVE.public)])
    at_seed(node)
    connected(node, BOB)
    assert node.contacts.remote_of(node.contacts.seeds[0]) is None


def test_a_new_address_of_a_seed_is_tried_at_once():
    node = Node(peers=[SEED])
    remote = node.admit(BOB)
    at_seed(node)
    assert remote.trials[SEED_PLACE].kind is Kind.STATIC
    assert ADMIN_PLACE not in remote.trials
    pass_time(node, 60.0)
    node.sent()
    moved = SEED_PLACE._replace(host=v4("192.0.2.99"))
    node.contacts.resolved("seed.example", 50009, (moved,), 60.0)
    node.contacts.handle(60.0)
    assert node.knocked()[:2] == [ADMIN_PLACE, moved]
    assert node.contacts.seeds[0].endpoints == (ADMIN_PLACE, moved)


def test_answers_about_names_that_say_nothing_new_change_nothing():
    node = Node(peers=[SEED])
    at_seed(node)
    pass_time(node, 60.0)
    seed = node.contacts.seeds[0]
    before = seed.tries, seed.knock_at, set(seed.endpoints)
    at_seed(node, 60.0)
    node.contacts.resolved("seed.example", 50009, (), 60.0)
    node.contacts.resolved("other.example", 50009, (OUTSIDE,), 60.0)
    assert (seed.tries, seed.knock_at, set(seed.endpoints)) == before


def test_a_name_with_many_addresses_is_knocked_at_some_of_them():
    node = Node(peers=[SEED])
    many = tuple(Endpoint(bytes([192, 0, 2, number]), 50009) for number in range(200))
    node.contacts.resolved("seed.example", 50009, many, 0.0)
    node.contacts.handle(0.0)
    assert len(node.knocked()) == 16


def test_changed_files_leave_the_seeds_that_stay_as_they_are():
    node = Node(peers=[SEED])
    at_seed(node)
    kept = node.contacts.seeds[0]
    other = static("other.example", 50010)
    node.contacts.set_seeds([other, SEED], 5.0)
    assert node.contacts.seeds[1] is kept
    assert node.contacts.seeds[0].peer == other and node.contacts.seeds[0].knock_at == 5.0
    node.contacts.set_seeds([], 6.0)
    assert node.contacts.seeds == []


def test_a_seed_that_answers_is_known_by_its_place():
    node = Node(peers=[static("seed.example", 50009)])
    at_seed(node)
    node.receive(answer(node, BOB, BOB.record()), SEED_PLACE)
    assert node.context.remotes[BOB.public].trials[SEED_PLACE].kind is Kind.STATIC


def test_a_changed_network_makes_everything_be_tried_at_once():
    node = Node(peers=[SEED])
    at_seed(node)
    pass_time(node, 100.0)
    node.context.out.effects.clear()
    node.contacts.hurry(100.0)
    node.contacts.handle(100.0)
    effects = node.context.out.effects
    assert {type(effect) for effect in effects} == {Resolve, SendDatagram, CallLan}


def test_places_of_old_are_knocked_at_while_nobody_is_there():
    node = Node()
    remote = node.admit(BOB)
    remote.trials.clear()
    node.receive(visit(node, BOB, BOB.record()))
    node.sent()
    pass_time(node, 20.0)
    assert 3 <= node.knocked().count(OUTSIDE) <= 6
    remote.up = True
    pass_time(node, 40.0)
    assert node.knocked() == []


# --- hellos ---


def hellos(node: Node) -> list[bytes]:
    return [
        one.payload for one in effects_of(node.context, CallLan) if isinstance(one, CallLan)
    ]


def hello(port: int = 50002, nonce: bytes = bytes(16)) -> bytes:
    tag = KEYS.lan_tag(port.to_bytes(2) + nonce)
    return LanHello(port, nonce, tag).encode()


LAN = Endpoint(v4("192.168.0.2"), 9999, 3)


def test_hellos_are_said_soon_after_the_start_and_then_rarely():
    node = Node()
    times = []
    for _ in range(40):
        at = node.contacts.next_at()
        node.contacts.handle(at)
        times += [at] * len(hellos(node))
    assert times[:3] == [0.0, 1.0, 3.0]
    pauses = [later - one for one, later in pairwise(times[2:])]
    assert pauses and all(0.9 <= pause / HELLO_INTERVAL <= 1.1 for pause in pauses)


def test_who_pays_for_its_bytes_says_hello_more_rarely():
    node = Node(metered=True)
    pass_time(node, 500.0)
    assert len(hellos(node)) == 3


def test_who_pays_says_none_and_hardly_seeks_while_there_are_two_neighbours():
    node = Node(peers=[SEED, static("other.example", 50008)], metered=True)
    connected(node, BOB, Endpoint(LAN.host, 50002, 3))
    node.contacts.resolved("other.example", 50008, (OUTSIDE,), 0.0)
    pass_time(node, 600.0)
    knocked = len([place for place in node.knocked() if place == OUTSIDE])
    assert LAST_TRIAL / LAST_KNOCK < knocked < 15, "one is not enough"
    connected(node, EVE, Endpoint(LAN.host, 50003, 3))
    pass_time(node, 5000.0)
    done = list(node.context.out.effects)
    asked = [one.host for one in done if isinstance(one, Resolve)]
    assert not any(isinstance(one, CallLan) for one in done)
    # Who was never met may be the only way to others that were not met either.
    assert 12 <= len(node.knocked()) <= 5000 / LAST_TRIAL / 0.7 + 1
    assert asked.count("other.example") <= 12


def test_who_pays_knocks_at_who_says_hello_once_a_day():
    node = Node(metered=True)
    for hours in range(24):
        node.contacts.receive_hello_untrusted(hello(50001), LAN, 3600.0 * hours)
    assert len(node.knocked()) == 1


def test_who_says_hello_is_knocked_at():
    node = Node()
    node.contacts.receive_hello_untrusted(hello(50001), LAN, 0.0)
    assert node.knocked() == [Endpoint(LAN.host, 50001, 3)]


def test_ones_own_hello_is_passed_over():
    node = Node()
    node.contacts.handle(0.0)
    (payload,) = hellos(node)
    node.sent()
    node.contacts.receive_hello_untrusted(payload, LAN, 0.0)
    assert node.knocked() == []


def test_who_is_there_already_is_not_knocked_at():
    node = Node()
    connected(node, BOB, Endpoint(LAN.host, 50002, 3))
    node.contacts.receive_hello_untrusted(hello(), LAN, 0.0)
    assert node.knocked() == []


def test_a_hello_heard_again_is_a_replay_after_a_few_times():
    node = Node()
    for number in range(4):
        place = LAN._replace(host=bytes([192, 168, 0, number]))
        node.contacts.receive_hello_untrusted(hello(), place, 0.0)
    call = node.contacts.receive_hello_untrusted
    far = LAN._replace(host=bytes([192, 168, 0, 9]))
    assert refused(call, hello(), far, 1.0) is Reason.TOO_FAST
    call(hello(), LAN, 1.0)
    assert len(node.knocked()) == 4
    call(hello(), far, 1.0 + KNOWN_FOR)
    assert len(node.knocked()) == 1


def test_hellos_lead_to_a_few_knocks_a_second_and_are_forgotten_in_the_end(monkeypatch):
    monkeypatch.setattr(contacts, "_MAX_CALLERS", 8)
    node, heard = Node(), 0
    for number in range(100):
        try:
            payload = hello(nonce=number.to_bytes(8) + bytes(8))
            node.contacts.receive_hello_untrusted(payload, LAN, number / 100)
        except Rejected as caught:
            assert caught.reason is Reason.TOO_FAST
        else:
            heard += 1
    assert heard == len(node.knocked()) <= 16
    node.contacts.receive_hello_untrusted(hello(nonce=bytes(16)), LAN, 100.0)


@pytest.mark.parametrize("at", [1, 2, 3, 20, 34])
def test_a_hello_of_strangers_or_to_another_port_is_refused(at):
    node = Node()
    payload = bytearray(hello())
    payload[at] ^= 1
    call = node.contacts.receive_hello_untrusted
    assert refused(call, bytes(payload), LAN, 0.0) is Reason.BAD_MAC


@given(st.binary(max_size=60))
def test_garbage_is_no_hello(payload):
    node = Node()
    reason = refused(node.contacts.receive_hello_untrusted, payload, LAN, 0.0)
    assert reason is Reason.MALFORMED


def test_what_is_heard_of_first_contact_is_one_record():
    node = Node(numbers=Numbers(7))
    assert split_untrusted(node.context.own_record).seq == 7
