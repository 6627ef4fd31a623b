"""Compiled kernels: from the cache, or from a child process of low priority.

LLVM costs a process 42 MB, and compiling holds the interpreter's lock: the child
does both, leaves an image of the code in the cache and hands it to its parent. A node begins
without, and changes over when `Compiling` is readable:

    found = load()
    if isinstance(found, Compiling):
        ... when found.fileno() is readable: found = found.finish()

A cached image is named after everything that it depends on: the processor, llvmlite and the
sources of the generator.
"""

import os
import platform
import select
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from pkgutil import get_data
from typing import Final

from wgpy.kernels import cache, image
from wgpy.kernels.image import BadImage
from wgpy.kernels.lanes import Lanes

# What an image is made by; it does not outlive a change to any of it.
SOURCES: Final = (
    "aead",
    "chacha20",
    "compiler",
    "emit",
    "group",
    "image",
    "joining",
    "poly1305",
    "program",
    "splitting",
    "totals",
)
_MACHINES: Final = ("x86_64", "aarch64")
# What of /proc/cpuinfo names a kind of processor, on any machine.
_PROCESSOR: Final = (
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "flags",
    "CPU implementer",
    "CPU part",
    "Features",
)
_LOWEST_PRIORITY: Final = 19
_REASON_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class Unavailable:
    """There is no compiled code, and why, in words for a warning."""

    reason: str


class Compiling:
    """A child process at work."""

    def __init__(self, child: "subprocess.Popen[bytes]", output: int, errors: int) -> None:
        self._child, self._output, self._errors = child, output, errors
        self._ended = os.pidfd_open(child.pid)
        self.pid = child.pid

    def fileno(self) -> int:
        """Return a descriptor that is readable when the child has ended."""
        return self._ended

    def finish(self, timeout: float | None = None) -> "Lanes | Unavailable | None":
        """Wait for the end and return what came out; None if that takes longer, in seconds."""
        ended = select.poll()  # select() ends at descriptor 1023
        ended.register(self._ended, select.POLLIN)
        if not ended.poll(None if timeout is None else timeout * 1000):
            return None
        try:
            failed = self._child.wait()
            output, errors = _content(self._output), _content(self._errors)
        finally:
            self.close()
        if failed:
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            return Unavailable(last[:_REASON_LIMIT] or f"the compiler ended with {failed}")
        return _mapped(output)

    def close(self) -> None:
        """Stop the child if it is still at work, and let go of it."""
        if self._ended < 0:
            return
        self._child.kill()
        self._child.wait()
        for file in (self._ended, self._output, self._errors):
            os.close(file)
        self._ended = -1


def load() -> Lanes | Compiling | Unavailable:
    """Return the compiled code for this machine, or the child that makes it."""
    if platform.machine() not in _MACHINES or sys.byteorder != "little":
        return Unavailable(f"no kernels for {platform.machine()}")
    if find_spec("llvmlite") is None:
        return Unavailable("llvmlite is not installed")
    try:
        cached = cache.read(cached_name())
        found = None if cached is None else _mapped(cached)
        return found if isinstance(found, Lanes) else _begin()
    except OSError as error:
        return Unavailable(f"the compiler does not start: {error}")


def cached_name() -> str:
    """Return the name of the file in the cache that fits this machine and these sources."""
    found = find_spec("llvmlite")
    packages = Path(found.origin).parents[1] if found is not None and found.origin else Path()
    versions = sorted(path.name for path in packages.glob("llvmlite-*.dist-info"))
    digest = sha256("\n".join([*versions, *_processor(Path("/proc/cpuinfo"))]).encode())
    for name in SOURCES:
        digest.update(get_data("wgpy.kernels", f"{name}.py") or b"")
    return f"kernels-{digest.hexdigest()[:32]}.image"


def _processor(cpuinfo: Path) -> Iterable[str]:
    """Yield the lines of the first processor that tell what it can do."""
    for line in cpuinfo.read_text(errors="replace").split("\n\n")[0].splitlines():
        if line.partition(":")[0].strip() in _PROCESSOR:
            yield line


def _mapped(raw: bytes) -> Lanes | Unavailable:
    try:
        return Lanes(image.decode(raw))
    except (BadImage, OSError) as error:
        return Unavailable(f"compiled code cannot be used: {error}")


def _begin() -> Compiling:
    """Start the child, with this package and what this process finds on its path."""
    home = Path(__file__).parents[2]
    path = os.pathsep.join([str(home), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    with ExitStack() as undo:
        output, errors = os.memfd_create("wgpy-image"), os.memfd_create("wgpy-errors")
        undo.callback(os.close, output)
        undo.callback(os.close, errors)
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "wgpy.kernels.compiler"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
        )
        undo.callback(child.wait)
        undo.callback(child.kill)
        compiling = Compiling(child, output, errors)
        undo.pop_all()
    return compiling


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


# --- in the child ----------------------------------------------------------------------------


def widths(features: Collection[str]) -> tuple[int, ...]:
    """Return the sizes of groups that fit a processor's vectors, falling."""
    if "avx512f" in features and "avx512bw" in features:
        return (16, 8)
    if "avx2" in features:
        return (8,)
    return (4,)


def compile_image(sizes: Sequence[int] | None = None, cpu: str | None = None) -> bytes:
    """Return the image for this processor, or for groups and a processor given by name.

    LLVM's passes over the program are left out: it is written as it is to run, and they take
    away the masks by which a multiplication of 32 bits is known, and call `memset`.

    Raises:
        BadImage: LLVM made an object that cannot be mapped.
    """
    # Not above: the node must not load LLVM.
    from llvmlite import binding

    from wgpy.kernels import program

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    triple = binding.get_process_triple()
    features = binding.get_host_cpu_features()
    if sizes is None:
        sizes = widths({name for name, has in features.items() if has})
    parsed = binding.parse_assembly(program.module(sizes, triple))
    parsed.verify()
    machine = binding.Target.from_triple(triple).create_target_machine(
        cpu=cpu or binding.get_host_cpu_name(),
        features="" if cpu else features.flatten(),
        opt=3,
        reloc="pic",
        codemodel="small",
    )
    return image.encode(image.link(machine.emit_object(parsed)))


def main() -> None:
    """Leave the image in the cache, and write it to the parent."""
    os.nice(_LOWEST_PRIORITY)
    raw = compile_image()
    cache.write(cached_name(), raw)
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(raw)


if __name__ == "__main__":
    main()
