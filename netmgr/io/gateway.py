"""Routes and masquerading of a mesh on this host: what is there, steps made and taken back.

Everything that is added is on record, /run/wg_netmanager/INTERFACE.json, before it is made, and
undone from there: at the end, or at the next start after a kill. Blocking; `GatewayThread` is
for the event loop.
"""

import asyncio
import fcntl
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar

from netmgr.io.control_client import DIRECTORY
from wgpy.engine.handover import hand_over, still_needed
from wgpy.errors import ConfigError
from wgpy.hostmodel import (
    CreateInterface,
    HostState,
    Recorded,
    SetFirewall,
    SetSysctl,
    SetWireGuard,
    Step,
    Undo,
)
from wgpy.io import undo_file
from wgpy.io.hostnet_linux import HostNet
from wgpy.io.namespaces import is_held
from wgpy.io.settings_linux import firewalls, sysctl
from wgpy.io.undo_file import UndoFile
from wgpy.wire.steps import Record

_NAMESPACE: Final = "/proc/thread-self/ns/net"
_ROUTES4: Final = "/proc/thread-self/net/route"
_ROUTES6: Final = "/proc/thread-self/net/ipv6_route"
_DIRECTORY_MODE: Final = 0o755
_LITTLE: Final = sys.byteorder == "little"

_T = TypeVar("_T")


class Surroundings(NamedTuple):
    """What a plan must know of this host; `gateways` are those of default routes."""

    state: HostState
    gateways: tuple[bytes, ...]


