"""What needs no running node: a new network, a key, a check of files, -O."""

import os
import stat
import sys
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from netmgr.model import (
    FIRST_WIREGUARD_PORT,
    HostPort,
    Settings,
    StaticPeer,
)
from netmgr.options import Say, assemble, files, read_key_file, show
from netmgr.wire import words
from netmgr.wire.choices import Choices, Given
from netmgr.wire.config import (
    NetworkText,
    Reading,
    format_network,
    is_network,
    read_network,
    read_peer,
)
from wgpy.errors import ConfigError, UsageError
from wgpy.io import clock
from wgpy.io.process import SECRET_MODE, advice
from wgpy.model import KEY_SIZE, Prefix, Secret
from wgpy.wire.text import format_address, format_prefix, mask, parse_address

_T = TypeVar("_T")

PROGRAM: Final = "wg_netmanager"
_FOLDER_MODE: Final = 0o755
_ONE_ADDRESS: Final = 32
# With a longer prefix no two nodes fit, which is told anyway.
_MOST_NARROW: Final = 30
_SUBNET_LENGTH: Final = 16


# --- init, genkey ---


def new_key() -> Secret:
    """Return a fresh key of a network."""
    return Secret(clock.entropy(KEY_SIZE))


def new_subnet() -> Prefix:
    """Return a subnet of 10.0.0.0/8 that hardly anybody else has chosen."""
    return mask(bytes([10, 64 + clock.entropy(1)[0] % 128, 0, 0]), _SUBNET_LENGTH)


