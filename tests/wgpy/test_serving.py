import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.lab import Lab, wait_until
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
