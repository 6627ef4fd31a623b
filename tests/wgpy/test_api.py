"""What a program may say to a node, and what it is told when it says something else."""

import logging
import stat
from typing import Any

import pytest

import wgpy
from wgpy.checks import as_device_change, as_interface_address, as_namespace
from wgpy.model import AllowedIPChange
from wgpy.wire.detour import via

KEY = wgpy.public_key(wgpy.generate_key())
TEXT = str(KEY)
TEN = wgpy.Prefix(bytes([10, 0, 0, 0]), 8)
WHERE = wgpy.Endpoint(bytes([1, 2, 3, 4]), 5)


def test_text_and_values_say_the_same():
    psk = wgpy.generate_key()
    by_text = wgpy.peer(
        TEXT, allowed_ips=["10.0.0.0/8"], endpoint="1.2.3.4:5", preshared_key=psk.to_base64()
    )
    by_value = wgpy.peer(KEY, allowed_ips=(TEN,), endpoint=WHERE, preshared_key=psk)
    assert by_text == by_value
    assert by_value.allowed_ips == (AllowedIPChange(TEN),)
    assert wgpy.endpoint("1.2.3.4:5") == wgpy.endpoint(WHERE) == WHERE
    assert wgpy.prefix("10.1.2.3/8") == wgpy.prefix(TEN) == TEN


def test_values_are_put_into_their_one_form():
    mapped = bytes(10) + b"\xff\xff" + WHERE.host
    assert wgpy.endpoint(wgpy.Endpoint(mapped, 5)) == WHERE
    assert wgpy.endpoint(via(b"somebody")) == via(b"somebody")
    assert wgpy.prefix(wgpy.Prefix(bytes([10, 1, 2, 3]), 8)) == TEN


def test_an_address_of_an_interface_keeps_its_host_bits():
    address = wgpy.InterfaceAddress(bytes([10, 0, 0, 1]), 24)
    assert as_interface_address("10.0.0.1/24") == as_interface_address(address) == address


def test_a_namespace_goes_by_its_name():
    assert as_namespace("blue-1.2") == "blue-1.2"


ANY: Any = wgpy
WRONG_PEERS = [
    (lambda: ANY.peer(wgpy.generate_key()), "goes by its public key, and this is a Secret"),
    (lambda: ANY.peer(None), "a public key is a PublicKey or base64, not NoneType"),
    (lambda: ANY.peer(bytes(32)), "a public key is a PublicKey or base64, not bytes"),
    (lambda: ANY.peer("short"), "a key is 32 bytes in 44 characters of base64"),
    (lambda: ANY.peer(KEY, allowed_ips="10.0.0.0/8"), "a list of prefixes, not one string"),
    (lambda: ANY.peer(KEY, allowed_ips=TEN), "a list of prefixes, not Prefix"),
    (lambda: ANY.peer(KEY, allowed_ips=5), "a list of prefixes, not int"),
    (lambda: ANY.peer(KEY, allowed_ips=[5]), "a prefix is a Prefix or 'ADDRESS/LENGTH'"),
    (lambda: ANY.peer(KEY, allowed_ips=["ten"]), "'ten' is no IP address"),
    (
        lambda: ANY.peer(KEY, endpoint="vpn.example.com:5"),
        "resolve host names first: 'vpn.example.com' is no IP address",
    ),
    (lambda: ANY.peer(KEY, endpoint=("1.2.3.4", 5)), "'ADDRESS:PORT', not tuple"),
    (lambda: ANY.peer(KEY, preshared_key=KEY), "a Secret or base64, not PublicKey"),
    (lambda: ANY.peer(KEY, persistent_keepalive="25"), "a whole number, not str"),
    (lambda: ANY.peer(KEY, persistent_keepalive=None), "a whole number, not NoneType"),
    (lambda: ANY.peer(KEY, persistent_keepalive=True), "a whole number, not bool"),
    (lambda: ANY.peer(KEY, persistent_keepalive=65536), "65536 is none of 0 to 65535"),
    (lambda: ANY.endpoint(ANY.Endpoint("1.2.3.4", 5)), "an endpoint has an address of 4 or"),
    (lambda: ANY.endpoint(ANY.Endpoint(b"abc", 5)), "an endpoint has an address of 4 or"),
    (lambda: ANY.endpoint(WHERE._replace(port=0)), "port of an endpoint 0 is none of 1 to"),
    (lambda: ANY.endpoint(WHERE._replace(scope=-1)), "scope of an endpoint -1 is none of"),
    (lambda: ANY.prefix(TEN._replace(length=33)), "length of a prefix 33 is none of 0 to 32"),
    (lambda: ANY.prefix(ANY.Prefix("10.0.0.0", 8)), "a prefix has an address of 4 or 16"),
    (lambda: ANY.secret(5), "a private or preshared key is a Secret or base64, not int"),
    (lambda: ANY.public_key(KEY), "a Secret or base64, not PublicKey"),
]


@pytest.mark.parametrize(("make", "says"), WRONG_PEERS, ids=[says for _, says in WRONG_PEERS])
def test_anything_else_is_refused_in_one_line(make, says):
    with pytest.raises(wgpy.ConfigError) as refusal:
        make()
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


