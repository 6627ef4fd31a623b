import asyncio
import fcntl
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import termios
from collections.abc import Awaitable, Callable
from contextlib import suppress
from errno import EADDRINUSE, EINVAL, EIO
from pathlib import Path

import pytest
import uvloop

from wgpy.errors import ConfigError
from wgpy.io import clock
from wgpy.io.uapi_client import DIRECTORY, interfaces, request
from wgpy.io.uapi_socket import MAX_CLIENTS, UapiListener, UapiServer, adopt, bind
from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    PeerChange,
    PeerStatus,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.wire.uapi_client import GET, format_set, parse_get

DEADLINE = 60.0
PEER = PublicKey(b"\x07" * 32)
SET_OK = b"errno=0\n\n"


class Device:
    """The state behind a socket, without an engine."""

    def __init__(self) -> None:
        self.changes: list[DeviceChange] = []
        self.status = DeviceStatus(None, None, 51820, 0, ())
        self.refusal: Exception | None = None

    def get(self) -> DeviceStatus:
        if self.refusal is not None:
            raise self.refusal
        return self.status

    def set(self, change: DeviceChange) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.changes.append(change)


Scenario = Callable[[UapiListener, Device], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request, tmp_path):
    """Run a scenario against a server, on each of the loops."""

    def run(scenario: Scenario) -> list[str]:
        notes: list[str] = []

        async def main() -> None:
            device, listener = Device(), bind("wg0", str(tmp_path))
            server = UapiServer(listener, device.get, device.set, notes.append)
            async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
                serving = tasks.create_task(server.run())
                await scenario(listener, device)
                serving.cancel()

        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
        assert not os.path.exists(tmp_path / "wg0.sock")
        return notes

    return run


async def ask(path: str, *operations: bytes) -> bytes:
    """Send operations on one connection at once; return all the answers."""
    reader, writer = await asyncio.open_unix_connection(path, limit=2**24)
    for operation in operations:
        writer.write(operation)
    await writer.drain()
    answer = b""
    for _ in operations:
        answer += await reader.readuntil(b"\n\n")
    writer.close()
    return answer


def large_status(prefixes: int) -> DeviceStatus:
    many = tuple(Prefix(bytes([10]) + n.to_bytes(3), 32) for n in range(prefixes))
    peer = PeerStatus(PEER, Secret(bytes(32)), None, 0.0, 0, 0, 0, many)
    return DeviceStatus(None, None, 51820, 0, (peer,))


def raw_client(listener: UapiListener) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(listener.path)
    client.settimeout(0)
    return client


