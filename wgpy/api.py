"""What a Python program says to a node, in the words of a configuration file.

Keys are base64, endpoints `ADDRESS:PORT` and prefixes `ADDRESS/LENGTH`, as wg(8) has them;
their values (`PublicKey`, `Endpoint`, `Prefix`) do as well.
"""

from collections.abc import Iterable

from wgpy.engine import crypto
from wgpy.io import clock
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
from wgpy.wire.text import parse_endpoint, parse_key, parse_prefix


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
        ConfigError: a key, prefix or endpoint does not read.
    """
    return PeerChange(
        public_key=PublicKey(_raw(public_key)),
        preshared_key=NO_KEY if preshared_key is None else secret(preshared_key),
        endpoint=parse_endpoint(endpoint) if isinstance(endpoint, str) else endpoint,
        persistent_keepalive=persistent_keepalive,
        replace_allowed_ips=True,
        allowed_ips=tuple(
            AllowedIPChange(parse_prefix(prefix) if isinstance(prefix, str) else prefix)
            for prefix in allowed_ips
        ),
    )


def secret(key: Secret | str) -> Secret:
    """Return a private or preshared key given in base64.

    Raises:
        ConfigError: it does not read; the message does not repeat it.
    """
    return key if isinstance(key, Secret) else Secret(parse_key(key))


def generate_key() -> Secret:
    """Return a new private key."""
    return crypto.clamp(Secret(clock.entropy(KEY_SIZE)))


def public_key(key: Secret | str) -> PublicKey:
    """Return the public key of a private key.

    Raises:
        ConfigError: it does not read.
    """
    return crypto.public_key(secret(key))


def _raw(key: PublicKey | str) -> bytes:
    return parse_key(key) if isinstance(key, str) else key
