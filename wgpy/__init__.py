"""A userspace WireGuard node in Python.

`Node` is an interface as an object; `peer`, `generate_key` and `public_key` say what it needs.
Names are loaded when they are used: the program's launching process imports this package and
must stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wgpy.api import (
        endpoint,
        generate_key,
        load_key,
        peer,
        prefix,
        public_key,
        save_key,
        secret,
    )
    from wgpy.engine.session import Limits
    from wgpy.errors import ConfigError, WireGuardError
    from wgpy.events import (
        DatagramReceived,
        Event,
        HandshakeAnswered,
        HandshakeCompleted,
        HandshakeGaveUp,
        HandshakeSent,
        HandshakeUnanswered,
        InnerReceived,
        LoadChanged,
        MessageRejected,
        RelayFailed,
        Roamed,
        SessionEnded,
    )
    from wgpy.io.tun_linux import TunLinux
    from wgpy.io.uapi_socket import UapiListener
    from wgpy.model import (
        AllowedIPChange,
        Detoured,
        DeviceChange,
        DeviceStatus,
        Endpoint,
        InterfaceAddress,
        Local,
        PeerChange,
        PeerStatus,
        Prefix,
        PublicKey,
        Relayed,
        Secret,
    )
    from wgpy.node import Node

__all__ = [
    "AllowedIPChange",
    "ConfigError",
    "DatagramReceived",
    "Detoured",
    "DeviceChange",
    "DeviceStatus",
    "Endpoint",
    "Event",
    "HandshakeAnswered",
    "HandshakeCompleted",
    "HandshakeGaveUp",
    "HandshakeSent",
    "HandshakeUnanswered",
    "InnerReceived",
    "InterfaceAddress",
    "Limits",
    "LoadChanged",
    "Local",
    "MessageRejected",
    "Node",
    "PeerChange",
    "PeerStatus",
    "Prefix",
    "PublicKey",
    "RelayFailed",
    "Relayed",
    "Roamed",
    "Secret",
    "SessionEnded",
    "TunLinux",
    "UapiListener",
    "WireGuardError",
    "endpoint",
    "generate_key",
    "load_key",
    "peer",
    "prefix",
    "public_key",
    "save_key",
    "secret",
]

# The light ones first: most have their names without loading cryptography. What a node takes is
# a name of its module as well.
_HOMES = ("errors", "model", "events", "api", "node")


def __getattr__(name: str) -> object:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"wgpy.{home}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'wgpy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
