"""A whole node over a device: what passes between mesh, device and world."""

from netmgr import effects
from netmgr.effects import ADMIN_PORT, ChangePeers, Save, SendDatagram, SetDetours
from netmgr.engine.host import DeviceChannel
from netmgr.engine.signing import Identity
from netmgr.events import TwinSeen
from tests.netmgr.engine.scenes import cut, nodes, seen, until
from tests.sim.meshes import Node
from tests.sim.world import World
from wgpy.events import HandshakeCompleted, SessionEnded
from wgpy.model import DeviceChange, Endpoint, PeerChange, PublicKey

ELSEWHERE = Endpoint(bytes([203, 0, 113, 9]), 4242)


def key_of(node: Node) -> PublicKey:
    return Identity(node.seed).wireguard_public


def test_the_device_has_the_key_of_the_identity():
    (alice,) = nodes(1)
    assert alice.inner.device.status().public_key == key_of(alice)


def test_a_channel_tells_of_the_peers_whose_bytes_grew():
    alice, bob = nodes(2)
    alice.world.run_for(3.0)
    channel = DeviceChannel(alice.inner.device)
    key = key_of(bob)
    assert list(channel.active()) == []
    channel.watch(key, here=True)
    assert list(channel.active()) == [(key, True, True)]
    assert list(channel.active()) == []
    alice.inner.device.send_inner(key, [b"\x1f\0\0\0"], alice.world.now)
    assert list(channel.active()) == [(key, False, True)]
    channel.watch(key, here=False)
    channel.watch(key, here=False)
    assert channel.endpoint(key) == bob.host.endpoint
    assert channel.traffic(PublicKey(bytes(32))) == (0, 0, 0.0)


def test_what_is_the_worlds_is_left_for_it():
    (alice,) = nodes(1)
    alice.inner.take_effects()
    alice.inner.mesh.context.out.effects += [
        effects.Save(),
        SendDatagram(b"\x80", ELSEWHERE, ADMIN_PORT),
        SendDatagram(b"\x80", ELSEWHERE),
    ]
    alice.inner.settle(alice.world.now)
    assert alice.inner.take_effects() == [
        effects.Save(),
        SendDatagram(b"\x80", ELSEWHERE, ADMIN_PORT),
    ]
    assert [burst.remote for burst in alice.inner.take_bursts()] == [ELSEWHERE]


def test_a_peer_that_is_removed_is_watched_no_more():
    alice, bob = nodes(2)
    change = PeerChange(key_of(bob), remove=True)
    alice.inner.mesh.context.out.effects.append(ChangePeers((change,)))
    alice.inner.settle(alice.world.now)
    assert alice.inner.device.traffic(key_of(bob)) is None


def test_who_pays_for_its_bytes_carries_nothing():
    for metered in (False, True):
        alice = Node(World(1), "alice", "10.1.1.1", "192.0.2.1", metered=metered)
        alice.inner.mesh.context.out.effects.append(SetDetours({}, {}))
        alice.inner.settle(0.0)
        plan = alice.inner.device._detours.plan  # noqa: SLF001
        assert plan is not None
        assert plan.carries is not metered


def test_what_happened_to_the_device_is_told():
    alice, bob = nodes(2)
    alice.inner.take_events()
    bob.restart()
    alice.world.run_for(0.1)
    alice.inner.receive_bursts([], alice.world.now)
    assert alice.inner.take_packets() == []
    alice.inner.device.set_up(alice.world.now, up=False)
    alice.inner.settle(alice.world.now)
    told = alice.inner.take_events()
    assert any(isinstance(event, SessionEnded) for event in told)
    assert seen(alice, bob).calls.session_at is None
    assert not any(isinstance(event, HandshakeCompleted) for event in told)


def test_there_is_news_as_long_as_nobody_takes_it():
    alice, _ = nodes(2)
    host, now = alice.inner, alice.world.now
    out = host.mesh.context.out
    assert not host.has_news
    out.events.append(TwinSeen(silent=False))
    host.settle(now)
    assert host.has_news
    host.mesh.take_events()
    assert host.take_effects() == []
    out.effects.append(Save())
    host.settle(now)
    assert host.has_news
    assert host.take_effects() == [Save()]
    assert not host.has_news


def test_a_relay_that_the_device_cannot_use_is_told_to_the_mesh_without_a_hot_loop():
    alice, bob, carol = nodes()
    cut(bob, carol)
    until(bob, carol, ["alice"], 15.0)
    gone = DeviceChange(peers=(PeerChange(key_of(alice), remove=True),))
    bob.inner.device.configure(gone, alice.world.now)
    bob.send(carol, 1)
    alice.world.run_for(1.0)
    assert not bob.inner.mesh.ways.is_reachable(seen(bob, carol))


def test_the_next_deadline_is_the_earlier_of_two():
    alice, _ = nodes(2)
    deadlines = [alice.inner.mesh.next_deadline(), alice.inner.device.next_deadline()]
    assert alice.inner.next_deadline() == min(one for one in deadlines if one is not None)
    (lonely,) = nodes(1)
    assert lonely.inner.device.next_deadline() is None
    assert lonely.inner.next_deadline() == lonely.inner.mesh.next_deadline()
