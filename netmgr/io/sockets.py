"""Which nodes run on this machine: the sockets that they listen on."""

import os
from typing import Final

from wgpy.errors import ConfigError, UsageError

RUN_FOLDER: Final = "/run/wg_netmanager"
SUFFIX: Final = ".sock"


def find_socket(interface: str | None, folder: str = RUN_FOLDER) -> str:
    """Return the path of the socket of a node; without an interface, that of the only one.

    Raises:
        ConfigError: no node runs.
        UsageError: several run, and none is named.
    """
    if interface is not None:
        return os.path.join(folder, interface + SUFFIX)
    try:
        names = sorted(each for each in os.listdir(folder) if each.endswith(SUFFIX))
    except FileNotFoundError:
        names = []
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from None
    if not names:
        raise ConfigError(f"no node is running: there is no socket in {folder}")
    if len(names) > 1:
        interfaces = ", ".join(each.removesuffix(SUFFIX) for each in names)
        raise UsageError(f"several nodes are running: choose one with -i: {interfaces}")
    return os.path.join(folder, names[0])
