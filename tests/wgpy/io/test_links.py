import os
import re
import select
import socket
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab import Lab, wait_until
from tests.wgpy.io.capabilities import NET_ADMIN, NET_BROADCAST, without
from tests.wgpy.io.inside import inside
from wgpy.io import links, netlink
from wgpy.io.links import (
    AddressGone,
    LinkEvent,
    LinkGone,
    LinkState,
    LinkWatch,
    OwnAddresses,
    RouteChanged,
    RouteMtus,
)
from wgpy.io.tun_linux import TunLinux
from wgpy.model import InterfaceAddress, Prefix

pytestmark = pytest.mark.root

MTUS4 = (Prefix(socket.inet_aton("192.0.2.7"), 32), 1299)
MTUS6 = (Prefix(socket.inet_pton(socket.AF_INET6, "2001:db8:7::"), 48), 1290)


class Home(NamedTuple):
    """A namespace with a TUN interface `tun0`, and a cable `way` with addresses."""

    ns: str
    tun: TunLinux


@pytest.fixture
def home(lab: Lab) -> Iterator[Home]:
    ns = lab.ns()
    with inside(ns):
        # No link-local addresses: they come when they like.
        lab.sysctl(ns, "net.ipv6.conf.default.addr_gen_mode", 1)
        lab.ip(ns, "link", "add", "way", "type", "veth", "peer", "name", "far")
        lab.ip(ns, "link", "set", "far", "up")
        lab.address(ns, "way", "198.51.100.1/24", "2001:db8:1::1/64")
        wait_until(lambda: lab.ip(ns, "link", "show", "up").count("state UP") == 2)
        tun = TunLinux.create("tun0")
        yield Home(ns, tun)
        tun.close()


@pytest.fixture
def watch(home: Home) -> Iterator[LinkWatch]:
    made = LinkWatch(home.tun.fileno())
    assert made.receive() == [LinkState(up=False, mtu=1420)]
    assert not made.needs_probe
    yield made
    made.close()


def heard(watch: LinkWatch, *wanted: LinkEvent) -> list[LinkEvent]:
    """Return all events up to when each of `wanted` has come."""
    got: list[LinkEvent] = []

    def complete() -> bool:
        got.extend(watch.receive())
        return all(event in got for event in wanted)

    wait_until(complete, 5, f"{wanted}")
    return got


def last(watch: LinkWatch, wanted: LinkEvent) -> None:
    """Wait until the last event of its kind is `wanted`."""
    got: list[LinkEvent] = []

    def arrived() -> bool:
        got.extend(event for event in watch.receive() if type(event) is type(wanted))
        return got[-1:] == [wanted]

    wait_until(arrived, 5, f"{wanted}")


def quiet(watch: LinkWatch, lab: Lab, ns: str) -> list[LinkEvent]:
    """Return what came before an event that is made last."""
    lab.ip(ns, "address", "add", "203.0.113.99/32", "dev", "lo")
    lab.ip(ns, "address", "delete", "203.0.113.99/32", "dev", "lo")
    mark = AddressGone(socket.inet_aton("203.0.113.99"))
    return [event for event in heard(watch, mark) if event != mark]


# --- the interface ---------------------------------------------------------------------------


def test_up_down_and_mtu_are_told_once_each(lab, home, watch):
    lab.ip(home.ns, "link", "set", "tun0", "up")
    last(watch, LinkState(up=True, mtu=1420))
    lab.ip(home.ns, "link", "set", "tun0", "mtu", 34736)
    last(watch, LinkState(up=True, mtu=34736))
    lab.ip(home.ns, "link", "set", "tun0", "mtu", 34736)
    lab.ip(home.ns, "link", "set", "tun0", "down")
    last(watch, LinkState(up=False, mtu=34736))


