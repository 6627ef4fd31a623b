"""What a node says before it begins: its first line, and what it would change."""

from dataclasses import replace

import pytest

from netmgr import daemon
from netmgr.model import HostPort, NetworkFile, Settings, StaticPeer
from wgpy.hostmodel import HostState
from wgpy.model import InterfaceAddress, Prefix, Secret
from wgpy.wire.text import parse_address, parse_prefix

SETTINGS = Settings(
    NetworkFile(Secret(bytes(range(32))), parse_prefix("10.1.1.0/24")),
    name="bob",
    address=parse_address("10.1.1.2"),
    interface="wg0",
    listen_port=50002,
    admin_port=50502,
)
DEFAULT = Prefix(bytes(4), 0)


def test_the_first_line_tells_who_and_where():
    line = "bob is up on wg7, 10.1.1.2, UDP port 50002, "
    assert daemon.begun(SETTINGS, "wg7") == line + "0 static peers"
    seeds = (StaticPeer(HostPort("a", 1)),)
    assert daemon.begun(replace(SETTINGS, seeds=seeds), "wg7") == line + "1 static peer"


def test_a_dry_run_tells_routes_and_rules_that_come_once_a_node_takes_a_prefix():
    via = ((DEFAULT, "vps"), (DEFAULT, "any"), (parse_prefix("8.8.8.0/24"), "vps"))
    lines = daemon.changes(replace(SETTINGS, via=via), HostState())
    assert "listen on UDP port 50502 as well" in lines
    once = "once 0.0.0.0/0 goes through vps or any: "
    assert once + "+ route     0.0.0.0/0 dev wg0 table 51820" in lines
    assert sum(line.startswith(once + "+ rule ") for line in lines) == 4  # of both families
    once = "once 8.8.8.0/24 goes through vps: "
    assert once + "+ route     8.8.8.0/24 dev wg0 table main" in lines
    busy = HostState(tables=frozenset({51820}))
    assert any(
        "table 51821" in line for line in daemon.changes(replace(SETTINGS, via=via), busy)
    )


def test_a_dry_run_tells_what_an_offer_changes_and_what_the_host_refuses():
    routes = (parse_prefix("192.168.7.0/24"),)
    present = HostState(sysctls={"net.ipv4.ip_forward": "0"})
    lines = daemon.changes(replace(SETTINGS, routes=routes, exit_node=True), present)
    assert "forward and masquerade to 192.168.7.0/24" in lines
    assert "forward and masquerade to anywhere" in lines
    assert "+ firewall  nft table ip wgpy_wg0" in lines
    assert "= sysctl    net.ipv4.ip_forward = 1" in lines
    near = ("eth0", InterfaceAddress(parse_address("8.8.8.1"), 24))
    via = ((parse_prefix("8.8.8.0/24"), "vps"),)
    lines = daemon.changes(replace(SETTINGS, via=via), HostState(neighbours=(near,)))
    assert any(line.startswith("route refused: 8.8.8.0/24 ") for line in lines)


def test_a_dry_run_ends_once_it_has_told(capsys: pytest.CaptureFixture[str]):
    assert daemon.run(SETTINGS, dry_run=True) == 0
    assert capsys.readouterr().out.startswith("create the interface wg0 (TUN)\n")
