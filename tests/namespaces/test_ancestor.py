"""The set-up of wg_netmanager's own tests: its files, its words, its three boxes."""

import sys

import pytest

from tests.lab import Lab
from tests.namespaces.mesh import KEY, three_boxes

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("ping", "ss")]

# A subnet with host bits, an admin port of its own, and a key of a version before 0.4.
NETWORK = f"""\
network:
  sharedKey: {KEY}
  subnet: 10.1.1.0/8
peers:
  - endPoint: 10.128.1.1:55555
    publicIp: 10.128.1.1
    adminPort: 55551
    wgIp: 10.1.1.1
"""

# As its README has it: two static peers by name, each with both ports, and no other file.
NAMED = f"""\
network:
  sharedKey: "{KEY}"   # of wg genkey
  subnet: 10.1.0.0/16
peers:
  - endPoint: vps.example.org:50001
    adminPort: 50501
    wgIp: 10.1.1.1
  - endPoint: home.example.org:50002
    adminPort: 50502
    wgIp: 10.1.1.2
"""
# As its script for three boxes has it: two static peers, with the same two ports each.
ALIKE = f"""\
network:
  sharedKey: {KEY}
  subnet: 10.1.1.0/12

peers:
  - endPoint: 10.128.1.1:50000
    adminPort: 55555
    wgIp: 10.1.1.1
  - endPoint: 10.128.1.2:50000
    adminPort: 55555
    wgIp: 10.1.1.2
"""


def test_its_three_boxes_come_up_with_its_file_and_its_positional_words(lab: Lab):
    mesh, _, _ = three_boxes(lab, sys.executable)
    mesh.file.write_text(NETWORK)
    for box in mesh.boxes:
        argv = ("-m", "netmgr", "-c", mesh.file, "--state", box.state, "-v")
        words = (box.interface, box.address, box.name)
        box.child = lab.python(box.ns, *argv, *words)
    mesh.wait_all(10)
    alice, bob, _ = mesh.boxes
    sockets = lab.run(alice.ns, "ss", "-lnu").stdout
    assert ":55555" in sockets
    assert ":55551" in sockets
    assert ":50002" in lab.run(bob.ns, "ss", "-lnu").stdout
    assert "10.1.1.1/8" in lab.ip(alice.ns, "address", "show", "dev", alice.interface)
    for box in mesh.boxes:
        box.stop()
        assert "Traceback" not in box.log()


@pytest.mark.parametrize(
    ("file", "ports"),
    [(NAMED, ((50001, 50501), (50002, 50502))), (ALIKE, ((50000, 55555), (50000, 55555)))],
    ids=["README", "script"],
)
def test_two_static_peers_of_its_files_and_a_third_box_meet(
    lab: Lab, file: str, ports: tuple[tuple[int, int], ...]
):
    mesh, _, _ = three_boxes(lab, sys.executable)
    mesh.file.write_text(file)
    for box in mesh.boxes:
        lab.etc(box.ns, "hosts", "10.128.1.1 vps.example.org\n10.128.1.2 home.example.org\n")
        words = ("-i", box.interface, "-a", box.address, "-n", box.name)
        argv = ("-m", "netmgr", "-c", mesh.file, "--state", box.state, "-v")
        box.child = lab.python(box.ns, *argv, *words)
    mesh.wait_all(10)
    for box, own in zip(mesh.boxes, ports, strict=False):
        sockets = lab.run(box.ns, "ss", "-lnu").stdout
        assert all(f":{port}" in sockets for port in own)
    for box in mesh.boxes:
        box.stop()
        assert "Traceback" not in box.log()


def test_peer_yaml_says_who_a_box_is(lab: Lab):
    mesh, _, _ = three_boxes(lab, sys.executable)
    mesh.file.write_text(NETWORK)
    for box in mesh.boxes:
        file = lab.directory / f"{box.name}.yaml"
        lines = f"name: {box.name}\nwgIp: {box.address}\nwgInterface: {box.interface}\n"
        file.write_text(lines)
        argv = ("-m", "netmgr", "-c", mesh.file, "-p", file, "--state", box.state)
        box.child = lab.python(box.ns, *argv)
    mesh.wait_all(10)
    for box in mesh.boxes:
        box.stop()
        begin, end = (line for line in box.log().splitlines() if "publicIp" not in line)
        assert f"{box.name} is up on {box.interface}, {box.address}, UDP port " in begin
        assert end.endswith(f"{box.name} has ended")


def test_first_contact_by_the_admin_port_alone_leads_to_the_tunnel(lab: Lab):
    """The WireGuard port of the file is closed to knocks of strangers by a firewall."""
    mesh, _, _ = three_boxes(lab, sys.executable)
    mesh.file.write_text(NETWORK)
    alice, bob, _ = mesh.boxes
    lab.nft(
        alice.ns,
        """table inet t {
  chain c {
    type filter hook input priority 0
    udp dport 55555 @th,64,8 0x80 drop
    udp dport 50550 drop
  }
}
""",
    )
    for box in (alice, bob):
        words = (box.interface, box.address, box.name)
        argv = ("-m", "netmgr", "-c", mesh.file, "--state", box.state, "-vv")
        box.child = lab.python(box.ns, *argv, *words)
    mesh.wait_all(15, [alice, bob])
