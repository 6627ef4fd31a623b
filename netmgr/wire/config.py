"""network.yaml and peer.yaml: text to values.

network.yaml, the same on every node:

    network:
      sharedKey: KEY            32 bytes, base64; or
      sharedKeyFile: PATH       of a file that holds it
      subnet: 10.1.1.0/24       IPv4; every node's address is in it
    peers:                      nodes that are always found at the same place; may be []
      - endPoint: HOST:PORT     name or address, WireGuard's UDP port
        wgIp: 10.1.1.1
        adminPort: 50501        optional
        id: KEY                 optional: its Ed25519 key, which nobody else may show

peer.yaml, of one machine, holds options under the names in `netmgr.wire.choices`; lists are
lists, `via` is a mapping of prefix to name, or to a list of them.

A fault is one line, `FILE:LINE: what is wrong, what to do`. Unknown keys are warned about only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Generic, NamedTuple, TypeVar

from netmgr.model import HostPort, NetworkFile, StaticPeer
from netmgr.wire.choices import CHOICES, Choice, Given, Shape
from netmgr.wire.words import (
    parse_identity,
    parse_overlay,
    parse_path,
    parse_place,
    parse_shared_key,
    parse_subnet,
    parse_udp_port,
    refuse_misfit,
)
from netmgr.wire.yamltext import Entries, Faults, Items, Node, Pair, Scalar, read_tree
from wgpy.errors import ConfigError
from wgpy.model import Prefix, Secret
from wgpy.wire.text import format_address, format_prefix, shorten

_T = TypeVar("_T")

NETWORK_KEYS: Final = ("sharedKey", "sharedKeyFile", "subnet")
PEER_KEYS: Final = ("endPoint", "adminPort", "wgIp", "id")
_OLD_KEYS: Final = ("publicIp", "wgPort", "joinPort")
_ALIKE: Final = 0.6
_ONE_ADDRESS: Final = 32


@dataclass(frozen=True, slots=True)
class NetworkText:
    """What network.yaml says; exactly one of `shared_key` and its file is there.

    `key_file` is a path as it is written, on that line, for the caller to read.
    """

    subnet: Prefix
    peers: tuple[StaticPeer, ...]
    shared_key: Secret | None
    key_file: str | None
    key_file_line: int = 0

    def complete(self, shared_key: Secret) -> NetworkFile:
        """Return the whole once the key is known."""
        return NetworkFile(shared_key, self.subnet, self.peers)


class Reading(NamedTuple, Generic[_T]):
    """A file that was read: its value, None if there are errors; one line for each fault."""

    value: _T | None
    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    def usable(self) -> _T:
        """Return the value.

        Raises:
            ConfigError: the first error, and how many there are.
        """
        if self.value is not None:
            return self.value
        more = len(self.errors) - 1
        hint = f" ({more} more: wg_netmanager check tells all)" if more else ""
        raise ConfigError(self.errors[0] + hint)


def read_network(text: str | bytes, source: str = "network.yaml") -> Reading[NetworkText]:
    """Read network.yaml; `source` is what faults call it."""
    faults = Faults(source)
    root = read_tree(text, faults)
    value = None if faults.errors else _network(root, faults)
    return _reading(value, faults)


def read_peer(text: str | bytes, source: str = "peer.yaml") -> Reading[Mapping[str, Given]]:
    """Read peer.yaml: options by their names in `choices`. An empty file gives none."""
    faults = Faults(source)
    root = read_tree(text, faults)
    found: dict[str, Given] = {}
    if root is not None:
        keys = {each.key: each for each in CHOICES if each.key}
        for key, pair in _fields(root, tuple(keys), "", faults).items():
            texts = _texts(keys[key], pair, faults)
            found[keys[key].name] = Given(texts, f"{source}:{pair.line}")
    return _reading(found, faults)


def is_network(text: str | bytes) -> bool:
    """Tell whether a file means to be network.yaml, by its keys."""
    root = read_tree(text, Faults(""))
    keys = {pair.key for pair in root.pairs} if isinstance(root, Entries) else set()
    if "network" in keys:
        return True
    return not keys & {each.key for each in CHOICES if each.key != "peers"}


def format_network(
    shared_key: Secret | str, subnet: Prefix, peers: Sequence[StaticPeer], program: str
) -> str:
    """Return network.yaml as `init` writes it; a text instead of the key is the path of one."""
    hidden = isinstance(shared_key, str)
    key = (
        f'  sharedKeyFile: "{shared_key}"  # a file of this machine that holds the key'
        if hidden
        else f'  sharedKey: "{_secret_text(shared_key)}"  # whoever has it may join'
    )
    lines = [
        f"# A network of {program}: copy this file to every machine, readable by root only.",
        "network:",
        key,
        f"  subnet: {format_prefix(subnet)}  # the address of every node is in it",
    ]
    if not peers:
        lines += ["peers: []  # nodes with a fixed place: endPoint, wgIp, adminPort, id"]
        return "\n".join(lines) + "\n"
    lines += ["peers:  # nodes with a fixed address or DNS name"]
    for peer in peers:
        assert peer.address is not None, "peers of the file have an address"
        lines += [f'  - endPoint: "{peer.place}"', f"    wgIp: {format_address(peer.address)}"]
        if peer.admin_port is not None:
            lines += [f"    adminPort: {peer.admin_port}"]
        if peer.identity is not None:
            lines += [f'    id: "{peer.identity.hex()}"']
    return "\n".join(lines) + "\n"


def _secret_text(key: Secret | str) -> str:
    return key if isinstance(key, str) else key.to_base64()


def _reading(value: _T | None, faults: Faults) -> Reading[_T]:
    errors = tuple(faults.errors)
    return Reading(None if errors else value, errors, tuple(faults.warnings))


# --- network.yaml ---


def _network(root: Node | None, faults: Faults) -> NetworkText | None:
    if root is None:
        faults.error(1, "the file is empty; wg_netmanager init writes one")
        return None
    fields = _fields(root, ("network", "peers"), "", faults)
    peers = _peers(fields["peers"].value, faults) if "peers" in fields else ()
    if isinstance(root, Entries) and all(pair.key != "peers" for pair in root.pairs):
        faults.error(root.line, "no peers defined in config file; write peers: [] for none")
    if "network" not in fields:
        faults.error(root.line, "network: is missing, with sharedKey: and subnet: below it")
        return None
    network = fields["network"].value
    inner = _fields(network, NETWORK_KEYS, "network.", faults)
    subnet = _convert(inner.get("subnet"), parse_subnet, faults)
    if "subnet" not in inner:
        faults.error(network.line, "network.subnet is missing; like subnet: 10.1.1.0/24")
    if subnet is not None:
        _refuse_misfits(subnet, peers, faults)
        if subnet.length == _ONE_ADDRESS:
            text = f"no two nodes fit into subnet {format_prefix(subnet)}; like 10.1.1.0/24"
            faults.warn(inner["subnet"].line, text)
    key = _convert(inner.get("sharedKey"), parse_shared_key, faults)
    key_file = _convert(inner.get("sharedKeyFile"), parse_path, faults)
    match ("sharedKey" in inner, "sharedKeyFile" in inner):
        case (True, True):
            line = inner["sharedKeyFile"].line
            faults.error(line, "sharedKey and sharedKeyFile: only one of them; remove one")
        case (False, False):
            why = "network.sharedKey is missing; wg_netmanager genkey makes one"
            faults.error(network.line, why)
        case _:
            pass
    if subnet is None or faults.errors:
        return None
    line = 0 if key_file is None else inner["sharedKeyFile"].line
    return NetworkText(subnet, tuple(entry.peer for entry in peers), key, key_file, line)


class _Entry(NamedTuple):
    """A static peer, and the line of its address."""

    peer: StaticPeer
    address: bytes
    line: int


def _peers(node: Node, faults: Faults) -> tuple[_Entry, ...]:
    if not isinstance(node, Items):
        faults.error(node.line, "peers: a list is wanted, each entry after a hyphen")
        return ()
    found: list[_Entry] = []
    addresses: dict[bytes, int] = {}
    identities: dict[bytes, int] = {}
    places: dict[HostPort, int] = {}
    for item in node.nodes:
        entry = _peer(item, faults)
        if entry is None:
            continue
        found.append(entry)
        text = format_address(entry.address)
        if (first := addresses.get(entry.address)) is not None:
            faults.error(entry.line, f"wgIp {text} stands in line {first} already")
        addresses[entry.address] = entry.line
        place, identity = entry.peer.place, entry.peer.identity
        if identity is not None:
            if (first := identities.get(identity)) is not None:
                faults.error(item.line, f"the id of {text} stands in line {first} already")
            identities[identity] = item.line
        if (first := places.get(place)) is not None:
            faults.warn(item.line, f"endPoint {place} stands in line {first} already")
        places[place] = item.line
    return tuple(found)


def _peer(node: Node, faults: Faults) -> _Entry | None:
    fields = _fields(node, PEER_KEYS, "peers.", faults)
    if not isinstance(node, Entries):
        return None
    for key, example in (("endPoint", "host.example.org:50001"), ("wgIp", "10.1.1.1")):
        if key not in fields:
            faults.error(node.line, f"{key} of this peer is missing; like {key}: {example}")
    place = _convert(fields.get("endPoint"), parse_place, faults)
    address = _convert(fields.get("wgIp"), parse_overlay, faults)
    port = _convert(fields.get("adminPort"), parse_udp_port, faults)
    identity = _convert(fields.get("id"), parse_identity, faults)
    if place is None or address is None:
        return None
    if port == place.port:
        why = f"adminPort {port} is that of endPoint; two are wanted, or leave adminPort out"
        faults.warn(fields["adminPort"].line, why)
        port = None
    return _Entry(StaticPeer(place, port, address, identity), address, fields["wgIp"].line)


def _refuse_misfits(subnet: Prefix, peers: Sequence[_Entry], faults: Faults) -> None:
    for entry in peers:
        try:
            refuse_misfit(subnet, entry.address)
        except ConfigError as error:
            faults.error(entry.line, f"wgIp {error}")


# --- any mapping ---


def _fields(node: Node, known: Sequence[str], place: str, faults: Faults) -> dict[str, Pair]:
    """Return the known keys of a mapping that have a value; `place` goes before names."""
    if not isinstance(node, Entries):
        what = place.rstrip(".") or "the file"
        example = f"{known[0]}: ..."
        faults.error(node.line, f"{what}: keys and values are wanted, like {example}")
        return {}
    lines: dict[str, int] = {}
    found = {}
    for pair in node.pairs:
        first = lines.get(pair.key)
        lines[pair.key] = pair.line
        if first is not None:
            faults.error(pair.line, f"{shorten(pair.key)} stands in line {first} already")
        elif pair.key not in known:
            faults.warn(pair.line, _unknown(place, pair.key, known))
        elif not (isinstance(pair.value, Scalar) and pair.value.is_null):
            found[pair.key] = pair
        elif place == "" and pair.key == "peers":
            found[pair.key] = Pair(pair.line, pair.key, Items(pair.line, []))
    return found


def _unknown(place: str, key: str, known: Sequence[str]) -> str:
    if key in _OLD_KEYS:
        return f"{place}{key} was a key of old versions and is not read; remove it"
    lowered = {each.lower(): each for each in known}
    near = get_close_matches(key.lower(), lowered, 1, _ALIKE)
    hint = f"did you mean {lowered[near[0]]}?" if near else f"known: {', '.join(known)}"
    return f"{place}{shorten(key).strip(chr(39))} is no key and is not read; {hint}"


def _convert(pair: Pair | None, parse: Callable[[str], _T], faults: Faults) -> _T | None:
    if pair is None:
        return None
    if not isinstance(pair.value, Scalar):
        faults.error(pair.value.line, f"{pair.key}: one value is wanted, not a list or mapping")
        return None
    try:
        return parse(pair.value.text)
    except ConfigError as error:
        faults.error(pair.value.line, f"{pair.key}: {error}")
        return None


def _texts(choice: Choice, pair: Pair, faults: Faults) -> tuple[str, ...]:
    """Return what peer.yaml says for an option, each text looked at by its parser."""
    match choice.shape, pair.value:
        case Shape.MANY, Items(_, nodes):
            entries = [Pair(each.line, pair.key, each) for each in nodes]
        case Shape.PAIRS, Entries(_, pairs):
            entries = [one for each in pairs for one in _joined(pair.key, each)]
        case Shape.PAIRS, _:
            why = f"{pair.key}: a mapping is wanted, like 0.0.0.0/0: alice"
            faults.error(pair.line, why)
            return ()
        case _:
            entries = [pair]
    good = []
    for entry in entries:
        before = len(faults.errors)
        _convert(entry, choice.parse, faults)
        if len(faults.errors) == before and isinstance(entry.value, Scalar):
            good.append(entry.value.text)
    return tuple(good)


def _joined(key: str, pair: Pair) -> list[Pair]:
    """Return `prefix: name`, or `prefix: [name, ...]`, as the texts that `--via` takes."""
    found = []
    for node in pair.value.nodes if isinstance(pair.value, Items) else [pair.value]:
        value = node
        if isinstance(node, Scalar):
            value = Scalar(node.line, f"{pair.key}={node.text}", plain=False)
        found.append(Pair(pair.line, key, value))
    return found
