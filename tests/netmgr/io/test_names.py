"""Names of nodes, with name servers that answer, are silent or are not there."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from netmgr.io.names import MAX_THREADS, MAX_WAITING, Resolver, look_up
from netmgr.model import HostPort
from tests.lab import Lab
from wgpy.model import Endpoint
from wgpy.wire.text import parse_address

PATIENCE = 10.0
PLACE = Endpoint(b"\xc0\x00\x02\x01", 7)


class Answers:
    """Collects answers and wakes who waits for them."""

    def __init__(self) -> None:
        self.all: list[tuple[HostPort, tuple[Endpoint, ...]]] = []
        self._came = asyncio.Event()

    def __call__(self, place: HostPort, endpoints: tuple[Endpoint, ...]) -> None:
        self.all.append((place, endpoints))
        self._came.set()

    async def count(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.all) < number:
                self._came.clear()
                await self._came.wait()


def run(scenario: Callable[[Answers], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(Answers())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    ("host", "address"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("::ffff:1.2.3.4", "1.2.3.4")],
)
def test_digits_are_answered_without_a_thread_and_never_within_the_call(
    host: str, address: str
):
    def never(*_: object) -> tuple[Endpoint, ...]:
        raise AssertionError

    async def scenario(answers: Answers) -> None:
        resolver = Resolver(answers, lookup=never)
        resolver.ask(host, 7)
        resolver.ask(host, 7)
        assert answers.all == []
        await answers.count(1)
        assert answers.all == [(HostPort(host, 7), (Endpoint(parse_address(address), 7),))]

    run(scenario)


def test_a_name_of_this_host_is_found_with_all_its_addresses():
    found = look_up("localhost", 7)
    assert set(found) <= {
        Endpoint(parse_address("127.0.0.1"), 7),
        Endpoint(parse_address("::1"), 7),
    }
    assert found
    assert len(found) == len(set(found))


def test_a_zone_becomes_the_number_of_the_interface():
    assert look_up("fe80::1%lo", 7)[0].scope == 1


@pytest.mark.parametrize("host", ["", "a" * 70, "nul\0", "fe80::1%nosuchif", "::1::", "\udce4"])
def test_what_cannot_be_a_host_has_no_address(host: str):
    assert [each for each in look_up(host, 7) if host] == []

    async def scenario(answers: Answers) -> None:
        Resolver(answers, lookup=lambda host, _: look_up(host or "?", 7)).ask(host, 7)
        await answers.count(1)
        assert answers.all == [(HostPort(host, 7), ())]

    run(scenario)


def test_one_question_for_a_name_is_under_way_at_a_time():
    async def scenario(answers: Answers) -> None:
        go, asked = threading.Event(), []

        def slow(host: str, port: int) -> tuple[Endpoint, ...]:
            asked.append(host)
            assert go.wait(PATIENCE)
            return (PLACE,)

        resolver = Resolver(answers, lookup=slow)
        for _ in range(5):
            resolver.ask("a.example", 7)
        resolver.ask("b.example", 7)
        go.set()
        await answers.count(2)
        assert sorted(asked) == ["a.example", "b.example"]
        resolver.ask("a.example", 7)
        await answers.count(3)

    run(scenario)


def test_silence_is_an_empty_answer_and_a_late_one_serves_the_next_question():
    async def scenario(answers: Answers) -> None:
        go, asked = threading.Event(), []

        def slow(host: str, port: int) -> tuple[Endpoint, ...]:
            asked.append(host)
            assert go.wait(PATIENCE)
            return (PLACE,)

        resolver = Resolver(answers, deadline=0.02, lookup=slow)
        resolver.ask("a.example", 7)
        await answers.count(1)
        resolver.ask("a.example", 7)
        await answers.count(2)
        assert [endpoints for _, endpoints in answers.all] == [(), ()]
        patient = Resolver(answers, deadline=PATIENCE, lookup=slow)
        patient.ask("a.example", 7)
        go.set()
        await answers.count(3)
        assert answers.all[2][1] == (PLACE,)
        # Two threads in all: the first one was late for two questions.
        assert asked == ["a.example", "a.example"]

    run(scenario)


def test_silent_name_servers_hold_up_a_bounded_number_of_threads():
    async def scenario(answers: Answers) -> None:
        go, asked = threading.Event(), []

        def slow(host: str, port: int) -> tuple[Endpoint, ...]:
            asked.append(host)
            assert go.wait(PATIENCE)
            return (PLACE,)

        resolver = Resolver(answers, lookup=slow)
        for number in range(MAX_WAITING + 5):
            resolver.ask(f"n{number}.example", 7)
        await answers.count(5)
        assert {endpoints for _, endpoints in answers.all} == {()}
        assert len(asked) <= MAX_THREADS
        go.set()
        await answers.count(MAX_WAITING + 5)
        assert len(asked) == MAX_WAITING

    run(scenario)


def test_nothing_is_answered_once_closed():
    async def scenario(answers: Answers) -> None:
        resolver = Resolver(answers, lookup=lambda *_: (PLACE,))
        resolver.ask("a.example", 7)
        resolver.ask("192.0.2.1", 7)
        resolver.close()
        other = Resolver(answers, lookup=lambda *_: (PLACE,))
        other.ask("b.example", 7)
        await answers.count(1)
        assert [place.host for place, _ in answers.all] == ["b.example"]

    run(scenario)


PROGRAM = """
import asyncio
from netmgr.io.names import Resolver
async def main():
    done = asyncio.Event()
    def told(place, endpoints):
        print("answer", endpoints, flush=True)
        done.set()
    Resolver(told, deadline=0.3).ask("nowhere.example", 7)
    await done.wait()
asyncio.run(main())
print("over")
"""


@pytest.mark.root
@pytest.mark.slow
def test_a_silent_name_server_holds_up_neither_the_loop_nor_the_end_of_the_program(lab: Lab):
    a, b = lab.pair()
    lab.nft(b, "table ip t { chain c { type filter hook input priority 0; policy drop; }; }")
    lab.etc(a, "resolv.conf", "nameserver 192.0.2.2\noptions timeout:30\n")
    child = lab.python(a, "-c", PROGRAM)
    assert child.wait(PATIENCE) == 0
    assert child.log() == "answer ()\nover\n"