def unread(client: socket.socket) -> int:
    """Return how much of what a client sent is not yet received (SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


async def turns_until_readable(client: socket.socket) -> int:
    """Return how many turns the loop makes until there is something to receive."""
    turns = 0
    while True:
        with suppress(BlockingIOError):
            client.recv(1, socket.MSG_PEEK)
            return turns
        await asyncio.sleep(0)
        turns += 1


# --- operations ---


def test_a_get_gives_the_state_and_a_set_the_change(serve):
    async def scenario(listener, device):
        assert parse_get(await ask(listener.path, GET)) == device.status
        change = DeviceChange(fwmark=7)
        assert await ask(listener.path, format_set(change)) == SET_OK
        assert device.changes == [change]

    serve(scenario)


def test_several_operations_on_a_connection_are_answered_in_order(serve):
    async def scenario(listener, device):
        operations = [format_set(DeviceChange(fwmark=n)) for n in range(1, 500)]
        answers = await ask(listener.path, *operations, GET)
        assert answers == SET_OK * len(operations) + b"listen_port=51820\nerrno=0\n\n"
        assert [change.fwmark for change in device.changes] == list(range(1, 500))

    serve(scenario)


@pytest.mark.slow
def test_a_set_of_five_megabytes_passes_while_the_loop_goes_on(serve):
    network = bytes.fromhex("20010db8aaaabbbbccccdddd")
    allowed = tuple(
        AllowedIPChange(Prefix(network + n.to_bytes(4), 128)) for n in range(130_560)
    )
    large = DeviceChange(peers=(PeerChange(PEER, allowed_ips=allowed),))
    text = format_set(large)
    assert len(text) > 5_000_000

    async def scenario(listener, device):
        with raw_client(listener) as client:
            await asyncio.get_running_loop().sock_sendall(client, text)
            while unread(client):  # noqa: ASYNC110 - turns of the loop are what counts
                await asyncio.sleep(0)
            assert await turns_until_readable(client) > 20
            assert client.recv(100) == SET_OK
        assert device.changes == [large]

    serve(scenario)


@pytest.mark.slow
def test_a_large_get_does_not_stall_the_loop(serve):
    async def scenario(listener, device):
        device.status = large_status(130_560)
        with raw_client(listener) as client:
            client.send(GET)
            assert await turns_until_readable(client) > 20
        assert parse_get(await ask(listener.path, GET)) == device.status

    serve(scenario)


def test_a_quick_client_is_read_in_turns_with_everything_else(serve):
    async def scenario(listener, device):
        with raw_client(listener) as client:
            seen = set()
            with suppress(BlockingIOError):
                client.send(b"set=1\n")
                while True:  # as much as the socket's buffer takes
                    client.send(b"replace_peers=true\n" * 100)
            while unread(client):
                seen.add(unread(client))
                await asyncio.sleep(0)
            assert len(seen) > 1

    serve(scenario)


def test_a_set_may_be_applied_by_a_coroutine(tmp_path):
    applied = asyncio.Event()

    async def apply(change: DeviceChange) -> None:
        await asyncio.sleep(0)
        applied.set()

    async def main() -> None:
        listener = bind("wg0", str(tmp_path))
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(UapiServer(listener, Device().get, apply).run())
            assert await ask(listener.path, format_set(DeviceChange(fwmark=1))) == SET_OK
            assert applied.is_set()
            serving.cancel()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("refusal", "errno"),
    [
        (ConfigError("no"), EINVAL),
        (ConfigError("the port is taken", errno=EADDRINUSE), EADDRINUSE),
        (OSError(EADDRINUSE, "in use"), EADDRINUSE),
        (OSError("without a number"), EIO),
    ],
)
def test_a_refusal_is_an_errno_negative_for_set_and_positive_for_get(serve, refusal, errno):
    async def scenario(listener, device):
        device.refusal = refusal
        change = format_set(DeviceChange(fwmark=1))
        answers = await ask(listener.path, change, GET)
        assert answers == b"errno=%d\n\nerrno=%d\n\n" % (-errno, errno)

    notes = serve(scenario)
    assert notes == [f"UAPI: set refused: {refusal}", f"UAPI: get refused: {refusal}"]


@pytest.mark.parametrize("operation", [GET, format_set(DeviceChange(fwmark=1))])
def test_a_bug_in_an_operation_costs_the_client_alone_and_is_told(serve, operation):
    async def scenario(listener, device):
        told: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context.get("exception")))
        reader, writer = await asyncio.open_unix_connection(listener.path)
        device.refusal = RuntimeError("a bug")
        writer.write(operation)
        assert await reader.read() == b""
        writer.close()
        assert told == [device.refusal]
        device.refusal = None
        assert (await ask(listener.path, GET)).startswith(b"listen_port=51820")

    assert serve(scenario) == []


def test_the_zone_of_an_endpoint_is_a_name_as_wg_writes_it(serve):
    async def scenario(listener, device):
        peer = b"set=1\npublic_key=" + b"ab" * 32 + b"\nendpoint=[fe80::1%%%b]:5\n\n"
        answers = await ask(listener.path, peer % b"lo", peer % b"wgpytnone")
        assert answers == SET_OK + b"errno=-22\n\n"
        (change,) = device.changes
        assert change.peers[0].endpoint.scope == socket.if_nametoindex("lo")

    serve(scenario)


def test_a_wrong_line_changes_nothing_and_the_connection_goes_on(serve):
    async def scenario(listener, device):
        wrong = b"set=1\nfwmark=1\nlisten_port=x\n\n"
        assert await ask(listener.path, wrong, GET) == (
            b"errno=-22\n\nlisten_port=51820\nerrno=0\n\n"
        )
        assert device.changes == []

    serve(scenario)


def test_what_is_no_uapi_is_answered_and_closed(serve):
    async def scenario(listener, device):
        reader, writer = await asyncio.open_unix_connection(listener.path)
        writer.write(b"GET / HTTP/1.1\n\nget=1\n\n")
        assert await reader.read() == b"errno=71\n\n"
        writer.close()

    serve(scenario)


# --- clients ---


def test_a_probe_without_a_byte_and_clients_that_leave_are_silent(serve):
    async def scenario(listener, device):
        device.status = large_status(20_000)
        for operation in (b"", b"get=1", GET, GET * 50, format_set(DeviceChange())):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(listener.path)
                client.send(operation)
        await ask(listener.path, GET)

    assert serve(scenario) == []


@pytest.mark.slow
def test_a_client_that_reads_nothing_blocks_no_other(serve):
    async def scenario(listener, device):
        device.status = large_status(50_000)
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(listener.path)
            slow.send(GET * 3)
            for _ in range(3):
                assert parse_get(await ask(listener.path, GET)) == device.status
            slow.settimeout(0)
            answer, loop = b"", asyncio.get_running_loop()
            while answer.count(b"errno=0\n\n") < 3:
                answer += await loop.sock_recv(slow, 2**20)

    serve(scenario)


def test_a_set_that_comes_byte_by_byte_is_understood(serve):
    async def scenario(listener, device):
        reader, writer = await asyncio.open_unix_connection(listener.path)
        for byte in format_set(DeviceChange(fwmark=77)):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.readuntil(b"\n\n") == SET_OK
        writer.close()

    serve(scenario)


def test_one_client_too_many_cuts_off_the_one_idle_for_longest(serve):
    async def scenario(listener, device):
        clients = [
            await asyncio.open_unix_connection(listener.path) for _ in range(MAX_CLIENTS)
        ]
        for reader, writer in [*clients[1:], clients[0]]:  # now the second is the idlest
            writer.write(GET)
            await reader.readuntil(b"\n\n")
        await ask(listener.path, GET)
        assert await clients[1][0].read() == b""
        clients[0][1].write(GET)
        await clients[0][0].readuntil(b"\n\n")
        for _, writer in clients:
            writer.close()

    serve(scenario)


@pytest.mark.parametrize("remove", [os.unlink, lambda path: os.rename(path, path + ".old")])
def test_removing_the_file_ends_the_server(tmp_path, remove):
    async def main() -> None:
        listener = bind("wg0", str(tmp_path))
        device = Device()
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(UapiServer(listener, device.get, device.set).run())
            reader, writer = await asyncio.open_unix_connection(listener.path)
            writer.write(GET)
            await reader.readuntil(b"\n\n")
            os.chmod(listener.path, 0o640)
            writer.write(GET)
            await reader.readuntil(b"\n\n")
            remove(listener.path)
            await serving
            assert await reader.read() == b""
            writer.close()

    uvloop.run(main())


def test_a_file_removed_before_the_start_ends_the_server_at_once(tmp_path):
    listener, device = bind("wg0", str(tmp_path)), Device()
    os.unlink(listener.path)
    asyncio.run(asyncio.wait_for(UapiServer(listener, device.get, device.set).run(), DEADLINE))


def test_an_inherited_socket_without_a_file_is_served(tmp_path):
    bare = socket.socket(socket.AF_UNIX)
    bare.bind("")  # the kernel chooses an abstract name
    bare.listen()

    async def main() -> None:
        device, listener = Device(), adopt(bare.detach(), "wg0", str(tmp_path))
        address: str = listener.socket.getsockname().decode()
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(UapiServer(listener, device.get, device.set).run())
            assert parse_get(await ask(address, GET)) == device.status
            serving.cancel()

    asyncio.run(main())


# --- the file ---


def test_the_socket_is_private_whatever_the_umask(tmp_path):
    directory = tmp_path / "run" / "wireguard"
    before = os.umask(0)
    try:
        listener = bind("wg0", str(directory))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(listener.path).st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert sorted(os.listdir(directory)) == [".wgpy.lock", "wg0.sock"]
    listener.close()
    assert os.listdir(directory) == [".wgpy.lock"]


def test_the_directory_is_passable_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        bind("wg0", str(tmp_path / "wireguard")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "wireguard").stat().st_mode) == 0o755


def test_the_socket_of_a_killed_process_is_replaced(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "wg0.sock"))
        dead.listen()
    listener = bind("wg0", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.path)
    listener.close()


def test_the_socket_of_a_running_process_is_not_touched(tmp_path):
    first = bind("wg0", str(tmp_path))
    with pytest.raises(ConfigError, match="interface wg0 is already in use"):
        bind("wg0", str(tmp_path), patience=0.05)
    assert first.is_in_place
    first.close()
    bind("wg0", str(tmp_path)).close()


def test_a_start_waits_for_the_old_process_to_end(tmp_path):
    script = (
        "from wgpy.io.uapi_socket import bind\n"
        f"it = bind('wg0', {str(tmp_path)!r}); print('up', flush=True)\n"
        "it.socket.settimeout(None)\n"
        "probe, waiter = it.socket.accept(), it.socket.accept()\n"
        "it.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as old:
        assert old.stdout is not None
        assert old.stdout.readline() == b"up\n"
        second = bind("wg0", str(tmp_path), patience=DEADLINE)
    assert second.is_in_place
    second.close()


def test_a_late_close_leaves_the_socket_of_the_next_process(tmp_path):
    first = bind("wg0", str(tmp_path))
    os.unlink(first.path)
    second = bind("wg0", str(tmp_path))
    first.close()
    first.close()
    assert second.is_in_place
    second.close()


RACER = """
import signal, sys
from wgpy.errors import ConfigError
from wgpy.io.uapi_socket import bind
sys.stdin.readline()
try:
    it = bind("wg0", sys.argv[1], patience=0)
