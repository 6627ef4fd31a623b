"""network.yaml and peer.yaml: values, and every fault with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.model import HostPort, StaticPeer
from netmgr.wire.choices import Given
from netmgr.wire.config import format_network, is_network, read_network, read_peer
from tests.netmgr.texts import KEY, PEER, THREE_BOXES, TWO_SERVERS
from wgpy.errors import ConfigError
from wgpy.model import Prefix, Secret
from wgpy.wire.text import parse_address, parse_prefix

HEAD = f"network: {{sharedKey: '{KEY}', subnet: 10.1.1.0/24}}\n"
ID = bytes(range(1, 33))


def errors_of(text: str) -> tuple[str, ...]:
    reading = read_network(text, "n")
    assert reading.value is None
    return reading.errors


def test_a_file_of_the_ancestor_works_unchanged():
    reading = read_network(TWO_SERVERS)
    assert reading.warnings == ()
    network = reading.usable()
    assert network.subnet == Prefix(bytes([10, 0, 0, 0]), 8)
    assert network.shared_key == Secret(bytes(range(32)))
    assert network.peers == (
        StaticPeer(HostPort("192.0.2.7", 55551), 55550, parse_address("10.1.1.1")),
        StaticPeer(HostPort("home.dyn.example.org", 55553), 55552, parse_address("10.1.1.2")),
    )
    key = Secret(bytes(range(32)))
    assert network.complete(key).peers == network.peers


def test_the_three_boxes_work_unchanged():
    (alice,) = read_network(THREE_BOXES).usable().peers
    assert alice == StaticPeer(HostPort("10.128.1.1", 50001), 50501, parse_address("10.1.1.1"))


@pytest.mark.parametrize("peers", ["peers: []", "peers:", "peers: ~"])
def test_a_network_may_have_no_static_peers(peers: str):
    assert read_network(HEAD + peers).usable().peers == ()


def test_an_entry_may_pin_its_id_and_leave_out_its_admin_port():
    text = (
        f'{HEAD}peers:\n- endPoint: "[2001:db8::1]:50001"\n  wgIp: 10.1.1.1\n  id: {ID.hex()}'
    )
    (peer,) = read_network(text).usable().peers
    assert peer == StaticPeer(
        HostPort("2001:db8::1", 50001), None, parse_address("10.1.1.1"), ID
    )


def test_the_key_may_be_in_a_file_of_its_own():
    text = "network: {sharedKeyFile: secret/key, subnet: 10.0.0.0/8}\npeers: []"
    network = read_network(text).usable()
    assert (network.shared_key, network.key_file) == (None, "secret/key")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "n:1: the file is empty; wg_netmanager init writes one"),
        ("text", "n:1: the file: keys and values are wanted, like network: ..."),
        ("peers: []", "n:1: network: is missing, with sharedKey: and subnet: below it"),
        (HEAD, "n:1: no peers defined in config file; write peers: [] for none"),
        (HEAD + "peers: 3", "n:2: peers: a list is wanted, each entry after a hyphen"),
        (HEAD + "peers: [3]", "n:2: peers: keys and values are wanted, like endPoint: ..."),
        (
            "network: {subnet: 10.0.0.0/8}\npeers: []",
            "n:1: network.sharedKey is missing; wg_netmanager genkey makes one",
        ),
        (
            f"network:\n  sharedKey: {KEY}\npeers: []",
            "n:2: network.subnet is missing; like subnet: 10.1.1.0/24",
        ),
        (
            f"network:\n  sharedKey: {KEY}\n  sharedKeyFile: k\n  subnet: 10.0.0.0/8",
            "n:3: sharedKey and sharedKeyFile: only one of them; remove one",
        ),
        (
            "network:\n  sharedKey: AAAA\n  subnet: 10.0.0.0/8\npeers: []",
            "n:2: sharedKey: a key is 32 bytes in 44 characters of base64",
        ),
        (
            f"network:\n  sharedKey: {KEY}\n  subnet: [1]\npeers: []",
            "n:3: subnet: one value is wanted, not a list or mapping",
        ),
        (
            HEAD + "peers:\n- endPoint: a:1\n  wgIp: 10.1.2.1",
            "n:4: wgIp 10.1.2.1 is outside of subnet 10.1.1.0/24",
        ),
        (
            HEAD
            + "peers:\n- {endPoint: a:1, wgIp: 10.1.1.1}\n- {endPoint: b:1, wgIp: 10.1.1.1}",
            "n:4: wgIp 10.1.1.1 stands in line 3 already",
        ),
        (
            HEAD
            + f"peers:\n- {{endPoint: a:1, wgIp: 10.1.1.1, id: {ID.hex()}}}\n"
            + f"- {{endPoint: b:1, wgIp: 10.1.1.2, id: {ID.hex()}}}",
            "n:4: the id of 10.1.1.2 stands in line 3 already",
        ),
        (
            HEAD + "peers:\n- endPoint: a:1\n",
            "n:3: wgIp of this peer is missing; like wgIp: 10.1.1.1",
        ),
        (
            HEAD + "peers:\n- endPoint: a:70000\n  wgIp: 10.1.1.1",
            "n:3: endPoint: '70000' is no port: a number from 0 to 65535",
        ),
        (HEAD + "peers: []\npeers: []", "n:3: 'peers' stands in line 2 already"),
        ("network: 1\nnetwork: 2\npeers: [", "n:3: no YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, error: str):
    assert any(each.startswith(error) for each in errors_of(text)), errors_of(text)


def test_all_errors_of_a_file_are_found_and_the_first_is_raised():
    text = "network:\n  sharedKey: A\n  subnet: B\npeers:\n- {wgIp: C, adminPort: 0}\n"
    errors = errors_of(text)
    assert [each.partition(": ")[0] for each in errors] == ["n:5", "n:5", "n:5", "n:3", "n:2"]
    with pytest.raises(ConfigError, match=r"\(4 more: wg_netmanager check tells all\)$"):
        read_network(text, "n").usable()
    with pytest.raises(ConfigError, match=r"init writes one$"):
        read_network("", "n").usable()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("netwrok: 1", "n:4: netwrok is no key and is not read; did you mean network?"),
        ("qqq: 1", "n:4: qqq is no key and is not read; known: network, peers"),
        ("publicIp: 1", "n:4: publicIp was a key of old versions and is not read; remove it"),
    ],
)
def test_an_unknown_key_is_warned_about(text: str, warning: str):
    reading = read_network(f"{HEAD}peers:\n- {{endPoint: a:1, wgIp: 10.1.1.1}}\n{text}", "n")
    assert reading.warnings == (warning,)
    assert reading.value is not None


def test_what_is_strange_with_peers_is_warned_about():
    text = (
        f"{HEAD}peers:\n- {{endPoint: a:1, wgIp: 10.1.1.1, adminPort: 1, ADMINPORT: 2}}\n"
        "- {endPoint: a:1, wgIp: 10.1.1.2, wgPort: 7}\n"
    )
    reading = read_network(text, "n")
    assert reading.warnings == (
        "n:3: peers.ADMINPORT is no key and is not read; did you mean adminPort?",
        "n:3: adminPort 1 is that of endPoint; two are wanted, or leave adminPort out",
        "n:4: peers.wgPort was a key of old versions and is not read; remove it",
        "n:4: endPoint a:1 stands in line 3 already",
    )
    assert reading.usable().peers[0].admin_port is None


def test_a_prefix_may_go_through_several_in_their_order():
    reading = read_peer("via: {0.0.0.0/0: [alice, any], 10.9.0.0/16: bob}\n")
    texts = ("0.0.0.0/0=alice", "0.0.0.0/0=any", "10.9.0.0/16=bob")
    assert reading.usable() == {"via": Given(texts, "peer.yaml:1")}


def test_peer_yaml_gives_options_with_their_lines():
    reading = read_peer(PEER + "peers: [a:1]\nvia: {0.0.0.0/0: alice}\nroutes: 10.9.0.0/16\n")
    assert reading.usable() == {
        "name": Given(("Bob",), "peer.yaml:1"),
        "address": Given(("10.1.1.2",), "peer.yaml:2"),
        "interface": Given(("wg0",), "peer.yaml:3"),
        "existing": Given(("false",), "peer.yaml:4"),
        "peers": Given(("a:1",), "peer.yaml:5"),
        "via": Given(("0.0.0.0/0=alice",), "peer.yaml:6"),
        "routes": Given(("10.9.0.0/16",), "peer.yaml:7"),
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name: a_b", "p:1: name: 'a_b' is no name: 1 to 63 of a-z, 0-9 and -, like a-b"),
        ("name: [a]", "p:1: name: one value is wanted, not a list or mapping"),
        ("via: bob", "p:1: via: a mapping is wanted, like 0.0.0.0/0: alice"),
        ("via: {0.0.0.0/0: [[a]]}", "p:1: via: one value is wanted, not a list or mapping"),
        ("peers:\n- a:1\n- b", "p:3: peers: 'b' is no endpoint: HOST:PORT or [ADDRESS]:PORT"),
        ("- a", "p:1: the file: keys and values are wanted, like networkConfig: ..."),
        ("a: [", "p:1: no YAML"),
    ],
)
def test_what_is_wrong_in_peer_yaml_is_told(text: str, error: str):
    reading = read_peer(text, "p")
    assert len(reading.errors) == 1
    assert reading.errors[0].startswith(error)


def test_an_empty_peer_yaml_gives_nothing():
    assert read_peer("").usable() == {}
    assert read_peer("name:\nwgIp: ~\n").usable() == {}


@pytest.mark.parametrize(
    ("text", "network"),
    [(TWO_SERVERS, True), (PEER, False), ("", True), ("network: 1\nname: x", True)],
)
def test_the_two_files_are_told_apart_by_their_keys(text: str, network: bool):
    assert is_network(text) is network


def test_what_init_writes_is_read_back():
    peers = (
        StaticPeer(HostPort("a.example", 50001), 50501, parse_address("10.1.1.1"), ID),
        StaticPeer(HostPort("2001:db8::1", 50002), None, parse_address("10.1.1.2")),
    )
    subnet = parse_prefix("10.1.1.0/24")
    for some in (peers, ()):
        text = format_network(Secret(ID), subnet, some, "x")
        read = read_network(text).usable()
        assert (read.shared_key, read.subnet, read.peers) == (Secret(ID), subnet, some)
    read = read_network(format_network("/etc/key", subnet, peers, "x")).usable()
    assert (read.shared_key, read.key_file) == (None, "/etc/key")


WORDS = st.sampled_from(
    ["network", "peers", "subnet", "sharedKey", "wgIp", "endPoint", "name", "via", KEY, "a:1"]
)
MADE = st.lists(st.one_of(WORDS, st.sampled_from(": \n-[]{},'\"&*\t#~|"))).map("".join)


@given(st.one_of(st.text(), st.binary(), MADE))
def test_any_text_gives_a_value_or_lines(text: str | bytes):
    for reading in (read_network(text), read_peer(text)):
        assert (reading.value is None) == bool(reading.errors)
        lines = (*reading.errors, *reading.warnings)
        assert all(len(each.splitlines()) == 1 for each in lines)
        try:
            reading.usable()
        except ConfigError as error:
            assert len(str(error).splitlines()) == 1
    is_network(text)
