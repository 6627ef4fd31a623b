import errno
import fcntl
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.lab import Lab, wait_until
from tests.wgpy.io.inside import inside
from wgpy.errors import ConfigError
from wgpy.io import clock, udp_backlog, udp_linux, udp_sockets
from wgpy.io.counters import UdpCounters
from wgpy.io.ports import READS
from wgpy.io.udp_linux import UdpLinux
from wgpy.model import Burst, Endpoint, Local

V4 = socket.inet_aton("127.0.0.1")
V6 = socket.inet_pton(socket.AF_INET6, "::1")
LOOPBACK = [pytest.param(V4, id="v4"), pytest.param(V6, id="v6")]


@pytest.fixture
def a() -> Iterator[UdpLinux]:
    made = UdpLinux()
    made.bind(0)
    yield made
    made.close()


@pytest.fixture
def b() -> Iterator[UdpLinux]:
    made = UdpLinux()
    made.bind(0)
    yield made
    made.close()


def received(port: UdpLinux, fileno: int) -> list[Burst]:
    """Return what one `receive` takes, datagram by datagram."""
    return [
        burst._replace(payload=one, segment_size=len(one))
        for burst in port.receive(fileno)
        for one in burst.segments()
    ]


def arrivals(port: UdpLinux, wanted: int = 1, timeout: float = 5) -> list[Burst]:
    """Return what has arrived, datagram by datagram."""
    got: list[Burst] = []

    def enough() -> bool:
        for fileno in port.filenos():
            got.extend(received(port, fileno))
        return len(got) >= wanted

    wait_until(enough, timeout)
    return got


