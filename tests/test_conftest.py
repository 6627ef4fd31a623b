"""The rules of the test run, tried on small runs of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow

SAMPLE = """
import socket
import pytest

@pytest.mark.needs("no-such-program")
def test_that_needs():
    pass

@pytest.mark.long
def test_that_waits():
    pass

@pytest.mark.xfail(strict=True)
def test_that_is_known_to_fail():
    assert False

def test_that_opens_a_socket():
    socket.socket().close()
"""
GUESSING = """
import hypothesis

@hypothesis.given(hypothesis.strategies.text())
def test_that_fails_for_some(text):
    assert not text
"""


@pytest.fixture
def run(tmp_path):
    """Return what runs the sample as one file of a tree, with these rules, and its output."""

    def pytest_on(place, *options, sample=SAMPLE, **environment):
        path = tmp_path / "tests" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sample)
        for name in ("cache.py", "conftest.py", "lab.py", "offloads.py", "process.py"):
            (tmp_path / "tests" / name).write_text((ROOT / "tests" / name).read_text())
        (tmp_path / "pytest.ini").write_text(
            "[pytest]\ntestpaths = tests\nmarkers =\n  root\n  long\n"
        )
        argv = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", *options]
        rest = {name: value for name, value in os.environ.items() if name != "CI"}
        env = {**rest, "PYTHONPATH": str(ROOT), **environment}
        done = subprocess.run(
            argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return pytest_on


def test_what_is_missing_skips_with_a_reason(run):
    code, said = run("test_it.py", "-rs")
    assert code == 0, said
    assert "needs no-such-program on PATH" in said
    assert "1 passed, 1 skipped, 1 deselected, 1 xfailed" in said


@pytest.mark.parametrize("how", [{"CI": "true"}, {}], ids=["CI", "option"])
def test_a_skip_fails_where_nothing_may_be_skipped(run, how):
    code, said = run("test_it.py", *([] if how else ["--no-skips"]), **how)
    assert code == 1, said
    assert "test_it.py::test_that_needs: Skipped: needs no-such-program on PATH" in said
    assert "known_to_fail" not in said


def test_long_tests_run_when_asked_for(run):
    code, said = run("test_it.py", "--long")
    assert code == 0, said
    assert "2 passed, 1 skipped, 1 xfailed" in said


@pytest.mark.parametrize("layer", ["engine", "wire"])
def test_the_pure_layers_open_no_socket(run, layer):
    code, said = run(f"wgpy/{layer}/test_it.py")
    assert code == 1, said
    assert "test_that_opens_a_socket: tests of wire/ and engine/ open no socket" in said
    assert "1 failed, 1 skipped, 1 deselected, 1 xfailed" in said


def test_a_run_with_offloads_in_which_no_node_was_seen_fails(run):
    code, said = run("test_it.py", "--offloads=jit")
    assert code == 1, said
    assert "no node was seen to work as --offloads asks" in said


def test_skips_of_other_processes_count(run):
    code, said = run("test_it.py", "--no-skips", "-n", "1")
    assert code == 1, said
    assert "test_that_needs: Skipped: needs no-such-program" in said


def test_hypothesis_keeps_what_it_learns_outside_the_tree(run, tmp_path):
    cache = tmp_path / "cache"
    code, said = run("test_it.py", sample=GUESSING, WGPY_TEST_CACHE=str(cache))
    assert code == 1, said
    assert list((cache / "hypothesis").iterdir())
    assert list(tmp_path.rglob(".hypothesis")) == []