def test_the_descriptor_wakes_a_waiter(lab, home, watch):
    assert not select.select([watch], [], [], 0)[0]
    lab.ip(home.ns, "link", "set", "tun0", "mtu", 1300)
    assert select.select([watch], [], [], 5)[0]
    assert watch.receive() == [LinkState(up=False, mtu=1300)]
    assert not os.get_inheritable(watch.fileno())


def test_a_rename_changes_nothing(lab, home, watch):
    lab.ip(home.ns, "link", "set", "tun0", "name", "tun9")
    lab.ip(home.ns, "link", "set", "tun9", "up")
    last(watch, LinkState(up=True, mtu=1420))
    lab.ip(home.ns, "link", "delete", "tun9")
    assert LinkGone() in heard(watch, LinkGone())


def test_another_interface_of_the_old_name_is_not_ours(lab, home, watch):
    lab.ip(home.ns, "link", "set", "tun0", "netns", lab.ns())
    other = TunLinux.create("tun0", 1111)
    lab.ip(home.ns, "link", "set", "tun0", "up")
    states = [e for e in quiet(watch, lab, home.ns) if isinstance(e, LinkState)]
    assert states == []
    other.close()


def test_a_move_is_followed_through_namespaces_and_back(lab, home, watch):
    second, third = lab.ns(), lab.ns()
    lab.ip(home.ns, "link", "set", "tun0", "netns", second, "name", "elsewhere")
    lab.ip(second, "link", "set", "elsewhere", "mtu", 1400, "up")
    last(watch, LinkState(up=True, mtu=1400))
    lab.ip(second, "link", "set", "elsewhere", "netns", third)
    last(watch, LinkState(up=False, mtu=1400))
    lab.ip(third, "link", "set", "elsewhere", "mtu", 1300)
    last(watch, LinkState(up=False, mtu=1300))
    lab.ip(third, "link", "set", "elsewhere", "up")
    last(watch, LinkState(up=True, mtu=1300))
    lab.ip(third, "link", "set", "elsewhere", "netns", f"/proc/{os.getpid()}/ns/net")
    last(watch, LinkState(up=False, mtu=1300))
    lab.ip(home.ns, "link", "set", "elsewhere", "up")
    last(watch, LinkState(up=True, mtu=1300))
    assert not watch.needs_probe


def test_a_deletion_is_told_also_from_another_namespace(lab, home, watch):
    second = lab.ns()
    lab.ip(home.ns, "link", "set", "tun0", "netns", second)
    lab.ip(second, "link", "delete", "tun0")
    heard(watch, LinkGone())


def test_a_watch_opened_after_the_move_finds_the_interface(lab, home):
    second = lab.ns()
    lab.ip(home.ns, "link", "set", "tun0", "netns", second)
    lab.ip(second, "link", "set", "tun0", "mtu", 1333, "up")
    watch = LinkWatch(home.tun.fileno())
    assert watch.receive() == [LinkState(up=True, mtu=1333)]
    assert not watch.needs_probe
    lab.ip(second, "link", "set", "tun0", "down")
    last(watch, LinkState(up=False, mtu=1333))
    watch.close()


def test_a_watch_of_a_deleted_interface_says_so(lab, home):
    lab.ip(home.ns, "link", "delete", "tun0")
    watch = LinkWatch(home.tun.fileno())
    assert watch.receive() == [LinkGone()]
    watch.close()


def test_without_the_capability_to_listen_a_probe_is_needed_elsewhere_only(lab, home):
    with without(NET_BROADCAST):
        watch = LinkWatch(home.tun.fileno())
    assert not watch.needs_probe
    lab.ip(home.ns, "link", "set", "tun0", "up")
    last(watch, LinkState(up=True, mtu=1420))
    second = lab.ns()
    lab.ip(home.ns, "link", "set", "tun0", "netns", second)
    last(watch, LinkState(up=False, mtu=1420))
    assert watch.needs_probe
    lab.ip(second, "link", "set", "tun0", "netns", f"/proc/{os.getpid()}/ns/net")
    wait_until(lambda: watch.receive() is not None and not watch.needs_probe, 5)
    lab.ip(home.ns, "link", "set", "tun0", "up")
    last(watch, LinkState(up=True, mtu=1420))
    watch.close()


