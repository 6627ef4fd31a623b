"""What boxes of a mesh stand on: an internet of routed cables, LANs, routers with NAT."""

from tests.lab import Lab

# The public networks; the last two octets are for the cable and its end.
V4, V6 = "10.128", "2001:db8"


class Internet:
    """A router in the middle; each host has a cable and a network of its own.

    Nobody shares a LAN, so that nobody is found but by what is known of old.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab, self.ns = lab, lab.ns()
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            lab.sysctl(self.ns, key, 1)
        self._cables = 0
        # By namespace: the interface in it, and the one here.
        self.outer: dict[str, str] = {}
        self.inner: dict[str, str] = {}

    def host(self, ns: str | None = None, *, v4: bool = True, v6: bool = False) -> str:
        """Return a namespace, a new one if none is given, with a cable to here."""
        lab, ns = self.lab, ns or self.lab.ns()
        self._cables += 1
        number = self._cables
        pairs = [(f"{V4}.{number}.254/24", f"{V4}.{number}.1/24")] if v4 else []
        pairs += [(f"{V6}:{number}::fe/64", f"{V6}:{number}::1/64")] if v6 else []
        here, there = zip(*pairs, strict=True)
        self.inner[ns], self.outer[ns] = lab.veth(self.ns, ns, here, there)
        for gateway in here:
            lab.ip(ns, "route", "replace", "default", "via", gateway.partition("/")[0])
        return ns

    def lan(self, *hosts: str, nat: bool = False) -> str:
        """Put hosts on one LAN behind a router; return the router's namespace.

        With `nat` theirs are private addresses, and the router keeps ports where it can.
        """
        lab, router = self.lab, self.host()
        number = self._cables
        inside = f"192.168.{number}" if nat else f"{V4}.{100 + number}"
        bridge = lab.bridge(router, f"{inside}.254/24")
        lab.sysctl(router, "net.ipv4.ip_forward", 1)
        for last, ns in enumerate(hosts, 1):
            self.outer[ns] = lab.plug(router, bridge, ns, f"{inside}.{last}/24")
            lab.ip(ns, "route", "add", "default", "via", f"{inside}.254")
        if nat:
            lab.nft(router, masquerading(self.outer[router]))
        else:
            lab.ip(self.ns, "route", "add", f"{inside}.0/24", "via", f"{V4}.{number}.1")
        return router

    def block(self, source: str, destination: str) -> None:
        """Drop what one host sends to another, as packets pass the middle."""
        pair = f'iifname "{self.inner[source]}" oifname "{self.inner[destination]}"'
        self.lab.nft(self.ns, chain("blocks", "filter hook forward priority 0", f"{pair} drop"))


def chain(table: str, hook: str, *rules: str) -> str:
    """Return a table of one chain; rules for one that is there are added to it."""
    lines = "\n".join(rules)
    return f"table inet {table} {{\nchain one {{\ntype {hook}\n{lines}\n}}\n}}\n"


def masquerading(outer: str) -> str:
    """Return rules of a home router: nobody comes in who was not called.

    It is silent about it: what the router itself took of who comes too early would hold the
    port that a host behind it needs a moment later.
    """
    away = f'iifname "{outer}" meta l4proto udp ct state new drop'
    masquerade = f'oifname "{outer}" masquerade'
    return (
        chain("nat", "nat hook postrouting priority 100", masquerade)
        + chain("within", "filter hook forward priority 0", away)
        + chain("itself", "filter hook input priority 0", away)
    )


def firewall(outer: str) -> str:
    """Return rules of a host that lets nobody in whom it has not called."""
    rule = f'iifname "{outer}" meta l4proto udp ct state new drop'
    return chain("guard", "filter hook input priority 0", rule)
