"""The compiled ChaCha20 and Poly1305 against Wycheproof's vectors for the two together.

The compiled AEAD has WireGuard's nonces, which begin with four zero bytes, and no associated
data; no vector is so. Its two parts take anything: the block function and the authenticator
that `seal` and `open` consist of are built here as functions of their own, and put together as
RFC 8439, 2.8, has it. Portable kernels use `cryptography`; tests of `crypto` has these pass.
"""

import ctypes
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="needs llvmlite, the extra jit")
from llvmlite import binding, ir

from wgpy.kernels import chacha20
from wgpy.kernels.emit import I64, POINTER, Body, Loop, number
from wgpy.kernels.poly1305 import Poly1305

PLACE = Path(__file__).parents[2] / "vectors" / "wycheproof_chacha20_poly1305.json"
VECTORS: list[dict[str, Any]] = json.loads(PLACE.read_text())["vectors"]
BLOCK, TAG = 64, 16


def authenticator(made: ir.Module, lanes: int) -> None:
    """Add `tags(keys, blocks, count, out)`: one message a lane, all words side by side."""
    kind = ir.VectorType(I64, lanes)
    arguments = [POINTER, POINTER, I64, POINTER]
    function = ir.Function(made, ir.FunctionType(ir.VoidType(), arguments), "tags")
    body = Body(function)
    keys, blocks, count, out = function.args
    poly = Poly1305(body, [body.load(kind, body.at(keys, number(i), kind)) for i in range(8)])
    loop = Loop(body, count, poly.zero())
    low = body.builder.shl(loop.index, number(1))
    places = (low, body.builder.add(low, number(1)))
    words = [body.load(kind, body.at(blocks, place, kind)) for place in places]
    limbs = poly.absorb(loop.carried, *words)
    loop.end(limbs)
    for place, word in enumerate(poly.tag(limbs)):
        body.store(word, body.at(out, number(place), kind))
    body.builder.ret_void()


def aligned(kind: type, *shape: int) -> np.ndarray:
    """Return zeros at an address that any vector may be at."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.zeros(size + BLOCK, np.uint8)
    start = -raw.ctypes.data % BLOCK
    return raw[start : start + size].view(kind).reshape(shape)


class Parts(NamedTuple):
    """The two functions for one width."""

    engine: binding.ExecutionEngine
    lanes: int

    def keystream(self, key: bytes, nonce: bytes, blocks: int) -> bytes:
        """Return blocks from 0 on, each by a lane of its own."""
        lanes = self.lanes
        state, out = (aligned(np.uint32, 16, lanes) for _ in range(2))
        words = (*struct.unpack("<8I", key), 0, *struct.unpack("<3I", nonce))
        state[:] = np.array([*chacha20.SIGMA, *words], np.uint32)[:, None]
        function = self._function(f"chacha20x{lanes}", 2)
        stream = b""
        for first in range(0, blocks, lanes):
            state[chacha20.COUNTER] = range(first, first + lanes)
            function(state.ctypes.data, out.ctypes.data)
            stream += out.T.tobytes()
        return stream

    def tag(self, one_time_key: bytes, message: bytes) -> bytes:
        """Return the tag of whole blocks; every lane must have the same."""
        lanes, count = self.lanes // 2, len(message) // 16
        keys, out = aligned(np.uint64, 8, lanes), aligned(np.uint64, 2, lanes)
        blocks = aligned(np.uint64, 2 * count, lanes)
        keys[:] = np.frombuffer(one_time_key, "<u4")[:, None]
        blocks[:] = np.frombuffer(message, "<u8")[:, None]
        places = (array.ctypes.data for array in (keys, blocks))
        self._function("tags", 4)(*places, count, out.ctypes.data)
        tags = {out[:, lane].tobytes() for lane in range(lanes)}
        assert len(tags) == 1
        return tags.pop()

    def _function(self, name: str, arguments: int) -> Any:
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_uint64] * arguments)
        return kind(self.engine.get_function_address(name))


@pytest.fixture(scope="module", params=[4, 8, 16])
def parts(request: pytest.FixtureRequest) -> Parts:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    made = ir.Module("parts")
    chacha20.block_function(made, request.param).linkage = "external"
    authenticator(made, request.param // 2)
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(cpu=binding.get_host_cpu_name())
    module = binding.parse_assembly(str(made))
    return Parts(binding.create_mcjit_compiler(module, machine), request.param)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def is_right(parts: Parts, vector: dict[str, Any]) -> bool:
    key, nonce, aad, plaintext, ciphertext, tag = (
        bytes.fromhex(vector[name])
        for name in ("key", "nonce", "aad", "plaintext", "ciphertext", "tag")
    )
    stream = parts.keystream(key, nonce, 1 + -(-len(ciphertext) // BLOCK))
    pairs = zip(ciphertext, stream[BLOCK:], strict=False)
    lengths = struct.pack("<QQ", len(aad), len(ciphertext))
    found = parts.tag(stream[:32], padded(aad) + padded(ciphertext) + lengths)
    if not vector["valid"]:
        return found != tag
    return found == tag and bytes(one ^ other for one, other in pairs) == plaintext


def test_both_parts_together_are_right_at_the_edges(parts):
    assert len(VECTORS) == 316
    assert [vector for vector in VECTORS if not is_right(parts, vector)] == []
