"""Alice and Bob, who reach each other only through the sessions of one, two or three relays."""

from collections.abc import Sequence

import pytest

from tests.scenario.test_load import Flood
from tests.sim.tunnel import DATA, INITIATION, Node, packet, v4
from tests.sim.world import Link, World
from tests.wgpy.engine.test_incoming import kernels
from wgpy.engine.constants import REKEY_AFTER_TIME
from wgpy.errors import Drop
from wgpy.events import InnerReceived, RelayFailed, Roamed
from wgpy.model import Burst, Endpoint, PeerChange
from wgpy.wire import detour
from wgpy.wire.detour import Head, via

MARKER = b"nobody on the way reads this"
ALICE, BOB = "10.0.0.1", "10.0.0.2"


def node_id(node: Node) -> bytes:
    return node.public[:8]


class Chain:
    """Alice, relays and Bob in a row; neighbours know each other, and the ends a way."""

    def __init__(self, relays: int, link: Link | None = None, seed: int = 0) -> None:
        self.world = world = World(seed, link)
        self.relays = [
            Node(world, f"relay {n}", f"10.0.0.{n}", f"192.0.2.{n}", embedded=True)
            for n in range(10, 10 + relays)
        ]
        self.alice = Node(world, "alice", ALICE, "192.0.2.1", embedded=True)
        self.bob = Node(world, "bob", BOB, "192.0.2.2", embedded=True)
        self.row = [self.alice, *self.relays, self.bob]
        for number, node in enumerate(self.row):
            near = self.row[max(number - 1, 0) : number] + self.row[number + 1 : number + 2]
            for other in near:  # one of two begins
                keepalive = 25 if other is self.row[number - 1] else None
                node.meet(other, endpoint=other.host.endpoint, keepalive=keepalive)
            self.plan(node, near)
        ids = [*map(node_id, self.row)]
        self.alice.meet(self.bob, endpoint=via(ids[-1]))
        self.bob.meet(self.alice, endpoint=via(ids[0]))
        self.plan(self.alice, self.row[1:2], {ids[-1]: tuple(ids[1:])})
        self.plan(self.bob, self.row[-2:-1], {ids[0]: tuple(ids[-2::-1])})
        for node in self.row:
            node.set_up()
        world.run_for(1.0)

    def plan(
        self,
        node: Node,
        neighbours: Sequence[Node],
        paths: dict[bytes, tuple[bytes, ...]] | None = None,
        carries: bool = True,
    ) -> None:
        """Tell a node what it may do with relay messages."""
        known = {node_id(other): other.public for other in neighbours}
        node.device.set_detours(node_id(node), known, paths or {}, carries=carries)

    def way(self) -> tuple[bytes, ...]:
        """Return the ids from Alice to Bob."""
        return tuple(map(node_id, self.row[1:]))

    def hand(self, node: Node, head: Head, body: bytes, to: Node) -> None:
        """Let a node that plays foul hand a relay message of its own to a peer."""
        node.device.send_inner(to.public, detour.wrap(head, [body]), self.world.now)
        self.world.run_for(0.2)

    def chat(self, seconds: int, first: int = 0) -> None:
        """Let both send a numbered packet a second."""
        for number in range(first, first + seconds):
            self.alice.send(BOB, [number])
            self.world.run_for(0.5)
            self.bob.send(ALICE, [number])
            self.world.run_for(0.5)
        self.world.run_for(2.0)

    def failures(self) -> set[RelayFailed]:
        """Return what Alice was told of ways that do not lead on."""
        events = self.alice.take_events()
        return {event for event in events if isinstance(event, RelayFailed)}


@pytest.mark.parametrize("relays", [1, 2, 3])
@pytest.mark.parametrize("kind", ["none", "portable", "jit"])
def test_packets_arrive_through_relays_while_keys_are_renewed(relays, kind):
    chain = Chain(relays)
    if kind != "none":
        for node in chain.row:
            node.device.set_kernels(kernels(kind))
    chain.chat(300)
    assert chain.alice.numbers == chain.bob.numbers == list(range(300))
    for relay in chain.relays:
        assert relay.host.received == []
        assert relay.device.status().detoured.carried_packets >= 600
    for node in chain.row:
        assert node.drops() == {}
    sent = chain.alice.device.status().detoured
    assert sent.sent_packets >= 300
    assert sent.sent_bytes >= 300 * (84 + 32)
    age = chain.world.now - chain.alice.peer(chain.bob.public).last_handshake % 1_700_000_000
    assert age < REKEY_AFTER_TIME + 10


