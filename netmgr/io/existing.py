"""An interface that is there already (`-e`): emptied at the start, kept at the end."""

import os

from wgpy.errors import ConfigError
from wgpy.hostmodel import AddAddress
from wgpy.io import netlink
from wgpy.io.hostnet_linux import HostNet
from wgpy.model import InterfaceAddress

_SYS = "/sys/class/net"


def take_over(name: str) -> None:
    """Take all addresses, and with them the routes, off a TUN interface.

    Raises:
        ConfigError: there is none of the name, or it is no TUN.
    """
    if not os.path.isdir(os.path.join(_SYS, name)):
        raise ConfigError(
            f"{name} does not exist: without -e it is made, and removed at the end"
        )
    if not os.path.exists(os.path.join(_SYS, name, "tun_flags")):
        raise ConfigError(
            f"{name} is no TUN interface: this node carries WireGuard itself, "
            f"and takes what `ip tuntap add dev {name} mode tun` makes"
        )
    link = netlink.link_named(name.encode() + b"\0", None)
    with HostNet() as host:
        for address in netlink.addresses(None):
            if address.interface == link.interface:
                found = InterfaceAddress(address.host, address.length)
                host.take_back(AddAddress(name, found))
