"""`python -m tests.interop.quick_node SECONDS IFNAME`: our node, renewing after SECONDS."""

import asyncio
import signal
import sys
from contextlib import suppress

from wgpy.engine.session import Limits
from wgpy.io import uapi_socket
from wgpy.node import Node


async def main(seconds: float, name: str) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        async with Node(name, limits=Limits(rekey_after_time=seconds)) as node:
            await node.serve_uapi(uapi_socket.bind(node.name))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), sys.argv[2]))
