"""Addresses, routes, rules, settings and firewall of this host: reads them, carries steps out.

Netlink by pyroute2, which takes 0.2 s to load and is therefore imported when a `HostNet` is
made. Everything added carries `ROUTE_PROTOCOL` or a name of ours, and only such is removed.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self, TypeAlias

from wgpy.errors import ConfigError
from wgpy.hostmodel import (
    FIRST_POLICY_TABLE,
    MAIN_TABLE,
    ROUTE_PROTOCOL,
    SRC_VALID_MARK,
    V4,
    V6,
    AddAddress,
    AddRoute,
    AddRule,
    AddUnreachable,
    HostState,
    InterfaceState,
    Recorded,
    Rule,
    RunHook,
    SetDns,
    SetFirewall,
    SetMtu,
    SetSysctl,
    SetUp,
    SshSession,
)
from wgpy.io import dns_linux
from wgpy.io.netlink_words import (
    FAMILIES,
    Message,
    destination,
    interface_address,
    rule,
    rule_words,
    unreachable_words,
)
from wgpy.io.settings_linux import (
    firewalls,
    has_ipv6,
    remove_firewall,
    run_hook,
    set_firewall,
    sysctl,
    write_sysctl,
)
from wgpy.model import Endpoint, InterfaceAddress
from wgpy.wire.steps import describe
from wgpy.wire.text import format_address, format_prefix

_V4_SIZE: Final = 4
# linux/rtnetlink.h
_RT_SCOPE_LINK: Final = 253
_RTN_LOCAL: Final = 2
_RTN_UNREACHABLE: Final = 7
_RTM_F_FIB_MATCH: Final = 0x2000
_IFF_UP: Final = 1
_GONE: Final = frozenset(
    {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO}
)
_SYSCTLS: Final = (SRC_VALID_MARK,)

HostStep: TypeAlias = (
    AddAddress
    | AddRoute
    | AddRule
    | AddUnreachable
    | SetMtu
    | SetUp
    | SetSysctl
    | SetFirewall
    | SetDns
    | RunHook
)


class HostNet:
    """One netlink socket into the network namespace of the caller."""

    def __init__(self) -> None:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        self._ip: Any = IPRoute(strict_check=True)
        self._fault: type[Exception] = NetlinkError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ip.close()

    # --- reading ---

    def read(
        self, name: str, table: str, endpoints: Iterable[Endpoint], ssh: bytes | None
    ) -> HostState:
        """Return what is there; the WireGuard device and the record are left to the caller.

        `table` is the nft table of the interface, `ssh` the address of a session to be kept.

        Raises:
            OSError: the kernel refused.
        """
        try:
            return self._read(name, table, endpoints, ssh)
        except self._fault as fault:
            code = getattr(fault, "code", 0)
            raise OSError(code, os.strerror(code)) from None

    def _read(
        self, name: str, table: str, endpoints: Iterable[Endpoint], ssh: bytes | None
    ) -> HostState:
        paths = [mtu for each in endpoints if (mtu := self._path_mtu(each)) is not None]
        tables = firewalls(table)
        return HostState(
            interface=self.interface(name),
            rules=tuple(each for family in FAMILIES for each in self._rules(family)),
            tables=frozenset(self._policy_tables()),
            sysctls={each: value for each in _SYSCTLS if (value := sysctl(each)) is not None},
            firewalls=frozenset(tables or ()),
            nft=tables is not None,
            ipv6=has_ipv6(name),
            path_mtus=tuple(paths),
            default_mtu=None if paths else self._default_mtu(),
            dns_backend=dns_linux.backend(),
            resolv_conf=dns_linux.resolv_conf(),
            ssh=None if ssh is None else self._ssh_session(ssh),
            neighbours=tuple(self._neighbours(name)),
            unreachable=frozenset(self._unreachable()),
        )

    def index(self, name: str) -> int | None:
        """Return the index of an interface, None if there is none."""
        found = self._ip.link_lookup(ifname=name)
        return int(found[0]) if found else None

    def is_held_tun(self, name: str) -> bool:
        """Return whether there is such an interface, a TUN, and a process has it open."""
        index = self.index(name)
        if index is None:
            return False
        [link] = self._ip.get_links(index)
        return bool(link.get(("linkinfo", "kind")) == "tun" and link.get("carrier"))

    def interface(self, name: str) -> InterfaceState | None:
        """Return an interface without its WireGuard device, None if there is none."""
        index = self.index(name)
        if index is None:
            return None
        with self._tolerant(_GONE):  # it may go at any time
            [link] = self._ip.get_links(index)
            addresses = frozenset(
                interface_address(each) for each in self._ip.get_addr(index=index)
            )
            routes = frozenset(
                (destination(each), int(each.get("table")))
                for family in FAMILIES.values()
                for each in self._ip.route("dump", family=family, oif=index)
            )
            up = bool(link["flags"] & _IFF_UP)
            return InterfaceState(None, up, int(link.get("mtu")), addresses, routes)
        return None

    def _neighbours(self, name: str) -> Iterator[tuple[str, InterfaceAddress]]:
        names = {link["index"]: str(link.get("ifname")) for link in self._ip.get_links()}
        for each in self._ip.get_addr():
            other = names.get(each["index"], name)
            if other != name and each["scope"] != _RT_SCOPE_LINK:
                yield other, interface_address(each)

    def _rules(self, family: int) -> list[Rule]:
        with self._tolerant({errno.EAFNOSUPPORT, errno.EOPNOTSUPP}):
            found = [rule(family, each) for each in self._ip.get_rules(family=FAMILIES[family])]
            return sorted(found, key=lambda one: one.priority)
        return []

    def _policy_tables(self) -> Iterator[int]:
        """Yield the tables in use from the first that wg-quick takes to the first free one."""
        table = FIRST_POLICY_TABLE
        while any(
            list(self._ip.route("dump", family=family, table=table))
            for family in FAMILIES.values()
        ):
            yield table
            table += 1

    def _unreachable(self) -> Iterator[tuple[int, int]]:
        for family, number in FAMILIES.items():
            kind = {"type": _RTN_UNREACHABLE, "proto": ROUTE_PROTOCOL}
            with self._tolerant({errno.EAFNOSUPPORT, errno.EOPNOTSUPP}):
                for route in self._ip.route("dump", family=number, **kind):
                    yield family, int(route.get("table"))

    def _path_mtu(self, endpoint: Endpoint) -> int | None:
        family = FAMILIES[V4 if len(endpoint.host) == _V4_SIZE else V6]
        where = {"oif": endpoint.scope} if endpoint.scope else {}
        with self._tolerant(_GONE | {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}):
            [route] = self._ip.route(
                "get", family=family, dst=format_address(endpoint.host), **where
            )
            return self._route_mtu(route)
        return None

    def _default_mtu(self) -> int | None:
        for route in self._ip.route("dump", family=FAMILIES[V4], table=MAIN_TABLE):
            if route["dst_len"] == 0:
                with self._tolerant(_GONE):  # its interface may be gone by now
                    return self._route_mtu(route)
        return None

    def _route_mtu(self, route: Message) -> int | None:
        metrics = route.get("metrics")
        if metrics and (mtu := metrics.get("mtu")):
            return int(mtu)
        index = route.get("oif")
        if index is None:
            return None
        [link] = self._ip.get_links(index)
        return int(link.get("mtu"))

    def _ssh_session(self, client: bytes) -> SshSession | None:
        family = FAMILIES[V4 if len(client) == _V4_SIZE else V6]
        with self._tolerant(_GONE | {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}):
            [route] = self._ip.route(
                "get", family=family, dst=format_address(client), flags=_RTM_F_FIB_MATCH
            )
            local = route["type"] == _RTN_LOCAL
            return SshSession(client, None if local else int(route["dst_len"]))
        return None

    # --- carrying out ---

    def carry_out(self, step: HostStep) -> None:
        """Make a change.

        Raises:
            ConfigError: a program or the kernel refused; one line.
        """
        match step:
            case SetSysctl(name, value):
                write_sysctl(name, value)
            case SetFirewall():
                set_firewall(step.text)
            case SetDns():
                _named("/etc/resolv.conf", lambda: dns_linux.set_dns(step))
            case RunHook(command):
                run_hook(command)
            case _:
                with self._explained(step):
                    self._carry_out_netlink(step)

    def take_back(self, change: Recorded) -> None:
        """Undo a change; what is gone already is fine.

        Raises:
            ConfigError: a program or the kernel refused; one line.
        """
        match change:
            case SetSysctl(name, _, old):
                write_sysctl(name, old)
            case SetFirewall(table, family):
                remove_firewall(table, family)
            case SetDns():
                _named("/etc/resolv.conf", lambda: dns_linux.unset_dns(change))
            case _:
                with self._explained(change), self._tolerant(_GONE):
                    self._take_back_netlink(change)

    def _carry_out_netlink(
        self, step: AddAddress | AddRoute | AddRule | AddUnreachable | SetMtu | SetUp
    ) -> None:
        match step:
            case AddAddress(name, (address, length)):
                index, text = self._index(name), format_address(address)
                self._ip.addr("add", index=index, address=text, prefixlen=length)
            case SetMtu(name, mtu):
                self._ip.link("set", index=self._index(name), mtu=mtu)
            case SetUp(name):
                self._ip.link("set", index=self._index(name), state="up")
            case AddRoute():
                self._add_route(step)
            case AddUnreachable():
                self._ip.route("add", **unreachable_words(step))
            case AddRule():
                self._ip.rule("add", **rule_words(step))

    def _take_back_netlink(self, change: Recorded) -> None:
        match change:
            case AddAddress(name, (address, length)):
                if (index := self.index(name)) is not None:
                    text = format_address(address)
                    self._ip.addr("del", index=index, address=text, prefixlen=length)
            case AddRoute(name):
                if self.index(name) is not None:
                    self._ip.route("del", **self._route_words(change))
            case AddUnreachable():
                self._ip.route("del", **unreachable_words(change))
            case AddRule():
                # The protocol number among the words spares a like rule of somebody else.
                self._ip.rule("del", **rule_words(change))
            case _:
                raise AssertionError(f"{change} is not netlink's")

    def delete_link(self, name: str) -> None:
        """Delete an interface; fine if there is none.

        Raises:
            ConfigError: the kernel refused.
        """
        with _explain(f"cannot delete {name}", self._fault), self._tolerant(_GONE):
            if (index := self.index(name)) is not None:
                self._ip.link("del", index=index)

    def _index(self, name: str) -> int:
        index = self.index(name)
        if index is None:
            raise ConfigError(f"interface {name} is gone")
        return index

    def _add_route(self, route: AddRoute) -> None:
        try:
            self._ip.route("add", **self._route_words(route))
        except self._fault as fault:
            # A flush may have spared it; a route through another link is not it.
            state = self.interface(route.name)
            there = state is not None and (route.prefix, route.table) in state.routes
            if getattr(fault, "code", 0) != errno.EEXIST:
                raise
            if not there:
                what = f"route {format_prefix(route.prefix)} dev {route.name}"
                raise ConfigError(f"{what}: {self._holder(route)} has it already") from None

    def _holder(self, route: AddRoute) -> str:
        """Return which interface has the route that stands in the way."""
        family = FAMILIES[V4 if len(route.prefix.address) == _V4_SIZE else V6]
        for each in self._ip.route("dump", family=family, table=route.table):
            if destination(each) == route.prefix and (index := each.get("oif")):
                [link] = self._ip.get_links(index)
                return str(link.get("ifname"))
        return "another route"

    def _route_words(self, route: AddRoute) -> dict[str, object]:
        v4 = len(route.prefix.address) == _V4_SIZE
        words: dict[str, object] = {
            "family": FAMILIES[V4 if v4 else V6],
            "dst": f"{format_address(route.prefix.address)}/{route.prefix.length}",
            "oif": self._index(route.name),
            "table": route.table,
            "proto": ROUTE_PROTOCOL,
        }
        return {**words, "scope": _RT_SCOPE_LINK} if v4 else words

    @contextmanager
    def _explained(self, step: HostStep | Recorded) -> Iterator[None]:
        with _explain(" ".join(describe(step)[2:].split()), self._fault):
            yield

    @contextmanager
    def _tolerant(self, errors: Iterable[int]) -> Iterator[None]:
        try:
            yield
        except self._fault as fault:
            if getattr(fault, "code", 0) not in set(errors):
                raise


@contextmanager
def _explain(what: str, fault: type[Exception]) -> Iterator[None]:
    try:
        yield
    except fault as error:
        code = getattr(error, "code", 0)
        raise ConfigError(f"{what}: {os.strerror(code)}") from None


def _named(path: str, act: Callable[[], None]) -> None:
    try:
        act()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