def output_readable() -> bool:
    """Tell whether the output is a file that others may read."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRWXG | stat.S_IRWXO))


def init(path: str, subnet: Prefix, texts: Sequence[str], key_file: str | None) -> list[str]:
    """Write a network.yaml with a fresh key; return the lines that say what to do next.

    `texts` are static peers as ENDPOINT[=WGIP]; with `key_file` the key goes to that file.

    Raises:
        ConfigError: a file is there already, or cannot be written.
        UsageError: no such peer, or no room for two nodes.
    """
    if subnet.length == _ONE_ADDRESS:
        raise UsageError(f"--subnet: no two nodes fit into {format_prefix(subnet)}")
    peers = static_peers(texts, subnet)
    key = new_key()
    for each in (path, key_file):
        if each is not None and os.path.lexists(each):
            raise ConfigError(f"{each} is there already and is kept; remove it or name another")
    if key_file is not None:
        _write_new(key_file, key.to_base64() + "\n")
    written = key if key_file is None else os.path.abspath(key_file)
    _write_new(path, format_network(written, subnet, peers, PROGRAM))
    names = path if key_file is None else f"{path} and {key_file}"
    lines = [
        f"wrote {names}: a network with addresses in {format_prefix(subnet)}",
        f"next: copy {'it' if key_file is None else 'both'} to every machine; on each run, "
        "with an address and a name of its own:",
    ]
    first = peers[0].address if peers else None
    own = first or _nth_address(subnet, 1)
    option = "" if path == files({}, {}).network else f" -c {path}"
    lines.append(f"  {PROGRAM}{option} -i wg0 -a {format_address(own)} -n NAME")
    if not peers:
        lines.append(
            "no static peer is in it: nodes find each other on one LAN only; "
            "elsewhere add one to peers: or use --peer HOST:PORT"
        )
    return lines


def static_peers(texts: Sequence[str], subnet: Prefix) -> tuple[StaticPeer, ...]:
    """Return the entries for `HOST[:PORT][=WGIP]`; what is left out is chosen.

    Raises:
        UsageError: no such form, or an address twice or outside of the subnet.
    """
    found: dict[bytes, StaticPeer] = {}
    for number, text in enumerate(texts, 1):
        place_text, equals, address_text = text.partition("=")
        try:
            address = (
                words.parse_overlay(address_text) if equals else _nth_address(subnet, number)
            )
            place = _place(place_text, FIRST_WIREGUARD_PORT + address[-1])
            words.refuse_misfit(subnet, address)
        except ConfigError as error:
            raise UsageError(f"--peer: {error}; write HOST:PORT=WGIP") from None
        if address in found:
            raise UsageError(f"--peer: {format_address(address)} is given to two peers")
        found[address] = StaticPeer(place, None, address)
    return tuple(found.values())


def _nth_address(subnet: Prefix, number: int) -> bytes:
    value = int.from_bytes(subnet.address) + number
    return value.to_bytes(len(subnet.address))


def _place(text: str, port: int) -> HostPort:
    try:
        parse_address(text)
    except ConfigError:
        if ":" in text:
            return words.parse_place(text)
    return HostPort(words.parse_host(text), port)


def _write_new(path: str, text: str) -> None:
    try:
        if folder := os.path.dirname(path):
            os.makedirs(folder, _FOLDER_MODE, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(path, flags, SECRET_MODE), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), SECRET_MODE)
            file.write(text)
    except PermissionError:
        raise ConfigError(f"{path}: permission denied{advice()}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


# --- check ---


def check(paths: Sequence[str], given: Choices, environ: Mapping[str, str], say: Say) -> int:
    """Say everything that is wrong with files; return the exit code.

    Without paths those that the program would read are looked at.
    """
    report = _Report(say)
    if paths:
        for path in paths:
            content = report.content(path)
            if content is not None:
                report.look(path, content, network=is_network(content))
    else:
        named = files(given, environ)
        if (content := report.content(named.network)) is not None:
            report.look(named.network, content, network=True)
        if named.peer_named or os.path.exists(named.peer):
            content = report.content(named.peer)
            if content is not None:
                report.look(named.peer, content, network=False)
    report.compare()
    return 1 if report.errors else 0


class _Report:
    """What was found in several files."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.errors = 0
        self._networks: list[NetworkText] = []
        self._peers: list[Choices] = []

    def content(self, path: str) -> bytes | None:
        """Return what a file holds; None, and an error, if it cannot be read."""
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read()
        except OSError as error:
            self._fault(f"{path}: {error.strerror}")
            return None
        if b"sharedKey:" in content and mode & 0o077:
            self._say(f"warning: {path}: others may read the key; chmod 600 {path}")
        return content

    def look(self, path: str, content: bytes, *, network: bool) -> None:
        """Say what is wrong with one file."""
        if not network:
            given = self._tell(read_peer(content, path))
            if given is not None:
                self._peers.append(given)
                self._say(f"{path}: good: {len(given)} options")
            return
        text = self._tell(read_network(content, path))
        if text is not None:
            self._networks.append(text)
            if not self._has_key(text, path):
                return
            subnet, count = format_prefix(text.subnet), len(text.peers)
            self._say(f"{path}: good: subnet {subnet}, static peers: {count}")

    def compare(self) -> None:
        """Say where the files of machines do not fit that of the network, or themselves."""
        for network in self._networks:
            if network.subnet.length > _MOST_NARROW:
                continue
            whole = network.complete(Secret(bytes(32)))
            for given in self._peers:
                try:
                    assemble(whole, ChainMap(dict(given), _stand_ins(network)), "", self._warn)
                except ConfigError as error:
                    self._fault(str(error))

    def _warn(self, line: str) -> None:
        self._say(f"warning: {line}")

    def _tell(self, reading: Reading[_T]) -> _T | None:
        for warning in reading.warnings:
            self._warn(warning)
        for error in reading.errors:
            self._fault(error)
        return reading.value

    def _has_key(self, text: NetworkText, path: str) -> bool:
        try:
            if text.key_file is not None:
                read_key_file(text, path, self._warn)
        except ConfigError as error:
            self._fault(str(error))
            return False
        return True

    def _fault(self, line: str) -> None:
        self.errors += 1
        self._say(line)


def _stand_ins(network: NetworkText) -> dict[str, Given]:
    """Return what a node needs and its file may leave to the command line: nobody's."""
    taken = {peer.address for peer in network.peers if peer.address is not None}
    size = 1 << 32 - network.subnet.length
    first, last = (1, size - 2) if size > 2 else (0, size - 1)
    numbers = range(first, min(last, first + len(taken)) + 1)
    hosts = (_nth_address(network.subnet, number) for number in numbers)
    # If there is a line for each node that there can be, it is one of them.
    address = next((host for host in hosts if host not in taken), None) or min(taken)
    texts = {"name": "x" * 63, "address": format_address(address), "interface": "wg0"}
    return {name: Given((text,), "") for name, text in texts.items()}


# --- -O ---


def show_configuration(settings: Settings) -> int:
    """Print what the node would run with, secrets hidden; return the exit code."""
    rows = show(settings)
    width = max(len(name) for name, _ in rows) + 1
    sys.stdout.writelines(f"{name + ':':<{width}} {text}\n" for name, text in rows)
    return 0
