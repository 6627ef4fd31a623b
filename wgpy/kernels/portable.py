"""The operations on bursts by numpy and `cryptography`: complete, and everywhere.

A super packet becomes a matrix with one data message a row, the plaintext in its place; each
row is sealed where it stands. What is received is opened into a matrix of plaintexts.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wgpy.kernels.coalesce import coalesce
from wgpy.kernels.inorder import Coalescer
from wgpy.kernels.segment import Segmenter, complete_checksum, measure_untrusted
from wgpy.model import Buffer, Heads, Opened, TunBurst
from wgpy.wire.messages import DATA_HEADER_SIZE, DATA_OVERHEAD, TYPE_DATA

_PADDING: Final = 16
_TAG: Final = 16
_HEAD: Final = Struct("<IIQ")
_nonce: Final[Callable[[int], bytes]] = Struct("<4xQ").pack


class Cipher:
    """One key of a session (paper 5.4.6)."""

    __slots__ = ("_aead", "_segmenter")

    def __init__(self, key: bytes, segmenter: Segmenter) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._segmenter = segmenter

    # hot path: bench/engine
    def seal(
        self, burst: TunBurst, receiver: int, counter: int, mtu: int
    ) -> tuple[Buffer, int]:
        """Return a data message for each packet of a super packet that was counted."""
        segments = measure_untrusted(burst)
        count, size, last_size, _ = segments
        padded, last_padded = _padded(size, mtu), _padded(last_size, mtu)
        stride = DATA_OVERHEAD + padded
        buffer = bytearray(count * stride)
        self._segmenter.segment_into(burst, segments, buffer, DATA_HEADER_SIZE, stride)
        rows = np.ndarray((count, 2), "<u4", buffer, 0, (stride, 4))
        rows[:, 0], rows[:, 1] = TYPE_DATA, receiver
        counters = np.ndarray((count,), "<u8", buffer, 8, (stride,))
        counters[:] = np.arange(counter, counter + count, dtype=np.uint64)
        view, encrypt_into = memoryview(buffer), self._aead.encrypt_into
        at = DATA_HEADER_SIZE
        for number in range(counter, counter + count - 1):
            end = at + padded
            encrypt_into(_nonce(number), view[at:end], None, view[at : end + _TAG])
            at += stride
        end = at + last_padded
        encrypt_into(_nonce(counter + count - 1), view[at:end], None, view[at : end + _TAG])
        return view[: end + _TAG], stride

    # hot path: bench/engine
    def open(self, payload: Buffer, segment_size: int, counters: Sequence[int]) -> Opened:
        """Return the plaintexts of the data messages of a burst that had `Heads`."""
        stride = segment_size - DATA_OVERHEAD
        buffer = bytearray(len(counters) * stride)
        source, target = memoryview(payload), memoryview(buffer)
        decrypt_into = self._aead.decrypt_into
        sizes: list[int] = []
        at = 0
        for number, counter in enumerate(counters):
            message = source[at + DATA_HEADER_SIZE : at + segment_size]
            size = len(message) - _TAG
            row = target[number * stride : number * stride + size]
            try:
                decrypt_into(_nonce(counter), message, None, row)
            except InvalidTag:
                size = -1
            sizes.append(size)
            at += segment_size
        return Opened(buffer, stride, sizes)


class PortableKernels:
    """The operations on bursts that need no key; `udp`: the host takes UDP super packets."""

    def __init__(self, *, udp: bool) -> None:
        self._udp = udp
        self._segmenter = Segmenter()
        self._coalescer = Coalescer(udp=udp)

    def cipher(self, key: bytes) -> Cipher:
        """Return a key ready for use."""
        return Cipher(key, self._segmenter)

    def count_untrusted(self, burst: TunBurst) -> int:
        """Return how many packets a super packet of the host is.

        Raises:
            Rejected: MALFORMED.
        """
        return measure_untrusted(burst).packets

    def segment(self, burst: TunBurst) -> list[Buffer]:
        """Return the packets of a super packet that was counted."""
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
        kind, receiver, _ = _HEAD.unpack_from(payload)
        heads = np.ndarray((count,), "<u8", payload, 0, (segment_size,))
        if kind != TYPE_DATA or not bool((heads == heads[0]).all()):
            return None
        counters: list[int] = np.ndarray((count,), "<u8", payload, 8, (segment_size,)).tolist()
        return Heads(receiver, counters)

    def merge(self, opened: Opened) -> TunBurst | None:
        """Return all plaintexts as one super packet; None if they are not one flow in order."""
        buffer, stride, sizes = opened
        return self._coalescer.coalesce_matrix(
            buffer, 0, stride, len(sizes), sizes[0], sizes[-1]
        )

    def coalesce(self, packets: Sequence[Buffer]) -> list[TunBurst]:
        """Return packets for the host as fewer, larger ones."""
        return coalesce(packets, udp=self._udp)


def _padded(size: int, mtu: int) -> int:
    """Return the size of a plaintext with its padding, as `engine.session.padding` has it."""
    padded = -(-size // _PADDING) * _PADDING
    return max(size, min(mtu, padded)) if mtu else padded