def host(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


# --- binding ---------------------------------------------------------------------------------


def test_both_families_get_one_port_of_the_kernels_choice(a):
    assert len(a.filenos()) == 2
    for fileno in a.filenos():
        with socket.socket(fileno=os.dup(fileno)) as sock:
            assert sock.getsockname()[1] == a.port
        assert not os.get_inheritable(fileno)
        assert fcntl.fcntl(fileno, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_port_in_use_is_refused_and_the_old_sockets_stay(a, b):
    before = a.filenos(), a.port
    with pytest.raises(ConfigError, match=f"UDP port {b.port} cannot be bound") as refusal:
        a.bind(b.port)
    assert refusal.value.errno == errno.EADDRINUSE
    assert (a.filenos(), a.port) == before
    a.send([Burst(b"still", 5, Endpoint(V4, b.port))])
    assert arrivals(b)[0].payload == b"still"


def test_a_port_whose_second_family_is_in_use_is_refused(a):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        taken = other.getsockname()[1]
        assert not udp_sockets.probe_port(taken)
        with pytest.raises(ConfigError, match="in use"):
            a.bind(taken)
    assert udp_sockets.probe_port(taken)
    assert a.bind(taken) == taken


def test_the_port_in_use_keeps_its_sockets_and_port_zero_takes_a_new_one(a):
    before = a.filenos()
    assert a.bind(a.port) == a.port
    assert a.filenos() == before
    old = a.port
    assert a.bind(0) not in (0, old)
    assert udp_sockets.probe_port(old)


def test_after_a_rebind_datagrams_leave_from_the_new_port(a, b):
    to = Endpoint(V4, b.port)
    for _ in range(2):
        a.send([Burst(b"x", 1, to)])
        assert arrivals(b)[0].remote.port == a.port
        a.bind(0)


def test_a_descriptor_given_up_by_a_rebind_has_nothing(a):
    stale = 10_000
    assert a.receive(stale) == []
    a.flush(stale)


@pytest.mark.parametrize("absent", [socket.AF_INET, socket.AF_INET6])
def test_a_host_without_one_family_is_served_by_the_other(monkeypatch, absent):
    real = socket.socket

    def without(family: int, kind: int) -> socket.socket:
        if family == absent:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported")
        return real(family, kind)

    monkeypatch.setattr(socket, "socket", without)
    port = UdpLinux()
    assert port.bind(0) == port.port != 0
    monkeypatch.undo()
    assert len(port.filenos()) == 1
    port.send([Burst(b"x", 1, Endpoint(V4 if absent == socket.AF_INET else V6, 9))])
    assert port.counters.no_socket == 1
    port.close()


def test_a_socket_without_an_option_is_refused_and_the_old_ones_stay(a, monkeypatch):
    before = a.filenos()
    monkeypatch.setattr(udp_sockets, "IP_PKTINFO", 9999)
    with pytest.raises(ConfigError, match="UDP port 0 cannot be used: Protocol not available"):
        a.bind(0)
    assert a.filenos() == before


def test_a_host_without_any_family_is_refused(monkeypatch):
    def none(family: int, kind: int) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported")

    monkeypatch.setattr(socket, "socket", none)
    with pytest.raises(ConfigError, match="neither"):
        UdpLinux().bind(0)


@pytest.mark.root
def test_the_mark_is_set_changed_and_survives_a_rebind(a):
    def marks() -> set[int]:
        found = set()
        for fileno in a.filenos():
            with socket.socket(fileno=os.dup(fileno)) as sock:
                found.add(sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))
        return found

    a.set_mark(7)
    assert marks() == {7}
    a.bind(0, 8)
    assert marks() == {8}
    a.set_mark(2**32 - 1)
    assert marks() == {-1}, "all 32 bits, as getsockopt tells them"
    a.bind(a.port, 0)
    assert marks() == {0}


@pytest.mark.root
def test_without_permission_a_mark_is_refused_and_no_mark_is_not(lab):
    code = (
        "from wgpy.io.udp_linux import UdpLinux; u = UdpLinux();"
        "print(u.bind(0, 0), flush=True); u.bind(0, 5)"
    )
    child = lab.spawn(
        None,
        *("setpriv", "--bounding-set", "-net_admin,-net_raw", "--"),
        *(sys.executable, "-c", code),
    )
    assert child.wait() == 1
    assert "fwmark needs CAP_NET_ADMIN" in child.log()
    assert child.log().split()[0].isdigit()


# --- datagrams -------------------------------------------------------------------------------


@pytest.mark.parametrize("address", LOOPBACK)
def test_a_datagram_brings_remote_local_and_tos(a, b, address):
    a.send([Burst(b"hello", 5, Endpoint(address, b.port), tos=0x8A)])
    loopback = socket.if_nametoindex("lo")
    assert arrivals(b) == [
        Burst(b"hello", 5, Endpoint(address, a.port), Local(address, loopback), 0x8A)
    ]


@pytest.mark.parametrize("address", LOOPBACK)
def test_a_burst_is_one_datagram_a_segment_from_any_buffer(a, b, address):
    to = Endpoint(address, b.port)
    a.send([
        Burst(memoryview(b"aabbc"), 2, to, Local(address)),
        Burst([b"1", memoryview(b"22"), bytearray(b"333")], 3, to, tos=1),
        Burst(bytearray(b"last"), 4, to),
    ])  # fmt: skip
    got = arrivals(b, 7)
    payloads = [b"aa", b"bb", b"c", b"1", b"22", b"333", b"last"]
    assert [g.payload for g in got] == payloads
    assert [g.tos for g in got] == [0, 0, 0, 1, 1, 1, 0]


def test_datagrams_that_came_the_same_way_are_one_burst(a, b):
    to = Endpoint(V4, b.port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        a.send([Burst([b"1", b"22"], 2, to, Local(V4)), Burst(b"3", 1, to, Local(V4), 1)])
        other.sendto(b"4", ("127.0.0.1", b.port))
        a.send([Burst(b"5", 1, to, Local(V4))])
        its_port = other.getsockname()[1]
    got = b.receive(b.filenos()[0])
    assert [list(burst.segments()) for burst in got] == [[b"1", b"22"], [b"3"], [b"4"], [b"5"]]
    assert [(burst.remote.port, burst.tos) for burst in got] == [
        (a.port, 0),
        (a.port, 1),
        (its_port, 0),
        (a.port, 0),
    ]


def test_the_source_address_asked_for_is_used(a, b):
    wanted = socket.inet_aton("127.9.8.7")
    a.send([Burst(b"x", 1, Endpoint(V4, b.port), Local(wanted))])
    assert arrivals(b)[0].remote == Endpoint(wanted, a.port)


def test_a_source_of_the_other_family_is_left_out(a, b):
    a.send([
        Burst(b"x", 1, Endpoint(V4, b.port), Local(host("2001:db8::1"))),
        Burst(b"y", 1, Endpoint(V6, b.port), Local(V4)),
    ])  # fmt: skip
    assert {g.payload for g in arrivals(b, 2)} == {b"x", b"y"}
    assert a.counters.source_retries == 0


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (V4, Local(socket.inet_aton("198.51.100.77"))),
        (V4, Local(V4, 0x7FFFFF)),
        (V6, Local(host("2001:db8::77"))),
        (V6, Local(V6, 0x7FFFFF)),
    ],
)
def test_a_lost_source_is_reported_and_the_datagrams_leave_at_once_without_it(
    a, b, address, source
):
    lost: list[Local] = []
    a.source_lost = lost.append
    a.send([Burst(b"aab", 2, Endpoint(address, b.port), source)])
    assert [g.payload for g in arrivals(b, 2)] == [b"aa", b"b"]
    assert lost == [source]
    assert a.counters.source_retries == 1


