"""Command line, environment, files and defaults make one node."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from netmgr import options
from netmgr.model import HostPort, Settings, StaticPeer
from netmgr.wire.choices import Given, checked, choice
from tests.netmgr.texts import KEY, PEER, THREE_BOXES, TWO_SERVERS
from wgpy.errors import ConfigError, UsageError
from wgpy.model import Secret
from wgpy.wire.text import parse_address, parse_prefix

BOB = {"name": "bob", "address": "10.1.1.2", "interface": "wg0"}


class Machine:
    """A folder with the files of a machine, and what was said while they were read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.write("network.yaml", TWO_SERVERS)

    def write(self, name: str, text: str, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def load(
        self, line: Mapping[str, str | tuple[str, ...]], environ: Mapping[str, str] = {}
    ) -> Settings:
        given = {}
        for name, value in {**self.places(), **line}.items():
            texts = (value,) if isinstance(value, str) else value
            given[name] = checked(choice(name), texts, choice(name).flags[0])
        return options.load(given, environ, self.said.append)

    def places(self) -> dict[str, str]:
        found = {"network_config": str(self.folder / "network.yaml")}
        if (self.folder / "peer.yaml").exists():
            found["peer_config"] = str(self.folder / "peer.yaml")
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(options, "PEER_FILE", str(tmp_path / "no_peer.yaml"))
    return Machine(tmp_path)


def test_a_server_takes_its_ports_from_its_own_entry(machine: Machine):
    settings = machine.load({**BOB, "listen_port": "7", "admin_port": "8"})
    assert (settings.listen_port, settings.admin_port) == (55553, 55552)
    assert [str(peer.place) for peer in settings.seeds] == ["192.0.2.7:55551"]
    assert machine.said == ["-w: port 7 is not used: peers: say home.dyn.example.org:55553"]


def test_with_hopping_a_server_begins_at_the_port_given(machine: Machine):
    settings = machine.load({**BOB, "hopping": "true", "listen_port": "7"})
    assert settings.hopping
    assert (settings.listen_port, settings.admin_port) == (7, 55552)
    assert machine.load({**BOB, "hopping": "true"}).listen_port == 50002


def test_another_node_has_the_default_port_and_no_admin_port(machine: Machine):
    settings = machine.load({**BOB, "address": "10.1.1.9"})
    assert (settings.listen_port, settings.admin_port) == (50009, None)
    assert len(settings.seeds) == 2
    settings = machine.load({**BOB, "address": "10.1.1.9", "admin_port": "50509"})
    assert settings.admin_port == 50509
    settings = machine.load({**BOB, "address": "10.1.1.9", "admin_port": "50009"})
    assert settings.admin_port is None


def test_nearer_wins(machine: Machine):
    machine.write("peer.yaml", PEER + "mtu: 1300\nwireguardPort: 1\nlogFormat: json\n")
    environ = {"NETMGR_WIREGUARD_PORT": "2", "NETMGR_NAME": "carol", "NETMGR_STATE": "s"}
    settings = machine.load({"name": "dave", "address": "10.1.1.7"}, environ)
    assert (settings.name, settings.listen_port, settings.mtu) == ("dave", 2, 1300)
    assert (settings.state, settings.log_json) == ("s", True)
    assert machine.load({}, environ).name == "carol"
    assert machine.load({}).name == "bob"


def test_a_switch_of_the_file_can_be_turned_off_nearer(machine: Machine):
    machine.write("peer.yaml", PEER.replace("false", "true"))
    assert machine.load({}).existing
    assert not machine.load({}, {"NETMGR_EXISTING_WG": "no"}).existing


def test_everything_can_be_said_in_peer_yaml(machine: Machine):
    machine.write(
        "peer.yaml",
        "networkConfig: network.yaml\nname: eve\nwgIp: 10.1.1.5\nwgInterface: wg5\n"
        "existingInterface: true\nwireguardPort: 1\nwireguardHopping: true\nadminPort: 2\n"
        "peers: ['a.example:3', '192.0.2.7:55551']\nmetered: true\nroutes: [192.168.7.0/24]\n"
        "exit: true\nvia: {0.0.0.0/0: bob}\nmtu: 1280\nstate: /s\nlogFormat: json\n"
        "logFile: true\nverbosity: 2\n",
    )
    given = {"peer_config": Given((str(machine.folder / "peer.yaml"),), "-p")}
    settings = options.load(given, {}, machine.said.append)
    network = options.load_network(str(machine.folder / "network.yaml"), machine.said.append)
    assert settings == Settings(
        network=network,
        name="eve",
        address=parse_address("10.1.1.5"),
        interface="wg5",
        listen_port=1,
        admin_port=2,
        existing=True,
        metered=True,
        hopping=True,
        mtu=1280,
        routes=(parse_prefix("192.168.7.0/24"),),
        exit_node=True,
        via=((parse_prefix("0.0.0.0/0"), "bob"),),
        seeds=(*network.peers, StaticPeer(HostPort("a.example", 3))),
        state="/s",
        verbosity=2,
        log_file=True,
        log_json=True,
    )
    assert machine.said == []


@pytest.mark.parametrize(
    ("lacks", "how"),
    [
        ("name", "name is not defined: give -n NAME, NETMGR_NAME, or name: in "),
        ("address", "wgIp is not defined: give -a IPV4, NETMGR_WIREGUARD_ADDRESS, or wgIp: in"),
        ("interface", "wgInterface is not defined: give -i NAME, NETMGR_WIREGUARD_INTERFACE"),
    ],
)
def test_what_lacks_is_told_with_the_ways_to_give_it(machine: Machine, lacks: str, how: str):
    line = {key: value for key, value in BOB.items() if key != lacks}
    with pytest.raises(UsageError, match=f"^Configuration option {how}"):
        machine.load(line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"address": "11.1.1.1"}, "^-a: 11.1.1.1 is outside of subnet 10.0.0.0/8$"),
        ({"address": "10.0.0.0"}, "^-a: 10.0.0.0 is the network address of subnet 10.0.0.0/8"),
        ({"address": "10.255.255.255"}, "^-a: 10.255.255.255 is the broadcast address"),
        ({"routes": "10.9.0.0/16"}, "^--route: 10.9.0.0/16 and the subnet .* overlap"),
        ({"routes": "8.0.0.0/5"}, "overlap"),
        ({"via": "0.0.0.0/0=bob"}, "^--via: bob is this node; name another$"),
    ],
)
def test_what_does_not_fit_is_refused(
    machine: Machine, line: dict[str, str | tuple[str, ...]], why: str
):
    with pytest.raises(UsageError, match=why):
        machine.load({**BOB, **line})


