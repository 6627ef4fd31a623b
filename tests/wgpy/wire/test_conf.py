import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.errors import ConfigError
from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    Endpoint,
    InterfaceAddress,
    PeerChange,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.wire import conf
from wgpy.wire.conf import Config, InterfaceConfig, PeerConfig
from wgpy.wire.text import format_address, mask

PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PUBLIC = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
OTHER = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

WHOLE = f"""
# A road warrior.
[Interface]
Address = 10.200.100.8/24, fd00:0::8/64
address = 10.9.9.9
DNS = 10.200.100.1 corp.example,fd00::53
PrivateKey = {PRIVATE}   # from wg genkey
ListenPort = 51820
FwMark = 0xCA6C
MTU = 1420
Table = main
SaveConfig = TRUE
PreUp = echo  "%i, up"; true
PostUp = one
PostUp = two
PreDown = three
PostDown = four

[Peer]
Public Key = {PUBLIC}
PresharedKey = {OTHER}
AllowedIPs = 0.0.0.0/0, ::/0
AllowedIPs = +10.1.2.3/8,-192.0.2.1
Endpoint = demo.wireguard.com:51820
PersistentKeepalive = 25
[Peer]
PublicKey = {OTHER}
AllowedIPs =
Endpoint = [fe80::1%eth0]:1
PersistentKeepalive = off
"""


def secret(text: str) -> Secret:
    return conf.parse(f"[Interface]\nPrivateKey={text}").interface.private_key or Secret(b"")


def public(text: str) -> PublicKey:
    return conf.parse(f"[Peer]\nPublicKey={text}").peers[0].public_key


def interface(line: str) -> InterfaceConfig:
    return conf.parse(f"[Interface]\n{line}").interface


CONFIG = Config(
    InterfaceConfig(
        private_key=secret(PRIVATE),
        listen_port=51820,
        fwmark=0xCA6C,
        addresses=(
            InterfaceAddress(bytes([10, 200, 100, 8]), 24),
            InterfaceAddress(b"\xfd" + bytes(14) + b"\x08", 64),
            InterfaceAddress(bytes([10, 9, 9, 9]), 32),
        ),
        dns=("10.200.100.1", "fd00::53"),
        dns_search=("corp.example",),
        mtu=1420,
        table=254,
        pre_up=('echo  "%i, up"; true',),
        post_up=("one", "two"),
        pre_down=("three",),
        post_down=("four",),
        save_config=True,
    ),
    (
        PeerConfig(
            public(PUBLIC),
            secret(OTHER),
            (
                AllowedIPChange(Prefix(bytes(4), 0)),
                AllowedIPChange(Prefix(bytes(16), 0)),
                AllowedIPChange(Prefix(bytes([10, 0, 0, 0]), 8)),
                AllowedIPChange(Prefix(bytes([192, 0, 2, 1]), 32), remove=True),
            ),
            ("demo.wireguard.com", 51820),
            25,
        ),
        PeerConfig(public(OTHER), endpoint=("fe80::1%eth0", 1), persistent_keepalive=0),
    ),
)


def test_a_whole_file():
    assert conf.parse(WHOLE) == CONFIG
    assert conf.parse(WHOLE.replace("\n", "\r\n").encode()) == CONFIG


