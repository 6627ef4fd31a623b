"""One network put together: objects that spread, restarts, floods, people."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr import effects
from netmgr.engine.knock import seal
from netmgr.engine.mesh import EXPIRY_INTERVAL, FORGED_RATE, SPARE_STRANGERS
from netmgr.engine.remote import Via
from netmgr.engine.signing import Identity, fingerprint
from netmgr.engine.trust import How
from netmgr.errors import Reason
from netmgr.model import Candidate, Kind, StaticPeer
from netmgr.reloading import refuse_name
from netmgr.wire import control, frames, objects
from netmgr.wire.fields import encode_blobs
from netmgr.wire.frames import Probe
from netmgr.wire.objects import split_untrusted
from tests.netmgr.engine.scenes import all_direct, cut, nodes, seen, until
from tests.netmgr.engine.surroundings import Other
from tests.sim.meshes import Node, everybody_reaches_everybody, static
from tests.sim.tunnel import prefix, v4
from tests.sim.world import Link, World
from wgpy.errors import ConfigError
from wgpy.model import Endpoint, PublicKey, Secret
from wgpy.wire.detour import via

ELSEWHERE = Endpoint(bytes([203, 0, 113, 9]), 4242)


def tell(sender: Node, receiver: Node, kind: int, body: bytes, *, flag: bool = False) -> None:
    """Let a message of a session come in, as if the sender had sent it."""
    key, now = Identity(sender.seed).wireguard_public, receiver.world.now
    receiver.inner.mesh.receive_inner(key, control.encode(kind, body, flag=flag), now)
    receiver.inner.settle(now)


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("which", [0, 1])
def test_a_node_that_was_restarted_is_back_within_three_seconds(which, remembers):
    made = nodes()
    world, node = made[0].world, made[which]
    others = [one for one in made if one is not node]
    world.run_for(30.0)
    node.restart(remembers=remembers)
    began, before = world.now, [len(node.got(one)) for one in others]
    while any(len(node.got(one)) == had for one, had in zip(others, before, strict=True)):
        assert world.now < began + 3.0
        for one in others:
            one.send(node, 1)
            node.send(one, 1)
        world.run_for(0.05)


def test_a_node_that_lost_its_state_and_its_seed_finds_who_probes_it():
    alice, bob, carol = nodes()
    alice.world.run_for(30.0)
    for other in (bob, carol):
        cut(alice, other)
    carol.restart(remembers=False)
    # First the other has to notice.
    assert until(carol, bob, ["direct"], 30.0) <= 12.0


def test_probes_of_members_nobody_knows_lead_to_a_knock_a_second():
    alice, _ = nodes(2)
    world, mesh = alice.world, alice.inner.mesh
    one, other = Identity(Secret(bytes(32))), Identity(alice.seed)
    probe = Probe(one.short, other.short, bytes(8), bytes(8))
    body = probe.encode(frames.PROBE)
    before = len(world.trace)
    for number in range(100):
        payload = seal(mesh.context.keys, frames.PROBE, body, world.entropy())
        world.inject(alice.host, payload, ELSEWHERE)
        assert mesh.context.out.drops[Reason.UNKNOWN_NODE] == number + 1
        world.run_for(0.02)
    sent = [each for each in world.trace[before:] if each.destination == ELSEWHERE]
    assert 5 <= len(sent) <= 8


def test_news_that_is_withheld_before_it_is_passed_on_leaves_no_deadline_behind():
    alice, bob = nodes(2)
    world, mesh = alice.world, alice.inner.mesh
    world.run_for(30.0)
    rival = Other("rival", "bob", "10.1.1.2")
    honest = Other("honest", "honest", "10.1.1.9")
    for blob in (honest.record(1), rival.record(1), rival.record(2)):
        tell(bob, alice, control.OBJECTS, encode_blobs([blob]))
    assert not mesh.context.objects.has_floods
    later = world.now + 0.2
    while mesh.next_deadline().at <= later:
        at = mesh.next_deadline().at
        mesh.handle_deadline(at)
        assert mesh.next_deadline().at > at


def test_on_a_lan_without_any_file_nodes_find_each_other_within_five_seconds():
    world = World(1)
    made = [
        Node(world, name, f"10.1.1.{at}", f"192.0.2.{at}", [], lan="192.0.2.0/24")
        for at, name in enumerate(("a", "b", "c", "d"), 1)
    ]
    assert world.run_while(lambda: not everybody_reaches_everybody(made), 5.0)
    assert world.run_while(lambda: not all_direct(made), 5.0)


def test_objects_that_were_missed_are_found_by_comparing():
    alice, bob, carol = nodes()
    carol.inner.mesh.context.objects.take_floods()
    mesh, now = bob.inner.mesh, bob.world.now
    settings = replace(bob.settings, routes=(prefix("172.16.0.0/16"),))
    mesh.context.settings = settings
    mesh.announcer.routes(now)
    mesh.context.objects.take_floods()
    assert carol.inner.mesh.context.objects.offers(Identity(bob.seed).public) == ()
    bob.world.run_for(30.0)
    totals = {one.inner.mesh.context.objects.total_digest() for one in (alice, bob, carol)}
    assert len(totals) == 1


def test_requests_for_objects_are_answered_at_a_rate():
    alice, bob = nodes(2)
    context = alice.inner.mesh.context
    everything = control.encode_pull(range(64))
    nothing = bytes(control.BUCKETS * control.BUCKET_SIZE)
    for kind, body in ((control.PULL, everything), (control.DIGEST, nothing)):
        before, trace = context.out.drops[Reason.TOO_FAST], len(alice.world.trace)
        for _ in range(200):
            tell(bob, alice, kind, body)
        assert context.out.drops[Reason.TOO_FAST] - before >= 192
        alice.world.run_for(0.005)
        assert len(alice.world.trace) - trace < 100


def test_of_what_a_neighbour_forges_little_is_looked_at_and_then_nothing_of_it():
    alice, bob, carol = nodes()
    mesh = alice.inner.mesh
    names = {remote.name: remote.identity for remote in mesh.context.remotes.values()}

    def forged(number: int) -> bytes:
        body, net_id = objects.encode_leave(), mesh.context.keys.net_id
        who = names["carol"]
        return objects.encode(
            objects.LEAVE, 0, who, 2**40 + number, body, net_id, lambda _: bytes(64)
        )

    for number in range(300):
        (message,) = control.pack_objects([forged(number), forged(1000 + number)])
        mesh.receive_inner(Identity(bob.seed).wireguard_public, message, alice.world.now)
    drops = mesh.context.out.drops
    assert drops[Reason.BAD_SIGNATURE] <= FORGED_RATE[1] + 1
    assert drops[Reason.TOO_FAST] >= 300 - FORGED_RATE[1]
    true = bob.inner.mesh.context.own_record
    bob.inner.mesh.announcer._sign(objects.RECORD, split_untrusted(true).body, bob.world.now)  # noqa: SLF001
    new = bob.inner.mesh.context.own_record
    (message,) = control.pack_objects([new])
    mesh.receive_inner(Identity(bob.seed).wireguard_public, message, alice.world.now)
    assert new not in mesh.context.objects.blobs(), "who forges is not heard for a while"
    mesh.receive_inner(Identity(carol.seed).wireguard_public, message, alice.world.now)
    assert new in mesh.context.objects.blobs(), "others are"
    alice.world.run_for(4.0)
    assert alice.way(carol) == alice.way(bob) == "direct"
    before = drops[Reason.BAD_SIGNATURE]
    (message,) = control.pack_objects([forged(5000)])
    mesh.receive_inner(Identity(bob.seed).wireguard_public, message, alice.world.now)
    assert drops[Reason.BAD_SIGNATURE] == before + 1, "it is looked at again"


def test_there_are_hardly_more_strangers_than_addresses():
    (alice,) = nodes(1)
    mesh = alice.inner.mesh
    for number in range(400):
        other = Identity(Secret(number.to_bytes(32)))
        body = objects.encode_record(objects.Record(f"n{number}", None, 0))
        blob = objects.encode(
            objects.RECORD, 0, other.public, 1, body, mesh.context.keys.net_id, other.sign
        )
        mesh._receive_object(blob, b"neighbor", alice.world.now)  # noqa: SLF001
    assert len(mesh.context.remotes) == 256 + SPARE_STRANGERS
    assert mesh.context.out.drops[Reason.TOO_MANY] == 400 - 256 - SPARE_STRANGERS


def test_messages_of_nobody_we_know_are_counted():
    (alice,) = nodes(1)
    mesh = alice.inner.mesh
    mesh.receive_inner(PublicKey(bytes(32)), b"", 1.0)
    assert mesh.context.out.drops[Reason.UNKNOWN_NODE] == 1
    mesh.session_begun(PublicKey(bytes(32)), 1.0)
    mesh.session_ended(PublicKey(bytes(32)))
    mesh.roamed(PublicKey(bytes(32)), ELSEWHERE, 1.0)


def test_what_was_saved_and_is_damaged_is_counted_and_the_rest_is_used():
    alice, bob = nodes(2)
    blobs = list(alice.inner.mesh.context.objects.blobs())
    fresh = Node(World(2), "alice", "10.1.1.1", "192.0.2.1", []).inner.mesh
    place = (ELSEWHERE,)
    known, unknown = Identity(bob.seed).public, bytes(32)
    damaged = [b"", b"garbage", blobs[0][:-1] + b"?", *blobs]
    fresh.restore([], damaged, [(known, place), (unknown, place)], 1.0)
    assert ELSEWHERE in fresh.context.remotes[known].trials
    assert sum(fresh.context.out.drops.values()) >= 2


def test_places_that_answered_are_saved_the_one_in_use_first():
    alice, bob, _ = nodes()
    seen(alice, bob).trials.clear()
    places = dict(alice.inner.mesh.places())
    assert places[Identity(bob.seed).public] == (bob.host.endpoint,)
    seen(alice, bob).endpoint = None
    assert Identity(bob.seed).public not in dict(alice.inner.mesh.places())


def test_nodes_not_heard_of_for_a_week_are_forgotten():
    alice, bob = nodes(2)
    context = alice.inner.mesh.context
    identity = Identity(bob.seed).public
    context.objects.release(identity)
    bob.host.up = False
    alice.world.run_for(EXPIRY_INTERVAL + 20.0)
    assert identity in context.remotes
    alice.inner.mesh._expire_at = alice.world.now + 8 * 86400.0  # noqa: SLF001
    alice.inner.handle_deadline(alice.world.now + 8 * 86400.0)
    assert identity not in context.remotes


def test_a_change_of_addresses_lets_everything_be_tried_at_once():
    alice, bob = nodes(2)
    mesh, now = alice.inner.mesh, alice.world.now
    seen(alice, bob).pings.next_at = now + 8.0
    mesh.set_local(mesh.context.local, [], now)
    assert seen(alice, bob).pings.next_at == now + 8.0, "nothing has changed"
    mesh.set_local([ELSEWHERE], [], now)
    assert seen(alice, bob).pings.next_at <= now
    assert mesh.next_deadline().at > now - 1


def test_no_place_inside_of_the_tunnel_is_one_where_a_node_is_reached():
    alice, bob, _ = nodes()
    mesh, now, remote = bob.inner.mesh, bob.world.now, seen(bob, alice)
    inside = Endpoint(v4("10.1.1.1"), 50001)
    key, place = remote.public_key, remote.endpoint
    mesh.roamed(key, inside, now)
    bob.inner.settle(now)
    assert (remote.endpoint, bob.inner.device.peer_endpoint(key)) == (place, place)
    remote.offer(mesh.context.placed([Candidate(inside, Kind.OBSERVED)]), now)
    assert inside not in remote.trials
    mesh.receive_datagram(bytes(100), inside, None, now)
    assert mesh.context.out.drops[Reason.TUNNELLED] == 1
    before = mesh.context.observed
    mesh.upkeep.witnesses.saw(remote, inside)
    assert mesh.context.observed == before
    mesh.take_effects()
    mesh.contacts.knock(inside, now)
    assert mesh.take_effects() == []
    # Nor is it one where packets for who is reached through relays go.
    remote.way = Via((bytes(8), remote.short))
    mesh.roamed(key, inside, now)
    bob.inner.settle(now)
    assert bob.inner.device.peer_endpoint(key) == via(remote.short)


def test_a_node_has_another_name_from_now_on():
    alice, bob, carol = nodes()
    mesh, now = bob.inner.mesh, bob.world.now
    way = alice.way(bob)
    before = len(alice.told)
    mesh.set_settings(replace(mesh.context.settings, name="robert"), now)
    bob.inner.settle(now)
    alice.world.run_for(3.0)
    for other in (alice, carol):
        remote = seen(other, bob)
        assert remote.name == "robert" and other.way(bob) == way
    alice.world.run_for(150.0)  # the next session
    for other in (alice, carol):
        remote = seen(other, bob)
        pinned = other.inner.mesh.context.trust.pinned("robert")
        assert pinned is not None and pinned.identity == remote.identity
    kinds = {type(event).__name__ for event in alice.told[before:]}
    assert not kinds & {"ClaimRefused", "NodeLeft", "WayChanged"}


def test_changed_files_are_followed():
    alice, bob = nodes(2)
    mesh, now = alice.inner.mesh, alice.world.now
    identity = Identity(bob.seed).public
    pinned = StaticPeer(static("x", 1, "10.1.1.2").place, None, bytes([10, 1, 1, 2]), identity)
    network = replace(alice.settings.network, peers=(pinned,))
    routes = (prefix("172.16.0.0/16"),)
    mesh.set_settings(replace(alice.settings, network=network, routes=routes, seeds=()), now)
    alice.inner.settle(now)
    assert mesh.context.trust.how(identity) is How.FILE
    alice.world.run_for(1.0)
    assert bob.inner.mesh.context.objects.offers(Identity(alice.seed).public)


def test_people_pin_accept_and_forget():
    alice, bob = nodes(2)
    mesh, now = alice.inner.mesh, alice.world.now
    words = fingerprint(Identity(bob.seed).public)
    mesh.pin("bob", words, now)
    assert mesh.context.trust.how(Identity(bob.seed).public) is How.PERSON
    mesh.accept("bob", words, now)
    mesh.forget("bob", now)
    with pytest.raises(ConfigError):
        mesh.accept("carol", words, now)
    assert any(isinstance(one, effects.Save) for one in mesh.take_effects())


def test_nodes_that_say_goodbye_are_down_at_once_and_back_when_they_return():
    alice, bob, carol = nodes()
    bob.inner.mesh.leave(bob.world.now)
    bob.inner.settle(bob.world.now)
    bob.world.run_for(0.4)
    assert (alice.way(bob), carol.way(bob)) == ("", "")
    bob.restart()
    assert bob.world.run_while(lambda: not everybody_reaches_everybody([alice, bob, carol]), 3)


def test_who_was_met_but_is_no_neighbour_yet_hears_the_goodbye():
    alice, bob = nodes(2, met=False)
    world = alice.world
    for pair in ((alice.host, bob.host), (bob.host, alice.host)):
        world.links[pair] = Link(latency=0.001)
    assert world.run_while(lambda: not alice.way(bob), 3)
    assert bob.inner.mesh.upkeep.neighbours() == []
    bob.inner.mesh.leave(world.now)
    bob.inner.settle(world.now)
    assert world.run_while(lambda: alice.way(bob) != "", 0.1)


_PAIR = nodes(2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([control.OBJECTS, control.DIGEST, control.PULL, 0x1E]),
            st.binary(max_size=80) | st.binary(min_size=512, max_size=512),
        ),
        max_size=10,
    ),
    st.binary(max_size=100),
)
def test_garbage_is_dropped_and_counted(messages, payload):
    alice, bob = _PAIR
    mesh, now = alice.inner.mesh, alice.world.now
    before = len(mesh.context.remotes)
    for kind, body in messages:
        tell(bob, alice, kind, body)
    mesh.receive_inner(Identity(bob.seed).wireguard_public, payload, now)
    mesh.receive_datagram(payload, ELSEWHERE, None, now)
    mesh.receive_lan(payload, ELSEWHERE, now)
    alice.inner.settle(now)
    alice.world.run_for(0.1)
    assert len(mesh.context.remotes) == before
    assert alice.way(bob) == "direct"


def test_who_pays_from_now_on_carries_no_more_and_carries_again_later():
    carol = nodes()[-1]
    world, mesh = carol.world, carol.inner.mesh
    world.run_for(30.0)
    for metered in (True, False):
        mesh.set_settings(replace(mesh.context.settings, metered=metered), world.now)
        carol.inner.settle(world.now)
        world.run_for(2.0)
        plan = carol.inner.device._detours.plan  # noqa: SLF001
        assert plan is not None
        assert plan.carries is not metered


def test_a_prefix_is_given_to_nobody_once_a_node_is_reached_at_a_place_in_it():
    alice, bob, carol = nodes()
    world, mesh = alice.world, alice.inner.mesh
    wanted = prefix("172.16.0.0/16")
    settings = replace(bob.settings, routes=(wanted,))
    bob.inner.mesh.set_settings(settings, world.now)
    bob.inner.settle(world.now)
    world.run_for(30.0)
    assert wanted in alice.prefixes
    place = Endpoint(bytes([172, 16, 0, 9]), 4242)
    mesh.roamed(Identity(carol.seed).wireguard_public, place, world.now)
    alice.inner.settle(world.now)
    world.run_for(0.5)
    assert wanted not in alice.prefixes


def rename(node: Node, name: str) -> None:
    """Let a node follow a file that gives it another name."""
    mesh, now = node.inner.mesh, node.world.now
    mesh.set_settings(replace(mesh.context.settings, name=name), now)
    node.inner.settle(now)


def test_a_node_takes_another_name_and_its_old_one_is_free():
    alice, bob, carol = nodes()
    world, key = alice.world, Identity(alice.seed).public
    world.run_for(30.0)
    had = [len(alice.got(one)) for one in (bob, carol)]
    rename(alice, "dora")
    for number in range(40):
        for one in (bob, carol):
            assert one.way(alice) == "direct"
            one.send(alice, number)
        world.run_for(0.05)
    assert [len(alice.got(one)) for one in (bob, carol)] == [each + 40 for each in had]
    for one in (bob, carol):
        trust = one.inner.mesh.context.trust
        assert seen(one, alice).name == "dora"
        pinned = trust.pinned("dora")
        assert pinned is not None
        assert (pinned.identity, pinned.how) == (key, How.MET)
        assert trust.pinned("alice") is None
    own = alice.inner.mesh.context.trust
    assert own.pinned("alice") is None
    mine = own.pinned("dora")
    assert mine is not None
    assert mine.how is How.FILE
    # Who comes next may have the name.
    rename(bob, "alice")
    world.run_for(2.0)
    assert seen(carol, bob).name == "alice"
    assert everybody_reaches_everybody((alice, bob, carol))


def test_a_name_of_another_is_refused_by_the_others():
    alice, bob, carol = nodes()
    world, mesh = alice.world, alice.inner.mesh
    world.run_for(30.0)
    with pytest.raises(ConfigError, match="name: bob is another node, "):
        refuse_name(mesh.context, "bob")
    refuse_name(mesh.context, "alice")
    refuse_name(mesh.context, "dora")
    rename(alice, "bob")
    world.run_for(2.0)
    assert carol.remote(alice) is None
    assert carol.way(bob) == "direct"
    rename(alice, "alice")
    world.run_for(10.0)
    assert everybody_reaches_everybody((alice, bob, carol))
