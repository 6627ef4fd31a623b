"""The program as people call it: what it prints, and how it ends."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr import installing, online, options
from netmgr.cli import main
from netmgr.commands import COMMANDS
from netmgr.io import control_client
from netmgr.model import Settings
from netmgr.wire import ipc, lines
from netmgr.wire.choices import CHOICES
from netmgr.wire.config import read_network
from tests.netmgr.answering import Answering
from tests.netmgr.texts import KEY, PEER, THREE_BOXES, TWO_SERVERS
from tests.netmgr.views import SNAPSHOT

ROOT = Path(__file__).parents[2]
NAMES = [each.name for each in COMMANDS]


class Seen:
    """Runs the program in this process; returns its exit code and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.folder = folder

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        said = self._capsys.readouterr()
        assert len(said.err.splitlines()) <= 1, said.err
        return code, said.out, said.err

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Seen:
    monkeypatch.setattr(options, "PEER_FILE", str(tmp_path / "peer.yaml"))
    monkeypatch.setattr(options, "NETWORK_FILE", str(tmp_path / "network.yaml"))
    for name in [each for each in os.environ if each.startswith("NETMGR_")]:
        monkeypatch.delenv(name)
    return Seen(capsys, tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, bool]]:
    """Return what the node is started with; nothing is started."""
    found: list[tuple[Settings, bool]] = []

    def start(settings: Settings, *, dry_run: bool, reload: object = None) -> int:
        found.append((settings, dry_run))
        return 0

    monkeypatch.setattr("netmgr.commands.start_node", start)
    return found


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    def ask(interface: str | None, verb: str, arguments: dict[str, str]) -> object:
        return control_client.call(interface, verb, arguments, directory=str(tmp_path))

    monkeypatch.setattr(online, "call", ask)
    with Answering(tmp_path / "wg0.sock") as answering:
        answering.answer = lines.format_result(SNAPSHOT)
        yield answering


# --- help, wrong use ---


def test_help_fits_a_screen_and_tells_every_option(run: Seen):
    code, text, _ = run("--help")
    assert code == 0
    lines = text.splitlines()
    assert len(lines) <= 46
    assert max(map(len, lines)) <= 80
    shown = set(re.findall(r"(?<!\S)--?[\w-]+", text))
    assert {flag for each in CHOICES for flag in each.flags[:2]} <= shown
    assert {"-t", "-O", "-V", "--dry-run", "-h"} <= shown
    commands = text.partition("commands (")[2]
    assert all(name in commands for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_two_examples(run: Seen, name: str):
    for arguments in ((name, "--help"), ("help", name)):
        code, text, _ = run(*arguments)
        assert code == 0
        assert text.startswith(f"usage: wg_netmanager {name}")
        assert text.partition("examples:\n")[2].count("  wg_netmanager ") == 2


@pytest.mark.parametrize(
    ("name", "none"), [("doctor", {"-t", "-O", "-V", "--dry-run"}), ("install", {"-t", "-V"})]
)
def test_help_lists_only_what_means_something(run: Seen, name: str, none: set[str]):
    shown = set(re.findall(r"(?<!\S)--?[\w-]+", run(name, "--help")[1].replace(",", "")))
    assert shown & none == set()
    assert {"-i", "-v", "--help"} <= shown
    for flag in none:
        assert "is no option of" in run(name, flag)[2]
    assert re.search(r"-t  .* not yet\n", run("--help")[1])


def test_the_version_is_told(run: Seen):
    code, text, _ = run("-V")
    assert code == 0
    assert re.fullmatch(r"wg_netmanager \d+\.\d+\.\d+\n", text)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("statsu", "'statsu' is no command; did you mean status?"),
        ("wg0 10.1.1.1", "'wg0' is no command; or give INTERFACE ADDRESS NAME"),
        ("wg0 10.1.1.x alice", "ADDRESS: '10.1.1.x' is no IP address"),
        ("--nam x", "--nam is no option of wg_netmanager; did you mean --name?"),
        ("--qqq", "--qqq is no option of wg_netmanager; wg_netmanager --help lists them"),
        ("-i", "argument -i/--wireguard-interface: expected one argument"),
        ("-w 0", "-w: '0' is no port: a number from 1 to 65535"),
        ("-t", "-t: there is no text interface yet; wg_netmanager status --watch"),
        (
            "wg0 10.1.1.2 bob -a 10.1.1.3",
            "ADDRESS 10.1.1.2 and -a 10.1.1.3: give one of the two",
        ),
        ("status x", "'x' is too much; wg_netmanager status --help tells what it takes"),
        ("-c x status", "-c is no option of wg_netmanager status"),
        ("init --subnet x", "--subnet: 'x': write it with its length"),
        ("pin alice", "the following arguments are required: FINGERPRINT"),
        ("", "/network.yaml: no such file; wg_netmanager init writes one"),
    ],
)
def test_wrong_use_is_told_in_one_line(run: Seen, line: str, why: str):
    code, text, error = run(*line.split())
    assert (code, text) == (2 if line else 1, "")
    assert why in error


