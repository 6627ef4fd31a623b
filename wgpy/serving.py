"""A started node: engine, ports and driver joined, following the interface's life.

The interface goes up: the UDP port is bound and peers are greeted. It goes down: sessions are
forgotten and the port is closed. It is deleted: the node is gone. What netlink tells of
addresses and routes lets go of source addresses that no longer lead anywhere.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from errno import EADDRINUSE
from typing import Final, Protocol, TypeVar

from wgpy.acceleration import Acceleration, switched_off
from wgpy.driver import Driver, Engine
from wgpy.engine.device import Device
from wgpy.errors import ConfigError
from wgpy.events import Event
from wgpy.io import clock
from wgpy.io.links import (
    AddressGone,
    LinkEvent,
    LinkGone,
    LinkState,
    LinkWatch,
    OwnAddresses,
    RouteChanged,
    RouteMtus,
)
from wgpy.io.report import Reporter
from wgpy.io.tun_linux import TunLinux
from wgpy.io.udp_linux import UdpLinux
from wgpy.io.udp_sockets import Offloads, probe_port
from wgpy.model import Burst, DeviceChange, PublicKey

T = TypeVar("T")
# Seconds until the UDP port is tried again when it could not be bound.
REBIND_DELAY: Final = 5.0
# Seconds between looks at the interface while netlink does not tell of it.
PROBE_INTERVAL: Final = 1.0


class Managed(Engine, Protocol):
    """An engine around a `Device`: it gets what the device would, and hands out what it has.

    The device is also configured and set up from outside, between calls. What it reports then
    is still there at the next `take_bursts`, with which every drain begins: a managed engine
    takes the events of its device there, as after each of its own calls.
    """

    def take_events(self) -> list[Event]:
        """Return and forget what happened; the last of a drain."""


class Serving:
    """Serves from `start` to `close`; `deliver` gets the events.

    `gone` is called when the interface was deleted, maybe more than once. The TUN is ours from
    construction on. `mtu` and `up` are the interface's, as last reported. With `managed` that
    is driven, instead of the device in it. `on_network` is called when routes changed or an
    address of the host went.

    Raises:
        ConfigError: rtnetlink cannot be had.
    """

    def __init__(
        self,
        device: Device,
        tun: TunLinux,
        deliver: Callable[[Sequence[Event]], None],
        gone: Callable[[], None],
        *,
        managed: Managed | None = None,
        on_network: Callable[[], None] | None = None,
    ) -> None:
        self.tun = tun
        self.reporter = Reporter(tun.name())
        self.mtu = 0
        self.up = False
        self._device = device
        self._engine: Managed = managed or device
        self._on_network = on_network
        self._deliver = deliver
        self._gone = gone
        self._acceleration = Acceleration(
            device, tun, switched_off(os.environ), self.reporter.debug
        )
        self._probing: asyncio.TimerHandle | None = None
        self._rebinding: asyncio.TimerHandle | None = None
        self._udp = UdpLinux(offloads=_udp_offloads(switched_off(os.environ)))
        self._udp.failed = self.reporter.cannot_send
        self._udp.source_lost = lambda local: device.source_lost(local.host)
        self._watch = _watch(tun, own_addresses=device.forwards)
        self._driver = Driver(
            self._engine, self._udp, tun, self._clock, self._after_step, self._gone
        )

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self._driver.start()
        self._acceleration.start(up=False)
        asyncio.get_running_loop().add_reader(self._watch.fileno(), self._link_changed)
        self._link_changed()

    @property
    def data_path(self) -> str:
        """What carries the packets, in words."""
        return ", ".join((self._acceleration.in_use, *self._udp.in_use()))

    @property
    def drops(self) -> tuple[tuple[str, int], ...]:
        """What the ports could not pass on: reasons and numbers."""
        return (*self._udp.counters.drops(), *self.tun.counters.drops())

    def close(self) -> None:
        """Stop serving, forget all sessions, close everything; the interface goes with it."""
        for later in (self._probing, self._rebinding):
            if later is not None:
                later.cancel()
        self._acceleration.close()
        self._device.set_up(self._driver.advance(), up=False)
        self._tell()
        asyncio.get_running_loop().remove_reader(self._watch.fileno())
        self._driver.stop()
        self._watch.close()
        self._udp.close()
        self.tun.close()

    def configure(self, change: DeviceChange) -> None:
        """Apply a change to ports and engine as a whole.

        Raises:
            ConfigError: the port or the mark cannot be had, or there are too many peers;
                nothing is changed.
        """
        self._device.check(change)
        port = self._device.listen_port if change.listen_port is None else change.listen_port
        mark = self._device.fwmark if change.fwmark is None else change.fwmark
        changes_port = change.listen_port is not None or change.fwmark is not None
        if self.up and changes_port:
            port = self._bind(port, mark)
        elif change.listen_port and not probe_port(change.listen_port):
            raise ConfigError(f"UDP port {change.listen_port} is in use", errno=EADDRINUSE)
        if (port, mark) != (self._device.listen_port, self._device.fwmark):
            self._device.source_lost(None)
        self._device.configure(change, self._driver.advance())
        self._device.listen_port = port
        self._driver.settle()

    def send_datagram(self, burst: Burst) -> None:
        """Send datagrams that are not WireGuard's, at once; as `Device.send_datagram`."""
        self._device.send_datagram(burst)
        self._driver.settle()

    def send_inner(self, public_key: PublicKey, payloads: Sequence[bytes]) -> bool:
        """Send payloads that are not IP, at once; as `Device.send_inner`."""
        sent = self._device.send_inner(public_key, payloads, self._driver.advance())
        self._driver.settle()
        return sent

    def act(self, function: Callable[[float], T]) -> T:
        """Call a function with `now`, then drain the engine; return what it returned."""
        try:
            return function(self._driver.advance())
        finally:
            self._driver.settle()

    # --- inside ---

    def _clock(self) -> float:
        self._device.set_wall_offset(clock.wall_offset())
        return clock.now()

    def _after_step(self) -> None:
        self._tell()
        # A step while down may be for a packet of the host: then it is up, and where nobody
        # reports that, the packets until the next look would be lost.
        if not self.up and self._watch.needs_probe:
            self._set_up(up=self.tun.is_up())

    def _tell(self) -> None:
        events = self._engine.take_events()
        if events:
            self.reporter.report(events)
            self._deliver(events)

    def _bind(self, port: int, mark: int) -> int:
        """Bind or rebind the UDP port; on failure the old sockets serve on."""
        self._driver.unbinding()
        try:
            return self._udp.bind(port, mark)
        finally:
            self._driver.rebound()

    def _link_changed(self) -> None:
        events = self._watch.receive()
        for event in events:
            self._follow(event)
        moved = any(isinstance(event, RouteChanged | AddressGone) for event in events)
        if self._on_network is not None and moved:
            self._on_network()
            self._driver.settle()
        if self._watch.needs_probe and self._probing is None:
            loop = asyncio.get_running_loop()
            self._probing = loop.call_later(PROBE_INTERVAL, self._probe)

    def _follow(self, event: LinkEvent) -> None:
        match event:
            case LinkState(up, mtu):
                self.mtu = mtu
                self._device.set_mtu(mtu)
                self.tun.fit(mtu)
                self._set_up(up=up)
            case LinkGone():
                self._gone()
            case AddressGone(host):
                self._device.source_lost(host)
            case RouteChanged():
                self._udp.routes_changed()
                self._device.source_lost(None)
            case RouteMtus(mtus):
                self._device.set_route_mtus(mtus)
            case OwnAddresses(addresses):
                self._device.set_own_addresses(addresses)

    def _set_up(self, *, up: bool) -> None:
        if up == self.up:
            return
        self.up = up
        if up:
            self._open()
            self._acceleration.start(up=True)
        else:
            if self._rebinding is not None:
                self._rebinding.cancel()
            self._driver.unbinding()
            self._udp.close()
        self._device.set_up(self._driver.advance(), up=up)
        self._driver.settle()

    def _open(self) -> None:
        """Bind the UDP port; try again later if it cannot be had now."""
        self._rebinding = None
        try:
            port = self._bind(self._device.listen_port, self._device.fwmark)
        except ConfigError as error:
            self.reporter.error(f"{error}; trying again every {REBIND_DELAY:.0f} s")
            loop = asyncio.get_running_loop()
            self._rebinding = loop.call_later(REBIND_DELAY, self._open)
        else:
            self._device.listen_port = port

    def _probe(self) -> None:
        self._probing = None
        self._set_up(up=self.tun.is_up())
        self._link_changed()


def _watch(tun: TunLinux, *, own_addresses: bool) -> LinkWatch:
    try:
        return LinkWatch(tun.fileno(), own_addresses=own_addresses)
    except OSError as error:
        raise ConfigError(
            f"rtnetlink cannot be had ({error.strerror}): "
            "RestrictAddressFamilies of a systemd unit must allow AF_NETLINK"
        ) from None


def _udp_offloads(off: frozenset[str]) -> Offloads:
    return Offloads(segment="gso" not in off, coalesce="gro" not in off)
