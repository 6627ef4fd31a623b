"""How a node ends, and what it survives."""

import os
import signal
from pathlib import Path

import pytest

from tests.lab import Lab, wait_until
from tests.namespaces.nodes import (
    MARKS,
    ONE_PORT,
    ONE_V4,
    ONE_V6,
    PYTHON,
    TWO_PORT,
    TWO_V4,
    launch,
    outside,
    secret,
    start,
    status,
    tunnel,
    wait_gone,
)
from wgpy.io import clock

pytestmark = MARKS
# What an interface in another namespace is heard with.
LACKING = ("setpriv", "--bounding-set=-net_broadcast", "--inh-caps=-net_broadcast", "--")


def udp_ports(lab: Lab, ns: str) -> set[int]:
    """Return the UDP ports that are bound in a namespace."""
    lines = lab.run(ns, "ss", "-Hlun").stdout.splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines}


def background(lab: Lab, ns: str, name: str) -> int:
    """Start a node that goes into the background; return its pid."""
    before = set(lab.ip(None, "netns", "pids", ns).split())
    done = lab.run(ns, *PYTHON, name, timeout=10)
    assert (done.stdout, done.stderr) == ("", "")
    (pid,) = set(lab.ip(None, "netns", "pids", ns).split()) - before
    return int(pid)


def wait_dead(pid: int, timeout: float = 5) -> None:
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), timeout, f"the end of {pid}")


# --- ends ------------------------------------------------------------------------------------


def test_a_node_ends_when_its_interface_is_deleted(lab):
    node = start(lab, lab.ns(), port=ONE_PORT)
    node.up(f"{ONE_V4}/24")
    lab.ip(node.ns, "link", "del", node.name)
    assert node.child.wait(10) == 0
    wait_gone(lab, node.ns, node.name)
    assert udp_ports(lab, outside(node)) == set()


def test_a_node_ends_when_its_interface_is_deleted_elsewhere(lab):
    one, two = tunnel(lab)
    assert one.ping(TWO_V4) == 1
    lab.ip(one.ns, "link", "del", one.name)
    assert one.child.wait(10) == 0
    assert not lab.uapi(one.name).exists()
    # The namespace that holds it goes, and it goes with it.
    lab.ip(None, "netns", "delete", two.ns)
    assert two.child.wait(10) == 0


