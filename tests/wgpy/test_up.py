"""`wgpy up`, `down`, `reload` and `show` on real namespaces, beside the real wg-quick."""

import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Done, Lab, keypair, remove_namespace, wait_until

pytestmark = [pytest.mark.root, pytest.mark.slow]

RECORDS = Path("/run/wgpy")
ROOT = Path(__file__).parents[2]
FULL = "0.0.0.0/0, ::/0"


class Quick:
    """One namespace with an uplink, one interface name, and the two programs."""

    def __init__(self, lab: Lab, tmp_path: Path, name: str | None = None) -> None:
        self.lab = lab
        self.name = name or lab.ifname()
        self.ns, gateway = lab.ns(), lab.ns()
        lab.veth(self.ns, gateway, ["192.0.2.1/24", "2001:db8::1/64"], mtu=1480)
        lab.ip(self.ns, "route", "add", "default", "via", "192.0.2.2")
        lab.etc(self.ns, "resolv.conf", "nameserver 192.0.2.53\n")
        self.folder = tmp_path
        self.path = tmp_path / f"{self.name}.conf"
        self.private, _ = keypair()
        self.peer = keypair()[1]

    def write(self, interface: str = "", peer: str = "AllowedIPs = 10.8.0.0/16") -> Path:
        self.path.touch(mode=0o600)
        self.path.write_text(
            f"[Interface]\nPrivateKey = {self.private}\nAddress = 10.9.0.2/24, fd00:9::2/64\n"
            f"{interface}\n[Peer]\nPublicKey = {self.peer}\n{peer}\n"
        )
        return self.path

    def wgpy(
        self, *words: object, check: bool = True, env: dict[str, str] | None = None
    ) -> Done:
        env = {
            "PYTHONPATH": str(ROOT),
            "SSH_CONNECTION": "127.0.0.1 1 127.0.0.1 22",
            **(env or {}),
        }
        return self.lab.run(self.ns, sys.executable, "-m", "wgpy", *words, check=check, env=env)

    def wg_quick(self, verb: str, env: dict[str, str] | None = None) -> Done:
        chosen = {"WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go", **(env or {})}
        return self.lab.run(self.ns, "wg-quick", verb, self.path, env=chosen)

    def json(self, *words: str) -> list[dict[str, Any]]:
        text = self.lab.ip(self.ns, "-j", *words)
        return json.loads(text) if text.strip() else []

    def snapshot(self) -> dict[str, Any]:
        """Everything on the namespace that either program may touch."""
        resolv = self.lab.run(self.ns, "cat", "/etc/resolv.conf").stdout
        mark = self.lab.run(self.ns, "sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").stdout
        return {
            "links": {
                link["ifname"]: (
                    link["mtu"],
                    "UP" in link["flags"],
                    sorted(
                        (each["local"], each["prefixlen"], each["scope"], each.get("broadcast"))
                        for each in link["addr_info"]
                        if not each["local"].startswith("fe80")
                    ),
                )
                for link in self.json("addr", "show")
            },
            "routes": sorted(
                _route(each)
                for family in ("-4", "-6")
                for each in self.json(family, "route", "show", "table", "all")
                if not each["dst"].startswith("fe80")
            ),
            "rules": [
                sorted((k, str(v)) for k, v in each.items() if k != "protocol")
                for family in ("-4", "-6")
                for each in self.json(family, "rule", "show")
            ],
            "nft": self.lab.run(self.ns, "nft", "list", "ruleset").stdout,
            "resolv.conf": resolv,
            "src_valid_mark": mark,
        }

    def settled(self) -> dict[str, Any]:
        """A snapshot that a second one equals: IPv6 routes of a link come a moment later."""
        last: list[dict[str, Any]] = [{}]

        def same() -> dict[str, Any] | None:
            before, last[0] = last[0], self.snapshot()
            return last[0] if before == last[0] else None

        result = wait_until(same)
        assert result is not None
        return result


def _route(each: dict[str, Any]) -> str:
    kept = {k: v for k, v in each.items() if k not in ("protocol", "flags", "expires")}
    if each.get("protocol") == "kernel":
        kept["protocol"] = "kernel"
    return json.dumps(kept, sort_keys=True)


@pytest.fixture
def quick(lab: Lab, tmp_path: Path):
    made = Quick(lab, tmp_path)
    try:
        yield made
    finally:
        if (RECORDS / f"{made.name}.json").exists():
            made.wgpy("down", made.path, check=False)
        for name in lab.interfaces:
            (RECORDS / f"{name}.json").unlink(missing_ok=True)


def comparable(shot: dict[str, Any], name: str) -> dict[str, Any]:
    """The firewall without what differs on purpose: the name and link-local addresses."""
    nft = shot["nft"].replace(f"wg-quick-{name}", f"wgpy_{name}")
    tables = re.split(r"(?m)^(?=table )", re.sub(r".*daddr fe80.*\n", "", nft))
    return {**shot, "nft": sorted(tables)}


