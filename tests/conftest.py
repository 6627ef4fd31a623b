"""Profiles of Hypothesis, what may be skipped, and the walls around the pure layers."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from tests import offloads
from tests.cache import cache
from tests.lab import Lab, sweep

HERE = Path(__file__).parent
PURE = tuple(
    HERE / package / layer for package in ("wgpy", "netmgr") for layer in ("engine", "wire")
)
# How often a test on real networks is tried again before it has failed.
REPEATS = 2
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

set_hypothesis_home_dir(cache() / "hypothesis")
settings.register_profile("dev", deadline=1000, max_examples=50)
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=100, database=None
)
settings.register_profile("nightly", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "dev"))


# --- what runs -------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("wgpy")
    group.addoption("--long", action="store_true", help="also run tests that wait over 60 s")
    group.addoption(
        "--no-skips",
        action="store_true",
        default=IN_CI,
        help="a skipped test fails the run (always so under CI=true)",
    )
    group.addoption(
        "--offloads",
        choices=tuple(offloads.WAYS),
        help="let every node work with WGPY_OFF set so, and see that it does",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*programs): needs these programs on PATH")
    config.pluginmanager.register(Skips(), "wgpy-skips")
    if word := config.getoption("--offloads"):
        offloads.choose(word)
        config.pluginmanager.register(Ways(), "wgpy-ways")


def lacks(item: pytest.Item) -> str | None:
    """Return why a test cannot run on this machine, None if it can."""
    if item.get_closest_marker("root"):
        if os.geteuid() != 0:
            return "needs root"
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            return "needs /dev/net/tun"
        if shutil.which("ip") is None:
            return "needs ip (iproute2)"
    programs = [name for marker in item.iter_markers("needs") for name in marker.args]
    missing = sorted({name for name in programs if shutil.which(name) is None})
    return f"needs {', '.join(missing)} on PATH" if missing else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        waiting = [item for item in items if item.get_closest_marker("long")]
        if waiting:
            config.hook.pytest_deselected(items=waiting)
            items[:] = [item for item in items if item not in waiting]
    for item in items:
        if item.get_closest_marker("root"):
            # Their limits are of time, and the processors are shared; what is repeated is told.
            item.add_marker(pytest.mark.flaky(reruns=REPEATS))
        if reason := lacks(item):
            item.add_marker(pytest.mark.skip(reason=reason))


class Skips:
    """Collects what was skipped; with --no-skips any of it fails the run."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.reasons.append(f"{report.nodeid}: {why}")

    pytest_runtest_logreport = note
    pytest_collectreport = note

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        fine = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if fine and self.reasons and session.config.getoption("--no-skips"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if self.reasons and config.getoption("--no-skips"):
            terminalreporter.section("skipped, and nothing may be (--no-skips)", red=True)
            for reason in self.reasons:
                terminalreporter.line(reason)


# --- walls -----------------------------------------------------------------------------------


class Ways:
    """Tells at the end of a run with --offloads how nodes worked; if none did so, it fails."""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.OK and not offloads.CONFIRMED:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for way, count in offloads.CONFIRMED.most_common():
            terminalreporter.write_line(f"{count} nodes came up with: {way}")
        if not offloads.CONFIRMED:
            terminalreporter.write_line("no node was seen to work as --offloads asks")


_walled: list[str] = []


def _no_sockets(event: str, _: tuple[object, ...]) -> None:
    if event == "socket.__new__" and _walled:
        raise RuntimeError(f"{_walled[-1]}: tests of wire/ and engine/ open no socket")


sys.addaudithook(_no_sockets)


@pytest.fixture(autouse=True)
def pure_layers_touch_no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    if not any(parent in request.path.parents for parent in PURE):
        yield
        return
    _walled.append(request.node.nodeid)
    yield
    _walled.pop()


# --- namespaces ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def swept() -> None:
    """Remove what dead test runs have left behind."""
    if os.geteuid() == 0:
        sweep()


@pytest.fixture
def lab(swept: None) -> Iterator[Lab]:
    """Namespaces for one test, removed after it."""
    with Lab() as made:
        yield made
        if offloads.chosen():
            for child in made.children:
                assert offloads.VARIABLE in child.given or not offloads.strangers(child.log())
