"""Kernel settings, nft, the owner's hooks and the ssh session: host matters without netlink."""

import os
import shutil
import subprocess
from contextlib import suppress
from typing import Final

from wgpy.errors import ConfigError
from wgpy.hostmodel import V4, V6
from wgpy.wire.text import parse_address, unmap

_NFT_FAMILIES: Final = {V4: "ip", V6: "ip6"}
_TIMEOUT: Final = 30.0
_IFF_UP: Final = 1
# In the name of a setting what is a dot in an interface's name is a slash (sysctl(8)).
_SWAPPED: Final = str.maketrans("./", "/.")
_SSH_VARIABLE: Final = "SSH_CONNECTION"


def run(argv: list[str], text: str = "") -> str:
    """Run a program of the system; return its output.

    Raises:
        ConfigError: it is missing, failed (its last line says why) or took too long.
    """
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs, no shell
            argv,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigError(f"{argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{argv[0]}: no end after {_TIMEOUT:g} seconds") from None
    if done.returncode != 0:
        why = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise ConfigError(f"{' '.join(argv)}: {why[0]}")
    return done.stdout


def run_hook(command: str) -> None:
    """Run a command of the owner by bash, as wg-quick does, or by sh where there is none.

    Raises:
        ConfigError: it ended with another status than 0.
    """
    bash = shutil.which("bash")
    shell = [bash, "-e", "-o", "pipefail"] if bash else ["sh", "-e"]
    code = subprocess.run([*shell, "-c", command], check=False).returncode  # noqa: S603
    if code != 0:
        raise ConfigError(f"the hook ended with {code}: {command}")


def set_firewall(text: str) -> None:
    """Make the tables that `text` describes.

    Raises:
        ConfigError: nft refused.
    """
    run(["nft", "-f", "-"], text)


def remove_firewall(table: str, family: int) -> None:
    """Remove a table; fine if it is gone, or nft is.

    Raises:
        ConfigError: nft refused.
    """
    if shutil.which("nft"):
        name = f"table {_NFT_FAMILIES[family]} {table}"
        run(["nft", "-f", "-"], f"{name}\ndelete {name}\n")


def firewalls(table: str) -> set[int] | None:
    """Return the families that have our table; None without a working nft."""
    if not shutil.which("nft"):
        return None
    try:
        lines = run(["nft", "list", "tables"]).splitlines()
    except ConfigError:
        # Whoever may not ask makes a dry run; there nft is taken to work.
        return None if os.geteuid() == 0 else set()
    return {
        family for family, kind in _NFT_FAMILIES.items() if f"table {kind} {table}" in lines
    }


def sysctl(name: str) -> str | None:
    """Return a kernel setting, None if this kernel has none of the name."""
    try:
        with open(_sysctl_path(name), encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def has_ipv6(interface: str) -> bool:
    """Return whether an interface has IPv6, or would have it once it is there."""
    own = sysctl(f"net.ipv6.conf.{interface.translate(_SWAPPED)}.disable_ipv6")
    new = sysctl("net.ipv6.conf.default.disable_ipv6")
    return sysctl("net.ipv6.conf.all.disable_ipv6") == (own or new) == "0"


def write_sysctl(name: str, value: str) -> None:
    """Set a kernel setting, named with dots, unless it is so: /proc/sys may be read-only.

    Raises:
        ConfigError: the kernel refused.
    """
    if sysctl(name) == value:
        return
    try:
        with open(_sysctl_path(name), "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise ConfigError(f"{name} = {value}: {error.strerror}") from None


def is_down(interface: str) -> bool:
    """Return whether an interface of this network namespace is there, but not up."""
    try:
        with open(f"/sys/class/net/{interface}/flags", encoding="ascii") as file:
            return not int(file.read(), 16) & _IFF_UP
    except OSError:
        return False


def _sysctl_path(name: str) -> str:
    return "/proc/sys/" + name.translate(_SWAPPED)


def ssh_client() -> bytes | None:
    """Return the address at the other end of the ssh session that this command is typed in.

    None without a session. sudo drops the variable that tells it, so the parents are looked at
    as well.
    """
    found = os.environ.get(_SSH_VARIABLE, "")
    pid = os.getppid()
    while not found and pid > 1:
        try:
            with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as file:
                entries = dict(each.partition("=")[::2] for each in file.read().split("\0"))
            found = entries.get(_SSH_VARIABLE, "")
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            break
    with suppress(ConfigError, IndexError):
        return unmap(parse_address(found.split()[0].partition("%")[0]))
    return None
