import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.lab import Lab, wait_until
from tests.wgpy.io.inside import inside
from wgpy.errors import ConfigError
from wgpy.io import tun_linux
from wgpy.io.ports import READS
from wgpy.io.tun_linux import TunLinux, check_name
from wgpy.model import TunBurst

IFF_TAP = 0x0002
TUNSETPERSIST = 0x400454CB
INSIDE, OUTSIDE = "198.51.100.1", "198.51.100.2"


@pytest.fixture
def tun(lab: Lab) -> Iterator[TunLinux]:
    made = TunLinux.create(lab.ifname())
    yield made
    made.close()


def udp_packet(size: int) -> bytes:
    """Return an IPv4 packet of `size` bytes from outside to port 9 of the host."""
    header = struct.pack(
        ">BBHHHBBH4s4s",
        *(0x45, 0, size, 0, 0x4000, 64, 17, 0),
        *(socket.inet_aton(OUTSIDE), socket.inet_aton(INSIDE)),
    )
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack(">H", 0xFFFF - total) + header[12:]
    return header + struct.pack(">HHHH", 7, 9, size - 20, 0) + bytes(size - 28)


def received(tun: TunLinux, wanted: int = 1) -> list[bytes]:
    """Return IPv4 packets the host sends (IPv6 says things of its own), waiting for them."""
    got: list[bytes] = []

    def enough() -> bool:
        got.extend(bytes(b.whole()) for b in tun.receive() if b.whole()[0] >> 4 == 4)
        return len(got) >= wanted

    wait_until(enough)
    return got


@pytest.mark.parametrize(
    "name", ["", "x" * 16, "a/b", "a:b", "a b", ".", "..", "é" * 8, "\udcff"]
)
def test_a_name_the_kernel_refuses_is_refused_with_one_line(name):
    with pytest.raises(ConfigError, match="interface name"):
        check_name(name)


def test_a_missing_device_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tun_linux, "pytun", None)
    monkeypatch.setattr(tun_linux, "DEVICE", "/dev/net/absent")
    with pytest.raises(ConfigError, match="--device /dev/net/tun"):
        TunLinux.create("wgpyt-none")


def test_a_descriptor_that_is_no_tun_is_refused():
    with socket.socket() as other, pytest.raises(ConfigError, match="no TUN interface"):
        TunLinux.from_fd(other.fileno())


@pytest.mark.root
@pytest.mark.parametrize("by_pytun", [True, False])
def test_a_new_interface_has_name_mtu_and_flags(lab, monkeypatch, by_pytun):
    if not by_pytun:
        monkeypatch.setattr(tun_linux, "pytun", None)
    else:
        pytest.importorskip("pytun")
    name = lab.ifname()
    tun = TunLinux.create(name, 1380)
    try:
        assert (tun.name(), tun.mtu(), tun.is_up()) == (name, 1380, False)
        assert not os.get_inheritable(tun.fileno())
        assert not os.get_blocking(tun.fileno())
        assert tun.receive() == []
        heir = TunLinux.from_fd(os.dup(tun.fileno()))
        tun.close()
        assert heir.name() == name
        heir.close()
        assert name not in [entry for _, entry in socket.if_nameindex()]
    finally:
        tun.close()


def told(lab: Lab, ns: str, name: str) -> str:
    """Return what `ip` tells of an interface, with the addresses that IPv6 gives by itself."""
    return lab.ip(ns, "-d", "address", "show", name)


@pytest.mark.root
@pytest.mark.parametrize("forwarding", [0, 1])
def test_the_host_says_nothing_of_its_own_in_a_new_interface(lab, forwarding):
    ns, name = lab.ns(), lab.ifname()
    lab.sysctl(ns, "net.ipv6.conf.all.forwarding", forwarding)
    with inside(ns):
        tun = TunLinux.create(name)
    with contextlib.closing(tun):
        assert "MULTICAST" not in told(lab, ns, name)
        assert "addrgenmode none" in lab.ip(ns, "-d", "link", "show", name)
        lab.address(ns, name, f"{INSIDE}/24", "2001:db8:5::1/64")
        assert "fe80" not in told(lab, ns, name)
        groups = lab.ip(ns, "-6", "maddress", "show", "dev", name)
        assert "ff02::1\n" in groups
        assert "ff02::2" not in groups
        assert tun.receive() == []
        # What its owner wants to send to a group is sent.
        lab.ping(ns, "ff02::5", 1, options=("-I", name))
        packets = [bytes(burst.whole()) for burst in tun.receive()]
        assert [packet[24:40].hex()[:4] for packet in packets if packet[0] >> 4 == 6] == [
            "ff02"
        ]