FILES = {
    "split": ("", "AllowedIPs = 10.8.0.0/16, 10.9.0.0/24, 10.9.0.7/32, fd00:8::/48"),
    "endpoint": ("ListenPort = 0", "AllowedIPs = 10.8.0.0/16\nEndpoint = 192.0.2.2:5000"),
    "full": ("", f"AllowedIPs = {FULL}\nEndpoint = 192.0.2.2:5000"),
    "marked": ("FwMark = 0x77\nMTU = 1300", f"AllowedIPs = {FULL}, 10.8.0.0/16"),
    "off": ("Table = off", f"AllowedIPs = {FULL}, 10.8.0.0/16"),
    "numbered": ("Table = 4711", f"AllowedIPs = {FULL}, 10.9.0.0/24"),
}


@pytest.mark.interop
@pytest.mark.needs("wg-quick", "wireguard-go", "nft", "wg")
@pytest.mark.parametrize("kind", FILES)
def test_the_host_ends_up_as_with_wg_quick(quick: Quick, kind: str):
    quick.write(*FILES[kind])
    before = quick.settled()
    quick.wg_quick("up")
    expected = quick.settled()
    quick.wg_quick("down")
    quick.lab.sysctl(quick.ns, "net.ipv4.conf.all.src_valid_mark", 0)
    wait_until(lambda: quick.snapshot() == before)

    quick.wgpy("up", quick.path)
    assert comparable(quick.settled(), quick.name) == comparable(expected, quick.name)
    assert quick.lab.wg("show", quick.name, "peers").strip() == quick.peer

    quick.wgpy("down", quick.path)
    assert quick.settled() == before
    assert not (RECORDS / f"{quick.name}.json").exists()
    assert not quick.lab.uapi(quick.name).exists()


@pytest.mark.interop
@pytest.mark.needs("wg-quick", "wireguard-go", "wg")
def test_resolvconf_is_called_as_wg_quick_calls_it(quick: Quick):
    quick.write("DNS = 192.0.2.53, fd00::53, example.org")
    tools = quick.folder / "bin"
    tools.mkdir()
    log = quick.folder / "log"
    script = f'#!/bin/sh\necho "$@" >>{log}\n[ "$1" = -d ] || cat >>{log}\n'
    (tools / "resolvconf").write_text(script)
    (tools / "resolvconf").chmod(0o755)
    # wg-quick puts its own folder first, which has no resolvconf.
    env = {"PATH": f"{tools}:{os.environ['PATH']}"}
    quick.wg_quick("up", env)
    quick.wg_quick("down", env)
    expected = log.read_text()
    log.unlink()
    quick.wgpy("up", quick.path, env=env)
    quick.wgpy("down", quick.path, env=env)
    # wg-quick says -d twice.
    assert list(dict.fromkeys(log.read_text().splitlines())) == list(
        dict.fromkeys(expected.splitlines())
    )


def test_without_resolvconf_the_file_is_replaced_and_comes_back(quick: Quick):
    quick.write("DNS = 192.0.2.99, example.org")
    before = quick.settled()
    quick.wgpy("up", quick.path)
    text = quick.snapshot()["resolv.conf"]
    assert "nameserver 192.0.2.99\nsearch example.org\n" in text
    assert quick.name in text
    quick.wgpy("down", quick.path)
    assert quick.settled() == before


def test_a_hub_comes_up_forwarding_in_process_and_the_host_stays_as_it_was(quick: Quick):
    quick.write()
    before = quick.lab.run(quick.ns, "sysctl", "-n", "net.ipv4.ip_forward").stdout
    quick.wgpy("up", "--forward", quick.path)
    shown = json.loads(quick.wgpy("show", quick.name, "--json").stdout)[quick.name]
    assert shown["relayed"] == {"packets": 0, "bytes": 0}
    assert "forwarding: " in quick.wgpy("show", quick.name).stdout
    quick.wgpy("reload", quick.path)
    shown = json.loads(quick.wgpy("show", quick.name, "--json").stdout)[quick.name]
    assert shown["relayed"] is not None
    assert quick.lab.run(quick.ns, "sysctl", "-n", "net.ipv4.ip_forward").stdout == before
    quick.wgpy("down", quick.path)
    quick.wgpy("up", quick.path)
    shown = json.loads(quick.wgpy("show", quick.name, "--json").stdout)[quick.name]
    assert shown["relayed"] is None


def test_a_dry_run_shows_the_steps_and_changes_nothing(quick: Quick):
    quick.write("PostUp = touch /nonexistent/%i", f"AllowedIPs = {FULL}")
    before = quick.settled()
    lines = quick.wgpy("up", "--dry-run", quick.path).stdout.splitlines()
    assert quick.settled() == before
    assert lines[0] == f"+ interface {quick.name}"
    assert "+ route     0.0.0.0/0 dev " + quick.name + " table 51820" in lines
    assert lines[-1] == f"! run       touch /nonexistent/{quick.name}"


def test_a_failure_rolls_everything_back_in_one_line(quick: Quick):
    quick.write("DNS = 192.0.2.99\nPostUp = false", f"AllowedIPs = {FULL}")
    before = quick.settled()
    done = quick.wgpy("up", quick.path, check=False)
    assert done.returncode == 1
    assert done.stderr == "wgpy: the hook ended with 1: false\n"
    assert quick.settled() == before
    assert not (RECORDS / f"{quick.name}.json").exists()