WORDS = (
    *(flag for each in CHOICES for flag in each.flags),
    *("-t", "-O", "-V", "-h", "--", "-", "--dry-run", "--json", "--name=x", "-vvv", "-wx"),
    *("status", "peers", "check", "help", "pin", "genkey", "doctor", "wg0", "10.1.1.1", ""),
)


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text()), max_size=6))
def test_any_words_end_with_a_code_and_at_most_one_line(words: list[str]):
    output, errors = io.StringIO(), io.StringIO()
    missing = ["-c", "/nonexistent/n.yaml", *words]
    with redirect_stdout(output), redirect_stderr(errors):
        code = main(missing)
    said = [line for line in errors.getvalue().splitlines() if "warning: " not in line]
    assert code in (0, 1, 2)
    assert len(said) == (0 if code == 0 or output.getvalue() else 1)


# --- the node ---


def test_the_positional_form_starts_a_node(run: Seen, started: list[tuple[Settings, bool]]):
    path = run.write("n.yaml", THREE_BOXES)
    assert run("-c", path, "wg0", "10.1.1.1", "Alice", "--dry-run")[0] == 0
    ((settings, dry_run),) = started
    assert (settings.interface, settings.name, dry_run) == ("wg0", "alice", True)
    assert settings.listen_port == 50001


def test_every_option_reaches_the_node(run: Seen, started: list[tuple[Settings, bool]]):
    path = run.write("n.yaml", TWO_SERVERS)
    line = (
        f"--network_config={path} -i wg0 -a 10.1.1.9 -n bob -w 1 -u 2 -Hel -vv --peer a:1 "
        "--peer b:2 --metered --route 192.168.7.0/24 --exit --via 0.0.0.0/0=alice --mtu 1300 "
        "--state /s --log-format json"
    )
    assert run(*line.split())[0] == 0
    ((settings, dry_run),) = started
    assert not dry_run
    assert (settings.listen_port, settings.admin_port, settings.mtu) == (1, 2, 1300)
    assert settings.hopping and settings.existing and settings.log_file and settings.metered
    assert settings.exit_node and settings.log_json
    assert (settings.verbosity, settings.state, len(settings.seeds)) == (2, "/s", 4)
    assert [str(each) for each in settings.routes] == ["192.168.7.0/24"]
    assert [name for _, name in settings.via] == ["alice"]


def test_the_environment_and_the_default_files_start_a_node(
    run: Seen, started: list[tuple[Settings, bool]], monkeypatch: pytest.MonkeyPatch
):
    run.write("network.yaml", TWO_SERVERS)
    run.write("peer.yaml", PEER)
    monkeypatch.setenv("NETMGR_WIREGUARD_INTERFACE", "wg7")
    assert run()[0] == 0
    assert (started[0][0].interface, started[0][0].name) == ("wg7", "bob")


def test_the_configuration_is_printed_without_its_secret(run: Seen):
    path = run.write("n.yaml", TWO_SERVERS)
    code, text, _ = run("-O", "-c", path, "wg0", "10.1.1.9", "alice")
    assert code == 0
    assert KEY not in text
    assert "shared key: (hidden)\n" in text
    assert "port:       50009\n" in text


