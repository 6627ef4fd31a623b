"""Configuration files of wg(8) and wg-quick(8): text to values and back.

Sections `[Interface]` and `[Peer]` of `Key = value`; case does not matter in keys, `#` begins a
comment, white space means nothing but between the words of a hook, lists are joined by commas
and may go over several lines. Of another key given twice the last holds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from re import compile as regex
from typing import Literal, TypeAlias

from wgpy.errors import ConfigError
from wgpy.model import (
    NO_KEY,
    AllowedIPChange,
    DeviceChange,
    Endpoint,
    InterfaceAddress,
    PeerChange,
    PublicKey,
    Secret,
)
from wgpy.wire.conf_lines import HOOK_KEYS, Section, fault, read_sections
from wgpy.wire.text import (
    format_prefix,
    parse_address,
    parse_interface_address,
    parse_key,
    parse_number,
    parse_port,
    parse_prefix,
    shorten,
    split_host_port,
)

_TABLES = {"default": 253, "main": 254, "local": 255}
_MIN_MTU = 68
_MAX_U16 = 2**16 - 1
_MAX_U32 = 2**32 - 1
_HEX_U32 = regex("0x[0-9a-f]{1,8}")
_HOST_NAME = regex(r"[\w.-]+")
_DNS_SERVER = regex(r"[0-9.]+|.*:.*")

Table: TypeAlias = Literal["off", "auto"] | int


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """The section `[Interface]`; None is what the file does not say, `fwmark` 0 is `off`.

    `dns` are addresses of servers, `dns_search` domains. Hooks are shell commands, with `%i`
    where the name of the interface belongs.
    """

    private_key: Secret | None = None
    listen_port: int | None = None
    fwmark: int | None = None
    addresses: tuple[InterfaceAddress, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    mtu: int | None = None
    table: Table = "auto"
    pre_up: tuple[str, ...] = ()
    post_up: tuple[str, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()
    save_config: bool = False


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """A section `[Peer]`; `endpoint` is a name or an address, not looked up, and a port.

    `persistent_keepalive` is in seconds, 0 for `off`, None if the file does not say.
    """

    public_key: PublicKey
    preshared_key: Secret | None = None
    allowed_ips: tuple[AllowedIPChange, ...] = ()
    endpoint: tuple[str, int] | None = None
    persistent_keepalive: int | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole file."""

    interface: InterfaceConfig = InterfaceConfig()
    peers: tuple[PeerConfig, ...] = ()


def parse(text: str | bytes, source: str = "wg0.conf") -> Config:
    """Return what a file says; `source` is its name in errors.

    Raises:
        ConfigError: `SOURCE:LINE: ...`, what is wrong there. Secrets are not repeated.
    """
    interface, peers = read_sections(text, source)
    return Config(
        InterfaceConfig() if interface is None else _interface(interface),
        _distinct_peers(peers),
    )


def _interface(section: Section) -> InterfaceConfig:
    hosts: set[bytes] = set()

    def parse_addresses(text: str) -> list[InterfaceAddress]:
        addresses = [parse_interface_address(word) for word in _words(text)]
        for address in addresses:
            if address.address in hosts:
                raise ConfigError(f"address {format_prefix(address)} is given twice")
            hosts.add(address.address)
        return addresses

    table = section.last("Table", _parse_table)
    return InterfaceConfig(
        private_key=section.last("PrivateKey", _parse_secret),
        listen_port=section.last("ListenPort", parse_port),
        fwmark=section.last("FwMark", _parse_fwmark),
        addresses=section.every("Address", parse_addresses),
        dns=section.every("DNS", _parse_servers),
        dns_search=section.every("DNS", _parse_domains),
        mtu=section.last("MTU", _parse_mtu),
        table="auto" if table is None else table,
        pre_up=section.every("PreUp", _parse_hook),
        post_up=section.every("PostUp", _parse_hook),
        pre_down=section.every("PreDown", _parse_hook),
        post_down=section.every("PostDown", _parse_hook),
        save_config=section.last("SaveConfig", _parse_bool) or False,
    )


def _distinct_peers(sections: Iterable[Section]) -> tuple[PeerConfig, ...]:
    peers: list[PeerConfig] = []
    lines: dict[PublicKey, int] = {}
    for section in sections:
        peer = _peer(section)
        if peer.public_key in lines:
            first = lines[peer.public_key]
            why = f"peer {peer.public_key} is given twice, first on line {first}"
            raise fault(section.source, section.line, why)
        lines[peer.public_key] = section.line
        peers.append(peer)
    return tuple(peers)


def _peer(section: Section) -> PeerConfig:
    public_key = section.last("PublicKey", lambda text: PublicKey(parse_key(text)))
    if public_key is None:
        raise fault(section.source, section.line, "this [Peer] has no PublicKey")
    return PeerConfig(
        public_key,
        section.last("PresharedKey", _parse_secret),
        section.every("AllowedIPs", _parse_allowed_ips),
        section.last("Endpoint", _parse_endpoint),
        section.last("PersistentKeepalive", _parse_keepalive),
    )


# --- values ---


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _parse_secret(text: str) -> Secret:
    return Secret(parse_key(text))


def _parse_fwmark(text: str) -> int:
    text = text.casefold()
    if text == "off":
        return 0
    return int(text, 16) if _HEX_U32.fullmatch(text) else parse_number(text, _MAX_U32)


def _parse_keepalive(text: str) -> int:
    return 0 if text.casefold() == "off" else parse_number(text, _MAX_U16)