@pytest.mark.parametrize("next_command", ["up", "down"])
def test_a_killed_up_is_undone_by_the_next_command(quick: Quick, next_command: str):
    marker = quick.folder / "reached"
    hook = f"PostUp = [ -e {marker} ] || {{ touch {marker}; kill -9 $PPID; }}"
    quick.write(f"DNS = 192.0.2.99\n{hook}", f"AllowedIPs = {FULL}")
    before = quick.settled()
    assert quick.wgpy("up", quick.path, check=False).returncode == -signal.SIGKILL
    assert quick.snapshot() != before
    assert (RECORDS / f"{quick.name}.json").exists()
    quick.wgpy(next_command, quick.path)
    if next_command == "up":
        quick.wgpy("down", quick.path)
    assert quick.settled() == before


@pytest.mark.parametrize("next_command", ["up", "down"])
def test_what_a_killed_daemon_leaves_is_undone(quick: Quick, next_command: str):
    quick.write("DNS = 192.0.2.99", f"AllowedIPs = {FULL}")
    before = quick.settled()
    quick.wgpy("up", quick.path)
    pids = quick.lab.run(None, "ip", "netns", "pids", quick.ns).stdout.split()
    for pid in map(int, pids):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not quick.lab.run(None, "ip", "netns", "pids", quick.ns).stdout)
    quick.wgpy(next_command, quick.path)
    if next_command == "up":
        quick.wgpy("down", quick.path)
    assert quick.settled() == before
    assert not quick.lab.uapi(quick.name).exists()


def test_foreign_routes_and_rules_stay(quick: Quick):
    quick.write("", f"AllowedIPs = {FULL}")
    ip, ns = quick.lab.ip, quick.ns
    ip(ns, "rule", "add", "not", "fwmark", "51820", "table", "51820", "priority", "100")
    ip(ns, "rule", "add", "table", "main", "suppress_prefixlength", "0", "priority", "99")
    ip(ns, "route", "add", "10.55.0.0/16", "via", "192.0.2.2", "table", "51820")
    before = quick.settled()
    quick.wgpy("up", quick.path)
    assert "51821" in str(quick.snapshot()["rules"])
    ip(ns, "route", "add", "10.66.0.0/16", "via", "192.0.2.2")
    after = quick.settled()
    quick.wgpy("down", quick.path)
    left = quick.settled()
    assert left["rules"] == before["rules"]
    assert [r for r in after["routes"] if "10.66" in r] == [
        r for r in left["routes"] if r not in before["routes"]
    ]


def test_a_rule_like_ours_that_somebody_else_made_stays(quick: Quick):
    quick.write("", f"AllowedIPs = {FULL}")
    quick.wgpy("up", quick.path)
    words = ["priority", "32765", "not", "fwmark", "51820", "table", "51820"]
    quick.lab.ip(quick.ns, "rule", "del", *words)
    quick.lab.ip(quick.ns, "rule", "add", *words, "protocol", "static")
    quick.wgpy("down", quick.path)
    rules = quick.lab.ip(quick.ns, "rule", "show")
    assert rules.count("51820") == 1
    assert "suppress" not in rules


def test_a_tunnel_of_another_namespace_does_not_count(quick: Quick, tmp_path: Path):
    quick.write("", f"AllowedIPs = {FULL}")
    before = quick.settled()
    other = Quick(quick.lab, tmp_path)
    other.write("", f"AllowedIPs = {FULL}")
    other.wgpy("up", other.path)
    quick.wgpy("up", quick.path)
    quick.wgpy("down", quick.path)
    assert quick.settled() == before
    other.wgpy("down", other.path)


LAUNCH = """
import sys
from wgpy import up, upjob
up.up(sys.argv[1], upjob.Terms(print, implementation=[sys.argv[2]]))
"""


@pytest.mark.interop
@pytest.mark.needs("wireguard-go")
def test_killed_while_the_daemon_starts_nothing_is_left_after_down(quick: Quick):
    quick.write("", f"AllowedIPs = {FULL}")
    before = quick.settled()
    launcher = quick.folder / "launcher"
    launcher.write_text("#!/bin/sh\nwireguard-go $1 2>&-; kill -9 $PPID\n")
    launcher.chmod(0o755)
    env = {"PYTHONPATH": str(ROOT)}
    words = (quick.ns, sys.executable, "-c", LAUNCH, quick.path, launcher)
    assert quick.lab.run(*words, check=False, env=env).returncode == -signal.SIGKILL
    assert quick.json("link", "show", quick.name)
    quick.wgpy("down", quick.path)
    assert quick.settled() == before


@pytest.mark.parametrize("kind", ["veth", "tuntap"])
@pytest.mark.parametrize("next_command", ["up", "down"])
def test_killed_before_the_daemon_starts_somebody_elses_interface_stays(
    quick: Quick, next_command: str, kind: str
):
    quick.write("PreUp = kill -9 $PPID")
    assert quick.wgpy("up", quick.path, check=False).returncode == -signal.SIGKILL
    assert json.loads((RECORDS / f"{quick.name}.json").read_text())["index"] == 0
    words = ("tuntap", "add", quick.name, "mode", "tun")
    if kind == "veth":
        words = ("link", "add", quick.name, "type", "veth")
    quick.lab.ip(quick.ns, *words)
    quick.wgpy(next_command, quick.path, check=False)
    assert quick.json("link", "show", quick.name)
    assert not (RECORDS / f"{quick.name}.json").exists()