def test_a_warning_is_a_line_on_the_error_output(
    run: Seen, started: list[tuple[Settings, bool]]
):
    path = run.write("n.yaml", THREE_BOXES + "wgPort: 1\n")
    _, _, error = run("-c", path, "wg0", "10.1.1.1", "alice")
    assert error == (
        f"wg_netmanager: warning: {path}:6: wgPort was a key of old versions and is not read; "
        "remove it\n"
    )


# --- init, genkey, check, install ---


def test_init_writes_a_file_that_works_and_never_over_one(run: Seen):
    path = str(run.folder / "etc" / "network.yaml")
    line = ("init", path, "--subnet", "10.1.1.0/24", "--peer", "a.example")
    code, text, _ = run(*line, "--peer", "[2001:db8::1]:7=10.1.1.9")
    assert code == 0
    assert f"-c {path} -i wg0 -a 10.1.1.1 -n NAME" in text
    assert Path(path).stat().st_mode & 0o777 == 0o600
    network = read_network(Path(path).read_text()).usable()
    assert [str(peer.place) for peer in network.peers] == ["a.example:50001", "[2001:db8::1]:7"]
    before = Path(path).read_text()
    code, _, error = run(*line)
    assert code == 1
    assert "is there already and is kept" in error
    assert Path(path).read_text() == before


def test_init_can_keep_the_key_apart_and_draw_a_subnet(run: Seen):
    path, key = str(run.folder / "n.yaml"), str(run.folder / "the.key")
    code, text, _ = run("init", "-c", path, "--key-file", key)
    assert code == 0
    assert "copy both to every machine" in text
    assert "no static peer is in it" in text
    assert run("check", path) == (0, f"{path}: good: {summary(path)}, static peers: 0\n", "")
    assert Path(key).read_text().strip() not in Path(path).read_text()


def summary(path: str) -> str:
    subnet = re.search(r"subnet: (\S+)", Path(path).read_text())
    assert subnet is not None
    return f"subnet {subnet[1]}"


@pytest.mark.parametrize(
    ("peers", "why"),
    [
        (["a:b=10.1.1.1"], "--peer: 'b' is no port"),
        (["a:1=x"], "--peer: 'x' is no IP address; write HOST:PORT=WGIP"),
        (
            ["a:1=10.1.1.255"],
            "--peer: 10.1.1.255 is the broadcast address of subnet 10.1.1.0/24",
        ),
        (["a:1=10.2.1.1"], "--peer: 10.2.1.1 is outside of subnet 10.1.1.0/24"),
        (["a:1", "b:1=10.1.1.1"], "--peer: 10.1.1.1 is given to two peers"),
    ],
)
def test_init_refuses_strange_peers(run: Seen, peers: list[str], why: str):
    path = str(run.folder / "n.yaml")
    words = [word for peer in peers for word in ("--peer", peer)]
    code, _, error = run("init", path, "--subnet", "10.1.1.0/24", *words)
    assert code == 2
    assert why in error
    assert not Path(path).exists()


def test_init_refuses_a_subnet_without_room_and_check_warns_of_one(run: Seen):
    code, _, error = run("init", str(run.folder / "n.yaml"), "--subnet", "10.1.1.1/32")
    assert (code, error) == (
        2,
        "wg_netmanager: --subnet: no two nodes fit into 10.1.1.1/32\n",
    )
    path = run.write("m.yaml", THREE_BOXES.replace("10.1.1.0/24", "10.1.1.1/32"))
    code, text, _ = run("check", path)
    assert code == 0
    assert f"warning: {path}:3: no two nodes fit into subnet 10.1.1.1/32" in text


def test_check_names_the_line_of_a_peer_without_an_address_of_its_own(run: Seen):
    path = run.write("n.yaml", THREE_BOXES.replace("wgIp: 10.1.1.1", "wgIp: 10.1.1.0"))
    code, text, _ = run("check", path)
    assert code == 1
    why = "wgIp 10.1.1.0 is the network address of subnet 10.1.1.0/24, no node's"
    assert text == f"{path}:5: {why}\n"