def test_with_privileges_dropped_after_opening_a_move_is_still_heard(lab, home, watch):
    second = lab.ns()
    lab.ip(home.ns, "link", "set", "tun0", "netns", second)
    lab.ip(second, "link", "set", "tun0", "up")
    with without(NET_BROADCAST):
        last(watch, LinkState(up=True, mtu=1420))
    lab.ip(second, "link", "set", "tun0", "mtu", 1310)
    with without(NET_BROADCAST, NET_ADMIN):
        last(watch, LinkState(up=True, mtu=1310))
    assert not watch.needs_probe


def test_without_permission_to_ask_the_message_of_the_move_is_believed(lab, home):
    second = lab.ns()
    with without(NET_ADMIN):
        watch = LinkWatch(home.tun.fileno())
        assert watch.receive() == [LinkState(up=False, mtu=1420)]
    lab.ip(home.ns, "link", "set", "tun0", "netns", second)
    with without(NET_ADMIN):
        watch.receive()
    lab.ip(second, "link", "set", "tun0", "up")
    with without(NET_ADMIN):
        last(watch, LinkState(up=True, mtu=1420))
    assert not watch.needs_probe
    watch.close()


# --- the ways out ----------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["198.51.100.1/24", "2001:db8:1::1/64"])
def test_a_removed_address_is_told(lab, home, watch, address):
    lab.ip(home.ns, "address", "delete", address, "dev", "way")
    text = address.split("/")[0]
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    heard(watch, AddressGone(socket.inet_pton(family, text)))


@pytest.mark.parametrize(
    ("route", "via"), [("203.0.113.0/24", "198.51.100.9"), ("2001:db8:9::/48", "2001:db8:1::9")]
)
def test_routes_that_come_and_go_are_told(lab, home, watch, route, via):
    for change in ("add", "delete"):
        lab.ip(home.ns, "route", change, route, "via", via)
        heard(watch, RouteChanged())


def test_a_link_that_goes_down_or_away_is_told(lab, home, watch):
    lab.ip(home.ns, "link", "set", "way", "down")
    heard(watch, RouteChanged())
    quiet(watch, lab, home.ns)
    lab.ip(home.ns, "link", "delete", "way")
    heard(watch, RouteChanged())


def test_what_says_nothing_of_the_ways_out_is_not_told(lab, home, watch):
    lab.ip(home.ns, "link", "set", "way", "mtu", 1400)
    quiet(watch, lab, home.ns)
    lab.ip(home.ns, "link", "set", "way", "alias", "no change of state")
    lab.ip(home.ns, "link", "set", "tun0", "up")
    lab.address(home.ns, "tun0", "192.0.2.1/24")
    lab.ip(home.ns, "route", "add", "192.0.3.0/24", "dev", "tun0")
    second = lab.ns()
    lab.ip(second, "route", "add", "192.0.4.0/24", "dev", "lo")
    assert [e for e in quiet(watch, lab, home.ns) if not isinstance(e, LinkState)] == []


def test_ways_out_of_the_namespace_it_moved_to_are_no_concern(lab, home, watch):
    second = lab.ns()
    lab.ip(home.ns, "link", "set", "tun0", "netns", second)
    lab.address(second, "lo", "192.0.2.1/24")
    lab.ip(second, "route", "add", "192.0.4.0/24", "dev", "lo")
    lab.ip(second, "address", "delete", "192.0.2.1/24", "dev", "lo")
    lab.ip(second, "link", "set", "lo", "down")
    assert quiet(watch, lab, home.ns) == []


# --- routes with an MTU ----------------------------------------------------------------------


