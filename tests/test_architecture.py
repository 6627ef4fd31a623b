"""The shape of the code, kept honest: what a reader would otherwise have to look for."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    path
    for package in ("wgpy", "netmgr")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)
RULED = [module for module in MODULES if module.parent.name in ("engine", "wire")]

# Modules of engine/ and wire/ without a test module of their own. It only ever shrinks.
UNMIRRORED = {
    "wgpy/engine/bulk.py",
    "wgpy/engine/common.py",
    "wgpy/engine/constants.py",
}

HISTORY = (
    r"(?i)\b(?:TODO|FIXME|XXX|HACK|previously|formerly|anymore|used to be"
    r"|no longer (?:needed|necessary|used|required)|(?:moved|renamed) from)\b"
)
MACHINE = r"(?<![\w.}-])/(?:work|root|farm)/"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def mirror_of(module: Path) -> Path:
    return ROOT / "tests" / Path(name_of(module)).parent / f"test_{module.name}"


def set_in_init(class_: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the attributes that `__init__` sets, and the value of each."""
    for method in class_.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            for node in ast.walk(method):
                if isinstance(node, ast.Assign | ast.AnnAssign):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    for target in targets:
                        yield from ((name, node.value) for name in attributes(target))


def attributes(target: ast.expr) -> list[str]:
    """Return the attributes that an assignment to `target` sets."""
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return [part.attr for part in parts if isinstance(part, ast.Attribute)]


def texts() -> Iterator[Path]:
    """Yield every file of the project that a person wrote."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.name[0] != ".")
    for folder in ("wgpy", "netmgr", "tests", "bench", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def test_imports_keep_to_the_layers():
    """In a process of its own: import-linter turns off the loggers of the one it runs in."""
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_small(module):
    assert len(module.read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", RULED, ids=name_of)
def test_a_module_of_the_pure_layers_has_its_test(module):
    assert mirror_of(module).exists() or name_of(module) in UNMIRRORED


def test_the_list_of_modules_without_a_test_holds_nothing_else():
    lacking = {name_of(module) for module in RULED if not mirror_of(module).exists()}
    assert lacking >= UNMIRRORED, "take these off UNMIRRORED"


@pytest.mark.parametrize("module", RULED, ids=name_of)
def test_no_god_objects_and_no_flag_soup(module):
    classes = (
        node
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    for class_ in classes:
        held = list(set_in_init(class_))
        names = {name for name, _ in held}
        flags = {
            name
            for name, value in held
            if isinstance(value, ast.Constant) and isinstance(value.value, bool)
        }
        assert len(names) <= 12, f"{class_.name} holds {len(names)} things"
        assert len(flags) <= 1, f"{class_.name}: {flags} encode a state; make it a union"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_comments_tell_no_history(module):
    tokens = tokenize.generate_tokens(io.StringIO(module.read_text()).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    assert [comment for comment in comments if re.search(HISTORY, comment)] == []


def test_no_file_names_a_place_of_one_machine():
    found = [
        f"{name_of(path)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if re.search(MACHINE, line)
    ]
    assert found == []
