"""The ways in which a node can carry packets: what is switched off, and what is in use then.

`pytest --offloads=WORD` gives every program of the run `WGPY_OFF=WORD`. Nodes that come up then
wait until they say that they work so, and `CONFIRMED` counts them.
"""

import os
import re
from collections import Counter
from pathlib import Path

from wgpy.io import uapi_client
from wgpy.model import DeviceStatus
from wgpy.wire.uapi_client import GET, parse_get

VARIABLE = "WGPY_OFF"
# By the word of --offloads: WGPY_OFF, and what carries the packets of a node that is up.
WAYS = {
    "on": ("", "jit, TSO and USO, UDP GSO, UDP GRO"),
    "jit": ("jit", "portable, TSO and USO, UDP GSO, UDP GRO"),
    "uso": ("uso", "jit, TSO, UDP GSO, UDP GRO"),
    "gso": ("gso", "jit, TSO and USO, UDP GRO"),
    "gro": ("gro", "jit, TSO and USO, UDP GSO"),
    "tun": ("tun", "packet by packet, UDP GSO, UDP GRO"),
    "all": ("all", "packet by packet"),
}
PATIENCE = 30.0
CONFIRMED: Counter[str] = Counter()
_SAID = dict(WAYS.values())
_chosen: list[str] = []


def choose(word: str) -> None:
    """Have every program that is started from now on work in one of the ways."""
    os.environ[VARIABLE] = WAYS[word][0]
    _chosen[:] = [word]


def chosen() -> str | None:
    """Return the word of --offloads, None if nobody chose."""
    return _chosen[0] if _chosen else None


def status(socket: Path) -> DeviceStatus:
    """Return what a node tells of itself at its UAPI socket."""
    name, folder = socket.name.removesuffix(".sock"), str(socket.parent)
    return parse_get(uapi_client.request(name, GET, directory=folder))


def intended(pid: int) -> str:
    """Return what a node will say once it is up and everything is loaded."""
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    mine = dict(word.decode().partition("=")[::2] for word in words if b"=" in word)
    return _SAID[mine.get(VARIABLE, "")]


def strangers(log: str) -> set[str]:
    """Return the kernels that a log tells of and that the way chosen does not have."""
    word = chosen()
    assert word is not None
    kernels, *offloads = WAYS[word][1].split(", ")
    said = {f"{kernels}, {offloads[0]}"} if offloads and "TSO" in offloads[0] else set()
    if kernels == "jit":  # until the compiled ones are there
        said |= {one.replace("jit", "portable") for one in said}
    return set(re.findall(r"kernels: (.*)", log)) - said
