"""What the parts of a mesh share."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine.common import is_metered, is_place, text
from netmgr.engine.members import Members
from netmgr.engine.signing import address6
from netmgr.model import Candidate, Kind
from netmgr.wire.objects import METERED, RELAYS, Record
from tests.netmgr.engine.surroundings import (
    KEYS,
    NEIGHBOUR,
    SUBNET,
    Other,
    static,
    surroundings,
)
from tests.sim.tunnel import prefix, v4
from wgpy.model import Endpoint, Prefix
from wgpy.wire.detour import via


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", True),
        ("127.0.0.1", True),
        ("2001:db8::1", True),
        ("10.1.1.7", False),
        ("0.0.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("ff02::1", False),
    ],
)
def test_a_place_is_one_host_outside_of_the_tunnel(host, expected):
    place = Endpoint(ip_address(host).packed, 1)
    assert is_place(place, SUBNET, KEYS.net_id) is expected


def test_an_address_of_the_overlay_or_behind_relays_is_no_place():
    own = address6(KEYS.net_id, Other("bob").public)
    assert not is_place(Endpoint(own, 1), SUBNET, KEYS.net_id)
    assert not is_place(via(bytes(8)), SUBNET, KEYS.net_id)


def test_a_subnet_of_everything_leaves_no_place():
    assert not is_place(Endpoint(v4("192.0.2.1"), 1), Prefix(bytes(4), 0), KEYS.net_id)


@given(st.floats(-10, 10), st.floats(0, 10))
def test_a_share_is_between_its_bounds(low, width):
    share = surroundings().share(low, low + width)
    assert low - 1e-9 <= share <= low + width + 1e-9


def test_a_node_that_the_file_names_is_a_seed():
    assert surroundings(peers=[static(address=v4("10.1.1.1"))]).is_seed
    assert not surroundings(peers=[static(address=v4("10.1.1.2"))]).is_seed


def test_what_the_host_sends_into_the_tunnel_is_no_place_but_on_our_lan():
    context = surroundings()
    near, far = Endpoint(v4("172.16.0.3"), 1), Endpoint(v4("172.16.9.3"), 1)
    assert not context.is_tunnelled(near) and not context.is_tunnelled(far)
    context.tunnelled = (prefix("172.16.0.0/16"),)
    context.networks = (prefix("172.16.0.0/24"),)
    assert not context.is_tunnelled(near) and context.is_tunnelled(far)
    kinds = [each.kind for each in context.placed([Candidate(near, Kind.OBSERVED)])]
    assert kinds == [Kind.LOCAL]
    assert context.placed([Candidate(far, Kind.LOCAL)]) == [Candidate(far, Kind.OBSERVED)]


def test_our_lan_is_outside_though_the_subnet_holds_it():
    context = surroundings()
    inside = Endpoint(v4("10.1.1.77"), 1)
    assert not context.is_outside(inside)
    context.networks = (prefix("10.1.1.64/26"),)
    assert context.is_outside(inside)
    assert not context.is_outside(Endpoint(v4("10.1.1.7"), 1))
    assert not context.is_outside(via(bytes(8)))


def test_a_node_is_static_if_the_file_names_its_address():
    context = surroundings(peers=[static(address=v4("10.1.1.2"))])
    members = Members(context)
    others = Other("bob"), Other("carol", "carol", "10.1.1.3"), Other("x", "x", None)
    for other in others:
        members.receive_untrusted(other.record(), NEIGHBOUR, 0.0)
    remotes = [context.remotes[other.public] for other in others]
    assert [context.is_static(remote) for remote in remotes] == [True, False, False]
    remotes[0].record = None
    assert not context.is_static(remotes[0])


def test_who_pays_for_its_bytes_says_so():
    assert is_metered(Record("bob", None, METERED | RELAYS))
    assert not is_metered(Record("bob", None, RELAYS))
    assert not is_metered(None)


def test_an_address_is_told_in_digits():
    assert (text(v4("10.1.1.1")), text(b""), text(None)) == ("10.1.1.1", "", "")