def test_a_node_ends_when_its_socket_is_removed(lab):
    node = start(lab, lab.ns())
    lab.uapi(node.name).unlink()
    assert node.child.wait(10) == 0
    wait_gone(lab, node.ns, node.name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_ends_by_a_signal(lab, number):
    one, _ = tunnel(lab)
    one.child.signal(number)
    assert one.child.wait(10) == 0
    wait_gone(lab, one.ns, one.name)
    assert "Traceback" not in one.child.log()


def test_a_node_ends_while_it_is_busy(lab):
    one, two = tunnel(lab)
    listener = lab.spawn(two.ns, "iperf3", "-s", "-B", TWO_V4, "--forceflush")
    listener.wait_log("Server listening")
    client = lab.spawn(one.ns, "iperf3", "-c", TWO_V4, "-u", "-b", "0", "-t", 10)
    wait_until(lambda: one.transfer(two)[1] > 1_000_000, 10, "traffic")
    lab.ip(two.ns, "link", "del", two.name)
    assert two.child.wait(10) == 0
    sent = one.transfer(two)[1]
    wait_until(lambda: one.transfer(two)[1] > sent, 5, "more traffic")
    one.child.signal(signal.SIGTERM)
    assert one.child.wait(10) == 0
    client.stop()
    for node in (one, two):
        assert "Traceback" not in node.child.log()
        wait_gone(lab, node.ns, node.name)


# --- comes back ------------------------------------------------------------------------------


def test_a_killed_node_is_started_again_at_once(lab):
    one, two = tunnel(lab)
    assert one.ping(TWO_V4) == 1
    inside = one.ns
    one.child.signal(signal.SIGKILL)
    one.child.wait(10)
    assert lab.uapi(one.name).exists()
    child = launch(lab, outside(one), one.name)
    wait_until(lambda: lab.run(None, "wg", "show", one.name, check=False).returncode == 0)
    one.child, one.ns = child, outside(one)
    one.set(
        *("private-key", secret(lab, one.private), "listen-port", ONE_PORT),
        *(
            "peer",
            two.public,
            "allowed-ips",
            f"{TWO_V4}/32",
            "endpoint",
            f"127.0.0.1:{TWO_PORT}",
        ),
        *("preshared-key", secret(lab, two.by_peer("preshared-keys")[one.public])),
    )
    one.move(inside)
    one.up(f"{ONE_V4}/24")
    assert one.ping(TWO_V4) == 1


def test_three_nodes_of_one_namespace_reach_each_other(lab):
    ns = lab.ns()
    nodes = [start(lab, ns, port=port) for port in (1, 2, 3)]
    for number, node in enumerate(nodes, 1):
        for other, peer in enumerate(nodes, 1):
            if peer is not node:
                node.set(
                    *("peer", peer.public, "allowed-ips", f"192.168.241.{other}/32"),
                    *("endpoint", f"127.0.0.1:{other}"),
                )
        node.move(lab.ns())
        node.up(f"192.168.241.{number}/24")
    for node in nodes:
        for other, peer in enumerate(nodes, 1):
            if peer is not node:
                assert node.ping(f"192.168.241.{other}") == 1
    # One goes, the others do not notice.
    nodes[0].child.signal(signal.SIGKILL)
    nodes[0].child.wait(10)
    assert nodes[1].ping("192.168.241.3", 3) == 3


def test_a_node_is_replaced_ten_times_back_to_back(lab):
    ns, name = lab.ns(), lab.ifname()
    pids = [background(lab, ns, name)]
    for _ in range(10):
        script = f"ip link del {name} && {' '.join(PYTHON)} {name}"
        lab.run(ns, "sh", "-c", script)
        assert "interface: " + name in lab.wg("show", name)
        pids.append(int(lab.ip(None, "netns", "pids", ns).split()[-1]))
    lab.ip(ns, "link", "del", name)
    wait_gone(lab, ns, name)
    for pid in pids:
        wait_dead(pid)


def test_a_node_in_the_background_lets_go_of_its_starter(lab):
    ns, name = lab.ns(), lab.ifname()
    pid = background(lab, ns, name)
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    wait_until(lambda: int(status(pid, "Threads")) == 1, 10, "what loads the kernels to end")
    os.kill(pid, signal.SIGTERM)
    wait_dead(pid)
    wait_gone(lab, ns, name)


# --- the interface's life --------------------------------------------------------------------


@pytest.mark.parametrize("moved", [False, True])
def test_down_closes_the_port_and_up_opens_it_again(lab, moved):
    node = start(lab, lab.ns(), port=ONE_PORT)
    if moved:
        node.move(lab.ns())
    sockets = outside(node)
    assert udp_ports(lab, sockets) == set()
    for _ in range(3):
        lab.ip(node.ns, "link", "set", node.name, "up")
        wait_until(lambda: udp_ports(lab, sockets) == {ONE_PORT}, 3, "the port to be bound")
        lab.ip(node.ns, "link", "set", node.name, "down")
        wait_until(lambda: udp_ports(lab, sockets) == set(), 3, "the port to be closed")
    assert node.show("listen-port") == str(ONE_PORT)


def test_down_forgets_the_session_and_up_begins_one(lab):
    one, two = tunnel(lab)
    assert one.ping(TWO_V4) == 1
    received = one.transfer(two)[0]
    lab.ip(one.ns, "link", "set", one.name, "down")
    lab.ip(one.ns, "link", "set", one.name, "up")
    # Initiations of a peer within 20 ms are one too many: the next is 5 s later.
    wait_until(lambda: one.ping(TWO_V4) == 1, 12, "a ping after up")
    # A response and an answer: nothing of the old session was used.
    assert one.transfer(two)[0] >= received + 92 + 128


def test_a_renamed_interface_serves_on(lab):
    one, two = tunnel(lab)
    assert one.ping(TWO_V4) == 1
    new = lab.ifname()
    lab.ip(one.ns, "link", "set", one.name, "name", new)
    assert one.ping(TWO_V4, 3) == 3
    lab.ip(one.ns, "link", "set", new, "mtu", 1280)
    assert one.ping(TWO_V4, size=1252) == 1
    # The socket keeps the name it was made with.
    assert one.endpoint(two) == f"127.0.0.1:{TWO_PORT}"
    lab.ip(one.ns, "link", "set", new, "down")
    lab.ip(one.ns, "link", "set", new, "up")
    wait_until(lambda: one.ping(TWO_V4) == 1, 12, "a ping after up")
    lab.ip(one.ns, "link", "del", new)
    assert one.child.wait(10) == 0


def test_an_interface_is_followed_from_namespace_to_namespace_and_home(lab):
    one, two = tunnel(lab)
    for ns in (lab.ns(), lab.ns(), outside(one), lab.ns()):
        one.move(ns)
        wait_until(lambda: ONE_PORT not in udp_ports(lab, outside(one)), 3, "port closed")
        one.up(f"{ONE_V4}/24", f"{ONE_V6}/112")
        assert one.ping(TWO_V4) == 1
        assert two.ping(ONE_V6) == 1
        one.mtu(1400)
        assert one.ping(TWO_V4, size=1372) == 1
    lab.ip(one.ns, "link", "del", one.name)
    assert one.child.wait(10) == 0


def test_a_port_that_is_taken_when_the_interface_goes_up_is_tried_again(lab):
    ns = lab.ns()
    node = start(lab, ns, port=ONE_PORT)
    squatter = lab.spawn(ns, "ncat", "-u", "-l", ONE_PORT)
    wait_until(lambda: udp_ports(lab, ns) == {ONE_PORT}, 3, "the port to be taken")
    lab.ip(ns, "link", "set", node.name, "up")
    node.child.wait_log("Address already in use.*trying again")
    squatter.stop()
    wait_until(node.ports, 8, "the port to be bound")


# --- following without a privilege, and doing nothing ----------------------------------------


def test_an_idle_node_sleeps():
    # A place of its own for the sockets: `wg show` of others wakes everyone it finds.
    with Lab(private_run=True) as lab:
        one, two = (start(lab, lab.ns(), port=port) for port in (ONE_PORT, TWO_PORT))
        for node in (one, two):
            node.move(lab.ns())
            lab.sysctl(node.ns, f"net.ipv6.conf.{node.name}.disable_ipv6", 1)
            node.up("192.168.241.1/24")
        at_home = start(lab, lab.ns(), prefix=LACKING)
        pause(2.5)  # what makes it fast is loaded half a second after the start
        pids = [node.child.pid for node in (one, two, at_home)]
        before = [wakeups(pid) for pid in pids]
        pause(3)
        assert [wakeups(pid) for pid in pids] == before
        assert min(before) > 0


def test_without_broadcasts_of_other_namespaces_the_interface_is_looked_at(lab):
    ns = lab.ns()
    node = start(lab, ns, port=ONE_PORT, prefix=LACKING)
    node.move(lab.ns())
    node.up(f"{ONE_V4}/24", f"{ONE_V6}/112")
    wait_until(lambda: udp_ports(lab, ns) == {ONE_PORT}, 5, "the port to be bound")
    lab.ip(node.ns, "link", "set", node.name, "down")
    wait_until(lambda: udp_ports(lab, ns) == set(), 5, "the port to be closed")
    lab.ip(node.ns, "link", "del", node.name)
    assert node.child.wait(5) == 0


def pause(seconds: float) -> None:
    """Let time pass: what is to be seen is that nothing happens."""
    end = clock.now() + seconds
    wait_until(lambda: clock.now() > end, seconds + 1)


def wakeups(pid: int) -> int:
    return int(status(pid, "voluntary_ctxt_switches"))
