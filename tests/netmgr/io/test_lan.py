"""Discovery between namespaces on one switch."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import pytest
import uvloop

from netmgr.io.interfaces import interfaces
from netmgr.io.lan import GROUP4, MAX_SIZE, PORT, RECEIVE_LIMIT, LanPort
from tests.lab import Lab
from tests.wgpy.io.inside import inside
from wgpy.model import Endpoint

pytestmark = pytest.mark.root
PATIENCE = 10.0
Heard = list[tuple[bytes, Endpoint]]


class Node(NamedTuple):
    """A port of discovery in a namespace, and what it heard."""

    ns: str
    port: LanPort
    heard: Heard

    def refresh(self) -> None:
        with inside(self.ns):
            self.port.refresh(interfaces())

    def send(self, payload: bytes) -> int:
        with inside(self.ns):
            return self.port.send(payload)

    def hosts(self, payload: bytes) -> set[bytes]:
        return {source.host for text, source in self.heard if text == payload}


@contextmanager
def node(ns: str) -> Iterator[Node]:
    heard: Heard = []
    made = Node(ns, LanPort(lambda payload, source: heard.append((payload, source))), heard)
    made.refresh()
    try:
        yield made
    finally:
        made.port.close()
        made.port.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what comes is the kernel's
            await asyncio.sleep(0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def switch(lab: Lab, count: int = 2, *, ipv6: bool = True) -> list[str]:
    """Return namespaces 192.0.2.1, .2 ... on one switch."""
    middle = lab.ns()
    bridge = lab.bridge(middle)
    hosts = []
    for number in range(1, count + 1):
        host = lab.ns()
        if not ipv6:
            lab.sysctl(host, "net.ipv6.conf.all.disable_ipv6", 1)
            lab.sysctl(host, "net.ipv6.conf.default.disable_ipv6", 1)
        lab.plug(middle, bridge, host, f"192.0.2.{number}/24")
        hosts.append(host)
    return hosts


def v4(text: str) -> bytes:
    return socket.inet_aton(text)


def test_a_neighbour_hears_by_both_families_and_so_does_the_sender(lab: Lab):
    a, b = switch(lab)

    async def scenario() -> None:
        with node(a) as near, node(b) as far:
            await until(lambda: near.send(b"hello") == 3)
            await until(lambda: len(far.heard) >= 3 and len(near.heard) >= 3)
            for each in (near, far):
                assert v4("192.0.2.1") in each.hosts(b"hello")
            [scoped] = {source for _, source in far.heard if len(source.host) == 16}
            assert scoped.host.startswith(b"\xfe\x80")
            assert scoped.scope
            assert {source.port for _, source in far.heard} == {PORT}

    run(scenario)


def test_several_nodes_on_one_host_hear_each_other(lab: Lab):
    [a] = switch(lab, 1)

    async def scenario() -> None:
        with node(a) as one, node(a) as two, node(a) as three:
            one.send(b"hello")
            await until(lambda: two.hosts(b"hello") and three.hosts(b"hello"))

    run(scenario)


def test_without_ipv6_the_rest_works(lab: Lab):
    a, b = switch(lab, ipv6=False)

    async def scenario() -> None:
        with node(a) as near, node(b) as far:
            assert near.send(b"hello") == 2
            await until(lambda: far.hosts(b"hello") == {v4("192.0.2.1")})

    run(scenario)


def test_each_of_several_interfaces_is_used_and_no_other(lab: Lab):
    a, b, c = (lab.ns() for _ in range(3))
    lab.veth(a, b, ("192.0.2.1/24",), ("192.0.2.2/24",))
    other, _ = lab.veth(a, c, ("198.51.100.1/24",), ("198.51.100.2/24",))

    async def scenario() -> None:
        with node(a) as near, node(b) as first, node(c) as second:
            near.send(b"one")
            await until(lambda: first.hosts(b"one") and second.hosts(b"one"))
            assert v4("192.0.2.1") in first.hosts(b"one")
            assert v4("198.51.100.1") in second.hosts(b"one")
            with inside(a):
                near.port.refresh(each for each in interfaces() if each.name != other)
            near.send(b"two")
            second.send(b"from beyond")
            first.send(b"last")
            await until(lambda: near.hosts(b"last") and first.hosts(b"two"))
            assert not second.hosts(b"two")
            assert not near.hosts(b"from beyond")

    run(scenario)


def test_a_default_route_into_a_tunnel_does_not_take_discovery_along(lab: Lab):
    a, b = switch(lab, ipv6=False)
    lab.ip(a, "tuntap", "add", "mesh0", "mode", "tun")
    lab.address(a, "mesh0", "10.1.1.1/24")
    lab.ip(a, "route", "add", "default", "dev", "mesh0", "table", 51820)
    lab.ip(a, "rule", "add", "not", "fwmark", 51820, "table", 51820)
    lab.ip(a, "rule", "add", "table", "main", "suppress_prefixlength", 0)

    async def scenario() -> None:
        with node(a) as near, node(b) as far:
            with inside(a):
                near.port.refresh(interfaces(("mesh0",)))
            assert near.send(b"hello") == 2
            far.send(b"hello")
            await until(lambda: v4("192.0.2.1") in far.hosts(b"hello"))
            await until(lambda: v4("192.0.2.2") in near.hosts(b"hello"))

    run(scenario)


def test_an_interface_that_vanishes_and_one_that_appears_hinder_nobody(lab: Lab):
    a, b = lab.ns(), lab.ns()
    near_name, _ = lab.veth(a, b, ("192.0.2.1/24",), ("192.0.2.2/24",))

    async def scenario() -> None:
        with node(a) as near, node(b) as far:
            lab.ip(a, "link", "delete", near_name)
            assert near.send(b"into nothing") == 0
            near.refresh()
            assert near.send(b"nowhere") == 0
            lab.veth(a, b, ("203.0.113.1/24",), ("203.0.113.2/24",))
            near.refresh()
            far.refresh()
            near.send(b"back")
            await until(lambda: far.hosts(b"back"))

    run(scenario)


def test_what_comes_to_this_host_alone_is_not_heard(lab: Lab):
    a, b = switch(lab)

    async def scenario() -> None:
        with node(a) as near, inside(b), socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"unicast", ("192.0.2.1", PORT))
            stranger.sendto(bytes(MAX_SIZE + 1), (GROUP4, PORT))
            stranger.sendto(b"", (GROUP4, PORT))
            stranger.sendto(b"multicast", (GROUP4, PORT))
            await until(lambda: near.hosts(b"multicast"))
            assert [text for text, _ in near.heard] == [b"", b"multicast"]

    lab.ip(b, "route", "add", "default", "via", "192.0.2.1")
    run(scenario)


def test_a_flood_is_taken_in_portions(lab: Lab):
    a, b = switch(lab)

    async def scenario() -> None:
        with node(a) as near, inside(b), socket.socket(type=socket.SOCK_DGRAM) as stranger:
            for _ in range(3 * RECEIVE_LIMIT):
                stranger.sendto(b"flood", (GROUP4, PORT))
            seen: list[int] = []

            def complete() -> bool:
                seen.append(len(near.heard))
                return seen[-1] == 3 * RECEIVE_LIMIT

            await until(complete)
            steps = {after - before for before, after in pairwise(seen)}
            assert max(steps) <= RECEIVE_LIMIT

    lab.ip(b, "route", "add", "default", "via", "192.0.2.1")
    run(scenario)


def test_a_port_that_another_program_keeps_to_itself_is_tried_again(lab: Lab):
    a, b = switch(lab, ipv6=False)

    async def scenario() -> None:
        with inside(a), socket.socket(type=socket.SOCK_DGRAM) as other:
            other.bind(("", PORT))
            with node(a) as near:
                assert near.send(b"hello") == 0
                other.close()
                near.refresh()
                with node(b) as far:
                    assert near.send(b"hello") == 2
                    await until(lambda: far.hosts(b"hello"))

    run(scenario)


def test_what_is_too_long_is_the_callers_fault():
    async def scenario() -> None:
        port = LanPort(lambda *_: None)
        with pytest.raises(ValueError, match="too long"):
            port.send(bytes(MAX_SIZE + 1))

    run(scenario)
