"""Whether a network namespace is held by anybody."""

import os
import sys
from pathlib import Path

import pytest

from tests.lab import Lab, command, wait_until
from wgpy.io import namespaces

LACKING = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", "--")
ASK = "import sys; from wgpy.io.namespaces import is_held; sys.exit(not is_held(1))"


def number(path: str) -> int:
    return os.stat(path).st_ino


def wait_gone(place: int) -> None:
    """Wait for the end of a namespace; another test run may have its number meanwhile."""
    wait_until(lambda: not namespaces.is_held(place), why="the end of the namespace")


def test_that_of_this_process_is_held():
    assert namespaces.is_held(number("/proc/self/ns/net"))


@pytest.mark.root
def test_one_that_is_mounted_is_held_until_it_is_removed(lab: Lab):
    place = number(f"/run/netns/{lab.ns()}")
    assert namespaces.is_held(place)
    lab.close()
    wait_gone(place)


@pytest.mark.root
@pytest.mark.needs("unshare")
def test_one_that_only_a_process_is_in_is_held(lab: Lab):
    child = lab.spawn(None, "unshare", "--net", "sh", "-c", "echo in; exec sleep 1d")
    child.wait_log("in")
    place = number(f"/proc/{child.pid}/ns/net")
    assert namespaces.is_held(place)
    child.stop()
    wait_gone(place)


@pytest.mark.root
def test_one_that_only_a_thread_is_in_is_held(lab: Lab):
    ns = lab.ns()
    place = number(f"/run/netns/{ns}")
    with namespaces.inside(ns):
        command(["ip", "netns", "delete", ns])
        assert namespaces.is_held(place)
    wait_gone(place)


@pytest.mark.root
@pytest.mark.needs("setpriv", "unshare")
def test_who_may_not_be_looked_at_holds_it_unless_it_is_where_we_are(lab: Lab):
    """As in a container, whose root may not look at other users' processes."""
    ns = lab.ns()
    unshare = ("unshare", "--pid", "--fork", "--mount-proc")
    stranger = "setpriv --reuid 65534 --clear-groups sleep 1d"
    script = f'{stranger} & exec {" ".join(LACKING)} "$@"'
    ask = (sys.executable, "-c", ASK)
    env = {"PYTHONPATH": str(Path(__file__).parents[3])}
    beside = lab.run(ns, *unshare, "sh", "-c", script, "sh", *ask, env=env, check=False)
    assert beside.returncode == 1, beside.stderr
    script = f'unshare --net {stranger} & exec {" ".join(LACKING)} "$@"'
    apart = lab.run(ns, *unshare, "sh", "-c", script, "sh", *ask, env=env, check=False)
    assert apart.returncode == 0, apart.stderr
