import asyncio
import os
import select
from collections.abc import Callable, Sequence

from wgpy.driver import Driver
from wgpy.io import clock
from wgpy.io.ports import READS
from wgpy.model import Burst, Deadline, Endpoint, TunBurst

HOUR = 3600.0
DEADLINE = 10.0


class Engine:
    """Wants to be woken soon; once it has received anything, in an hour."""

    def __init__(self) -> None:
        self.deadline: Deadline | None = Deadline(clock.now() + 0.02, "soon")
        self.rang: list[float] = []
        self.received: list[float] = []
        self.fails = False

    def receive_bursts(self, bursts: Sequence[Burst], now: float) -> None:
        self.received.append(now)
        self.deadline = Deadline(now + HOUR, "in an hour")

    def receive_packets(self, packets: Sequence[TunBurst], now: float) -> None:
        raise AssertionError("the host sends nothing")

    def handle_deadline(self, now: float) -> None:
        self.rang.append(now)
        self.deadline = Deadline(now + 0.02, "again") if len(self.rang) < 3 else None
        if self.fails:
            raise RuntimeError("a bug of the engine")

    def next_deadline(self) -> Deadline | None:
        return self.deadline

    def take_bursts(self) -> list[Burst]:
        return []

    def take_packets(self) -> list[TunBurst]:
        return []


class Port:
    """A port of either kind: a pipe, readable once something was written."""

    def __init__(self) -> None:
        self._end, self.other = os.pipe()
        os.set_blocking(self._end, False)

    def fileno(self) -> int:
        return self._end

    def filenos(self) -> tuple[int, ...]:
        return (self._end,)

    def blocked(self) -> tuple[int, ...]:
        return ()

    def receive(self, fileno: int, reads: int = 0) -> list[Burst]:
        os.read(self._end, 1)
        return [Burst(b"", 1, Endpoint(bytes(4), 1))]

    def close(self) -> None:
        os.close(self._end)
        os.close(self.other)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 (nothing tells of it)
            await asyncio.sleep(0.01)


async def run(
    engine: Engine, end: Callable[[], bool], *, arrival_before_alarm: bool = False
) -> Driver:
    udp, tun = Port(), Port()
    driver = Driver(engine, udp, tun, clock.now, lambda: None, lambda: None)  # type: ignore[arg-type]
    driver.start()
    if arrival_before_alarm:
        # Both are ready when the loop looks, in the order in which they became so.
        os.write(udp.other, b"x")
        assert engine.deadline is not None
        while clock.now() <= engine.deadline.at:
            select.select([], [], [], 0.01)
    await until(end)
    driver.stop()
    udp.close()
    tun.close()
    return driver


def test_an_alarm_overtaken_by_an_arrival_moves_no_clock():
    """Else the time of the engine would jump to the deadline that the arrival has set."""
    engine = Engine()
    driver = asyncio.run(run(engine, lambda: bool(engine.received), arrival_before_alarm=True))
    assert len(engine.received) == 1
    assert engine.rang == []
    assert driver.advance() < clock.now() + 1


def test_every_deadline_is_heard_and_not_before_its_time():
    engine = Engine()
    assert engine.deadline is not None
    first = engine.deadline.at
    asyncio.run(run(engine, lambda: len(engine.rang) == 3))
    assert len(engine.rang) == 3
    assert engine.rang[0] >= first


def test_an_engine_that_fails_is_woken_again():
    engine = Engine()
    engine.fails = True

    async def quietly() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        await run(engine, lambda: len(engine.rang) == 3)

    asyncio.run(quietly())
    assert len(engine.rang) == 3


