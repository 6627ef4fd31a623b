"""What a program may say to make a node of a mesh, and what it is told otherwise."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import netmgr
from netmgr.wire.words import parse_shared_key
from tests.netmgr.texts import KEY, THREE_BOXES
from wgpy.wire.text import parse_address, parse_prefix

ANY: Any = netmgr
WEB: dict[str, Any] = {"address": "10.1.1.5", "name": "web", "interface": "wg1"}
BARE: dict[str, Any] = {"shared_key": KEY, "subnet": "10.1.1.0/24", **WEB}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "network.yaml"
    path.write_text(THREE_BOXES)
    path.chmod(0o600)
    return path


def refusal(make: Any, *arguments: object, **words: object) -> str:
    with pytest.raises(netmgr.ConfigError) as refused:
        make(*arguments, **words)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_file_and_three_words_make_a_node(file: Path):
    settings = netmgr.load_settings(str(file), **WEB)
    assert (settings.name, settings.interface, settings.listen_port) == ("web", "wg1", 50005)
    assert settings.address == parse_address("10.1.1.5")
    assert settings.network.shared_key == parse_shared_key(KEY)
    assert [str(seed.place) for seed in settings.seeds] == ["10.128.1.1:50001"]


def test_all_options_are_given_as_text(file: Path, tmp_path: Path):
    settings = netmgr.load_settings(
        file,
        **WEB,
        peers=["vps.example.org:50009"],
        listen_port=7,
        admin_port=8,
        mtu=1300,
        state=tmp_path / "state",
        existing=True,
        hopping=True,
        metered=True,
        exit_node=True,
        routes=("192.168.7.0/24",),
        via={"0.0.0.0/0": "vps", "10.9.0.0/16": ["alice", "any"]},
    )
    assert (settings.listen_port, settings.admin_port, settings.mtu) == (7, 8, 1300)
    assert settings.state == str(tmp_path / "state")
    assert settings.existing
    assert settings.hopping
    assert settings.metered
    assert settings.exit_node
    assert settings.routes == (parse_prefix("192.168.7.0/24"),)
    assert [(str(prefix), name) for prefix, name in settings.via] == [
        ("0.0.0.0/0", "vps"),
        ("10.9.0.0/16", "alice"),
        ("10.9.0.0/16", "any"),
    ]
    assert len(settings.seeds) == 2


def test_what_peer_yaml_says_counts_where_the_program_says_nothing(file: Path):
    beside = file.with_name("peer.yaml")
    beside.write_text("name: bob\nwgIp: 10.1.1.2\nmetered: true\nmtu: 1300\n")
    words: dict[str, Any] = {"peer_file": beside, "interface": "wg1", "mtu": None}
    settings = netmgr.load_settings(file, **words, metered=False)
    assert (settings.name, settings.metered, settings.mtu) == ("bob", False, 1300)
    beside.write_text("name: bob\nwgIp: 10.1.1.256\n")
    assert refusal(ANY.load_settings, file, **words).startswith(f"{beside}:2: wgIp: ")
    beside.write_text("name: bob\n")
    says = f"address is missing: give address='10.1.1.5', or wgIp: in {beside}"
    assert refusal(ANY.load_settings, file, **words) == says
    beside.unlink()
    assert refusal(ANY.load_settings, file, **words) == f"{beside}: no such file"


def test_the_environment_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NETMGR_METERED", "yes")
    assert not netmgr.load_settings(file, **WEB).metered


def test_faults_of_a_file_have_their_line_and_doubts_are_logged(
    file: Path, caplog: pytest.LogCaptureFixture
):
    file.write_text(THREE_BOXES.replace("/24", "/99"))
    assert refusal(ANY.load_settings, file, **WEB).startswith(f"{file}:3: subnet: ")
    assert refusal(ANY.load_settings, file / "x", **WEB).startswith(f"{file}/x: Not a dir")
    absent = file.with_name("absent.yaml")
    assert refusal(ANY.load_settings, absent, **WEB).startswith(f"{absent}: no such file")
    file.write_text(THREE_BOXES)
    file.chmod(0o644)
    logging.getLogger("netmgr").propagate = True
    with caplog.at_level(logging.WARNING, "netmgr"):
        netmgr.load_settings(file, **WEB)
    assert "others may read these keys" in caplog.text


def test_a_network_needs_no_file():
    known = netmgr.StaticPeer(
        netmgr.HostPort("vps.example.org", 50001), None, bytes([10, 1, 1, 1]), bytes(range(32))
    )
    own = "web.example.org:50077=10.1.1.5"
    settings = netmgr.settings(**BARE, peers=[known, own, "192.0.2.1:5"], metered=True)
    assert settings.listen_port == 50077
    assert settings.metered
    assert [str(seed.place) for seed in settings.seeds] == [
        "vps.example.org:50001",
        "192.0.2.1:5",
    ]
    assert settings.network.peers[0] == known
    values = {"shared_key": parse_shared_key(KEY), "subnet": parse_prefix("10.1.1.0/24")}
    assert ANY.settings(**{**BARE, **values}) == netmgr.settings(**BARE)


WRONG: list[tuple[dict[str, object], str]] = [
    ({"adress": "10.1.1.5"}, "adress is no option of a node; did you mean address?"),
    ({"frob": 1}, "frob is no option of a node; known: name, address, interface, "),
    ({"name": None}, "name is missing: give name='web'"),
    ({"address": "ten"}, "address: 'ten' is no IP address"),
    ({"address": bytes(4)}, "address: text is wanted, not bytes"),
    ({"address": "11.1.1.1"}, "address: 11.1.1.1 is outside of subnet 10.1.1.0/24"),
    ({"name": "my web"}, "name: 'my web' is no name: 1 to 63 of a-z, 0-9 and -, like my-web"),
    ({"metered": "yes"}, "metered: True or False is wanted, not str"),
    ({"mtu": 5}, "mtu: '5' is no MTU: a number from 576 to 65535"),
    ({"mtu": "1400"}, "mtu: a whole number is wanted, not str"),
    ({"listen_port": True}, "listen_port: a whole number is wanted, not bool"),
    ({"state": 5}, "state: a path is wanted, not int"),
    ({"routes": "10.0.0.0/8"}, "routes: a list of texts is wanted, not one"),
    ({"routes": 5}, "routes: a list of texts is wanted, not int"),
    ({"routes": [5]}, "routes: text is wanted, not int"),
    ({"routes": ["10.1.0.0/16"]}, "routes: 10.1.0.0/16 and the subnet of the network"),
    (
        {"via": ["0.0.0.0/0=vps"]},
        "via: a mapping like {'0.0.0.0/0': 'vps'} is wanted, not list",
    ),
    ({"via": {"0.0.0.0/0": 5}}, "via: a list of texts is wanted, not int"),
    ({"via": {"0.0.0.0/0": "web"}}, "via: web is this node; name another"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[says for _, says in WRONG])
def test_an_option_that_cannot_be_is_named(file: Path, words: dict[str, object], says: str):
    assert refusal(ANY.load_settings, file, **{**WEB, **words}).startswith(says)
    assert refusal(ANY.settings, **{**BARE, **words}).startswith(says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"shared_key": "short"}, "shared_key: a key is 32 bytes in 44 characters"),
        ({"shared_key": bytes(32)}, "shared_key: text or a Secret is wanted, not bytes"),
        ({"subnet": "10.1.1.0"}, "subnet: '10.1.1.0': write it with its length"),
        ({"subnet": None}, "subnet: text or a Prefix is wanted, not NoneType"),
        ({"peers": "a.example:5"}, "peers: a list of texts is wanted, not one"),
        ({"peers": [5]}, "peers: text or a StaticPeer is wanted, not int"),
        ({"peers": ["a.example"]}, "peers: 'a.example' is no endpoint"),
        ({"peers": ["a.example:5=11.1.1.1"]}, "peers: 11.1.1.1 is outside of subnet"),
        ({"peers": ["a:5=10.1.1.1", "b:5=10.1.1.1"]}, "peers: 10.1.1.1 is given to two peers"),
    ],
)
def test_a_network_that_cannot_be_is_refused(words: dict[str, object], says: str):
    assert refusal(ANY.settings, **{**BARE, **words}).startswith(says)


def test_paths_are_paths():
    assert refusal(ANY.load_settings, 5, **WEB) == "path: a path is wanted, not int"
    assert refusal(ANY.load_settings, "x", **WEB, peer_file=5).startswith("peer_file: a path")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"network": "/etc/network.yaml"}, "Settings.network: NetworkFile is wanted, not str"),
        ({"address": "10.1.1.5"}, "Settings.address: bytes is wanted, not str"),
        ({"listen_port": True}, "Settings.listen_port: int is wanted, not bool"),
        ({"mtu": "1400"}, "Settings.mtu: int | None is wanted, not str"),
        (
            {"routes": ["10.9.0.0/16"]},
            "Settings.routes: tuple[Prefix, ...] is wanted, not list",
        ),
        ({"routes": (ANY.Prefix("10.9.0.0", 16),)}, "Settings.routes: tuple["),
        ({"via": (("0.0.0.0/0",),)}, "Settings.via: tuple[tuple[Prefix, str], ...] is wanted"),
        ({"seeds": ("a:5",)}, "Settings.seeds: tuple[StaticPeer, ...] is wanted, not tuple"),
    ],
)
def test_settings_of_other_types_are_refused_at_once(words: dict[str, object], says: str):
    good = netmgr.settings(**BARE)
    given = {"network": good.network, "name": "web", "address": good.address} | {
        "interface": "wg1",
        "listen_port": 5,
    }
    assert ANY.Settings(**given)
    why = refusal(ANY.Settings, **{**given, **words})
    assert why.startswith(says)
    assert why.endswith("; netmgr.load_settings and netmgr.settings take text")


def test_what_is_no_network_is_refused_at_once():
    assert refusal(ANY.NetworkFile, KEY, "10.1.1.0/24").startswith(
        "NetworkFile.shared_key: Sec"
    )
    assert refusal(ANY.StaticPeer, "a:5").startswith("StaticPeer.place: HostPort is wanted")
    assert "see netmgr.load_settings, not str" in refusal(ANY.Network, "/etc/network.yaml")


def test_a_network_that_does_not_run_says_so():
    network = netmgr.Network(netmgr.settings(**BARE))

    async def read() -> None:
        async for _ in network.events():
            pass

    for use in (network.snapshot, lambda: asyncio.run(read())):
        assert refusal(use) == "the network is not running: use it within `async with`"


def test_a_start_that_fails_leaves_no_new_identity_and_keeps_an_old_one(tmp_path: Path):
    settings = netmgr.settings(**{**BARE, "interface": "lo", "state": str(tmp_path / "state")})

    async def start() -> None:
        async with netmgr.Network(settings):
            pass

    # No TUN interface can be called so, and who is not root can make none.
    assert refusal(asyncio.run, start())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "identity.key").write_text(KEY + "\n")
    (tmp_path / "state" / "identity.key").chmod(0o600)
    assert refusal(asyncio.run, start())
    assert (tmp_path / "state" / "identity.key").read_text() == KEY + "\n"


def test_every_public_name_is_there_and_explained():
    assert dir(netmgr) == sorted(netmgr.__all__)
    for name in netmgr.__all__:
        assert getattr(netmgr, name).__doc__ or name == "Event", name