def test_up_refuses_what_is_up_or_somebody_elses(quick: Quick):
    quick.write()
    quick.wgpy("up", quick.path)
    again = quick.wgpy("up", quick.path, check=False)
    assert again.returncode == 1
    assert "is up already" in again.stderr
    quick.wgpy("down", quick.path)
    quick.lab.ip(quick.ns, "tuntap", "add", quick.name, "mode", "tun")
    foreign = quick.wgpy("up", quick.path, check=False)
    assert "exists already" in foreign.stderr
    assert quick.wgpy("down", quick.path, check=False).returncode == 1
    assert quick.json("link", "show", quick.name)


def test_a_record_of_another_namespace_is_not_touched(quick: Quick, tmp_path: Path):
    quick.write()
    quick.wgpy("up", quick.path)
    elsewhere = Quick(quick.lab, tmp_path, quick.name)
    done = elsewhere.wgpy("down", quick.path, check=False)
    assert done.returncode == 1
    assert "another network namespace" in done.stderr
    quick.wgpy("down", quick.path)


def renumber(quick: Quick) -> str:
    """Let a record be of a namespace that nobody here is in; return the record as it was.

    The kernel gives the number of a namespace that is gone to the next one that is made, so
    that a real one may be back at once.
    """
    record = RECORDS / f"{quick.name}.json"
    whole = record.read_text()
    record.write_text(
        whole.replace(f'"namespace": {json.loads(whole)["namespace"]}', '"namespace": 1')
    )
    return whole


@pytest.mark.parametrize("next_command", ["up", "down"])
def test_a_record_whose_namespace_is_gone_is_taken_over(
    quick: Quick, tmp_path: Path, next_command: str
):
    """As after `docker restart`: /run and /etc stay, the network namespace is another."""
    quick.write("DNS = 192.0.2.99", f"AllowedIPs = {FULL}")
    quick.wgpy("up", quick.path)
    changed = quick.lab.run(quick.ns, "cat", "/etc/resolv.conf").stdout
    remove_namespace(quick.ns)
    renumber(quick)
    again = Quick(quick.lab, tmp_path, quick.name)
    before = again.settled()
    again.lab.etc(again.ns, "resolv.conf", changed)
    if next_command == "up":
        assert "+ interface" in again.wgpy("up", "--dry-run", quick.path).stdout
        again.wgpy("up", quick.path)
        assert "10.9.0.2" in again.lab.ip(again.ns, "address", "show", quick.name)
    again.wgpy("down", quick.path)
    assert again.settled() == before
    assert not (RECORDS / f"{quick.name}.json").exists()


def test_name_servers_of_two_records_whose_namespace_is_gone_are_handed_over(
    quick: Quick, tmp_path: Path
):
    quick.write("DNS = 192.0.2.99")
    quick.wgpy("up", quick.path)
    second = Quick(quick.lab, tmp_path)
    second.ns = quick.ns
    second.write("DNS = 192.0.2.98")
    second.path.write_text(
        second.path.read_text().replace("10.", "11.").replace("fd00:", "fd01:")
    )
    second.wgpy("up", second.path)
    changed = quick.lab.run(quick.ns, "cat", "/etc/resolv.conf").stdout
    remove_namespace(quick.ns)
    for each in (quick, second):
        renumber(each)
    again = Quick(quick.lab, tmp_path, quick.name)
    before = again.settled()
    again.lab.etc(again.ns, "resolv.conf", changed)
    again.wgpy("down", quick.path)
    assert again.settled()["resolv.conf"] == changed
    again.wgpy("down", second.path)
    assert again.settled() == before


def test_the_record_of_a_daemon_that_answers_is_not_taken_over(quick: Quick):
    """It may be in another container, whose processes and mounts are not seen."""
    quick.write()
    quick.wgpy("up", quick.path)
    whole = renumber(quick)
    done = quick.wgpy("down", quick.path, check=False)
    assert "another network namespace" in done.stderr
    (RECORDS / f"{quick.name}.json").write_text(whole)
    quick.wgpy("down", quick.path)


def test_the_ssh_session_is_not_cut_unless_wanted(quick: Quick):
    quick.write("", f"AllowedIPs = {FULL}")
    before = quick.settled()
    far = {"SSH_CONNECTION": "203.0.113.9 5000 192.0.2.1 22"}
    refused = quick.wgpy("up", quick.path, check=False, env=far)
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert quick.settled() == before
    near = {"SSH_CONNECTION": "192.0.2.2 5000 192.0.2.1 22"}
    quick.wgpy("up", quick.path, env=near)
    quick.wgpy("down", quick.path)
    quick.wgpy("up", "--yes", quick.path, env=far)


