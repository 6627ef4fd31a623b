"""Ways that die and come back, places that are proven, and members that forge and flood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine.knock import seal
from netmgr.engine.liveness import PING_INTERVAL
from netmgr.engine.remote import Direct
from netmgr.engine.signing import Identity, keyed_mac
from netmgr.engine.thrift import METERED_INTERVAL
from netmgr.engine.upkeep import ACCEPTED
from netmgr.errors import Reason
from netmgr.model import Candidate, Kind
from netmgr.wire import control, frames
from netmgr.wire.control import Ping, Pong
from netmgr.wire.frames import Probe
from tests.netmgr.engine.scenes import (
    NAMES,
    SEED,
    Stream,
    cut,
    cut_one_way,
    mend,
    nodes,
    seen,
    until,
)
from tests.sim.meshes import Node, everybody_reaches_everybody
from tests.sim.nat import Nat
from tests.sim.tunnel import v4
from tests.sim.world import Link, World
from wgpy.model import DeviceChange, Endpoint, PeerChange
from wgpy.wire.detour import via

ELSEWHERE = Endpoint(bytes([203, 0, 113, 9]), 4242)


def drops(node: Node) -> dict[Reason, int]:
    return dict(node.inner.mesh.context.out.drops)


def tell(sender: Node, receiver: Node, kind: int, body: bytes, *, flag: bool = False) -> None:
    """Let a message of a session come in, as if the sender had sent it."""
    key = Identity(sender.seed).wireguard_public
    now = receiver.world.now
    receiver.inner.mesh.receive_inner(key, control.encode(kind, body, flag=flag), now)
    receiver.inner.settle(now)


def frame(
    sender: Node, receiver: Node, kind: int, txid: bytes = bytes(8), key: bytes | None = None
) -> bytes:
    """Return a PROBE or PROBE_ACK as the sender makes them."""
    one, other = Identity(sender.seed), Identity(receiver.seed)
    probe = Probe(one.short, other.short, txid, b"", ELSEWHERE)
    proof = keyed_mac(key or one.pair_key(other.wireguard_public), probe.proven(kind))
    body = probe._replace(proof=proof).encode(kind)
    return seal(sender.inner.mesh.context.keys, kind, body, sender.world.entropy())


# --- ways that die ---


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_dead_direct_way_is_known_within_twelve_seconds_and_the_relay_is_used(seed):
    alice, bob, carol = nodes(seed=seed)
    alice.world.run_for(15 + 2.3 * seed)
    cut(bob, carol)
    assert until(bob, carol, ["alice"], 12.0) <= 12.0
    assert until(carol, bob, ["alice"], 2.0) <= 2.0
    bob.send(carol, 7)
    alice.world.run_for(0.5)
    assert carol.got(bob) == [7]


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("seed", [1, 4])
def test_under_traffic_it_is_known_within_three_seconds(seed, answered):
    alice, bob, carol = nodes(seed=seed)
    alice.world.run_for(20.0)
    stream = Stream(bob, carol, answered=answered)
    stream.run(2.0)
    cut(bob, carol)
    stream.run(8.0)
    assert 1.0 < stream.gap <= 3.0
    assert (bob.way(carol), carol.way(bob)) == ("alice", "alice")


def test_a_way_that_died_before_the_traffic_began_is_left_as_fast():
    alice, bob, carol = nodes()
    alice.world.run_for(20.0)
    cut(bob, carol)
    stream = Stream(bob, carol, answered=False)
    stream.run(8.0)
    assert stream.gap <= 3.0
    assert bob.way(carol) == "alice"


@pytest.mark.parametrize("busy", [True, False])
def test_a_way_that_is_dead_in_one_direction_is_left_by_who_sends_there(busy):
    _, bob, carol = nodes()
    stream = Stream(bob, carol)
    if busy:
        stream.run(2.0)
    cut_one_way(bob, carol)
    if busy:
        stream.run(5.0)
        assert stream.gap < 4.0
    else:
        until(bob, carol, ["alice"], 14.0)
    assert bob.way(carol) == "alice"
    had = len(stream.lost), len(bob.got(carol))
    stream.run(5.0)
    assert len(stream.lost) == had[0]
    assert len(bob.got(carol)) > had[1] + 90


def test_a_way_that_returns_is_used_again_and_nothing_is_lost_by_the_change():
    _, bob, carol = nodes()
    cut(bob, carol)
    stream = Stream(bob, carol)
    stream.run(10.0)
    lost = stream.lost
    mend(bob, carol)
    stream.run(45.0)
    assert bob.way(carol) == carol.way(bob) == "direct"
    assert stream.lost == lost


def test_a_way_that_comes_and_goes_has_to_prove_itself():
    _, bob, carol = nodes()
    stream, before = Stream(bob, carol), len(bob.told)
    for _ in range(6):
        cut(bob, carol)
        stream.run(4.0)
        mend(bob, carol)
        stream.run(4.0)
    moves = [event for event in bob.told[before:] if type(event).__name__ == "WayChanged"]
    assert len(moves) <= 7


def test_a_lossy_way_does_not_make_ways_flap():
    alice, bob, carol = nodes()
    alice.world.link = Link(loss=0.1, jitter=0.02)
    before = len(bob.told)
    Stream(bob, carol).run(60.0, 0.1)
    moves = [event for event in bob.told[before:] if type(event).__name__ == "WayChanged"]
    assert len(moves) <= 4


def test_a_way_that_loses_five_in_a_hundred_is_left_within_a_minute_and_taken_again():
    alice, bob, carol = nodes()
    links = alice.world.links
    links[bob.host, carol.host] = links[carol.host, bob.host] = Link(0.02, loss=0.05)
    stream = Stream(bob, carol)
    stream.run(45.0, 0.05)
    assert seen(bob, carol).loss > 0
    assert bob.way(carol) == carol.way(bob) == "alice"
    links[bob.host, carol.host] = links[carol.host, bob.host] = Link(0.02)
    stream.run(360.0, 0.5)
    assert bob.way(carol) == carol.way(bob) == "direct"


def test_a_direct_place_that_dies_while_relays_are_used_is_given_up():
    alice, bob, carol = nodes()
    for node in (bob, carol):
        alice.world.links[node.host, alice.host] = Link(latency=0.001)
        alice.world.links[alice.host, node.host] = Link(latency=0.001)
    slow = Link(latency=0.2)
    alice.world.links[bob.host, carol.host] = alice.world.links[carol.host, bob.host] = slow
    assert until(bob, carol, ["alice"], 120.0)
    assert seen(bob, carol).up
    cut(bob, carol)
    assert alice.world.run_while(lambda: seen(bob, carol).up, 15.0)


def test_a_node_that_nothing_leads_to_is_probed_by_all_who_talk_to_it():
    alice, bob = nodes(2)
    cut(alice, bob)
    stream = Stream(alice, bob, answered=False)
    stream.run(15.0)
    assert alice.way(bob) == ""
    assert isinstance(seen(alice, bob).way, Direct), "it keeps the way it had"
    mend(alice, bob)
    stream.run(3.0)
    assert alice.way(bob) == "direct"


def test_who_is_dead_is_not_asked_for_a_session_for_ever():
    alice, bob, carol = nodes()
    carol.host.up = False
    stream = Stream(bob, carol, answered=False)
    stream.run(5.0)
    alice.world.run_for(200.0)
    before = len(alice.world.trace)
    alice.world.run_for(200.0)
    late = alice.world.trace[before:]
    assert not [one for one in late if one.kind == 1 and one.destination == carol.host.endpoint]


def test_every_end_measures_for_itself_now_and_then():
    alice, bob = nodes(2)
    began = alice.world.now
    alice.world.run_for(150.0)
    for one, other in ((alice, bob), (bob, alice)):
        assert seen(one, other).pings.measured_at > began + 60


def test_a_metered_node_is_pinged_rarely():
    alice, _ = nodes(2, metered=True)
    alice.world.run_for(10.0)
    before = len(alice.world.trace)
    alice.world.run_for(METERED_INTERVAL)
    assert len(alice.world.trace) - before < 40


# --- places ---


def test_the_lan_is_found_within_five_seconds_and_beats_the_internet():
    world = World(1)
    wan = Nat(v4("198.51.100.1"))
    alice = Node(world, "alice", "10.1.1.1", "192.0.2.1", [SEED])
    bob = Node(world, "bob", "10.1.1.2", "10.0.0.2", [SEED], nat=wan)
    carol = Node(world, "carol", "10.1.1.3", "10.0.0.3", [SEED], nat=Nat(v4("198.51.100.3")))
    took = until(bob, carol, ["direct"], 5.0)
    assert took <= 5.0
    found = seen(bob, carol).endpoint
    assert found is not None
    assert found.host == v4("198.51.100.3")
    # Both are on one LAN from now on.
    bob.host.nat = carol.host.nat = None
    bob.inner.mesh.network_changed(world.now)
    bob.inner.settle(world.now)
    world.run_for(40.0)
    assert seen(bob, carol).endpoint == carol.host.endpoint
    assert seen(carol, bob).endpoint == bob.host.endpoint
    assert alice.way(bob) == "direct"


def test_direct_takes_the_place_of_a_relay_at_once_when_it_is_first_proven():
    world = World(1)
    made = [
        Node(world, name, f"10.1.1.{number}", f"192.0.2.{number}", [SEED])
        for number, name in enumerate(NAMES[:3], 1)
    ]
    _, bob, carol = made
    cut(bob, carol)
    assert world.run_while(lambda: not everybody_reaches_everybody(made), 10.0)
    world.run_for(3.0)
    assert bob.way(carol) == "alice"
    mend(bob, carol)
    assert until(bob, carol, ["direct"], 5.0) <= 5.0


# --- from the network ---


def test_a_probe_of_anybody_else_is_counted_and_answered_by_silence():
    alice, bob, carol = nodes()
    stranger = Node(World(2), "mallory", "10.1.1.9", "192.0.2.9", [SEED])
    before = len(alice.world.trace)
    for payload, reason in (
        (frame(bob, carol, frames.PROBE), Reason.NOT_FOR_US),
        (frame(stranger, alice, frames.PROBE_ACK), Reason.UNKNOWN_NODE),
        (frame(bob, alice, frames.PROBE, key=bytes(32)), Reason.NOT_AUTHENTIC),
        (frame(bob, alice, frames.PROBE_ACK), Reason.UNASKED),
    ):
        alice.world.inject(alice.host, payload, ELSEWHERE)
        assert drops(alice)[reason] == 1
    assert len(alice.world.trace) == before


def test_a_flood_of_probes_from_everywhere_grows_nothing_and_moves_nothing():
    alice, bob = nodes(2)
    way = seen(alice, bob).way
    before = len(alice.world.trace)
    for number in range(500):
        source = Endpoint(bytes([203, 0, number // 250, number % 250]), 4242)
        alice.world.inject(alice.host, frame(bob, alice, frames.PROBE), source)
    assert seen(alice, bob).way == way
    assert len(seen(alice, bob).trials) <= 24
    assert drops(alice)[Reason.TOO_FAST] >= 400
    assert len(alice.world.trace) - before <= 100


def test_calls_without_end_make_us_probe_no_more_than_a_few_places():
    alice, bob, carol = nodes()
    cut(bob, carol)
    until(bob, carol, ["alice"], 15.0)
    before = len(alice.world.trace)
    for number in range(200):
        places = [Endpoint(bytes([203, 0, number, low]), 53) for low in range(16)]
        tell(carol, bob, control.CALL_ME, control.encode_endpoints(places), flag=True)
    alice.world.run_for(2.0)
    probes = [sent for sent in alice.world.trace[before:] if sent.kind == frames.PROBE]
    assert len(probes) < 24 * 6
    assert bob.way(carol) == "alice"
    assert drops(bob)[Reason.TOO_FAST] > 190


def test_a_flood_of_pings_is_answered_at_a_rate():
    alice, bob = nodes(2)
    before = len(alice.world.trace)
    for _ in range(500):
        tell(bob, alice, control.PING, Ping(bytes(8), bytes(8), 1).encode(), flag=True)
    alice.world.run_for(0.01)
    assert len(alice.world.trace) - before < 60
    assert drops(alice)[Reason.TOO_FAST] >= 450


@pytest.mark.parametrize("rtt_us", [1, 900_000])
def test_what_another_says_of_the_round_trip_only_lets_us_measure(rtt_us):
    alice, bob = nodes(2)
    remote, now = seen(alice, bob), alice.world.now
    assert remote.rtt is not None
    for _ in range(8):
        remote.pings.measure(remote.rtt)
    rtt, remote.pings.measured_at, remote.pings.next_at = remote.rtt, now, now + 5.0
    for _ in range(3):
        tell(bob, alice, control.PING, Ping(bytes(8), bytes(8), rtt_us).encode())
    assert (remote.rtt, remote.pings.next_at) == (rtt, now + 5.0)
    tell(bob, alice, control.PING, Ping(bytes(8), bytes(8), int(rtt * 1e6)).encode())
    assert remote.pings.next_at > now + PING_INTERVAL, "one of two asks"


def test_a_ping_of_a_node_that_is_down_proves_nothing_but_is_followed():
    alice, bob = nodes(2)
    cut(alice, bob)
    assert alice.world.run_while(lambda: seen(alice, bob).up, 15.0)
    tell(bob, alice, control.PING, Ping(bytes(8), bytes(8), 1).encode())
    assert not seen(alice, bob).up
    mend(alice, bob)
    assert until(alice, bob, ["direct"], 1.0) <= 1.0


def test_answers_nobody_asked_for_are_counted():
    alice, bob = nodes(2)
    tell(bob, alice, control.PONG, Pong(b"anything", bytes(8), ELSEWHERE).encode())
    assert drops(alice)[Reason.UNASKED] == 1
    assert ELSEWHERE not in alice.inner.mesh.context.observed


def test_of_those_who_want_to_be_neighbours_so_many_are_taken():
    alice, bob = nodes(2)
    context = bob.inner.mesh.context
    remote = seen(bob, alice)
    for number in range(24):
        other = type(remote)(bytes([number]) * 32, bytes(8), remote.public_key, 0.0)
        other.calls.wants_us = True
        context.remotes[other.identity] = other
    remote.calls.wants_us = False
    tell(alice, bob, control.PING, Ping(bytes(8), bytes(8), 0).encode(), flag=True)
    assert not remote.wants_us
    del context.remotes[bytes([0]) * 32]
    tell(alice, bob, control.PING, Ping(bytes(8), bytes(8), 0).encode(), flag=True)
    tell(alice, bob, control.PING, Ping(bytes(8), bytes(8), 0).encode(), flag=True)
    assert remote.wants_us, "and so it stays"
    tell(alice, bob, control.PING, Ping(bytes(8), bytes(8), 0).encode())
    assert not remote.wants_us


def test_who_pays_is_taken_though_many_others_are():
    alice, bob = nodes(2, metered=True)
    context = bob.inner.mesh.context
    remote = seen(bob, alice)
    for number in range(ACCEPTED + 1):
        other = type(remote)(bytes([number]) * 32, bytes(8), remote.public_key, 0.0)
        other.calls.wants_us = True
        other.record = remote.record
        context.remotes[other.identity] = other
    remote.calls.wants_us = False
    tell(alice, bob, control.PING, Ping(bytes(8), bytes(8), 0).encode(), flag=True)
    assert remote.wants_us
    remote.calls.wants_us, remote.record = False, None
    tell(alice, bob, control.PING, Ping(bytes(8), bytes(8), 0).encode(), flag=True)
    assert remote.wants_us, "they take no room of others"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([control.PING, control.PONG, control.CALL_ME, 0x1F]),
            st.binary(max_size=64) | st.just(Ping(bytes(8), bytes(8), 7).encode()),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_garbage_in_the_session_is_dropped_and_counted(messages):
    alice, bob = _PAIR
    way = seen(alice, bob).way
    for kind, body, flag in messages:
        tell(bob, alice, kind, body, flag=flag)
    alice.world.run_for(0.2)
    assert seen(alice, bob).way == way


_PAIR = nodes(2)


@given(st.binary(max_size=200), st.sampled_from([frames.PROBE, frames.PROBE_ACK]))
def test_garbage_in_a_frame_is_dropped_and_counted(body, kind):
    alice, _ = _PAIR
    before = sum(drops(alice).values())
    payload = seal(alice.inner.mesh.context.keys, kind, body, alice.world.entropy())
    alice.world.inject(alice.host, payload, ELSEWHERE)
    assert sum(drops(alice).values()) == before + 1


def test_a_node_that_roams_is_followed_and_asked():
    alice, bob = nodes(2)
    moved = Endpoint(v4("192.0.2.77"), 50002)
    bob.host.endpoint = moved
    bob.send(alice, 1)
    alice.world.run_for(0.5)
    assert seen(alice, bob).endpoint == moved
    assert seen(alice, bob).trials[moved].kind is Kind.OBSERVED
    assert alice.way(bob) == "direct"


@pytest.mark.parametrize(("works", "way"), [(True, "direct"), (False, "alice")])
def test_a_device_moved_by_a_handshake_through_relays_is_set_back_and_the_place_doubted(
    works, way
):
    alice, bob, carol = nodes()
    world, device = alice.world, carol.inner.device
    world.run_for(30.0)
    if not works:
        cut(bob, carol)
    key, place = Identity(bob.seed).wireguard_public, seen(carol, bob).endpoint
    moved = via(Identity(bob.seed).short)
    change = PeerChange(key, update_only=True, endpoint=moved)
    device.configure(DeviceChange(peers=(change,)), world.now)
    carol.inner.mesh.roamed(key, moved, world.now)
    carol.inner.settle(world.now)
    assert device.peer_endpoint(key) == place
    world.run_for(3.0)
    assert carol.way(bob) == way
    # It is nothing to one that is reached through relays anyway.
    carol.inner.mesh.roamed(key, moved, world.now)
    assert carol.inner.mesh.take_effects() == [] or works


def test_a_place_where_a_node_is_met_is_probed_if_there_is_a_way():
    alice, bob = nodes(2)
    remote, way = seen(alice, bob), seen(alice, bob).way
    remote.offer([Candidate(ELSEWHERE, Kind.OBSERVED)], alice.world.now)
    alice.inner.mesh.upkeep.found(remote, ELSEWHERE, alice.world.now)
    before = len(alice.world.trace)
    alice.inner.settle(alice.world.now)
    alice.world.settle()
    assert [sent.destination for sent in alice.world.trace[before:]] == [ELSEWHERE]
    assert remote.way == way