@pytest.mark.parametrize(
    "remote",
    [
        pytest.param(Endpoint(V4, 0), id="port-0"),
        pytest.param(Endpoint(host("0.0.0.0"), 0), id="any"),
        pytest.param(Endpoint(V6, 0), id="v6-port-0"),
    ],
)
def test_a_remote_that_cannot_be_sent_to_costs_no_source(a, b, remote):
    """A stranger names it as its own address: no peer may lose its source by that."""
    lost: list[Local] = []
    a.source_lost = lost.append
    source = Local(V6 if len(remote.host) == 16 else V4)
    a.send([Burst(b"aab", 2, remote, source)])
    assert lost == []
    assert a.counters.unreachable == 2
    a.send([Burst(b"x", 1, Endpoint(V4, b.port), Local(V4))])
    assert arrivals(b)[0].remote.host == V4


@pytest.mark.root
def test_a_datagram_from_port_zero_is_nobodys(a, b):
    header = struct.pack(">4H", 0, b.port, 8 + 1, 0) + b"x"
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        raw.sendto(header, ("127.0.0.1", 0))
    a.send([Burst(b"y", 1, Endpoint(V4, b.port))])
    assert [g.payload for g in arrivals(b)] == [b"y"]
    assert b.counters.receive_errors == 1


def test_one_receive_takes_a_bounded_number(a, b):
    for _ in range(100):
        a.send([Burst(b"x", 1, Endpoint(V4, b.port))])
    assert len(received(b, b.filenos()[0])) == READS
    assert len(received(b, b.filenos()[0])) == 100 - READS


def test_an_empty_datagram_and_the_largest_pass(a, b):
    a.send([
        Burst(b"", 0, Endpoint(V4, b.port)),
        Burst(bytes(65507), 65507, Endpoint(V4, b.port)),
    ])  # fmt: skip
    assert [len(g.payload) for g in arrivals(b, 2)] == [0, 65507]


def test_a_datagram_above_the_largest_is_counted_and_its_neighbours_pass(a, b):
    to = Endpoint(V4, b.port)
    a.send([Burst(b"1", 1, to), Burst(bytes(65530), 65530, to), Burst(b"2", 1, to)])
    assert [g.payload for g in arrivals(b, 2)] == [b"1", b"2"]
    assert a.counters.too_big == 1


@pytest.mark.parametrize("address", LOOPBACK)
@pytest.mark.parametrize("size", [65493, 65494, 65507, 65508, 65567])
def test_bursts_of_datagrams_that_fill_a_send_alone_cost_their_neighbours_nothing(
    a, b, address, size
):
    to = Endpoint(address, b.port)
    a.send([Burst(b"1", 1, to), Burst(bytes(2 * size + 3), size, to), Burst(b"2", 1, to)])
    largest = 65507 if address == V4 else 65527
    whole = [size, size] if size <= largest else []
    assert [len(g.payload) for g in arrivals(b, 3 + len(whole))] == [1, *whole, 3, 1]
    assert a.counters.too_big == 2 - len(whole)
    assert a.counters.segment_refusals == 0


def test_a_closed_port_at_the_other_end_is_no_error(a, b):
    gone = UdpLinux()
    nobody = gone.bind(0)
    gone.close()
    for address in (V4, V6):
        a.send([Burst(b"x", 1, Endpoint(address, nobody))] * 3)
        a.send([Burst(b"y", 1, Endpoint(address, b.port))])
    assert len(arrivals(b, 2)) == 2
    assert [a.receive(fileno) for fileno in a.filenos()] == [[], []]
    assert a.counters == UdpCounters()


def test_caches_are_bounded(a, b, monkeypatch):
    monkeypatch.setattr(udp_linux, "CACHE_LIMIT", 4)
    for number in range(20):
        source = Local(socket.inet_aton(f"127.0.1.{number}"))
        a.send([Burst(b"x", 1, Endpoint(V4, b.port), source, number)])
    assert [g.tos for g in arrivals(b, 20)] == list(range(20))