def test_an_empty_file_says_nothing():
    assert conf.parse("") == Config() == conf.parse("[Interface]")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("FwMark = off", InterfaceConfig(fwmark=0)),
        ("FwMark = 51820", InterfaceConfig(fwmark=51820)),
        ("Table = OFF", InterfaceConfig(table="off")),
        ("Table = auto", InterfaceConfig()),
        ("Table =", InterfaceConfig()),
        ("Table = 0", InterfaceConfig(table=0)),
        ("Table = 1234", InterfaceConfig(table=1234)),
        ("Table = default", InterfaceConfig(table=253)),
        ("MTU =", InterfaceConfig()),
        ("PostUp =", InterfaceConfig()),
        ("SaveConfig = false", InterfaceConfig()),
        ("MTU = 1280\nMTU = 1420", InterfaceConfig(mtu=1420)),
        ("DNS = fe80::53%eth0", InterfaceConfig(dns=("fe80::53%eth0",))),
        (
            "Address = 10.0.0.1/24,10.0.0.2/24",
            InterfaceConfig(
                addresses=(
                    InterfaceAddress(b"\x0a\0\0\1", 24),
                    InterfaceAddress(b"\x0a\0\0\2", 24),
                )
            ),
        ),
    ],
)
def test_values_of_the_interface(line, value):
    assert interface(line) == value


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("PrivateKey = abc", "PrivateKey: a key is 32 bytes in 44 characters"),
        ("PrivateKey =", "PrivateKey: a key is 32 bytes"),
        ("ListenPort = 65536", "ListenPort: '65536' is no port"),
        ("FwMark = 0x100000000", "FwMark: '0x100000000' is no number"),
        ("FwMark = -1", "FwMark: '-1' is no number"),
        ("Address = 10.0.0.1/33", "Address: '10.0.0.1/33': the length"),
        ("Address = ten", "Address: 'ten' is no IP address"),
        ("Address = 10.0.0.1/24, 10.0.0.1/24", "address 10.0.0.1/24 is given twice"),
        ("Address = fd00::1\nAddress = fd00:0::1/64", "address fd00::1/64 is given twice"),
        ("DNS = 1.2.3", "DNS: '1.2.3' is no IP address"),
        ("DNS = dns.example:53", "DNS: 'dns.example:53' is no IP address"),
        ("MTU = 67", "MTU: 67 is below the 68 bytes"),
        ("MTU = big", "MTU: 'big' is no number"),
        ("Table = mine", "Table: 'mine' is no number"),
        ("SaveConfig = yes", "SaveConfig: 'yes' is neither true nor false"),
    ],
)
def test_the_interface_refuses(line, why):
    where = 1 + len(line.split("\n"))
    with pytest.raises(ConfigError, match=f"^wg0.conf:{where}: .*{re.escape(why)}"):
        interface(line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("PresharedKey = " + PRIVATE[1:], "PresharedKey: a key is 32 bytes"),
        ("AllowedIPs = 10.0.0.1,,10.0.0.2", "AllowedIPs: '' is no IP address"),
        ("AllowedIPs = --10.0.0.1", "AllowedIPs: '-10.0.0.1' is no IP address"),
        ("AllowedIPs = +-10.0.0.1", "AllowedIPs: '-10.0.0.1' is no IP address"),
        ("Endpoint = example.org", "Endpoint: 'example.org' is no endpoint"),
        ("Endpoint = exa/mple:1", "Endpoint: 'exa/mple' is no name of a host"),
        ("Endpoint = [fe80:::1]:1", "Endpoint: 'fe80:::1' is no IP address"),
        ("Endpoint = example.org:0", "Endpoint: 'example.org:0': port 0"),
        ("PersistentKeepalive = 65536", "PersistentKeepalive: '65536' is no number"),
    ],
)
def test_a_peer_refuses(line, why):
    with pytest.raises(ConfigError, match=f"^/etc/a.conf:3: {re.escape(why)}") as caught:
        conf.parse(f"[Peer]\nPublicKey = {PUBLIC}\n{line}", "/etc/a.conf")
    assert PRIVATE[1:9] not in str(caught.value)


def test_a_peer_has_a_public_key():
    with pytest.raises(ConfigError, match=r"^wg0.conf:3: this \[Peer\] has no PublicKey$"):
        conf.parse("\n\n[Peer]\nEndpoint = a:1\n\n")


def test_a_peer_is_given_once():
    text = f"[Peer]\nPublicKey={PUBLIC}\n" * 2
    why = f"wg0.conf:3: peer {PUBLIC} is given twice, first on line 1"
    with pytest.raises(ConfigError, match=f"^{re.escape(why)}$"):
        conf.parse(text)


# --- writing ---


def test_a_whole_file_is_written():
    assert conf.parse(conf.format(CONFIG)) == CONFIG
    assert conf.format(Config()) == "[Interface]\n"


def test_stripping_leaves_what_wg_knows():
    assert conf.strip(CONFIG) == (
        f"""[Interface]
ListenPort = 51820
FwMark = 0xca6c
PrivateKey = {PRIVATE}

[Peer]
PublicKey = {PUBLIC}
PresharedKey = {OTHER}
AllowedIPs = 0.0.0.0/0, ::/0, 10.0.0.0/8, -192.0.2.1/32
Endpoint = demo.wireguard.com:51820
PersistentKeepalive = 25

[Peer]
PublicKey = {OTHER}
Endpoint = [fe80::1%eth0]:1
PersistentKeepalive = off
"""
    )


