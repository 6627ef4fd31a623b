"""Routes and masquerading on real hosts; a cable is "the interface", without WireGuard."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvloop

from netmgr.engine.plan import FORWARDING, RoutesPlan, RoutesWanted, plan
from netmgr.io.gateway import Gateway, GatewayThread
from tests.lab import Lab
from tests.wgpy.io.inside import inside
from wgpy.engine.quick import nft_table
from wgpy.errors import ConfigError
from wgpy.wire.text import parse_interface_address, parse_prefix

pytestmark = [pytest.mark.root, pytest.mark.needs("nft")]

SETTINGS = tuple(FORWARDING.values())


class Home(NamedTuple):
    """A node: an uplink, a network behind it, and a cable that is its overlay interface."""

    lab: Lab
    ns: str
    mesh: str
    far: str
    behind: str
    lan: str
    folder: Path

    def wanted(
        self, through: tuple[str, ...] = (), offered: tuple[str, ...] = ()
    ) -> RoutesWanted:
        return RoutesWanted(
            self.mesh,
            (parse_prefix("10.1.1.0/24"),),
            (parse_interface_address("10.1.1.1/24"),),
            tuple(map(parse_prefix, through)),
            tuple(map(parse_prefix, offered)),
        )

    def state(self) -> tuple[str, ...]:
        """Return all that a gateway may change, as the system tells it."""
        ip = self.lab.ip
        return (
            ip(self.ns, "route", "show", "table", "all"),
            ip(self.ns, "-6", "route", "show", "table", "main"),
            ip(self.ns, "rule"),
            self.lab.run(self.ns, "nft", "list", "ruleset").stdout,
            self.lab.run(self.ns, "sysctl", *SETTINGS).stdout,
        )

    def routes(self) -> set[str]:
        found: list[dict[str, Any]] = json.loads(
            self.lab.ip(self.ns, "-j", "route", "show", "dev", self.mesh)
        )
        return {route["dst"] for route in found}


@pytest.fixture
def home(lab: Lab, tmp_path: Path) -> Home:
    ns, far, behind = lab.ns(), lab.ns(), lab.ns()
    mesh, _ = lab.veth(ns, far, ("10.1.1.1/24",), ("10.1.1.2/24",))
    lan, _ = lab.veth(ns, behind, ("192.168.7.1/24",), ("192.168.7.2/24", "192.168.8.2/24"))
    lab.ip(ns, "route", "add", "192.168.8.0/24", "via", "192.168.7.2")
    lab.ip(far, "route", "add", "192.168.0.0/16", "via", "10.1.1.1")
    return Home(lab, ns, mesh, far, behind, lan, tmp_path / "run")


@contextmanager
def gateway(home: Home, said: Callable[[str], None] = print) -> Iterator[Gateway]:
    with inside(home.ns):
        made = Gateway(home.mesh, nft_table(home.mesh), said, directory=str(home.folder))
    try:
        yield made
    finally:
        with inside(home.ns):
            made.close()


def apply(home: Home, made: Gateway, want: RoutesWanted) -> RoutesPlan:
    """Carry a plan out, see that nothing failed, and that a second one is empty."""
    with inside(home.ns):
        around = made.look(SETTINGS)
        result = plan(want, around.state, around.gateways)
        assert made.carry_out(result.steps) == ()
        again = made.look(SETTINGS)
        assert plan(want, again.state, again.gateways).steps == ()
    return result


def test_routes_appear_change_and_go_and_foreign_ones_stay(home: Home):
    home.lab.ip(home.ns, "route", "add", "172.30.0.0/16", "dev", home.mesh, "proto", "static")
    before = home.state()
    with gateway(home) as made:
        apply(home, made, home.wanted(("192.168.50.0/24", "172.20.0.0/16")))
        first = {"10.1.1.0/24", "172.30.0.0/16", "192.168.50.0/24", "172.20.0.0/16"}
        assert home.routes() == first
        apply(home, made, home.wanted(("192.168.50.0/24", "172.21.0.0/16", "172.30.0.0/16")))
        assert home.routes() == first - {"172.20.0.0/16"} | {"172.21.0.0/16"}
    assert home.state() == before
    assert list(home.folder.iterdir()) == []


def test_a_route_that_another_interface_has_is_a_fault_of_its_own(home: Home):
    before = home.state()
    with gateway(home) as made, inside(home.ns):
        around = made.look(SETTINGS)
        want = home.wanted(("192.168.8.0/24", "192.168.50.0/24"))
        [fault] = made.carry_out(plan(want, around.state).steps)
        assert f"{home.lan} has it already" in fault
        assert "192.168.50.0/24" in home.routes()
    assert home.state() == before


def test_dangerous_prefixes_are_refused_alone(home: Home):
    home.lab.ip(home.ns, "route", "add", "default", "via", "192.168.7.2")
    home.lab.ip(home.ns, "route", "add", "198.51.100.1/32", "dev", home.lan)
    home.lab.ip(
        home.ns, "route", "replace", "default", "via", "198.51.100.1", "dev", home.lan, "onlink"
    )
    with gateway(home) as made:
        result = apply(
            home, made, home.wanted(("192.168.0.0/16", "198.51.100.0/24", "172.20.0.0/16"))
        )
        assert [str(each).split(",")[0] for each in result.refused] == [
            "192.168.0.0/16 overlaps 192.168.7.0/24",
            "198.51.100.0/24 holds 198.51.100.1",
        ]
        assert home.routes() == {"10.1.1.0/24", "172.20.0.0/16"}


@pytest.mark.slow
def test_hosts_behind_are_reached_without_a_route_back_and_nothing_else_is(home: Home):
    before = home.state()
    lab = home.lab
    assert lab.ping(home.far, "192.168.7.2", 1) == 0
    with gateway(home) as made:
        apply(home, made, home.wanted(offered=("192.168.7.0/24",)))
        assert lab.ping(home.far, "192.168.7.2", 3) == 3
        # Behind this node, but not offered.
        assert lab.ping(home.far, "192.168.8.2", 1) == 0
        apply(home, made, home.wanted(offered=("192.168.7.0/24", "192.168.8.0/24")))
        assert lab.ping(home.far, "192.168.8.2", 3) == 3
        apply(home, made, home.wanted(offered=("0.0.0.0/0",)))
        assert lab.ping(home.far, "192.168.8.2", 3) == 3
        apply(home, made, home.wanted())
        assert home.state() == before
        assert lab.ping(home.far, "192.168.7.2", 1) == 0
    assert home.state() == before


def test_ipv6_behind_this_node_is_reached_too_and_joins_a_full_tunnel(home: Home):
    lab = home.lab
    lab.address(home.ns, home.mesh, "fd00:77::1/64")
    far_name = json.loads(lab.ip(home.far, "-j", "address", "show", "to", "10.1.1.2"))
    lab.address(home.far, far_name[0]["ifname"], "fd00:77::2/64")
    lab.address(home.ns, home.lan, "fd00:7::1/64")
    behind_name = json.loads(lab.ip(home.behind, "-j", "address", "show", "to", "192.168.7.2"))
    lab.address(home.behind, behind_name[0]["ifname"], "fd00:7::2/64")
    lab.ip(home.far, "route", "add", "fd00:7::/64", "via", "fd00:77::1")
    before = home.state()
    with gateway(home) as made:
        want = home.wanted(offered=("fd00:7::/64", "192.168.7.0/24"))
        want = replace(want, overlay=(*want.overlay, parse_prefix("fd00:77::/64")))
        apply(home, made, want)
        lab.wait_ping(home.far, "fd00:7::2")
        apply(home, made, replace(want, through=(parse_prefix("::/0"),)))
        assert lab.ping(home.far, "fd00:7::2", 1) == 1
    assert home.state() == before


def test_an_uplink_with_a_dot_in_its_name_goes_on_to_listen_to_routers(home: Home):
    vlan = f"{home.lan}.7"
    home.lab.ip(home.ns, "link", "add", vlan, "type", "veth")
    home.lab.ip(home.ns, "link", "set", vlan, "up")
    home.lab.ip(home.ns, "address", "add", "192.168.77.1/24", "dev", vlan)
    file = f"/proc/sys/net/ipv6/conf/{vlan}/accept_ra"
    want = home.wanted(offered=("fd00:5::/64",))
    with gateway(home) as made:
        apply(home, made, replace(want, overlay=(parse_prefix("fd00:77::/64"),)))
        assert home.lab.run(home.ns, "cat", file).stdout == "2\n"
    assert home.lab.run(home.ns, "cat", file).stdout == "1\n"


def test_an_exit_takes_all_but_marked_packets_and_the_own_networks(home: Home):
    lab = home.lab
    lab.ip(home.ns, "route", "add", "default", "via", "192.168.7.2")
    before = home.state()
    with gateway(home) as made:
        result = apply(home, made, home.wanted(("0.0.0.0/0",)))

        def way(*words: object) -> str:
            [route] = json.loads(lab.ip(home.ns, "-j", "route", "get", "1.1.1.1", *words))
            return str(route["dev"])

        assert result.mark
        assert way() == home.mesh
        assert way("mark", result.mark) == home.lan
        [near] = json.loads(lab.ip(home.ns, "-j", "route", "get", "192.168.8.2"))
        assert near["dev"] == home.lan
        assert lab.ping(home.ns, "192.168.7.2", 1) == 1
    assert home.state() == before


@pytest.mark.slow
def test_after_a_kill_the_next_start_finds_and_undoes_everything(home: Home):
    before = home.state()
    program = (
        "import sys, threading\n"
        "from netmgr.engine.plan import RoutesWanted, plan, FORWARDING\n"
        "from netmgr.io.gateway import Gateway\n"
        "from wgpy.engine.quick import nft_table\n"
        "from wgpy.wire.text import parse_interface_address, parse_prefix\n"
        "name, folder = sys.argv[1:]\n"
        "made = Gateway(name, nft_table(name), print, directory=folder)\n"
        "around = made.look(FORWARDING.values())\n"
        "want = RoutesWanted(name, (parse_prefix('10.1.1.0/24'),),\n"
        "    (parse_interface_address('10.1.1.1/24'),),\n"
        "    (parse_prefix('172.20.0.0/16'), parse_prefix('0.0.0.0/0')),\n"
        "    (parse_prefix('192.168.7.0/24'),))\n"
        "print(made.carry_out(plan(want, around.state).steps), 'made', flush=True)\n"
        "threading.Event().wait()\n"
    )
    child = home.lab.spawn(home.ns, sys.executable, "-c", program, home.mesh, home.folder)
    child.wait_log(r"\(\) made", 20)
    child.process.kill()
    child.wait()
    assert "172.20.0.0/16" in home.routes()
    assert home.state() != before
    with gateway(home):
        assert home.state() == before
    assert home.state() == before


def test_a_table_or_a_setting_that_somebody_takes_away_is_missed(home: Home):
    with gateway(home) as made, inside(home.ns):
        assert not made.has_lost()
        want = home.wanted(offered=("192.168.7.0/24",))
        made.carry_out(plan(want, made.look(SETTINGS).state).steps)
        assert not made.has_lost()
        home.lab.run(home.ns, "nft", "flush", "ruleset")
        assert made.has_lost()
        apply(home, made, want)
        home.lab.sysctl(home.ns, "net.ipv4.ip_forward", 0)
        assert made.has_lost()


def test_tables_stay_while_nft_does_not_answer(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "nft"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    want = home.wanted(("0.0.0.0/0",), offered=("192.168.7.0/24",))
    with gateway(home) as made:
        apply(home, made, want)
        before = home.state()
        with monkeypatch.context() as patch, inside(home.ns):
            patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
            around = made.look(SETTINGS)
            assert plan(want, around.state, around.gateways).steps == ()
        apply(home, made, want)
        assert home.state() == before


def test_own_addresses_and_rules_come_back_and_nothing_leaves_meanwhile(home: Home):
    lab = home.lab
    lab.ip(home.ns, "route", "add", "default", "via", "192.168.7.2")
    before = home.state()
    want = home.wanted(("0.0.0.0/0", "172.20.0.0/16"))
    with gateway(home) as made:
        apply(home, made, want)
        whole = home.state()
        lab.ip(home.ns, "address", "flush", "dev", home.mesh)
        assert not lab.ip(home.ns, "route", "get", "1.1.1.1", check=False)
        for family in ("-4", "-6"):
            lab.ip(home.ns, family, "rule", "delete", "table", "51820")
        apply(home, made, want)
        ours = [line for line in whole[0].splitlines() if "proto 87" in line]
        assert len(ours) == 4 and set(ours) <= set(home.state()[0].splitlines())
        assert home.state()[2:] == whole[2:]
        lab.ip(home.ns, "link", "set", home.mesh, "down")
        apply(home, made, want)
        assert not lab.ip(home.ns, "route", "get", "1.1.1.1", check=False)
        lab.ip(home.ns, "link", "set", home.mesh, "up")
        apply(home, made, want)
        assert "172.20.0.0/16" in home.routes()
    assert home.state()[2:] == before[2:]


def test_two_nodes_that_forward_restore_the_setting_with_the_last(home: Home):
    before = home.state()
    other_name, _ = home.lab.veth(home.ns, home.far, ("10.2.2.1/24",))
    between = home.state()
    with gateway(home) as first:
        apply(home, first, home.wanted(offered=("192.168.7.0/24",)))
        with gateway(home._replace(mesh=other_name)) as second:
            other = home._replace(mesh=other_name)
            apply(other, second, other.wanted(offered=("192.168.7.0/24",)))
            with inside(home.ns):
                first.withdraw()
            assert "ip_forward = 1" in home.state()[-1]
        assert home.state() == between
    home.lab.ip(home.ns, "link", "delete", other_name)
    assert home.state() == before


def test_a_record_of_a_live_namespace_elsewhere_is_left_alone(home: Home):
    with gateway(home) as made:
        apply(home, made, home.wanted(offered=("192.168.7.0/24",)))
        elsewhere = home._replace(ns=home.far)
        with pytest.raises(ConfigError, match="another network namespace"), gateway(elsewhere):
            pass


def test_a_record_that_cannot_be_written_is_said_once(home: Home):
    said: list[str] = []
    home.folder.write_text("a file where the folder should be")
    with inside(home.ns), pytest.raises(ConfigError):
        Gateway(home.mesh, nft_table(home.mesh), said.append, directory=str(home.folder))
    home.folder.unlink()
    with gateway(home, said.append) as made:
        home.folder.rmdir()
        home.folder.write_text("")
        apply(home, made, home.wanted(("172.20.0.0/16",)))
        assert home.routes() == {"10.1.1.0/24", "172.20.0.0/16"}
        assert len(said) == 1
        home.folder.unlink()
        home.folder.mkdir()


def test_the_loop_goes_on_while_the_host_is_changed(home: Home):
    before = home.state()

    async def scenario() -> None:
        thread = GatewayThread()
        with inside(home.ns):  # the thread is started from here
            await thread.start(home.mesh, nft_table(home.mesh), print, str(home.folder))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.get_running_loop().create_task(count())
        want = home.wanted(("172.20.0.0/16",), ("192.168.7.0/24",))
        for _ in range(2):
            faults = await thread.apply(
                lambda around: plan(want, around.state, around.gateways).steps, SETTINGS
            )
            assert faults == ()
        counting.cancel()
        assert turns > 100
        assert "172.20.0.0/16" in home.routes()
        await thread.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
    assert home.state() == before


def test_an_uplink_that_comes_and_goes_stops_no_look(home: Home):
    lab, ns = home.lab, home.ns
    uplink = """for round in $(seq 100); do
        ip link add up0 type veth peer name up1
        ip link set up0 up
        ip address add 192.168.9.1/24 dev up0
        ip route add default via 192.168.9.2 onlink dev up0
        ip link del up0
    done"""
    with gateway(home) as made, inside(ns), ThreadPoolExecutor(1) as other:
        flapping = other.submit(lab.run, ns, "sh", "-ec", uplink)
        looks = 0
        while not flapping.done():
            assert made.look(SETTINGS).state.interface is not None
            looks += 1
    flapping.result()
    assert looks > 10
