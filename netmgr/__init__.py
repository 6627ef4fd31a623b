"""A mesh of WireGuard nodes from one file: every node finds and reaches every other.

    settings = netmgr.load_settings(
        "/etc/wg_netmanager/network.yaml", address="10.1.1.5", name="web", interface="wg1"
    )
    async with netmgr.Network(settings) as network:
        async for event in network.events():
            print(event, network.snapshot().peers)

`Network` is what the program `wg_netmanager` runs; several may run in one process, each with
an interface of its own. `load_settings` reads the files of the program, `settings` needs none;
`NodeOptions` are the words of both. `Snapshot` is what is known at a moment, each other node a
`PeerView`; the other names are events and values. Faults are `ConfigError`, in one line.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netmgr.api import NodeOptions, load_settings, settings
    from netmgr.errors import Reason
    from netmgr.events import (
        ClaimRefused,
        Event,
        NodeJoined,
        NodeLeft,
        NodePinned,
        NodeRefused,
        ObservedAt,
        PrefixClosed,
        PrefixOpened,
        RouteRefused,
        SeedSilent,
        TwinSeen,
        WayChanged,
    )
    from netmgr.model import (
        ConflictView,
        HostPort,
        NetworkFile,
        PeerView,
        RefusalView,
        RouteView,
        Settings,
        Snapshot,
        StaticPeer,
    )
    from netmgr.network import Network
    from wgpy.errors import ConfigError
    from wgpy.model import Endpoint, Prefix, Secret

__all__ = [
    "ClaimRefused",
    "ConfigError",
    "ConflictView",
    "Endpoint",
    "Event",
    "HostPort",
    "Network",
    "NetworkFile",
    "NodeJoined",
    "NodeLeft",
    "NodeOptions",
    "NodePinned",
    "NodeRefused",
    "ObservedAt",
    "PeerView",
    "Prefix",
    "PrefixClosed",
    "PrefixOpened",
    "Reason",
    "RefusalView",
    "RouteRefused",
    "RouteView",
    "Secret",
    "SeedSilent",
    "Settings",
    "Snapshot",
    "StaticPeer",
    "TwinSeen",
    "WayChanged",
    "load_settings",
    "settings",
]

# The light ones first.
_HOMES = ("wgpy.errors", "netmgr.errors", "netmgr.model", "netmgr.events", "netmgr.api")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in (*_HOMES, "netmgr.network"):
            module = import_module(home)
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'netmgr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