def test_a_missing_peer_yaml_is_nothing_unless_it_was_named(machine: Machine):
    machine.load(BOB)
    assert machine.said == []
    path = str(machine.folder / "other.yaml")
    machine.load({**BOB, "peer_config": path})
    assert machine.said == [f"{path}: no such file; going on without"]


def test_a_missing_network_yaml_says_how_to_make_one(machine: Machine):
    with pytest.raises(ConfigError, match="no such file; wg_netmanager init writes one"):
        machine.load({**BOB, "network_config": "/nonexistent/n.yaml"})
    with pytest.raises(ConfigError, match=r"network\.yaml/x: Not a directory"):
        machine.load({**BOB, "network_config": str(machine.folder / "network.yaml" / "x")})
    with pytest.raises(ConfigError, match="Is a directory"):
        machine.load({**BOB, "peer_config": str(machine.folder)})


def test_faults_of_files_have_their_line_and_warnings_are_said(machine: Machine):
    path = machine.write("network.yaml", THREE_BOXES + "admins: []\n")
    machine.load({**BOB, "address": "10.1.1.2"})
    assert machine.said == [
        f"{path}:6: admins is no key and is not read; known: network, peers"
    ]
    machine.write("network.yaml", THREE_BOXES.replace("/24", "/99"))
    with pytest.raises(ConfigError, match=r"network\.yaml:3: subnet: '10\.1\.1\.0/99'"):
        machine.load(BOB)


def test_keys_that_others_may_read_are_warned_about(machine: Machine):
    path = machine.write("network.yaml", THREE_BOXES, 0o644)
    machine.load(BOB)
    (warning,) = machine.said
    assert warning.startswith(f"{path}: others may read these keys")


def test_the_key_may_lie_in_a_file_beside(machine: Machine):
    text = THREE_BOXES.replace(f'sharedKey: "{KEY}"', "sharedKeyFile: the.key")
    machine.write("network.yaml", text, 0o644)
    path = machine.write("the.key", KEY + "\n")
    assert machine.load(BOB).network.shared_key == Secret(bytes(range(32)))
    assert machine.said == []
    machine.write("the.key", KEY, 0o644)
    machine.load(BOB)
    assert machine.said[0].startswith(f"{path}: others may read")
    Path(path).unlink()
    with pytest.raises(ConfigError, match=r"network\.yaml:2: sharedKeyFile: .*No such"):
        machine.load(BOB)
    machine.write("the.key", "none")
    with pytest.raises(ConfigError, match=r"the\.key:1: a key is 32 bytes"):
        machine.load(BOB)


def test_who_a_prefix_goes_through_is_in_the_order_given(machine: Machine):
    line = {"via": ("0.0.0.0/0=b", "0.0.0.0/0=a", "10.9.0.0/16=any", "0.0.0.0/0=b")}
    found = [(str(prefix), name) for prefix, name in machine.load({**BOB, **line}).via]
    assert found == [("0.0.0.0/0", "b"), ("0.0.0.0/0", "a"), ("10.9.0.0/16", "any")]


def test_what_is_shown_holds_no_key(machine: Machine):
    machine.write("peer.yaml", PEER + "routes: [192.168.7.0/24]\nvia: {'::/0': alice}\n")
    rows = options.show(machine.load({"peers": "a.example:1"}))
    assert ("route", "192.168.7.0/24") in rows
    assert ("peer", "192.0.2.7:55551, 10.1.1.1, admin port 55550") in rows
    assert KEY not in str(rows)