def test_nothing_goes_past_the_relays():
    chain = Chain(2)
    chain.chat(5)
    ends = {chain.alice.host.endpoint, chain.bob.host.endpoint}
    assert not [sent for sent in chain.world.trace if {sent.source, sent.destination} == ends]
    assert not [sent for sent in chain.world.trace if not sent.destination.port]


def test_what_a_bad_network_loses_is_in_proportion():
    link = Link(latency=0.02, jitter=0.03, loss=0.03, duplication=0.05, reordering=0.05)
    chain = Chain(3, link, seed=7)
    chain.chat(600)
    for numbers in (chain.alice.numbers, chain.bob.numbers):
        assert len(set(numbers)) == len(numbers)
        assert len(numbers) > 600 * 0.7


def test_a_relay_cannot_read_what_it_carries():
    """Each has the keys of its hops only: what comes out of these is a datagram of Alice's."""
    chain = Chain(1)
    chain.chat(2)
    (relay,) = chain.relays
    chain.plan(relay, [])
    relay.device = relay._device()  # noqa: SLF001 - the same keys, but it hands over what it gets
    chain.world.replace(relay.host, relay.device)
    for other in (chain.alice, chain.bob):
        relay.meet(other, endpoint=other.host.endpoint, keepalive=25)
    relay.set_up()
    chain.world.run_for(6.0)
    carried = packet(ALICE, BOB, size=120)[:60] + MARKER
    carried = carried + bytes(120 - len(carried))
    chain.world.send(chain.alice.host, [carried])
    chain.world.run_for(1.0)
    seen = [each for each in relay.device.take_events() if isinstance(each, InnerReceived)]
    bodies = [bytes(detour.decode_untrusted(event.payload)[1]) for event in seen]
    assert [body for body in bodies if body[0] == DATA and len(body) == 128 + 32]
    assert not [body for body in bodies if MARKER in body]


def test_a_relay_that_dies_is_told_to_the_source_by_the_one_before():
    chain = Chain(3)
    chain.chat(3)
    chain.alice.take_events()
    last = chain.relays[-1]
    chain.relays[1].change(PeerChange(last.public, remove=True))
    chain.alice.send(BOB, [100])
    chain.world.run_for(1.0)
    ids = chain.way()
    assert chain.failures() == {RelayFailed(ids[-1], ids[2])}
    assert chain.relays[1].drops() == {Drop.NO_RELAY.value: 1}


def test_the_sessions_of_a_dead_relay_end_and_then_it_is_told():
    chain = Chain(2)
    chain.chat(3)
    chain.relays[1].host.up = False
    chain.chat(250, first=100)
    ids = chain.way()
    assert RelayFailed(ids[-1], ids[1]) in chain.failures()
    chain.relays[1].host.up = True
    chain.world.run_for(60)
    chain.chat(60, first=1000)
    assert chain.bob.numbers[-1] == 1059


def test_a_first_relay_without_a_session_is_greeted_and_told():
    chain = Chain(1)
    (relay,) = chain.relays
    chain.chat(2)
    relay.host.up = False
    chain.alice.change(PeerChange(relay.public, remove=True))
    chain.alice.meet(relay, endpoint=relay.host.endpoint)
    chain.alice.take_events()
    chain.alice.send(BOB, [50])
    assert chain.failures() == {RelayFailed(node_id(chain.bob), node_id(relay))}
    assert chain.alice.drops() == {Drop.NO_RELAY.value: 1}
    relay.host.up = True
    chain.world.run_for(10.0)
    chain.alice.send(BOB, [51])
    chain.world.run_for(2.0)
    assert chain.bob.numbers[-1] == 51


