"""Steps as lines for people, and the record of changes as JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.errors import ConfigError
from wgpy.hostmodel import (
    MAIN_TABLE,
    AddAddress,
    AddRoute,
    AddRule,
    AddUnreachable,
    CreateInterface,
    DnsBackend,
    RunHook,
    SetDns,
    SetFirewall,
    SetMtu,
    SetSysctl,
    SetUp,
    SetWireGuard,
    Undo,
)
from wgpy.model import DeviceChange, InterfaceAddress, PeerChange, PublicKey
from wgpy.wire.steps import Record, describe, format_record, parse_record
from wgpy.wire.text import mask

LAN = mask(bytes([10, 0, 0, 0]), 8)
PEER = PeerChange(PublicKey(bytes(32)))
SYSCTL = SetSysctl("a.b", "1", "0")
LINES = [
    (CreateInterface("wg0"), "+ interface wg0"),
    (SetWireGuard("wg0", DeviceChange()), "= wireguard wg0, 0 peers"),
    (SetWireGuard("wg0", DeviceChange(peers=(PEER,))), "= wireguard wg0, 1 peer"),
    (SetWireGuard("wg0", DeviceChange(peers=(PEER, PEER))), "= wireguard wg0, 2 peers"),
    (AddAddress("wg0", InterfaceAddress(bytes(16), 64)), "+ address   ::/64 dev wg0"),
    (SetMtu("wg0", 1420), "= mtu       1420 dev wg0"),
    (SetUp("wg0"), "= up        wg0"),
    (AddRoute("wg0", LAN, MAIN_TABLE), "+ route     10.0.0.0/8 dev wg0 table main"),
    (AddRoute("wg0", LAN, 7), "+ route     10.0.0.0/8 dev wg0 table 7"),
    (AddUnreachable(6, 7), "+ route     ipv6 unreachable default table 7"),
    (AddRule(4, 9, 7, 7), "+ rule      ipv4 9: not fwmark 7 lookup 7"),
    (
        AddRule(6, 8, MAIN_TABLE, None),
        "+ rule      ipv6 8: lookup main suppress_prefixlength 0",
    ),
    (SYSCTL, "= sysctl    a.b = 1"),
    (Undo(SYSCTL), "= sysctl    a.b = 0"),
    (SetFirewall("wgpy_wg0", 4, "..."), "+ firewall  nft table ip wgpy_wg0"),
    (SetFirewall("wgpy_wg0", 6, "..."), "+ firewall  nft table ip6 wgpy_wg0"),
    (
        SetDns("wg0", ("192.0.2.1",), ("lan",), DnsBackend.RESOLVED),
        "+ dns       192.0.2.1 lan through systemd-resolved",
    ),
    (RunHook("echo wg0"), "! run       echo wg0"),
    (Undo(CreateInterface("wg0")), "- interface wg0"),
]


@pytest.mark.parametrize(("step", "line"), LINES)
def test_a_step_has_its_line(step, line):
    assert describe(step) == line


text = st.text(max_size=8)
numbers = st.integers(0, 2**32)
packed = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
blocks = packed.flatmap(
    lambda address: st.integers(0, len(address) * 8).map(lambda n: (address, n))
)
changes = st.one_of(
    st.builds(CreateInterface, text),
    st.builds(AddAddress, text, blocks.map(lambda block: InterfaceAddress(*block))),
    st.builds(AddRoute, text, blocks.map(lambda block: mask(*block)), numbers),
    st.builds(AddRule, st.sampled_from([4, 6]), numbers, numbers, st.none() | numbers),
    st.builds(AddUnreachable, st.sampled_from([4, 6]), numbers),
    st.builds(SetSysctl, text, text, text),
    st.builds(SetFirewall, text, st.sampled_from([4, 6]), text),
    st.builds(
        SetDns,
        text,
        st.lists(text).map(tuple),
        st.lists(text).map(tuple),
        st.sampled_from(DnsBackend),
        st.none() | text,
    ),
)
records = st.builds(
    Record,
    config=text,
    namespace=numbers,
    complete=st.booleans(),
    index=numbers,
    done=st.lists(changes, max_size=4).map(tuple),
    pre_down=st.lists(text, max_size=2).map(tuple),
    post_down=st.lists(text, max_size=2).map(tuple),
)


@given(records)
def test_a_record_is_read_as_it_was_written(record):
    assert parse_record(format_record(record)) == record


@given(records, st.data())
def test_a_damaged_record_is_one_line(record, data):
    raw = json.loads(format_record(record))
    key = data.draw(st.sampled_from(sorted(set(raw) - {"complete"})))
    raw[key] = data.draw(
        st.sampled_from([None, {}, 1.5, [["AddRoute", {}]], [1], [["SetDns", []]]])
    )
    with pytest.raises(ConfigError) as caught:
        parse_record(json.dumps(raw).encode())
    assert "\n" not in str(caught.value)


@given(st.binary())
def test_garbage_is_no_record(raw):
    with pytest.raises(ConfigError):
        parse_record(raw)


def test_a_record_nested_without_end_is_no_record():
    with pytest.raises(ConfigError, match="damaged"):
        parse_record(b"[" * 100_000)


def test_another_version_is_refused():
    with pytest.raises(ConfigError, match="version 2"):
        parse_record(b'{"version": 2}')


def test_a_field_of_another_kind_is_refused():
    good = format_record(Record("c", 1, done=(CreateInterface("wg0"),))).decode()
    with pytest.raises(ConfigError, match="text expected"):
        parse_record(good.replace('"wg0"', "7").encode())
    with pytest.raises(ConfigError, match="number expected"):
        parse_record(good.replace('"index": 0', '"index": "0"').encode())
    with pytest.raises(ConfigError, match="list expected"):
        parse_record(good.replace('"pre_down": []', '"pre_down": {}').encode())
