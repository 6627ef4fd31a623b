"""One command on one interface: its record on disk, steps made and taken back."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from errno import EADDRINUSE
from typing import TYPE_CHECKING, Final

from wgpy import quickfile
from wgpy.engine import handover, quick
from wgpy.engine.sync import restore, sync
from wgpy.errors import ConfigError, ToldError
from wgpy.hostmodel import (
    CreateInterface,
    HostState,
    Recorded,
    SetDns,
    SetSysctl,
    SetWireGuard,
    Step,
    Undo,
    Wanted,
)
from wgpy.io import clock, namespaces, uapi_client
from wgpy.io.process import own_command
from wgpy.io.settings_linux import ssh_client
from wgpy.io.undo_file import UndoFile, locked
from wgpy.model import DeviceChange, DeviceStatus
from wgpy.wire.conf import Config
from wgpy.wire.steps import Record
from wgpy.wire.uapi_client import GET, format_set, parse_get, parse_set_answer

if TYPE_CHECKING:
    from wgpy.io.hostnet_linux import HostNet

_NAMESPACE: Final = "/proc/self/ns/net"
_PATIENCE: Final = 10.0
# From the interface of a daemon to its socket.
_STARTING: Final = 3.0
_GLANCE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Terms:
    """How a command is to be carried out.

    `say` takes lines for the user; `confirm` is asked, with the risk as a line, before the ssh
    session is cut or the name servers of the host are changed from a container;
    `implementation` is the command that, given a name, starts the daemon and returns once its
    UAPI socket answers; None for this program's own. `forward` has our own relay between peers.
    """

    say: Callable[[str], None]
    confirm: Callable[[str], bool] = lambda _: False
    implementation: Sequence[str] | None = None
    forward: bool = False


@contextmanager
def job_on(name: str, terms: Terms) -> Iterator["Job"]:
    """Hold the record and a netlink socket for one command on an interface.

    Raises:
        ConfigError: another command is at it, no permission, or a record of elsewhere.
    """
    from wgpy.io.hostnet_linux import HostNet

    with locked(name) as file, HostNet() as net:
        yield Job(name, file, net, terms, file.read())


@contextmanager
def look_at(name: str, terms: Terms) -> Iterator["Job"]:
    """Hold a netlink socket for a command that changes nothing; only what is up needs root.

    Raises:
        ConfigError: a record of elsewhere, or damaged.
    """
    from wgpy.io.hostnet_linux import HostNet

    file = UndoFile(name)
    hidden = file.is_hidden()
    if hidden:
        terms.say(f"warning: {file.path} is root's to read: as if {name} were not up")
    with HostNet() as net:
        yield Job(name, file, net, terms, None if hidden else file.read())


class Job:
    """One command on one interface: its record, the way to the kernel, the steps."""

    def __init__(
        self, name: str, file: UndoFile, net: "HostNet", terms: Terms, record: Record | None
    ) -> None:
        self.name = name
        self.file = file
        self.net = net
        self.record = record or Record("", namespace())
        self._terms = terms
        self._places = {self.record.namespace, namespace()}
        if self.record.namespace == namespace():
            return
        if uapi_client.is_alive(uapi_client.socket_path(name)) or namespaces.is_held(
            self.record.namespace
        ):
            raise ConfigError(
                f"{name} was brought up in another network namespace; "
                f"if that is gone, remove {file.path}"
            )
        self.record = _outlived(self.record)

    def say_all(self, lines: Sequence[str]) -> None:
        """Tell the user."""
        for line in lines:
            self._terms.say(line)

    def stands(self) -> bool:
        """Return whether the record is whole and its interface is there."""
        return self.record.complete and self.net.index(self.name) == self.record.index

    def require(self) -> None:
        """Raise ConfigError if there is nothing to reload."""
        if not self.stands():
            raise ConfigError(f"{self.name} is not up: wgpy up {self.name}")

    def clean_up(self) -> None:
        """Undo what a command or daemon that was killed has left.

        Raises:
            ConfigError: something could not be undone.
        """
        if faults := self.take_all_back():
            raise ConfigError(faults[0])

    def present(self, want: Wanted) -> HostState:
        """Return what there is, the device and the record included.

        Raises:
            ConfigError: the device does not answer.
        """
        endpoints = [peer.endpoint for peer in want.device.peers if peer.endpoint is not None]
        host = self.net.read(
            self.name,
            quick.nft_table(self.name),
            endpoints,
            ssh_client(),
        )
        host = replace(host, done=self.record.done)
        if host.interface is None or not self.stands():
            return host
        return replace(host, interface=replace(host.interface, device=self._status()))

    def _status(self) -> DeviceStatus:
        return parse_get(uapi_client.request(self.name, GET))

    def make(self, steps: Sequence[Step]) -> None:
        """Make all steps; if one fails, take those on the host back.

        All of them are on record before the first is made: undoing what was never done is
        harmless, and thousands of routes do not write the record thousands of times.

        Raises:
            ConfigError: one line.
        """
        added = [step for step in steps if isinstance(step, Recorded)]
        device = self._status() if self.stands() else None
        before = self.record.done
        again = set(added)
        kept = [change for change in before if change not in again]
        self._write(replace(self.record, complete=False, done=(*kept, *added)))
        made: list[Step] = []
        try:
            for step in steps:
                made.append(step)
                self._make(step)
        except BaseException:
            if device is not None:
                self._retreat(made, device)
                self.say_all(self._keep(replace(self.record, complete=True, done=before)))
            raise
        undone = {step.change for step in steps if isinstance(step, Undo)}
        done = tuple(change for change in self.record.done if change not in undone)
        self._write(replace(self.record, complete=True, done=done))

    def _make(self, step: Step) -> None:
        match step:
            case CreateInterface():
                self._start()
            case SetWireGuard(name, change):
                self._configure(name, change)
            case Undo(change):
                self._take_back(change)
            case SetSysctl():
                self._set_sysctl(step)
            case _:
                self.net.carry_out(step)

    def _set_sysctl(self, step: SetSysctl) -> None:
        """Change a kernel setting; in a container, where nobody can, the rest works mostly."""
        try:
            self.net.carry_out(step)
        except ConfigError as error:
            self._terms.say(
                f"warning: {error}; replies may be dropped (rp_filter): start the container "
                f"with --sysctl {step.name}={step.value}"
            )

    def _configure(self, name: str, change: DeviceChange) -> None:
        try:
            parse_set_answer(uapi_client.request(name, format_set(change)))
        except ConfigError as error:
            if error.errno != EADDRINUSE:
                raise
            raise ConfigError(
                f"{name}: UDP port {change.listen_port} is in use; ss -ulnp tells by whom"
            ) from None

    def _start(self) -> None:
        ours = self._terms.implementation is None
        # "--": the name is meant, even one like that of a command.
        command = [*(self._terms.implementation or (*own_command(), "--")), self.name]
        environ = {**os.environ, "WGPY_FORWARD": "1"} if self._terms.forward else None
        try:
            code = subprocess.run(  # noqa: S603
                command, stdin=subprocess.DEVNULL, check=False, env=environ
            ).returncode
        except OSError as error:
            raise ConfigError(f"{command[0]}: {error.strerror}") from None
        if code != 0:
            why = f"{self.name}: the daemon did not start (status {code})"
            raise (ToldError if ours and code > 0 else ConfigError)(why)
        path = uapi_client.socket_path(self.name)
        _wait_until(lambda: uapi_client.is_alive(path), f"{path} does not answer")
        self._write(replace(self.record, index=self.net.index(self.name) or 0))

    def _retreat(self, made: Sequence[Step], device: DeviceStatus) -> None:
        """Take steps on a standing interface back; a new one is torn down by its record."""
        for step in reversed(made):
            with suppress(ConfigError):
                if isinstance(step, Undo):
                    self._make(step.change)
                elif isinstance(step, Recorded):
                    self._take_back(step)
                elif isinstance(step, SetWireGuard):
                    back = sync(restore(device), self._status())
                    if back is not None:
                        self._make(SetWireGuard(self.name, back))

    def take_all_back(self) -> list[str]:
        """Undo the record; return a line for each change that could not be undone."""
        left: list[Recorded] = []
        others, faults = self._pass_on()
        for undo in quick.teardown(self.record.done):
            if handover.still_needed(undo.change, others):
                continue
            try:
                self._take_back(undo.change)
            except ConfigError as error:
                faults.append(str(error))
                left.append(undo.change)
        self.record = replace(self.record, complete=False, done=tuple(reversed(left)))
        if left:
            faults += self._keep(self.record)
        else:
            self.file.remove()
        return faults

    def _pass_on(self) -> tuple[list[Recorded], list[str]]:
        """Leave to other interfaces what they must restore in our place.

        Returns:
            What those that stand have changed, and a line for each that could not be told.
        """
        others: list[Recorded] = []
        faults: list[str] = []
        for file, other in self.file.others():
            if other.namespace not in self._places:
                continue
            inherited = handover.hand_over(self.record.done, other.done)
            if inherited != other.done:
                try:
                    file.write(replace(other, done=inherited))
                except OSError as error:
                    faults.append(f"{file.path}: {error.strerror}")
            if self._stands(other):
                others += inherited
        return others, faults

    def _stands(self, record: Record) -> bool:
        """Return whether the interface is there: the number of a namespace comes back."""
        names = [change.name for change in record.done if isinstance(change, CreateInterface)]
        return any(self.net.index(name) == record.index for name in names)

    def _take_back(self, change: Recorded) -> None:
        if isinstance(change, CreateInterface):
            self._stop()
        elif isinstance(change, SetSysctl):
            self._restore_sysctl(change)
        else:
            self.net.take_back(change)

    def _restore_sysctl(self, change: SetSysctl) -> None:
        if change.old == change.value:
            return  # it was so before
        try:
            self.net.take_back(change)
        except ConfigError as error:
            self._terms.say(f"warning: {error}")

    def _stop(self) -> None:
        """Delete the interface, on which the daemon ends, and see that its socket goes."""
        if self.net.index(self.name) is not None and not self._is_ours():
            return  # somebody else's, of the same name
        self.net.delete_link(self.name)
        path = uapi_client.socket_path(self.name)
        _wait_until(lambda: _unlinked(path), f"the daemon still holds {path}")

    def _is_ours(self) -> bool:
        """Return whether the interface of our name is the one on record.

        Before its index was on record, ours is a TUN whose daemon answers, or will in a moment:
        nothing of a daemon that ended stays.
        """
        if self.record.index:
            return self.net.index(self.name) == self.record.index
        path = uapi_client.socket_path(self.name)
        if not self.net.is_held_tun(self.name):
            return False
        with suppress(ConfigError):
            _wait_until(lambda: uapi_client.is_alive(path), path, _STARTING)
            return True
        return False

    def save(self, source: quickfile.Source, config: Config) -> list[str]:
        """Write the running state to the file; return a line if that failed."""
        try:
            state = self.net.interface(self.name)
            if state is not None:
                quickfile.save(source, config, self._status(), state)
        except ConfigError as error:
            return [f"SaveConfig: {error}"]
        return []

    def _keep(self, record: Record) -> list[str]:
        """Put a record on disk after a fault; return a line if that failed too."""
        try:
            self._write(record)
        except ConfigError as error:
            return [str(error)]
        return []

    def _write(self, record: Record) -> None:
        try:
            self.file.write(record)
        except OSError as error:
            raise ConfigError(f"{self.file.path}: {error.strerror}") from None
        self.record = record


def _outlived(record: Record) -> Record:
    """Return what is left to undo of a record whose namespace is gone: the name servers.

    They are files; the rest went with the namespace, as when a container is restarted.
    """
    return replace(
        record,
        namespace=namespace(),
        index=0,
        complete=False,
        done=tuple(change for change in record.done if isinstance(change, SetDns)),
    )


def namespace() -> int:
    """Return the number of the network namespace of this process."""
    return os.stat(_NAMESPACE).st_ino


def _wait_until(
    condition: Callable[[], bool], complaint: str, patience: float = _PATIENCE
) -> None:
    deadline = clock.now() + patience
    while not condition():
        if clock.now() > deadline:
            raise ConfigError(complaint)
        threading.Event().wait(_GLANCE)


def _unlinked(path: str) -> bool:
    """Return whether a socket is gone; removes one that a killed daemon left."""
    if os.path.lexists(path) and not uapi_client.is_alive(path):
        with suppress(FileNotFoundError):
            os.unlink(path)
    return not os.path.lexists(path)