# --- real links ------------------------------------------------------------------------------


class Cable(NamedTuple):
    left: str
    right: str
    left_interface: str
    right_interface: str
    a: UdpLinux
    b: UdpLinux


@pytest.fixture
def cable(lab: Lab) -> Iterator[Cable]:
    """Two namespaces with a port each; the MTU of the cable is 1400."""
    left, right = lab.ns(), lab.ns()
    ends = lab.veth(
        *(left, right, ("192.0.2.1/24", "2001:db8::1/64"), ("192.0.2.2/24", "2001:db8::2/64")),
        mtu=1400,
    )
    a, b = UdpLinux(), UdpLinux()
    with inside(left):
        a.bind(5000)
    with inside(right):
        b.bind(5000)
    yield Cable(left, right, *ends, a, b)
    a.close()
    b.close()


PEERS = [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")]


@pytest.mark.root
@pytest.mark.parametrize(("there", "here"), PEERS)
def test_what_exceeds_the_link_is_fragmented_unless_told_not_to(lab, cable, there, here):
    a, b = cable.a, cable.b
    to = Endpoint(host(there), 5000)
    for size in (1352, 1452, 34800):
        a.send([Burst(bytes(size), size, to)])
        assert [len(g.payload) for g in arrivals(b)] == [size]
    whole = 1400 - (48 if ":" in there else 28)
    for size in (whole, whole + 1):
        a.send([Burst(bytes(size), size, to, dont_fragment=True)])
    a.send([Burst(bytes(whole + 1), whole + 1, to)])
    assert [len(g.payload) for g in arrivals(b, 2)] == [whole, whole + 1]
    assert a.counters.too_big == 1


@pytest.mark.root
@pytest.mark.parametrize(("there", "here"), PEERS)
def test_refused_bursts_are_tried_again_after_a_while_and_on_another_way(
    cable: Cable, monkeypatch, there, here
):
    """The cable may have got a larger MTU, or the route may lead elsewhere."""
    a, b = cable.a, cable.b
    size = 1452
    too_big = [Burst(bytes(4 * size), size, Endpoint(host(there), 5000))]
    assert a.in_use()[:1] == ["UDP GSO"]

    def refusals() -> int:
        a.send(too_big)
        assert [len(each.payload) for each in arrivals(b, 4)] == [size] * 4
        return a.counters.segment_refusals

    assert [refusals(), refusals()] == [1, 1]
    a.routes_changed()
    assert [refusals(), refusals()] == [2, 2]
    with inside(cable.left):
        a.bind(0)
    assert [refusals(), refusals()] == [3, 3]
    a.routes_changed()
    monkeypatch.setattr(udp_linux, "REFUSAL_LIFETIME", 0.0)
    assert [refusals(), refusals()] == [4, 5]


@pytest.mark.root
def test_a_way_that_takes_no_bursts_costs_no_other_remote_its_own(lab, cable, monkeypatch):
    # What a kernel without IPsec cannot be made to say, another refusal has to stand for.
    monkeypatch.setattr(udp_linux, "_NONE_ERRORS", frozenset({errno.EINVAL, errno.EMSGSIZE}))
    lab.address(cable.right, cable.right_interface, "192.0.2.22/24")
    refused, other = (Endpoint(host(f"192.0.2.{number}"), 5000) for number in (2, 22))

    def comes_in_bursts(remote: Endpoint) -> bool:
        cable.a.send([Burst(bytes(400), 100, remote)])
        fileno = cable.b.filenos()[0]
        got: list[Burst] = []
        wait_until(lambda: got.extend(cable.b.receive(fileno)) or got)  # type: ignore[func-returns-value,redundant-expr]
        wait_until(lambda: not cable.b.receive(fileno))
        return not isinstance(got[0].payload, list)

    assert comes_in_bursts(refused)
    cable.a.send([Burst(bytes(2904), 1452, refused)])
    assert len(arrivals(cable.b, 2)) == 2
    assert cable.a.counters.segment_refusals == 1
    assert not comes_in_bursts(refused)
    assert comes_in_bursts(other)


@pytest.mark.root
@pytest.mark.parametrize(("there", "here"), PEERS)
def test_an_answer_leaves_from_the_address_that_was_written_to(lab, cable, there, here):
    a, b = cable.a, cable.b
    second = "2001:db8::22" if ":" in there else "192.0.2.22"
    lab.address(cable.right, cable.right_interface, f"{second}/{64 if ':' in there else 24}")
    for address in (there, second):
        a.send([Burst(b"?", 1, Endpoint(host(address), 5000))])
        question = arrivals(b)[0]
        assert question.local is not None
        assert question.local.host == host(address)
        b.send([Burst(b"!", 1, question.remote, question.local)])
        assert arrivals(a)[0].remote == Endpoint(host(address), 5000)


@pytest.mark.root
@pytest.mark.parametrize(("there", "here"), PEERS)
def test_an_address_that_vanishes_falls_over_at_once(lab, cable, there, here):
    a, b = cable.a, cable.b
    v6 = ":" in there
    extra = "2001:db8::11" if v6 else "192.0.2.11"
    lab.address(cable.left, cable.left_interface, f"{extra}/{64 if v6 else 24}")
    with inside(cable.left):
        local = Local(host(extra), socket.if_nametoindex(cable.left_interface))
    lost: list[Local] = []
    a.source_lost = lost.append
    burst = Burst(b"x", 1, Endpoint(host(there), 5000), local)
    a.send([burst])
    assert arrivals(b)[0].remote.host == host(extra)
    lab.ip(
        cable.left,
        "address",
        "delete",
        f"{extra}/{64 if v6 else 24}",
        "dev",
        cable.left_interface,
    )
    a.send([burst])
    assert arrivals(b)[0].remote.host == host(here)
    assert lost == [local]


@pytest.mark.root
def test_a_link_local_remote_keeps_its_scope(lab, cable):
    a, b = cable.a, cable.b

    def link_local() -> list[str]:
        shown = lab.ip(cable.right, "-6", "-o", "address", "show", "scope", "link")
        return [] if "tentative" in shown else [w for w in shown.split() if "fe80" in w]

    address = wait_until(link_local)[0].split("/")[0]
    with inside(cable.left):
        scope = socket.if_nametoindex(cable.left_interface)
    a.send([Burst(b"x", 1, Endpoint(host(address), 5000, scope))])
    got = arrivals(b)[0]
    assert got.remote.host[:2] == b"\xfe\x80"
    assert got.local is not None
    assert got.remote.scope == got.local.interface > 0
    b.send([Burst(b"y", 1, got.remote, got.local)])
    assert arrivals(a)[0].remote == Endpoint(host(address), 5000, scope)


@pytest.mark.root
def test_a_full_socket_keeps_a_bounded_number_and_sends_them_in_order(lab, cable, monkeypatch):
    monkeypatch.setattr(udp_backlog, "LIMIT", 50)
    monkeypatch.setattr(udp_backlog, "PATIENCE", 60)
    a, b = cable.a, cable.b
    slow = f"add dev {cable.left_interface} root tbf rate 8mbit burst 3000 limit 9m"
    lab.run(cable.left, "tc", "qdisc", *slow.split())
    buffer = bytearray(1400)
    to = Endpoint(host("192.0.2.2"), 5000)
    numbers = 0
    while not a.blocked():
        buffer[:2] = numbers.to_bytes(2, "big")
        a.send([Burst(memoryview(buffer), 1400, to)])
        numbers += 1
    assert a.blocked() == a.filenos()[:1]
    for number in range(numbers, numbers + 59):
        buffer[:2] = number.to_bytes(2, "big")
        a.send([Burst(memoryview(buffer), 1400, to)])
    assert a.counters.backlog_dropped == 10
    select.select([], a.filenos()[:1], [], 5)
    buffer[:2] = (numbers + 59).to_bytes(2, "big")
    a.send([Burst(memoryview(buffer), 1400, to)])
    got: list[int] = []

    def drained() -> bool:
        for fileno in a.blocked():
            a.flush(fileno)
        got.extend(
            int.from_bytes(bytes(next(g.segments())[:2]), "big")
            for g in received(b, b.filenos()[0])
        )
        return len(got) >= numbers + 49

    wait_until(drained)
    assert a.blocked() == ()
    assert got == [*range(numbers - 1), *range(numbers + 10, numbers + 60)]


def test_each_datagram_of_a_burst_that_cannot_be_sent_is_counted(a):
    everyone = Endpoint(host("255.255.255.255"), 5000)
    a.send([Burst(bytes(1000), 100, everyone), Burst([b"1", b"2", b"3"], 65535, everyone)])
    assert a.counters.not_permitted == 13


@pytest.mark.root
def test_a_burst_that_finds_no_room_is_lost_datagram_by_datagram(lab, cable, monkeypatch):
    monkeypatch.setattr(udp_backlog, "LIMIT", 3)
    monkeypatch.setattr(udp_backlog, "PATIENCE", 60)
    a, to = cable.a, Endpoint(host("192.0.2.2"), 5000)
    slow = f"add dev {cable.left_interface} root tbf rate 8mbit burst 3000 limit 99m"
    lab.run(cable.left, "tc", "qdisc", *slow.split())
    burst = Burst(bytes(44 * 1200 + 1), 1200, to)
    while not a.blocked():
        a.send([burst])
    for _ in range(4):
        a.send([burst])
    assert a.counters.backlog_dropped == 2 * 45
    a.close()
    assert a.counters.backlog_dropped == 5 * 45


@pytest.mark.root
def test_a_burst_that_waited_and_is_refused_goes_singly_and_in_its_place(
    lab, cable, monkeypatch
):
    monkeypatch.setattr(udp_backlog, "PATIENCE", 60)
    a, b = cable.a, cable.b
    slow = f"add dev {cable.left_interface} root tbf rate 8mbit burst 3000 limit 99m"
    lab.run(cable.left, "tc", "qdisc", *slow.split())
    to = Endpoint(host("192.0.2.2"), 5000)
    while not a.blocked():
        a.send([Burst(b"early".ljust(1300), 1300, to)])
    a.send([Burst(b"burst".ljust(1452) * 3, 1452, to), Burst(b"after", 1300, to)])
    heard: list[bytes] = []

    def came() -> bool:
        for fileno in a.blocked():
            a.flush(fileno)
        for group in received(b, b.filenos()[0]):
            heard.extend(bytes(each[:5]) for each in group.segments())
        return b"after" in heard

    wait_until(came)
    assert heard[-5:] == [b"early", b"burst", b"burst", b"burst", b"after"]
    assert a.counters == UdpCounters(segment_refusals=1)


@pytest.mark.root
def test_what_waited_too_long_for_room_is_dropped_and_what_did_not_is_sent(
    lab, cable, monkeypatch
):
    a, b = cable.a, cable.b
    slow = f"add dev {cable.left_interface} root tbf rate 8mbit burst 3000 limit 99m"
    lab.run(cable.left, "tc", "qdisc", *slow.split())
    to = Endpoint(host("192.0.2.2"), 5000)
    while not a.blocked():
        a.send([Burst(b"early".ljust(1300), 1300, to)])
    kept_at = clock.now()
    wait_until(lambda: clock.now() > kept_at + udp_backlog.PATIENCE)
    a.send([Burst(b"late".ljust(1300), 1300, to)])
    assert a.counters.backlog_dropped == 1
    # A busy machine may take its time to flush.
    monkeypatch.setattr(udp_backlog, "PATIENCE", 60)
    heard: list[bytes] = []

    def came() -> bool:
        for fileno in a.blocked():
            a.flush(fileno)
        heard.extend(bytes(next(g.segments())) for g in received(b, b.filenos()[0]))
        return heard[-1:] == [b"late".ljust(1300)]

    wait_until(came)
    assert a.counters.backlog_dropped == 1


@pytest.mark.root
def test_a_firewall_and_a_missing_route_cost_the_datagram_alone(lab, cable):
    a, b = cable.a, cable.b
    lab.nft(
        cable.left,
        "add table ip t; add chain ip t o { type filter hook output priority 0; };"
        "add rule ip t o ip daddr 192.0.2.3 drop",
    )
    failures: list[tuple[Endpoint, int]] = []
    a.failed = lambda remote, code: failures.append((remote, code))
    a.send([
        Burst(b"1", 1, Endpoint(host("192.0.2.3"), 5000)),
        Burst(b"2", 1, Endpoint(host("203.0.113.1"), 5000)),
        Burst(b"3", 1, Endpoint(host("192.0.2.2"), 5000)),
    ])  # fmt: skip
    assert arrivals(b)[0].payload == b"3"
    assert (a.counters.not_permitted, a.counters.unreachable) == (1, 1)
    assert failures == [
        (Endpoint(host("192.0.2.3"), 5000), errno.EPERM),
        (Endpoint(host("203.0.113.1"), 5000), errno.ENETUNREACH),
    ]
