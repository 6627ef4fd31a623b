"""A node that claims what no command line lets it: `stranger INTERFACE PORT ADDRESS NAME SEED`.

It holds the key of the network. The state directory comes last.
"""

import asyncio
import sys
from ipaddress import ip_address

from netmgr.model import HostPort, NetworkFile, Settings, StaticPeer
from netmgr.network import Network
from netmgr.wire.words import parse_shared_key
from tests.namespaces.mesh import KEY
from wgpy.model import Prefix


async def main(
    interface: str, port: str, address: str, name: str, seed: str, state: str
) -> None:
    network = NetworkFile(parse_shared_key(KEY), Prefix(bytes((10, 1, 1, 0)), 24))
    host, _, number = seed.partition(":")
    seeds = (StaticPeer(HostPort(host, int(number))),)
    claimed = ip_address(address).packed
    settings = Settings(network, name, claimed, interface, int(port), seeds=seeds, state=state)
    async with Network(settings):
        print("claims", address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
