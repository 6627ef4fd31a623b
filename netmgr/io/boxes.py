"""Namespaces joined by a switch, whose ports can be kept apart: a LAN within one host.

The switch is a bridge in a namespace of its own, each port the end of a cable. Isolated ports
(IFLA_BRPORT_ISOLATED) reach the others, but not each other. netlink by pyroute2, imported when
it is needed.
"""

from typing import Final

from wgpy.io import namespaces

BRIDGE: Final = "switch"
INTERFACE: Final = "eth0"


def switch(namespace: str) -> None:
    """Make a namespace with a bridge in it.

    Raises:
        ConfigError: not permitted, or the name is taken.
    """
    from pyroute2 import IPRoute

    namespaces.create(namespace)
    with namespaces.inside(namespace), IPRoute() as link:
        link.link("add", ifname=BRIDGE, kind="bridge")
    namespaces.set_up(namespace, BRIDGE, [])


def plug(switch_namespace: str, port: str, namespace: str, address: str) -> None:
    """Join a namespace to a switch by a port of that name; `address` is `A/LENGTH`."""
    from pyroute2 import IPRoute

    with namespaces.inside(switch_namespace), IPRoute() as link:
        peer = {"ifname": INTERFACE, "net_ns_fd": namespace}
        link.link("add", ifname=port, kind="veth", peer=peer)
        bridge, own = (link.link_lookup(ifname=name)[0] for name in (BRIDGE, port))
        link.link("set", index=own, master=bridge, state="up")
    namespaces.set_up(namespace, INTERFACE, [address])


def isolate(switch_namespace: str, port: str, *, isolated: bool) -> None:
    """Keep a port apart from all others that are kept apart, or no more."""
    from pyroute2 import IPRoute

    with namespaces.inside(switch_namespace), IPRoute() as link:
        index = link.link_lookup(ifname=port)[0]
        link.brport("set", index=index, isolated=int(isolated))
