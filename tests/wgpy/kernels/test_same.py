"""Compiled kernels, portable ones and none at all, on the same bursts: bit for bit the same.

The reference is the session packet by packet: `Session.seal` and `open_untrusted`.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wgpy.kernels.packets import SEGMENTER, TIMESTAMPS, super_tcp, super_udp, whole
from wgpy.engine.crypto import Aead
from wgpy.engine.session import PAPER_LIMITS, Session
from wgpy.errors import Drop
from wgpy.kernels import image
from wgpy.kernels.bursts import BurstKernels
from wgpy.kernels.lanes import Lanes
from wgpy.model import Burst, Endpoint, Opened, TunBurst
from wgpy.wire.messages import data_fields_untrusted, encode_data_header, nonce

pytest.importorskip("llvmlite", reason="needs llvmlite, the extra jit")
from wgpy.kernels import compiler

REMOTE = Endpoint(bytes(4), 1)
ONE, OTHER = bytes([1]) * 32, bytes([2]) * 32
PORTABLE = BurstKernels(udp=True)
MTU = 1420
ROOM = 65_000
# The first counter of a burst: any alignment, at the start, around 32 bits, and near the end.
COUNTERS = st.builds(
    lambda base, more: base + more,
    st.sampled_from([0, 2**32 - 64, 2**32, 2**48 - 64, 2**60 - 200]),
    st.integers(0, 127),
)


@pytest.fixture(scope="module")
def compiled() -> BurstKernels:
    return BurstKernels(udp=True, lanes=Lanes(image.decode(compiler.compile_image())))


def sender(counter: int) -> Session:
    session = Session((ONE, OTHER, 77), 66, 0.0, PAPER_LIMITS, initiator=True)
    session.sent = counter
    return session


def receiver() -> Session:
    return Session((OTHER, ONE, 66), 77, 0.0, PAPER_LIMITS, initiator=False)


# --- sealing ---------------------------------------------------------------------------------


@st.composite
def super_packets(draw: st.DrawFn) -> TunBurst:
    """Make one of 1 to 128 packets with up to 2048 bytes of payload each."""
    v, gso = draw(st.sampled_from([4, 6])), draw(st.integers(1, 2048))
    count = min(draw(st.integers(1, 128)), ROOM // gso)
    last = draw(st.integers(1, gso))
    payload = np.random.default_rng(draw(st.integers(0, 2**32))).bytes((count - 1) * gso + last)
    if draw(st.booleans()):
        return super_udp(v, payload, gso)
    options = draw(st.sampled_from([b"", TIMESTAMPS]))
    return super_tcp(v, payload, gso, draw(st.integers(0, 2**32 - 1)), options=options)


def sealed(burst: TunBurst, counter: int, mtu: int, kernels: BurstKernels) -> list[bytes]:
    session = sender(counter)
    segments = kernels.measure_untrusted(burst)
    payload, size = session.seal_burst(burst, segments, mtu, kernels)
    assert session.sent == counter + segments.packets
    return [bytes(each) for each in Burst(payload, size, REMOTE).segments()]


@given(burst=super_packets(), counter=COUNTERS, mtu=st.sampled_from([MTU, 0, 65_535]))
def test_a_super_packet_is_sealed_into_the_same_messages(compiled, burst, counter, mtu):
    alone = sender(counter).seal(SEGMENTER.segment_untrusted(burst), mtu)
    wanted = [bytes(message) for message in alone]
    assert sealed(burst, counter, mtu, compiled) == wanted
    assert sealed(burst, counter, mtu, PORTABLE) == wanted


# --- opening ---------------------------------------------------------------------------------


class Received(NamedTuple):
    """What a receiver has of a burst: plaintexts, and why it has no more of them."""

    packets: list[bytes]
    drops: dict[Drop, int]


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """Make data messages of one size but for the last, as any sender may: padded or not."""
    size, count = draw(st.integers(0, 2048)), draw(st.integers(1, 128))
    count = min(count, ROOM // (size + 32))
    last = draw(st.just(size) | st.integers(0, size))
    first, random = draw(COUNTERS), np.random.default_rng(draw(st.integers(0, 2**32)))
    seal = Aead(ONE).encrypt
    made = []
    for number in range(count):
        plaintext = random.bytes(last if number == count - 1 else size)
        counter = first + number
        made.append(encode_data_header(77, counter) + seal(nonce(counter), plaintext, None))
    return made


@st.composite
def disturbed(draw: st.DrawFn) -> list[bytes]:
    """Make messages of which some were changed, come twice, or come in another order."""
    made = draw(messages())
    # The last may be shorter, and only the last may be.
    full = len(made) - 1 if len(made[-1]) < len(made[0]) else len(made)
    places = st.integers(0, max(full - 1, 0))
    kinds = st.lists(st.sampled_from(["changed", "replayed", "reordered"]), max_size=3)
    for kind in draw(kinds) if full else []:
        one, other = draw(places), draw(places)
        match kind:
            case "changed":
                changed = bytearray(made[one])
                at = draw(st.integers(8, len(changed) - 1))
                changed[at] ^= 1 << draw(st.integers(0, 7))
                made[one] = bytes(changed)
            case "replayed":
                made[one] = made[other]
            case _:
                made[one], made[other] = made[other], made[one]
    return made


def by_one(session: Session, received: list[bytes]) -> Received:
    numbered = [(data_fields_untrusted(message)[2], message) for message in received]
    drops: Counter[Drop] = Counter()
    return Received(session.open_untrusted(numbered, 1.0, drops), dict(drops))


def as_burst(session: Session, received: list[bytes], kernels: BurstKernels) -> Received:
    burst = Burst(b"".join(received), len(received[0]), REMOTE)
    heads = kernels.heads_untrusted(burst.payload, burst.segment_size)  # type: ignore[arg-type]
    assert heads is not None
    assert heads.receiver == 77
    opened = session.open_burst_untrusted(burst, heads.counters, 1.0, kernels)
    sizes = opened.sizes
    drops = {Drop.NOT_AUTHENTIC: sizes.count(-1), Drop.REPLAYED: sizes.count(-2)}
    rows = [bytes(opened.row(row)) for row, size in enumerate(sizes) if size >= 0]
    return Received(rows, {drop: count for drop, count in drops.items() if count})


@given(received=disturbed(), again=st.booleans())
def test_the_same_plaintexts_come_out_and_the_same_are_missing(compiled, received, again):
    sessions = [receiver() for _ in range(3)]
    for _ in range(1 + again):
        wanted = by_one(sessions[0], received)
        if len(received[0]) == 32:  # keepalives never go as a burst
            assert PORTABLE.heads_untrusted(b"".join(received), 32) is None
            return
        assert as_burst(sessions[1], received, PORTABLE) == wanted
        assert as_burst(sessions[2], received, compiled) == wanted


@given(burst=super_packets(), counter=COUNTERS, data=st.data())
def test_the_host_is_given_the_same_packets(compiled, burst, counter, data):
    """A flow in order as one, with a gap or two exchanged as the general way has them."""
    received = sealed(burst, counter, MTU, PORTABLE)
    full = len(received) - (len(received[-1]) < len(received[0]))
    if full > 1 and data.draw(st.booleans()):
        one, other = (data.draw(st.integers(0, full - 1)) for _ in range(2))
        received[one], received[other] = received[other], received[one]
    got = []
    for kernels in (PORTABLE, compiled):
        payload, size = b"".join(received), len(received[0])
        counters = [data_fields_untrusted(message)[2] for message in received]
        opened = kernels.cipher(ONE).open(payload, size, counters)
        rows = [bytes(opened.row(row)) for row in range(len(received))]
        merged = kernels.merge(Opened(opened.buffer, opened.stride, opened.sizes))
        singly = kernels.coalesce(rows)
        got.append([
            None if merged is None else (whole(merged), merged[1:]),
            [(whole(each), each[1:]) for each in singly],
        ])  # fmt: skip
    assert got[0] == got[1]
