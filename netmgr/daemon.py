"""The running program: one network until a signal ends it."""

import asyncio
import signal
from collections.abc import Callable
from typing import Final

import uvloop

from netmgr.io import report
from netmgr.model import Settings
from netmgr.network import Network
from wgpy.errors import ConfigError
from wgpy.io import process

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


def run(
    settings: Settings, *, dry_run: bool, reload: Callable[[], Settings] | None = None
) -> int:
    """Run a node until it is told to end; return the exit code.

    Raises:
        ConfigError: what is missing or in the way, in one line.
    """
    if dry_run:
        print("\n".join(changes(settings)))
        return 0
    _log(settings)
    process.expect_bursts()
    uvloop.run(_serve(settings, reload))
    return 0


def changes(settings: Settings) -> list[str]:
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

    async with Network(settings, reload=reread) as network:

        def hang_up() -> None:
            try:
                report.tell(network.reload())
            except ConfigError as error:
                report.say(f"not reloaded: {error}")

        loop.add_signal_handler(signal.SIGHUP, hang_up)
        report.tell(f"{settings.name} is up on {network.node.name}")
        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(_end_with(network, ended))
            await ended.wait()
            gone.cancel()


async def _end_with(network: Network, ended: asyncio.Event) -> None:
    await network.wait_gone()
    ended.set()
