"""What this host has for a node, or puts in its way, as findings. Blocking; changes nothing."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from netmgr.io.control_client import DIRECTORY
from netmgr.model import Finding, Level
from netmgr.wire import nft
from wgpy.errors import ConfigError
from wgpy.hostmodel import AddUnreachable, Recorded
from wgpy.io import clock, process
from wgpy.io.settings_linux import is_down, sysctl
from wgpy.io.uapi_client import is_alive
from wgpy.io.undo_file import UndoFile

# Unix time before which no clock can be right: this program is younger.
WRITTEN_AT: Final = 1_735_689_600
_SYSCTL: Final = "/proc/sys/net/ipv4"
_LONGEST: Final = 5.0
# A question is sent so often, and its answer waited for so many seconds.
_TRIES: Final = 3
_PATIENCE: Final = 0.7
_LARGEST: Final = 2048
_SHOWN: Final = 3


def privileges() -> Finding:
    """Tell whether an interface can be made."""
    problem = process.missing_privileges()
    if problem is None:
        return Finding(
            Level.OK, "privileges", f"CAP_NET_ADMIN and {process.TUN_DEVICE} are there"
        )
    return Finding(Level.FAIL, "privileges", problem)


def wall_clock() -> Finding:
    """Tell whether the clock can be right."""
    if clock.now() + clock.wall_offset() >= WRITTEN_AT:
        return Finding(Level.OK, "clock", "not before this program was written")
    text = "the clock stands before this program was written: others ignore our handshakes"
    return Finding(Level.FAIL, "clock", text, "set it (timedatectl set-ntp true)")


def interface(name: str) -> Iterator[Finding]:
    """Tell whether somebody has set the interface of a node that runs down."""
    if is_down(name):
        text = f"{name} is down: no traffic, though the node runs"
        yield Finding(Level.FAIL, "interface", text, f"ip link set {name} up")


def port(number: int) -> Finding:
    """Tell whether a node that does not run could have its UDP port."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, number))
            except OSError as error:
                text = f"UDP port {number}: {error.strerror}"
                todo = f"ss -ulnp 'sport = {number}' tells by whom; -w takes another port"
                return Finding(Level.FAIL, "port", text, todo)
    return Finding(Level.OK, "port", f"UDP port {number} is free")


def firewall(number: int, interface: str, *, forwards: bool) -> Iterator[Finding]:
    """Yield what the rules of nftables, Docker's and ufw's among them, do to a node."""
    rules = _ruleset()
    if rules is None:
        yield Finding(Level.OK, "firewall", "no rules to be seen: nft is missing, or refuses")
        return
    chain = nft.drops_port(rules, number)
    if chain is None:
        yield Finding(Level.OK, "firewall", f"lets in UDP port {number}")
    else:
        text = f"chain {chain} drops UDP port {number}: only those we call first reach us"
        yield Finding(
            Level.WARN, "firewall", text, f"nft insert rule {chain} udp dport {number} accept"
        )
    if not forwards:
        return
    chain = nft.drops_forwarded(rules, interface)
    if chain is None:
        yield Finding(Level.OK, "forwarding", f"what comes from {interface} is let through")
    else:
        text = f"chain {chain} drops what {interface} forwards, as Docker and ufw set it"
        yield Finding(
            Level.FAIL,
            "forwarding",
            text,
            f"nft insert rule {chain} iifname {interface} accept",
        )


def forwarding(names: Iterable[str]) -> Iterator[Finding]:
    """Tell which of these settings somebody has switched off: a node that runs needs them."""
    for name in names:
        if sysctl(name) == "0":
            text = f"{name} is 0, set by somebody: what this node offers is not reached"
            yield Finding(Level.FAIL, "forwarding", text, f"sysctl -w {name}=1")


def _ruleset() -> str | None:
    program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the system's own
            [program, "--json", "list", "ruleset"],
            capture_output=True,
            text=True,
            timeout=_LONGEST,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def reverse_path(*, matters: bool) -> Finding:
    """Tell whether packets are dropped whose answer would take another way."""
    strict = []
    with suppress(OSError):
        for name in sorted(os.listdir(f"{_SYSCTL}/conf")):
            with open(f"{_SYSCTL}/conf/{name}/rp_filter", encoding="ascii") as file:
                if file.read().strip() == "1":
                    strict.append(name)
    if not strict:
        return Finding(Level.OK, "rp_filter", "not strict")
    text = f"strict on {', '.join(strict[:_SHOWN])}"
    if not matters:
        return Finding(Level.OK, "rp_filter", f"{text}; this node forwards nothing")
    todo = f"sysctl net.ipv4.conf.{strict[0]}.rp_filter=2"
    return Finding(Level.WARN, "rp_filter", f"{text}: answers by another way are dropped", todo)


def sockets(directory: str = DIRECTORY) -> Finding:
    """Tell of sockets whose node is gone."""
    stale = []
    with suppress(OSError):
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            with suppress(ConfigError):
                if name.endswith(".sock") and not is_alive(path):
                    stale.append(path)
    if not stale:
        return Finding(Level.OK, "sockets", "none of a node that is gone")
    more = f" and {len(stale) - _SHOWN} more" if len(stale) > _SHOWN else ""
    text = f"{', '.join(stale[:_SHOWN])}{more}: the node was killed"
    left = [change for path in stale for change in _changes(path, directory)]
    if left:
        text += f"; of its routes, rules and settings {len(left)} are left on this host"
    level = Level.WARN
    if any(isinstance(change, AddUnreachable) for change in left):
        level, text = Level.FAIL, f"{text}, and its default route stays closed"
    first, _ = os.path.splitext(os.path.basename(stale[0]))
    which = f" -i {first}" if len(stale) == 1 else ""
    todo = f"its next start cleans up, or wg_netmanager purge --keep-identity{which}"
    return Finding(level, "sockets", text, todo)


def _changes(path: str, directory: str) -> tuple[Recorded, ...]:
    """Return the changes of this host that are on record for the interface of a socket."""
    interface, _ = os.path.splitext(os.path.basename(path))
    with suppress(ConfigError):
        record = UndoFile(interface, directory).read()
        return record.done if record else ()
    return ()


def ask(family: int, address: tuple[object, ...], payload: bytes) -> bytes | None:
    """Return what is answered to a datagram, None if nothing is.

    Raises:
        OSError: it cannot be sent, or ICMP says that it is not delivered.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(_PATIENCE)
        probe.connect(address)
        for _ in range(_TRIES):
            probe.send(payload)
            with suppress(TimeoutError):
                return probe.recv(_LARGEST)
    return None
