from tests.wgpy.kernels.packets import udp
from wgpy.engine.mtu import RouteMtus, fitting, towards
from wgpy.model import Endpoint, Prefix
from wgpy.wire.detour import VIA_MTU, via

INSIDE, OUTSIDE = bytes([10, 1, 2, 3]), bytes([10, 2, 2, 3])
ROUTE = Prefix(bytes([10, 1, 0, 0]), 16)


def test_without_routes_the_interface_decides():
    assert RouteMtus().lookup(INSIDE, 1420) == 1420


def test_a_route_lowers_it_for_its_addresses_only():
    routes = RouteMtus([(ROUTE, 1299), (Prefix(bytes(16), 0), 1280)])
    assert routes.lookup(INSIDE, 1420) == 1299
    assert routes.lookup(OUTSIDE, 1420) == 1420
    assert routes.lookup(bytes(16), 1420) == 1280


def test_a_route_never_raises_it():
    assert RouteMtus([(ROUTE, 9000)]).lookup(INSIDE, 1420) == 1420


def test_a_way_through_relays_is_narrower_than_any_route():
    direct, behind = Endpoint(bytes(4), 51820), via(b"somebody")
    assert [towards(direct, mtu) for mtu in (0, 1280, 9000)] == [0, 1280, 9000]
    assert [towards(behind, mtu) for mtu in (0, 1280, 9000)] == [VIA_MTU, 1280, VIA_MTU]
    assert towards(None, 1420) == 1420


def test_what_fits_stays_whole():
    packet = udp(4, bytes(100))
    assert [*fitting(packet, 0)] == [*fitting(packet, len(packet))] == [packet]


def test_what_does_not_fit_is_cut_or_nothing():
    packet = udp(4, bytes(200))
    assert [len(piece) for piece in fitting(packet, 128)] == [124, 124]
    assert [*fitting(udp(6, bytes(200)), 128)] == []