@pytest.mark.parametrize("hook", ["echo # 1", "a\nPostUp = b", " a", ""])
def test_what_no_file_can_say_is_not_written(hook):
    with pytest.raises(ConfigError, match="no file can say this"):
        conf.format(Config(InterfaceConfig(post_up=(hook,))))


raw_keys = st.binary(min_size=32, max_size=32)
secrets = st.none() | raw_keys.map(Secret)
v4 = st.binary(min_size=4, max_size=4)
v6 = st.binary(min_size=16, max_size=16)
u16 = st.none() | st.integers(0, 2**16 - 1)
words = st.from_regex(r"[a-z][\w-]{0,9}(\.[a-z]{1,9}){0,2}", fullmatch=True)
hooks = st.lists(
    st.text(st.characters(exclude_characters="#\n\0", codec="utf-8"), min_size=1).filter(
        lambda text: text == text.strip()
    ),
    max_size=2,
).map(tuple)
interfaces = st.builds(
    InterfaceConfig,
    secrets,
    u16,
    st.none() | st.integers(0, 2**32 - 1),
    st.lists(
        st.builds(InterfaceAddress, v4, st.integers(0, 32))
        | st.builds(InterfaceAddress, v6, st.integers(0, 128)),
        max_size=3,
        unique_by=lambda address: address.address,
    ).map(tuple),
    st.lists((v4 | v6).map(format_address), max_size=2).map(tuple),
    st.lists(words, max_size=2).map(tuple),
    st.none() | st.integers(68, 2**16 - 1),
    st.sampled_from(["auto", "off"]) | st.integers(0, 2**32 - 1),
    hooks,
    hooks,
    hooks,
    hooks,
    st.booleans(),
)
prefixes = st.builds(mask, v4, st.integers(0, 32)) | st.builds(mask, v6, st.integers(0, 128))
peers = st.builds(
    PeerConfig,
    raw_keys.map(PublicKey),
    secrets,
    st.lists(st.builds(AllowedIPChange, prefixes, st.booleans()), max_size=4).map(tuple),
    st.none() | st.tuples(words | (v4 | v6).map(format_address), st.integers(1, 2**16 - 1)),
    u16,
)
configs = st.builds(
    Config,
    interfaces,
    st.lists(peers, max_size=3, unique_by=lambda peer: peer.public_key).map(tuple),
)


@given(configs)
def test_a_file_reads_back_as_it_was_written(config):
    assert conf.parse(conf.format(config)) == config


@given(configs)
def test_a_stripped_file_has_the_same_change_for_the_device(config):
    assert conf.to_change(conf.parse(conf.strip(config)), {}) == conf.to_change(config, {})


KEYS = re.findall(r"^\w+", WHOLE, re.MULTILINE)


@given(st.lists(st.tuples(st.sampled_from(["", *KEYS]), st.text()), max_size=6))
def test_any_values_are_a_configuration_or_one_line(entries):
    for section in ("Interface", "Peer"):
        text = f"[{section}]\n" + "".join(f"{key}={value}\n" for key, value in entries)
        try:
            config = conf.parse(text)
        except ConfigError as error:
            assert "\n" not in str(error)
        else:
            assert conf.parse(conf.format(config)) == config


# --- to a device ---


def test_a_device_gets_what_the_file_says_and_nothing_else():
    endpoint = Endpoint(bytes([192, 0, 2, 7]), 51820)
    first, second = CONFIG.peers
    assert conf.to_change(CONFIG, {first.public_key: endpoint}) == DeviceChange(
        secret(PRIVATE),
        51820,
        0xCA6C,
        replace_peers=True,
        peers=(
            PeerChange(
                first.public_key,
                preshared_key=secret(OTHER),
                endpoint=endpoint,
                persistent_keepalive=25,
                replace_allowed_ips=True,
                allowed_ips=first.allowed_ips,
            ),
            PeerChange(second.public_key, persistent_keepalive=0, replace_allowed_ips=True),
        ),
    )


def test_what_the_file_leaves_out_is_switched_off():
    change = conf.to_change(Config(), {})
    assert change == DeviceChange(Secret(bytes(32)), 0, 0, replace_peers=True)
