"""What surrounds a node: the LAN, names, addresses and routes of this host, the local API."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Final, Protocol

from netmgr import effects
from netmgr.engine.host import Host
from netmgr.engine.plan import FORWARDING, Quarrels, RoutesWanted, plan
from netmgr.engine.remote import Direct
from netmgr.io import report
from netmgr.io.admin_port import AdminPort
from netmgr.io.control import ControlServer, serve
from netmgr.io.gateway import GatewayThread, Surroundings
from netmgr.io.interfaces import InterfaceWatch, interfaces
from netmgr.io.lan import LanPort
from netmgr.io.names import Resolver
from netmgr.model import HostPort, Settings
from wgpy.engine import quick
from wgpy.errors import ConfigError
from wgpy.hostmodel import HostState, Step
from wgpy.io import clock
from wgpy.model import DeviceChange, Endpoint, InterfaceAddress, Prefix
from wgpy.node import Node
from wgpy.wire.text import mask

# Seconds between looks at what no notification tells of: the firewall, kernel settings. Every
# sixth one is at all else as well, which takes more than twice the processor time.
_LOOK_INTERVAL: Final = 5.0
_LOOKS_AT_ALL: Final = 6


class Owner(Protocol):
    """The network that this is the world of."""

    settings: Settings

    @property
    def host(self) -> Host:
        """The engine."""

    @property
    def node(self) -> Node:
        """The WireGuard node."""

    def act(self, function: Callable[[float], None]) -> None:
        """Call the engine with the time, and carry out what follows."""

    def answer(self, verb: str, arguments: dict[str, str]) -> object:
        """Answer a request of the local API."""


class World:
    """Carries out what the engine wants of the world, and tells it what happens there."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._lan = LanPort(self._heard_on_lan)
        self._resolver = Resolver(self._resolved)
        self._control: ControlServer | None = None
        self._watch: InterfaceWatch | None = None
        self._admin: AdminPort | None = None
        self._routes = _Routes(owner)

    async def start(self, addresses: Sequence[InterfaceAddress]) -> None:
        """Begin to watch and to serve; `addresses` are the interface's.

        Raises:
            ConfigError: the admin port, the control socket or the record of routes cannot be
                had.
        """
        owner = self._owner
        port = owner.settings.admin_port
        if port is not None and port != owner.settings.listen_port:
            self._admin = AdminPort(port, self._heard_on_admin_port)
        with suppress(OSError):
            self._watch = InterfaceWatch(self.look_around)
        # The socket keeps another node off the interface, and its record of routes.
        self._control = await serve(owner.node.name, owner.answer)
        await self._routes.start(addresses)
        self.look_around()

    async def end(self) -> None:
        """Take back what was changed on this host, and stop."""
        try:
            await self._routes.close()
        finally:
            self.close()

    def close(self) -> None:
        """Stop; harmless if done before."""
        self._stop_listening()
        if self._control is not None:
            self._control.close()
        self._control = None

    def _stop_listening(self) -> None:
        """Hear no more: who has said goodbye meets nobody while its routes are taken back."""
        for part in (self._watch, self._admin, self._resolver, self._lan):
            if part is not None:
                part.close()
        self._watch = self._admin = None

    def look_around(self) -> None:
        """Learn the addresses and networks of this host anew."""
        owner = self._owner
        try:
            found = interfaces((owner.node.name,))
        except (OSError, EOFError):  # or our own was deleted
            return
        self._lan.refresh(found)
        port = owner.host.mesh.context.settings.listen_port
        addresses = [address for each in found for address in each.addresses]
        local = [Endpoint(address.address, port) for address in addresses]
        networks = [mask(*address) for address in addresses]
        owner.act(lambda now: owner.host.mesh.set_local(local, networks, now))
        self.apply_routes()

    def apply_routes(self) -> None:
        """Bring the routes of this host in step, soon."""
        self._routes.apply()

    def carry_out(self, effect: effects.Effect) -> None:
        """Do what the engine wants."""
        match effect:
            case effects.Resolve(host, port):
                self._resolver.ask(host, port)
            case effects.CallLan(payload):
                self._lan.send(payload)
            case effects.SendDatagram(payload, remote):
                if self._admin is not None:
                    self._admin.send(payload, remote)
            case effects.SetPrefixes(prefixes):
                self._routes.through = prefixes
                self.apply_routes()
            case _:
                pass

    def _heard_on_lan(self, payload: bytes, source: Endpoint) -> None:
        owner = self._owner
        owner.act(lambda now: owner.host.mesh.receive_lan(payload, source, now))

    def _heard_on_admin_port(self, payload: bytes, source: Endpoint) -> None:
        owner, local = self._owner, effects.ADMIN_PORT
        owner.act(lambda now: owner.host.mesh.receive_datagram(payload, source, local, now))

    def _resolved(self, place: HostPort, endpoints: tuple[Endpoint, ...]) -> None:
        owner = self._owner
        owner.act(lambda now: owner.host.mesh.resolved(*place, endpoints, now))


