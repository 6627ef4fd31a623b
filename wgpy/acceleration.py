"""Bursts instead of packets: what makes a node fast, loaded once it is ready.

A node serves packet by packet from its first moment. A little later numpy is loaded, which
holds up all else, and the host is asked for super packets; then the compiled kernels are
swapped in, from the cache or from a child process that compiles them. Whatever is missing or
fails, the node goes on without it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Final

from wgpy.engine.device import Device
from wgpy.errors import UsageError
from wgpy.io.tun_linux import NO_OFFLOADS, TunLinux

if TYPE_CHECKING:
    from wgpy.kernels.compiler import Compiling, Unavailable
    from wgpy.kernels.lanes import Lanes

# What WGPY_OFF may name, separated by commas; `all` is everything.
SWITCHES: Final = ("tun", "uso", "gso", "gro", "jit")

# Seconds from the start, which whoever configures a node needs first; and from the interface's
# going up: the port is bound, and a first handshake is over.
DELAY: Final = 0.5
UP_DELAY: Final = 0.1


def switched_off(environ: Mapping[str, str]) -> frozenset[str]:
    """Return what the environment switches off.

    Raises:
        UsageError: there is no such part.
    """
    words = {word.strip().lower() for word in environ.get("WGPY_OFF", "").split(",")} - {""}
    unknown = words - {*SWITCHES, "all"}
    if unknown:
        parts = ", ".join(SWITCHES)
        raise UsageError(
            f"WGPY_OFF: no part is called {min(unknown)}; there are {parts} and all"
        )
    return frozenset(SWITCHES) if "all" in words else frozenset(words)


class Acceleration:
    """The batch kernels of one device; `note` is told in a line what is in use."""

    def __init__(
        self, device: Device, tun: TunLinux, off: frozenset[str], note: Callable[[str], None]
    ) -> None:
        self.in_use = "packet by packet"
        self._device = device
        self._tun = tun
        self._off = off
        self._note = note
        self._offloads = NO_OFFLOADS
        self._begin: asyncio.Handle | None = None
        self._begun = False
        self._wanted = True
        self._compiling: Compiling | None = None

    def start(self, *, up: bool) -> None:
        """Begin in a moment, unless it has begun; soon after the interface went up."""
        if not self._begun:
            if self._begin is not None:
                self._begin.cancel()
            delay = UP_DELAY if up else DELAY
            self._begin = asyncio.get_running_loop().call_later(delay, self._load)

    def close(self) -> None:
        """Stop what is under way."""
        if self._begin is not None:
            self._begin.cancel()
        self._wanted = False
        compiling, self._compiling = self._compiling, None
        if compiling is not None:
            asyncio.get_running_loop().remove_reader(compiling.fileno())
            compiling.close()

    def _load(self) -> None:
        # numpy takes a tenth of a second to load; packets do not wait for it.
        self._begun = True
        loop = asyncio.get_running_loop()
        Thread(target=self._import, args=(loop,), daemon=True).start()

    def _import(self, loop: asyncio.AbstractEventLoop) -> None:
        import_module("wgpy.kernels.bursts")
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._loaded)

    def _loaded(self) -> None:
        if not self._wanted:
            return
        from wgpy.kernels import compiler

        self._offloads = self._tun.offload(
            tcp="tun" not in self._off, udp="uso" not in self._off
        )
        if self._offloads.tcp:
            self._use(None)
            if "jit" not in self._off:
                self._take(compiler.load())

    def _take(self, outcome: "Lanes | Compiling | Unavailable | None") -> None:
        from wgpy.kernels.compiler import Compiling, Unavailable

        match outcome:
            case Compiling():
                self._compiling = outcome
                asyncio.get_running_loop().add_reader(outcome.fileno(), self._compiled)
            case Unavailable(reason):
                self._note(f"no compiled kernels: {reason}")
            case None:
                pass
            case lanes:
                self._use(lanes)

    def _compiled(self) -> None:
        compiling, self._compiling = self._compiling, None
        if compiling is not None:
            asyncio.get_running_loop().remove_reader(compiling.fileno())
            self._take(compiling.finish())

    def _use(self, lanes: "Lanes | None") -> None:
        from wgpy.kernels.bursts import BurstKernels

        kernels = BurstKernels(udp=self._offloads.udp, lanes=lanes)
        self._device.set_kernels(kernels)
        self.in_use = f"{kernels.name}, TSO{' and USO' if self._offloads.udp else ''}"
        self._note(f"kernels: {self.in_use}")