@pytest.mark.root
def test_an_interface_that_somebody_else_made_stays_as_it_is(lab):
    ns, name = lab.ns(), lab.ifname()
    lab.ip(ns, "tuntap", "add", name, "mode", "tun")
    lab.address(ns, name, "2001:db8:5::1/64")
    with inside(ns):
        tun = TunLinux.create(name, 1400)
    with contextlib.closing(tun):
        assert "MULTICAST" in told(lab, ns, name)
        assert "2001:db8:5::1/64" in told(lab, ns, name)


@pytest.mark.root
def test_an_mtu_too_small_for_ipv6_is_no_fault(lab):
    ns, name = lab.ns(), lab.ifname()
    with inside(ns):
        tun = TunLinux.create(name, 1279)
    with contextlib.closing(tun):
        assert "MULTICAST" not in told(lab, ns, name)


@pytest.mark.root
def test_without_permission_the_error_names_the_capability(lab):
    child = lab.spawn(
        None,
        *("setpriv", "--bounding-set", "-net_admin", "--"),
        *(
            sys.executable,
            "-c",
            "from wgpy.io.tun_linux import TunLinux; TunLinux.create('wgpyt0')",
        ),
    )
    assert child.wait() == 1
    assert "CAP_NET_ADMIN" in child.log()


@pytest.mark.root
def test_a_name_in_use_is_refused_after_some_patience(tun, monkeypatch):
    monkeypatch.setattr(tun_linux, "BUSY_PATIENCE", 0.1)
    with pytest.raises(ConfigError, match="in use"):
        TunLinux.create(tun.name())


@pytest.mark.root
def test_a_name_that_comes_free_within_the_patience_is_taken(tun):
    name = tun.name()
    leaving = threading.Timer(0.1, tun.close)
    leaving.start()
    successor = TunLinux.create(name)
    leaving.join()
    assert successor.name() == name
    successor.close()


@pytest.mark.root
def test_a_name_that_another_kind_of_interface_has_is_refused(lab):
    with inside(lab.ns()), pytest.raises(ConfigError, match="another kind"):
        TunLinux.create("lo")


@pytest.mark.root
def test_an_mtu_the_kernel_does_not_take_is_refused_and_nothing_stays(lab):
    name = lab.ifname()
    with pytest.raises(ConfigError, match="MTU 9"):
        TunLinux.create(name, 9_999_999)
    assert name not in [entry for _, entry in socket.if_nameindex()]


@pytest.mark.root
def test_packets_pass_both_ways_up_to_the_largest_mtu(lab):
    ns = lab.ns()
    with inside(ns):
        tun = TunLinux.create("big", 34736)
        host = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        lab.address(ns, "big", f"{INSIDE}/24")
        host.bind((INSIDE, 9))
        host.settimeout(5)
        tun.send([TunBurst(udp_packet(34736)), TunBurst(memoryview(udp_packet(100)))])
        assert [len(host.recv(65535)) for _ in range(2)] == [34736 - 28, 72]
        host.sendto(bytes(34736 - 28), (OUTSIDE, 9))
        assert len(received(tun)[0]) == 34736
        tun.set_mtu(65535)
        host.sendto(bytes(65507), (OUTSIDE, 9))
        assert len(received(tun)[0]) == 65535
        host.close()
        tun.close()


@pytest.mark.root
def test_one_receive_takes_a_bounded_number_in_order(lab):
    ns = lab.ns()
    with inside(ns):
        tun = TunLinux.create("many")
        lab.address(ns, "many", f"{INSIDE}/24")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
            for number in range(100):
                host.sendto(bytes([number]), (OUTSIDE, 9))
        assert len(tun.receive()) == READS
        tun.receive()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
            for number in range(100):
                host.sendto(bytes([number]), (OUTSIDE, 9))
        assert [packet[-1] for packet in received(tun, 100)] == list(range(100))
        tun.close()


