"""Where others see a node: votes."""

from tests.netmgr.engine.scenes import nodes, seen
from tests.sim.tunnel import v4
from wgpy.model import Endpoint


def test_others_tell_where_they_see_us_and_one_liar_does_not_hide_the_truth():
    alice, bob, carol, dave = nodes(4)
    told = alice.inner.mesh.context
    truth = Endpoint(bytes([198, 51, 100, 1]), 1)
    witnesses = alice.inner.mesh.upkeep.witnesses
    for witness in (bob, carol):
        witnesses.saw(seen(alice, witness), truth)
    assert told.observed == (truth,)
    for number in range(20):
        liar = seen(alice, dave)
        witnesses.saw(liar, Endpoint(v4("203.0.113.7"), 1000 + number))
        assert told.observed[0] == truth
        assert len(told.observed) == 2


def test_what_is_known_already_is_not_told_and_a_change_forgets_all():
    alice, bob = nodes(2)
    witnesses, context = alice.inner.mesh.upkeep.witnesses, alice.inner.mesh.context
    witnesses.saw(seen(alice, bob), alice.host.endpoint)
    assert not context.observed
    place = Endpoint(v4("198.51.100.1"), 1)
    witnesses.saw(seen(alice, bob), place)
    witnesses.saw(seen(alice, bob), place)
    assert context.observed == (place,)
    witnesses.forget()
    assert not context.observed
    witnesses.saw(seen(alice, bob), place)
    assert context.observed == (place,)
