"""The mesh as a library, and its program on an interface that is there already."""

import sys

import pytest

from tests.lab import Lab
from tests.namespaces.mesh import three_boxes

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("ping")]

TWO_NETWORKS = """
import asyncio, sys
from netmgr import HostPort, Network, NetworkFile, Settings, StaticPeer
from wgpy.model import Prefix, Secret

def settings(interface, third, port, state):
    network = NetworkFile(Secret(bytes([third]) * 32), Prefix(bytes((10, 1, third, 0)), 24))
    seed = StaticPeer(HostPort("192.0.2.2", port), None, bytes((10, 1, third, 2)))
    return Settings(network, sys.argv[1], bytes((10, 1, third, int(sys.argv[2]))), interface,
                    port, seeds=(seed,) if sys.argv[2] == "1" else (), state=state)

async def main():
    one = settings(sys.argv[3], 3, 50003, sys.argv[5] + "-a")
    other = settings(sys.argv[4], 4, 50004, sys.argv[5] + "-b")
    async with Network(one) as a, Network(other) as b:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(until_all_are_reached(a))
            tasks.create_task(until_all_are_reached(b))
        print("both networks are complete", flush=True)
        await asyncio.Event().wait()

async def until_all_are_reached(network):
    while not any(peer.reachable for peer in network.snapshot().peers):
        await asyncio.sleep(0.05)

asyncio.run(main())
"""


def test_two_networks_run_in_one_process(lab: Lab):
    a, b = lab.pair()
    for number, (ns, name) in enumerate(((a, "alice"), (b, "bob")), 1):
        words = (name, number, lab.ifname(), lab.ifname(), lab.directory / name)
        lab.python(ns, "-c", TWO_NETWORKS, *words)
    for child in lab.children:
        child.wait_log("both networks are complete", 15)
    for third in (3, 4):
        lab.wait_ping(a, f"10.1.{third}.2")
        lab.wait_ping(b, f"10.1.{third}.1")


def test_an_interface_that_is_there_stays_and_is_emptied_first(lab: Lab):
    mesh, _, _ = three_boxes(lab, sys.executable)
    alice, bob, _ = mesh.boxes
    lab.ip(alice.ns, "tuntap", "add", "dev", alice.interface, "mode", "tun")
    lab.address(alice.ns, alice.interface, "10.99.0.1/24")
    alice.start("-e")
    bob.start()
    mesh.wait_all(10, [alice, bob])
    assert "10.99.0.1" not in lab.ip(alice.ns, "address", "show", "dev", alice.interface)
    assert alice.child is not None and alice.child.stop() == 0
    assert alice.interface in lab.ip(alice.ns, "link", "show")


def test_e_without_an_interface_says_so(lab: Lab):
    mesh, _, _ = three_boxes(lab, sys.executable)
    alice = mesh.boxes[0]
    child = alice.start("-e")
    assert child.wait() == 1
    assert f"{alice.interface} does not exist" in child.log()


def test_a_command_without_a_node_says_so(lab: Lab):
    ns = lab.ns()
    argv = (sys.executable, "-m", "netmgr", "status", "-i", "wt-none")
    done = lab.run(ns, *argv, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
