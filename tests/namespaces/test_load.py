"""Nodes kept as busy as they can be: memory, counters, and queues behind a slow link."""

import pytest

from tests import offloads
from tests.lab import Lab, wait_until
from tests.namespaces.flows import Flow, sockets
from tests.namespaces.nodes import (
    MARKS,
    TWO_V4,
    Node,
    cabled,
    cables,
    outside,
    status,
    tunnel,
)
from wgpy.errors import Drop
from wgpy.io import clock
from wgpy.io.udp_backlog import PATIENCE
from wgpy.io.udp_sockets import SEND_BUFFER
from wgpy.wire.datagrams import SEGMENTS_MAX
from wgpy.wire.messages import DATA_OVERHEAD

pytestmark = [*MARKS, pytest.mark.timed, pytest.mark.needs("iperf3", "tc")]
WARM_UP = 6
# What a node may grow by once everything was in use: the allocator keeps what it had.
MAX_GROWTH_KB = 4096
STREAMS = ("-P", 4)
KEEPALIVES = 64


def memory(node: Node) -> int:
    """Return the resident memory of a node in KB."""
    return int(status(node.child.pid, "VmRSS").split()[0])


def settled(one: Node, two: Node) -> None:
    """Wait until nothing is under way."""
    seen = [(one.transfer(two), clock.now())]

    def still() -> bool:
        now = one.transfer(two)
        if now != seen[0][0]:
            seen[:] = [(now, clock.now())]
        return clock.now() - seen[0][1] > 0.5

    wait_until(still, 30, "the tunnel to fall silent")


@pytest.mark.parametrize(
    "seconds", [14, pytest.param(600, marks=pytest.mark.long)], ids=["short", "ten minutes"]
)
def test_memory_stays_flat_and_every_byte_is_counted_at_full_load(lab, seconds):
    one, two = tunnel(lab, ({offloads.VARIABLE: ""}, {offloads.VARIABLE: ""}))
    ways = [node.wait_data_path() for node in (one, two)]
    for _ in range(2):
        lab.iperf(one.ns, two.ns, TWO_V4, WARM_UP / 2, options=(*STREAMS, "--bidir"))
    settled(one, two)
    before, lost = [memory(node) for node in (one, two)], sockets(one).dropped
    port = next(lab.ports)
    server = lab.spawn(two.ns, "iperf3", "-s", "-1", "-B", TWO_V4, "-p", port, "--forceflush")
    server.wait_log("Server listening")
    words = ("-c", TWO_V4, "-p", port, "-t", seconds, *STREAMS, "--bidir", "--forceflush")
    client = lab.spawn(one.ns, "iperf3", *words)
    curve: list[tuple[float, list[int]]] = []
    began = clock.now()

    def watched() -> bool:
        if clock.now() - began >= len(curve) * seconds / 40:
            curve.append((clock.now() - began, [memory(node) for node in (one, two)]))
        return not client.alive

    wait_until(watched, seconds + 30, "the end of the streams")
    assert client.wait() == 0, client.log()
    settled(one, two)
    after = [memory(node) for node in (one, two)]
    lost = sockets(one).dropped - lost
    print(f"KB: {before} before, {after} after; {[(round(at), kb) for at, kb in curve]}")
    print("\n".join(line for line in client.log().splitlines() if "SUM" in line)[-700:])
    peak = [max(kb[node] for _, kb in curve) for node in range(2)]
    assert all(most - first <= MAX_GROWTH_KB for most, first in zip(peak, before, strict=True))
    assert ways == [one.data_path(), two.data_path()], "nothing was given up on the way"
    assert_nothing_lost_but_by_the_kernel(one, two, lost)
    assert_no_byte_invented(one, two)
    assert "Traceback" not in one.child.log() + two.child.log()


def assert_nothing_lost_but_by_the_kernel(one: Node, two: Node, dropped: int) -> None:
    """Check what one sent against what the other has received.

    What the kernel threw away because a socket was full is told apart: each drop is a datagram,
    or a burst of them.
    """
    received, sent = one.transfer(two)
    also_received, also_sent = two.transfer(one)
    missing = (sent - also_received) + (also_sent - received)
    print(f"sent {sent} and {also_sent}, missing {missing} bytes, {dropped} drops by sockets")
    assert sent >= also_received and also_sent >= received
    assert dropped * DATA_OVERHEAD <= missing <= dropped * 65535
    for node in (one, two):
        drops = node.drops()
        assert not {why for why in drops if why not in OF_THE_HOST}, drops
        for counter in ("rx_errors", "tx_errors", "rx_dropped"):
            assert node.counter(counter) == 0, counter