def test_without_a_way_nothing_leaves():
    chain = Chain(1)
    chain.chat(1)
    chain.plan(chain.alice, chain.relays)
    chain.alice.take_events()
    chain.alice.send(BOB, [1, 2, 3])
    bob = node_id(chain.bob)
    assert chain.failures() == {RelayFailed(bob, bob)}
    assert chain.alice.drops() == {Drop.NO_DETOUR.value: 3}


def test_a_node_that_does_not_relay_drops_what_it_should():
    chain = Chain(1)
    (relay,) = chain.relays
    chain.plan(relay, [chain.alice, chain.bob], carries=False)
    chain.alice.send(BOB)
    chain.world.run_for(1.0)
    assert chain.bob.host.received == []
    assert relay.drops()[Drop.NOT_CARRIED.value] >= 1


def test_a_relay_that_is_behind_relays_itself_is_no_next_hop():
    chain = Chain(1)
    (relay,) = chain.relays
    chain.chat(1)
    chain.alice.meet(relay, endpoint=via(node_id(relay)))
    chain.alice.send(BOB, [1])
    chain.world.run_for(1.0)
    assert chain.alice.drops() == {Drop.NO_RELAY.value: 1}


DATAGRAM = bytes([DATA, 0, 0, 0]) + bytes(60)


@pytest.mark.parametrize("kind", ["none", "portable"])
@pytest.mark.parametrize(
    "forged",
    [
        lambda ids: Head(detour.RELAY, 0, b"somebody", (ids[0], ids[1], ids[2])),
        lambda ids: Head(detour.RELAY, 1, b"somebody", (b"whatever", ids[0], ids[2])),
        lambda ids: Head(detour.RELAY, 1, b"somebody", (ids[0], ids[1], ids[2])),
        lambda ids: Head(detour.RELAY, 2, b"somebody", (ids[1], ids[2], ids[0])),
        lambda ids: Head(detour.RELAY, 1, b"somebody", (ids[1], ids[0])),
        lambda ids: Head(detour.RELAY_ERROR, 0, b"somebody", (ids[0], ids[1])),
    ],
)
def test_what_is_not_from_whom_it_says_is_dropped(forged, kind):
    """A member hands the first relay messages with a source, or a turn, of its choice."""
    chain = Chain(2)
    first = chain.relays[0]
    if kind == "portable":
        for node in chain.row:
            node.device.set_kernels(kernels(kind))
    head = forged(chain.way())
    body = DATAGRAM if head.kind == detour.RELAY else head.ids[-1]
    before = len(chain.world.trace)
    made = detour.wrap(head, [body] * 3)
    chain.alice.device.send_inner(first.public, made, chain.world.now)
    chain.world.run_for(0.2)
    dropped = first.drops()
    assert dropped == {Drop.BAD_DETOUR.value: 3} or dropped == {Drop.BAD_DETOUR.value: 1}
    assert (
        not [sent for sent in chain.world.trace[before:] if sent.source == first.host.endpoint]
        or head.kind == detour.RELAY
    )


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x0a",
        b"\x0b" + bytes(40),
        bytes([10, 3, 2, 0, 0, 64, 0, 0]) + bytes(90),
        bytes([10, 0, 9, 0, 0, 64, 0, 0]) + bytes(200),
        bytes([10, 0, 2, 0, 255, 255, 0, 0]) + bytes(200),
    ],
)
def test_a_garbled_message_is_counted_and_stays_where_it_is(garbage):
    chain = Chain(1)
    (relay,) = chain.relays
    chain.alice.device.send_inner(relay.public, [garbage], chain.world.now)
    chain.world.run_for(0.5)
    assert relay.drops() == {Drop.BAD_DETOUR.value: 1}
    assert relay.device.status().detoured == (0, 0, 0, 0)


def test_a_way_with_a_loop_goes_nowhere():
    chain = Chain(2)
    one, two = map(node_id, chain.relays)
    source = node_id(chain.alice)
    loop = Head(detour.RELAY, 0, source, (one, two, one, two))
    chain.hand(chain.alice, loop, DATAGRAM, chain.relays[0])
    assert chain.relays[0].drops() == {Drop.BAD_DETOUR.value: 1}
    assert chain.relays[0].device.status().detoured.carried_packets == 0