def test_init_where_nothing_can_be_written_says_so(run: Seen):
    run.write("file", "")
    code, _, error = run("init", str(run.folder / "file" / "n.yaml"))
    assert code == 1
    assert "n.yaml: " in error


def test_genkey_makes_a_key_that_works(run: Seen):
    code, text, _ = run("genkey")
    assert code == 0
    assert read_network(TWO_SERVERS.replace(KEY, text.strip())).errors == ()


def test_check_tells_everything_that_is_wrong(run: Seen):
    network = run.write("n.yaml", TWO_SERVERS.replace("55550", "0").replace("55552", "x"))
    peer = run.write("p.yaml", "name: a_b\nwgIp: 1\nwgIntreface: wg0\n")
    code, text, _ = run("check", network, peer)
    assert code == 1
    assert [line.partition(": ")[0] for line in text.splitlines()] == [
        f"{network}:7",
        f"{network}:10",
        "warning",
        f"{peer}:1",
        f"{peer}:2",
    ]


def test_check_compares_the_files_and_looks_at_the_key(run: Seen):
    network = run.write(
        "network.yaml", THREE_BOXES.replace(f'Key: "{KEY}"', "KeyFile: the.key")
    )
    peer = run.write("peer.yaml", "wgIp: 10.2.2.2\n")
    code, text, _ = run("check")
    assert code == 1
    assert text.splitlines() == [
        f"{network}:2: sharedKeyFile: {run.folder}/the.key: No such file or directory",
        f"{peer}: good: 1 options",
        f"{peer}:1: 10.2.2.2 is outside of subnet 10.1.1.0/24",
    ]
    run.write("peer.yaml", "name: bob\nroutes: [10.1.1.0/25]\n")
    code, text, _ = run("check")
    assert code == 1
    overlap = "and the subnet of the network, 10.1.1.0/24, overlap"
    assert text.splitlines()[-1].startswith(f"{peer}:2: 10.1.1.0/25 {overlap}")
    run.write("peer.yaml", "name: bob\nvia: {0.0.0.0/0: bob}\n")
    code, text, _ = run("check")
    assert code == 1
    assert text.splitlines()[-1] == f"{peer}:2: bob is this node; name another"


def test_check_warns_about_a_key_that_others_may_read(run: Seen):
    path = run.write("n.yaml", TWO_SERVERS)
    Path(path).chmod(0o644)
    code, text, _ = run("check", "-c", path)
    assert code == 0
    assert text.startswith(f"warning: {path}: others may read the key; chmod 600 ")
    assert run("check", str(run.folder / "none"))[0] == 1


def test_install_prints_the_unit_with_the_options_given(run: Seen):
    code, text, error = run(
        *("-c", "n.yaml", "-vv", "install", "--print", "-n", "bob", "--exit"),
        *("--route", "10.9.0.0/16", "--route", "10.8.0.0/16"),
    )
    assert code == 0
    assert "n.yaml: no such file" in error
    assert error.endswith("; install would refuse that\n")
    path = Path("n.yaml").absolute()
    words = f"-c {path} -n bob --route 10.9.0.0/16 --route 10.8.0.0/16 --exit -vv\n"
    (start,) = re.findall(r"^ExecStart=(.*\n)", text, re.MULTILINE)
    assert start.endswith(words)
    assert start.startswith("/")
    assert f"ConditionPathExists={path}\n" in text
    assert "ExecReload=/bin/kill -HUP $MAINPID\n" in text


