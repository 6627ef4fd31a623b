"""One interface on this host: engine, ports, driver and UAPI put together.

    async with wgpy.Node("wg0", private_key=..., peers=[...]) as node:
        node.set_peer(...)
        async for event in node.events(): ...

A node needs CAP_NET_ADMIN and /dev/net/tun, and leaves nothing behind. Several may run in one
process. Its sockets stay in the network namespace it was started in; the interface may move:
two nodes that are to ping each other need one namespace each.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from wgpy.checks import (
    as_datagrams,
    as_device_change,
    as_endpoint,
    as_flag,
    as_inner,
    as_interface_address,
    as_list,
    as_local,
    as_mtu,
    as_namespace,
    as_peer_change,
    as_prefix,
    as_public_key,
    as_secret,
    as_text,
)
from wgpy.engine.device import Device
from wgpy.engine.session import PAPER_LIMITS, Limits
from wgpy.errors import ConfigError
from wgpy.events import Event
from wgpy.hostmodel import AddAddress, SetUp
from wgpy.io import clock, namespaces, netlink
from wgpy.io.hostnet_linux import HostNet
from wgpy.io.tun_linux import DEFAULT_MTU, TunLinux, check_name
from wgpy.io.uapi_socket import UapiListener, UapiServer, bind
from wgpy.model import (
    AllowedIPChange,
    Burst,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    InterfaceAddress,
    Local,
    PeerChange,
    PeerStatus,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.news import News
from wgpy.serving import Managed, Serving

T = TypeVar("T")


class Node:
    """A WireGuard interface, from `async with` to its end.

    Args:
        name: the interface to create, at most 15 characters; `wg%d` lets the kernel number it.
        private_key: the identity; without one the node is silent.
        listen_port: the UDP port, 0 for one of the kernel's choice.
        fwmark: the mark of outgoing datagrams (SO_MARK), 0 for none.
        peers: who may talk to us, see `wgpy.peer`.
        addresses: of the interface, `ADDRESS/LENGTH` each; if any, it is set up too. Without,
            that is left to the caller: a node serves while its interface is up.
        mtu: of the interface, in bytes.
        tun: an interface opened already (WG_TUN_FD), instead of creating one.
        limits: when sessions are renewed and end; other than the paper's only for tests.
        embedded: report what is not WireGuard's as `DatagramReceived` and `InnerReceived`, see
            `send_datagram` and `send_inner`, instead of dropping it.
        uapi: serve the socket that makes it an interface for `wg` and `wgpy show`; who removes
            the socket asks the node to end, as who deletes the interface does.
        forward: send what a peer has for another peer on to that one in process, as a router
            would, instead of handing it to the host.
        manage: makes the engine that is driven in place of the device, around it; implies
            `embedded`. From outside its calls it is used through `act`.
        on_network: called when routes changed or an address of the host went, maybe at once.
        namespace: the network namespace (`ip netns`) to move the interface into; its UDP
            sockets stay where the node was started. Takes CAP_SYS_ADMIN.
    """

    def __init__(  # noqa: PLR0913 - the words of wg(8), all by name
        self,
        name: str = "wg%d",
        *,
        private_key: Secret | str | None = None,
        listen_port: int = 0,
        fwmark: int = 0,
        peers: Iterable[PeerChange] = (),
        addresses: Iterable[InterfaceAddress | str] = (),
        mtu: int = DEFAULT_MTU,
        tun: TunLinux | None = None,
        limits: Limits = PAPER_LIMITS,
        embedded: bool = False,
        uapi: bool = False,
        forward: bool = False,
        manage: Callable[[Device], Managed] | None = None,
        on_network: Callable[[], None] | None = None,
        namespace: str | None = None,
    ) -> None:
        self._asked_name = as_text("the interface name", name)
        check_name(name)
        identity = None if private_key is None else as_secret(private_key)
        given_peers = tuple(as_peer_change(each) for each in as_list("peers", "peers", peers))
        asked = DeviceChange(identity, listen_port, fwmark, peers=given_peers)
        self._initial = as_device_change(asked)
        self._addresses = [
            as_interface_address(each) for each in as_list("addresses", "prefixes", addresses)
        ]
        self._mtu = as_mtu(mtu)
        self._given_tun = tun
        embedded = embedded or manage is not None
        self._device = Device(
            *(clock.entropy, clock.wall_offset(), limits), embedded=embedded, forward=forward
        )
        managed = None if manage is None else manage(self._device)
        self._serve = partial(Serving, managed=managed, on_network=on_network)
        self._news: News[Event] = News()
        self._gone = asyncio.Event()
        self._running: Serving | None = None
        self._uapi = uapi
        self._namespace = None if namespace is None else as_namespace(namespace)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Create the interface and begin to serve it.

        Raises:
            ConfigError: what is missing or in the way, in one line.
        """
        tun = self._given_tun or TunLinux.create(self._asked_name, self._mtu, header=True)
        try:
            self._running = self._serve(self._device, tun, self._news.tell, self._end)
        except BaseException:
            tun.close()
            raise
        async with AsyncExitStack() as opening:
            opening.callback(self._close)
            self._running.start()
            self._running.configure(self._initial)
            await self._dress()
            if self._uapi:
                await self._open_uapi(opening)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the interface and close all sockets."""
        await self._open.aclose()

    @property
    def name(self) -> str:
        """The name of the interface at this moment."""
        return self._serving.tun.name()

    @property
    def mtu(self) -> int:
        """The MTU the interface has, in bytes, as last reported by the kernel."""
        return self._serving.mtu

    async def wait_gone(self) -> None:
        """Wait until the interface was deleted, by whomever; or its socket, with `uapi`."""
        await self._gone.wait()

    # --- configuration ---

    def configure(self, change: DeviceChange) -> None:
        """Apply a change as a whole, as `wg set` does.

        Raises:
            ConfigError: it cannot be (a port in use, say); nothing is changed.
        """
        self._serving.configure(as_device_change(change))

    def set_peer(self, peer: PeerChange) -> None:
        """Add a peer or change what is given of it; see `wgpy.peer`.

        Raises:
            ConfigError: it is no such change; nothing is changed.
        """
        self.configure(DeviceChange(peers=(peer,)))

    def remove_peer(self, public_key: PublicKey | str) -> None:
        """Remove a peer and its prefixes; unknown ones are ignored.

        Raises:
            ConfigError: it is no public key.
        """
        self.set_peer(PeerChange(as_public_key(public_key), remove=True))

    def set_endpoint(self, public_key: PublicKey | str, endpoint: Endpoint | str) -> None:
        """Tell where a peer is; ignored if it is no peer.

        Raises:
            ConfigError: no public key, or no endpoint.
        """
        key, where = as_public_key(public_key), as_endpoint(endpoint)
        self.set_peer(PeerChange(key, update_only=True, endpoint=where))

    def set_allowed_ips(
        self, public_key: PublicKey | str, prefixes: Iterable[Prefix | str]
    ) -> None:
        """Replace the prefixes of a peer, moving them from others; ignored if it is no peer.

        Raises:
            ConfigError: no public key, or no list of prefixes.
        """
        wanted = as_list("prefixes", "prefixes", prefixes)
        self.set_peer(
            PeerChange(
                as_public_key(public_key),
                update_only=True,
                replace_allowed_ips=True,
                allowed_ips=tuple(AllowedIPChange(as_prefix(each)) for each in wanted),
            )
        )

    # --- what is neither WireGuard's nor the interface's ---

    def send_datagram(
        self,
        remote: Endpoint | str,
        payloads: Iterable[bytes],
        *,
        local: Local | None = None,
        dont_fragment: bool = False,
    ) -> None:
        """Send datagrams of the program's own from the node's UDP port, in the clear.

        The first byte of each is 0x80 or more; an embedded node reports such ones as
        `DatagramReceived`, whose `local` lets an answer leave from where it was asked. With
        `dont_fragment`, what is larger than the path's MTU is dropped: a probe. UDP promises
        nothing, and while the interface is down the node has no sockets to send from.

        Raises:
            ConfigError: no endpoint, or no datagrams that WireGuard leaves to others.
        """
        where, datagrams = as_endpoint(remote), as_datagrams(payloads)
        source = None if local is None else as_local(local)
        whole = as_flag("dont_fragment", dont_fragment)
        if datagrams:
            size = max(map(len, datagrams))
            self._serving.send_datagram(Burst([*datagrams], size, where, source, 0, whole))

    def send_inner(self, public_key: PublicKey | str, payloads: Iterable[bytes]) -> bool:
        """Send payloads of the program's own in the session of a peer; False if it is none.

        The first half byte of each is neither 4 nor 6: they are no IP packets. An embedded
        peer reports them as `InnerReceived`, maybe with up to 15 zero bytes behind them, the
        padding of WireGuard. Without a session they wait for one, as packets do. It is False
        while the interface is down, too.

        Raises:
            ConfigError: no public key, or no payloads that are not IP.
        """
        key, inner = as_public_key(public_key), as_inner(payloads)
        return self._serving.send_inner(key, inner)

    def act(self, function: Callable[[float], T]) -> T:
        """Call a function of the managed engine, or of the device in it, with `now`.

        What it wants done is done before this returns what the function returned: for commands,
        and for input that comes neither from the network nor from the host.
        """
        return self._serving.act(function)

    # --- what is ---

    def status(self) -> DeviceStatus:
        """Return the device and its peers as they are, with counters."""
        status = self._device.status()
        if self._running is None:
            return status
        drops = *status.drops, *self._running.drops
        return replace(status, data_path=self._running.data_path, drops=drops)

    def peer(self, public_key: PublicKey | str) -> PeerStatus | None:
        """Return one peer as it is, None if it is no peer.

        Raises:
            ConfigError: it is no public key.
        """
        key = as_public_key(public_key)
        found = [peer for peer in self.status().peers if peer.public_key == key]
        return found[0] if found else None

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens from now on until the node ends; slow readers lose the oldest."""
        async for event in self._news.read():
            yield event

    async def serve_uapi(self, listener: UapiListener) -> None:
        """Answer `wg` on a socket until it is removed or the task is cancelled."""
        server = UapiServer(
            listener, self.status, self._serving.configure, self._serving.reporter.debug
        )
        await server.run()

    # --- inside ---

    @property
    def _serving(self) -> Serving:
        if self._running is None:
            raise ConfigError("the node is not running: use it within `async with`")
        return self._running

    async def _dress(self) -> None:
        if self._addresses or self._namespace is not None:
            # A thread of its own: those of the loop may be in another network namespace.
            with ThreadPoolExecutor(1) as thread:
                words = self.name, self._addresses, self._namespace
                await asyncio.get_running_loop().run_in_executor(thread, _dress, *words)

    async def _open_uapi(self, opening: AsyncExitStack) -> None:
        listener = opening.enter_context(closing(bind(self.name)))
        tasks = await opening.enter_async_context(asyncio.TaskGroup())
        opening.callback(tasks.create_task(self._serve_until_removed(listener)).cancel)

    async def _serve_until_removed(self, listener: UapiListener) -> None:
        await self.serve_uapi(listener)
        self._end()

    def _end(self) -> None:
        self._gone.set()
        self._news.end()

    def _close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
        self._end()


def _dress(name: str, addresses: Sequence[InterfaceAddress], namespace: str | None) -> None:
    """Bring the interface to its place and give it its addresses."""
    if namespace is None:
        _address(name, addresses)
        return
    namespaces.move(name, namespace)
    try:
        with namespaces.inside(namespace):
            with suppress(OSError):  # the interface begins with IPv6 anew in each namespace
                netlink.generate_no_address(socket.if_nametoindex(name))
            _address(name, addresses)
    except OSError as error:
        raise ConfigError(
            f"namespace {namespace} cannot be entered ({error.strerror}): "
            "it takes CAP_SYS_ADMIN"
        ) from None


def _address(name: str, addresses: Sequence[InterfaceAddress]) -> None:
    """Give the interface its addresses and set it up, as a host's administrator would."""
    if addresses:
        with HostNet() as host:
            for address in addresses:
                host.carry_out(AddAddress(name, address))
            host.carry_out(SetUp(name))
