"""The control socket: a node at one end, commands at the other."""

import asyncio
import grp
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from netmgr.io.control import MAX_CLIENTS, ControlServer, serve
from netmgr.io.control_client import call, nodes
from netmgr.wire.lines import MAX_REQUEST_SIZE, format_request, format_result, parse_answer
from wgpy.errors import ConfigError

PATIENCE = 20.0
NAME = "mesh0"


class Node:
    """What stands behind the socket."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []

    def handle(self, verb: str, arguments: dict[str, str]) -> object:
        self.asked.append((verb, arguments))
        if verb == "refuse":
            raise ConfigError("no such name: " + arguments["name"])
        if verb == "large":
            return ["x" * 1000] * 20_000
        return {"verb": verb, **arguments}


Scenario = Callable[[ControlServer, Node], Awaitable[None]]


def run(directory: Path, scenario: Scenario, *, idle: float = PATIENCE) -> None:
    async def main() -> None:
        node = Node()
        server = await serve(NAME, node.handle, directory=str(directory), environ={}, idle=idle)
        try:
            async with asyncio.timeout(PATIENCE):
                await scenario(server, node)
        finally:
            server.close()
            await asyncio.sleep(0)  # aborted connections end in the next turn

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run"


async def ask(place: Path, verb: str, interface: str | None = NAME, **arguments: str) -> object:
    return await asyncio.to_thread(call, interface, verb, arguments, directory=str(place))


@asynccontextmanager
async def connected(
    place: Path,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    path = place / f"{NAME}.sock"
    reader, writer = await asyncio.open_unix_connection(path, limit=2**26)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def modes(*paths: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


def test_a_command_gets_the_result_and_a_refusal_gets_its_words(place: Path):
    async def scenario(server: ControlServer, node: Node) -> None:
        assert await ask(place, "status") == {"verb": "status"}
        assert await ask(place, "pin", None, name="bob") == {"verb": "pin", "name": "bob"}
        with pytest.raises(ConfigError, match=r"^no such name: carol$"):
            await ask(place, "refuse", name="carol")
        assert node.asked[1] == ("pin", {"name": "bob"})

    run(place, scenario)


@pytest.mark.slow
def test_a_large_result_arrives_whole_and_does_not_hold_up_others(place: Path):
    async def scenario(server: ControlServer, node: Node) -> None:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(place / f"{NAME}.sock"))
            slow.sendall(format_request("large", {}) * 3)
            assert await ask(place, "status") == {"verb": "status"}
            assert len(str(await ask(place, "large"))) > 20_000_000
            # One answer waits to be read; the other requests wait for that.
            assert [verb for verb, _ in node.asked].count("large") == 2
            with slow.makefile("rb") as answers:
                for _ in range(3):
                    assert len(await asyncio.to_thread(answers.readline)) > 20_000_000

    run(place, scenario)


def test_requests_on_one_connection_are_answered_in_order(place: Path):
    async def scenario(server: ControlServer, node: Node) -> None:
        async with connected(place) as (reader, writer):
            writer.write(b"".join(format_request("n", {"n": str(n)}) for n in range(1000)))
            for number in range(1000):
                answer = parse_answer(await reader.readline())
                assert answer == {"verb": "n", "n": str(number)}

    run(place, scenario)


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"\xff\n", b"[" * 5000 + b"\n"])
def test_what_is_no_request_is_refused_and_the_connection_stays(place: Path, line: bytes):
    async def scenario(server: ControlServer, node: Node) -> None:
        async with connected(place) as (reader, writer):
            writer.write(line + format_request("status", {}))
            with pytest.raises(ConfigError):
                parse_answer(await reader.readline())
            assert await reader.readline() == format_result({"verb": "status"})

    run(place, scenario)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_request_without_end_is_cut_off(place: Path, end: bytes):
    async def scenario(server: ControlServer, node: Node) -> None:
        async with connected(place) as (reader, writer):
            writer.write(b"x" * (MAX_REQUEST_SIZE + 1) + end)
            assert b"too long" in await reader.read()

    run(place, scenario)


def test_an_idle_connection_ends(place: Path):
    async def scenario(server: ControlServer, node: Node) -> None:
        async with connected(place) as (reader, writer):
            writer.write(b'{"verb"')
            assert await reader.read() == b""

    run(place, scenario, idle=0.1)


def test_a_bounded_number_of_commands_is_served_at_once(place: Path):
    async def scenario(server: ControlServer, node: Node) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(MAX_CLIENTS - 1):
                reader, writer = await stack.enter_async_context(connected(place))
                writer.write(format_request("status", {}))
                await reader.readline()
            async with connected(place) as (reader, writer):
                writer.write(format_request("status", {}))
                await reader.readline()
                with pytest.raises(ConfigError, match="too many"):
                    await ask(place, "status")
            while True:  # until the node has seen that one end
                with suppress(ConfigError):
                    assert await ask(place, "status") == {"verb": "status"}
                    return

    run(place, scenario)


def test_only_the_owner_may_connect_and_the_socket_goes_with_the_node(place: Path):
    path = place / f"{NAME}.sock"

    async def scenario(server: ControlServer, node: Node) -> None:
        assert modes(path, place) == [0o600, 0o755]

    run(place, scenario)
    assert not path.exists()


@pytest.mark.root
def test_a_group_may_be_let_in(place: Path):
    group, path = grp.getgrgid(1), place / f"{NAME}.sock"

    async def main() -> None:
        server = await serve(
            NAME, Node().handle, directory=str(place), environ={"NETMGR_GROUP": group.gr_name}
        )
        assert modes(path) == [0o660]
        assert path.group() == group.gr_name
        server.close()
        with pytest.raises(ConfigError, match="no such group"):
            await serve(
                NAME, Node().handle, directory=str(place), environ={"NETMGR_GROUP": "nobodies"}
            )

    asyncio.run(main())


def test_the_socket_of_a_dead_node_is_replaced_and_one_that_answers_is_not(place: Path):
    place.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place / f"{NAME}.sock"))
        dead.listen()

    async def scenario(server: ControlServer, node: Node) -> None:
        assert await ask(place, "status") == {"verb": "status"}
        with pytest.raises(ConfigError, match="is running"):
            await serve(NAME, node.handle, directory=str(place), environ={})
        assert await ask(place, "status") == {"verb": "status"}

    run(place, scenario)


def test_a_socket_that_another_node_made_meanwhile_stays(place: Path):
    path = place / f"{NAME}.sock"

    async def scenario(server: ControlServer, node: Node) -> None:
        path.unlink()
        other = await serve(NAME, node.handle, directory=str(place), environ={})
        server.close()
        assert await ask(place, "status") == {"verb": "status"}
        other.close()

    run(place, scenario)


# --- the command's end ---


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """Let a socket listen, and nobody accept."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield


