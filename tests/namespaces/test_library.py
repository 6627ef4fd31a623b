"""Nodes inside a program of one's own: `wgpy.node.Node` on either event loop."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import pytest
import uvloop

import wgpy
from tests.lab import Lab, wait_until
from tests.namespaces.nodes import MARKS, ONE_V4, ONE_V6, TWO_V4, TWO_V6
from tests.wgpy.io.inside import inside
from wgpy.engine.crypto import clamp, public_key
from wgpy.errors import ConfigError
from wgpy.events import (
    DatagramReceived,
    Event,
    HandshakeCompleted,
    InnerReceived,
    Roamed,
    SessionEnded,
)
from wgpy.io import clock, uapi_client
from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    PeerChange,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.node import Node
from wgpy.wire.text import parse_prefix
from wgpy.wire.uapi_client import GET, parse_get

pytestmark = MARKS
LOOPBACK = b"\x7f\0\0\1"
INTERRUPTED = """
import asyncio, signal, sys, wgpy
# A shell has its background jobs ignore it, and they pass that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
async def main():
    async with wgpy.Node(sys.argv[1], uapi=True) as node:
        print("serves", flush=True)
        async for event in node.events():
            print(event)
asyncio.run(main())
"""
_Kind = TypeVar("_Kind")
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, lab: Lab) -> Run:
    """Return what runs a program inside a new namespace, on one of the event loops."""
    outer = lab.ns()

    def begin(program: Coroutine[Any, Any, None]) -> None:
        with inside(outer):
            request.param(program)

    return begin


class Two:
    """Two nodes that are peers, their interfaces in two namespaces, and events of the first."""

    def __init__(self, lab: Lab, one: Node, two: Node, keys: tuple[PublicKey, PublicKey]):
        self.lab, self.one, self.two = lab, one, two
        self.one_key, self.two_key = keys
        self.one_ns, self.two_ns = lab.ns(), lab.ns()
        self.events: list[Event] = []

    async def move(self) -> None:
        for node, ns, v4, v6 in (
            (self.one, self.one_ns, ONE_V4, ONE_V6),
            (self.two, self.two_ns, TWO_V4, TWO_V6),
        ):
            words = ("ip", "link", "set", node.name, "netns", ns)
            await asyncio.to_thread(self.lab.run, None, *words)
            addresses = f"{v4}/24", f"{v6}/112"
            await asyncio.to_thread(self.lab.address, ns, node.name, *addresses)
        await asyncio.to_thread(wait_until, self.are_bound, 5, "ports to be bound")

    def are_bound(self) -> bool:
        """Tell whether both nodes have the sockets of both families."""
        return len(ports(self.lab)) == 4

    async def ping(self, ns: str, ip: str, count: int = 1) -> int:
        return await asyncio.to_thread(self.lab.ping, ns, ip, count)

    async def watch(self) -> None:
        async for event in self.one.events():
            self.events.append(event)

    async def seen(self, kind: type[Event]) -> Event:
        """Wait for an event of a kind."""

        def found() -> list[Event]:
            return [event for event in self.events if isinstance(event, kind)]

        return (await asyncio.to_thread(wait_until, found, 5, kind.__name__))[0]


def peer(key: PublicKey, port: int, *prefixes: str) -> PeerChange:
    allowed = tuple(AllowedIPChange(parse_prefix(prefix)) for prefix in prefixes)
    return PeerChange(key, endpoint=Endpoint(LOOPBACK, port), allowed_ips=allowed)


@asynccontextmanager
async def two_nodes(lab: Lab) -> AsyncIterator[Two]:
    secrets = [clamp(Secret(clock.entropy(32))) for _ in range(2)]
    one_key, two_key = (public_key(secret) for secret in secrets)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(
            Node(
                lab.ifname(),
                private_key=secrets[0],
                listen_port=10000,
                peers=[peer(two_key, 20000, f"{TWO_V4}/32", f"{TWO_V6}/128")],
            )
        )
        two = await stack.enter_async_context(
            Node(lab.ifname(), private_key=secrets[1], listen_port=20000)
        )
        two.set_peer(peer(one_key, 10000, f"{ONE_V4}/32", f"{ONE_V6}/128"))
        both = Two(lab, one, two, (one_key, two_key))
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(both.watch())
            await both.move()
            yield both
            watching.cancel()


def test_two_nodes_of_one_program_reach_each_other(lab, run):
    async def program() -> None:
        async with two_nodes(lab) as both:
            assert await both.ping(both.one_ns, TWO_V4, 3) == 3
            assert await both.ping(both.two_ns, ONE_V6, 3) == 3
            event = await both.seen(HandshakeCompleted)
            assert event == HandshakeCompleted(
                both.two_key, Endpoint(LOOPBACK, 20000), initiator=True
            )
            status = both.one.peer(both.two_key)
            assert status is not None
            assert status.last_handshake > 0
            assert status.rx_bytes > 6 * 128
            assert both.one.mtu == 1420
            await asyncio.to_thread(
                lab.ip, both.one_ns, "link", "set", both.one.name, "mtu", 1300
            )
            await asyncio.to_thread(wait_until, lambda: both.one.mtu == 1300)

    run(program())


def test_a_removed_peer_is_silent_and_a_moved_one_is_reported(lab, run):
    async def program() -> None:
        async with two_nodes(lab) as both:
            assert await both.ping(both.one_ns, TWO_V4) == 1
            both.two.configure(DeviceChange(listen_port=20001))
            assert await both.ping(both.two_ns, ONE_V4) == 1
            event = await both.seen(Roamed)
            assert isinstance(event, Roamed)
            assert event.new == Endpoint(LOOPBACK, 20001)
            both.one.remove_peer(str(both.two_key))
            assert both.one.peer(both.two_key) is None
            await both.seen(SessionEnded)
            assert await both.ping(both.two_ns, ONE_V4) == 0

    run(program())


def test_prefixes_and_endpoints_are_set_on_the_way(lab, run):
    async def program() -> None:
        async with two_nodes(lab) as both:
            both.one.set_allowed_ips(str(both.two_key), ["0.0.0.0/0"])
            both.one.set_endpoint(str(both.two_key), "[::1]:20000")
            assert await both.ping(both.one_ns, TWO_V4) == 1
            assert await both.ping(both.one_ns, TWO_V6) == 0
            status = both.one.peer(str(both.two_key))
            assert status is not None
            assert status.allowed_ips == (Prefix(bytes(4), 0),)
            assert status.endpoint == Endpoint(bytes(15) + b"\1", 20000)

    run(program())


def test_a_deleted_interface_ends_its_node_alone(lab, run):
    async def program() -> None:
        async with two_nodes(lab) as both:
            assert await both.ping(both.one_ns, TWO_V4) == 1
            await asyncio.to_thread(lab.ip, both.two_ns, "link", "del", both.two.name)
            async with asyncio.timeout(10):
                await both.two.wait_gone()
            assert both.one.peer(both.two_key) is not None
            assert await both.ping(both.one_ns, TWO_V4) == 0

    run(program())


def test_a_node_that_cannot_be_leaves_nothing(lab, run):
    async def program() -> None:
        name = lab.ifname()
        async with Node(name, listen_port=10000):
            with pytest.raises(ConfigError, match="in use"):
                async with Node(name):
                    pass
        async with Node(name) as node:
            assert node.name == name
        with pytest.raises(ConfigError, match="not running"):
            _ = node.mtu
        links = await asyncio.to_thread(lab.run, None, "ip", "link")
        assert name not in links.stdout

    run(program())


def test_what_a_node_does_not_take_changes_nothing(lab, run):
    async def program() -> None:
        async with two_nodes(lab) as both:
            wrong: Any = both.one
            before = both.one.peer(both.two_key)
            refusals: list[Callable[[], Any]] = [
                lambda: wrong.set_endpoint(both.two_key, "vpn.example.com:5"),
                lambda: wrong.set_endpoint(both.two_key, ("127.0.0.1", 5)),
                lambda: wrong.set_allowed_ips(both.two_key, "10.0.0.0/8"),
                lambda: wrong.set_peer(both.two_key),
                lambda: wrong.remove_peer(bytes(both.two_key)),
                lambda: wrong.peer(5),
                lambda: wrong.configure(None),
            ]
            for refused in refusals:
                with pytest.raises(ConfigError):
                    refused()
            assert both.one.peer(both.two_key) == before
            assert await both.ping(both.one_ns, TWO_V4) == 1

    run(program())


def test_two_nodes_in_namespaces_of_their_own_ping_each_other(lab, run):
    async def program() -> None:
        keys = [wgpy.generate_key() for _ in range(2)]
        places, name = [lab.ns(), lab.ns()], lab.ifname()
        async with AsyncExitStack() as stack:
            for this, other in ((0, 1), (1, 0)):
                node = Node(
                    name,
                    private_key=keys[this],
                    listen_port=10000 + this,
                    addresses=[f"192.0.2.{this + 1}/24"],
                    peers=[
                        wgpy.peer(
                            wgpy.public_key(keys[other]),
                            endpoint=f"127.0.0.1:{10000 + other}",
                            allowed_ips=[f"192.0.2.{other + 1}"],
                        )
                    ],
                    namespace=places[this],
                )
                await stack.enter_async_context(node)
                assert node.name == name
            assert await asyncio.to_thread(lab.ping, places[0], "192.0.2.2", 3) == 3
            assert await asyncio.to_thread(lab.ping, places[1], "192.0.2.1", 3) == 3
            told = await asyncio.to_thread(lab.ip, places[0], "-d", "address", "show", name)
            assert "192.0.2.1" in told
            assert "fe80" not in told
            assert "MULTICAST" not in told
        for place in places:
            assert name not in await asyncio.to_thread(lab.ip, place, "link")

    run(program())


def test_a_namespace_that_takes_no_interface_leaves_nothing(lab, run):
    async def program() -> None:
        name, place = lab.ifname(), lab.ns()
        with pytest.raises(ConfigError, match="namespace wgpyt-none: No such file"):
            async with Node(name, namespace="wgpyt-none"):
                pass
        async with Node(name, namespace=place):
            with pytest.raises(ConfigError, match=f"namespace {place}: File exists"):
                async with Node(name, namespace=place):
                    pass
            assert name in await asyncio.to_thread(lab.ip, place, "link")
        assert name not in (await asyncio.to_thread(lab.run, None, "ip", "link")).stdout

    run(program())


def test_embedded_nodes_exchange_what_is_neither_wireguards_nor_ip(lab, run):
    async def program() -> None:
        async with two_embedded_nodes(lab) as (one, two, seen, one_key, two_key):
            port = one.status().listen_port
            two.send_datagram(f"127.0.0.1:{port}", [b"\x80ask", b"\xffmore"])
            asked = await first(seen[0], DatagramReceived)
            assert asked.payload == b"\x80ask"
            assert asked.remote.port == two.status().listen_port
            one.send_datagram(
                asked.remote, [b"\x81" * 900], local=asked.local, dont_fragment=True
            )
            answer = await first(seen[1], DatagramReceived)
            assert answer.payload == b"\x81" * 900
            assert answer.remote.port == port

            assert one.send_inner(two_key, [bytes([7]) * 64 for _ in range(40)])
            inner = await first(seen[1], InnerReceived)
            assert inner == InnerReceived(one_key, bytes([7]) * 64)
            assert two.send_inner(str(one_key), [b"\x01odd"])
            inner = await first(seen[0], InnerReceived)
            assert inner.payload.rstrip(b"\0") == b"\x01odd"
            assert one.send_inner(two_key, [])
            assert not one.send_inner(one_key, [b"\x01"])

    run(program())


def test_what_wireguard_or_the_interface_would_take_is_not_sent(lab, run):
    async def program() -> None:
        async with Node(lab.ifname(), embedded=True) as node:
            key = wgpy.public_key(wgpy.generate_key())
            wrong: Any = node
            refused: list[Any]
            refused = [[b"\x7f"], [b"\x80", b""], ["\x80"], b"\x80", [b"\x80" * 65508], 5]
            for payloads in refused:
                with pytest.raises(ConfigError):
                    wrong.send_datagram("127.0.0.1:5", payloads)
            refused = [[b"\x45"], [b"\x01", b"\x60"], [b""], ["a"], b"a", None]
            for payloads in refused:
                with pytest.raises(ConfigError):
                    wrong.send_inner(key, payloads)
            for words in ({"local": b"\x7f\0\0\1"}, {"dont_fragment": 1}):
                with pytest.raises(ConfigError):
                    wrong.send_datagram("127.0.0.1:5", [b"\x80"], **words)
            assert node.send_inner(key, [b"\x01"]) is False
            node.send_datagram("127.0.0.1:5", [])
        with pytest.raises(ConfigError, match="not running"):
            node.send_inner(key, [b"\x01"])

    run(program())


async def first(seen: list[Event], kind: type[_Kind]) -> _Kind:
    """Wait for an event of a kind; return the first."""

    def found() -> list[_Kind]:
        return [event for event in seen if isinstance(event, kind)]

    return (await asyncio.to_thread(wait_until, found, 5, kind.__name__))[0]


@asynccontextmanager
async def two_embedded_nodes(
    lab: Lab,
) -> AsyncIterator[tuple[Node, Node, list[list[Event]], PublicKey, PublicKey]]:
    """Two nodes in namespaces of their own, what each reports, and their keys."""
    secrets = [wgpy.generate_key() for _ in range(2)]
    one_key, two_key = map(wgpy.public_key, secrets)
    seen: list[list[Event]] = [[], []]
    nodes: list[Node] = []

    async def watch(node: Node, into: list[Event]) -> None:
        async for event in node.events():
            into += [event]

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        for number, other in ((0, two_key), (1, one_key)):
            friend = wgpy.peer(
                other,
                endpoint=f"127.0.0.1:{10001 - number}",
                allowed_ips=[f"192.0.2.{2 - number}/32"],
            )
            node = Node(
                lab.ifname(),
                private_key=secrets[number],
                listen_port=10000 + number,
                addresses=[f"192.0.2.{1 + number}/24"],
                peers=[friend],
                namespace=lab.ns(),
                embedded=True,
            )
            nodes.append(await stack.enter_async_context(node))
        watching = [tasks.create_task(watch(*each)) for each in zip(nodes, seen, strict=True)]
        await asyncio.to_thread(wait_until, lambda: len(ports(lab)) == 4, 5, "four sockets")
        yield nodes[0], nodes[1], seen, one_key, two_key
        for task in watching:
            task.cancel()


def ports(lab: Lab) -> list[str]:
    return lab.run(None, "ss", "-Hlun").stdout.splitlines()


async def requested(name: str, text: bytes) -> DeviceStatus:
    """Return what the UAPI answers to a client in a thread."""
    return parse_get(await asyncio.to_thread(uapi_client.request, name, text))


def test_a_node_serves_its_socket_for_as_long_as_it_runs(lab, run):
    async def program() -> None:
        name, key = lab.ifname(), wgpy.generate_key()
        with pytest.raises(RuntimeError, match="as it was raised"):
            async with Node(name, private_key=key, uapi=True):
                status = await requested(name, GET)
                assert status.private_key == key
                raise RuntimeError("as it was raised")
        assert name not in uapi_client.interfaces()
        async with Node(name, uapi=True):
            pass
        assert name not in uapi_client.interfaces()

    run(program())


def test_a_node_whose_socket_is_removed_is_told(lab, run):
    async def program() -> None:
        name = lab.ifname()
        async with Node(name, uapi=True) as node:
            os.unlink(uapi_client.socket_path(name))
            async with asyncio.timeout(5):
                assert [event async for event in node.events()] == []
            assert node.name == name

    run(program())


def test_an_interrupted_program_leaves_nothing(lab):
    ns, name = lab.ns(), lab.ifname()
    child = lab.python(ns, "-c", INTERRUPTED, name)
    child.wait_log("serves", timeout=10)
    assert name in lab.ip(ns, "link")
    assert f"{name}.sock" in lab.run(ns, "ls", uapi_client.DIRECTORY).stdout
    child.process.send_signal(signal.SIGINT)
    child.wait(5)
    assert "KeyboardInterrupt" in child.log()
    assert name not in lab.ip(ns, "link")
    assert f"{name}.sock" not in lab.run(ns, "ls", uapi_client.DIRECTORY).stdout


def test_a_node_of_a_program_relays_between_its_peers(lab, run):
    """Each interface in a namespace of its own, whose addresses the hub has to find there."""
    keys = [wgpy.generate_key() for _ in range(3)]
    one, hub, two = map(wgpy.public_key, keys)
    places = [lab.ns() for _ in range(3)]

    async def program() -> None:
        nodes: list[Node] = []
        async with AsyncExitStack() as stack:
            way = wgpy.peer(hub, endpoint="127.0.0.1:4002", allowed_ips=["10.5.0.0/24"])
            for number, peers in enumerate(
                (
                    [way],
                    [
                        wgpy.peer(one, endpoint="127.0.0.1:4001", allowed_ips=["10.5.0.1/32"]),
                        wgpy.peer(two, endpoint="127.0.0.1:4003", allowed_ips=["10.5.0.0/24"]),
                    ],
                    [way],
                )
            ):
                node = Node(
                    lab.ifname(),
                    private_key=keys[number],
                    listen_port=4001 + number,
                    peers=peers,
                    addresses=[f"10.5.0.{number + 1}/24"],
                    namespace=places[number],
                    forward=number == 1,
                )
                nodes.append(await stack.enter_async_context(node))
            await asyncio.to_thread(lab.wait_ping, places[0], "10.5.0.3")
            await asyncio.to_thread(lab.wait_ping, places[0], "10.5.0.2")
            relayed = nodes[1].status().relayed
            assert relayed is not None
            assert relayed.packets >= 2
            assert nodes[0].status().relayed is None

    run(program())
