"""What a program gives a node, checked where it enters: text becomes values.

Every function raises ConfigError, one line, for anything that it does not take, wrong types
included: what they return may be given to an engine.
"""

from collections.abc import Iterable
from dataclasses import replace

from wgpy.engine import constants
from wgpy.errors import ConfigError
from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    Endpoint,
    InterfaceAddress,
    Local,
    PeerChange,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.wire import ip
from wgpy.wire.datagrams import V4_MAX
from wgpy.wire.detour import via_id
from wgpy.wire.messages import DATA_OVERHEAD, FOREIGN_FIRST_BYTE, is_foreign
from wgpy.wire.text import (
    mask,
    parse_endpoint,
    parse_interface_address,
    parse_key,
    parse_prefix,
    unmap,
)

# What Linux takes for a TUN interface, in bytes.
MIN_MTU = 68
MAX_MTU = 65535
_MAX_SCOPE = 2**32 - 1
_ADDRESS_SIZES = (4, 16)


def as_public_key(given: object) -> PublicKey:
    """Return the public key of a peer; text is base64."""
    if isinstance(given, PublicKey):
        return given
    if isinstance(given, str):
        return PublicKey(parse_key(given))
    if isinstance(given, Secret):
        raise ConfigError(
            "a peer goes by its public key, and this is a Secret: see wgpy.public_key"
        )
    raise _refusal("a public key", "a PublicKey or base64", given)


def as_secret(given: object) -> Secret:
    """Return a private or preshared key; text is base64."""
    if isinstance(given, Secret):
        return given
    if isinstance(given, str):
        return Secret(parse_key(given))
    raise _refusal("a private or preshared key", "a Secret or base64", given)


def as_endpoint(given: object) -> Endpoint:
    """Return an endpoint; text is `ADDRESS:PORT`. IPv4-mapped IPv6 becomes IPv4.

    Only one behind relays (`wire.detour.via`) has port 0.
    """
    if isinstance(given, str):
        return parse_endpoint(given)
    if not isinstance(given, Endpoint):
        raise _refusal("an endpoint", "an Endpoint or 'ADDRESS:PORT'", given)
    host = unmap(_as_packed("an endpoint", given.host))
    least = 1 if via_id(Endpoint(host, 0)) is None else 0
    port = as_number("port of an endpoint", given.port, constants.MAX_PORT, least=least)
    scope = as_number("scope of an endpoint", given.scope, _MAX_SCOPE)
    return Endpoint(host, port, scope)


def as_prefix(given: object) -> Prefix:
    """Return a prefix; text is `ADDRESS[/LENGTH]`. Host bits are cleared."""
    if isinstance(given, str):
        return parse_prefix(given)
    if not isinstance(given, Prefix):
        raise _refusal("a prefix", "a Prefix or 'ADDRESS/LENGTH'", given)
    address = _as_packed("a prefix", given.address)
    return mask(address, as_number("length of a prefix", given.length, len(address) * 8))


def as_interface_address(given: object) -> InterfaceAddress:
    """Return an address of an interface; text is `ADDRESS[/LENGTH]`."""
    if isinstance(given, str):
        return parse_interface_address(given)
    if not isinstance(given, InterfaceAddress):
        wanted = "an InterfaceAddress or 'ADDRESS/LENGTH'"
        raise _refusal("an address of an interface", wanted, given)
    address = _as_packed("an address of an interface", given.address)
    length = as_number("length of an address", given.length, len(address) * 8)
    return InterfaceAddress(address, length)


def as_number(what: str, given: object, most: int, *, least: int = 0) -> int:
    """Return a whole number, `least` to `most`."""
    if not isinstance(given, int) or isinstance(given, bool):
        raise _refusal(what, "a whole number", given)
    if not least <= given <= most:
        raise ConfigError(f"{what} {given} is none of {least} to {most}")
    return given


def as_list(what: str, of: str, given: object) -> list[object]:
    """Return what is in a list, or in anything else that can be gone through but text."""
    if isinstance(given, str):
        raise ConfigError(f"{what}: a list of {of}, not one string")
    # A Prefix and its like are tuples: a list is not meant by them.
    one = isinstance(given, bytes | Prefix | InterfaceAddress | AllowedIPChange)
    if one or not isinstance(given, Iterable):
        raise _refusal(what, f"a list of {of}", given)
    return list(given)