@pytest.mark.root
@pytest.mark.parametrize("taken_over", ["persistent", "inherited", "switched off"])
def test_offloads_of_an_earlier_user_are_off(lab, taken_over):
    """Else packets come without a checksum to a node that has nothing to fill it in."""
    ns = lab.ns()
    with inside(ns):
        tun = TunLinux.create("left", header=True)
        lab.address(ns, "left", f"{INSIDE}/24")
        assert tun.offload(tcp=True, udp=True).tcp
        if taken_over == "persistent":
            fcntl.ioctl(tun.fileno(), TUNSETPERSIST, 1)
            tun.close()
            tun = TunLinux.create("left", header=True)
        elif taken_over == "inherited":
            inherited = os.dup(tun.fileno())
            tun.close()
            tun = TunLinux.from_fd(inherited)
        else:
            assert tun.offload(tcp=False, udp=True) == tun_linux.NO_OFFLOADS
        tun.receive()
        got: list[TunBurst] = []

        def has_come() -> bool:
            got.extend(tun.receive())
            return any(burst.whole()[0] >> 4 == 4 for burst in got)

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
            host.sendto(b"whole", (OUTSIDE, 9))
            wait_until(has_come)
        tun.close()
    assert [burst.csum_start for burst in got] == [0] * len(got)


@pytest.mark.root
def test_one_bad_packet_costs_one_packet_and_a_link_down_none_of_the_program(lab):
    ns = lab.ns()
    with inside(ns):
        tun = TunLinux.create("bad")
        tun.send([TunBurst(udp_packet(100))])
        assert tun.counters.down == 1
        lab.address(ns, "bad", f"{INSIDE}/24")
        assert tun.is_up()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
            host.bind((INSIDE, 9))
            host.settimeout(5)
            good = TunBurst(udp_packet(100))
            tun.send([good, TunBurst(b""), TunBurst(b"\xff\x00"), good])
            assert [len(host.recv(65535)) for _ in range(2)] == [72, 72]
        assert tun.counters.refused == 2
        lab.ip(ns, "link", "set", "bad", "down")
        assert not tun.is_up()
        assert tun.receive() is not None
        tun.close()


@pytest.mark.root
def test_a_rename_and_a_move_to_another_namespace_are_followed_by_the_descriptor(lab, tun):
    ns, renamed = lab.ns(), lab.ifname()
    lab.ip(None, "link", "set", tun.name(), "name", renamed)
    assert tun.name() == renamed
    lab.ip(None, "link", "set", renamed, "netns", ns, "name", "moved")
    assert tun.name() == "moved"
    assert not tun.is_up()
    lab.address(ns, "moved", f"{INSIDE}/24")
    assert tun.is_up()
    with pytest.raises(OSError, match="No such device"):
        tun.mtu()
    with inside(ns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.sendto(b"moved", (OUTSIDE, 9))
    assert received(tun)[0].endswith(b"moved")


@pytest.mark.root
def test_a_deleted_interface_wakes_the_waiter_and_ends_the_port(lab, tun):
    waiter = select.epoll()
    waiter.register(tun.fileno(), select.EPOLLIN)
    lab.ip(None, "link", "delete", tun.name())
    assert waiter.poll(5)
    waiter.close()
    for _ in range(2):
        with pytest.raises(EOFError):
            tun.receive()
    with pytest.raises(EOFError):
        tun.name()
    assert not tun.is_up()
    tun.send([TunBurst(udp_packet(100))])
    assert tun.counters.gone == 1


@pytest.mark.root
def test_a_descriptor_of_another_format_is_refused(lab):
    fd = os.open(tun_linux.DEVICE, os.O_RDWR)
    try:
        request = struct.pack("=16sH22x", lab.ifname().encode(), IFF_TAP)
        fcntl.ioctl(fd, tun_linux.TUNSETIFF, request)
        with pytest.raises(ConfigError, match="IFF_NO_PI"):
            TunLinux.from_fd(fd)
    finally:
        os.close(fd)