def _parse_servers(text: str) -> list[str]:
    servers = [word for word in _words(text) if _DNS_SERVER.fullmatch(word)]
    for server in servers:
        parse_address(server.partition("%")[0])
    return servers


def _parse_domains(text: str) -> list[str]:
    return [word for word in _words(text) if not _DNS_SERVER.fullmatch(word)]


def _parse_mtu(text: str) -> int | None:
    if not text:
        return None
    mtu = parse_number(text, _MAX_U16)
    if mtu < _MIN_MTU:
        raise ConfigError(f"{mtu} is below the {_MIN_MTU} bytes that IP needs")
    return mtu


def _parse_table(text: str) -> Table:
    match text.casefold():
        case "off":
            return "off"
        case "auto" | "":
            return "auto"
        case name if name in _TABLES:
            return _TABLES[name]
        case number:
            return parse_number(number, _MAX_U32)


def _parse_hook(text: str) -> list[str]:
    return [text] if text else []


def _parse_bool(text: str) -> bool:
    if text.casefold() not in ("true", "false"):
        raise ConfigError(f"{shorten(text)} is neither true nor false")
    return text.casefold() == "true"


def _parse_allowed_ips(text: str) -> list[AllowedIPChange]:
    """Return the changes of a list; an empty one has none, as in `AllowedIPs =`."""
    words = text.split(",") if text else []
    return [_parse_allowed_ip(word) for word in words]


def _parse_allowed_ip(word: str) -> AllowedIPChange:
    if word.startswith("-"):
        return AllowedIPChange(parse_prefix(word[1:]), remove=True)
    return AllowedIPChange(parse_prefix(word.removeprefix("+")))


def _parse_endpoint(text: str) -> tuple[str, int]:
    host, port = split_host_port(text)
    address = host.partition("%")[0]
    if ":" in host:
        parse_address(address)
    elif not _HOST_NAME.fullmatch(host):
        raise ConfigError(f"{shorten(host)} is no name of a host")
    if port == 0:
        raise ConfigError(f"{shorten(text)}: port 0 cannot be sent to")
    return host, port


# --- writing ---


def format(config: Config) -> str:  # noqa: A001 (read as conf.format)
    """Return a file that says `config`, private and preshared keys in it.

    Raises:
        ConfigError: no file can say it, such as a `#` in a hook or a peer given twice.
    """
    interface = config.interface
    lines = [f"Address = {format_prefix(address)}" for address in interface.addresses]
    lines += [f"DNS = {server}" for server in interface.dns + interface.dns_search]
    if interface.mtu is not None:
        lines.append(f"MTU = {interface.mtu}")
    if interface.table != "auto":
        lines.append(f"Table = {interface.table}")
    if interface.save_config:
        lines.append("SaveConfig = true")
    hooks = (interface.pre_up, interface.post_up, interface.pre_down, interface.post_down)
    for key, commands in zip(HOOK_KEYS, hooks, strict=True):
        lines += [f"{key} = {command}" for command in commands]
    text = _join(lines, config)
    if parse(text) != config:
        raise ConfigError("no file can say this: a '#' or line end in a hook, or the like")
    return text


def strip(config: Config) -> str:
    """Return a file of what wg(8) knows, as `wg setconf` reads it."""
    return _join([], config)


def _join(lines: list[str], config: Config) -> str:
    sections = ["[Interface]", *lines, *_interface_lines(config.interface)]
    for peer in config.peers:
        sections += ["", "[Peer]", *_peer_lines(peer)]
    return "\n".join(sections) + "\n"


def _interface_lines(interface: InterfaceConfig) -> list[str]:
    lines = []
    if interface.listen_port is not None:
        lines.append(f"ListenPort = {interface.listen_port}")
    if interface.fwmark is not None:
        lines.append(f"FwMark = {interface.fwmark:#x}")
    if interface.private_key is not None:
        lines.append(f"PrivateKey = {interface.private_key.to_base64()}")
    return lines


def _peer_lines(peer: PeerConfig) -> list[str]:
    lines = [f"PublicKey = {peer.public_key}"]
    if peer.preshared_key is not None:
        lines.append(f"PresharedKey = {peer.preshared_key.to_base64()}")
    if peer.allowed_ips:
        prefixes = (
            f"{'-' * remove}{format_prefix(prefix)}" for prefix, remove in peer.allowed_ips
        )
        lines.append(f"AllowedIPs = {', '.join(prefixes)}")
    if peer.endpoint is not None:
        host, port = peer.endpoint
        lines.append(
            f"Endpoint = [{host}]:{port}" if ":" in host else f"Endpoint = {host}:{port}"
        )
    if peer.persistent_keepalive is not None:
        lines.append(f"PersistentKeepalive = {peer.persistent_keepalive or 'off'}")
    return lines


# --- to a device ---


def to_change(config: Config, endpoints: Mapping[PublicKey, Endpoint]) -> DeviceChange:
    """Return the change that makes a device what the file says and nothing else (setconf).

    `endpoints` are those of the file looked up; a peer without one has none.
    """
    interface = config.interface
    return DeviceChange(
        private_key=interface.private_key or NO_KEY,
        listen_port=interface.listen_port or 0,
        fwmark=interface.fwmark or 0,
        replace_peers=True,
        peers=tuple(
            PeerChange(
                peer.public_key,
                preshared_key=peer.preshared_key,
                endpoint=endpoints.get(peer.public_key),
                persistent_keepalive=peer.persistent_keepalive,
                replace_allowed_ips=True,
                allowed_ips=peer.allowed_ips,
            )
            for peer in config.peers
        ),
    )