def add_routes(lab: Lab, ns: str) -> None:
    lab.ip(ns, "link", "set", "tun0", "up")
    lab.ip(ns, "route", "add", "192.0.2.7/32", "dev", "tun0", "mtu", 1299)
    lab.ip(ns, "route", "add", "2001:db8:7::/48", "dev", "tun0", "mtu", 1290)
    lab.ip(ns, "route", "add", "192.0.2.8/32", "dev", "tun0")


def test_routes_with_an_mtu_are_known_at_the_start_and_go_with_the_link(lab, home):
    add_routes(lab, home.ns)
    watch = LinkWatch(home.tun.fileno())
    assert watch.receive() == [LinkState(up=True, mtu=1420), RouteMtus((MTUS6, MTUS4))]
    lab.ip(home.ns, "link", "set", "tun0", "down")
    last(watch, RouteMtus(()))
    watch.close()


@pytest.mark.parametrize("moved", [False, True])
def test_routes_with_an_mtu_are_followed_wherever_the_interface_is(lab, home, watch, moved):
    ns = home.ns
    if moved:
        ns = lab.ns()
        lab.ip(home.ns, "link", "set", "tun0", "netns", ns)
        watch.receive()
    add_routes(lab, ns)
    last(watch, RouteMtus((MTUS6, MTUS4)))
    lab.ip(ns, "route", "delete", "2001:db8:7::/48")
    last(watch, RouteMtus((MTUS4,)))
    lab.ip(ns, "route", "change", "192.0.2.7/32", "dev", "tun0", "mtu", 1280)
    last(watch, RouteMtus(((MTUS4[0], 1280),)))
    lab.ip(ns, "route", "add", "192.0.2.7/32", "dev", "tun0", "metric", 9, "mtu", 1270)
    last(watch, RouteMtus(((MTUS4[0], 1270),)))
    lab.ip(ns, "route", "change", "192.0.2.7/32", "dev", "tun0", "metric", 9, "mtu", 1285)
    last(watch, RouteMtus(((MTUS4[0], 1280),)))
    lab.ip(ns, "route", "delete", "192.0.2.7/32", "dev", "tun0", "metric", 9)
    lab.ip(ns, "route", "replace", "192.0.2.7/32", "dev", "lo", "mtu", 1200)
    last(watch, RouteMtus(()))


def test_routes_that_go_silently_with_their_address_are_forgotten(lab, home, watch):
    lab.address(home.ns, "tun0", "192.0.2.1/24")
    lab.ip(
        *(home.ns, "route", "add", "192.0.2.7/32", "dev", "tun0"),
        *("src", "192.0.2.1", "mtu", 1299),
    )
    last(watch, RouteMtus((MTUS4,)))
    lab.ip(home.ns, "address", "delete", "192.0.2.1/24", "dev", "tun0")
    last(watch, RouteMtus(()))


def test_the_number_of_routes_kept_is_bounded(lab, home, watch, monkeypatch):
    monkeypatch.setattr(links, "ROUTE_LIMIT", 1)
    add_routes(lab, home.ns)
    last(watch, RouteMtus((MTUS4,)))
    lab.ip(home.ns, "route", "delete", "192.0.2.7/32")
    last(watch, RouteMtus(()))


# --- overrun ---------------------------------------------------------------------------------


def test_after_an_overrun_everything_is_asked_for_again(lab, home, monkeypatch):
    monkeypatch.setattr(links, "_BUFFER_SIZE", 1)
    watch = LinkWatch(home.tun.fileno())
    watch.receive()
    batch = "".join(f"route add 203.0.113.{number}/32 dev way\n" for number in range(200))
    lab.run(home.ns, "ip", "-batch", "-", stdin=batch)
    add_routes(lab, home.ns)
    lab.ip(home.ns, "link", "set", "tun0", "mtu", 1350)
    assert watch.receive() == [
        RouteChanged(),
        LinkState(up=True, mtu=1350),
        RouteMtus((MTUS6, MTUS4)),
    ]
    watch.close()


# --- constants -------------------------------------------------------------------------------


