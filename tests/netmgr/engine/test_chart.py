"""The links as a node goes by them: what others tell, its own without the noise."""

from netmgr.engine.chart import Chart
from netmgr.engine.common import Context
from netmgr.engine.members import Members
from netmgr.engine.remote import Remote
from netmgr.engine.routing import Route, best_paths, edge_cost
from netmgr.wire.objects import METERED, RECORD, Edge, Record, encode_record
from tests.netmgr.engine.surroundings import ME, NEIGHBOUR, Other, surroundings
from tests.sim.tunnel import v4
from wgpy.model import Endpoint

BOB, CAROL = Other("bob"), Other("carol", "carol", "10.1.1.3")
PLACE = Endpoint(v4("192.0.2.9"), 51820)


class Known:
    """Bob and carol, who are linked to each other; bob is linked to us."""

    def __init__(self) -> None:
        self.context: Context = surroundings()
        self.members = Members(self.context)
        for blob in (BOB.record(), CAROL.record()):
            self.hear(blob)
        self.hear(BOB.links(2, Edge(ME.short, 10_000, 0), Edge(CAROL.short, 20_000, 0)))
        self.hear(CAROL.links(2, Edge(BOB.short, 20_000, 0)))
        self.chart = Chart(self.context)

    def hear(self, blob: bytes) -> None:
        self.members.receive_untrusted(blob, NEIGHBOUR, 0.0)

    def remote(self, other: Other) -> Remote:
        return self.context.remotes[other.public]

    def measured(self, other: Other, rtt: float) -> bool:
        """Let a node answer after so many seconds; return whether it matters."""
        remote = self.remote(other)
        remote.take_up(PLACE, 0.0)
        remote.pings.forget()
        remote.pings.measure(rtt)
        return self.chart.hold(remote)


def test_our_own_links_count_as_soon_as_they_are_measured():
    known = Known()
    assert known.chart.direct(known.remote(BOB)) is None
    assert known.measured(BOB, 0.03)
    known.chart.follow()
    cost = edge_cost(30_000, 0)
    assert known.chart.direct(known.remote(BOB)) == Route((), cost)
    assert known.chart.near() == {BOB.short: BOB.key}
    paths = best_paths(known.chart.graph, ME.short)
    assert paths[BOB.short].cost == cost, "whatever the other tells of it"
    assert paths[CAROL.short] == Route((BOB.short,), cost + edge_cost(20_000, 0))


def test_noise_is_no_news():
    known = Known()
    assert known.measured(BOB, 0.1)
    assert not known.measured(BOB, 0.11)
    assert known.chart.direct(known.remote(BOB)) == Route((), edge_cost(100_000, 0))
    assert known.measured(BOB, 0.15)
    assert known.chart.direct(known.remote(BOB)) == Route((), edge_cost(150_000, 0))


def test_a_direct_place_that_is_given_up_is_no_link():
    known = Known()
    known.measured(BOB, 0.1)
    known.remote(BOB).give_up(1.0)
    assert known.chart.direct(known.remote(BOB)) is None
    assert known.chart.hold(known.remote(BOB))
    assert not known.chart.hold(known.remote(BOB))
    known.chart.follow()
    assert known.chart.near() == {}
    assert best_paths(known.chart.graph, ME.short) == {}


def test_who_is_shown_out_is_near_no_more():
    known = Known()
    known.measured(BOB, 0.1)
    known.members.drop(BOB.public, "a test", 1.0)
    assert known.chart.near() == {}
    known.chart.follow()
    assert best_paths(known.chart.graph, ME.short) == {}


def test_who_was_lost_by_a_neighbour_is_doubted_once_if_it_seems_to_be_up():
    known = Known()
    known.measured(CAROL, 0.1)
    known.chart.follow()
    known.hear(BOB.links(3))
    known.chart.follow()
    assert known.chart.take_doubted() == [known.remote(CAROL)], "bob lost us, too"
    assert known.chart.take_doubted() == []
    known.hear(CAROL.links(3))
    known.chart.follow()
    assert known.chart.take_doubted() == [], "bob is not up"


def test_who_was_left_by_one_of_several_neighbours_is_not_doubted_for_that():
    known = Known()
    dave = Other("dave", "dave", "10.1.1.4")
    known.hear(dave.record())
    links = [Edge(one.short, 9_000, 0) for one in (BOB, dave)]
    known.hear(CAROL.links(3, *links))
    known.hear(dave.links(3, Edge(CAROL.short, 9_000, 0)))
    known.measured(CAROL, 0.1)
    known.chart.follow()
    known.hear(dave.links(4))
    known.chart.follow()
    assert known.chart.take_doubted() == [], "dave may have chosen others"
    known.hear(BOB.links(3))
    known.chart.follow()
    assert known.chart.take_doubted() == [known.remote(CAROL)]


def test_who_is_known_anew_is_no_link_before_it_answers():
    known = Known()
    known.measured(BOB, 0.1)
    known.members.drop(BOB.public, "is forgotten", 1.0)
    known.members.heard(BOB.public, 1.0)
    assert not known.remote(BOB).up
    known.chart.follow()
    assert known.chart.near() == {}
    assert best_paths(known.chart.graph, ME.short) == {}


def test_without_a_relay_between_us_a_node_is_cut_off():
    known = Known()
    dave = Other("dave", "dave", "10.1.1.4")
    known.hear(dave.record())
    known.hear(BOB.links(3, *(Edge(one, 9, 0) for one in (ME.short, CAROL.short, dave.short))))
    known.chart.follow()
    bob, carol = known.remote(BOB), known.remote(CAROL)
    assert not known.chart.is_cut_off(carol), "we are nowhere yet"
    known.measured(BOB, 0.03)
    known.chart.follow()
    assert not known.chart.is_cut_off(carol), "bob relays"
    metered = Record(BOB.name, v4("10.1.1.2"), METERED)
    known.hear(BOB.said(RECORD, 4, encode_record(metered)))
    known.chart.follow()
    assert known.chart.is_cut_off(carol)
    assert not known.chart.is_cut_off(known.remote(dave)), "it tells of nobody"
    assert not known.chart.is_cut_off(bob), "we have no other neighbour"