class _Routes:
    """Routes, rules and masquerading of this host, one change after the other."""

    def __init__(self, owner: Owner) -> None:
        self.through: tuple[Prefix, ...] = ()
        self._owner = owner
        self._gateway: GatewayThread | None = None
        self._addresses: tuple[InterfaceAddress, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()
        self._told: set[str] = set()
        self._quarrels = Quarrels()

    async def start(self, addresses: Sequence[InterfaceAddress]) -> None:
        """Take back what a node that was killed has left, and make what is wanted.

        Raises:
            ConfigError: the record of it cannot be read.
        """
        name = self._owner.node.name
        gateway = GatewayThread()
        try:
            await gateway.start(name, quick.nft_table(name), report.say)
        except OSError as error:
            report.say(f"routes of this host cannot be changed: {error.strerror}")
            return
        self._gateway = gateway
        self._addresses = tuple(addresses)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def apply(self) -> None:
        """Bring the host in step, soon."""
        self._again.set()

    async def close(self) -> None:
        """Take everything back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None
        if self._gateway is not None:
            await self._gateway.close()
            self._gateway = None

    async def _run(self) -> None:
        assert self._gateway is not None, "start comes first"
        while True:
            try:
                await self._until_due(self._gateway)
                faults = await self._gateway.apply(self._plan, FORWARDING.values())
            except EOFError:
                return  # the interface was deleted, and the node ends
            except ConfigError as error:
                faults = (str(error),)
            except Exception as error:  # noqa: BLE001 - what is wrong now may not be so soon
                why = error.strerror if isinstance(error, OSError) else repr(error)
                faults = (f"routes of this host: {why}",)
                asyncio.get_running_loop().call_later(_LOOK_INTERVAL, self.apply)
            for fault in faults:
                self._tell(fault)

    async def _until_due(self, gateway: GatewayThread) -> None:
        """Wait until something is told to have changed, or a look finds that it has."""
        for looks in count(1):
            try:
                async with asyncio.timeout(self._pause()):
                    await self._again.wait()
            except TimeoutError:
                if looks % _LOOKS_AT_ALL and not await gateway.has_lost():
                    continue
            self._again.clear()
            return

    def _pause(self) -> float | None:
        """Return the seconds until the next look; None if changes are told anyway."""
        return _LOOK_INTERVAL if self.through or self._owner.settings.offered else None

    def _plan(self, around: Surroundings) -> Sequence[Step]:
        node = self._owner.node
        remotes = self._owner.host.mesh.context.remotes.values()
        used = {one.way.endpoint.host for one in remotes if isinstance(one.way, Direct)}
        planned = plan(
            RoutesWanted(
                node.name,
                tuple(mask(*address) for address in self._addresses),
                self._addresses,
                self.through,
                self._owner.settings.offered,
                tuple(sorted(used)),
                mtu=self._owner.settings.mtu,
            ),
            around.state,
            around.gateways,
        )
        for refused in planned.refused:
            self._tell(f"route refused: {refused}")
        if node.status().fwmark != planned.mark:
            node.configure(DeviceChange(fwmark=planned.mark))
        self._tell_if_down(around.state)
        steps, left = self._quarrels.settle(planned.steps, around.state, clock.now())
        for line in left:
            self._tell(line)
        return steps

    def _tell_if_down(self, state: HostState) -> None:
        """Say so once each time that somebody has set the interface down; it stays so."""
        name = self._owner.node.name
        line = f"{name} is down, by somebody: no traffic until `ip link set {name} up`"
        if state.interface is not None and not state.interface.up:
            self._tell(line)
        else:
            self._told.discard(line)

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            report.say(line)
