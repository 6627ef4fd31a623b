"""What tunnels carry: `tcp`, `tcp8`, `udp64`, `ping`, `bloat`; `gateway`, `relayed`; `load`.

All limits are of ratios to wireguard-go with offloads, for compiled kernels and for portable
ones.
"""

from collections.abc import Sequence
from dataclasses import replace

from bench.figures import Limit, Row
from bench.options import Options
from bench.rigs import Gateway, Rig, SealedRelay, tunnel
from bench.subjects import Subject
from bench.turns import by_turns
from tests.lab import Lab

# Gbit/s of a stream, wherever there is no wireguard-go to compare with.
TCP_FLOOR = Limit(0.3, at_most=False)
STREAMS = 8
# Seconds of each kind of load, after which memory is looked at.
LOADING = 1


def at_least(ratio: float) -> Limit:
    return Limit(ratio, at_most=False, ratio=True)


def at_most(ratio: float) -> Limit:
    return Limit(ratio, ratio=True)


def tcp(options: Options) -> list[Row]:
    """One TCP stream, by turns in both directions, and what it costs the processor."""
    seconds = 2 if options.quick else 3
    turns = by_turns(
        *("tcp", options, options.runs(6, 2), tunnel),
        lambda rig, number: rig.tcp(number % 2, seconds),
    )
    limits = turns.company.limits
    return [
        *turns.rows(
            0, "one TCP stream", "Gbit/s", limits(at_least(1.5), at_least(0.7), TCP_FLOOR)
        ),
        *turns.rows(1, "processor time per GB", "s", limits(at_most(0.7), at_most(1.4))),
        *turns.others,
    ]


def tcp8(options: Options) -> list[Row]:
    """8 TCP streams, by turns in both directions."""
    seconds = 1 if options.quick else 3
    turns = by_turns(
        *("tcp8", options, options.runs(6, 2), tunnel),
        lambda rig, number: rig.tcp(number % 2, seconds, STREAMS),
    )
    limits = turns.company.limits(at_least(1.5), at_least(0.7))
    return [*turns.rows(0, "8 TCP streams", "Gbit/s", limits), *turns.others]


def udp64(options: Options) -> list[Row]:
    """64-byte packets at full blast, by turns in both directions."""
    seconds = 1 if options.quick else 2
    turns = by_turns(
        *("udp64", options, options.runs(6, 2), tunnel),
        lambda rig, number: (rig.udp64(number % 2, seconds),),
    )
    limits = turns.company.limits(at_least(1.5), at_least(0.7))
    return [*turns.rows(0, "64-byte UDP delivered", "1000/s", limits), *turns.others]


def ping(options: Options) -> list[Row]:
    """Round trips through a tunnel that carries nothing else."""
    count = 100 if options.quick else 200
    turns = by_turns(
        *("ping", options, options.runs(6, 2), tunnel),
        lambda rig, number: rig.ping(number % 2, count),
    )
    limits = turns.company.limits(at_most(0.7), at_most(0.7))
    return [
        *turns.rows(0, "ping, idle, p50", "ms", limits),
        *turns.rows(1, "ping, idle, p99", "ms", limits),
        *turns.others,
    ]


def bloat(options: Options) -> list[Row]:
    """Round trips beside a TCP stream that takes all it gets: what queues add to them."""
    count = 100 if options.quick else 200
    turns = by_turns(
        *("bloat", options, options.runs(6, 2), tunnel),
        lambda rig, number: rig.loaded_ping(number % 2, count),
    )
    limits = turns.company.limits(at_most(1), at_most(1))
    return [
        *turns.rows(0, "ping, under load, p50", "ms", limits),
        *turns.rows(1, "ping, under load, p99", "ms", limits),
        *turns.others,
    ]


def gateway(options: Options) -> list[Row]:
    """One TCP stream through a third node, by turns in both directions."""
    seconds = 2 if options.quick else 3
    turns = by_turns(
        *("gateway", options, options.runs(6, 2), Gateway),
        lambda rig, number: rig.relayed(number % 2, seconds),
    )
    limits = turns.company.limits(at_least(2), at_least(1))
    return [
        *turns.rows(0, "gateway, one TCP stream", "Gbit/s", limits),
        *turns.rows(1, "gateway's processor time per GB", "s"),
        *turns.others,
    ]


def relayed(options: Options) -> list[Row]:
    """One TCP stream of ours by a sealed relay, in turns with the direct way and a gateway."""
    seconds = 2 if options.quick else 3

    def stand(lab: Lab, subject: Subject) -> tuple[Rig, Rig, Rig]:
        return tunnel(lab, subject), Gateway(lab, subject), SealedRelay(lab, subject)

    def measure(rigs: tuple[Rig, Rig, Rig], number: int) -> Sequence[float]:
        direct, forwarded, sealed = rigs
        rate, _ = direct.tcp(number % 2, seconds)
        through, cost_through = forwarded.relayed(number % 2, seconds)
        by_relay, cost = sealed.relayed(number % 2, seconds)
        figures = by_relay, cost, rate, through, cost_through
        return *figures, by_relay / rate, by_relay / through

    ours = replace(options, alone=True, base=None)
    turns = by_turns("relayed", ours, options.runs(6, 2), stand, measure)
    return [
        *turns.rows(0, "sealed relay, one TCP stream", "Gbit/s"),
        *turns.rows(1, "relay's processor time per GB", "s"),
        *turns.rows(2, "beside it: direct", "Gbit/s"),
        *turns.rows(3, "beside it: gateway", "Gbit/s"),
        *turns.rows(4, "beside it: gateway's time per GB", "s"),
        *turns.rows(5, "sealed relay to direct", "x"),
        *turns.rows(6, "sealed relay to gateway", "x"),
        *turns.others,
    ]


def load(options: Options) -> list[Row]:
    """Resident memory after 8 TCP streams and 64-byte packets at full blast, both ways."""

    def measure(rig: Rig, _number: int) -> tuple[float]:
        for sender in (0, 1):
            rig.tcp(sender, LOADING, STREAMS)
            rig.udp64(sender, LOADING)
        return (rig.rss_mb(),)

    turns = by_turns("load", options, options.runs(3, 1), tunnel, measure)
    limits = turns.company.limits(at_most(0.8), at_most(0.3))
    return [*turns.rows(0, "memory after load", "MB", limits), *turns.others]