def test_a_relay_message_in_a_session_through_relays_is_dropped():
    chain = Chain(1)
    chain.chat(2)
    ids = (node_id(chain.relays[0]), node_id(chain.bob))
    chain.plan(
        chain.bob,
        [chain.relays[0], chain.alice],
        {node_id(chain.alice): (ids[0], node_id(chain.alice))},
    )
    head = Head(detour.RELAY, 1, b"somebody", (node_id(chain.alice), node_id(chain.bob)))
    chain.hand(chain.alice, head, DATAGRAM, chain.bob)
    assert chain.bob.drops() == {Drop.BAD_DETOUR.value: 1}


def test_only_messages_of_wireguard_arrive():
    chain = Chain(1)
    head = Head(detour.RELAY, 0, node_id(chain.alice), chain.way())
    chain.hand(chain.alice, head, b"\x80 of a program", chain.relays[0])
    assert chain.bob.drops() == {Drop.BAD_DETOUR.value: 1}


def test_an_endpoint_behind_relays_is_not_believed_of_the_network():
    chain = Chain(1)
    chain.chat(1)
    (sent, *_) = [sent for sent in chain.world.trace if sent.kind == INITIATION]
    chain.world.inject(chain.bob.host, sent.payload, via(node_id(chain.alice)))
    assert chain.bob.drops() == {Drop.BAD_DETOUR.value: 1}


def test_a_datagram_of_a_program_is_not_sent_through_relays():
    chain = Chain(1)

    chain.alice.device.send_datagram(Burst(b"\x80", 1, via(node_id(chain.bob))))
    assert chain.alice.device.take_bursts() == []
    assert chain.alice.drops() == {Drop.NO_DETOUR.value: 1}


def test_errors_of_others_than_the_first_relay_are_not_believed():
    """One that relays for nobody on the way says so; so does the first of a way not in use."""
    chain = Chain(2)
    chain.chat(2)
    ids, source = chain.way(), node_id(chain.alice)
    mallory = Node(chain.world, "mallory", "10.0.0.66", "192.0.2.66", embedded=True)
    mallory.meet(chain.alice, endpoint=chain.alice.host.endpoint)
    chain.alice.meet(mallory, endpoint=mallory.host.endpoint)
    mallory.set_up()
    chain.plan(mallory, [chain.alice])
    chain.plan(chain.alice, [chain.relays[0], mallory], {ids[-1]: ids})
    for head, failed in (
        (Head(detour.RELAY_ERROR, 0, source, ids), ids[1]),
        (Head(detour.RELAY_ERROR, 0, source, (node_id(mallory), ids[-1])), ids[-1]),
    ):
        chain.hand(mallory, head, failed, chain.alice)
    other = Head(detour.RELAY_ERROR, 0, source, ids)
    chain.hand(chain.relays[0], other, b"somebody", chain.alice)
    assert chain.failures() == set()
    assert chain.alice.drops() == {Drop.BAD_DETOUR.value: 3}


def test_errors_come_at_a_limited_rate():
    chain = Chain(1)
    (relay,) = chain.relays
    chain.chat(1)
    relay.change(PeerChange(chain.bob.public, remove=True))
    before = len(relay.sent(DATA))
    chain.alice.send(BOB, range(100))
    for _ in range(100):
        chain.alice.send(BOB, [1])
    chain.world.run_for(0.5)
    assert 1 <= len(relay.sent(DATA)) - before <= 10
    assert relay.drops()[Drop.NO_RELAY.value] == 200


def test_a_handshake_through_relays_gets_through_a_flood_by_its_cookie():
    chain = Chain(2)
    flood = Flood(chain)  # type: ignore[arg-type]
    flood.go_on(0.5)
    chain.alice.send(BOB, [7])
    before = len(chain.world.trace)
    flood.go_on(8.0)
    assert chain.bob.numbers == [7]
    chain.world.run_for(1.0)
    assert chain.bob.device.peer_endpoint(chain.alice.public) == via(node_id(chain.alice))
    last = chain.relays[-1].host.endpoint
    from_bob = [sent for sent in chain.world.trace[before:] if sent.destination == last]
    assert from_bob, "cookies and answers go through relays as well"


