"""`wg` itself against the text of the UAPI and of configuration files: a socket, no device."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EADDRINUSE, EINVAL
from pathlib import Path

import pytest

from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    PeerStatus,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.wire import conf
from wgpy.wire.conf import Config, InterfaceConfig, PeerConfig
from wgpy.wire.uapi import (
    Operation,
    RequestReader,
    SetRequest,
    format_errno,
    format_get,
    parse_set,
)

pytestmark = [pytest.mark.root, pytest.mark.interop, pytest.mark.needs("wg")]

PEER = PublicKey(b"\xab" * 32)
HOST = Prefix(bytes([10, 0, 0, 1]), 32)


class Device:
    """A socket where `wg` looks for the device `name`; answers `state`, keeps the changes."""

    def __init__(self, name: str, state: bytes, errno: int) -> None:
        self.path = Path("/var/run/wireguard") / f"{name}.sock"
        self.path.parent.mkdir(exist_ok=True)
        self.changes: list[DeviceChange] = []
        self._state, self._errno = state, errno
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._answer(self._listener.accept()[0])

    def _answer(self, connection: socket.socket) -> None:
        reader = RequestReader()
        with connection:
            while piece := connection.recv(65536):
                for request in reader.feed(piece):
                    if isinstance(request, SetRequest):
                        self.changes.append(parse_set(request.lines))
                        connection.sendall(format_errno(self._errno, Operation.SET))
                    else:
                        connection.sendall(self._state)

    def close(self) -> None:
        self.path.unlink()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@contextmanager
def device(state: bytes = b"errno=0\n\n", errno: int = 0) -> Iterator[Device]:
    served = Device("wgpytuapi", state, errno)
    try:
        yield served
    finally:
        served.close()


def wg(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["wg", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_wg_shows_the_state():
    peer = PeerStatus(PEER, Secret(PEER), Endpoint(b"\1" * 4, 2), 1e9, 5, 6, 25, (HOST,))
    state = format_get(DeviceStatus(Secret(b"\1" * 32), None, 51820, 7, (peer,)))
    with device(state):
        shown = wg("show", "wgpytuapi", "dump")
    assert (shown.returncode, shown.stderr) == (0, "")
    first, second = (line.split("\t") for line in shown.stdout.splitlines())
    assert (first[0], first[2:]) == (Secret(b"\1" * 32).to_base64(), ["51820", "0x7"])
    secret = Secret(PEER).to_base64()
    assert second == [
        str(PEER),
        secret,
        "1.1.1.1:2",
        "10.0.0.1/32",
        "1000000000",
        "5",
        "6",
        "25",
    ]


def test_wg_sets_what_the_file_says(tmp_path):
    third = AllowedIPChange(Prefix(bytes([10, 2, 0, 0]), 16))
    peer = PeerConfig(PEER, Secret(PEER), (AllowedIPChange(HOST), third), ("1.2.3.4", 5), 25)
    config = Config(InterfaceConfig(Secret(PEER), 51820, 7), (peer,))
    file = tmp_path / "a.conf"
    file.write_text(conf.strip(config))
    with device() as served:
        done = wg("setconf", "wgpytuapi", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert served.changes == [conf.to_change(config, {PEER: Endpoint(bytes([1, 2, 3, 4]), 5)})]


def test_wg_tells_why_a_change_is_refused():
    with device(errno=EADDRINUSE):
        done = wg("set", "wgpytuapi", "listen-port", "5")
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_wg_tells_why_a_state_is_refused():
    with device(format_errno(EINVAL, Operation.GET)):
        done = wg("show", "wgpytuapi")
    assert "Invalid argument" in done.stderr