def test_reload_changes_what_differs_and_no_more(quick: Quick):
    quick.write("DNS = 192.0.2.99", "AllowedIPs = 10.8.0.0/16, 10.7.0.0/16")
    before = quick.settled()
    quick.wgpy("up", quick.path)
    port = quick.lab.wg("show", quick.name, "listen-port")
    assert quick.wgpy("reload", "--dry-run", quick.path).stdout == ""
    text = quick.write("", f"AllowedIPs = 10.8.0.0/16, {FULL}\nPersistentKeepalive = 25")
    text.write_text(text.read_text().replace("10.9.0.2/24", "10.9.0.3/24"))
    quick.wgpy("reload", quick.path)
    assert quick.wgpy("reload", "--dry-run", quick.path).stdout == ""
    assert quick.lab.wg("show", quick.name, "listen-port") == port
    assert quick.lab.wg("show", quick.name, "persistent-keepalive").split()[1] == "25"
    shot = quick.settled()
    assert ("10.9.0.3", 24, "global", None) in shot["links"][quick.name][2]
    assert ("10.9.0.2", 24, "global", None) not in shot["links"][quick.name][2]
    assert any("10.8.0.0/16" in route for route in shot["routes"])
    assert not any("10.7.0.0/16" in route for route in shot["routes"])
    assert "51820" in str(shot["rules"])
    assert shot["resolv.conf"] == before["resolv.conf"]
    quick.wgpy("down", quick.path)
    assert quick.settled() == before


def second_tunnel(quick: Quick) -> Path:
    """Write a file of another name that wants what the first one wants."""
    path = quick.folder / f"{quick.lab.ifname()}.conf"
    path.touch(mode=0o600)
    text = quick.path.read_text().replace("192.0.2.98", "192.0.2.97")
    path.write_text(text.replace("10.9.0.", "10.10.0.").replace("fd00:9:", "fd00:10:"))
    return path


def test_two_full_tunnels_leave_in_any_order(quick: Quick):
    quick.write("DNS = 192.0.2.98", f"AllowedIPs = {FULL}")
    before = quick.settled()
    other = second_tunnel(quick)
    quick.wgpy("up", quick.path)
    quick.wgpy("up", other)
    quick.wgpy("down", quick.path)
    middle = quick.settled()
    assert middle["src_valid_mark"].strip() == "1"
    assert "192.0.2.97" in middle["resolv.conf"]
    quick.wgpy("down", other)
    assert quick.settled() == before


def where_records_are_full(
    quick: Quick, *words: object, env: dict[str, str] | None = None
) -> Done:
    """Run a command where nothing can be added to the records that there are."""
    kept = quick.folder / "records"
    script = (
        f"cp -a {RECORDS} {kept} && mount -t tmpfs -o size=1m tmpfs {RECORDS} && "
        f"cp -a {kept}/. {RECORDS} && {{ dd if=/dev/zero of={RECORDS}/rest 2>&-; "
        f'exec {sys.executable} -m wgpy "$@"; }}'
    )
    unshare = ("unshare", "--mount", "sh", "-c", script, "sh", *words)
    env = {"PYTHONPATH": str(ROOT), **(env or {})}
    return quick.lab.run(quick.ns, *unshare, check=False, env=env)


@pytest.mark.needs("unshare")
def test_down_undoes_everything_where_no_record_can_be_written(quick: Quick):
    quick.write("DNS = 192.0.2.98", f"AllowedIPs = {FULL}")
    other = second_tunnel(quick)
    quick.wgpy("up", quick.path)
    quick.wgpy("up", other)
    down = where_records_are_full(quick, "down", quick.path)
    record = RECORDS / f"{other.stem}.json"
    assert down.stderr == f"wgpy: {record}: No space left on device\n"
    assert down.returncode == 1
    shot = quick.settled()
    assert quick.name not in shot["links"]
    assert quick.name not in shot["nft"]
    assert "51820" not in str(shot["rules"])
    quick.wgpy("down", other)


@pytest.mark.needs("unshare")
def test_a_full_disk_does_not_hide_what_failed(quick: Quick, tmp_path: Path):
    quick.write("", f"AllowedIPs = {FULL}")
    quick.wgpy("up", quick.path)
    kill_all(quick)
    tools = path_without(tmp_path, "nft")
    (Path(tools) / "nft").write_text("#!/bin/sh\necho no >&2; exit 1\n")
    (Path(tools) / "nft").chmod(0o755)
    failed = where_records_are_full(quick, "down", quick.path, env={"PATH": tools})
    assert "nft" in failed.stderr
    assert "No space left on device" in failed.stderr


def test_hooks_run_in_order_and_config_is_saved(quick: Quick):
    log = quick.folder / "hooks"
    hooks = "\n".join(
        f"{key} = echo {key} %i >>{log}" for key in ("PreUp", "PostUp", "PreDown", "PostDown")
    )
    quick.write(f"SaveConfig = true\n{hooks}")
    quick.wgpy("up", quick.path)
    other = keypair()[1]
    quick.lab.wg("set", quick.name, "peer", other, "allowed-ips", "10.77.0.1/32")
    quick.wgpy("down", quick.path)
    assert log.read_text().split() == [
        word for key in ("PreUp", "PostUp", "PreDown", "PostDown") for word in (key, quick.name)
    ]
    saved = quick.path.read_text()
    assert other in saved
    assert quick.private in saved
    assert "10.9.0.2/24" in saved
    assert "fe80" not in saved
    assert quick.path.stat().st_mode & 0o777 == 0o600


