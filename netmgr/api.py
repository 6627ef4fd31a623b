"""What a Python program says to make a node: text, as files and the command line have it.

`load_settings` reads the files that the program reads, `settings` needs none. Neither looks at
the environment. What is doubtful but usable is a warning in the log `netmgr`.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Final, TypeAlias, TypedDict, TypeVar, Unpack

from netmgr.io.report import say
from netmgr.model import NetworkFile, Settings, StaticPeer
from netmgr.options import NETWORK_FILE, assemble, load_network, load_peer
from netmgr.wire import words
from netmgr.wire.choices import TRUE, Given, Shape, checked, choice
from wgpy.errors import ConfigError
from wgpy.model import Prefix, Secret
from wgpy.wire.text import covers, format_address, format_prefix

_T = TypeVar("_T")
Path: TypeAlias = str | os.PathLike[str]

_ONE_ADDRESS: Final = 32
_NEEDED: Final = {"name": "web", "address": "10.1.1.5", "interface": "wg0"}
_NUMBERS: Final = ("listen_port", "admin_port", "mtu")
_FALSE: Final = "false"


class NodeOptions(TypedDict, total=False):
    """What is of one node only, in the words of `Settings`; each is an option of the program.

    `name`, `address` and `interface` are needed, "web", "10.1.1.5" and "wg0" say. `routes` are
    the prefixes behind the node, `exit_node` offers the way to the internet, `via` says of a
    prefix the node that it goes through, or a list of them in their order. `state` is the
    directory of its identity. `existing` takes an interface that is there, `hopping` changes
    the port while nobody answers. None leaves the default.
    """

    name: str | None
    address: str | None
    interface: str | None
    listen_port: int | None
    admin_port: int | None
    mtu: int | None
    state: Path | None
    existing: bool
    hopping: bool
    metered: bool
    exit_node: bool
    routes: Iterable[str]
    via: Mapping[str, str | Iterable[str]]


def load_settings(
    path: Path = NETWORK_FILE,
    *,
    peer_file: Path | None = None,
    peers: Iterable[str] = (),
    **options: Unpack[NodeOptions],
) -> Settings:
    """Return the settings of a node of the network in a file.

    Args:
        path: network.yaml.
        peer_file: peer.yaml, for what is not among the options; None: none is read.
        peers: static peers that are not in the file, `HOST:PORT` each.
        options: what is of this node only, see `netmgr.NodeOptions`.

    Raises:
        ConfigError: a file or an option is missing or wrong, in one line: `FILE:LINE: ...` or
            `OPTION: ...`.
    """
    given = _given({"peers": peers, **options})
    network_path = _as_path("path", path)
    beside = None
    if peer_file is not None:
        beside = _as_path("peer_file", peer_file)
        if not os.path.exists(beside):
            raise ConfigError(f"{beside}: no such file")
        given = {**load_peer(beside, say), **given}
    return _assemble(load_network(network_path, say), given, beside)


def settings(
    *,
    shared_key: Secret | str,
    subnet: Prefix | str,
    peers: Iterable[StaticPeer | str] = (),
    **options: Unpack[NodeOptions],
) -> Settings:
    """Return the settings of a node without any file.

    Args:
        shared_key: the key of the network, as `wg_netmanager genkey` makes one.
        subnet: `ADDRESS/LENGTH`, IPv4; the address of every node is in it.
        peers: nodes with a fixed place, `HOST:PORT=ADDRESS` each, the address being that in
            the network; `HOST:PORT` if it is not known. The node itself may be among them.
        options: what is of this node only, see `netmgr.NodeOptions`.

    Raises:
        ConfigError: something is missing or wrong, in one line: `OPTION: ...`.
    """
    key = _value("shared_key", shared_key, Secret, words.parse_shared_key)
    block = _value("subnet", subnet, Prefix, words.parse_subnet)
    entries = _as_list("peers", peers)
    places = [each for each in entries if isinstance(each, str) and "=" not in each]
    known = [
        _value("peers", each, StaticPeer, _parse_static)
        for each in entries
        if not (isinstance(each, str) and "=" not in each)
    ]
    _refuse_unfit(known, block)
    given = _given({"peers": places, **options})
    return _assemble(NetworkFile(key, block, tuple(known)), given, None)


def _assemble(network: NetworkFile, given: Mapping[str, Given], beside: str | None) -> Settings:
    for word, example in _NEEDED.items():
        if word not in given:
            where = "" if beside is None else f", or {choice(word).key}: in {beside}"
            raise ConfigError(f"{word} is missing: give {word}={example!r}{where}")
    return assemble(network, given, beside or "", say)


def _parse_static(text: str) -> StaticPeer:
    place, _, address = text.partition("=")
    return StaticPeer(words.parse_place(place), None, words.parse_overlay(address))


def _refuse_unfit(peers: Iterable[StaticPeer], subnet: Prefix) -> None:
    seen = set()
    for peer in peers:
        if peer.address is None:
            continue
        shown = format_address(peer.address)
        if not covers(subnet, Prefix(peer.address, _ONE_ADDRESS)):
            raise ConfigError(f"peers: {shown} is outside of subnet {format_prefix(subnet)}")
        if peer.address in seen:
            raise ConfigError(f"peers: {shown} is given to two peers")
        seen.add(peer.address)


# --- values of Python to the texts that parsers take ---


def _given(options: Mapping[str, object]) -> dict[str, Given]:
    known = (*NodeOptions.__annotations__, "peers")
    found = {}
    for word, value in options.items():
        if word not in known:
            near = get_close_matches(word.lower(), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{word} is no option of a node; {hint}")
        if value is None:
            continue
        row = choice("exit" if word == "exit_node" else word)
        texts = _texts(word, row.shape, value)
        if texts or row.shape is not Shape.MANY:
            found[row.name] = checked(row, texts, word)
    return found


def _texts(word: str, shape: Shape, value: object) -> tuple[str, ...]:
    match shape:
        case Shape.SWITCH:
            if not isinstance(value, bool):
                raise _refusal(word, "True or False", value)
            return (TRUE if value else _FALSE,)
        case Shape.MANY:
            return tuple(_as_text(word, each) for each in _as_list(word, value))
        case Shape.PAIRS:
            return tuple(_pairs(word, value))
        case _ if word in _NUMBERS:
            if not isinstance(value, int) or isinstance(value, bool):
                raise _refusal(word, "a whole number", value)
            return (str(value),)
        case _:
            return (_as_path(word, value) if word == "state" else _as_text(word, value),)


def _pairs(word: str, value: object) -> list[str]:
    """Return the texts that `--via` takes."""
    if not isinstance(value, Mapping):
        raise _refusal(word, "a mapping like {'0.0.0.0/0': 'vps'}", value)
    return [
        f"{_as_text(word, prefix)}={_as_text(word, name)}"
        for prefix, names in value.items()
        for name in ([names] if isinstance(names, str) else _as_list(word, names))
    ]


def _value(word: str, given: object, kind: type[_T], parse: Callable[[str], _T]) -> _T:
    if isinstance(given, kind):
        return given
    if not isinstance(given, str):
        raise _refusal(word, f"text or a {kind.__name__}", given)
    try:
        return parse(given)
    except ConfigError as error:
        raise ConfigError(f"{word}: {error}") from None


def _as_list(word: str, given: object) -> list[object]:
    if isinstance(given, str | bytes):
        raise ConfigError(f"{word}: a list of texts is wanted, not one")
    if not isinstance(given, Iterable):
        raise _refusal(word, "a list of texts", given)
    return list(given)


def _as_text(word: str, given: object) -> str:
    if not isinstance(given, str):
        raise _refusal(word, "text", given)
    return given


def _as_path(word: str, given: object) -> str:
    if not isinstance(given, str | os.PathLike):
        raise _refusal(word, "a path", given)
    path: object = os.fspath(given)
    return _as_text(word, path)


def _refusal(word: str, wanted: str, given: object) -> ConfigError:
    return ConfigError(f"{word}: {wanted} is wanted, not {type(given).__name__}")
