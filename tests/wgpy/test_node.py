"""A node's start, end and what comes between that its other tests do not meet by chance."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from tests.lab import Lab
from tests.wgpy.io.inside import inside
from wgpy.errors import ConfigError
from wgpy.io.udp_sockets import probe_port
from wgpy.node import Node

pytestmark = [pytest.mark.root, pytest.mark.slow]

PORT = 7007
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    runner: Run = request.param
    return runner


def test_a_start_that_fails_half_way_leaves_nothing(lab: Lab, run: Run):
    name = lab.ifname()

    async def program() -> None:
        twice = ("192.0.2.7/24", "192.0.2.7/24")
        with pytest.raises(
            ConfigError, match=f"^address 192.0.2.7/24 dev {name}: File exists$"
        ):
            async with Node(name, listen_port=PORT, addresses=twice):
                pass
        assert probe_port(PORT)
        assert name not in dict(socket.if_nameindex()).values()
        async with Node(name, listen_port=PORT, addresses=twice[:1]) as node:
            assert node.name == name

    with inside(lab.ns()):
        run(program())


def test_a_node_gets_its_addresses_where_it_was_started(lab: Lab, run: Run):
    ns, name = lab.ns(), lab.ifname()

    async def program() -> None:
        await asyncio.to_thread(os.getpid)  # leaves the loop a thread in the first namespace
        with inside(ns):
            async with Node(name, addresses=["192.0.2.7/24"]):
                shown = await asyncio.to_thread(lab.ip, ns, "address", "show", name)
                assert "192.0.2.7/24" in shown

    run(program())
