"""The launch contract: arguments, environment, privileges, and what is said when it fails."""

import json
import re
from pathlib import Path

import pytest

from tests.lab import Done, Lab, keypair, wait_until
from tests.namespaces.nodes import (
    MARKS,
    ONE_V4,
    PYTHON,
    TWO_V4,
    launch,
    outside,
    secret,
    start,
    status,
    tunnel,
    wait_gone,
)
from wgpy.wire.text import parse_key

pytestmark = MARKS
NET_BIND_SERVICE, NET_ADMIN = 10, 12
# Opens what a supervisor would and hands it down: fd 3 the interface, fd 4 the socket.
SUPERVISOR = """
import os, sys
from wgpy.io import tun_linux, uapi_socket
name = sys.argv[1]
tun = tun_linux.TunLinux.create(name)
os.dup2(tun.fileno(), 13, inheritable=True)
listener = uapi_socket.bind(name)
os.dup2(listener.socket.fileno(), 14, inheritable=True)
environ = {**os.environ, "WG_TUN_FD": "13", "WG_UAPI_FD": "14"}
os.execve(sys.executable, [sys.executable, "-m", "wgpy", "-f", name], environ)
"""


def fails(done: Done, code: int = 1) -> str:
    """Check that a start failed with one line and a code, and return the line."""
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("wgpy: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# --- arguments and environment ---------------------------------------------------------------


def test_the_version_is_told(lab):
    assert re.fullmatch(r"wgpy \S+\n", lab.run(None, *PYTHON, "--version").stdout)


@pytest.mark.parametrize("words", [(), ("--nonsense",), ("wg0", "wg1"), ("-f",)])
def test_wrong_use_is_told_apart_from_failure(lab, words):
    done = lab.run(lab.ns(), *PYTHON, *words, check=False)
    assert done.returncode == 2
    assert "usage: " in done.stderr or "is no command" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_keeps_it_in_the_foreground(lab):
    ns, name = lab.ns(), lab.ifname()
    child = lab.python(ns, "-m", "wgpy", name, env={"WG_PROCESS_FOREGROUND": "1"})
    lab.wait_uapi(name)
    assert child.alive
    assert lab.ip(None, "netns", "pids", ns).split() == [str(child.pid)]
    child.stop()
    wait_gone(lab, ns, name)


def test_interface_and_socket_can_be_handed_down(lab):
    ns, name = lab.ns(), lab.ifname()
    child = lab.python(ns, "-c", SUPERVISOR, name)
    lab.wait_uapi(name)
    private, public = keypair()
    lab.wg("set", name, "private-key", secret(lab, private))
    assert lab.wg("show", name, "public-key").strip() == public
    assert f" {name}: " in lab.ip(ns, "-o", "link", "show")
    child.stop()
    wait_gone(lab, ns, name)


def test_in_the_background_it_logs_where_its_starter_did_if_asked_to(lab):
    ns, name = lab.ns(), lab.ifname()
    log = lab.directory / "log"
    script = f"exec {' '.join(PYTHON)} {name} >{log} 2>&1"
    lab.run(ns, "sh", "-c", script, env={"LOG_LEVEL": "info", "WGPY_LOG_FORMAT": "json"})
    lab.wg("set", name, "listen-port", 7)
    squatter = lab.spawn(ns, "ncat", "-u", "-l", 7)
    wait_until(lambda: lab.run(ns, "ss", "-Hlun").stdout, 3, "the port to be taken")
    lab.ip(ns, "link", "set", name, "up")
    line = json.loads(wait_until(log.read_text, 5, "a line"))
    assert line["interface"] == name
    assert "port 7 cannot be bound" in line["message"]
    squatter.stop()


@pytest.mark.parametrize(
    ("env", "words", "code"),
    [
        ({"WG_TUN_FD": "nine"}, "WG_TUN_FD=nine", 2),
        ({"WG_TUN_FD": "0"}, "fd 0 is no TUN interface", 1),
        ({"WG_UAPI_FD": "0"}, "WG_UAPI_FD=0 is no listening unix socket", 1),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL=loud", 2),
        ({"WGPY_MTU": "1"}, "MTU 1 cannot be set", 1),
        ({"WGPY_OFF": "gsoo"}, "WGPY_OFF: no part is called gsoo", 2),
        ({"WGPY_FORWARD": "yes"}, "WGPY_FORWARD=yes", 2),
    ],
)
@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_an_environment_that_makes_no_sense_is_refused(lab, env, words, code, flags):
    ns, name = lab.ns(), lab.ifname()
    assert words in fails(lab.run(ns, *PYTHON, *flags, name, check=False, env=env), code)
    wait_gone(lab, ns, name)


@pytest.mark.parametrize("level", ["verbose", "debug", "info", "error", "silent"])
def test_the_log_has_what_was_asked_for_and_never_a_key(lab, level):
    outer = lab.ns()
    env = {"LOG_LEVEL": level}
    one, two = (start(lab, outer, port=port, env=env) for port in (1, 2))
    psk = keypair()[0]
    for node, peer, port, ip in ((one, two, 2, TWO_V4), (two, one, 1, ONE_V4)):
        node.set(
            *("peer", peer.public, "preshared-key", secret(lab, psk)),
            *("allowed-ips", f"{ip}/32", "endpoint", f"127.0.0.1:{port}"),
        )
        node.move(lab.ns())
    one.up(f"{ONE_V4}/24")
    two.up(f"{TWO_V4}/24")
    assert one.ping(TWO_V4) == 1
    for node in (one, two):
        node.child.stop()
        log = node.child.log()
        quiet = level in ("error", "silent")
        assert ("handshake completed" in log) is not quiet, log
        for key in (psk, one.private, two.private):
            for form in (key, key.rstrip("="), parse_key(key).hex()):
                assert form not in log


# --- privileges ------------------------------------------------------------------------------


def test_a_running_node_keeps_two_capabilities(lab):
    node = start(lab, lab.ns(), port=53)
    pid = node.child.pid
    assert status(pid, "Uid").split() == ["0"] * 4
    for kind in ("CapEff", "CapPrm"):
        assert int(status(pid, kind), 16) == 1 << NET_ADMIN | 1 << NET_BIND_SERVICE
    for kind in ("CapInh", "CapBnd", "CapAmb"):
        assert int(status(pid, kind), 16) == 0
    assert status(pid, "NoNewPrivs") == "1"
    assert {int(status(int(task.name), "CapEff"), 16) for task in tasks(pid)} == {0x1400}
    assert "Max core file size        0 " in Path(f"/proc/{pid}/limits").read_text()
    # It still may do all that a configuration can ask for.
    node.up(f"{ONE_V4}/24")
    node.set("fwmark", 5, "listen-port", 123)
    assert node.show("listen-port") == "123"
    node.set("listen-port", 53)
    assert node.show("listen-port") == "53"


def tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def test_without_the_capability_it_says_what_is_missing(lab):
    ns, name = lab.ns(), lab.ifname()
    lacking = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--")
    done = lab.run(ns, *lacking, *PYTHON, name, check=False)
    assert "no CAP_NET_ADMIN: for docker" in fails(done)
    wait_gone(lab, ns, name)


@pytest.mark.needs("unshare")
def test_without_the_device_it_says_what_is_missing(lab):
    ns, name = lab.ns(), lab.ifname()
    script = f"mount -t tmpfs tmpfs /dev/net && exec {' '.join(PYTHON)} {name}"
    done = lab.run(ns, "unshare", "--mount", "sh", "-c", script, check=False)
    assert "no /dev/net/tun" in fails(done)
    wait_gone(lab, ns, name)


# --- names -----------------------------------------------------------------------------------


def test_a_name_in_use_by_a_node_is_refused_and_that_node_serves_on(lab):
    one, two = tunnel(lab)
    taken = start(lab, outside(one))
    said = fails(lab.run(taken.ns, *PYTHON, taken.name, check=False))
    assert f"{taken.name}: the interface is in use" in said
    # Also elsewhere: the place of the sockets is one.
    said = fails(lab.run(lab.ns(), *PYTHON, "-f", one.name, check=False))
    assert "already in use" in said
    assert taken.show("public-key") == taken.public
    assert one.ping(TWO_V4) == 1
    assert two.ping(ONE_V4) == 1


def test_a_name_in_use_by_another_kind_of_interface_is_refused(lab):
    ns = lab.ns()
    bridge = lab.bridge(ns)
    assert "another kind" in fails(lab.run(ns, *PYTHON, bridge, check=False))
    assert not lab.uapi(bridge).exists()
    assert f" {bridge}: " in lab.ip(ns, "-o", "link", "show")


@pytest.mark.parametrize("name", ["a/b", "sixteen-letters.", "with space", ".."])
def test_a_name_that_is_none_is_refused(lab, name):
    fails(lab.run(lab.ns(), *PYTHON, name, check=False), 2)


def test_the_kernel_may_number_the_interface(lab: Lab):
    ns, template = lab.ns(), lab.ifname()[:12] + "%d"
    name = template.replace("%d", "0")
    lab.interfaces.append(name)
    child = launch(lab, ns, template)
    wait_until(lambda: f" {name}: " in lab.ip(ns, "-o", "link", "show"), 5, name)
    lab.wait_uapi(name)
    child.stop()
    wait_gone(lab, ns, name)
