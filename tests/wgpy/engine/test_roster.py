from random import Random  # noqa: TID251  (seeded)

import pytest

from tests.sim.tunnel import EPOCH, allowed, prefix, secret, v4
from wgpy.engine import constants
from wgpy.engine.common import Common
from wgpy.engine.crypto import StaticKey, public_key
from wgpy.engine.indices import IndexTable
from wgpy.engine.peer import Peer
from wgpy.engine.roster import Roster
from wgpy.engine.session import PAPER_LIMITS
from wgpy.errors import ConfigError
from wgpy.model import AllowedIPChange, DeviceChange, Endpoint, PeerChange, Secret

BOB, CAROL = public_key(secret("bob")), public_key(secret("carol"))
THERE = Endpoint(v4("192.0.2.2"), 51820)


@pytest.fixture
def common() -> Common[Peer]:
    entropy = Random(1).randbytes
    made: Common[Peer] = Common(entropy, EPOCH, PAPER_LIMITS, IndexTable(entropy))
    made.static = StaticKey(secret("alice"))
    return made


@pytest.fixture
def roster(common):
    return Roster(common)


def change(roster: Roster, *peers: PeerChange, **properties):
    return roster.apply(DeviceChange(peers=peers, **properties), 0.0)


@pytest.mark.parametrize("value", [-1, 2**32])
@pytest.mark.parametrize("name", ["listen_port", "fwmark", "persistent_keepalive"])
def test_a_number_out_of_range_is_refused(roster, name, value):
    """A keepalive that is always due would keep the node busy for ever."""
    asked = (
        DeviceChange(peers=(PeerChange(BOB, persistent_keepalive=value),))
        if name == "persistent_keepalive"
        else DeviceChange(**{name: value})
    )
    with pytest.raises(ConfigError, match="is none of 0 to"):
        roster.check(asked)


def test_a_peer_is_made_changed_and_listed(roster):
    psk = Secret(bytes([5]) * 32)
    change(roster, PeerChange(BOB, allowed_ips=allowed("10.2.0.0/16")), PeerChange(CAROL))
    change(
        roster,
        PeerChange(
            BOB,
            endpoint=THERE,
            preshared_key=psk,
            persistent_keepalive=25,
            allowed_ips=allowed("10.1.0.0/16"),
        ),
    )
    bob, carol = roster.status()
    assert (bob.public_key, carol.public_key) == (BOB, CAROL)
    assert (bob.endpoint, bob.preshared_key, bob.persistent_keepalive) == (THERE, psk, 25)
    assert bob.allowed_ips == (prefix("10.2.0.0/16"), prefix("10.1.0.0/16"))
    assert (bob.last_handshake, bob.rx_bytes, bob.tx_bytes) == (0.0, 0, 0)


def test_prefixes_are_replaced_removed_and_move(roster):
    change(roster, PeerChange(BOB, allowed_ips=allowed("10.1.0.0/16", "10.2.0.0/16")))
    change(roster, PeerChange(CAROL, allowed_ips=allowed("10.2.0.0/16")))
    bob, carol = roster.status()
    assert (bob.allowed_ips, carol.allowed_ips) == (
        (prefix("10.1.0.0/16"),),
        (prefix("10.2.0.0/16"),),
    )
    gone = [AllowedIPChange(prefix("10.2.0.0/16"), remove=True)]
    change(roster, PeerChange(BOB, replace_allowed_ips=True, allowed_ips=gone))
    bob, carol = roster.status()
    assert (bob.allowed_ips, len(carol.allowed_ips)) == ((), 1)


def test_all_that_changed_are_told_removed_ones_too(roster):
    touched = change(roster, PeerChange(BOB), PeerChange(CAROL))
    assert {peer.public_key for peer in touched} == {BOB, CAROL}
    touched = change(roster, PeerChange(BOB, remove=True), PeerChange(BOB, remove=True))
    assert {peer.public_key for peer in touched} == {BOB}
    touched = change(roster, PeerChange(BOB), replace_peers=True)
    assert {peer.public_key for peer in touched} == {BOB, CAROL}
    assert list(roster.peers) == [BOB]


def test_update_only_and_our_own_key_make_nobody(roster, common):
    assert change(roster, PeerChange(BOB, update_only=True)) == {}
    assert change(roster, PeerChange(common.static.public)) == {}
    assert roster.peers == {}


def test_a_new_identity_removes_the_peer_it_is_and_touches_all(roster, common):
    change(roster, PeerChange(BOB), PeerChange(CAROL))
    touched = change(roster, private_key=secret("bob"))
    assert {peer.public_key for peer in touched} == {BOB, CAROL}
    assert list(roster.peers) == [CAROL]
    assert change(roster, private_key=secret("bob")) == {}
    assert len(change(roster, private_key=Secret(bytes(32)))) == 1
    assert common.static is None
    assert change(roster, private_key=Secret(bytes(32))) == {}


def test_peers_can_come_and_go_before_there_is_an_identity(roster, common):
    common.static = None
    change(roster, PeerChange(BOB), PeerChange(CAROL))
    change(roster, PeerChange(BOB, remove=True))
    assert len(change(roster, private_key=secret("alice"))) == 1


def test_what_waits_is_sent_to_by_a_change_only_while_the_interface_is_up(roster, common):
    change(roster, PeerChange(BOB, endpoint=THERE, persistent_keepalive=25))
    assert common.out.bursts == []
    common.up = True
    roster.peers[BOB].send([b"packet"], 0, 1420, 0.0)
    assert len(common.out.bursts) == 1
    change(roster, PeerChange(CAROL, endpoint=THERE, persistent_keepalive=25))
    assert len(common.out.bursts) == 2


def test_there_is_a_limit_of_peers_that_counts_each_once(roster, monkeypatch):
    monkeypatch.setattr(constants, "MAX_PEERS", 2)
    full = DeviceChange(peers=[PeerChange(BOB), PeerChange(CAROL), PeerChange(BOB)])
    roster.check(full)
    roster.apply(full, 0.0)
    roster.check(full)
    dave = PeerChange(public_key(secret("dave")))
    with pytest.raises(ConfigError, match="at most 2 peers"):
        roster.check(DeviceChange(peers=[dave]))
    roster.check(DeviceChange(peers=[dave], replace_peers=True))
