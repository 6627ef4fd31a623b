"""From a running device to the wanted one, as `wg syncconf`."""

from dataclasses import replace

from wgpy.engine.sync import allowed_after, restore, sync
from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    PeerChange,
    PeerStatus,
    PublicKey,
    Secret,
)
from wgpy.wire.text import parse_prefix

ONE, TWO, THREE = (PublicKey(bytes([n]) * 32) for n in (1, 2, 3))
PRIVATE, PSK, NONE = Secret(bytes([7]) * 32), Secret(bytes([8]) * 32), Secret(bytes(32))
NET, HOST = parse_prefix("10.0.0.0/8"), parse_prefix("10.0.0.1/32")
HERE, THERE = Endpoint(b"\x01\x02\x03\x04", 5), Endpoint(b"\x01\x02\x03\x04", 6)
RUNNING = DeviceStatus(
    PRIVATE,
    None,
    40000,
    0,
    (
        PeerStatus(ONE, NONE, HERE, 1.0, 2, 3, 0, (NET,)),
        PeerStatus(TWO, PSK, None, 0.0, 0, 0, 25, ()),
    ),
)
FIRST = PeerChange(
    ONE, endpoint=HERE, replace_allowed_ips=True, allowed_ips=(AllowedIPChange(NET),)
)
SECOND = PeerChange(TWO, preshared_key=PSK, persistent_keepalive=25, replace_allowed_ips=True)
SAME = DeviceChange(PRIVATE, listen_port=0, fwmark=0, peers=(FIRST, SECOND))


def test_what_runs_as_wanted_needs_nothing():
    assert sync(SAME, RUNNING) is None


def test_an_endpoint_and_a_port_that_the_file_leaves_open_stay():
    open_ended = replace(SAME, listen_port=None, peers=(replace(FIRST, endpoint=None), SECOND))
    assert sync(open_ended, RUNNING) is None


def test_only_what_differs_of_the_device_is_set():
    wanted = replace(SAME, private_key=PSK, listen_port=51820, fwmark=9)
    assert sync(wanted, RUNNING) == DeviceChange(PSK, 51820, 9, peers=())


def test_no_private_key_is_a_key_of_zeros():
    keyless = replace(RUNNING, private_key=None)
    assert sync(replace(SAME, private_key=NONE), keyless) is None
    assert sync(replace(SAME, private_key=NONE), RUNNING) == DeviceChange(NONE, peers=())


def test_peers_go_come_and_change_one_by_one():
    third = PeerChange(THREE, replace_allowed_ips=True, allowed_ips=(AllowedIPChange(HOST),))
    moved = replace(FIRST, endpoint=THERE, preshared_key=PSK, persistent_keepalive=5)
    assert sync(replace(SAME, peers=(moved, third)), RUNNING) == DeviceChange(
        peers=(
            PeerChange(TWO, remove=True),
            PeerChange(ONE, preshared_key=PSK, endpoint=THERE, persistent_keepalive=5),
            third,
        )
    )


def test_what_a_peer_no_longer_has_is_switched_off():
    bare = PeerChange(TWO, replace_allowed_ips=True)
    assert sync(replace(SAME, peers=(FIRST, bare)), RUNNING) == DeviceChange(
        peers=(PeerChange(TWO, preshared_key=NONE, persistent_keepalive=0),)
    )


def test_allowed_ips_are_replaced_as_a_whole():
    wider = replace(FIRST, allowed_ips=(AllowedIPChange(NET), AllowedIPChange(HOST)))
    found = sync(replace(SAME, peers=(wider, SECOND)), RUNNING)
    assert found == DeviceChange(
        peers=(PeerChange(ONE, replace_allowed_ips=True, allowed_ips=wider.allowed_ips),)
    )


def test_a_prefix_given_to_two_peers_belongs_to_the_last():
    taker = replace(SECOND, allowed_ips=(AllowedIPChange(NET),))
    assert allowed_after((FIRST, taker)) == {ONE: (), TWO: (NET,)}


def test_a_prefix_is_taken_away_from_its_owner_only():
    robber = PeerChange(TWO, allowed_ips=(AllowedIPChange(NET, remove=True),))
    giver = PeerChange(ONE, allowed_ips=(AllowedIPChange(NET, remove=True),))
    assert allowed_after((FIRST, robber)) == {ONE: (NET,), TWO: ()}
    assert allowed_after((FIRST, giver)) == {ONE: ()}


def test_a_state_can_be_restored():
    assert sync(restore(RUNNING), RUNNING) is None
    empty = replace(RUNNING, private_key=None, peers=())
    assert sync(restore(empty), RUNNING) == DeviceChange(
        NONE, peers=(PeerChange(ONE, remove=True), PeerChange(TWO, remove=True))
    )
