"""Drive an engine with real ports and a real clock; all event loop code of the data path.

Everything is a descriptor with a callback: sockets, the interface, one alarm on the clock that
runs on in suspend. A wake-up handles a bounded number of packets, so nothing starves.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from wgpy.io.clock import Alarm
from wgpy.io.ports import READS, TunPort, UdpPort
from wgpy.model import Burst, Deadline, TunBurst

# Of a port that was silent for so many seconds the first read is answered before another is
# tried: what comes alone, a ping or a keystroke, does not wait for nothing.
QUIET: Final = 0.001


class Engine(Protocol):
    """A state machine with no world of its own.

    Feed it (`receive_*`, `handle_deadline`), then drain it (`take_*`) and ask when to come back
    (`next_deadline`). Calls that take `now` never see it decrease.
    """

    def receive_bursts(self, bursts: Sequence[Burst], now: float) -> None:
        """Take what came from the network; bad input is counted, never raised."""

    def receive_packets(self, packets: Sequence[TunBurst], now: float) -> None:
        """Take what the host wants sent."""

    def handle_deadline(self, now: float) -> None:
        """Act on every deadline that is due at `now`; the next one is later than `now`."""

    def next_deadline(self) -> Deadline | None:
        """Return when to call `handle_deadline`, or None."""

    def take_bursts(self) -> list[Burst]:
        """Return and forget what is to be sent to the network."""

    def take_packets(self) -> list[TunBurst]:
        """Return and forget what is to be handed to the host."""


class Driver:
    """Joins one engine to its UDP port and TUN port on the running loop.

    `after_step` is called after each drain; `tun_gone` once, when the interface was deleted.
    While UDP cannot take more, the TUN is read on: the UDP port keeps a little and drops the
    oldest, where the host's queue would keep megabytes, and seconds.
    """

    def __init__(
        self,
        engine: Engine,
        udp: UdpPort,
        tun: TunPort,
        clock: Callable[[], float],
        after_step: Callable[[], None],
        tun_gone: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._udp = udp
        self._tun = tun
        self._clock = clock
        self._after_step = after_step
        self._tun_gone = tun_gone
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm()
        self._armed: float | None = None
        self._now = clock()
        self._udp_read_at = self._tun_read_at = float("-inf")
        self._readers: tuple[int, ...] = ()
        self._blocked: tuple[int, ...] = ()

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self._loop.add_reader(self._alarm.fileno(), self._alarm_rang)
        self._loop.add_reader(self._tun.fileno(), self._tun_readable)
        self.rebound()
        self.settle()

    def stop(self) -> None:
        """Stop serving; the ports stay open."""
        self._loop.remove_reader(self._alarm.fileno())
        self.unbinding()
        self._loop.remove_reader(self._tun.fileno())
        self._alarm.close()

    def unbinding(self) -> None:
        """Let go of the UDP descriptors: they are about to be closed or replaced."""
        for fileno in self._readers:
            self._loop.remove_reader(fileno)
        for fileno in self._blocked:
            self._loop.remove_writer(fileno)
        self._readers = self._blocked = ()

    def rebound(self) -> None:
        """Serve the UDP port's descriptors as they are now."""
        self._readers = self._udp.filenos()
        for fileno in self._readers:
            self._loop.add_reader(fileno, self._udp_readable, fileno)
        self._watch_blocked()

    def advance(self, at_least: float = 0.0) -> float:
        """Return `now`: the clock, but never less than before or than a deadline that rang."""
        self._now = max(self._now, self._clock(), at_least)
        return self._now

    def settle(self) -> None:
        """Drain the engine and arm the alarm; call it after every change of the engine."""
        bursts, packets = self._engine.take_bursts(), self._engine.take_packets()
        if bursts:
            self._udp.send(bursts)
            self._watch_blocked()
        if packets:
            self._tun.send(packets)
        self._after_step()
        deadline = self._engine.next_deadline()
        # An alarm that rings too early costs less than setting it anew for each packet.
        if deadline is not None and (self._armed is None or deadline.at < self._armed):
            self._armed = deadline.at
            self._alarm.set(deadline.at)

    def _udp_readable(self, fileno: int) -> None:
        now = self.advance()
        quiet, self._udp_read_at = now - self._udp_read_at > QUIET, now
        bursts = self._udp.receive(fileno, 1 if quiet else READS)
        if bursts:
            self._engine.receive_bursts(bursts, now)
            self.settle()

    def _tun_readable(self) -> None:
        now = self.advance()
        quiet, self._tun_read_at = now - self._tun_read_at > QUIET, now
        try:
            packets = self._tun.receive(1 if quiet else READS)
        except EOFError:
            self._loop.remove_reader(self._tun.fileno())
            self._tun_gone()
            return
        if packets:
            self._engine.receive_packets(packets, now)
            self.settle()

    def _alarm_rang(self) -> None:
        if not self._alarm.clear():
            return  # it rang, and was set anew before the loop came to tell of it
        at, self._armed = self._armed, None
        deadline = self._engine.next_deadline()
        try:
            if at is not None and deadline is not None and deadline.at <= at:
                self._engine.handle_deadline(self.advance(at))
        finally:  # whatever happened, the next deadline has to be heard
            self.settle()

    def _udp_writable(self, fileno: int) -> None:
        self._udp.flush(fileno)
        self._watch_blocked()

    def _watch_blocked(self) -> None:
        blocked = self._udp.blocked()
        if blocked == self._blocked:
            return
        for fileno in set(self._blocked) - set(blocked):
            self._loop.remove_writer(fileno)
        for fileno in set(blocked) - set(self._blocked):
            self._loop.add_writer(fileno, self._udp_writable, fileno)
        self._blocked = blocked
