"""What a node keeps on this machine: its identity taken along, everything removed."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from netmgr.engine.signing import Identity, NetworkKeys, fingerprint
from netmgr.io import report, store
from netmgr.io.control_client import DIRECTORY
from netmgr.io.gateway import Gateway
from netmgr.io.service import UNIT_PATH, units
from netmgr.options import Say, gather, load_network, refuse_misfit
from netmgr.wire import words
from netmgr.wire.choices import Choices
from wgpy.engine.quick import nft_table
from wgpy.errors import ConfigError, UsageError
from wgpy.hostmodel import Undo
from wgpy.io.uapi_client import is_alive
from wgpy.io.undo_file import UndoFile
from wgpy.wire.steps import describe

_SOCKET: Final = ".sock"
_RECORD: Final = ".json"


def state_directory(given: Choices, environ: Mapping[str, str], say: Say) -> str:
    """Return the state directory of the node that is meant.

    Without an address the only node of the network that was ever here is meant.

    Raises:
        ConfigError: a file cannot be read or used.
        UsageError: it is not said which of several nodes is meant.
    """
    found = _state_directories(given, environ, say)
    if len(found) > 1:
        raise UsageError(f"several nodes were here, say which: {_which(found)}")
    return found[0]


def _which(directories: Sequence[str]) -> str:
    return "-a " + " or ".join(os.path.basename(each) for each in directories)


def _state_directories(given: Choices, environ: Mapping[str, str], say: Say) -> list[str]:
    """Return those of all nodes that may be meant: at least one.

    Raises:
        ConfigError: a file cannot be read or used.
        UsageError: there is none.
    """
    all_given, network_path, _ = gather(given, environ, say)
    if "state" in all_given:
        return [words.parse_path(all_given["state"].texts[0])]
    network = load_network(network_path, say)
    net_id = NetworkKeys(network.shared_key).net_id
    if "address" in all_given:
        address = words.parse_overlay(all_given["address"].texts[0])
        refuse_misfit(network.subnet, address, all_given["address"])
        return [store.default_directory(net_id, address)]
    folder = os.path.dirname(store.default_directory(net_id, bytes(4)))
    with suppress(OSError):
        if found := sorted(os.listdir(folder)):
            return [os.path.join(folder, each) for each in found]
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


def purge(
    given: Choices, environ: Mapping[str, str], say: Say, *, yes: bool, every: bool
) -> int:
    """Remove what the program has written for this network; return the exit code.

    With `every` all nodes of the network that were here are meant.

    Raises:
        ConfigError: the node runs, or something cannot be removed.
        UsageError: nobody can be asked, or it is not said which of several nodes is meant.
    """
    directories = _state_directories(given, environ, say)
    if len(directories) > 1 and not every:
        which = _which(directories)
        raise UsageError(f"several identities are here, say which: {which}, or --all")
    all_given, network_path, _ = gather(given, environ, lambda _: None)
    interface = None
    if "interface" in all_given:
        interface = words.parse_interface(all_given["interface"].texts[0])
    for directory in directories:
        store.refuse_running(directory)
    for directory in directories:
        print(f"to be removed: {directory}, with the identity of that node: others who met it")
        print("refuse its name to a new identity until a person types accept on each of them")
    for path in _leftovers(interface) if interface else ():
        print(f"to be removed: {path}, of a node that is gone")
    if not (yes or _agreed()):
        print("nothing was removed")
        return 1
    for directory in directories:
        _tell(store.remove_state(directory))
    if interface is not None:
        _clean(interface)
    kept = [each for each in (network_path, *units(UNIT_PATH)) if os.path.exists(each)]
    print(f"kept: {', '.join(kept)}" if kept else "nothing is left")
    return 0


def purge_leftovers(given: Choices) -> int:
    """Remove what killed nodes have left on this host, of one interface or of all.

    That is no loss: identities and pins stay, nobody is asked. Returns the exit code.

    Raises:
        ConfigError: something cannot be removed.
    """
    names: set[str] = set()
    if "interface" in given:
        names.add(given["interface"].texts[0])
    else:
        with suppress(FileNotFoundError):
            found = map(os.path.splitext, os.listdir(DIRECTORY))
            names.update(stem for stem, ending in found if ending in (_SOCKET, _RECORD))
    if not sum(_clean(name) for name in sorted(names)):
        print("nothing of a node that is gone is left here")
    return 0


def _leftovers(interface: str) -> list[str]:
    """Return what a node that is gone has left of its interface: socket and undo record."""
    path = os.path.join(DIRECTORY, interface)
    if os.path.exists(path + _SOCKET) and is_alive(path + _SOCKET):
        return []
    return [path + each for each in (_SOCKET, _RECORD) if os.path.exists(path + each)]


def _clean(interface: str) -> int:
    """Remove the leftovers of an interface; return how many there were."""
    found = _leftovers(interface)
    for path in found:
        if path.endswith(_RECORD):
            _take_back(interface)  # removes the record, unless something cannot be undone
        else:
            os.unlink(path)
    _tell([path for path in found if not os.path.exists(path)])
    return len(found)


def _tell(removed: Sequence[str]) -> None:
    for path in removed:
        print(f"removed {path}")


def _take_back(interface: str) -> None:
    """Undo what a killed node has changed on this host.

    Raises:
        ConfigError: it cannot be undone, or its record not be read.
    """
    file = UndoFile(interface, DIRECTORY)
    before = file.read()
    try:
        gateway = Gateway(interface, nft_table(interface), report.say, directory=DIRECTORY)
        gateway.close()
    except OSError as error:
        raise ConfigError(f"{interface}: {error.strerror or error}") from None
    after = file.read()
    left = after.done if after else ()
    for change in reversed(before.done if before else ()):
        if change not in left:
            print(describe(Undo(change)))


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked: give --yes")
    return input("remove? [y/N] ").strip().lower() in ("y", "yes")