except ConfigError:
    print("lost", flush=True)
else:
    print("won", it.is_in_place, flush=True)
    signal.pause()
"""


@pytest.mark.slow
def test_of_racing_starts_over_a_dead_socket_exactly_one_wins(tmp_path):
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as dead:
            if not os.path.exists(tmp_path / "wg0.sock"):
                dead.bind(str(tmp_path / "wg0.sock"))
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, str(tmp_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(4)
        ]
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(b"\n")
            racer.stdin.flush()
        results = [racer.stdout.readline() for racer in racers if racer.stdout is not None]
        assert sorted(results) == [b"lost\n"] * 3 + [b"won True\n"]
        for racer in racers:
            racer.send_signal(signal.SIGKILL)
            racer.communicate(timeout=DEADLINE)


def test_a_start_does_not_remove_a_dead_socket_that_another_is_replacing(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "wg0.sock"))
    with open(tmp_path / ".wgpy.lock", "w") as lock, socket.socket(socket.AF_UNIX) as other:
        fcntl.flock(lock, fcntl.LOCK_EX)
        racer = subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert racer.stdout is not None
        waits = f" {racer.pid} "
        while waits not in Path("/proc/locks").read_text():  # it does nothing else meanwhile
            assert not select.select([racer.stdout], [], [], 0.01)[0]
        os.unlink(tmp_path / "wg0.sock")
        other.bind(str(tmp_path / "wg0.sock"))
        other.listen()
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert racer.communicate(timeout=DEADLINE)[0] == b"lost\n"


def test_an_inherited_socket_is_adopted_and_its_file_removed_at_the_end(tmp_path):
    made = bind("wg0", str(tmp_path))
    fd = os.dup(made.socket.fileno())
    made.socket.close()
    adopted = adopt(fd, "wg0", str(tmp_path))
    assert adopted.is_in_place
    assert not os.get_inheritable(fd)
    adopted.close()
    assert not os.path.exists(made.path)


def test_what_is_no_listening_unix_socket_is_not_adopted(tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_INET) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for fd in (deaf.fileno(), other.fileno(), 9999, -1):
            with pytest.raises(ConfigError, match=f"WG_UAPI_FD={fd} is no listening"):
                adopt(fd, "wg0", str(tmp_path))


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"wg0\.sock: Not a directory"):
        bind("wg0", str(tmp_path / "file" / "wireguard"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "sixteen-letters-", "wg 0", "wg0\n"])
def test_what_is_no_name_of_an_interface_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="is no name of an interface"):
        bind(name, str(tmp_path))


# --- the client's end ---


def test_the_client_asks_a_running_device(serve):
    async def scenario(listener, device):
        directory = os.path.dirname(listener.path)
        device.status = large_status(20_000)
        answer = await asyncio.to_thread(request, "wg0", GET, directory=directory)
        assert parse_get(answer) == device.status
        assert await asyncio.to_thread(interfaces, directory) == ["wg0"]

    serve(scenario)


def test_devices_are_the_sockets_that_answer(tmp_path):
    up = [bind(name, str(tmp_path)) for name in ("wg1", "wg0")]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    (tmp_path / "file.sock").touch()
    (tmp_path / "other").touch()
    assert interfaces(str(tmp_path)) == ["wg0", "wg1"]
    assert interfaces(str(tmp_path / "none")) == []
    for listener in up:
        listener.close()


@pytest.mark.parametrize("left", [False, True])
def test_asking_an_interface_that_is_not_up_is_one_line(tmp_path, left):
    if left:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "wg0.sock"))
    with pytest.raises(ConfigError, match="no interface wg0 of a userspace WireGuard is up"):
        request("wg0", GET, directory=str(tmp_path))


def test_a_device_that_does_not_answer_is_given_up(tmp_path):
    listener = bind("wg0", str(tmp_path))
    before = clock.now()
    with pytest.raises(ConfigError, match=r"no answer in 0\.05 seconds"):
        request("wg0", GET, directory=str(tmp_path), timeout=0.05)
    assert clock.now() - before < DEADLINE
    listener.close()


def test_a_device_that_ends_in_the_middle_of_its_answer_is_named(tmp_path):
    script = (
        "import sys; from wgpy.io.uapi_socket import bind\n"
        f"it = bind('wg0', {str(tmp_path)!r}); print('up', flush=True)\n"
        "it.socket.settimeout(None); client, _ = it.socket.accept()\n"
        "client.recv(100); client.send(b'listen_port=1\\n'); it.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as device:
        assert device.stdout is not None
        device.stdout.readline()
        with pytest.raises(ConfigError, match="wg0 went away in the middle of its answer"):
            request("wg0", GET, directory=str(tmp_path))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_asking_without_permission_says_sudo():
    script = """