WRONG_NODES = [
    ({"listen_port": 99999}, "port 99999 is none of 0 to 65535"),
    ({"listen_port": -1}, "port -1 is none of"),
    ({"listen_port": "51820"}, "port is a whole number, not str"),
    ({"fwmark": 2**32}, "fwmark 4294967296 is none of"),
    ({"fwmark": 1.0}, "fwmark is a whole number, not float"),
    ({"mtu": 67}, "MTU 67 is none of 68 to 65535"),
    ({"mtu": 99999}, "MTU 99999 is none of"),
    ({"mtu": "1420"}, "MTU is a whole number, not str"),
    ({"addresses": "10.0.0.1/24"}, "addresses: a list of prefixes, not one string"),
    ({"addresses": [("10.0.0.1", 24)]}, "'ADDRESS/LENGTH', not tuple"),
    ({"addresses": [wgpy.InterfaceAddress(b"", 0)]}, "has an address of 4 or 16 bytes"),
    ({"peers": wgpy.peer(KEY)}, "peers is a list of peers, not PeerChange"),
    ({"peers": [TEXT]}, "a peer is a PeerChange, see wgpy.peer, not str"),
    ({"private_key": KEY}, "a Secret or base64, not PublicKey"),
    ({"name": "a name that is too long"}, "must have 1 to 15 bytes"),
    ({"namespace": 5}, "a namespace is a string, not int"),
    ({"namespace": "../x"}, "'../x' is no name of a network namespace"),
    ({"name": 5}, "the interface name is a string, not int"),
]


@pytest.mark.parametrize(("words", "says"), WRONG_NODES, ids=[says for _, says in WRONG_NODES])
def test_a_node_that_cannot_be_is_refused_before_it_starts(words, says):
    with pytest.raises(wgpy.ConfigError) as refusal:
        wgpy.Node(**words)
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "change",
    [
        "a change",
        ANY.DeviceChange(private_key=bytes(32)),
        ANY.DeviceChange(listen_port="5"),
        ANY.DeviceChange(fwmark=-1),
        ANY.DeviceChange(replace_peers="yes"),
        ANY.DeviceChange(peers=wgpy.peer(KEY)),
        ANY.DeviceChange(peers=[KEY]),
        ANY.DeviceChange(peers=[ANY.PeerChange(wgpy.generate_key())]),
        ANY.DeviceChange(peers=[ANY.PeerChange(KEY, remove=1)]),
        ANY.DeviceChange(peers=[ANY.PeerChange(KEY, endpoint=("1.2.3.4", 5))]),
        ANY.DeviceChange(peers=[ANY.PeerChange(KEY, preshared_key=bytes(32))]),
        ANY.DeviceChange(peers=[ANY.PeerChange(KEY, persistent_keepalive=0.5)]),
        ANY.DeviceChange(peers=[ANY.PeerChange(KEY, allowed_ips=[TEN])]),
        ANY.DeviceChange(peers=[ANY.PeerChange(KEY, allowed_ips=AllowedIPChange(TEN))]),
        ANY.DeviceChange(peers=[ANY.PeerChange(KEY, allowed_ips=[AllowedIPChange(ANY)])]),
    ],
)
def test_nothing_of_a_wrong_type_gets_into_a_change(change):
    with pytest.raises(wgpy.ConfigError):
        as_device_change(change)


def test_a_change_may_hold_text_and_lists():
    wanted = AllowedIPChange(ANY.prefix("10.0.0.0/8"))
    given = ANY.DeviceChange(
        listen_port=7,
        peers=[
            ANY.PeerChange(TEXT, endpoint="1.2.3.4:5", allowed_ips=[AllowedIPChange(TEN)]),
            ANY.PeerChange(KEY, remove=True),
        ],
    )
    peers = (
        wgpy.PeerChange(KEY, endpoint=WHERE, allowed_ips=(wanted,)),
        wgpy.PeerChange(KEY, remove=True),
    )
    assert as_device_change(given) == wgpy.DeviceChange(listen_port=7, peers=peers)


def test_a_key_is_saved_for_its_owner_alone_and_loaded(tmp_path, caplog):
    path, key = tmp_path / "key", wgpy.generate_key()
    wgpy.save_key(path, wgpy.generate_key())
    wgpy.save_key(str(path), key)
    assert path.read_text() == key.to_base64() + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert wgpy.load_key(path) == key
    assert caplog.messages == []
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING, "wgpy"):
        assert wgpy.load_key(path) == key
    assert "others may read these keys" in caplog.text


def test_a_file_that_is_no_key_is_named(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(wgpy.ConfigError, match=f"^{path}: No such file"):
        wgpy.load_key(path)
    path.write_bytes(b"\xff" * 44)
    with pytest.raises(wgpy.ConfigError, match=f"^{path}: a key is 32 bytes"):
        wgpy.load_key(path)
    with pytest.raises(wgpy.ConfigError, match="No such file"):
        wgpy.save_key(tmp_path / "folder" / "key", wgpy.generate_key())
    with pytest.raises(wgpy.ConfigError, match="a key is 32 bytes"):
        wgpy.save_key(path, "text")


def test_every_public_name_is_there():
    assert dir(wgpy) == sorted(wgpy.__all__)
    assert all(hasattr(wgpy, name) for name in wgpy.__all__)
