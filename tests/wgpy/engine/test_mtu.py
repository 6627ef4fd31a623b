from wgpy.engine.mtu import RouteMtus
from wgpy.model import Prefix

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