class Gateway:
    """The routes of one interface: holds a netlink socket and the record."""

    def __init__(
        self,
        interface: str,
        table: str,
        say: Callable[[str], None],
        *,
        directory: str = DIRECTORY,
    ) -> None:
        """Take back what a node that was killed has left; `table` is the nft table's name.

        Raises:
            ConfigError: the record cannot be read; the message names it.
            OSError: netlink cannot be had.
        """
        self._interface = interface
        self._table = table
        self._say = say
        with suppress(OSError):
            os.makedirs(directory, _DIRECTORY_MODE, exist_ok=True)
        self._file = UndoFile(interface, directory)
        found = self._file.read()
        if found and found.namespace != _namespace() and is_held(found.namespace):
            raise ConfigError(f"{self._file.path} is of a node in another network namespace")
        self._net = HostNet()
        self._done: tuple[Recorded, ...] = ()
        self._writable = True
        if found is not None:
            if found.namespace == _namespace():
                self._done = found.done
            self.withdraw()

    def look(self, settings: Iterable[str] = ()) -> Surroundings:
        """Return what is there, with these kernel settings and what is on record as ours.

        Raises:
            OSError: the kernel refused.
        """
        self._reread()
        state = self._net.read(self._interface, self._table, (), None)
        names = (name.replace(".", "/") for name, _ in state.neighbours)
        accepting = (f"net.ipv6.conf.{name}.accept_ra" for name in names)
        values = {name: sysctl(name) for name in (*settings, *accepting)}
        known = {name: value for name, value in values.items() if value is not None}
        state = replace(state, sysctls={**state.sysctls, **known}, done=self._done)
        if not state.nft and (tables := self._tables()):
            # It worked before, and this node's traffic goes by what it has made then.
            state = replace(state, nft=True, firewalls=tables)
        return Surroundings(state, tuple(_gateways()))

    def has_lost(self) -> bool:
        """Return whether a table or a setting on record, of which none tells, is not there."""
        tables = self._tables()
        if tables and not tables <= (firewalls(self._table) or set()):
            return True
        settings = (each for each in self._done if isinstance(each, SetSysctl))
        return any(sysctl(each.name) != each.value for each in settings)

    def _tables(self) -> frozenset[int]:
        """Return the families of the tables on record."""
        return frozenset(each.family for each in self._done if isinstance(each, SetFirewall))

    def carry_out(self, steps: Sequence[Step]) -> tuple[str, ...]:
        """Make the steps; return a line for each that could not be made. The others are."""
        if not steps:
            return ()
        with self._alone():
            return self._carry_out(steps)

    def _carry_out(self, steps: Sequence[Step]) -> tuple[str, ...]:
        added = [step for step in steps if isinstance(step, Recorded)]
        kept = [change for change in self._done if not _is_replaced(change, added)]
        self._write((*kept, *added))
        faults = []
        for step in steps:
            try:
                self._make(step)
            except ConfigError as error:
                faults.append(str(error))
                if isinstance(step, Recorded):
                    self._forget(step)
            else:
                if isinstance(step, Undo):
                    self._forget(step.change)
        self._write(self._done)
        return tuple(faults)

    def withdraw(self) -> None:
        """Take back all that is on record; what cannot be is said, and stays on record."""
        with self._alone():
            self._withdraw()

    def _withdraw(self) -> None:
        for change in reversed(self._done):
            try:
                self._take_back(change)
            except ConfigError as error:
                self._say(str(error))
            else:
                self._forget(change)
        if self._done:
            self._write(self._done)
        else:
            with suppress(OSError):
                self._file.remove()

    def close(self) -> None:
        """Take everything back and close the netlink socket."""
        try:
            self.withdraw()
        finally:
            self._net.__exit__()

    def _make(self, step: Step) -> None:
        match step:
            case Undo(change):
                self._take_back(change)
            case CreateInterface() | SetWireGuard():
                raise AssertionError(f"{step} is none of a gateway's")
            case _:
                self._net.carry_out(step)

    def _take_back(self, change: Recorded) -> None:
        """Undo a change, or leave it to another interface that has set the same."""
        if isinstance(change, SetSysctl):
            others = self._hand_over(change)
            if change.old == change.value or still_needed(change, others):
                return
        self._net.take_back(change)

    def _forget(self, change: Recorded) -> None:
        self._done = tuple(each for each in self._done if each != change)

    # --- other nodes on this host ---

    def _records(self) -> Iterator[tuple[UndoFile, Record]]:
        """Yield the records of other interfaces that stand, of nodes and of `wgpy up`."""
        own = os.path.dirname(self._file.path)
        for folder in dict.fromkeys((own, undo_file.DIRECTORY)):
            with suppress(OSError):
                for file, record in UndoFile(self._interface, folder).others():
                    name = os.path.basename(file.path).removesuffix(".json")
                    here = record.namespace == _namespace()
                    if here and record.index and self._net.index(name) == record.index:
                        yield file, record

    def _hand_over(self, change: SetSysctl) -> list[Recorded]:
        """Tell others what they must restore in our place; return what they have set."""
        others: list[Recorded] = []
        for file, record in self._records():
            done = hand_over((change,), record.done)
            if done != record.done:
                with suppress(OSError):
                    file.write(replace(record, done=done))
            others += done
        return others

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from passing on settings meanwhile, and see what they have passed on."""
        try:
            lock = os.open(os.path.dirname(self._file.path), os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._reread()
            yield
        finally:
            os.close(lock)

    # --- the record ---

    def _reread(self) -> None:
        """Take what is on record: another that ended may have left its settings to us."""
        with suppress(ConfigError):
            record = self._file.read()
            if self._writable and record is not None and record.namespace == _namespace():
                self._done = record.done

    def _write(self, done: tuple[Recorded, ...]) -> None:
        self._done = done
        index = self._net.index(self._interface) or 0
        try:
            self._file.write(Record("", _namespace(), complete=True, index=index, done=done))
        except OSError as error:
            if self._writable:
                why = f"{self._file.path}: {error.strerror}"
                self._say(f"{why}; a node that is killed leaves its routes behind")
            self._writable = False


class GatewayThread:
    """A gateway whose calls wait in a thread of its own, one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gateway")
        self._gateway: Gateway | None = None

    async def start(
        self, interface: str, table: str, say: Callable[[str], None], directory: str = DIRECTORY
    ) -> None:
        """Open the gateway; `say` is called in the thread.

        Raises:
            ConfigError: as `Gateway`.
        """

        def opened() -> Gateway:
            return Gateway(interface, table, say, directory=directory)

        self._gateway = await self._run(opened)

    async def apply(
        self,
        plan: Callable[[Surroundings], Sequence[Step]],
        settings: Iterable[str] = (),
    ) -> tuple[str, ...]:
        """Make the steps of a plan of what is there.

        `plan` is called on the loop, and gives the node the mark of the plan before it returns
        the steps: without it the node's own packets would follow the default route.

        Returns:
            A line for each step that could not be made; they are tried again each time.
        """
        gateway, names = self._opened(), tuple(settings)
        steps = plan(await self._run(lambda: gateway.look(names)))
        return await self._run(lambda: gateway.carry_out(steps)) if steps else ()

    async def has_lost(self) -> bool:
        """Return whether a plan is due, without asking for all that it takes."""
        return await self._run(self._opened().has_lost)

    async def close(self) -> None:
        """Take everything back."""
        if self._gateway is not None:
            await self._run(self._gateway.close)
            self._gateway = None
        self._pool.shutdown(wait=False)

    def _opened(self) -> Gateway:
        assert self._gateway is not None, "start comes first"
        return self._gateway

    async def _run(self, act: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, act)


def _is_replaced(change: Recorded, added: Sequence[Recorded]) -> bool:
    if isinstance(change, SetFirewall):
        tables = {(each.table, each.family) for each in added if isinstance(each, SetFirewall)}
        return (change.table, change.family) in tables
    return change in added


def _namespace() -> int:
    return os.stat(_NAMESPACE).st_ino


def _gateways() -> Iterator[bytes]:
    """Yield the gateways of the default routes of both families, of every table shown there."""
    for line in _lines(_ROUTES4):
        # Interface, destination, gateway, flags, references, use, metric, mask: see proc(5).
        words = line.split()
        if len(words) > 7 and words[1] == words[7] == "00000000":
            yield bytes.fromhex(words[2])[::-1] if _LITTLE else bytes.fromhex(words[2])
    for line in _lines(_ROUTES6):
        # Destination, its length, source, its length, next hop, and more.
        words = line.split()
        if len(words) > 5 and int(words[1], 16) == 0 and any(bytes.fromhex(words[4])):
            yield bytes.fromhex(words[4])


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().splitlines()
    except OSError:
        return []
