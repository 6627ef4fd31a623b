import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from wgpy.kernels import cache, image
from wgpy.kernels.lanes import Lanes, Memory

pytest.importorskip("llvmlite", reason="needs llvmlite, the extra jit")
from wgpy.kernels import compiler
from wgpy.kernels.compiler import Compiling, Unavailable

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start each test with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "wgpy"


def compiled() -> Lanes | Unavailable | None:
    compiling = compiler.load()
    assert isinstance(compiling, Compiling)
    return compiling.finish(PATIENCE)


def works(lanes: object) -> bool:
    """Seal and open a packet."""
    assert isinstance(lanes, Lanes)
    memory = Memory(bytearray(256))
    counters, plain, sealed = (
        memory.rows(offset, 8, 1, size) for offset, size in ((0, 8), (16, 50), (100, 66))
    )
    lanes.seal(bytes(32), counters, plain, sealed)
    return lanes.open(bytes(32), counters, sealed, plain) == b"\1"


def test_what_is_compiled_once_is_loaded_by_the_next(place):
    assert works(compiled())
    assert [path.name for path in place.iterdir()] == [compiler.cached_name()]
    assert works(compiler.load())


def test_an_image_is_named_after_all_that_makes_it():
    folder = Path(compiler.__file__).parent
    makers = {path.stem for path in folder.glob("*.py") if "llvmlite" in path.read_text()}
    assert makers | {"image"} == set(compiler.SOURCES)


def test_a_damaged_image_is_compiled_again(place):
    raw = image.encode(image.Image(bytes(64), (0, 0, 0, 0)))
    for damaged in (b"", raw[:-1], raw[:-1] + b"\1"):
        cache.write(compiler.cached_name(), damaged)
        waiting = compiler.load()
        assert isinstance(waiting, Compiling)
        waiting.close()
    assert works(compiled())
    assert works(compiler.load())


def test_without_a_private_folder_it_is_compiled_each_time(place):
    place.mkdir()
    place.chmod(0o777)
    assert works(compiled())
    assert list(place.iterdir()) == []
    waiting = compiler.load()
    assert isinstance(waiting, Compiling)
    waiting.close()


def test_a_node_that_finds_its_image_loads_no_llvm():
    assert works(compiled())
    program = (
        "import sys; from wgpy.kernels import compiler; print(type(compiler.load()).__name__);"
        "print(sorted(name for name in sys.modules if 'llvm' in name))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["Lanes", "[]"], done.stderr


def test_a_compiler_that_fails_gives_its_reason(tmp_path, monkeypatch):
    package = tmp_path / "llvmlite"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('out of order')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "llvmlite"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    outcome = compiled()
    assert outcome == Unavailable("RuntimeError: out of order")
    assert cache.read(compiler.cached_name()) is None


def test_a_compiler_that_is_killed_is_one_that_fails():
    compiling = compiler.load()
    assert isinstance(compiling, Compiling)
    os.kill(compiling.pid, 9)
    assert compiling.finish(PATIENCE) == Unavailable("the compiler ended with -9")


def test_a_process_with_many_descriptors_waits_for_its_compiler():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    taken: list[int] = []
    try:
        while not taken or taken[-1] < 1024:
            taken.append(os.dup(1))
        compiling = compiler.load()
        assert isinstance(compiling, Compiling)
        os.kill(compiling.pid, 9)
        assert compiling.finish(PATIENCE) == Unavailable("the compiler ended with -9")
    finally:
        for file in taken:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_llvmlite_there_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    assert compiler.load() == Unavailable("llvmlite is not installed")


def test_a_compiler_that_cannot_be_started_is_a_reason(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    outcome = compiler.load()
    assert isinstance(outcome, Unavailable)
    assert outcome.reason.startswith("the compiler does not start")


def test_nobody_waits_for_a_compiler_that_is_let_go():
    compiling = compiler.load()
    assert isinstance(compiling, Compiling)
    assert compiling.finish(0) is None
    compiling.close()
    compiling.close()
    with pytest.raises(ProcessLookupError):
        os.kill(compiling.pid, 0)


@pytest.mark.parametrize(
    ("features", "sizes"),
    [
        ({"sse2", "avx", "avx2", "avx512f", "avx512bw"}, (16, 8)),
        ({"sse2", "avx2", "avx512f"}, (8,)),
        ({"sse2", "avx"}, (4,)),
        ({"neon"}, (4,)),
    ],
)
def test_groups_are_as_wide_as_vectors(features, sizes):
    assert compiler.widths(features) == sizes