def test_the_constants_are_those_of_the_system():
    headers = [Path("/usr/include/linux") / name for name in ("if_tun.h", "netlink.h")]
    if not all(header.exists() for header in headers):
        pytest.skip("needs the headers of the kernel")
    text = "".join(header.read_text() for header in headers)
    assert re.search(r"TUNGETDEVNETNS\s+_IO\('T', 227\)", text)
    assert ord("T") << 8 | 227 == links.TUNGETDEVNETNS
    for name in ("NETLINK_LISTEN_ALL_NSID", "NETLINK_GET_STRICT_CHK", "NLM_F_DUMP"):
        match = re.search(rf"{name}\s+(\d+|\(.*\))", text)
        assert match is not None
        value = 0x300 if name == "NLM_F_DUMP" else int(match[1])
        assert value == getattr(netlink, name)


# --- addresses of the host -------------------------------------------------------------------


def own(*texts: str) -> OwnAddresses:
    return OwnAddresses(tuple(InterfaceAddress(*address(text)) for text in texts))


def address(text: str) -> tuple[bytes, int]:
    interface = ip_interface(text)
    return interface.ip.packed, interface.network.prefixlen


LOOPBACK = ("127.0.0.1/8", "::1/128")
WAY = ("198.51.100.1/24", "2001:db8:1::1/64")


def addresses(watch: LinkWatch, *wanted: str) -> list[InterfaceAddress]:
    """Wait until the addresses last told are these, in any order; return them in theirs."""
    got: list[OwnAddresses] = []

    def arrived() -> bool:
        got.extend(event for event in watch.receive() if isinstance(event, OwnAddresses))
        return bool(got) and sorted(got[-1].addresses) == sorted(own(*wanted).addresses)

    wait_until(arrived, 5, f"{wanted}")
    return list(got[-1].addresses)


@pytest.fixture
def asked(home: Home) -> Iterator[LinkWatch]:
    made = LinkWatch(home.tun.fileno(), own_addresses=True)
    yield made
    made.close()


def test_addresses_of_the_host_are_told_as_they_come_and_go(lab, home, asked):
    addresses(asked, *LOOPBACK, *WAY)
    lab.address(home.ns, "tun0", "10.0.0.1/24", "fd00::1/64")
    found = addresses(asked, *LOOPBACK, *WAY, "10.0.0.1/24", "fd00::1/64")
    assert set(found[:2]) == set(own("10.0.0.1/24", "fd00::1/64").addresses)
    lab.ip(home.ns, "address", "delete", "198.51.100.1/24", "dev", "way")
    addresses(asked, *LOOPBACK, WAY[1], "10.0.0.1/24", "fd00::1/64")


def test_addresses_are_those_of_where_the_interface_is(lab, home, asked):
    addresses(asked, *LOOPBACK, *WAY)
    elsewhere = lab.ns()
    lab.sysctl(elsewhere, "net.ipv6.conf.default.addr_gen_mode", 1)
    lab.ip(home.ns, "link", "set", "tun0", "netns", elsewhere)
    addresses(asked, *LOOPBACK)
    lab.sysctl(elsewhere, "net.ipv6.conf.tun0.addr_gen_mode", 1)
    lab.address(elsewhere, "tun0", "10.0.0.1/32")
    addresses(asked, *LOOPBACK, "10.0.0.1/32")
    lab.address(home.ns, "way", "198.51.100.2/24")
    lab.ip(elsewhere, "address", "add", "10.0.0.2/32", "dev", "lo")
    found = addresses(asked, *LOOPBACK, "10.0.0.1/32", "10.0.0.2/32")
    assert found[0] == own("10.0.0.1/32").addresses[0]


def test_nobody_is_told_of_addresses_who_did_not_ask(lab, home, watch):
    lab.ip(home.ns, "address", "add", "203.0.113.5/32", "dev", "lo")
    assert [e for e in quiet(watch, lab, home.ns) if isinstance(e, OwnAddresses)] == []
