"""What a node keeps on this machine: its identity taken along, everything removed."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from netmgr.engine.signing import Identity, NetworkKeys, fingerprint
from netmgr.io import report, store
from netmgr.io.control_client import DIRECTORY, nodes
from netmgr.io.gateway import Gateway
from netmgr.io.service import UNIT_PATH, units
from netmgr.options import Say, gather, load_network, refuse_misfit
from netmgr.wire import words
from netmgr.wire.choices import Choices
from wgpy.engine.quick import nft_table
from wgpy.errors import ConfigError, UsageError
from wgpy.io.uapi_client import is_alive

_SOCKET: Final = ".sock"
_RECORD: Final = ".json"


def state_directory(given: Choices, environ: Mapping[str, str], say: Say) -> str:
    """Return the state directory of the node that is meant.

    Without an address the only node of the network that was ever here is meant.

    Raises:
        ConfigError: a file cannot be read or used.
        UsageError: it is not said which of several nodes is meant.
    """
    all_given, network_path, _ = gather(given, environ, say)
    if "state" in all_given:
        return words.parse_path(all_given["state"].texts[0])
    network = load_network(network_path, say)
    net_id = NetworkKeys(network.shared_key).net_id
    if "address" in all_given:
        address = words.parse_overlay(all_given["address"].texts[0])
        refuse_misfit(network.subnet, address, all_given["address"])
        return store.default_directory(net_id, address)
    folder = os.path.dirname(store.default_directory(net_id, bytes(4)))
    with suppress(OSError):
        found = sorted(os.listdir(folder))
        if len(found) == 1:
            return os.path.join(folder, found[0])
        if found:
            raise UsageError(f"several nodes were here, say which: -a {' or '.join(found)}")
    raise UsageError(f"no node of the network in {network_path} was here; -a names one to come")


# --- identity ---


def export_identity(path: str, given: Choices, environ: Mapping[str, str], say: Say) -> None:
    """Write the identity of this machine's node to a new file; say whose it is.

    Raises:
        ConfigError: there is none, or the file cannot be written.
    """
    text = environ.get(store.IDENTITY_VARIABLE, "")
    if text:
        identity = store.given_identity(text)
    else:
        source = os.path.join(state_directory(given, environ, say), store.IDENTITY)
        found = store.read_identity(source, say)
        if found is None:
            raise ConfigError(f"{source}: no such file; the first start of a node makes it")
        identity = found
    store.export_identity(identity, path)
    print(f"wrote {path}: {fingerprint(Identity(identity).public)}")
    print(f"to pin it in network.yaml: id: {Identity(identity).public.hex()}")
    print("who has this file is this node: keep it secret, and run one of the two only")


def import_identity(path: str, given: Choices, environ: Mapping[str, str], say: Say) -> None:
    """Let the node of this machine, before its first start, be the one in a file.

    Raises:
        ConfigError: no identity, the node has another one already, or it runs.
    """
    directory = state_directory(given, environ, say)
    store.import_identity(path, directory)
    identity = store.read_identity(path, say)
    assert identity is not None, "it was read just now"
    print(f"wrote {os.path.join(directory, store.IDENTITY)}: ", end="")
    print(fingerprint(Identity(identity).public))


# --- purge ---


def purge(given: Choices, environ: Mapping[str, str], say: Say, *, yes: bool) -> int:
    """Remove all that the program has written for this network; return the exit code.

    Raises:
        ConfigError: the node runs, or something cannot be removed.
        UsageError: nobody can be asked.
    """
    directory = state_directory(given, environ, say)
    all_given, network_path, _ = gather(given, environ, lambda _: None)
    store.refuse_running(directory)
    interface = None
    if "interface" in all_given:
        interface = words.parse_interface(all_given["interface"].texts[0])
    leftovers = _leftovers(DIRECTORY, interface)
    print(f"to be removed: {directory}, with the identity of this node: others who met it")
    print("refuse its name to a new identity until a person types accept on one of them")
    for path in leftovers:
        print(f"to be removed: {path}, of a node that is gone")
    if not (yes or _agreed()):
        print("nothing was removed")
        return 1
    removed = store.remove_state(directory)
    if interface is not None:
        removed += _take_back(interface)
    for path in leftovers:
        with suppress(FileNotFoundError):
            os.unlink(path)
            removed.append(path)
    for path in removed:
        print(f"removed {path}")
    kept = [each for each in (network_path, *units(UNIT_PATH)) if os.path.exists(each)]
    print(f"kept: {', '.join(kept)}" if kept else "nothing is left")
    return 0


def _leftovers(directory: str, interface: str | None) -> list[str]:
    """Return the socket of a node that is gone; of no interface but the one that is named."""
    path = os.path.join(directory, f"{interface}{_SOCKET}")
    return [path] if interface and os.path.exists(path) and not is_alive(path) else []


def _take_back(interface: str) -> list[str]:
    """Undo what a killed node has changed on this host; return its record, if there was one."""
    path = os.path.join(DIRECTORY, interface + _RECORD)
    if not os.path.exists(path) or interface in nodes():
        return []
    try:
        Gateway(interface, nft_table(interface), report.say).close()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    return [path]


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked: give --yes")
    return input("remove? [y/N] ").strip().lower() in ("y", "yes")