def test_show_hides_keys_and_speaks_json(quick: Quick):
    quick.write("", "AllowedIPs = 10.8.0.0/16\nEndpoint = 192.0.2.2:5000")
    quick.wgpy("up", quick.path)
    human = quick.wgpy("show", quick.name).stdout
    assert quick.private not in human
    assert f"interface: {quick.name}" in human
    assert "192.0.2.2:5000" in human
    assert "\x1b" not in human
    devices = json.loads(quick.wgpy("show", quick.name, "--json").stdout)
    [peer] = devices[quick.name]["peers"]
    assert peer["public_key"] == quick.peer
    assert peer["allowed_ips"] == ["10.8.0.0/16"]
    assert f"interface: {quick.name}" in quick.wgpy("show").stdout
    absent = quick.wgpy("show", "nope", check=False)
    assert absent.returncode == 1
    assert absent.stderr.count("\n") == 1


def path_without(tmp_path: Path, *programs: str) -> str:
    """Return a PATH with everything of the usual one but these programs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(":")):
        for each in Path(place).glob("*"):
            link = folder / each.name
            link.unlink(missing_ok=True)
            if each.name not in programs:
                link.symlink_to(each)
    return str(folder)


def test_without_nft_the_rest_comes_up_and_a_line_says_so(quick: Quick, tmp_path: Path):
    quick.write("", f"AllowedIPs = {FULL}")
    before = quick.settled()
    done = quick.wgpy("up", quick.path, env={"PATH": path_without(tmp_path, "nft")})
    assert "nft" in done.stderr
    assert done.stderr.count("\n") == 1
    shot = quick.settled()
    assert shot["nft"] == before["nft"]
    assert "51820" in str(shot["rules"])
    quick.wgpy("down", quick.path)
    assert quick.settled() == before


@pytest.mark.parametrize("where", ["all", "default"])
def test_without_ipv6_the_rest_comes_up_and_a_line_says_so(quick: Quick, where: str):
    quick.lab.sysctl(quick.ns, f"net.ipv6.conf.{where}.disable_ipv6", 1)
    quick.write("", f"AllowedIPs = {FULL}")
    before = quick.settled()
    done = quick.wgpy("up", quick.path)
    assert "IPv6" in done.stderr
    assert "51820" in str(quick.settled()["rules"])
    quick.wgpy("down", quick.path)
    assert quick.settled() == before


def test_what_new_interfaces_lack_does_not_matter_to_one_that_stands(quick: Quick):
    quick.write()
    quick.wgpy("up", quick.path)
    quick.lab.sysctl(quick.ns, "net.ipv6.conf.default.disable_ipv6", 1)
    assert quick.wgpy("reload", "--dry-run", quick.path).stdout == ""


def test_a_reload_that_fails_leaves_what_was(quick: Quick, tmp_path: Path):
    quick.write()
    quick.wgpy("up", quick.path)
    before = quick.settled()
    peers = quick.lab.wg("show", quick.name, "allowed-ips")
    tools = path_without(tmp_path, "nft")
    (Path(tools) / "nft").write_text('#!/bin/sh\n[ "$1" = list ] || { echo no >&2; exit 1; }\n')
    (Path(tools) / "nft").chmod(0o755)
    quick.write("", f"AllowedIPs = {FULL}")
    failed = quick.wgpy("reload", quick.path, check=False, env={"PATH": tools})
    assert failed.returncode == 1
    assert failed.stderr == "wgpy: nft -f -: no\n"
    assert quick.settled() == before
    assert quick.lab.wg("show", quick.name, "allowed-ips") == peers
    quick.wgpy("reload", quick.path)
    assert "51820" in str(quick.snapshot()["rules"])


def test_a_terminated_up_cleans_up_itself(quick: Quick):
    marker = quick.folder / "reached"
    quick.write(f"PostUp = touch {marker}; sleep 60", f"AllowedIPs = {FULL}")
    before = quick.settled()
    child = quick.lab.python(
        quick.ns, "-m", "wgpy", "up", quick.path, env={"PYTHONPATH": str(ROOT)}
    )
    wait_until(marker.exists)
    child.signal(signal.SIGTERM)
    assert child.wait() == 1
    assert child.log() == "wgpy: interrupted; everything is undone\n"
    assert quick.settled() == before


def test_a_name_is_asked_for_again_before_giving_up(lab: Lab, tmp_path: Path):
    ns, name = lab.ns(), lab.ifname()
    lab.etc(ns, "resolv.conf", "nameserver 192.0.2.53\n")
    path = tmp_path / f"{name}.conf"
    path.touch(mode=0o600)
    private, peer = keypair()
    path.write_text(
        f"[Interface]\nPrivateKey={private}\n[Peer]\nPublicKey={peer}\n"
        "Endpoint=vpn.example.org:51820\n"
    )
    done = lab.run(
        *(ns, sys.executable, "-m", "wgpy", "up", path),
        check=False,
        env={"PYTHONPATH": str(ROOT), "WG_ENDPOINT_RESOLUTION_RETRIES": "1"},
    )
    assert done.returncode == 1
    again, last = done.stderr.splitlines()
    assert again.endswith("trying again in 1.0 s")
    assert "vpn.example.org" in last
    assert not list(RECORDS.glob(f"{name}.json"))


def test_a_file_that_others_may_read_is_warned_about(quick: Quick):
    quick.write()
    quick.path.chmod(0o644)
    assert "chmod 600" in quick.wgpy("up", "--dry-run", quick.path).stderr


@pytest.mark.parametrize(
    ("interface", "complaint"),
    [
        ("Address = 192.0.2.1/32", "is taken: {uplink} has 192.0.2.1/24"),
        ("ListenPort = 7007", "UDP port 7007 is in use; ss -ulnp tells by whom"),
    ],
)
def test_what_the_host_has_already_is_refused(quick: Quick, interface: str, complaint: str):
    holder = (
        "import select, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.bind(('', 7007)); print('held', flush=True); select.select([], [], [], 20)"
    )
    quick.lab.python(quick.ns, "-c", holder).wait_log("held")
    before = quick.settled()
    uplink = next(each["ifname"] for each in quick.json("link") if each["ifname"] != "lo")
    refused = quick.wgpy("up", quick.write(interface), check=False)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert complaint.format(uplink=uplink) in line
    assert quick.settled() == before
    assert not (RECORDS / f"{quick.name}.json").exists()


def test_a_daemon_that_does_not_start_says_so_once(quick: Quick):
    quick.write()
    failed = quick.wgpy("up", quick.path, check=False, env={"WGPY_MTU": "many"})
    assert failed.returncode == 1
    assert failed.stderr == "wgpy: WGPY_MTU=many: it is a number, at most 2147483647\n"
    assert not (RECORDS / f"{quick.name}.json").exists()


def test_a_subnet_that_another_interface_has_is_warned_about(quick: Quick):
    done = quick.wgpy("up", quick.write("Address = 192.0.2.77/24"))
    assert "192.0.2.77/24 overlaps 192.0.2.1/24" in done.stderr
    quick.wgpy("down", quick.path)


def kill_all(quick: Quick) -> None:
    """End what runs in the namespace as a crash would."""
    pids = quick.lab.run(None, "ip", "netns", "pids", quick.ns).stdout.split()
    for pid in map(int, pids):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not quick.lab.run(None, "ip", "netns", "pids", quick.ns).stdout)


def in_container(quick: Quick, verb: str) -> Done:
    """Run a command where /proc/sys cannot be written."""
    bind = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
    script = f"{bind} && exec {sys.executable} -m wgpy {verb} {quick.path}"
    words = ("unshare", "--mount", "sh", "-c", script)
    return quick.lab.run(quick.ns, *words, check=False, env={"PYTHONPATH": str(ROOT)})


@pytest.mark.needs("unshare")
@pytest.mark.parametrize("value", [0, 1])
def test_where_settings_cannot_be_changed_a_full_tunnel_comes_up(quick: Quick, value: int):
    quick.write("", f"AllowedIPs = {FULL}")
    quick.lab.sysctl(quick.ns, "net.ipv4.conf.all.src_valid_mark", value)
    before = quick.settled()
    up = in_container(quick, "up")
    assert up.returncode == 0, up.stderr
    assert ("--sysctl net.ipv4.conf.all.src_valid_mark=1" in up.stderr) == (value == 0)
    assert "51820" in str(quick.snapshot()["rules"])
    down = in_container(quick, "down")
    assert (down.returncode, down.stderr) == (0, "")
    assert quick.settled() == before


def test_what_cannot_be_restored_does_not_fail_down(quick: Quick):
    quick.write("", f"AllowedIPs = {FULL}")
    quick.wgpy("up", quick.path)
    down = in_container(quick, "down")
    assert down.returncode == 0
    assert down.stderr.startswith("wgpy: warning: net.ipv4.conf.all.src_valid_mark = 0: ")
    assert not (RECORDS / f"{quick.name}.json").exists()


def test_up_after_a_crash_runs_the_hooks_of_down_first(quick: Quick):
    log = quick.folder / "hooks"
    keys = ("PostUp", "PreDown", "PostDown")
    quick.write(
        "\n".join(f"{key} = echo {key} %i >>{log}; [ {key} != PreDown ]" for key in keys)
    )
    quick.wgpy("up", quick.path)
    kill_all(quick)
    again = quick.wgpy("up", quick.path)
    assert log.read_text().split()[::2] == ["PostUp", "PreDown", "PostDown", "PostUp"]
    assert again.stderr.startswith("wgpy: warning: the hook ended with 1: echo PreDown")
    assert again.stderr.count("\n") == 1


def test_show_tells_of_a_crash_and_of_what_is_down(quick: Quick):
    quick.write()
    quick.wgpy("up", quick.path)
    quick.lab.ip(quick.ns, "link", "set", quick.name, "down")
    assert quick.wgpy("show", quick.name).stdout.startswith(f"interface: {quick.name} (down)\n")
    kill_all(quick)
    line = (
        f"wgpy: {quick.name}: its process is gone; wgpy up {quick.path} starts it again, "
        f"wgpy down {quick.name} undoes what it left\n"
    )
    named = quick.wgpy("show", quick.name, check=False)
    assert (named.returncode, named.stderr) == (1, line)
    assert line in quick.wgpy("show").stderr


@pytest.mark.needs("unshare")
def test_name_servers_of_the_host_are_not_changed_unasked(lab: Lab, tmp_path: Path):
    ns, name = lab.ns(), lab.ifname()
    path = tmp_path / f"{name}.conf"
    path.touch(mode=0o600)
    # The hook would end an `up` that goes on before it comes to the name servers.
    path.write_text(
        f"[Interface]\nPrivateKey={keypair()[0]}\nDNS = 192.0.2.99\nPreUp = false\n"
    )
    tools = path_without(tmp_path, "resolvconf", "resolvectl")
    env = {"PYTHONPATH": str(ROOT), "PATH": tools}

    def up(*options: str) -> Done:
        # Its first process is the shell, whose network is that of this test.
        script = f'ip netns exec {ns} {sys.executable} -m wgpy up "$@"; exit $?'
        words = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c")
        return lab.run(None, *words, script, "sh", *options, path, check=False, env=env)

    refused = up()
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "name servers of the host" in line
    assert "--yes" in line
    assert up("--yes").stderr == "wgpy: the hook ended with 1: false\n"
    assert "name servers of the host" in up("--dry-run").stderr
    lab.etc(ns, "resolv.conf", "")
    assert up().stderr == "wgpy: the hook ended with 1: false\n"


def test_a_name_stands_for_the_file_it_came_up_from(quick: Quick):
    quick.write()
    quick.wgpy("up", quick.path)
    quick.write("ListenPort = 7008")
    assert "-> 7008" in quick.wgpy("reload", "--dry-run", quick.name).stdout
    quick.wgpy("reload", quick.name)
    assert quick.lab.wg("show", quick.name, "listen-port").strip() == "7008"
    quick.wgpy("down", quick.name)
    assert list(RECORDS.glob(f"{quick.name}*")) == []
    for verb in ("reload", "down"):
        gone = quick.wgpy(verb, quick.name, check=False)
        assert gone.returncode == 1
        assert f"{quick.name} is not up" in gone.stderr


def test_a_dry_reload_lists_what_changes_in_wireguard(quick: Quick):
    quick.write("PostUp = true", "AllowedIPs = 10.8.0.0/24")
    quick.wgpy("up", quick.path)
    port = quick.lab.wg("show", quick.name, "listen-port").strip()
    quick.write(
        "PostUp = true\nPostUp = echo %i\nListenPort = 7009", "AllowedIPs = 10.77.0.0/24"
    )
    done = quick.wgpy("reload", "--dry-run", quick.path)
    lines = done.stdout.splitlines()
    assert f"  listen port {port} -> 7009" in lines
    assert f"  peer {quick.peer[:8]}: allowed ips +10.77.0.0/24 -10.8.0.0/24" in lines
    warning = "wgpy: warning: reload runs no hooks; this one runs with the next up: "
    assert done.stderr == f"{warning}echo {quick.name}\n"
    assert quick.wgpy("reload", quick.path).stderr == done.stderr


def test_an_mtu_below_that_of_ipv6_is_a_warning_and_can_be_raised(quick: Quick):
    up = quick.wgpy("up", quick.write("MTU = 1200", "AllowedIPs = 10.8.0.0/16, fd00:8::/48"))
    assert up.stderr.count("\n") == 1
    assert "below the 1280 of IPv6" in up.stderr
    quick.write("MTU = 1300", "AllowedIPs = 10.8.0.0/16, fd00:8::/48")
    assert quick.wgpy("reload", quick.path).stderr == ""
    assert any("fd00:8::/48" in route for route in quick.settled()["routes"])


def test_a_route_that_another_interface_has_names_it(quick: Quick):
    uplink = next(each["ifname"] for each in quick.json("link") if each["ifname"] != "lo")
    quick.lab.ip(quick.ns, "route", "add", "10.8.0.0/16", "dev", uplink, "scope", "link")
    failed = quick.wgpy("up", quick.write(), check=False)
    assert failed.stderr == (
        f"wgpy: route 10.8.0.0/16 dev {quick.name}: {uplink} has it already\n"
    )


AS_NOBODY = """
import os, sys
from wgpy import cli
assert cli.main(sys.argv[1:]) == 0  # loads all that nobody may not read here
os.setresuid(65534, 65534, 65534)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_dry_run_needs_no_root(quick: Quick):
    quick.write("", f"AllowedIPs = {FULL}")
    # The folders of the usual one are closed to others.
    public = Path(f"/tmp/wgpyt-{os.getpid()}")
    public.mkdir(mode=0o755)
    try:
        path = public / quick.path.name
        path.write_text(quick.path.read_text())
        os.chown(path, 65534, 65534)
        path.chmod(0o600)
        words = (sys.executable, "-c", AS_NOBODY, "up", "--dry-run", path)
        done = quick.lab.run(quick.ns, *words, check=False, env={"PYTHONPATH": str(ROOT)})
    finally:
        shutil.rmtree(public)
    assert done.returncode == 0, done.stderr
    steps = done.stdout.splitlines()
    half = len(steps) // 2
    assert steps[:half] == steps[half:]
    assert steps[0] == f"+ interface {quick.name}"
    assert "root's to read" in done.stderr


def test_a_record_of_what_is_gone_does_not_keep_settings(quick: Quick):
    quick.write("", f"AllowedIPs = {FULL}")
    before = quick.settled()
    quick.wgpy("up", quick.path)
    other = quick.lab.ifname()
    record = (RECORDS / f"{quick.name}.json").read_text()
    (RECORDS / f"{other}.json").write_text(record.replace(quick.name, other))
    quick.wgpy("down", quick.path)
    assert quick.settled() == before
