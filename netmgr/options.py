"""Command line, environment, peer.yaml and defaults, put together: the settings of one node.

What is said nearer wins: an option before its variable, a variable before peer.yaml, the file
before the default. A list given nearer replaces the whole list.
"""

import os
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

from netmgr.model import (
    FIRST_WIREGUARD_PORT,
    HostPort,
    NetworkFile,
    Settings,
    StaticPeer,
)
from netmgr.wire import words
from netmgr.wire.choices import (
    TRUE,
    Choices,
    Given,
    choice,
    read_environment,
    unknown_variables,
)
from netmgr.wire.config import NetworkText, Reading, read_network, read_peer
from wgpy.errors import ConfigError, UsageError
from wgpy.io.process import SecretFile, advice, read_secret_file
from wgpy.model import Prefix, Secret
from wgpy.wire.text import covers, format_address, format_prefix

_T = TypeVar("_T")

FOLDER: Final = "/etc/wg_netmanager" if sys.platform == "linux" else ""
NETWORK_FILE: Final = os.path.join(FOLDER, "network.yaml")
PEER_FILE: Final = os.path.join(FOLDER, "peer.yaml")

Say = Callable[[str], None]


class Files(NamedTuple):
    """Where the two files are; `peer_named` if somebody said where peer.yaml is."""

    network: str
    peer: str
    peer_named: bool


def load(command_line: Choices, environ: Mapping[str, str], say: Say) -> Settings:
    """Return the settings of the node; `say` hears one line for each warning.

    Raises:
        ConfigError: a file cannot be read or used.
        UsageError: an option is missing, or is not what it can be.
    """
    given, network_path, peer_path = gather(command_line, environ, say)
    return assemble(load_network(network_path, say), given, peer_path, say)


def gather(
    command_line: Choices, environ: Mapping[str, str], say: Say
) -> tuple[Choices, str, str]:
    """Return what all places give together, and the paths of network.yaml and peer.yaml.

    Raises:
        ConfigError: peer.yaml cannot be read or used.
        UsageError: a variable is not what it can be.
    """
    for line in unknown_variables(environ):
        say(line)
    given = ChainMap(dict(command_line), read_environment(environ))
    peer_path, named = _path(given, "peer_config", PEER_FILE)
    from_file = dict(load_peer(peer_path, say, named=named))
    given.maps.append(from_file)
    network_path, _ = _path(given, "network_config", NETWORK_FILE)
    if given.get("network_config", 0) is from_file.get("network_config"):
        network_path = os.path.join(os.path.dirname(peer_path), network_path)
    return given, network_path, peer_path


def files(command_line: Choices, environ: Mapping[str, str]) -> Files:
    """Return which files the command line and the environment name."""
    given = ChainMap(dict(command_line), read_environment(environ))
    peer_path, named = _path(given, "peer_config", PEER_FILE)
    return Files(_path(given, "network_config", NETWORK_FILE)[0], peer_path, named)


def _path(given: Choices, name: str, default: str) -> tuple[str, bool]:
    found = given.get(name)
    return (default, False) if found is None else (found.texts[0], True)


