"""ChaCha20-Poly1305 over many packets a call, by compiled code (RFC 8439, paper 5.4.6).

The packets of a call have one key and one size, and lie in rows: equal distances apart in one
buffer. Source and target may be the same bytes; otherwise they must not overlap. Packets that
differ in size, and bursts smaller than `PAYS_FROM`, are better off with `cryptography`.
"""

import ctypes
import mmap
import os
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from wgpy.kernels.image import Image
from wgpy.model import Buffer
from wgpy.wire.messages import COUNTER_AT, DATA_HEADER_SIZE, TAG_SIZE, TYPE_DATA

# Where a burst of full packets costs as much one way as the other; of small ones, from 3 on.
PAYS_FROM: Final = 5
KEY_SIZE: Final = 32
COUNTER_SIZE: Final = 8

# What `wgpy.kernels.aead` calls a request; one argument is faster passed than ten.
_REQUEST: Final = struct.Struct("<32s9Q")
_Byte: Final = ctypes.c_char
_POINTER: Final = struct.Struct("P")
# Calls release the interpreter's lock.
_FUNCTION: Final = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_NUMBER_FUNCTION: Final = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_char_p)


class Rows(NamedTuple):
    """`packets` rows of `size` bytes, the first at `address`, each `stride` after the last."""

    memory: "Memory"
    address: int
    stride: int
    packets: int
    size: int


class Memory:
    """A buffer kept in its place, to be made once for each buffer that is used again."""

    __slots__ = ("_start", "_view", "size", "writable")

    def __init__(self, buffer: Buffer | np.ndarray) -> None:
        self._view = buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)
        self._start = address_of(self._view)
        self.size = self._view.nbytes
        self.writable = not self._view.readonly

    def rows(self, offset: int, stride: int, packets: int, size: int) -> Rows:
        """Return rows of this buffer, all within it.

        Raises:
            ValueError: they are not.
        """
        if (
            offset < 0
            or stride < 0
            or packets < 0
            or size < 0
            or (packets and offset + (packets - 1) * stride + size > self.size)
        ):
            raise ValueError("rows outside of their buffer")
        return Rows(self, self._start + offset, stride, packets, size)


def address_of(view: memoryview) -> int:
    """Return where a contiguous buffer is while its view lives; 0 if it is empty."""
    if not view.nbytes:
        return 0
    if not view.readonly:
        return ctypes.addressof(_Byte.from_buffer(view))
    if isinstance(view.obj, bytes) and len(view.obj) == view.nbytes:
        # Five times as fast as the general way.
        return int(_POINTER.unpack(ctypes.c_char_p(view.obj))[0])
    return int(np.frombuffer(view, np.uint8).ctypes.data)


