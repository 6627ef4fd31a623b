"""Network namespaces of this host: for two ends of a tunnel on one machine; which are gone.

Names of ours end in the pid of who made them, so that what a killed process left is found and
removed.
netlink by pyroute2, imported when a namespace is made.
"""

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import iglob
from typing import Final

from wgpy.errors import ConfigError
from wgpy.io import libc

CLONE_NEWNET: Final = 0x40000000
FOLDER: Final = "/run/netns"


def create(name: str) -> None:
    """Make a namespace with its loopback up.

    Raises:
        ConfigError: not permitted, or the name is taken.
    """
    from pyroute2 import netns

    try:
        netns.create(name)
        set_up(name, "lo", [])
    except (OSError, PermissionError) as error:
        raise ConfigError(
            f"namespace {name} cannot be made ({error.strerror or error}): "
            "it takes root and, in a container, CAP_SYS_ADMIN"
        ) from None


def remove(name: str) -> None:
    """Remove a namespace and what is in it; one that is gone is no fault."""
    from pyroute2 import netns

    with suppress(OSError):
        netns.remove(name)


def sweep(prefix: str) -> None:
    """Remove the namespaces `PREFIX-PID...` whose process is dead."""
    if not os.path.isdir(FOLDER):
        return
    for name in os.listdir(FOLDER):
        found = re.fullmatch(re.escape(prefix) + r"-(\d+)\D?", name)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            remove(name)


def is_held(number: int) -> bool:
    """Return whether the network namespace of that number (inode) may still be there.

    It is if a process that can be seen is in it, or if it is mounted somewhere. What cannot be
    looked at counts as a holder. Not seen are the processes of an outer or other container, and
    a namespace that only an open descriptor keeps: who takes over what belongs to it asks
    elsewhere, too. The kernel gives the number of a namespace that is gone to the next one
    that is made, and that then counts as held: a stranger's costs a refusal, and whoever is in
    it has to see by other signs that what was there before is gone.
    """
    held = f"net:[{number}]"
    try:
        return _is_inhabited(held) or any(
            held in _text(f"/proc/{process}/mountinfo") for process in ("self", "1")
        )
    except OSError:
        return True


def _is_inhabited(held: str) -> bool:
    """Return whether a thread is in a namespace, or may be.

    A process of another user, or one that keeps others out as our nodes do, does not tell. But
    the table of interfaces that it sees is no secret: it is one of a namespace that a process
    which tells is in, or not.
    """
    elsewhere: set[int] = set()
    hidden: set[int] = set()
    for task in iglob("/proc/[0-9]*/task/[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            table = os.stat(f"{task}/net/dev").st_ino
            try:
                if os.readlink(f"{task}/ns/net") == held:
                    return True
                elsewhere.add(table)
            except PermissionError:
                hidden.add(table)
    return not hidden <= elsewhere


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def cable(one: str, other: str, addresses: tuple[str, str]) -> None:
    """Join two namespaces by a veth pair `eth0`, with an address (`A/LENGTH`) at each end."""
    from pyroute2 import IPRoute

    with inside(one), IPRoute() as link:
        peer = {"ifname": "eth0", "net_ns_fd": other}
        link.link("add", ifname="eth0", kind="veth", peer=peer)
    for name, address in zip((one, other), addresses, strict=True):
        set_up(name, "eth0", [address])


def set_up(namespace: str, interface: str, addresses: Sequence[str]) -> None:
    """Give an interface of a namespace its addresses (`A/LENGTH`) and set it up."""
    from pyroute2 import IPRoute

    with inside(namespace), IPRoute() as link:
        index = link.link_lookup(ifname=interface)[0]
        for address in addresses:
            host, length = address.split("/")
            link.addr("add", index=index, address=host, prefixlen=int(length))
        link.link("set", index=index, state="up")


def move(interface: str, namespace: str) -> None:
    """Move an interface of this thread's namespace into another.

    Raises:
        ConfigError: no such namespace, its name is taken there, or not permitted.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    what = f"{interface}: cannot be moved into namespace {namespace}"
    try:
        target = os.open(f"{FOLDER}/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with IPRoute() as link:
                index = socket.if_nametoindex(interface)
                link.link("set", index=index, net_ns_fd=target)
        finally:
            os.close(target)
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}") from None
    except NetlinkError as error:
        raise ConfigError(f"{what}: {os.strerror(error.code)}") from None


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Let this thread make its sockets in a namespace; they stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(name)
        try:
            yield
        finally:
            libc.call("setns", home, CLONE_NEWNET)
    finally:
        os.close(home)


def enter(name: str) -> None:
    """Move this thread, and what it starts, into a namespace for good."""
    target = os.open(f"{FOLDER}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.call("setns", target, CLONE_NEWNET)
    finally:
        os.close(target)
