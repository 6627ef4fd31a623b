import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

import wgpy
from tests.lab import Lab, wait_until
from tests.wgpy.io.capabilities import NET_BROADCAST, without
from tests.wgpy.io.inside import inside
from wgpy import Node, generate_key, serving

pytestmark = pytest.mark.root


class Watched(asyncio.SelectorEventLoop):
    """A loop that remembers what was to be called later."""

    def __init__(self) -> None:
        super().__init__()
        self.later: list[tuple[float, asyncio.TimerHandle]] = []

    def call_later(self, delay, callback, *args, context=None):  # type: ignore[override]
        handle = super().call_later(delay, callback, *args, context=context)
        self.later.append((delay, handle))
        return handle

    def rebinding(self) -> Iterator[asyncio.TimerHandle]:
        return (handle for delay, handle in self.later if delay == serving.REBIND_DELAY)


async def occupied_then_closed(loop: Watched, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        async with Node("wg0", private_key=generate_key(), listen_port=port) as node:
            taken.bind(("", port))
            ip = await asyncio.create_subprocess_exec("ip", "link", "set", node.name, "up")
            assert await ip.wait() == 0
            await asyncio.to_thread(wait_until, lambda: any(loop.rebinding()), 5, "a retry")
            assert not any(handle.cancelled() for handle in loop.rebinding())


def test_a_closed_node_does_not_take_the_port_it_waited_for(lab: Lab):
    loop = Watched()
    with inside(lab.ns()), asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(occupied_then_closed(loop, 5555))
    assert all(handle.cancelled() for handle in loop.rebinding())


async def status_of_a_node_without_a_route() -> tuple[tuple[str, int], ...]:
    peer = wgpy.peer(
        wgpy.public_key(generate_key()), endpoint="192.0.2.9:5", persistent_keepalive=1
    )
    async with Node("wg0", private_key=generate_key(), addresses=["10.0.0.1/24"]) as node:
        node.set_peer(peer)
        async with asyncio.timeout(10):
            while not node.status().drops:  # noqa: ASYNC110 (nothing tells of it)
                await asyncio.sleep(0.01)
        return node.status().drops


def test_what_the_ports_cannot_pass_on_is_told_with_the_drops(lab: Lab):
    with inside(lab.ns()):
        drops = asyncio.run(status_of_a_node_without_a_route())
    assert ("not sent: no route to the endpoint", 1) in drops


async def drops_of_a_node_that_hears_nothing(lab: Lab, home: str, away: str) -> object:
    """Move the interface to where nobody reports that it is up, and send into it there."""
    with without(NET_BROADCAST):
        opening = Node("wg0", private_key=generate_key())
        node = await opening.__aenter__()
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_exit(opening)
        await asyncio.to_thread(lab.ip, home, "link", "set", "wg0", "netns", away)
        await asyncio.to_thread(lab.address, away, "wg0", "10.0.0.1/24")
        with inside(away):
            host = closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        async with asyncio.timeout(10):
            while not node.status().drops:
                host.sendto(b"?", ("10.0.0.2", 9))
                await asyncio.sleep(0.01)
        return node.status().drops


def test_a_packet_tells_that_the_interface_is_up_where_nobody_else_does(lab: Lab, monkeypatch):
    monkeypatch.setattr(serving, "PROBE_INTERVAL", 3600.0)
    home, away = lab.ns(), lab.ns()
    with inside(home):
        assert asyncio.run(drops_of_a_node_that_hears_nothing(lab, home, away))
