"""A network of this host: the node, and the world around it, put together.

    async with netmgr.Network(settings) as network:
        print(network.snapshot())
        async for event in network.events(): ...

Several may run in one process, each with an interface and a state directory of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack
from dataclasses import asdict, replace
from types import TracebackType
from typing import Final, Self

from netmgr import effects, reloading
from netmgr.engine.host import Host, Managed
from netmgr.engine.signing import Identity, NetworkKeys, address6
from netmgr.engine.trust import How, Pin
from netmgr.engine.views import snapshot
from netmgr.events import Event, SeedSilent
from netmgr.io import report
from netmgr.io.existing import take_over
from netmgr.io.interfaces import has_ipv6
from netmgr.io.store import SEQ_STEP, Store, default_directory
from netmgr.model import Settings, Snapshot
from netmgr.wire import saved
from netmgr.world import World
from wgpy.engine.device import Device
from wgpy.errors import ConfigError
from wgpy.io import clock
from wgpy.model import DeviceChange, InterfaceAddress, Prefix
from wgpy.news import News
from wgpy.node import Node

DEFAULT_MTU: Final = 1420
# Seconds after a change in which it is written, and between writes of what changes always.
SAVE_DELAY: Final = 1.0
SAVE_INTERVAL: Final = 300.0
# Where the clock is behind what handshakes were stamped with before, each is a tick later than
# the last: this is written more often, and so many seconds ahead.
_SAVE_BEHIND: Final = 30.0
_STAMPS_AHEAD: Final = 3.0
_V6_LENGTH: Final = 64
_LAST_PORT: Final = 65535


class Network:
    """One node of one network, from `async with` to its end.

    Args:
        settings: as `netmgr.load_settings` or `netmgr.settings` makes them.
        reload: returns the settings anew, for `reload` of this class and of the program
            wg_netmanager; None: there is none.

    Raises:
        ConfigError: these are no settings.
    """

    def __init__(
        self, settings: Settings, *, reload: Callable[[], Settings] | None = None
    ) -> None:
        if not isinstance(settings, Settings):
            kind = type(settings).__name__
            raise ConfigError(f"a network takes Settings, see netmgr.load_settings, not {kind}")
        self.settings = settings
        self._reload = reload
        self._open = ExitStack()
        self._seqs = _Seqs()
        self._world: World | None = None
        self._node: Node | None = None
        self._host: Host | None = None
        self._store: Store | None = None
        self._saving: asyncio.TimerHandle | None = None
        self._began_at = clock.now()
        self._news: News[Event] = News()

    async def __aenter__(self) -> Self:
        """Create the interface and join the network.

        Raises:
            ConfigError: what is missing or in the way, in one line.
        """
        if self.settings.existing:
            # A thread of its own: netlink there has a loop of its own.
            await asyncio.to_thread(take_over, self.settings.interface)
        try:
            await self._begin()
        except BaseException:
            if self._node is None and self._store is not None:
                self._store.unmake()
                self._store = None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say goodbye, save, and remove what was made."""
        self.act(lambda now: self.host.mesh.leave(now))
        self._save()
        with self._open:
            try:
                if self._world is not None:
                    await self._world.end()
            finally:
                self._world = None
                node, self._node = self._node, None
                if node is not None:
                    await node.__aexit__(kind, error, traceback)

    # --- what is asked of it ---

    @property
    def host(self) -> Host:
        """The engine.

        Raises:
            ConfigError: the network is not running.
        """
        if self._host is None:
            raise ConfigError("the network is not running: use it within `async with`")
        return self._host

    @property
    def node(self) -> Node:
        """The WireGuard node.

        Raises:
            ConfigError: the network is not running.
        """
        if self._node is None:
            raise ConfigError("the network is not running: use it within `async with`")
        return self._node

    def act(self, function: Callable[[float], None]) -> None:
        """Call the engine with the time, and carry out what follows."""

        def run(now: float) -> None:
            function(now)
            self.host.settle(now)

        self.node.act(run)

    def snapshot(self) -> Snapshot:
        """Return everything that is known at the moment."""
        try:
            name = self.node.name
        except EOFError:  # it was deleted
            name = self.settings.interface
        path, now = self.node.status().data_path, clock.now()
        uptime = now - self._began_at
        return snapshot(self.host.mesh, interface=name, uptime=uptime, data_path=path, now=now)

    def reload(self) -> str:
        """Read the files again and follow them; sessions stay.

        Returns what a person is told: what waits for the next start is named.

        Raises:
            ConfigError: the files are wrong, or what cannot change has changed.
        """
        if self._reload is None:
            raise ConfigError("this network has no files to reload")
        fresh = self._reload()
        self.refuse(fresh)
        if fresh.mtu is None and self.settings.mtu is not None:
            fresh = replace(fresh, mtu=DEFAULT_MTU)
        told, fresh = reloading.follow(self.settings, fresh)
        self.settings = fresh
        port = self.host.mesh.context.settings.listen_port  # it may have hopped
        followed = replace(fresh, listen_port=port)
        self.act(lambda now: self.host.mesh.set_settings(followed, now))
        if self._world is not None:
            self._world.apply_routes()
        return told

    def refuse(self, fresh: Settings) -> None:
        """Refuse settings that `reload` could not follow.

        Raises:
            ConfigError: what cannot change has changed, or the name is another node's.
        """
        reloading.refuse(self.settings, fresh, has_ipv6=has_ipv6())
        if fresh.name != self.settings.name:
            reloading.refuse_name(self.host.mesh.context, fresh.name)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens until `stop`, the interface was deleted, or the network ends.

        A slow reader loses the oldest.
        """
        gone = self.node.wait_gone()
        watching = asyncio.get_running_loop().create_task(self._stop_after(gone))
        try:
            async for event in self._news.read():
                yield event
        finally:
            watching.cancel()

    def stop(self) -> None:
        """End `events` for all who read; for the handler of a signal, say."""
        self._news.end()

    async def _stop_after(self, end: Coroutine[None, None, None]) -> None:
        await end
        self.stop()

    async def wait_gone(self) -> None:
        """Wait until the interface was deleted, by whomever."""
        await self.node.wait_gone()

    def answer(self, verb: str, arguments: dict[str, str]) -> object:
        """Answer a request of the local API.

        Raises:
            ConfigError: no such request, or it cannot be.
        """
        if verb == "snapshot":
            return asdict(self.snapshot())
        return {"message": self._told(verb, arguments)}

    def _told(self, verb: str, arguments: dict[str, str]) -> str:
        mesh, name = self.host.mesh, arguments.get("name", "")
        words = arguments.get("fingerprint", "")
        match verb:
            case "reload":
                return self.reload()
            case "pin":
                self.act(lambda now: mesh.pin(name, words, now))
                return f"{name} is {words} from now on"
            case "accept":
                self.act(lambda now: mesh.accept(name, words, now))
                return f"{name} is {words} from now on"
            case "forget":
                self.act(lambda now: mesh.forget(name, now))
                return f"{name} is forgotten"
            case _:
                raise ConfigError(f"no such request: {verb}")

    # --- inside ---

    async def _begin(self) -> None:
        with ExitStack() as opening:
            keys = NetworkKeys(self.settings.network.shared_key)
            where = self.settings.state or default_directory(keys.net_id, self.settings.address)
            self._store = opening.enter_context(Store(where, report.say))
            self._seqs.store = self._store
            identity = Identity(self._store.identity)
            addresses = [InterfaceAddress(self.settings.address, self._prefix.length)]
            if has_ipv6():
                reloading.refuse_mtu(self.settings)
                own = address6(keys.net_id, identity.public)
                addresses.append(InterfaceAddress(own, _V6_LENGTH))
            node = Node(
                self.settings.interface,
                listen_port=self.settings.listen_port,
                addresses=addresses,
                mtu=self.settings.mtu or DEFAULT_MTU,
                manage=lambda device: self._make_host(device, identity),
                on_network=self._network_changed,
            )
            await node.__aenter__()
            self._node = node
            opening.callback(self._close)
            self._world = World(self)
            opening.callback(self._world.close)
            await self._world.start(addresses)
            self._open = opening.pop_all()
        self._restore()
        # Before the first handshake: a life that is killed at once has stamps of its own, too.
        self._store.save(replace(self._store.saved, wall=self._state().wall))
        self._schedule_save(SAVE_DELAY)

    @property
    def _prefix(self) -> Prefix:
        return self.settings.network.subnet

    def _make_host(self, device: Device, identity: Identity) -> "Managed":
        assert self._store is not None, "opened before"
        device.stamp_after(self._store.saved.wall)
        self._host = Host(
            device,
            self.settings,
            identity,
            entropy=clock.entropy,
            next_seq=self._seqs.take,
            now=clock.now(),
        )
        return Managed(self._host, self._carry_out)

    def _restore(self) -> None:
        assert self._store is not None, "within `async with`"
        known = self._store.saved
        pins = [Pin(one.name, one.address, one.identity, How(one.how)) for one in known.pins]
        blobs, places = known.objects, known.places
        self.act(lambda now: self.host.mesh.restore(pins, blobs, places, now))

    def _carry_out(self) -> None:
        """Do what the engine wants of the world, after each step."""
        happened = self.host.mesh.take_events()
        if happened:
            report.report(happened)
            if self.settings.hopping and any(isinstance(e, SeedSilent) for e in happened):
                asyncio.get_running_loop().call_soon(self._hop)
            self._news.tell(happened)
        for effect in self.host.take_effects():
            if isinstance(effect, effects.Save):
                self._schedule_save(SAVE_DELAY)
            elif self._world is not None:
                self._world.carry_out(effect)

    def _hop(self) -> None:
        """Move on to the next UDP port: a router may not like this one."""
        context = self.host.mesh.context
        port = context.settings.listen_port % _LAST_PORT + 1
        try:
            self.node.configure(DeviceChange(listen_port=port))
        except ConfigError as error:
            report.say(str(error))
            return
        report.tell(f"listening on UDP port {port} from now on")
        context.settings = replace(context.settings, listen_port=port)
        if self._world is not None:
            self._world.look_around()

    def _network_changed(self) -> None:
        if self._world is not None:
            self._world.look_around()

    def _schedule_save(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + delay
        if self._saving is not None:
            if self._saving.when() <= at:
                return
            self._saving.cancel()
        self._saving = loop.call_at(at, self._save_soon)

    def _save_soon(self) -> None:
        self._saving = None
        if self._store is not None and self._host is not None:
            self._store.save_soon(self._state())
            behind = clock.now() + clock.wall_offset() < self.host.device.stamped
            self._schedule_save(_SAVE_BEHIND if behind else SAVE_INTERVAL)

    def _save(self) -> None:
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        if self._store is not None and self._host is not None:
            self._store.save(self._state(ended=True))

    def _state(self, *, ended: bool = False) -> saved.Saved:
        """Return what the next run is to know; until the next save handshakes go on."""
        mesh = self.host.mesh
        pins = tuple(
            saved.Pin(pin.name, pin.address, pin.identity, pin.how.value)
            for pin in mesh.context.trust.lasting()
        )
        blobs = tuple(mesh.context.objects.blobs())
        at, stamped = clock.now() + clock.wall_offset(), self.host.device.stamped
        if not ended:
            at, stamped = at + SAVE_INTERVAL, stamped + _STAMPS_AHEAD
        wall = int(max(at, stamped)) + 1
        return saved.Saved(0, pins, blobs, tuple(mesh.places()), wall)

    def _close(self) -> None:
        self._host = None
        self.stop()


class _Seqs:
    """Sequence numbers never used before, reserved on disk by the thousand."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self._next = self._end = 0

    def take(self, at_least: int) -> int:
        """Return the next number, not less than `at_least`."""
        assert self.store is not None, "the state directory is open"
        while self._next >= self._end or self._next < at_least:
            if self._next < self._end:
                self._next = min(self._end, at_least)
                continue
            step = max(SEQ_STEP, at_least - self._end)
            self._next = self.store.reserve_seq(step)
            self._end = self._next + step
        self._next += 1
        return self._next - 1
