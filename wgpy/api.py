"""What a Python program says to a node, in the words of a configuration file.

Keys are base64, endpoints `ADDRESS:PORT` and prefixes `ADDRESS/LENGTH`, as wg(8) has them;
their values (`PublicKey`, `Endpoint`, `Prefix`) do as well.
"""

import logging
import os
from collections.abc import Iterable
from typing import TypeAlias

from wgpy.checks import (
    as_endpoint,
    as_keepalive,
    as_list,
    as_prefix,
    as_public_key,
    as_secret,
)
from wgpy.engine import crypto
from wgpy.errors import ConfigError
from wgpy.io import clock
from wgpy.io.process import read_secret_file, write_whole
from wgpy.model import (
    KEY_SIZE,
    NO_KEY,
    AllowedIPChange,
    Endpoint,
    PeerChange,
    Prefix,
    PublicKey,
    Secret,
)

_LOGGER = logging.getLogger("wgpy")
_Path: TypeAlias = str | os.PathLike[str]


def peer(
    public_key: PublicKey | str,
    *,
    allowed_ips: Iterable[Prefix | str] = (),
    endpoint: Endpoint | str | None = None,
    preshared_key: Secret | str | None = None,
    persistent_keepalive: int = 0,
) -> PeerChange:
    """Describe a peer as a whole, for `Node(peers=[...])` and `Node.set_peer`.

    A peer that exists already becomes as described; its sessions go on, and without an
    `endpoint` it stays where it is. `persistent_keepalive` is in seconds, 0 for none.

    Raises:
        ConfigError: a key, prefix, endpoint or number does not read.
    """
    prefixes = as_list("allowed_ips", "prefixes", allowed_ips)
    return PeerChange(
        public_key=as_public_key(public_key),
        preshared_key=NO_KEY if preshared_key is None else as_secret(preshared_key),
        endpoint=None if endpoint is None else as_endpoint(endpoint),
        persistent_keepalive=as_keepalive(persistent_keepalive),
        replace_allowed_ips=True,
        allowed_ips=tuple(AllowedIPChange(as_prefix(each)) for each in prefixes),
    )


def endpoint(text: Endpoint | str) -> Endpoint:
    """Return the endpoint `ADDRESS:PORT` or `[ADDRESS]:PORT`; host names are not resolved.

    Raises:
        ConfigError: it does not read.
    """
    return as_endpoint(text)


def prefix(text: Prefix | str) -> Prefix:
    """Return the prefix `ADDRESS[/LENGTH]`, host bits cleared; without a length one address.

    Raises:
        ConfigError: it does not read.
    """
    return as_prefix(text)


def secret(key: Secret | str) -> Secret:
    """Return a private or preshared key given in base64.

    Raises:
        ConfigError: it does not read; the message does not repeat it.
    """
    return as_secret(key)


def generate_key() -> Secret:
    """Return a new private key."""
    return crypto.clamp(Secret(clock.entropy(KEY_SIZE)))


def public_key(key: Secret | str) -> PublicKey:
    """Return the public key of a private key.

    Raises:
        ConfigError: it does not read.
    """
    return crypto.public_key(as_secret(key))


def load_key(path: _Path) -> Secret:
    """Return the private or preshared key in a file, as `save_key` and `wg genkey` write it.

    A file that others may read is warned of in the log `wgpy`.

    Raises:
        ConfigError: the file cannot be read, or holds no key.
    """
    name = os.fspath(path)
    content, warning = read_secret_file(name)
    try:
        key = as_secret(content.decode("ascii", "replace").strip())
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    if warning is not None:
        _LOGGER.warning("%s", warning)
    return key


def save_key(path: _Path, key: Secret | str) -> None:
    """Write a private or preshared key to a file of mode 0600, replacing it as a whole.

    Raises:
        ConfigError: the file cannot be written (an old one stands), or it is no key.
    """
    name, text = os.fspath(path), as_secret(key).to_base64()
    try:
        write_whole(name, f"{text}\n".encode())
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from None
