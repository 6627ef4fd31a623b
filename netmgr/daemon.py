"""The running program: one network until a signal ends it."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import uvloop

from netmgr.engine.plan import FORWARDING, RoutesWanted, plan
from netmgr.io import report
from netmgr.model import Settings
from netmgr.network import Network
from wgpy.engine.quick import nft_table
from wgpy.errors import ConfigError
from wgpy.hostmodel import HostState, InterfaceState
from wgpy.io import process
from wgpy.io.hostnet_linux import HostNet
from wgpy.io.settings_linux import sysctl
from wgpy.model import InterfaceAddress
from wgpy.wire.steps import describe
from wgpy.wire.text import format_address

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def run(
    settings: Settings, *, dry_run: bool, reload: Callable[[], Settings] | None = None
) -> int:
    """Run a node until it is told to end; return the exit code.

    Raises:
        ConfigError: what is missing or in the way, in one line.
    """
    if dry_run:
        print("\n".join(changes(settings, _look(settings.interface))))
        return 0
    _log(settings)
    process.expect_bursts()
    uvloop.run(_serve(settings, reload))
    return 0


def _look(interface: str) -> HostState:
    """Return what is there of routes, rules and settings, as far as it can be read."""
    try:
        with HostNet() as host:
            found = host.read(interface, nft_table(interface), (), None)
    except OSError:
        return HostState()
    known = {name: value for name in FORWARDING.values() if (value := sysctl(name)) is not None}
    return replace(found, sysctls={**found.sysctls, **known})


def changes(settings: Settings, present: HostState) -> list[str]:
    """Return what a node would do to this host, a line each."""
    subnet = settings.network.subnet
    lines = [
        f"create the interface {settings.interface} (TUN)",
        f"give it an address in {subnet} and one of IPv6, and set it up",
        f"listen on UDP port {settings.listen_port}",
    ]
    if settings.admin_port is not None:
        lines.append(f"listen on UDP port {settings.admin_port} as well")
    lines += [f"forward and masquerade to {prefix}" for prefix in settings.routes]
    if settings.exit_node:
        lines.append("forward and masquerade to anywhere")
    own = InterfaceAddress(settings.address, subnet.length)
    made = InterfaceState(None, up=True, mtu=settings.mtu or 0, addresses=frozenset({own}))
    present = replace(present, interface=made)
    wanted = RoutesWanted(
        settings.interface,
        (subnet,),
        (own,),
        offered=settings.offered,
    )
    began = plan(wanted, present)
    lines += [describe(step) for step in began.steps]
    for prefix in dict.fromkeys(prefix for prefix, _ in settings.via):
        names = " or ".join(name for each, name in settings.via if each == prefix)
        then = plan(replace(wanted, through=(prefix,)), present)
        lines += [
            f"once {prefix} goes through {names}: " + describe(step)
            for step in then.steps
            if step not in began.steps
        ]
        lines += [f"route refused: {refused}" for refused in then.refused]
    return lines


def _log(settings: Settings) -> None:
    path = f"{settings.name}.log" if settings.log_file else None
    try:
        report.configure(settings.verbosity, path, as_json=settings.log_json)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


async def _serve(settings: Settings, reload: Callable[[], Settings] | None) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in _ENDING:
        loop.add_signal_handler(number, ended.set)

    def reread() -> Settings:
        if reload is None:
            raise ConfigError("this node has no files to reload")
        fresh = reload()
        network.refuse(fresh)
        _log(fresh)
        return fresh

    network = Network(settings, reload=reread)  # it may be asked to reload while it starts
    async with network:

        def hang_up() -> None:
            try:
                report.tell(network.reload())
            except ConfigError as error:
                report.say(f"not reloaded: {error}")

        loop.add_signal_handler(signal.SIGHUP, hang_up)
        report.announce(begun(settings, network.node.name))
        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(_end_with(network, ended))
            await ended.wait()
            gone.cancel()
    report.announce(f"{settings.name} has ended")


def begun(settings: Settings, interface: str) -> str:
    """Return the line with which the log of a node begins."""
    address, count = format_address(settings.address), len(settings.seeds)
    return (
        f"{settings.name} is up on {interface}, {address}, UDP port {settings.listen_port}, "
        f"{count} static peer{'' if count == 1 else 's'}"
    )


async def _end_with(network: Network, ended: asyncio.Event) -> None:
    await network.wait_gone()
    ended.set()
