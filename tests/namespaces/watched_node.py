"""A node that tells on SIGUSR1, as a line of JSON, what it dropped and where its peers are.

`python -m tests.namespaces.watched_node NAME PRIVATE PORT PEER...`; a peer is
`PUBLIC,ALLOWED_IP,ENDPOINT` with an endpoint that may be empty.
"""

import asyncio
import json
import signal
import sys

import uvloop

import wgpy
from wgpy.io import report
from wgpy.wire.text import format_endpoint


def tell(node: wgpy.Node, loads: list[bool]) -> None:
    status = node.status()
    told = {
        "drops": dict(status.drops),
        "endpoints": [format_endpoint(p.endpoint) if p.endpoint else "" for p in status.peers],
        "handshakes": [peer.last_handshake for peer in status.peers],
        "loads": loads,
    }
    print("told", json.dumps(told), flush=True)


async def watch(node: wgpy.Node, loads: list[bool]) -> None:
    async for event in node.events():
        if isinstance(event, wgpy.LoadChanged):
            loads.append(event.under_load)  # noqa: PERF401 - others read it meanwhile


async def main(name: str, private: str, port: str, *peers: str) -> None:
    loads: list[bool] = []
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    described = [peer.split(",") for peer in peers]
    async with (
        wgpy.Node(
            name,
            private_key=wgpy.secret(private),
            listen_port=int(port),
            peers=[
                wgpy.peer(key, allowed_ips=[allowed], endpoint=endpoint or None)
                for key, allowed, endpoint in described
            ],
        ) as node,
        asyncio.TaskGroup() as tasks,
    ):
        loop.add_signal_handler(signal.SIGUSR1, tell, node, loads)
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        watching = tasks.create_task(watch(node, loads))
        print("serves", flush=True)
        await ended.wait()
        watching.cancel()


if __name__ == "__main__":
    report.configure("info")
    uvloop.run(main(*sys.argv[1:]))