# What the host itself sends to nobody: router solicitations.
OF_THE_HOST = {Drop.NO_PEER.value}


def assert_no_byte_invented(one: Node, two: Node) -> None:
    """Check that an interface got no more than came, and that no more left than it gave."""
    for node, peer in ((one, two), (two, one)):
        received, sent = node.transfer(peer)
        assert 0.9 * received < node.counter("rx_bytes") < received
        assert 0.9 * sent < node.counter("tx_bytes") < sent


@pytest.mark.parametrize(("batch", "off"), [(1, "tun"), (1, ""), (30, "")])
def test_numbered_datagrams_are_counted_to_the_byte(lab, batch, off):
    """Inside and out: by the tunnel, by the interfaces, by those who send and receive."""
    size, rate = 1000, 6000
    one, two = tunnel(lab, ({offloads.VARIABLE: off}, {offloads.VARIABLE: off}))
    for node in (one, two):
        node.wait_data_path()
        # The host asks for routers now and then.
        lab.sysctl(node.ns, f"net.ipv6.conf.{node.name}.disable_ipv6", 1)
    lab.wait_ping(one.ns, TWO_V4)
    settled(one, two)
    tx, rx, before = one.transfer(two)[1], two.transfer(one)[0], sockets(one).dropped
    inner = [one.counter("tx_bytes"), two.counter("rx_bytes")]
    flow, began = Flow(one, two, rate, batch, size), clock.now()
    wait_until(lambda: clock.now() - began > 2)
    came = flow.end()
    settled(one, two)
    dropped = sockets(one).dropped - before
    print(came, "drops by sockets:", dropped)
    # On a machine that is busy with other things; each is a datagram or a burst of them.
    assert dropped <= came.sent - came.received <= dropped * SEGMENTS_MAX
    message = -(-(size + 28) // 16) * 16 + DATA_OVERHEAD
    assert 0 <= one.transfer(two)[1] - tx - came.sent * message <= KEEPALIVES
    assert 0 <= two.transfer(one)[0] - rx - came.received * message <= KEEPALIVES
    gave, got = one.counter("tx_bytes") - inner[0], two.counter("rx_bytes") - inner[1]
    # Of a super packet the kernel counts one header.
    least = size + 28 if off == "tun" else size
    assert came.sent * least <= gave <= came.sent * (size + 28)
    assert came.received * least <= got <= came.received * (size + 28)


# --- a link that cannot take it --------------------------------------------------------------

# Bytes a second.
LINK = 40_000_000 // 8
# Seconds that a busy machine may add on the way. With all that was sent in a queue, or in that
# of the host (10,000 datagrams), the slowest would be two seconds late and more.
LATE = 1.0


def slowed(lab: Lab, node: Node) -> None:
    """Let a cable take 40 Mbit/s and keep whatever else it is given."""
    ns = outside(node)
    (cable,) = cables(lab, ns)
    limits = f"rate {LINK * 8} burst 64kb limit 1gb"
    lab.run(ns, *f"tc qdisc add dev {cable} root tbf {limits}".split())


@pytest.mark.parametrize(("off", "batch"), [("", 30), ("", 1), ("all", 30)])
def test_a_socket_that_does_not_drain_costs_neither_memory_nor_time_in_the_node(
    lab, off, batch
):
    """The link has room for a gigabyte: what waits is what the socket may hold, and no more."""
    size = 1000
    one, two = cabled(lab, ({offloads.VARIABLE: off}, {offloads.VARIABLE: off}))
    for node in (one, two):
        node.wait_data_path()
    lab.wait_ping(one.ns, TWO_V4)
    lab.iperf(one.ns, two.ns, TWO_V4, 2, udp="200M")
    slowed(lab, one)
    before, began = memory(one), clock.now()
    flow = Flow(one, two, 15_000, batch, size)
    curve: list[int] = []
    fullest = 0

    def watched() -> bool:
        nonlocal fullest
        curve.append(memory(one))
        fullest = max(fullest, sockets(one).sending)
        return clock.now() - began > 8

    wait_until(watched, 20, "time to pass")
    came = flow.end()
    full = fullest / LINK
    print(
        f"{came}; KB {before} before, {max(curve)} at most; the socket held {fullest} bytes, "
        f"{full:.2f} s, the node {came.slowest - full:.2f} s"
    )
    assert came.received < 0.5 * came.sent, "more was sent than the link takes"
    assert fullest > SEND_BUFFER / 2, "the socket was full"
    assert came.repeated == 0
    assert max(curve) - before <= MAX_GROWTH_KB
    assert came.slowest < full + PATIENCE + LATE
    assert one.ping(TWO_V4, 3) == 3
