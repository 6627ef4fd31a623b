"""Changed files of a running node: what it cannot follow, and what waits for the next start."""

from dataclasses import replace
from typing import Final

from netmgr.engine.common import Context
from netmgr.engine.signing import fingerprint
from netmgr.model import Settings
from wgpy.errors import ConfigError

# Below this the kernel takes the IPv6 addresses of an interface away, for good.
LEAST_MTU_V6: Final = 1280
# Of `Settings`, in the words of the files.
_FIXED: Final = {
    "address": "wgIp",
    "interface": "wgInterface",
    "listen_port": "wireguardPort",
    "admin_port": "adminPort",
    "state": "state",
}


def refuse(asked: Settings, fresh: Settings, *, has_ipv6: bool) -> None:
    """Refuse what a node that was started with `asked` cannot follow.

    Raises:
        ConfigError: what that is.
    """
    changed = [
        word for what, word in _FIXED.items() if getattr(asked, what) != getattr(fresh, what)
    ]
    if fresh.network.shared_key != asked.network.shared_key:
        changed.append("network.sharedKey")
    if fresh.network.subnet != asked.network.subnet:
        changed.append("network.subnet")
    if "wgIp" in changed and "wireguardPort" in changed:
        changed.remove("wireguardPort")  # mostly it follows the address
    if changed:
        has = "has" if len(changed) == 1 else "have"
        raise ConfigError(f"{', '.join(changed)} {has} changed: that takes a restart")
    if has_ipv6:
        refuse_mtu(fresh)


def refuse_mtu(settings: Settings) -> None:
    """Refuse an MTU that leaves no room for IPv6, where the host has that.

    Raises:
        ConfigError: it is below 1280 (RFC 8200, 5).
    """
    if settings.mtu is not None and settings.mtu < LEAST_MTU_V6:
        raise ConfigError(f"mtu: below {LEAST_MTU_V6} there is no IPv6 on an interface")


def refuse_name(context: Context, name: str) -> None:
    """Refuse a name for this node that is another's: the others would not believe it.

    Raises:
        ConfigError: whose it is.
    """
    pinned = context.trust.pinned(name)
    owners = [] if pinned is None else [pinned.identity]
    owners += [one.identity for one in context.remotes.values() if one.name == name]
    for owner in owners:
        if owner != context.identity.public:
            raise ConfigError(f"name: {name} is another node, {fingerprint(owner)}")


def follow(asked: Settings, fresh: Settings) -> tuple[str, Settings]:
    """Return what a person is told who has changed the files, and what is followed of them.

    What takes a restart stays as it was, and is told again until there was one.
    """
    if fresh.existing != asked.existing:
        followed = replace(fresh, existing=asked.existing)
        return "reloaded; existingInterface takes a restart", followed
    return "reloaded", fresh