@pytest.fixture
def unit(run: Seen, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where install writes, beside a good network.yaml."""
    run.write("network.yaml", THREE_BOXES)
    path = run.folder / "wg_netmanager.service"
    defaults = (str(path),)
    monkeypatch.setattr(installing.install, "__defaults__", defaults)
    return path


BOB = ("-i", "wg0", "-a", "10.1.1.2", "-n", "bob")


@pytest.mark.parametrize(
    "line",
    [
        (*BOB, "--dry-run", "install"),
        ("-O", "install", *BOB),
        ("install", "--print", *BOB),
    ],
)
def test_a_unit_that_is_only_to_be_shown_is_not_written(
    run: Seen, unit: Path, line: tuple[str, ...]
):
    code, text, error = run(*line)
    assert (code, error) == (0, "")
    assert "-i wg0 -a 10.1.1.2 -n bob\n" in text
    assert not unit.exists()


def test_install_writes_its_own_unit_and_no_other(run: Seen, unit: Path):
    name = "wg_netmanager.service"
    for _ in range(2):
        assert run("install", *BOB)[:2] == (
            0,
            f"wrote {unit}\nnext: systemctl daemon-reload && systemctl enable --now {name}\n",
        )
    assert unit.stat().st_mode & 0o777 == 0o644
    code, text, _ = run("install", *BOB, "--exit")
    assert code == 0
    assert text.startswith(f"replaced {unit}: ")
    assert f"systemctl restart {name}\n" in text
    unit.write_text("[Service]\n")
    code, _, error = run("install", *BOB)
    assert code == 1
    assert "--print shows the unit" in error


def test_another_interface_has_a_unit_of_its_own(run: Seen, unit: Path):
    run("install", *BOB)
    before, own = unit.read_text(), unit.with_name("wg_netmanager-wg6.service")
    code, text, _ = run("install", "-i", "wg6", "-a", "10.1.1.3", "-n", "carol")
    assert code == 0
    assert text.startswith(f"wrote {own}\n")
    assert "enable --now wg_netmanager-wg6.service\n" in text
    assert unit.read_text() == before
    unit.unlink()
    _, text, _ = run("install", "-i", "wg6", "-a", "10.1.1.4", "-n", "carol")
    assert text.startswith(f"replaced {own}: ")
    assert not unit.exists()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-a 10.1.1.2 -n bob", "option wgInterface is not defined"),
        ("-i wg0 -n bob", "option wgIp is not defined"),
        ("-i wg0 -a 10.9.9.9 -n bob", "-a: 10.9.9.9 is outside of subnet 10.1.1.0/24"),
        ("-c /nonexist -i wg0 -a 10.1.1.2 -n bob", "/nonexist: no such file"),
    ],
)
def test_install_refuses_what_a_start_would_and_writes_nothing(
    run: Seen, unit: Path, line: str, why: str
):
    run("install", *BOB)
    before = unit.read_text()
    code, text, error = run("install", *line.split())
    assert (code, text) == (2, "")
    assert why in error
    assert unit.read_text() == before


def test_the_unit_has_what_the_environment_and_peer_yaml_say(
    run: Seen, unit: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = run.write("elsewhere.yaml", THREE_BOXES)
    run.write("peer.yaml", PEER + "networkConfig: elsewhere.yaml\n")
    monkeypatch.setenv("NETMGR_WIREGUARD_INTERFACE", "wg7")
    assert run("install")[0] == 0
    text = unit.read_text()
    assert re.search("^ExecStart=.* -i wg7$", text, re.MULTILINE)
    assert f"ConditionPathExists={elsewhere}\n" in text


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("/home/bob/bin/wg_netmanager", "a program in a home is missing"),
        ("/opt/../tmp/wg_netmanager", "a /tmp of its own"),
        ("/usr/bin/wg_netmanager", ""),
    ],
)
def test_install_warns_of_a_program_that_the_service_does_not_find(
    run: Seen, unit: Path, monkeypatch: pytest.MonkeyPatch, program: str, why: str
):
    monkeypatch.setattr(installing, "_own_program", lambda: [program])
    monkeypatch.setattr(installing, "_network_path", lambda *_: "/etc/network.yaml")
    _, _, error = run("install", *BOB)
    assert why in error
    assert bool(why) == bool(error)


# --- a running node ---


@pytest.mark.parametrize("name", ["status", "peers", "routes", "fingerprints"])
def test_views_show_the_node(run: Seen, node: Answering, name: str):
    code, text, _ = run(name, "-i", "wg0")
    assert code == 0
    assert "bob" in text
    assert "\x1b" not in text
    assert node.asked == [lines.Request("snapshot", {})]


@pytest.mark.usefixtures("node")
def test_the_variable_of_the_interface_says_which_node_is_asked(
    run: Seen, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NETMGR_WIREGUARD_INTERFACE", "wg1")
    for words in (("status",), ("reload",)):
        code, _, error = run(*words)
        assert code == 1
        assert "no node is running for wg1" in error
    assert run("status", "-i", "wg0")[0] == 0


def test_json_is_what_the_node_says(run: Seen, node: Answering):
    plain = json.loads(json.dumps(ipc.snapshot_to_plain(SNAPSHOT)))
    for route in plain["routes"]:
        route["cost_ms"] = route.pop("cost") / 10
    assert plain["routes"][1]["cost_ms"] == 34.5
    assert json.loads(run("status", "--json")[1]) == plain
    assert json.loads(run("peers", "--json")[1]) == plain["peers"]
    assert json.loads(run("routes", "--json")[1]) == plain["routes"]
    assert json.loads(run("fingerprints", "--json")[1])["bob"] == "bbbb-2222"


def test_watching_goes_on_until_the_node_is_gone(
    run: Seen, node: Answering, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(online, "EVERY", 0.0)
    asked = iter([True, True, False])
    real = online.ask

    def ask(interface: str | None, verb: str, arguments: dict[str, str]) -> object:
        return real("wg0" if next(asked) else "wg1", verb, arguments)

    monkeypatch.setattr(online, "ask", ask)
    code, text, error = run("routes", "--watch")
    assert code == 1
    assert text.count("DESTINATION") == 2
    assert "no node is running for wg1" in error


PRINT = "-".join(["a1b2"] * 8)


def test_what_is_no_fingerprint_is_not_asked_for(run: Seen, node: Answering):
    for verb in ("pin", "accept"):
        code, _, error = run(verb, "alice", "zzz")
        assert code == 1
        assert "'zzz' is no fingerprint: 8 groups of 4 hexadecimal digits" in error
    assert node.asked == []


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("reload", lines.Request("reload", {})),
        (f"pin Bob {PRINT}", lines.Request("pin", {"name": "bob", "fingerprint": PRINT})),
        ("-i wg0 forget bob", lines.Request("forget", {"name": "bob"})),
        (
            f"accept bob {PRINT.replace('-', '').upper()}",
            lines.Request("accept", {"name": "bob", "fingerprint": PRINT}),
        ),
    ],
)
def test_a_node_is_told(run: Seen, node: Answering, line: str, request_: lines.Request):
    node.answer = lines.format_result({"message": "done\x1b"})
    assert run(*line.split()) == (0, "done?\n", "")
    assert node.asked == [request_]


def test_a_refusal_ends_with_one(run: Seen, node: Answering):
    node.answer = lines.format_error("bob is unknown")
    assert run("forget", "bob") == (1, "", "wg_netmanager: bob is unknown\n")


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert online.in_colour({})
    assert not online.in_colour({"NO_COLOR": "1"})
    assert not online.in_colour({"TERM": "dumb"})
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert not online.in_colour({})


# --- as a process ---


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_fault_of_ours():
    program = [sys.executable, "-m", "netmgr", "--help"]
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        done = subprocess.run(
            program, cwd=ROOT, stdout=ours.fileno(), stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("subnet", "addresses"),
    [
        ("10.1.1.0/30", ["10.1.1.1", "10.1.1.2"]),
        ("10.1.1.0/31", ["10.1.1.0", "10.1.1.1"]),
        ("10.1.1.0/31", []),
        ("10.1.1.0/29", [f"10.1.1.{number}" for number in range(1, 7)]),
    ],
)
def test_check_of_a_node_without_address_needs_no_free_one(
    run: Seen, subnet: str, addresses: list[str]
):
    peers = [
        f"{{ endPoint: 192.0.2.1:{50001 + at}, wgIp: {address} }}"
        for at, address in enumerate(addresses)
    ]
    run.write(
        "network.yaml",
        f"network: {{ sharedKey: {KEY}, subnet: {subnet} }}\npeers: [{', '.join(peers)}]\n",
    )
    peer = run.write("peer.yaml", "name: bob\n")
    code, text, _ = run("check")
    assert code == 0
    assert text.splitlines()[-1] == f"{peer}: good: 1 options"