def direct(chain: Chain) -> None:
    """Let the ends know each other's address."""
    for node, other in ((chain.alice, chain.bob), (chain.bob, chain.alice)):
        node.change(PeerChange(other.public, endpoint=other.host.endpoint))


def test_data_moves_nobody_to_relays_or_away_from_them():
    chain = Chain(1)
    chain.chat(3)
    bob = chain.bob.public
    chain.alice.change(PeerChange(bob, endpoint=chain.bob.host.endpoint))
    chain.alice.send(BOB, [10])
    chain.world.run_for(0.2)
    assert chain.bob.numbers[-1] == 10
    assert chain.bob.device.peer_endpoint(chain.alice.public) == via(node_id(chain.alice))
    chain.bob.send(ALICE, [11])
    chain.world.run_for(0.2)
    assert chain.alice.numbers[-1] == 11
    assert chain.alice.device.peer_endpoint(bob) == chain.bob.host.endpoint
    assert not [event for event in chain.alice.take_events() if isinstance(event, Roamed)]


def test_data_moves_a_peer_from_one_address_to_another():
    chain = Chain(1)
    direct(chain)
    chain.chat(2)
    chain.bob.host.endpoint = Endpoint(v4("198.51.100.7"), 4444)
    chain.bob.send(ALICE, [9])
    chain.world.run_for(0.2)
    assert chain.alice.device.peer_endpoint(chain.bob.public) == chain.bob.host.endpoint


@pytest.mark.parametrize("towards_relays", [False, True])
def test_a_handshake_moves_both_to_the_path_its_initiator_chose(towards_relays):
    chain = Chain(1)
    if towards_relays:
        direct(chain)
    chain.chat(2)
    alice, bob = node_id(chain.alice), node_id(chain.bob)
    chosen = via(bob) if towards_relays else chain.bob.host.endpoint
    chain.alice.change(PeerChange(chain.bob.public, endpoint=chosen))
    for node in (chain.alice, chain.bob):
        node.set_up(False)
    for node in (chain.alice, chain.bob):
        node.set_up()
    chain.alice.send(BOB, [1])
    chain.world.run_for(12.0)
    expected = via(alice) if towards_relays else chain.alice.host.endpoint
    assert chain.bob.device.peer_endpoint(chain.alice.public) == expected
    assert chain.alice.device.peer_endpoint(chain.bob.public) == chosen


def test_the_traffic_of_one_peer_is_told():
    chain = Chain(1)
    chain.chat(2)
    status = chain.alice.peer(chain.bob.public)
    told = chain.alice.device.traffic(chain.bob.public)
    assert told == (status.rx_bytes, status.tx_bytes, status.last_handshake)
    assert chain.alice.device.traffic(chain.alice.public) is None
    assert chain.alice.device.peer_endpoint(chain.alice.public) is None


def test_what_came_of_a_session_is_told_since_the_last_look():
    chain = Chain(1)
    assert chain.alice.device.arrivals(chain.bob.public) is None, "there is no session"
    chain.chat(2)
    look = chain.alice.device.arrivals(chain.bob.public)
    assert look is not None and look.upcoming > 0
    assert look == (look.session, 0, look.upcoming, 0, 0), "they may have overtaken others"
    again = chain.alice.device.arrivals(chain.bob.public, look)
    count = look.upcoming
    assert again == (look.session, count, count, count, count)
    assert chain.alice.device.arrivals(chain.bob.public, again) == (*again[:3], 0, 0)
    other = look._replace(session=look.session ^ 1)
    assert chain.alice.device.arrivals(chain.bob.public, other) == look, "another session"
    assert chain.alice.device.arrivals(chain.alice.public) is None


def test_congestion_on_the_way_is_told_end_to_end():
    chain = Chain(2)
    chain.chat(1)
    link = Link(congested=True)
    chain.world.links[chain.alice.host, chain.relays[0].host] = link
    chain.world.send(chain.alice.host, [packet(ALICE, BOB, 1, tos=2)])
    chain.world.run_for(1.0)
    assert chain.bob.host.received[-1][1] & 3 == 3
