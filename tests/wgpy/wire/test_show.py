"""A running device for people and for programs."""

import json

import pytest

from wgpy.model import DeviceStatus, Endpoint, PeerStatus, PublicKey, Relayed, Secret
from wgpy.wire.show import (
    format_ago,
    format_human,
    format_json,
    format_size,
    paint_ansi,
    paint_plain,
)
from wgpy.wire.text import parse_prefix

OWN, ONE, TWO = (PublicKey(bytes([n]) * 32) for n in (7, 1, 2))
SECRET, NONE = Secret(bytes([9]) * 32), Secret(bytes(32))
ENDPOINT = Endpoint(b"\x01\x02\x03\x04", 5)
NETS = (parse_prefix("10.0.0.0/8"), parse_prefix("fd00::/64"))
DEVICE = DeviceStatus(
    SECRET,
    OWN,
    51820,
    0xCA6C,
    (
        PeerStatus(ONE, NONE, None, 0.0, 0, 0, 0, ()),
        PeerStatus(TWO, SECRET, ENDPOINT, 900.0, 2048, 10, 25, NETS),
    ),
)
HUMAN = f"""\
interface: wg0
  public key:     {OWN}
  private key:    (hidden)
  listening port: 51820
  fwmark:         0xca6c

peer: {TWO}
  preshared key:        (hidden)
  endpoint:             1.2.3.4:5
  allowed ips:          10.0.0.0/8, fd00::/64
  latest handshake:     1 minute, 40 seconds ago
  transfer:             2.00 KiB received, 10 B sent
  persistent keepalive: every 25 seconds

peer: {ONE}
  allowed ips:      (none)
  latest handshake: never
"""


def test_people_see_an_aligned_table_without_secrets():
    assert format_human("wg0", DEVICE, 1000.0, paint_plain) == HUMAN


def test_colour_changes_nothing_but_colour():
    coloured = format_human("wg0", DEVICE, 1000.0, paint_ansi)
    assert coloured.startswith("\x1b[1;32minterface\x1b[0m: wg0\n")
    for code in ("\x1b[1;32m", "\x1b[1;33m", "\x1b[1m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == HUMAN


def test_an_empty_device_is_one_line():
    assert format_human("wg0", DeviceStatus(None, None, 0, 0, ()), 0.0, paint_plain) == (
        "interface: wg0\n"
    )


def test_programs_get_the_documented_members():
    bare = DeviceStatus(None, None, 0, 0, ())
    shown = json.loads(format_json({"wg0": DEVICE, "wg1": bare}))
    assert shown["wg1"] == {
        "public_key": None,
        "listen_port": 0,
        "fwmark": 0,
        "data_path": "",
        "relayed": None,
        "drops": {},
        "peers": [],
    }
    assert shown["wg0"]["public_key"] == str(OWN)
    assert shown["wg0"]["peers"][0]["endpoint"] is None
    assert shown["wg0"]["peers"][1] == {
        "public_key": str(TWO),
        "has_preshared_key": True,
        "endpoint": "1.2.3.4:5",
        "allowed_ips": ["10.0.0.0/8", "fd00::/64"],
        "latest_handshake": 900.0,
        "rx_bytes": 2048,
        "tx_bytes": 10,
        "persistent_keepalive": 25,
    }
    assert SECRET.to_base64() not in format_json({"wg0": DEVICE})


def test_a_device_that_forwards_says_how_much_went_from_peer_to_peer():
    device = DeviceStatus(None, None, 0, 0, (), relayed=Relayed(3, 4096))
    lines = format_human("wg0", device, 0.0, paint_plain).splitlines()
    assert lines[1:] == ["  forwarding: 3 packets, 4.00 KiB, from peer to peer"]
    shown = json.loads(format_json({"wg0": device}))["wg0"]
    assert shown["relayed"] == {"packets": 3, "bytes": 4096}


def test_what_was_dropped_is_shown_the_most_frequent_first():
    device = DeviceStatus(None, None, 0, 0, (), (("replayed", 1), ("no peer", 30)))
    lines = format_human("wg0", device, 0.0, paint_plain).splitlines()
    assert lines[1:] == ["  dropped: 30: no peer", "  dropped: 1: replayed"]
    assert json.loads(format_json({"wg0": device}))["wg0"]["drops"]["no peer"] == 30


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (5 * 2**20, "5.00 MiB"),
        (3 * 2**40, "3.00 TiB"),
        (2**60, "1048576.00 TiB"),
    ],
)
def test_sizes_have_a_unit(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "in the future: the clock was set back"),
        (0.4, "now"),
        (1, "1 second ago"),
        (90061.9, "1 day, 1 hour, 1 minute, 1 second ago"),
        (7200, "2 hours ago"),
    ],
)
def test_times_are_told_in_words(seconds, text):
    assert format_ago(seconds) == text