def test_without_a_node_one_line_says_so(tmp_path: Path):
    for interface, words in ((None, "no node is running"), (NAME, f"running for {NAME}")):
        with pytest.raises(ConfigError, match=words):
            call(interface, "status", {}, directory=str(tmp_path))
    with pytest.raises(ConfigError, match="no name of an interface"):
        call("../x", "status", {}, directory=str(tmp_path))


def test_among_several_nodes_one_is_to_be_named(tmp_path: Path):
    with hanging(tmp_path / "a.sock"), hanging(tmp_path / "b.sock"):
        assert nodes(str(tmp_path)) == ["a", "b"]
        with pytest.raises(ConfigError, match="say which by -i: a, b"):
            call(None, "status", {}, directory=str(tmp_path))


def test_a_node_that_hangs_is_not_waited_for_without_end(tmp_path: Path):
    silent = pytest.raises(
        ConfigError, match=rf"process {os.getpid()}, has not answered for 0\.05 s"
    )
    with hanging(tmp_path / "a.sock"), silent:
        call("a", "status", {}, directory=str(tmp_path), timeout=0.05)


def test_a_bug_behind_one_request_is_told_to_the_loop_and_ends_that_connection(place: Path):
    async def scenario(server: ControlServer, node: Node) -> None:
        told: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

        def fail(verb: str, arguments: dict[str, str]) -> object:
            raise LookupError(verb)

        faulty = await serve("other", fail, directory=str(place), environ={})
        with pytest.raises(ConfigError, match="went away"):
            await ask(place, "status", "other")
        assert [type(each) for each in told] == [LookupError]
        assert await ask(place, "status") == {"verb": "status"}
        faulty.close()

    run(place, scenario)


def test_a_node_that_goes_away_is_one_line(place: Path):
    async def scenario(server: ControlServer, node: Node) -> None:
        def die(verb: str, arguments: dict[str, str]) -> object:
            dying.close()
            return None

        dying = await serve("other", die, directory=str(place), environ={})
        with pytest.raises(ConfigError, match="went away"):
            await ask(place, "status", "other")

    run(place, scenario)
