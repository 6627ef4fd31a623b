"""The nouns of `wgpy up`: what a configuration wants of a host, what is there, the changes.

A change is a value; `Undo(change)` takes it back and needs nothing but the change itself, so a
list of changes on disk is enough to clean up after a crash.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from wgpy.model import DeviceChange, DeviceStatus, InterfaceAddress, Prefix

MAIN_TABLE: Final = 254
# Marks what wgpy adds (`ip route show proto 87`); no routing daemon has the number.
ROUTE_PROTOCOL: Final = 87
# The first table, and mark, of policy routing; wg-quick(8) begins there too.
FIRST_POLICY_TABLE: Final = 51820
# Replies to marked packets pass the reverse path filter.
SRC_VALID_MARK: Final = "net.ipv4.conf.all.src_valid_mark"
V4: Final = 4
V6: Final = 6


class Routing(Enum):
    """What `Table` says when it is no number."""

    AUTO = "auto"
    OFF = "off"


class DnsBackend(Enum):
    """Who is told the name servers of the interface."""

    RESOLVCONF = "resolvconf"
    RESOLVED = "systemd-resolved"
    FILE = "/etc/resolv.conf"


@dataclass(frozen=True, slots=True)
class Hooks:
    """Commands of the owner, to be run by a shell; `%i` stands for the interface."""

    pre_up: tuple[str, ...] = ()
    post_up: tuple[str, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """An interface as its file describes it, endpoints resolved.

    `device` is complete: peers that it does not name are to go. Its `fwmark` 0 or None leaves
    the mark to the plan. `mtu` None is "derive it from the path to the endpoints". With
    `fails_closed` what the default route of a family does not take goes nowhere; with that of
    IPv4, all of IPv6 does.
    """

    name: str
    device: DeviceChange
    addresses: tuple[InterfaceAddress, ...] = ()
    mtu: int | None = None
    table: Routing | int = Routing.AUTO
    dns_servers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    hooks: Hooks = Hooks()
    fails_closed: bool = False


# --- changes ---


@dataclass(frozen=True, slots=True)
class CreateInterface:
    """Start the daemon of the interface."""

    name: str


@dataclass(frozen=True, slots=True)
class SetWireGuard:
    """Configure keys and peers through the UAPI."""

    name: str
    change: DeviceChange


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give the interface an address."""

    name: str
    address: InterfaceAddress


@dataclass(frozen=True, slots=True)
class SetMtu:
    """Set the MTU of the interface, bytes."""

    name: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SetUp:
    """Set the interface up."""

    name: str


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Send a prefix into the interface."""

    name: str
    prefix: Prefix
    table: int = MAIN_TABLE


@dataclass(frozen=True, slots=True)
class AddUnreachable:
    """Let what no other route of a table takes go nowhere, in one family (4 or 6)."""

    family: int
    table: int


@dataclass(frozen=True, slots=True)
class AddRule:
    """Add a policy rule of one family (4 or 6).

    With a mark: packets without it look into `table`. With None: `table` counts, but for its
    default routes (suppress_prefixlength 0).
    """

    family: int
    priority: int
    table: int
    unless_mark: int | None


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Set a kernel setting, named with dots; `old` is the value found."""

    name: str
    value: str
    old: str


@dataclass(frozen=True, slots=True)
class SetFirewall:
    """Create the nft table of one family (4 or 6); `text` is input for `nft -f -`."""

    table: str
    family: int
    text: str


@dataclass(frozen=True, slots=True)
class SetDns:
    """Use name servers; `old` is the text of the file replaced, None if there was none."""

    name: str
    servers: tuple[str, ...]
    search: tuple[str, ...]
    through: DnsBackend
    old: str | None = None

    def text(self) -> str:
        """Return the servers in the format of resolv.conf(5)."""
        lines = [f"nameserver {server}\n" for server in self.servers]
        if self.search:
            lines.append(f"search {' '.join(self.search)}\n")
        return "".join(lines)

    def file_text(self) -> str:
        """Return what /etc/resolv.conf holds while it is ours; names its owner."""
        return f"# by wgpy for {self.name}; wgpy down {self.name} restores it\n{self.text()}"


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run a command of the owner, `%i` already replaced."""

    command: str


Recorded: TypeAlias = (
    CreateInterface
    | AddAddress
    | AddRoute
    | AddUnreachable
    | AddRule
    | SetSysctl
    | SetFirewall
    | SetDns
)
Change: TypeAlias = Recorded | SetWireGuard | SetMtu | SetUp | RunHook


@dataclass(frozen=True, slots=True)
class Undo:
    """Take a change back; harmless if what it made is gone."""

    change: Recorded


Step: TypeAlias = Change | Undo


# --- what is there ---


class Rule(NamedTuple):
    """A policy rule of the host, as far as `AddRule` can describe it.

    `table` 0 and `unless_mark` None with `suppress` False is a rule of another kind.
    """

    family: int
    priority: int
    table: int = 0
    unless_mark: int | None = None
    suppress: bool = False


@dataclass(frozen=True, slots=True)
class InterfaceState:
    """The interface as it is; `routes` are (prefix, table) through it."""

    device: DeviceStatus | None
    up: bool = False
    mtu: int = 0
    addresses: frozenset[InterfaceAddress] = frozenset()
    routes: frozenset[tuple[Prefix, int]] = frozenset()


class SshSession(NamedTuple):
    """The peer of the ssh session that the command is typed in.

    `route_length` is that of the prefix that leads to it in the main table; None if it is
    this host.
    """

    client: bytes
    route_length: int | None


@dataclass(frozen=True, slots=True)
class HostState:
    """What the plan must know of the host; `interface` None if there is none of the name.

    `rules` are all, in order of priority; `tables` those that hold a route; `path_mtus` belong
    to the routes to the endpoints; `neighbours` are the addresses of the other interfaces, by
    name; `unreachable` what `AddUnreachable` has made, (family, table). `done` are the changes
    that are on record as ours.
    """

    interface: InterfaceState | None = None
    rules: tuple[Rule, ...] = ()
    tables: frozenset[int] = frozenset()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    firewalls: frozenset[int] = frozenset()
    nft: bool = True
    ipv6: bool = True
    path_mtus: tuple[int, ...] = ()
    default_mtu: int | None = None
    dns_backend: DnsBackend = DnsBackend.FILE
    resolv_conf: str | None = None
    ssh: SshSession | None = None
    neighbours: tuple[tuple[str, InterfaceAddress], ...] = ()
    unreachable: frozenset[tuple[int, int]] = frozenset()
    done: tuple[Recorded, ...] = ()
