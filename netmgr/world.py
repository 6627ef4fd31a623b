"""What surrounds a node: the LAN, names, addresses and routes of this host, the local API."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from netmgr import effects
from netmgr.engine.host import Host
from netmgr.engine.plan import FORWARDING, RoutesWanted, plan
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
from wgpy.hostmodel import Step
from wgpy.model import DeviceChange, Endpoint, InterfaceAddress, Prefix
from wgpy.node import Node
from wgpy.wire.text import mask

# Seconds between looks at the host: of kernel settings and firewalls nobody tells. A look
# takes 9 ms of a processor, so it is rare where there is nothing but the own address.
LOOK_INTERVAL: Final = 5.0
IDLE_LOOK_INTERVAL: Final = 60.0
_DEFAULT: Final = Prefix(bytes(4), 0)


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
        await self._routes.close()
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
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._gateway is not None:
            await self._gateway.close()
            self._gateway = None

    async def _run(self) -> None:
        assert self._gateway is not None, "start comes first"
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), self._pause)
            self._again.clear()
            try:
                faults = await self._gateway.apply(self._plan, FORWARDING.values())
            except OSError as error:
                faults = (f"routes of this host: {error.strerror}",)
            for fault in faults:
                self._tell(fault)

    @property
    def _pause(self) -> float:
        settings = self._owner.settings
        at_stake = self.through or settings.routes or settings.exit_node
        return LOOK_INTERVAL if at_stake else IDLE_LOOK_INTERVAL

    def _plan(self, around: Surroundings) -> Sequence[Step]:
        settings, node = self._owner.settings, self._owner.node
        offered = settings.routes + ((_DEFAULT,) if settings.exit_node else ())
        remotes = self._owner.host.mesh.context.remotes.values()
        used = {one.way.endpoint.host for one in remotes if isinstance(one.way, Direct)}
        planned = plan(
            RoutesWanted(
                node.name,
                tuple(mask(*address) for address in self._addresses),
                self._addresses,
                self.through,
                offered,
                tuple(sorted(used)),
                mtu=settings.mtu,
            ),
            around.state,
            around.gateways,
        )
        for refused in planned.refused:
            self._tell(f"route refused: {refused}")
        if node.status().fwmark != planned.mark:
            node.configure(DeviceChange(fwmark=planned.mark))
        return planned.steps

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            report.say(line)
