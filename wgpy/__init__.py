"""A userspace WireGuard node in Python.

`Node` is an interface as an object; `peer`, `generate_key` and `public_key` say what it needs.
Names are loaded when they are used: the program's launching process imports this package and
must stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wgpy.api import generate_key, peer, public_key, secret
    from wgpy.errors import ConfigError, WireGuardError
    from wgpy.events import (
        Event,
        HandshakeAnswered,
        HandshakeCompleted,
        HandshakeGaveUp,
        HandshakeSent,
        HandshakeUnanswered,
        LoadChanged,
        MessageRejected,
        Roamed,
        SessionEnded,
    )
    from wgpy.model import (
        DeviceChange,
        DeviceStatus,
        Endpoint,
        PeerChange,
        PeerStatus,
        Prefix,
        PublicKey,
        Secret,
    )
    from wgpy.node import Node

__all__ = [
    "ConfigError",
    "DeviceChange",
    "DeviceStatus",
    "Endpoint",
    "Event",
    "HandshakeAnswered",
    "HandshakeCompleted",
    "HandshakeGaveUp",
    "HandshakeSent",
    "HandshakeUnanswered",
    "LoadChanged",
    "MessageRejected",
    "Node",
    "PeerChange",
    "PeerStatus",
    "Prefix",
    "PublicKey",
    "Roamed",
    "Secret",
    "SessionEnded",
    "WireGuardError",
    "generate_key",
    "peer",
    "public_key",
    "secret",
]

# The light ones first: most have their names without loading cryptography.
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
