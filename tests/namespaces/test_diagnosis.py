"""What the log says of a tunnel that does not work: enough to find out why.

The broken tunnels run side by side, as the telling warning takes 15 seconds to come.
"""

import os
import re
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.lab import Lab, keypair
from tests.namespaces.nodes import (
    MARKS,
    ONE_PORT,
    ONE_V4,
    PYTHON,
    ROOT,
    TWO_PORT,
    TWO_V4,
    secret,
    start,
    wait_gone,
)
from wgpy.io import uapi_client
from wgpy.wire.uapi_client import GET, parse_get

pytestmark = [*MARKS, pytest.mark.needs("nft")]

DROP_UDP = f"""
table inet wall {{
  chain arrivals {{
    type filter hook input priority 0;
    udp dport {TWO_PORT} drop
  }}
}}
"""
NO_ANSWER = r"WARNING \w+: peer {two}: no valid answer from 10.0.0.2:{port} for 15 s: is the"
# What the two nodes must say; {one} and {two} stand for the beginning of their keys.
CASES = {
    "sound": ([r"INFO \w+: peer {two}: handshake completed"], [r"handshake completed"]),
    "wrong key": (
        [
            r"DEBUG \w+: peer {wrong}: initiation sent to 10.0.0.2:20000, try 3",
            NO_ANSWER.replace("two", "wrong"),
        ],
        [r"DEBUG \w+: a handshake from 10.0.0.1:10000 is for another public key than ours"],
    ),
    "unknown peer": (
        [NO_ANSWER],
        [r"INFO \w+: a handshake from 10.0.0.1:10000 is of {one}, which is no peer here"],
    ),
    "wrong psk": (
        [
            r"WARNING \w+: peer {two}: its answer from 10.0.0.2:20000 does not decrypt: "
            "is the preshared key the same",
            NO_ANSWER,
        ],
        [r"DEBUG \w+: peer {one}: initiation from 10.0.0.1:10000 answered"],
    ),
    "wrong port": ([NO_ANSWER], []),
    "dropped udp": ([NO_ANSWER], []),
    "narrow allowed ips": (
        [r"INFO \w+: peer {two}: handshake completed"],
        [rf"WARNING \w+: peer {{one}}: inner source {ONE_V4} is not in its allowed IPs"],
    ),
    "no route": ([r"WARNING \w+: cannot send to 10.9.9.9:20000: Network is unreachable"], []),
    "no endpoint": (
        [r"INFO \w+: peer {two}: no endpoint is known, 192"],
        [],
    ),
}


class Broken:
    """Two nodes on a cable, and what is wrong between them."""

    def __init__(self, lab: Lab, case: str) -> None:
        ends = lab.pair(("10.0.0.1/24",), ("10.0.0.2/24",))
        self.one, self.two = (
            start(lab, ns, port=port)
            for ns, port in zip(ends, (ONE_PORT, TWO_PORT), strict=True)
        )
        psk = keypair()[0]
        self.port = TWO_PORT + 1 if case == "wrong port" else TWO_PORT
        self.wrong = keypair()[1]
        host = "10.9.9.9" if case == "no route" else "10.0.0.2"
        self.one.set(
            *("peer", self.wrong if case == "wrong key" else self.two.public),
            *("preshared-key", secret(lab, keypair()[0] if case == "wrong psk" else psk)),
            *("allowed-ips", f"{TWO_V4}/32"),
            *(() if case == "no endpoint" else ("endpoint", f"{host}:{self.port}")),
        )
        if case != "unknown peer":
            allowed = TWO_V4 if case == "narrow allowed ips" else ONE_V4
            self.two.set(
                *("peer", self.one.public, "preshared-key", secret(lab, psk)),
                *("allowed-ips", f"{allowed}/32"),
            )
        if case == "dropped udp":
            lab.nft(ends[1], DROP_UDP)
        for node, address in ((self.one, ONE_V4), (self.two, TWO_V4)):
            node.up(f"{address}/24")
        # A steady stream of packets, by which no handshake is ever given up.
        lab.spawn(self.one.ns, "ping", "-n", "-i", 0.5, TWO_V4)

    def pattern(self, text: str) -> str:
        keys = {"one": self.one.public, "two": self.two.public, "wrong": self.wrong}
        shorts = {name: re.escape(key[:8]) for name, key in keys.items()}
        return text.format(port=self.port, **shorts)


@pytest.fixture(scope="module")
def tunnels() -> Iterator[dict[str, Broken]]:
    with Lab() as lab:
        yield {case: Broken(lab, case) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_tunnel_says_why(tunnels, case):
    tunnel = tunnels[case]
    for node, patterns in zip((tunnel.one, tunnel.two), CASES[case], strict=True):
        for pattern in patterns:
            node.child.wait_log(tunnel.pattern(pattern), 22)


def test_a_sound_tunnel_has_nothing_to_warn_of(tunnels):
    for node in (tunnels["sound"].one, tunnels["sound"].two):
        assert not re.search("WARNING|ERROR", node.child.log())
        assert parse_get(uapi_client.request(node.name, GET)).drops == ()


# --- where it is said ------------------------------------------------------------------------

# /dev as it is, as far as a node needs it, and a log that a test reads.
OTHER_DEV = """
set -e
cd "$1"; mkdir dev; mount -t tmpfs tmpfs dev
mkdir dev/net; mount --bind /dev/net dev/net
mknod dev/null c 1 3; mknod dev/urandom c 1 9
ln -s "$1/log" dev/log
mount --rbind dev /dev
shift; exec "$@"
"""


@pytest.mark.needs("unshare")
def test_in_the_background_it_logs_to_the_systems_log_and_debug_lines_on_demand(lab):
    ns, name = lab.ns(), lab.ifname()
    private, stranger = keypair()[0], keypair()[1]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(lab.directory / "log"))
        log.settimeout(10)
        lab.run(
            ns,
            *("unshare", "--mount", "sh", "-c", OTHER_DEV, "sh", lab.directory, *PYTHON, name),
            env={"LOG_LEVEL": "", "PYTHONPATH": str(ROOT)},
        )
        pid = int(lab.ip(None, "netns", "pids", ns))
        os.kill(pid, signal.SIGUSR1)
        lab.wg("set", name, "private-key", secret(lab, private), "peer", stranger)
        lab.wg("set", name, "peer", stranger, "endpoint", "127.0.0.1:9")
        lab.address(ns, name, f"{ONE_V4}/24")
        lab.wg("set", name, "peer", stranger, "persistent-keepalive", 25)
        sent = f"peer {stranger[:8]}: initiation sent to 127.0.0.1:9"
        while (line := log.recv(9000).decode()) != f"<31>wgpy[{pid}]: {name}: {sent}":
            assert line.startswith(f"<31>wgpy[{pid}]: {name}: ")
        os.kill(pid, signal.SIGTERM)
        wait_gone(lab, ns, name)
