"""Addresses of this host that others may be told."""

import asyncio
from ipaddress import ip_address

import pytest
import uvloop

from netmgr.io.interfaces import Interface, InterfaceWatch, interfaces, outside, usable
from tests.lab import Lab, command
from tests.wgpy.io.inside import inside
from wgpy.io import clock
from wgpy.model import InterfaceAddress

PATIENCE = 10.0


def packed(text: str) -> bytes:
    return ip_address(text).packed


@pytest.mark.parametrize(
    "name",
    ["eth0", "enp3s0", "wlan0", "br-lan", "br0", "bond0", "ve12a", "ppp0", "wwan0", "veth"],
)
def test_an_interface_that_leads_out_is_known(name: str):
    assert outside(name)


@pytest.mark.parametrize(
    "name",
    [
        *("lo", "docker0", "docker_gwbridge", "br-0123456789ab", "veth12ab34c", "vethX9aZ3b"),
        *("virbr0", "virbr0-nic", "vnet3", "cni0", "cni-podman0", "flannel.1", "cali123"),
        *(
            "lxcbr0",
            "lxdbr0",
            "tun0",
            "tap1",
            "wg0",
            "wg-home",
            "zt7nnig2",
            "tailscale0",
            "wt0",
        ),
    ],
)
def test_an_interface_inside_this_host_or_a_tunnel_is_not(name: str):
    assert not outside(name)
    assert not usable(name, packed("192.0.2.1"))


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1", "10.0.0.1", "100.64.0.1", "2001:db8::1", "fd00::1", "::ffff:1.2.3.4"],
)
def test_an_address_of_a_host_is_usable(address: str):
    assert usable("eth0", packed(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "239.1.2.3", "255.255.255.255"),
        *("::", "::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1"),
    ],
)
def test_an_address_of_no_host_of_one_link_or_of_many_is_not(address: str):
    assert not usable("eth0", packed(address))


# --- on a real host --------------------------------------------------------------------------


def found(ns: str, ours: tuple[str, ...] = ()) -> dict[str, list[str]]:
    with inside(ns):
        known = interfaces(ours)
    return {each.name: [str(ip_address(host)) for host, _ in each.addresses] for each in known}


@pytest.mark.root
def test_the_addresses_of_this_host_without_those_of_tunnels_and_containers(lab: Lab):
    a, b = lab.pair()
    way, _ = lab.veth(a, b, ("198.51.100.1/24", "198.51.100.2/24", "169.254.3.3/16"))
    lab.ip(a, "link", "add", "docker0", "type", "bridge")
    lab.address(a, "docker0", "172.17.0.1/16")
    lab.ip(a, "tuntap", "add", "mesh0", "mode", "tun")
    lab.address(a, "mesh0", "10.1.1.1/24")
    lab.ip(a, "address", "add", "2001:db8::2/64", "dev", way, "preferred_lft", "0", "nodad")
    everything = found(a)
    first = next(name for name in everything if name != way)
    assert everything == {
        first: ["192.0.2.1", "2001:db8::1"],
        way: ["198.51.100.1", "198.51.100.2"],
    }
    assert found(a, (way,)) == {first: ["192.0.2.1", "2001:db8::1"]}


@pytest.mark.root
def test_an_interface_that_is_down_or_without_carrier_is_left_out(lab: Lab):
    a, b = lab.ns(), lab.ns()
    near, far = lab.veth(a, b, ("192.0.2.1/24",))
    assert found(a) == {near: ["192.0.2.1"]}
    lab.ip(b, "link", "set", far, "down")
    assert found(a) == {}
    lab.ip(b, "link", "set", far, "up")
    lab.ip(a, "link", "set", near, "down")
    assert found(a) == {}


@pytest.mark.root
def test_an_interface_without_addresses_may_still_have_neighbours(lab: Lab):
    a, b = lab.ns(), lab.ns()
    near, _ = lab.veth(a, b)
    with inside(a):
        assert [each[1:] for each in interfaces()] == [(near, ())]
    lab.address(a, near, "192.0.2.1/24")
    with inside(a):
        [one] = interfaces()
    assert one == Interface(one.number, near, (InterfaceAddress(packed("192.0.2.1"), 24),))


@pytest.mark.root
@pytest.mark.parametrize(
    "runner", [asyncio.Runner, lambda: asyncio.Runner(loop_factory=uvloop.new_event_loop)]
)
def test_changes_are_told_soon_and_together(lab: Lab, runner):
    a, b = lab.ns(), lab.ns()
    near, _ = lab.veth(a, b)

    async def watching() -> None:
        told = asyncio.Event()
        times: list[float] = []

        def tell() -> None:
            times.append(clock.now())
            told.set()

        with inside(a):
            watch = InterfaceWatch(tell)

        async def after(*words: object) -> float:
            told.clear()
            times.clear()
            start = clock.now()
            await asyncio.to_thread(command, ["ip", "-n", a, *words])
            await asyncio.wait_for(told.wait(), PATIENCE)
            return times[0] - start

        batch = lab.directory / "batch"
        batch.write_text(
            "".join(f"addr add 192.0.2.{n}/24 dev {near}\n" for n in range(1, 100))
        )
        await after("-batch", batch)
        # 100 addresses, 100 local routes and more, within one window or a few.
        assert len(times) < 10
        with inside(a):
            assert len(interfaces()[0].addresses) == 99
        await after("route", "add", "198.51.100.0/24", "via", "192.0.2.200")
        await after("rule", "add", "priority", 9, "table", 99)
        await after("-6", "rule", "add", "priority", 9, "table", 99)
        await after("link", "set", near, "down")
        watch.close()
        watch.close()

    with runner() as running:
        running.run(watching())