def as_peer_change(given: object) -> PeerChange:
    """Return a change of a peer whose values are those of the engine."""
    if not isinstance(given, PeerChange):
        raise _refusal("a peer", "a PeerChange, see wgpy.peer", given)
    psk, endpoint, interval = given.preshared_key, given.endpoint, given.persistent_keepalive
    return PeerChange(
        public_key=as_public_key(given.public_key),
        remove=as_flag("remove", given.remove),
        update_only=as_flag("update_only", given.update_only),
        preshared_key=None if psk is None else as_secret(psk),
        endpoint=None if endpoint is None else as_endpoint(endpoint),
        persistent_keepalive=None if interval is None else as_keepalive(interval),
        replace_allowed_ips=as_flag("replace_allowed_ips", given.replace_allowed_ips),
        allowed_ips=tuple(
            _as_allowed_ip_change(each)
            for each in as_list("allowed_ips", "AllowedIPChange", given.allowed_ips)
        ),
    )


def as_device_change(given: object) -> DeviceChange:
    """Return a change of a device whose values are those of the engine."""
    if not isinstance(given, DeviceChange):
        raise _refusal("a change", "a DeviceChange", given)
    key, port, mark = given.private_key, given.listen_port, given.fwmark
    peers = as_list("peers", "PeerChange", given.peers)
    return replace(
        given,
        private_key=None if key is None else as_secret(key),
        listen_port=None if port is None else as_number("port", port, constants.MAX_PORT),
        fwmark=None if mark is None else as_number("fwmark", mark, constants.MAX_FWMARK),
        replace_peers=as_flag("replace_peers", given.replace_peers),
        peers=tuple(as_peer_change(each) for each in peers),
    )


def as_keepalive(given: object) -> int:
    """Return the seconds between persistent keepalives, 0 for none."""
    return as_number("persistent keepalive", given, constants.MAX_PERSISTENT_KEEPALIVE)


def as_mtu(given: object) -> int:
    """Return the MTU of an interface, in bytes."""
    return as_number("MTU", given, MAX_MTU, least=MIN_MTU)


def as_text(what: str, given: object) -> str:
    """Return a name as it is."""
    if not isinstance(given, str):
        raise _refusal(what, "a string", given)
    return given


def as_namespace(given: object) -> str:
    """Return the name of a network namespace, as `ip netns` has it."""
    name = as_text("a namespace", given)
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ConfigError(f"{name!r} is no name of a network namespace")
    return name


def as_local(given: object) -> Local:
    """Return the address of this host that something is to leave from."""
    if not isinstance(given, Local):
        raise _refusal("what a datagram leaves from", "a Local", given)
    host = _as_packed("what a datagram leaves from", given.host)
    return Local(host, as_number("index of an interface", given.interface, _MAX_SCOPE))


def as_datagrams(given: object) -> list[bytes]:
    """Return datagrams that no WireGuard takes for its own."""
    datagrams = _as_payloads(given, V4_MAX)
    if not all(map(is_foreign, datagrams)):
        raise ConfigError(
            f"a datagram begins with a byte of {FOREIGN_FIRST_BYTE:#x} or more: "
            "what is below is WireGuard's"
        )
    return datagrams


def as_inner(given: object) -> list[bytes]:
    """Return payloads for the inside of a session that nobody takes for IP."""
    payloads = _as_payloads(given, V4_MAX - DATA_OVERHEAD)
    if any(ip.version(payload) in (4, 6) for payload in payloads):
        raise ConfigError(
            "a payload begins with another half byte than 4 or 6: those are packets, "
            "which go to the interface"
        )
    return payloads


def as_flag(what: str, given: object) -> bool:
    """Return what is true or false."""
    if not isinstance(given, bool):
        raise _refusal(what, "True or False", given)
    return given


def _as_payloads(given: object, most: int) -> list[bytes]:
    payloads = [
        bytes(each) if isinstance(each, bytes | bytearray | memoryview) else b""
        for each in as_list("payloads", "bytes", given)
    ]
    if not all(0 < len(payload) <= most for payload in payloads):
        raise ConfigError(f"a payload is bytes, at least one and at most {most}")
    return payloads


def _as_allowed_ip_change(given: object) -> AllowedIPChange:
    if not isinstance(given, AllowedIPChange):
        raise _refusal("a change of allowed IPs", "an AllowedIPChange", given)
    return AllowedIPChange(as_prefix(given.prefix), as_flag("remove", given.remove))


def _as_packed(what: str, given: object) -> bytes:
    """Return an address of 4 or 16 bytes."""
    if not isinstance(given, bytes) or len(given) not in _ADDRESS_SIZES:
        raise ConfigError(f"{what} has an address of 4 or 16 bytes, packed; or give it as text")
    return given


def _refusal(what: str, wanted: str, given: object) -> ConfigError:
    """Say what was wanted by type: what was given may be a key."""
    return ConfigError(f"{what} is {wanted}, not {type(given).__name__}")
