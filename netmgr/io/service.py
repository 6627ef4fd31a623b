"""The service of systemd that starts a node with the machine (systemd.service(5))."""

import glob
import os
import re
from collections.abc import Sequence
from typing import Final

UNIT_PATH: Final = "/etc/systemd/system/wg_netmanager.service"
MARK: Final = "# Written by wg_netmanager install; changed by it, too, if this line stays."
# Tunables are written for gateways, code is compiled as it runs: neither is forbidden here.
_UNIT: Final = """\
{mark}
[Unit]
Description=wg_netmanager: mesh of WireGuard nodes{which}
Wants=network-online.target
After=network-online.target
ConditionPathExists={network}

[Service]
Type=simple
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
RestartPreventExitStatus=2
UMask=0077
RuntimeDirectory=wg_netmanager wgpy
RuntimeDirectoryPreserve=yes
StateDirectory=wg_netmanager
StateDirectoryMode=0700
CacheDirectory=wgpy
{more}CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_SETPCAP
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_CHOWN
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
LockPersonality=true
NoNewPrivileges=true
PrivateTmp=true
ProtectClock=true
ProtectControlGroups=true
ProtectHome=read-only
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def systemd_unit(
    command: Sequence[str],
    network: str,
    interface: str = "",
    *,
    state: str | None = None,
    logs: bool = False,
) -> str:
    """Return the unit that runs a command; `network` is the file without which it is skipped.

    `state` is a folder that the node writes besides its own; with `logs` it works in a folder
    of /var/log, where `-l` writes its file. Paths are absolute.
    """
    more = []
    if state is not None:
        more.append(f"ReadWritePaths={_quoted('-' + state)}\n")
    if logs:
        more += ["LogsDirectory=wg_netmanager\n", "WorkingDirectory=%L/wg_netmanager\n"]
    return _UNIT.format(
        mark=MARK,
        which=f" ({interface})" if interface else "",
        network=network.replace("%", "%%"),
        command=" ".join(map(_quoted, command)),
        more="".join(more),
    )


def interface_of(unit: str) -> str:
    """Return the interface that a unit is for; empty if it does not say."""
    found = re.search(r"^Description=.* \((\S+)\)$", unit, re.MULTILINE)
    found = found or re.search(r"^ExecStart=.* -i (\S+)", unit, re.MULTILINE)
    return "" if found is None else found[1]


def unit_path(first: str, interface: str) -> str:
    """Return the unit's path for an interface that is not that of the first unit."""
    stem, ending = os.path.splitext(first)
    return f"{stem}-{interface}{ending}"


def units(first: str = UNIT_PATH) -> list[str]:
    """Return the paths of all units that are there."""
    pattern = unit_path(glob.escape(first), "*")
    return [each for each in (first, *sorted(glob.glob(pattern))) if os.path.exists(each)]


def _quoted(word: str) -> str:
    """Return a word as systemd takes it whole: no variable, specifier or second word in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    escaped = escaped.replace("$", "$$").replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"' if not word or set(escaped) & set(" \t\\\"';#") else escaped
