"""What is checked, for which arguments."""

from tests import offloads
from tests.check import main, steps


def test_the_fast_checks_measure_no_coverage(tmp_path):
    names = [step.name for step in steps(["--fast"], tmp_path)]
    assert names == ["format", "lint", "types", "tests"]


def test_the_whole_measures_the_pure_layers_by_their_own_tests_and_runs_the_rest(tmp_path):
    names = [step.name for step in steps([], tmp_path)]
    fast = ["pure layers", "coverage", "other fast tests"]
    slow = ["simulations", "real networks", "timed tests"]
    assert names == ["format", "lint", "types", *fast, *slow]
    assert names == [step.name for step in steps(["--long"], tmp_path)]


def test_the_matrix_runs_the_namespaces_once_for_each_way_to_carry_packets(tmp_path):
    names = [step.name for step in steps(["--matrix"], tmp_path)]
    assert names[:3] == ["format", "lint", "types"]
    assert names[3:] == [f"offloads: {word}" for word in offloads.WAYS]


def test_arguments_go_to_pytest_and_leave_coverage_out(tmp_path):
    names = [step.name for step in steps(["tests/wgpy"], tmp_path)]
    assert names == ["format", "lint", "types", "tests"]


def test_one_failed_step_fails_the_whole_and_is_named(monkeypatch, capsys):
    monkeypatch.setattr("tests.check.PYTHON", ("false",))
    assert main(["--fast"]) == 1
    assert "check: failed: format, lint, types, tests" in capsys.readouterr().out
    monkeypatch.setattr("tests.check.PYTHON", ("true",))
    assert main(["--fast"]) == 0
    assert capsys.readouterr().out.endswith("check: all is well\n")
