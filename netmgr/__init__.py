"""A mesh of WireGuard nodes from one file: every node finds and reaches every other.

    async with netmgr.Network(netmgr.Settings(...)) as network:
        print(network.snapshot())

`Network` is what the program `wg_netmanager` runs; several may run in one process.
"""

from importlib import import_module

__all__ = [
    "ConfigError",
    "Event",
    "HostPort",
    "Network",
    "NetworkFile",
    "Settings",
    "Snapshot",
    "StaticPeer",
]

# The light ones first.
_HOMES = ("wgpy.errors", "netmgr.model", "netmgr.events", "netmgr.network")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            module = import_module(home)
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'netmgr' has no attribute {name!r}")
