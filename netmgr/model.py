"""The nouns of the mesh: plain values shared by every layer.

Instants are seconds on the clock of `now`, or names in `_at`; addresses are packed (4 or 16
bytes); sizes are bytes.
"""

from dataclasses import dataclass, field, fields
from enum import Enum
from re import compile as regex
from typing import Any, Final, NamedTuple, get_args, get_origin

from wgpy.errors import ConfigError
from wgpy.model import Endpoint, Prefix, Secret

ID_SIZE: Final = 32
SHORT_ID_SIZE: Final = 8
DEFAULT_ROUTE: Final = Prefix(bytes(4), 0)
# The ancestor's: the last octet of the own address is added.
FIRST_WIREGUARD_PORT: Final = 50000
FIRST_ADMIN_PORT: Final = 50500


# --- files and options ---


class HostPort(NamedTuple):
    """Where a node is to be found: a name or address in digits, and a UDP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StaticPeer:
    """An entry of `peers:` in network.yaml.

    `address` is its overlay address; None for one of `--peer`, which is known by its place
    alone. `identity` is the 32-byte Ed25519 key of `id:`, if the file pins it.
    """

    place: HostPort
    admin_port: int | None = None
    address: bytes | None = None
    identity: bytes | None = None

    def __post_init__(self) -> None:
        _refuse_other_types(self)


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """What network.yaml says: the same on every node. `subnet` is IPv4."""

    shared_key: Secret
    subnet: Prefix
    peers: tuple[StaticPeer, ...] = ()

    def __post_init__(self) -> None:
        _refuse_other_types(self)


@dataclass(frozen=True, slots=True)
class Settings:
    """One node, complete: files, environment and command line put together.

    `listen_port` and `admin_port` are UDP ports; the latter is None where one port serves for
    both. `routes` are prefixes behind this node, `exit_node` the offer of the default route;
    `via` says of a prefix (0.0.0.0/0 for the default) the names of nodes it shall go through,
    the first of them that offers it and is reached, "any" for whoever offers. `seeds` are all
    static peers but oneself. `netmgr.load_settings` makes all of it from text.

    Raises:
        ConfigError: a value has another type.
    """

    network: NetworkFile
    name: str
    address: bytes
    interface: str
    listen_port: int
    admin_port: int | None = None
    existing: bool = False
    metered: bool = False
    hopping: bool = False
    mtu: int | None = None
    routes: tuple[Prefix, ...] = ()
    exit_node: bool = False
    via: tuple[tuple[Prefix, str], ...] = ()
    seeds: tuple[StaticPeer, ...] = ()
    state: str | None = None
    verbosity: int = 0
    log_file: bool = False
    log_json: bool = False

    def __post_init__(self) -> None:
        _refuse_other_types(self)

    @property
    def offered(self) -> tuple[Prefix, ...]:
        """What this node forwards to: `routes`, and as an exit the default route of IPv4."""
        return self.routes + ((DEFAULT_ROUTE,) if self.exit_node else ())


def _refuse_other_types(given: StaticPeer | NetworkFile | Settings) -> None:
    """Refuse text and the like now, which an engine would stumble over later.

    Raises:
        ConfigError: a value is not of its type.
    """
    for each in fields(given):
        value: object = getattr(given, each.name)
        if not _fits(value, each.type):
            raise ConfigError(
                f"{type(given).__name__}.{each.name}: {_words(each.type)} is wanted, not "
                f"{type(value).__name__}; netmgr.load_settings and netmgr.settings take text"
            )


def _fits(value: object, kind: Any) -> bool:
    """Tell whether a value is of a type: a class, a union of classes, or tuples of them."""
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        if not isinstance(value, tuple):
            return False
        if parts[-1] is ...:
            return all(_fits(each, parts[0]) for each in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return False
    if isinstance(value, tuple):
        return all(map(_fits, value, type(value).__annotations__.values()))
    return True


def _words(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else regex(r"\b\w+\.").sub("", str(kind))


# --- what a node is told about ---


class Kind(Enum):
    """How an address of a node became known."""

    STATIC = 0
    LOCAL = 1
    OBSERVED = 2
    CACHED = 3


class Candidate(NamedTuple):
    """A place where a node may be reached."""

    endpoint: Endpoint
    kind: Kind


# --- snapshot: what people and programs are shown; JSON in these words ---


@dataclass(frozen=True, slots=True)
class PeerView:
    """One other node as it is seen from here; `path` is direct, lan, relayed or none.

    `via` are the names of relays on the way, `tried` the places that do not answer while there
    is no direct way. `trust` is file, person, met or heard; `left` says that it said goodbye.
    Times are seconds, `rtt` is None if never measured; `loss` is a share.
    """

    name: str
    address: str
    address6: str
    fingerprint: str
    reachable: bool
    path: str
    via: tuple[str, ...]
    endpoint: str
    rtt: float | None
    loss: float
    rx_bytes: int
    tx_bytes: int
    last_handshake: float
    trust: str
    routes: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    left: bool = False


@dataclass(frozen=True, slots=True)
class RouteView:
    """Where packets for a destination go; `kind` is node, subnet or exit; `cost` is 0.1 ms.

    `to` is empty if they go nowhere: nobody whom the file names for it is reached.
    """

    destination: str
    to: str
    path: tuple[str, ...]
    cost: int
    kind: str


@dataclass(frozen=True, slots=True)
class ConflictView:
    """A claim that was refused: by whom, of what, and why; `count` times.

    It was last heard `age` seconds ago; `live` says that who claims it was here of late.
    """

    fingerprint: str
    name: str
    address: str
    why: str
    count: int
    age: float = 0.0
    live: bool = True


@dataclass(frozen=True, slots=True)
class RefusalView:
    """A place that refuses this node, whose fingerprint is `own`.

    What this node says it is belongs there to another; `same_name` and `same_address` tell
    which of its two this node claims as well.
    """

    place: str
    name: str
    address: str
    fingerprint: str
    same_name: bool
    same_address: bool
    own: str

    @property
    def text(self) -> str:
        """What is wrong, in words."""
        what = f"the name {self.name} belongs to {self.fingerprint} ({self.address})"
        if not self.same_name:
            what = f"the address {self.address} belongs to {self.name} ({self.fingerprint})"
        return f"{self.place} refuses this node: {what}"

    @property
    def todo(self) -> str:
        """What a person can do about it."""
        options = [("-n", self.same_name), ("-a", self.same_address)]
        choose = "choose another " + " and ".join(one for one, same in options if same)
        if not self.same_name:
            return choose
        accept = f"wg_netmanager accept {self.name} {self.own}"
        return (
            f"{choose}, or, if this is that machine reinstalled, type on the others: {accept}"
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a person may ask a running node; `uptime` in seconds.

    `unheard` is what `--via` gives, PREFIX=NAME, where no node of that name was heard of.
    """

    name: str
    address: str
    address6: str
    fingerprint: str
    public_key: str
    subnet: str
    interface: str
    listen_port: int
    uptime: float
    data_path: str = ""
    seeds: tuple[str, ...] = ()
    peers: tuple[PeerView, ...] = ()
    routes: tuple[RouteView, ...] = ()
    conflicts: tuple[ConflictView, ...] = ()
    drops: tuple[tuple[str, int], ...] = field(default=())
    digest: str = ""
    unheard: tuple[str, ...] = ()
    refusals: tuple[RefusalView, ...] = ()


# --- what doctor finds ---


class Level(Enum):
    """How bad a finding is; the value is its word."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """What one check found: `what` was looked at, `todo` the next step, if there is one."""

    level: Level
    what: str
    text: str
    todo: str = ""
