"""The kernel in its small machine: it boots, and tunnels to a wireguard-go outside."""

import pytest

from tests import foreign, kernel_vm
from tests.kernel_vm import KernelVm
from tests.lab import LabError, keypair, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.interop, pytest.mark.needs(*kernel_vm.NEEDS)]


def test_the_machine_runs_commands(lab):
    with KernelVm.user(lab) as vm:
        assert len(vm.wg("genkey").strip()) == 44
        assert vm.ping("127.0.0.1", 1) == vm.ping("::1", 1) == 1
        vm.write("/tmp/text", "a 'quoted' line\n" * 1000)
        assert vm.run("cat /tmp/text") == "a 'quoted' line\n" * 1000
        with pytest.raises(LabError, match="3\nno"):
            vm.run("echo no; exit 3")
        assert vm.run("false", check=False) == ""
        with pytest.raises(LabError, match="no answer"):
            vm.run("sleep 60", timeout=0.5)
    assert not vm.child.alive


@pytest.mark.root
def test_it_answers_and_calls_through_the_nat_of_qemu(lab):
    """One machine, asked first and asking afterwards, which needs no more than a port."""
    ns, (here, there) = lab.ns(), (keypair(), keypair())
    node = foreign.launch(lab, ns, "wireguard-go")
    node.up("10.9.0.1/24")
    with KernelVm.user(lab, ns, forward={51821: 51820}) as vm:
        vm.wireguard(
            "wg0",
            f"[Interface]\nPrivateKey = {there[0]}\nListenPort = 51820\n"
            f"[Peer]\nPublicKey = {here[1]}\nAllowedIPs = 10.9.0.1/32\n",
            "10.9.0.2/24",
        )
        node.configure(
            f"[Interface]\nPrivateKey = {here[0]}\nListenPort = 51820\n"
            f"[Peer]\nPublicKey = {there[1]}\nAllowedIPs = 10.9.0.2/32\n"
            "Endpoint = 127.0.0.1:51821\n"
        )
        lab.wait_ping(ns, "10.9.0.2", 20)
        assert int(vm.wg("show wg0 transfer").split()[1]) > 0

        lab.wg("set", node.interface, "peer", there[1], "remove")
        lab.wg("set", node.interface, "peer", there[1], "allowed-ips", "10.9.0.2/32")
        for host, source in (("10.0.2.2", "127.0.0.1"), ("[fec0::2]", "[::1]")):
            vm.run(f"ip link set wg0 down; wg set wg0 peer {here[1]} endpoint {host}:51820")
            vm.run("ip link set wg0 up")
            wait_until(lambda: vm.ping("10.9.0.1", 1), 20, f"an answer by way of {host}")
            assert f"\t{source}:" in node.show("endpoints")
