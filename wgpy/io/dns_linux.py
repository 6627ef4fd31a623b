"""Name servers of an interface: resolvconf, systemd-resolved or /etc/resolv.conf.

Whatever is installed to merge the wishes of several interfaces is asked; only where nothing is
does the file itself change, and its old text comes back.
"""

import os
import shutil
from contextlib import suppress
from typing import Final

from wgpy.errors import ConfigError
from wgpy.hostmodel import DnsBackend, SetDns
from wgpy.io.process import write_whole
from wgpy.io.settings_linux import run

RESOLV_CONF: Final = "/etc/resolv.conf"
_MODE: Final = 0o644
_RESOLVED_RUNS: Final = "/run/systemd/resolve/io.systemd.Resolve"
_INTERFACE_ORDER: Final = "/etc/resolvconf/interface-order"


def backend() -> DnsBackend:
    """Return who is in charge of name servers on this host."""
    if shutil.which("resolvconf"):
        return DnsBackend.RESOLVCONF
    if shutil.which("resolvectl") and os.path.exists(_RESOLVED_RUNS):
        return DnsBackend.RESOLVED
    return DnsBackend.FILE


def resolv_conf() -> str | None:
    """Return the text of /etc/resolv.conf, None if there is no such file."""
    try:
        with open(RESOLV_CONF, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None


def is_of_the_host() -> bool:
    """Return whether the file is also that of the first process, whose network is another."""
    try:
        same = os.path.samefile("/proc/self/ns/net", "/proc/1/ns/net")
        return not same and os.path.samefile(RESOLV_CONF, f"/proc/1/root{RESOLV_CONF}")
    except OSError:
        return False


def set_dns(change: SetDns) -> None:
    """Make the host ask the servers.

    Raises:
        ConfigError: the program in charge refused.
        OSError: the file cannot be written.
    """
    match change.through:
        case DnsBackend.RESOLVCONF:
            name = _resolvconf_prefix() + change.name
            run(["resolvconf", "-a", name, "-m", "0", "-x"], change.text())
        case DnsBackend.RESOLVED:
            run(["resolvectl", "dns", change.name, *change.servers])
            # The root domain routes every name here, as resolvconf's -x does.
            run(["resolvectl", "domain", change.name, *change.search, "~."])
        case DnsBackend.FILE:
            _replace(change.file_text())


def unset_dns(change: SetDns) -> None:
    """Take `set_dns` back; a file that somebody else wrote since is left alone.

    Raises:
        ConfigError: the program in charge refused.
        OSError: the file cannot be written.
    """
    match change.through:
        case DnsBackend.RESOLVCONF:
            run(["resolvconf", "-d", _resolvconf_prefix() + change.name, "-f"])
        case DnsBackend.RESOLVED:
            # It forgets an interface that is gone.
            with suppress(ConfigError):
                run(["resolvectl", "revert", change.name])
        case DnsBackend.FILE:
            if (resolv_conf() or "").startswith(change.file_text().splitlines()[0]):
                if change.old is None:
                    os.unlink(RESOLV_CONF)
                else:
                    _replace(change.old)


def _resolvconf_prefix() -> str:
    """Return what Debian's resolvconf wants before a name to give it precedence."""
    try:
        with open(_INTERFACE_ORDER, encoding="ascii", errors="replace") as lines:
            for line in map(str.strip, lines):
                stem = line.removesuffix("*")
                if stem != line and stem.replace("-", "").isalnum():
                    return stem + "."
    except FileNotFoundError:
        pass
    return ""


def _replace(text: str) -> None:
    """Write the file; in place if it cannot be replaced, as in containers."""
    content = text.encode("utf-8", "surrogateescape")
    target = os.path.realpath(RESOLV_CONF)
    try:
        mode = os.stat(target).st_mode & 0o777
    except FileNotFoundError:
        write_whole(target, content, _MODE)
        return
    try:
        write_whole(target, content, mode)
    except OSError:
        _overwrite(target, content)


def _overwrite(target: str, content: bytes) -> None:
    with open(target, "r+b", buffering=0) as file:
        old = file.read()
        try:
            _fill(file.fileno(), content)
        except OSError:
            _fill(file.fileno(), old)
            raise


def _fill(fd: int, content: bytes) -> None:
    """Make this all that is in a file; what it has is cut last, so that room for it stays."""
    done = 0
    while done < len(content):
        done += os.pwrite(fd, content[done:], done)
    os.ftruncate(fd, len(content))
    os.fsync(fd)
