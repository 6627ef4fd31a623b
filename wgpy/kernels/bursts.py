"""The operations on bursts: numpy and `cryptography`, and compiled lanes where there are some.

A super packet becomes a matrix with one data message a row, the plaintext in its place; each
row is sealed where it stands. What is received is opened into a matrix of plaintexts. Without
lanes the results are the same, bit for bit.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wgpy.kernels.alike import are_alike_untrusted, take_hop
from wgpy.kernels.coalesce import coalesce
from wgpy.kernels.compiled import CompiledCoalescer, CompiledSegmenter
from wgpy.kernels.inorder import Coalescer
from wgpy.kernels.lanes import PAYS_FROM, Lanes
from wgpy.kernels.segment import Segmenter, complete_checksum, measure_untrusted
from wgpy.kernels.sums import Bytes
from wgpy.model import Buffer, Heads, Opened, Segments, TunBurst
from wgpy.wire.messages import (
    COUNTER_AT,
    DATA_HEADER,
    DATA_HEADER_SIZE,
    DATA_OVERHEAD,
    TAG_SIZE,
    TYPE_DATA,
    nonce,
)

_PADDING: Final = 16


class Cipher:
    """One key of a session (paper 5.4.6); with lanes, bursts of equal packets go by these."""

    __slots__ = ("_aead", "_key", "_lanes", "_segmenter")

    def __init__(self, key: bytes, segmenter: Segmenter, lanes: Lanes | None) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._key = key
        self._segmenter = segmenter
        self._lanes = lanes

    # hot path: bench/engine
    def seal(
        self,
        burst: TunBurst | Opened,
        segments: Segments,
        receiver: int,
        counter: int,
        mtu: int,
    ) -> tuple[Buffer, int]:
        """Return a data message for each packet of what was measured.

        They lie end to end; the number is the size of all but the last.
        """
        count, size, last_size, _ = segments
        if isinstance(burst, Opened):
            padded, last_padded = size, last_size
            stride = DATA_OVERHEAD + padded
            buffer = bytearray(count * stride)
            source = np.ndarray((count, size), np.uint8, burst.buffer, 0, (burst.stride, 1))
            _rows(buffer, stride, size)[:] = source
        else:
            padded, last_padded = _padded(size, mtu), _padded(last_size, mtu)
            stride = DATA_OVERHEAD + padded
            buffer = bytearray(count * stride)
            self._segmenter.segment_into(burst, segments, buffer, DATA_HEADER_SIZE, stride)
        equal = count if padded == last_padded else count - 1
        done = 0
        view = memoryview(buffer)
        if self._lanes is not None and equal >= PAYS_FROM:
            self._lanes.seal_messages(
                self._key, view[: equal * stride], equal, receiver, counter
            )
            done = equal
        for number in range(done, count):
            at = number * stride
            DATA_HEADER.pack_into(buffer, at, TYPE_DATA, receiver, counter + number)
            at += DATA_HEADER_SIZE
            end = at + (padded if number < equal else last_padded)
            self._aead.encrypt_into(
                nonce(counter + number), view[at:end], None, view[at : end + TAG_SIZE]
            )
        total = (count - 1) * stride + DATA_OVERHEAD + last_padded
        return view[:total], stride

    # hot path: bench/engine
    def seal_equal(
        self, packets: Sequence[Buffer], receiver: int, counter: int, mtu: int
    ) -> tuple[Buffer, int] | None:
        """Return a data message for each of some packets, end to end, and the size of each.

        None if they are not of one size, or if one by one is as fast.
        """
        count, size = len(packets), len(packets[0])
        if (
            self._lanes is None
            or count < PAYS_FROM
            or not size
            or len({*map(len, packets)}) > 1
        ):
            return None
        stride = DATA_OVERHEAD + _padded(size, mtu)
        buffer = bytearray(count * stride)
        source = np.frombuffer(b"".join(packets), np.uint8)
        _rows(buffer, stride, size)[:] = source.reshape(count, size)
        view = memoryview(buffer)
        self._lanes.seal_messages(self._key, view, count, receiver, counter)
        return view, stride

    # hot path: bench/engine
    def open(self, payload: Buffer, segment_size: int, counters: Sequence[int]) -> Opened:
        """Return the plaintexts of the data messages of a burst that had `Heads`."""
        stride, count = segment_size - DATA_OVERHEAD, len(counters)
        # Not cleared first: every plaintext is written, and what is none is never looked at.
        buffer = np.empty(count * stride, np.uint8).data
        sizes: list[int] = []
        equal = len(payload) // segment_size
        if self._lanes is not None and equal >= PAYS_FROM and stride:
            flags = self._lanes.open_messages(self._key, payload, segment_size, equal, buffer)
            sizes = [stride] * equal
            if 0 in flags:
                sizes = [stride if good else -1 for good in flags]
        source = memoryview(payload)
        for number in range(len(sizes), count):
            at = number * segment_size
            message = source[at + DATA_HEADER_SIZE : at + segment_size]
            size = len(message) - TAG_SIZE
            row = buffer[number * stride : number * stride + size]
            try:
                self._aead.decrypt_into(nonce(counters[number]), message, None, row)
            except InvalidTag:
                size = -1
            sizes.append(size)
        return Opened(buffer, stride, sizes)


class BurstKernels:
    """The operations on bursts; `udp`: the host takes super packets of UDP."""

    def __init__(self, *, udp: bool, lanes: Lanes | None = None) -> None:
        self.name = "portable" if lanes is None else "jit"
        self._udp = udp
        self._lanes = lanes
        if lanes is None:
            self._segmenter, self._coalescer = Segmenter(), Coalescer(udp=udp)
        else:
            self._segmenter = CompiledSegmenter(lanes)
            self._coalescer = CompiledCoalescer(lanes, udp=udp)

    def cipher(self, key: bytes) -> Cipher:
        """Return a key ready for use."""
        return Cipher(key, self._segmenter, self._lanes)

    def measure_untrusted(self, burst: TunBurst | Opened) -> Segments:
        """Return what packets a super packet of the host, or a burst for a peer, is.

        Raises:
            Rejected: MALFORMED.
        """
        if isinstance(burst, Opened):
            return Segments(len(burst.sizes), burst.sizes[0], burst.sizes[-1], 0)
        return measure_untrusted(burst)

    def segment(self, burst: TunBurst | Opened) -> list[Buffer]:
        """Return the packets of a super packet or burst that was measured."""
        if isinstance(burst, Opened):
            return [burst.row(number) for number in range(len(burst.sizes))]
        return self._segmenter.segment_untrusted(burst)

    def complete(self, burst: TunBurst) -> Buffer:
        """Return one packet of the host with its checksum filled in."""
        return complete_checksum(burst)

    def heads_untrusted(self, payload: Buffer, segment_size: int) -> Heads | None:
        """Return the heads of a burst; None unless all are data for one receiver."""
        count = -(-len(payload) // segment_size)
        last_size = len(payload) - (count - 1) * segment_size
        if segment_size <= DATA_OVERHEAD or last_size < DATA_OVERHEAD:
            return None
        kind, receiver, _ = DATA_HEADER.unpack_from(payload)
        heads = np.ndarray((count,), "<u8", payload, 0, (segment_size,)).tobytes()
        if kind != TYPE_DATA or heads != heads[:COUNTER_AT] * count:
            return None
        counters: list[int] = np.ndarray((count,), "<u8", payload, 8, (segment_size,)).tolist()
        return Heads(receiver, counters)

    def merge(self, opened: Opened) -> TunBurst | None:
        """Return all plaintexts as one super packet; None if they are not one flow in order.

        With one, the plaintexts but the first are not to be read any more: compiled code moves
        them together in their buffer.
        """
        buffer, stride, sizes = opened
        return self._coalescer.coalesce_matrix(
            buffer, 0, stride, len(sizes), sizes[0], sizes[-1]
        )

    def are_alike_untrusted(self, opened: Opened) -> bool:
        """Tell whether all rows are IP packets that a router would treat alike."""
        return are_alike_untrusted(opened)

    def take_hop(self, opened: Opened) -> None:
        """Lower the hop limit of rows that are alike by one."""
        take_hop(opened)

    def coalesce(self, packets: Sequence[Buffer]) -> list[TunBurst]:
        """Return packets for the host as fewer, larger ones."""
        return coalesce(packets, udp=self._udp)


def _rows(buffer: bytearray, stride: int, size: int) -> Bytes:
    """Return where the plaintexts are in a buffer of data messages."""
    count = len(buffer) // stride
    return np.ndarray((count, size), np.uint8, buffer, DATA_HEADER_SIZE, (stride, 1))


def _padded(size: int, mtu: int) -> int:
    """Return the size of a plaintext with its padding, as `engine.session.padding` has it."""
    last_unit = size % mtu if mtu and size > mtu else size
    padded = -(-last_unit // _PADDING) * _PADDING
    return size - last_unit + (min(mtu, padded) if mtu else padded)