class Lanes:
    """The compiled functions, for any thread."""

    def __init__(self, image: Image) -> None:
        """Map the code of an image.

        Raises:
            OSError: this process may not map code.
        """
        self._code = _mapped(image.code)
        start = np.frombuffer(self._code, np.uint8).ctypes.data
        seal, open_, split, join = image.entries
        self._seal = _FUNCTION(start + seal)
        self._open = _FUNCTION(start + open_)
        # For `wgpy.kernels.compiled`; each takes a request in bytes.
        self.split: Callable[[bytes], None] = _FUNCTION(start + split)
        self.join: Callable[[bytes], int] = _NUMBER_FUNCTION(start + join)

    # hot path: bench/aead
    def seal(
        self,
        key: bytes,
        counters: Rows,
        source: Rows,
        target: Rows,
        receiver: int | None = None,
    ) -> None:
        """Write the ciphertext and the tag of each source to its target.

        Args:
            key: 32 bytes.
            counters: 8 bytes each, little-endian, one a packet.
            source: the plaintexts.
            target: 16 bytes larger; with a receiver, 32.
            receiver: an index; each target becomes a whole data message with its header.

        Raises:
            ValueError: shapes do not fit, or the target cannot be written.
        """
        _, address, stride, count, size = target
        header, expected = 0, source.size + TAG_SIZE
        if receiver is not None:
            header = TYPE_DATA | receiver << 32
            address += DATA_HEADER_SIZE
            expected += DATA_HEADER_SIZE
        if size != expected or not target.memory.writable:
            raise ValueError("targets of another size than their sources need, or constant")
        _check(key, count, counters, source)
        self._seal(
            _REQUEST.pack(
                key,
                count,
                source.size,
                counters.address,
                counters.stride,
                source.address,
                source.stride,
                address,
                stride,
                header,
            )
        )

    # hot path: bench/aead
    def open(self, key: bytes, counters: Rows, source: Rows, target: Rows) -> bytes:
        """Write the plaintext of each source to its target; return 1 for each authentic one.

        The others get 0, and zeros instead of a plaintext.

        Args:
            key: 32 bytes.
            counters: 8 bytes each, little-endian, one a packet; in data messages, 8 bytes
                before the ciphertext.
            source: the ciphertexts with their tags.
            target: 16 bytes smaller.

        Raises:
            ValueError: shapes do not fit, or the target cannot be written.
        """
        _, address, stride, count, size = target
        if size + TAG_SIZE != source.size or not target.memory.writable:
            raise ValueError("targets of another size than their sources need, or constant")
        _check(key, count, counters, source)
        flags = ctypes.create_string_buffer(count)
        self._open(
            _REQUEST.pack(
                key,
                count,
                size,
                counters.address,
                counters.stride,
                source.address,
                source.stride,
                address,
                stride,
                ctypes.addressof(flags),
            )
        )
        return flags.raw

    # hot path: bench/engine
    def seal_messages(
        self, key: bytes, buffer: memoryview, packets: int, receiver: int, counter: int
    ) -> None:
        """Seal the plaintexts of data messages of one size that fill a buffer, in place.

        Args:
            key: 32 bytes.
            buffer: `packets` rows; in each, room for a header, a plaintext, room for a tag.
            packets: how many.
            receiver: their index.
            counter: of the first; that of each other is one more than the one's before.

        Raises:
            ValueError: shapes do not fit.
        """
        stride, rest = divmod(len(buffer), packets)
        size = stride - DATA_HEADER_SIZE - TAG_SIZE
        if len(key) != KEY_SIZE or rest or size < 1:
            raise ValueError("rows of another size than data messages have")
        counters = np.arange(counter, counter + packets, dtype=np.uint64).data
        at = ctypes.addressof(_Byte.from_buffer(buffer)) + DATA_HEADER_SIZE
        self._seal(
            _REQUEST.pack(
                key,
                packets,
                size,
                ctypes.addressof(_Byte.from_buffer(counters)),
                COUNTER_SIZE,
                at,
                stride,
                at,
                stride,
                TYPE_DATA | receiver << 32,
            )
        )

    # hot path: bench/engine
    def open_messages(
        self,
        key: bytes,
        payload: Buffer,
        segment_size: int,
        packets: int,
        target: bytearray | memoryview,
    ) -> bytearray:
        """Open the data messages of one size that a buffer begins with; return 1 for each good.

        Args:
            key: 32 bytes.
            payload: the messages.
            segment_size: the size of each.
            packets: how many.
            target: gets their plaintexts end to end, zeros in place of what is not authentic.

        Raises:
            ValueError: shapes do not fit.
        """
        size = segment_size - DATA_HEADER_SIZE - TAG_SIZE
        if (
            len(key) != KEY_SIZE
            or size < 1
            or packets * segment_size > len(payload)
            or packets * size > len(target)
        ):
            raise ValueError("rows outside of their buffer")
        source = address_of(memoryview(payload))
        flags = bytearray(packets)
        self._open(
            _REQUEST.pack(
                key,
                packets,
                size,
                source + COUNTER_AT,
                segment_size,
                source + DATA_HEADER_SIZE,
                segment_size,
                ctypes.addressof(_Byte.from_buffer(target)),
                size,
                ctypes.addressof(_Byte.from_buffer(flags)),
            )
        )
        return flags


def _check(key: bytes, count: int, counters: Rows, source: Rows) -> None:
    if len(key) != KEY_SIZE:
        raise ValueError("a key has 32 bytes")
    if counters.packets != count or source.packets != count or counters.size != COUNTER_SIZE:
        raise ValueError("a counter, a source and a target for each packet")


def _mapped(code: bytes) -> mmap.mmap:
    """Return code mapped to be run, never writable; works where W^X is enforced."""
    file = os.memfd_create("wgpy-kernels", os.MFD_CLOEXEC)
    try:
        os.write(file, code)
        return mmap.mmap(
            file, len(code), flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC
        )
    finally:
        os.close(file)
