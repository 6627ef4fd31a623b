"""The options of a node: one table for the command line, the environment and peer.yaml.

What is given is kept as text with its origin, so that whoever reads it can say where it stands;
each text has been looked at by the parser of its option.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from netmgr.wire import words
from wgpy.errors import ConfigError, UsageError
from wgpy.wire.text import shorten

TRUE: Final = "true"
_PREFIX: Final = "NETMGR_"
# Not options of a node: read elsewhere.
_OTHERS: Final = ("NETMGR_IDENTITY", "NETMGR_GROUP", "NETMGR_BACKEND")
_ALIKE: Final = 0.5


class Shape(Enum):
    """How an option is given: once, as a switch, counted, several times, or as pairs."""

    ONE = 0
    SWITCH = 1
    COUNT = 2
    MANY = 3
    PAIRS = 4


class Choice(NamedTuple):
    """One option; `key` is its name in peer.yaml, empty where it has no place there."""

    name: str
    flags: tuple[str, ...]
    key: str
    variable: str
    parse: Callable[[str], object]
    metavar: str
    what: str
    shape: Shape = Shape.ONE


class Given(NamedTuple):
    """What somebody wrote, and where: a flag, a variable or FILE:LINE."""

    texts: tuple[str, ...]
    origin: str


Choices: TypeAlias = Mapping[str, Given]

CHOICES: Final = (
    Choice(
        "network_config",
        ("-c", "--network_config", "--network-config"),
        "networkConfig",
        "NETMGR_NETWORK_CONFIG",
        words.parse_path,
        "FILE",
        "file of the network, the same on every machine",
    ),
    Choice(
        "peer_config",
        ("-p", "--peer_config", "--peer-config"),
        "",
        "NETMGR_PEER_CONFIG",
        words.parse_path,
        "FILE",
        "file of this machine, may be absent",
    ),
    Choice(
        "interface",
        ("-i", "--wireguard-interface"),
        "wgInterface",
        "NETMGR_WIREGUARD_INTERFACE",
        words.parse_interface,
        "NAME",
        "the interface, like wg0",
    ),
    Choice(
        "address",
        ("-a", "--wireguard-address"),
        "wgIp",
        "NETMGR_WIREGUARD_ADDRESS",
        words.parse_overlay,
        "IPV4",
        "own address in the network",
    ),
    Choice(
        "name",
        ("-n", "--name"),
        "name",
        "NETMGR_NAME",
        words.parse_name,
        "NAME",
        "name of this computer",
    ),
    Choice(
        "listen_port",
        ("-w", "--wireguard-port"),
        "wireguardPort",
        "NETMGR_WIREGUARD_PORT",
        words.parse_udp_port,
        "PORT",
        "UDP port (50000 + last octet of the address)",
    ),
    Choice(
        "admin_port",
        ("-u", "--admin-port"),
        "adminPort",
        "NETMGR_ADMIN_PORT",
        words.parse_udp_port,
        "PORT",
        "a second UDP port, for what nodes tell each other",
    ),
    Choice(
        "hopping",
        ("-H", "--wireguard-hopping"),
        "wireguardHopping",
        "NETMGR_WIREGUARD_HOPPING",
        words.parse_flag,
        "",
        "change the port while no static peer answers",
        Shape.SWITCH,
    ),
    Choice(
        "existing",
        ("-e", "--existing-wg"),
        "existingInterface",
        "NETMGR_EXISTING_WG",
        words.parse_flag,
        "",
        "use an interface that is there, and leave it there",
        Shape.SWITCH,
    ),
    Choice(
        "peers",
        ("--peer",),
        "peers",
        "NETMGR_PEER",
        words.parse_place,
        "HOST:PORT",
        "a static peer that is not in the file; repeatable",
        Shape.MANY,
    ),
    Choice(
        "routes",
        ("--route",),
        "routes",
        "NETMGR_ROUTE",
        words.parse_route,
        "PREFIX",
        "a subnet behind this node; repeatable",
        Shape.MANY,
    ),
    Choice(
        "exit",
        ("--exit",),
        "exit",
        "NETMGR_EXIT",
        words.parse_flag,
        "",
        "offer the way to the internet",
        Shape.SWITCH,
    ),
    Choice(
        "via",
        ("--via",),
        "via",
        "NETMGR_VIA",
        words.parse_via,
        "PREFIX=NAME",
        "send a prefix through a node or nowhere; repeatable",
        Shape.PAIRS,
    ),
    Choice(
        "metered",
        ("--metered",),
        "metered",
        "NETMGR_METERED",
        words.parse_flag,
        "",
        "few packets: relays nothing, calls only",
        Shape.SWITCH,
    ),
    Choice(
        "mtu", ("--mtu",), "mtu", "NETMGR_MTU", words.parse_mtu, "BYTES", "of the interface"
    ),
    Choice(
        "state",
        ("--state",),
        "state",
        "NETMGR_STATE",
        words.parse_path,
        "DIR",
        "where identity and pins are kept",
    ),
    Choice(
        "verbosity",
        ("-v",),
        "verbosity",
        "NETMGR_VERBOSITY",
        words.parse_verbosity,
        "",
        "log what happens, -vv the tunnel, too",
        Shape.COUNT,
    ),
    Choice(
        "log_file",
        ("-l",),
        "logFile",
        "NETMGR_LOG_FILE",
        words.parse_flag,
        "",
        "also log to NAME.log in the working directory",
        Shape.SWITCH,
    ),
    Choice(
        "log_format",
        ("--log-format",),
        "logFormat",
        "NETMGR_LOG_FORMAT",
        words.parse_log_format,
        "FORMAT",
        "text or json",
    ),
)


def choice(name: str) -> Choice:
    """Return the row of an option."""
    return next(each for each in CHOICES if each.name == name)


def read_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """Return what the environment gives; an empty variable gives nothing.

    Lists are separated by commas or spaces.

    Raises:
        UsageError: a variable says what its option cannot be.
    """
    found = {}
    for each in CHOICES:
        if text := environ.get(each.variable, "").strip():
            many = each.shape in (Shape.MANY, Shape.PAIRS)
            texts = tuple(text.replace(",", " ").split()) if many else (text,)
            found[each.name] = checked(each, texts, each.variable)
    return found


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that looks like one of ours and is not read."""
    known = [each.variable for each in CHOICES]
    lines = []
    for name in sorted(environ):
        if name.startswith(_PREFIX) and name not in known and name not in _OTHERS:
            endings = [each.removeprefix(_PREFIX) for each in known]
            near = get_close_matches(name.removeprefix(_PREFIX), endings, 1, _ALIKE)
            hint = f"; did you mean {_PREFIX}{near[0]}?" if near else ""
            lines.append(f"{shorten(name)} is no variable and is not read{hint}")
    return lines


def checked(choice: Choice, texts: tuple[str, ...], origin: str) -> Given:
    """Return what was given once its parser has seen it.

    Raises:
        UsageError: the option cannot be that.
    """
    for text in texts:
        try:
            choice.parse(text)
        except ConfigError as error:
            raise UsageError(f"{origin}: {error}") from None
    return Given(texts, origin)
