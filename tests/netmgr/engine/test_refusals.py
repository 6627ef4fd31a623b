"""Who is refused is told who has its name or address, and says so."""

import pytest

from netmgr import events
from netmgr.engine.common import Context
from netmgr.engine.members import Members
from netmgr.engine.refusals import MAX_PLACES, REFUSAL_LIFE, Refusals
from netmgr.engine.signing import fingerprint
from tests.netmgr.engine.surroundings import ME, NEIGHBOUR, Other, surroundings, told
from wgpy.model import Endpoint

PLACE = Endpoint(bytes([192, 0, 2, 9]), 50009)
BOB = Other("bob", "bob", "10.1.1.2")
EVE = Other("eve", "bob", "10.1.1.2")


def made(*others: Other) -> tuple[Refusals, Context]:
    context = surroundings()
    members = Members(context)
    context.own_record = ME.record()
    for other in others:
        members.receive_untrusted(other.record(), NEIGHBOUR, 0.0)
        if other.public in context.remotes:
            members.met(context.remotes[other.public], 0.0)
    return members.refusals, context


@pytest.mark.parametrize(
    ("name", "address", "owner"),
    [
        ("bob", "10.1.1.2", BOB),
        ("bob", "10.1.1.7", BOB),
        ("eve", "10.1.1.2", BOB),
        ("me", "10.1.1.7", ME),
        ("eve", "10.1.1.1", ME),
    ],
)
def test_who_is_refused_gets_the_record_of_who_has_what_it_claims(name, address, owner):
    refusals, _ = made(BOB, Other("eve", name, address))
    assert refusals.evidence(EVE.public) == owner.record()


def test_there_is_nothing_to_show_of_who_is_not_known_or_loses_to_nobody():
    refusals, _ = made(Other("eve", "eve", "8.8.8.8"))
    assert refusals.evidence(EVE.public) == refusals.evidence(BOB.public) == b""


@pytest.mark.parametrize(
    ("name", "address", "words", "todo"),
    [
        ("me", "10.1.1.1", "the name me belongs to {} (10.1.1.1)", "another -n and -a, or, if"),
        ("me", "10.1.1.7", "the name me belongs to {} (10.1.1.7)", "another -n, or, if"),
        ("eve", "10.1.1.1", "the address 10.1.1.1 belongs to eve ({})", "choose another -a"),
    ],
)
def test_who_is_refused_says_so_once_and_what_to_do(name, address, words, todo):
    refusals, context = made(Other("eve", name, address))
    context.out.events.clear()
    for now in (0.0, 1.0):
        refusals.heard(EVE.public, PLACE, now)
    (view,) = refusals.views(2.0)
    assert told(context, events.NodeRefused) == [events.NodeRefused(view)]
    who = fingerprint(EVE.public)
    assert view.text == f"192.0.2.9:50009 refuses this node: {words.format(who)}"
    assert todo in view.todo
    accept = f"wg_netmanager accept me {fingerprint(ME.public)}"
    assert (accept in view.todo) is (name == "me")


def test_what_is_not_ours_says_nothing_of_us():
    refusals, context = made(BOB, EVE)
    context.out.events.clear()
    for other in (EVE, Other("nobody")):
        refusals.heard(other.public, PLACE, 0.0)
    assert refusals.views(0.0) == () and not context.out.events


def test_a_refusal_ends_when_the_place_lets_us_in_or_is_reached_or_says_nothing_more():
    refusals, context = made(BOB, Other("eve", "me", "10.1.1.1"))
    refusals.heard(EVE.public, PLACE, 0.0)
    assert refusals.views(REFUSAL_LIFE) == ()
    context.remotes[BOB.public].take_up(PLACE, 0.0)
    assert refusals.views(1.0) == ()
    context.remotes.clear()
    assert refusals.views(1.0)
    refusals.let_in(PLACE)
    refusals.let_in(PLACE)
    assert refusals.views(1.0) == ()


def test_places_that_refuse_us_are_not_remembered_without_bound():
    refusals, _ = made(Other("eve", "me", "10.1.1.1"))
    for port in range(1, MAX_PLACES + 9):
        refusals.heard(EVE.public, PLACE._replace(port=port), 0.0)
    assert len(refusals.views(0.0)) == MAX_PLACES
