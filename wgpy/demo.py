"""`wgpy demo`: two nodes on this machine, in two network namespaces joined by a cable.

They shake hands, ping each other over IPv4 and IPv6, carry a measured TCP transfer each way,
and leave nothing behind. Needs root; nothing outside the two namespaces is touched.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from wgpy.api import generate_key, public_key
from wgpy.errors import ConfigError
from wgpy.io import clock, namespaces, process, uapi_client
from wgpy.io.pings import pings
from wgpy.io.transfers import transfer
from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    PeerChange,
    Secret,
)
from wgpy.wire import uapi_client as text
from wgpy.wire.text import parse_address, parse_prefix

PREFIX: Final = "wgpy-demo"
PORT: Final = 51820
PINGS: Final = 5
# Seconds to wait for an echo; a lost initiation is sent again after five.
PATIENCE: Final = 6.0


@dataclass(frozen=True, slots=True)
class End:
    """One end: namespace, interface, addresses outside and inside the tunnel, key."""

    namespace: str
    interface: str
    outer: str
    inner4: str
    inner6: str
    secret: Secret


def run(seconds: float = 3.0) -> int:
    """Show it; `seconds` is how long each transfer takes. Return the exit code."""
    problem = process.missing_privileges()
    if problem is not None:
        raise ConfigError(problem)
    process.end_by_signals()
    namespaces.sweep(PREFIX)
    alice, bob = _end("a", 1), _end("b", 2)
    with ExitStack() as stack:
        for end in (alice, bob):
            _say("namespace", end.namespace)
            stack.callback(namespaces.remove, end.namespace)
            namespaces.create(end.namespace)
        namespaces.cable(
            alice.namespace, bob.namespace, (f"{alice.outer}/24", f"{bob.outer}/24")
        )
        for end, other in ((alice, bob), (bob, alice)):
            began = clock.now()
            stack.enter_context(_node(end))
            _configure(end, other)
            _say("node", f"{end.interface} ready after {(clock.now() - began) * 1e3:.0f} ms")
        _ping_both_ways(alice, bob)
        for one, other in ((alice, bob), (bob, alice)):
            rate = transfer(one.namespace, other.namespace, other.inner4, seconds) / 1e6
            _say("TCP", f"{one.interface} -> {other.interface}: {rate:.0f} Mbit/s")
        _report(alice)
        _report(bob)
    _say("clean-up", "both nodes and namespaces are gone")
    return 0


def _end(letter: str, number: int) -> End:
    pid = os.getpid()
    return End(
        namespace=f"{PREFIX}-{pid}{letter}",
        interface=f"demo{pid}{letter}",
        outer=f"192.0.2.{number}",
        inner4=f"10.77.0.{number}",
        inner6=f"fd77::{number}",
        secret=generate_key(),
    )


@contextmanager
def _node(end: End) -> Iterator[None]:
    """Run `wgpy -f` in the namespace of an end."""
    environ = {**os.environ, "LOG_LEVEL": "error"}
    with namespaces.inside(end.namespace):
        node = subprocess.Popen(  # noqa: S603 - this very program
            [*process.own_command(), "-f", "--", end.interface],
            env=environ,
            preexec_fn=process.die_with_parent,
        )
    try:
        deadline = clock.now() + 10
        pause = threading.Event()
        while end.interface not in uapi_client.interfaces():
            if node.poll() is not None or clock.now() > deadline:
                raise ConfigError(f"the node {end.interface} did not start")
            pause.wait(0.01)
        yield
    finally:
        node.terminate()
        node.wait(10)


def _configure(end: End, other: End) -> None:
    peer = PeerChange(
        public_key=public_key(other.secret),
        endpoint=Endpoint(parse_address(other.outer), PORT),
        allowed_ips=(
            AllowedIPChange(parse_prefix(other.inner4)),
            AllowedIPChange(parse_prefix(other.inner6)),
        ),
    )
    change = DeviceChange(private_key=end.secret, listen_port=PORT, peers=(peer,))
    text.parse_set_answer(uapi_client.request(end.interface, text.format_set(change)))
    addresses = [f"{end.inner4}/24", f"{end.inner6}/64"]
    namespaces.set_up(end.namespace, end.interface, addresses)


def _ping_both_ways(alice: End, bob: End) -> None:
    for one, other in ((alice, bob), (bob, alice)):
        for address in (other.inner4, other.inner6):
            times = list(pings(one.namespace, address, PINGS, patience=PATIENCE))
            if not times:
                raise ConfigError(f"{one.interface}: no answer from {address}")
            first, best = times[0] * 1e3, min(times) * 1e3
            shown = f"{len(times)} of {PINGS} back, first {first:.2f} ms, best {best:.2f} ms"
            _say("ping", f"{one.interface} -> {address}: {shown}")
        _say_handshake(one)


def _say_handshake(end: End) -> None:
    (peer,) = _status(end).peers
    age = clock.now() + clock.wall_offset() - peer.last_handshake
    _say("handshake", f"{end.interface}: with {peer.public_key.short} {age:.1f} s ago")


def _report(end: End) -> None:
    (peer,) = _status(end).peers
    _say(
        "counters",
        f"{end.interface}: {peer.rx_bytes / 2**20:.1f} MiB received, "
        f"{peer.tx_bytes / 2**20:.1f} MiB sent",
    )


def _status(end: End) -> DeviceStatus:
    return text.parse_get(uapi_client.request(end.interface, text.GET))


def _say(what: str, text_: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if _coloured() else ("", "")
    print(f"{bold}{what:>10}{plain}  {text_}", flush=True)


def _coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
