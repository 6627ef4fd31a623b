"""Whose a name or address is: each kind of pin against each claim; what adversaries try."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine import trust
from netmgr.engine.trust import Claim, How, Pin, Trust
from netmgr.errors import Reason
from wgpy.model import Prefix

A, B, C, F = b"a" * 32, b"b" * 32, b"c" * 32, b"f" * 32


def v4(text: str) -> bytes:
    return ip_address(text).packed


def subnet(text: str) -> Prefix:
    network = ip_network(text, strict=False)
    return Prefix(ip_address(text.split("/", maxsplit=1)[0]).packed, network.prefixlen)


SUBNET = subnet("10.1.1.0/24")
ONE, TWO = v4("10.1.1.1"), v4("10.1.1.2")
PINNING = [How.MET, How.PERSON, How.FILE]
FILED = Pin("", v4("10.1.1.9"), F, How.FILE)


def trusting(*pins: Pin) -> Trust:
    return Trust(SUBNET, pins)


def holder(one: Trust, name: str = "alice") -> bytes | None:
    """Return whose a name is."""
    pin = one.pinned(name)
    return None if pin is None else pin.identity


def address_holder(one: Trust, address: bytes = ONE) -> bytes | None:
    """Return whose an address is."""
    pin = one.pinned_address(address)
    return None if pin is None else pin.identity


def claimed(one: Trust, identity: bytes, name: str = "alice", address=ONE) -> Reason | None:
    """Let an identity claim; return the judgement."""
    one.claim(Claim(name, address, identity))
    return one.judge(identity)


# --- a name: who holds it, who claims it ---

FREE = None
HELD = [FREE, How.MET, How.PERSON, How.FILE]


@pytest.mark.parametrize("how", HELD)
def test_who_holds_a_name_and_claims_it_is_believed(how):
    one = trusting(*[Pin("alice", ONE, A, how)] if how else [])
    assert claimed(one, A) is None


@pytest.mark.parametrize("how", HELD)
@pytest.mark.parametrize("present", [True, False])
def test_another_is_believed_only_if_the_name_is_free(how, present):
    one = trusting(*[Pin("alice", ONE, A, how)] if how else [])
    if present:
        claimed(one, A)
    expected = Reason.NAME_TAKEN if how or present else None
    assert claimed(one, B) is expected
    assert claimed(one, B, "bob") is (Reason.ADDRESS_TAKEN if how or present else None)
    assert claimed(one, B, "bob", TWO) is None
    assert one.judge(A) is (None if present else Reason.UNKNOWN_NODE)


@pytest.mark.parametrize("how", HELD)
def test_the_name_of_an_identity_of_the_file_is_its_own(how):
    one = trusting(FILED, *[Pin("alice", ONE, A, how)] if how else [])
    assert claimed(one, A) is None
    by_file = how is How.FILE
    assert claimed(one, F, "alice", FILED.address) is (Reason.NAME_TAKEN if by_file else None)
    assert one.judge(A) is (None if by_file else Reason.NAME_TAKEN)
    assert claimed(one, B, "alice", TWO) is Reason.NAME_TAKEN
    one.withdraw(F)
    assert one.judge(A) is (None if how else Reason.NAME_TAKEN)


def test_an_identity_of_the_file_has_no_more_right_to_other_addresses_than_anybody():
    one = trusting(FILED, Pin("alice", ONE, A, How.MET))
    claimed(one, A)
    assert claimed(one, F, "foxtrot", ONE) is Reason.ADDRESS_TAKEN
    assert one.judge(A) is None


def test_of_two_identities_of_the_file_that_claim_one_name_neither_is_used():
    one = trusting(FILED, Pin("", TWO, B, How.FILE))
    claimed(one, F, "alice", FILED.address)
    assert claimed(one, B, "alice", TWO) is Reason.NAME_TAKEN
    assert one.judge(F) is Reason.NAME_TAKEN


def test_of_two_unmet_claims_neither_is_used_until_one_is_withdrawn():
    one = trusting()
    assert claimed(one, A) is None
    assert claimed(one, B, "bob", ONE) is Reason.ADDRESS_TAKEN
    assert one.judge(A) is Reason.ADDRESS_TAKEN
    one.withdraw(B)
    one.withdraw(B)
    assert one.judge(A) is None


@pytest.mark.parametrize("how", [How.MET, How.PERSON])
def test_a_claim_that_a_pin_refuses_stands_in_nobodys_way_with_the_rest(how: How):
    one = trusting(Pin("alice", ONE, A, how))
    assert claimed(one, B, "alice", TWO) is Reason.NAME_TAKEN
    assert claimed(one, C, "carol", TWO) is None
    assert claimed(one, B, "carol", ONE) is not None
    assert one.judge(C) is None
    assert one.forget("alice")
    assert one.judge(C) is Reason.NAME_TAKEN


def test_of_two_unmet_claims_the_one_that_is_pinned_is_used():
    one = trusting()
    claimed(one, A)
    claimed(one, B)
    assert one.pin(Pin("alice", ONE, B, How.PERSON))
    assert (one.judge(A), one.judge(B)) == (Reason.NAME_TAKEN, None)


def test_who_claims_nothing_is_not_believed():
    assert trusting().judge(A) is Reason.UNKNOWN_NODE
    assert trusting().met(A) is None
    assert trusting().claimed(A) is None


# --- addresses ---


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "10.1.1.0", "10.1.1.255", "10.1.2.1", "0.0.0.0", "255.255.255.255"]
)
def test_an_address_outside_of_the_subnet_is_nobodys(address):
    assert claimed(trusting(), A, "alice", v4(address)) is Reason.OUTSIDE_SUBNET


def test_an_address_of_another_family_is_nobodys():
    address = ip_address("fd00::1").packed
    assert claimed(trusting(), A, "alice", address) is Reason.OUTSIDE_SUBNET


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        ("10.1.1.4/31", ["10.1.1.4", "10.1.1.5"], ["10.1.1.3", "10.1.1.6"]),
        ("10.1.1.4/32", ["10.1.1.4"], ["10.1.1.5"]),
        ("10.1.1.77/24", ["10.1.1.1", "10.1.1.254"], ["10.1.1.0", "10.1.1.255"]),
        ("0.0.0.0/0", ["8.8.8.8"], ["0.0.0.0", "255.255.255.255"]),
    ],
)
def test_the_addresses_of_a_subnet(prefix, inside, outside):
    one = Trust(subnet(prefix))
    assert all(one.in_subnet(v4(each)) for each in inside)
    assert not any(one.in_subnet(v4(each)) for each in outside)


def test_a_node_may_do_without_an_address():
    one = trusting()
    assert claimed(one, A, address=None) is None
    assert one.met(A) == Pin("alice", b"", A, How.MET)
    assert one.met(A) is None
    one.withdraw(A)
    assert claimed(one, B, "bob", None) is None


# --- pins: each against each ---


@pytest.mark.parametrize("held", PINNING)
@pytest.mark.parametrize("new", PINNING)
def test_a_pin_gives_way_to_one_that_is_stronger_or_a_later_word(held, new):
    one = trusting(Pin("alice", ONE, A, held))
    ranks = [How.MET, How.PERSON, How.FILE]
    expected = ranks.index(new) >= ranks.index(held) and not held is new is How.MET
    assert one.pin(Pin("alice", ONE, B, new)) is expected
    assert holder(one) == (B if expected else A)
    assert address_holder(one) == (B if expected else A)
    assert one.how(A) is (None if expected else held)
    assert one.how(B) is (new if expected else None)


@pytest.mark.parametrize("held", PINNING)
@pytest.mark.parametrize("new", PINNING)
def test_a_pin_of_the_same_identity_never_weakens(held, new):
    one = trusting(Pin("alice", ONE, A, held))
    assert one.pin(Pin("alice", ONE, A, new))
    stronger = max(held, new, key=[How.MET, How.PERSON, How.FILE].index)
    assert one.how(A) is stronger
    assert {pin.how for pin in one.pins()} == {stronger}


def test_what_is_pinned_twice_is_told_once():
    one = trusting(Pin("alice", ONE, A, How.MET), FILED)
    assert set(one.pins()) == {Pin("alice", ONE, A, How.MET), FILED}
    assert one.pins().count(FILED) == 1


def test_the_first_that_is_met_has_the_name_for_good():
    one = trusting()
    claimed(one, A)
    assert one.met(A) == Pin("alice", ONE, A, How.MET)
    assert one.met(A) is None
    assert claimed(one, B) is Reason.NAME_TAKEN
    assert one.met(B) is None
    assert one.judge(A) is None


def test_a_name_is_kept_while_its_owner_is_away():
    one = trusting()
    claimed(one, A)
    one.met(A)
    one.withdraw(A)
    assert claimed(one, B) is Reason.NAME_TAKEN


def test_who_is_met_under_another_name_gives_up_the_one_before():
    one = trusting()
    claimed(one, A)
    one.met(A)
    for number in range(2, 200):
        claimed(one, A, f"name-{number}", v4(f"10.1.1.{number}"))
        assert one.met(A) is not None
    assert len(one.pins()) == 1
    assert claimed(one, B) is None


def test_an_identity_of_the_file_that_is_met_keeps_the_words_of_the_file():
    one = trusting(FILED)
    claimed(one, F, "foxtrot", FILED.address)
    assert one.met(F) == Pin("foxtrot", FILED.address, F, How.MET)
    assert one.met(F) is None
    assert one.how(F) is How.FILE
    assert one.pinned_address(FILED.address) == FILED


def test_an_identity_of_the_file_may_have_a_name_that_was_met_unpinned():
    one = trusting(FILED, Pin("alice", ONE, A, How.MET))
    claimed(one, F, "alice", FILED.address)
    assert one.judge(F) is None
    assert one.met(F) is None


def test_no_more_are_pinned_for_being_met_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(trust, "MAX_MET", 2)
    one = trusting()
    for number in range(1, 4):
        claimed(one, bytes([number]) * 32, f"name-{number}", v4(f"10.1.1.{number}"))
        assert (one.met(bytes([number]) * 32) is None) is (number == 3)
    assert one.judge(b"\3" * 32) is None
    assert one.forget("name-1")
    assert one.met(b"\3" * 32) is not None


# --- people ---


def test_a_pin_that_is_forgotten_is_gone_with_its_address():
    one = trusting(Pin("alice", b"", A, How.PERSON), Pin("alice", ONE, A, How.MET))
    assert len(one.forget("alice")) == 2
    assert one.pins() == []
    assert one.pinned("alice") is None and one.pinned_address(ONE) is None
    assert claimed(one, B) is None


def test_nothing_and_what_the_file_says_cannot_be_forgotten():
    one = trusting(Pin("alice", ONE, A, How.FILE))
    assert one.forget("alice") == one.forget("bob") == []
    assert one.pinned("alice")


@pytest.mark.parametrize(
    ("held", "how", "expected"),
    [
        (How.MET, How.MET, True),
        (How.MET, How.PERSON, True),
        (How.PERSON, How.MET, False),
        (How.PERSON, How.PERSON, True),
        (How.FILE, How.MET, False),
        (How.FILE, How.PERSON, False),
    ],
)
def test_a_name_is_given_to_another_by_words_that_are_strong_enough(held, how, expected):
    one = trusting(Pin("alice", ONE, A, held))
    assert one.replace("alice", ONE, B, how) is expected
    assert holder(one) == (B if expected else A)
    assert address_holder(one) == (B if expected else A)


def test_a_name_that_is_given_away_takes_nothing_from_other_names():
    one = trusting(Pin("alice", ONE, A, How.MET), Pin("bob", TWO, B, How.MET))
    before = one.pins()
    assert not one.replace("carol", ONE, C, How.PERSON)
    assert not one.replace("alice", TWO, C, How.PERSON)
    assert one.pins() == before


def test_a_name_that_cannot_be_given_away_takes_nothing_along():
    one = trusting(Pin("alice", b"", A, How.FILE), Pin("alice", ONE, B, How.MET))
    before = one.pins()
    assert not one.replace("alice", ONE, C, How.PERSON)
    assert one.pins() == before


def test_who_got_a_name_with_another_address_leaves_the_old_one_free():
    one = trusting(Pin("alice", ONE, A, How.MET))
    assert one.replace("alice", TWO, B, How.PERSON)
    assert one.pinned_address(ONE) is None


def test_a_changed_file_takes_its_former_words_back():
    one = trusting(FILED, Pin("", TWO, B, How.FILE), Pin("alice", ONE, A, How.MET))
    one.refile([Pin("", TWO, C, How.FILE)])
    assert (one.how(F), one.how(B), one.how(C)) == (None, None, How.FILE)
    assert holder(one) == A
    claimed(one, A)
    assert claimed(one, F, "alice", FILED.address) is Reason.NAME_TAKEN


# --- who is concerned ---


def test_who_claims_the_same_is_concerned_by_a_claim():
    one = trusting()
    claimed(one, A)
    claimed(one, B, "bob", ONE)
    assert one.rivals(Claim("alice", TWO, C)) == {A}
    assert one.rivals(Claim("alice", ONE, C)) == {A}
    assert one.rivals(Claim("bob", None, B)) == set()
    assert one.rivals(Claim("carol", None, C)) == set()


def test_one_more_among_many_concerns_nobody_but_by_the_word_of_the_file():
    one = trusting(FILED)
    claimed(one, A, "alice", None)
    claimed(one, B, "alice", None)
    assert one.rivals(Claim("alice", None, C)) == set()
    assert one.rivals(Claim("alice", None, F)) == {A, B}
    one.withdraw(A)
    assert one.rivals(Claim("alice", None, A)) == {B}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["claim", "withdraw", "met", "forget", "person", "told"]),
            st.sampled_from([A, B, C, F]),
            st.sampled_from(["alice", "bob"]),
            st.sampled_from([ONE, TWO, v4("8.8.8.8"), None]),
        ),
        max_size=30,
    )
)
def test_whatever_happens_a_name_and_an_address_are_one_nodes(steps):
    one = trusting(FILED)
    for what, identity, name, address in steps:
        match what:
            case "claim":
                one.claim(Claim(name, address, identity))
            case "withdraw":
                one.withdraw(identity)
            case "met":
                one.met(identity)
            case "forget":
                one.forget(name)
            case "person":
                one.replace(name, address or b"", identity, How.PERSON)
            case _:
                one.replace(name, address or b"", identity, How.MET)
        claims = [one.claimed(each) for each in (A, B, C, F) if one.judge(each) is None]
        names = [claim.name for claim in claims if claim is not None]
        taken = [claim.address for claim in claims if claim is not None]
        assert len(set(names)) == len(names)
        assert len({each for each in taken if each}) == len([each for each in taken if each])
        assert len([pin for pin in one.pins() if pin.how is How.MET]) <= 4
        assert one.pinned_address(FILED.address) == FILED


# --- who was replaced, who is there ---


def test_who_was_replaced_stays_replaced_when_the_name_is_forgotten_and_after_a_restart():
    one = trusting(FILED, Pin("alice", ONE, A, How.MET))
    claimed(one, A, "alice", ONE)
    claimed(one, B, "alice", ONE)
    assert one.replace("alice", ONE, B, How.PERSON)
    one.forget("alice")
    again = trusting(FILED, *one.lasting())
    claimed(again, A, "alice", ONE)
    claimed(again, B, "alice", ONE)
    for each in (one, again):
        assert each.judge(A) is Reason.REPLACED and each.judge(B) is None
        each.arrived(A)
        assert each.judge(B) is None
        claimed(each, A, "carol", TWO)
        assert each.judge(A) is None
        claimed(each, A, "carol", ONE)
        assert each.judge(A) is Reason.REPLACED


def test_who_was_replaced_is_given_the_name_back_by_a_person_or_the_file():
    one = trusting(Pin("alice", ONE, A, How.MET))
    claimed(one, A, "alice", ONE)
    assert one.replace("alice", ONE, B, How.PERSON)
    assert one.replace("alice", ONE, A, How.PERSON)
    assert one.judge(A) is None
    assert [pin.identity for pin in one.lasting() if pin.how is How.REPLACED] == [B]
    assert one.replace("alice", ONE, B, How.PERSON)
    one.forget("alice")
    one.refile([Pin("", ONE, A, How.FILE)])
    assert one.judge(A) is None


def test_the_file_and_the_newest_of_many_are_remembered(monkeypatch):
    monkeypatch.setattr(trust, "MAX_REPLACED", 1)
    one = trusting(FILED, Pin("foxtrot", b"", F, How.MET))
    for identity in (A, B, C):
        assert one.replace("foxtrot", ONE, identity, How.PERSON)
    assert [pin.identity for pin in one.lasting() if pin.how is How.REPLACED] == [B]


def test_of_unmet_claims_none_counts_whoever_comes_to_the_door():
    one = trusting()
    for identity in (A, B):
        claimed(one, identity, "alice", ONE)
    one.arrived(A)
    assert [one.judge(each) for each in (A, B)] == [Reason.NAME_TAKEN] * 2


def test_who_left_and_comes_to_the_door_is_no_less_than_others():
    one = trusting()
    for identity in (A, B):
        claimed(one, identity, "alice", ONE)
    one.rest(A)
    assert [one.judge(each) for each in (A, B)] == [Reason.NAME_TAKEN, None]
    one.arrived(A)
    assert [one.judge(each) for each in (A, B)] == [Reason.NAME_TAKEN] * 2


def test_who_is_met_keeps_its_name_whoever_comes_to_the_door():
    one = trusting(Pin("alice", ONE, A, How.MET))
    claimed(one, A, "alice", ONE)
    claimed(one, B, "alice", ONE)
    one.arrived(B)
    assert (one.judge(A), one.judge(B)) == (None, Reason.NAME_TAKEN)


def test_who_left_gives_way_until_it_says_something_again():
    one = trusting()
    claimed(one, A, "alice", ONE)
    claimed(one, B, "alice", ONE)
    assert one.rest(A) == {B}
    assert (one.judge(A), one.judge(B)) == (Reason.NAME_TAKEN, None)
    claimed(one, A, "alice", ONE)
    assert one.judge(B) is Reason.NAME_TAKEN
    assert one.rest(C) == set()