class FullPort(Port):
    """A socket without room that keeps a datagram, until it has been flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed = False

    def filenos(self) -> tuple[int, ...]:
        return (self.other,)

    def blocked(self) -> tuple[int, ...]:
        return () if self.flushed else (self.other,)

    def flush(self, _fileno: int) -> None:
        self.flushed = True


def test_what_a_socket_kept_is_sent_though_a_rebind_failed_meanwhile():
    async def program() -> None:
        udp, tun = FullPort(), Port()
        driver = Driver(Engine(), udp, tun, clock.now, lambda: None, lambda: None)  # type: ignore[arg-type]
        driver.start()
        driver.unbinding()
        driver.rebound()
        await until(lambda: udp.flushed)
        driver.stop()
        udp.close()
        tun.close()

    asyncio.run(program())


def test_a_driver_stopped_while_udp_is_blocked_watches_nothing():
    """Else the next port that gets the number of a closed descriptor would not be heard."""

    async def program() -> list[bool]:
        udp, tun = FullPort(), Port()
        driver = Driver(Engine(), udp, tun, clock.now, lambda: None, lambda: None)  # type: ignore[arg-type]
        driver.start()
        driver.stop()
        loop = asyncio.get_running_loop()
        watched = [loop.remove_reader(tun.fileno()), loop.remove_writer(udp.other)]
        udp.close()
        tun.close()
        return watched

    assert asyncio.run(program()) == [False, False]


class CountingPort(Port):
    """Notes how many reads it was asked for, and with what there was to read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def receive(self, fileno: int, reads: int = 0) -> list[Burst]:
        self.asked.append(reads)
        return super().receive(fileno, reads)


def test_after_silence_the_first_is_answered_before_another_is_read():
    times = iter([0.0, 1.0, 1.0005, 1.001, 2.0])

    async def program() -> list[int]:
        engine = Engine()
        udp, tun = CountingPort(), Port()
        driver = Driver(engine, udp, tun, lambda: next(times), lambda: None, lambda: None)  # type: ignore[arg-type]
        driver.start()
        os.write(udp.other, b"abcd")
        await until(lambda: len(engine.received) == 4)
        driver.stop()
        udp.close()
        tun.close()
        return udp.asked

    assert asyncio.run(program()) == [1, READS, READS, 1]


def test_an_alarm_is_not_set_anew_for_a_later_deadline():
    engine = Engine()
    engine.deadline = Deadline(clock.now() + 0.05, "soon")
    first = engine.deadline.at
    steps: list[float] = []

    async def program() -> None:
        udp, tun = Port(), Port()
        driver = Driver(
            *(engine, udp, tun, clock.now),  # type: ignore[arg-type]
            lambda: steps.append(clock.now()),
            lambda: None,
        )
        driver.start()
        engine.deadline = Deadline(first + 0.05, "later")
        driver.settle()
        await until(lambda: bool(engine.rang))
        driver.stop()
        udp.close()
        tun.close()

    asyncio.run(program())
    assert engine.rang[0] >= first + 0.05, "the early ring was none of the engine's business"
    before = [at for at in steps if at < engine.rang[0]]
    assert len(before) == 3, "the start, the later deadline, the early ring"


class Reading(Port):
    """An interface whose packets are counted as they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def receive(self, fileno: int, reads: int = 0) -> list[Burst]:
        os.read(self._end, 1)
        self.reads += 1
        return []


class SlowPort(FullPort):
    """A socket that keeps a datagram until somebody lets it flush."""

    def __init__(self) -> None:
        super().__init__()
        self.room = False

    def flush(self, _fileno: int) -> None:
        self.flushed = self.room


def test_the_host_is_heard_while_the_socket_has_no_room():
    """Its own queue would keep packets for seconds; the socket's port drops them in time."""

    async def program() -> None:
        udp, tun = SlowPort(), Reading()
        driver = Driver(Engine(), udp, tun, clock.now, lambda: None, lambda: None)  # type: ignore[arg-type]
        driver.start()
        os.write(tun.other, b"xx")
        await until(lambda: tun.reads == 2)
        assert udp.blocked()
        udp.room = True
        await until(lambda: not udp.blocked())
        driver.stop()
        udp.close()
        tun.close()

    asyncio.run(program())