import os, sys, tempfile
from wgpy.errors import ConfigError
from wgpy.io.uapi_client import DIRECTORY, interfaces, request
from wgpy.io.uapi_socket import bind
with tempfile.TemporaryDirectory() as directory:
    os.chmod(directory, 0o755)
    listener = bind("wg0", directory)
    os.seteuid(65534)
    for call in (lambda: request("wg0", b"", directory=directory),
                 lambda: interfaces(directory), lambda: bind("wg1", directory),
                 lambda: bind("wg1", directory + "/none")):
        try:
            call()
        except ConfigError as error:
            print(str(error).replace(directory, "FOLDER"))
    os.seteuid(0)
    listener.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["FOLDER/wg0.sock: permission denied; use sudo"] * 2
    for line, folder in zip(lines[2:], ("FOLDER", "FOLDER/none"), strict=True):
        assert line.startswith(f"{folder}: no permission to make wg1.sock there; use sudo, or ")
        assert "RuntimeDirectory=wireguard" in line


# --- wg(8) ---


@pytest.mark.root
@pytest.mark.interop
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(shutil.which("wg") is None, reason="needs wg")
def test_wg_shows_sets_and_is_refused():
    name = f"wgpyt{os.getpid()}"

    async def wg(*arguments: str) -> tuple[int | None, str]:
        pipe = asyncio.subprocess.PIPE
        run = await asyncio.create_subprocess_exec(
            "wg", *arguments, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await run.communicate()
        return run.returncode, output.decode()

    async def main(listener: UapiListener) -> None:
        device, notes = Device(), list[str]()
        device.status = large_status(130_560)
        server = UapiServer(listener, device.get, device.set, notes.append)
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.run())
            code, shown = await wg("show", name, "allowed-ips")
            assert code == 0
            assert shown.count("/32") == 130_560
            assert name in (await wg("show", "interfaces"))[1].split()
            assert await wg("set", name, "fwmark", "7") == (0, "")
            assert device.changes == [DeviceChange(fwmark=7)]
            device.refusal = OSError(EADDRINUSE, "in use")
            code, shown = await wg("set", name, "listen-port", "53")
            assert code == 1
            assert "Address already in use" in shown
            assert notes == ["UAPI: set refused: [Errno 98] in use"]
            serving.cancel()

    listener = bind(name, DIRECTORY)
    try:
        asyncio.run(main(listener))
    finally:
        listener.close()