def load_peer(path: str, say: Say, *, named: bool = False) -> Choices:
    """Return what peer.yaml gives; nothing if there is no such file.

    Raises:
        ConfigError: it cannot be read or used.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        if named:
            say(f"{path}: no such file; going on without")
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return _usable(read_peer(content, path), say)


def load_network(path: str, say: Say) -> NetworkFile:
    """Return what network.yaml gives, with its key.

    Raises:
        ConfigError: it, or the file of the key, cannot be read or used.
    """
    content, warning = _read_network_file(path)
    text = _usable(read_network(content, path), say)
    if text.shared_key is not None:
        if warning is not None:
            say(warning)
        return text.complete(text.shared_key)
    return text.complete(read_key_file(text, path, say))


def _read_network_file(path: str) -> SecretFile:
    try:
        os.stat(path)
    except FileNotFoundError:
        hint = "wg_netmanager init writes one, -c names another"
        raise ConfigError(f"{path}: no such file; {hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}{advice()}") from None
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{path}: permission denied{advice()}")
    return read_secret_file(path)


def read_key_file(text: NetworkText, path: str, say: Say) -> Secret:
    """Return the key that `sharedKeyFile` names; a relative path begins beside the file.

    Raises:
        ConfigError: it cannot be read, or holds no key.
    """
    assert text.key_file is not None, "without a key there is the file of one"
    key_path = os.path.join(os.path.dirname(path), text.key_file)
    try:
        content, warning = read_secret_file(key_path)
    except ConfigError as error:
        raise ConfigError(f"{path}:{text.key_file_line}: sharedKeyFile: {error}") from None
    if warning is not None:
        say(warning)
    try:
        return words.parse_shared_key(content.decode(errors="replace").strip())
    except ConfigError as error:
        raise ConfigError(f"{key_path}:1: {error}") from None


def _usable(reading: Reading[_T], say: Say) -> _T:
    for warning in reading.warnings:
        say(warning)
    return reading.usable()


# --- the whole ---


def assemble(network: NetworkFile, given: Choices, peer_path: str, say: Say) -> Settings:
    """Return the settings from what was given; `peer_path` is named where something lacks.

    Raises:
        UsageError: an option is missing, or does not fit the others.
    """
    name = _required(given, "name", words.parse_name, peer_path)
    address = _required(given, "address", words.parse_overlay, peer_path)
    interface = _required(given, "interface", words.parse_interface, peer_path)
    refuse_misfit(network.subnet, address, given["address"])
    hopping = _switch(given, "hopping")
    own = next((peer for peer in network.peers if peer.address == address), None)
    listen_port = _listen_port(given, address, own, hopping=hopping, say=say)
    admin_port = _one(given, "admin_port", words.parse_udp_port)
    if own is not None and own.admin_port is not None:
        admin_port = own.admin_port
    return Settings(
        network=network,
        name=name,
        address=address,
        interface=interface,
        listen_port=listen_port,
        admin_port=None if admin_port == listen_port else admin_port,
        existing=_switch(given, "existing"),
        metered=_switch(given, "metered"),
        hopping=hopping,
        mtu=_one(given, "mtu", words.parse_mtu),
        routes=_routes(given, network.subnet),
        exit_node=_switch(given, "exit"),
        via=_via(given, name),
        seeds=_seeds(network, own, _many(given, "peers", words.parse_place)),
        state=_one(given, "state", words.parse_path),
        verbosity=_one(given, "verbosity", words.parse_verbosity) or 0,
        log_file=_switch(given, "log_file"),
        log_json=_one(given, "log_format", words.parse_log_format) == "json",
    )


def _one(given: Choices, name: str, parse: Callable[[str], _T]) -> _T | None:
    found = given.get(name)
    return None if found is None else parse(found.texts[0])


def _required(given: Choices, name: str, parse: Callable[[str], _T], peer_path: str) -> _T:
    value = _one(given, name, parse)
    if value is None:
        row = choice(name)
        raise UsageError(
            f"Configuration option {row.key} is not defined: give {row.flags[0]} "
            f"{row.metavar}, {row.variable}, or {row.key}: in {peer_path}"
        )
    return value


def _switch(given: Choices, name: str) -> bool:
    return _one(given, name, words.parse_flag) or False


def _many(given: Choices, name: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
    found = given.get(name)
    return () if found is None else tuple(dict.fromkeys(map(parse, found.texts)))


def refuse_misfit(subnet: Prefix, address: bytes, given: Given) -> None:
    """Make sure that a node of the subnet can have the address given.

    Raises:
        UsageError: it cannot.
    """
    try:
        words.refuse_misfit(subnet, address)
    except ConfigError as error:
        raise UsageError(f"{given.origin}: {error}") from None


def _listen_port(
    given: Choices, address: bytes, own: StaticPeer | None, *, hopping: bool, say: Say
) -> int:
    port = _one(given, "listen_port", words.parse_udp_port)
    if own is None or hopping:
        return FIRST_WIREGUARD_PORT + address[-1] if port is None else port
    if port not in (None, own.place.port):
        say(f"{given['listen_port'].origin}: port {port} is not used: peers: say {own.place}")
    return own.place.port


def _routes(given: Choices, subnet: Prefix) -> tuple[Prefix, ...]:
    routes = _many(given, "routes", words.parse_route)
    for route in routes:
        if covers(subnet, route) or covers(route, subnet):
            raise UsageError(
                f"{given['routes'].origin}: {format_prefix(route)} and the subnet of the "
                f"network, {format_prefix(subnet)}, overlap; announce what is behind this node"
            )
    return routes


def _via(given: Choices, own_name: str) -> tuple[tuple[Prefix, str], ...]:
    chosen = _many(given, "via", words.parse_via)
    if any(name == own_name for _, name in chosen):
        raise UsageError(f"{given['via'].origin}: {own_name} is this node; name another")
    return chosen


def _seeds(
    network: NetworkFile, own: StaticPeer | None, places: tuple[HostPort, ...]
) -> tuple[StaticPeer, ...]:
    known = {peer.place for peer in network.peers}
    more = tuple(StaticPeer(place) for place in places if place not in known)
    return tuple(peer for peer in network.peers if peer is not own) + more


def show(settings: Settings) -> list[tuple[str, str]]:
    """Return the settings as words for people; the shared key is not among them."""
    network = settings.network
    rows = [
        ("name", settings.name),
        ("address", format_address(settings.address)),
        ("subnet", format_prefix(network.subnet)),
        ("shared key", "(hidden)"),
        ("interface", settings.interface + (" (existing)" if settings.existing else "")),
        ("port", f"{settings.listen_port}{' (hopping)' if settings.hopping else ''}"),
        ("admin port", "the same" if settings.admin_port is None else str(settings.admin_port)),
        ("mtu", "measured" if settings.mtu is None else str(settings.mtu)),
        ("metered", _yes_or_no(settings.metered)),
        ("exit", _yes_or_no(settings.exit_node)),
        ("state", settings.state or "(default)"),
        ("log", f"{'json' if settings.log_json else 'text'}, -v {settings.verbosity} times"),
    ]
    rows += [("route", format_prefix(route)) for route in settings.routes]
    rows += [("via", f"{format_prefix(prefix)} {name}") for prefix, name in settings.via]
    rows += [("peer", _show_peer(peer)) for peer in settings.seeds]
    return rows


def _yes_or_no(flag: object) -> str:
    return "yes" if flag else "no"


def _show_peer(peer: StaticPeer) -> str:
    parts = [str(peer.place)]
    if peer.address is not None:
        parts.append(format_address(peer.address))
    if peer.admin_port is not None:
        parts.append(f"admin port {peer.admin_port}")
    if peer.identity is not None:
        parts.append(f"id {peer.identity.hex()}")
    return ", ".join(parts)


def switch_given(origin: str) -> Given:
    """Return what a switch on the command line gives."""
    return Given((TRUE,), origin)
