"""From what a user names, `wg0` or `./wg0.conf`, to what it wants of the host, and back."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from wgpy.errors import ConfigError, UsageError
from wgpy.hostmodel import Hooks, InterfaceState, Routing, Wanted
from wgpy.io.process import read_secret_file, write_whole
from wgpy.io.resolve import resolve_endpoint, retries_allowed
from wgpy.model import AllowedIPChange, DeviceStatus, InterfaceAddress
from wgpy.wire import conf
from wgpy.wire.text import format_address

CONFIG_DIRECTORY: Final = "/etc/wireguard"
_NAME: Final = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}")
_FILE: Final = re.compile(r"(?:.*/)?([a-zA-Z0-9_=+.-]{1,15})\.conf", re.DOTALL)
_LINK_LOCAL: Final = b"\xfe\x80"


class Source(NamedTuple):
    """The file of an interface; the name of the interface is that of the file."""

    name: str
    path: str


def locate(target: str, directory: str = CONFIG_DIRECTORY) -> Source:
    """Return the file that `wg0`, or a path that ends in `.conf`, stands for.

    Raises:
        UsageError: the name of the file is no name of an interface.
    """
    if _NAME.fullmatch(target):
        path = os.path.join(directory, f"{target}.conf")
        if os.path.exists(path) or not target.endswith(".conf"):
            return Source(_interface_name(target), path)
    match = _FILE.fullmatch(target)
    if match is None:
        raise UsageError(
            f"{target}: the file must be named after the interface: NAME.conf, "
            "1 to 15 letters, digits or _ = + . -"
        )
    return Source(_interface_name(match[1]), os.path.realpath(target))


def _interface_name(name: str) -> str:
    if name in (".", ".."):
        raise UsageError(f"{name!r} is no name of an interface")
    return name


def load(source: Source, say: Callable[[str], None]) -> conf.Config:
    """Read and parse the file; `say` hears a warning if others may read it.

    Raises:
        ConfigError: it cannot be read, or what is wrong in which line.
    """
    content, warning = read_secret_file(source.path)
    if warning is not None:
        say(f"warning: {warning}")
    return conf.parse(content, source.path)


def wanted(name: str, config: conf.Config, say: Callable[[str], None]) -> Wanted:
    """Return what a file wants, its endpoints looked up, which may take long.

    Raises:
        ConfigError: a name cannot be resolved.
    """
    retries = retries_allowed()
    endpoints = {
        peer.public_key: resolve_endpoint(*peer.endpoint, retries, say=say)
        for peer in config.peers
        if peer.endpoint is not None
    }
    interface = config.interface
    table = interface.table
    return Wanted(
        name=name,
        device=conf.to_change(config, endpoints),
        addresses=interface.addresses,
        mtu=interface.mtu,
        table=table if isinstance(table, int) else Routing(table),
        dns_servers=interface.dns,
        dns_search=interface.dns_search,
        hooks=Hooks(
            interface.pre_up, interface.post_up, interface.pre_down, interface.post_down
        ),
    )


def save(
    source: Source, config: conf.Config, status: DeviceStatus, interface: InterfaceState
) -> None:
    """Write the running state to the file (SaveConfig); what wg does not know is kept.

    Raises:
        ConfigError: the file cannot be written.
    """
    named = set(config.interface.addresses)
    addresses = [
        each
        for address, length in sorted(interface.addresses)
        if (each := InterfaceAddress(address, length)) in named
        or not address.startswith(_LINK_LOCAL)
    ]
    peers = [
        conf.PeerConfig(
            peer.public_key,
            None if peer.preshared_key.is_zero else peer.preshared_key,
            tuple(map(AllowedIPChange, peer.allowed_ips)),
            None if peer.endpoint is None else _host_port(*peer.endpoint),
            peer.persistent_keepalive or None,
        )
        for peer in status.peers
    ]
    running = replace(
        config.interface,
        private_key=status.private_key,
        listen_port=status.listen_port,
        fwmark=status.fwmark or None,
        addresses=tuple(addresses),
        mtu=interface.mtu if config.interface.mtu is not None else None,
    )
    try:
        text = conf.format(conf.Config(running, tuple(peers)))
        write_whole(source.path, text.encode())
    except OSError as error:
        raise ConfigError(f"{source.path}: {error.strerror}") from None


def _host_port(host: bytes, port: int, scope: int) -> tuple[str, int]:
    zone = f"%{scope}" if scope else ""
    return format_address(host) + zone, port
