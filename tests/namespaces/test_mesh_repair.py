"""What a node has set on its host and somebody else took away is put back."""

import pytest

from tests.lab import wait_until
from tests.namespaces.mesh import SUBNET, Mesh, says
from wgpy.io import clock

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.needs("nft", "ss"),
]
LIMIT = 6


def test_rules_firewalls_settings_and_addresses_that_were_flushed_are_put_back(trio: Mesh):
    lab = trio.lab
    alice, bob, charlie = trio.boxes
    alice.start("--exit")
    bob.start("--via", "0.0.0.0/0=alice")
    charlie.start()
    trio.wait_all(10)
    wait_until(lambda: "51820" in lab.ip(bob.ns, "rule"), 10, "the default route")
    rules = lab.ip(bob.ns, "rule")
    tables = lab.run(alice.ns, "nft", "list", "ruleset").stdout
    assert "masquerade" in tables

    def put_back(what: str, holds: object) -> None:
        began = clock.now()
        wait_until(holds, 15, what)  # type: ignore[arg-type]
        took = clock.now() - began
        says("2 a.m.", f"{what} flushed", back=took)
        assert took <= LIMIT

    lab.ip(bob.ns, "rule", "flush")
    lab.ip(bob.ns, "rule", "add", "from", "all", "lookup", "main", "priority", 32766)
    lab.ip(bob.ns, "rule", "add", "from", "all", "lookup", "default", "priority", 32767)
    put_back("rules", lambda: lab.ip(bob.ns, "rule") == rules)
    lab.run(alice.ns, "nft", "flush", "ruleset")
    put_back("nft", lambda: lab.run(alice.ns, "nft", "list", "ruleset").stdout == tables)
    lab.sysctl(alice.ns, "net.ipv4.ip_forward", 0)
    forwards = ("sysctl", "-n", "net.ipv4.ip_forward")
    put_back("ip_forward", lambda: lab.run(alice.ns, *forwards).stdout.strip() == "1")
    lab.ip(bob.ns, "address", "flush", "dev", bob.interface)
    put_back("address", lambda: bob.address in lab.ip(bob.ns, "address"))
    put_back("route", lambda: SUBNET in lab.ip(bob.ns, "route"))
    assert lab.ping(bob.ns, charlie.address, 3) == 3
    trio.finish()
    assert "51820" not in lab.ip(bob.ns, "rule")
    assert lab.run(alice.ns, *forwards).stdout.strip() == "0"
