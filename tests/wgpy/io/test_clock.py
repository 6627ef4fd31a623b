import os
import select
import time
from pathlib import Path

import pytest

from wgpy.io import clock, libc
from wgpy.io.clock import Alarm


@pytest.fixture
def alarm():
    made = Alarm()
    yield made
    made.close()


def readable(alarm: Alarm, timeout: float) -> bool:
    return bool(select.select([alarm], [], [], timeout)[0])


def test_an_alarm_rings_at_its_instant_and_not_before(alarm):
    at = clock.now() + 0.05
    alarm.set(at)
    assert not readable(alarm, 0)
    assert readable(alarm, 5)
    assert clock.now() >= at
    assert alarm.clear()
    assert not readable(alarm, 0)


@pytest.mark.parametrize("at", [0.0, -5.0, 1e-12])
def test_an_instant_that_is_past_rings_at_once(alarm, at):
    alarm.set(at)
    assert readable(alarm, 5)


def test_a_new_instant_replaces_the_old_and_none_switches_off(alarm):
    alarm.set(0)
    assert readable(alarm, 5)
    alarm.set(clock.now() + 1000)
    assert not readable(alarm, 0)
    alarm.set(0)
    alarm.set(None)
    assert not readable(alarm, 0.02)


def test_clearing_a_silent_alarm_does_nothing_and_tells_so(alarm):
    assert not alarm.clear()
    assert not readable(alarm, 0)


def test_an_alarm_that_rang_and_was_set_anew_has_not_rung(alarm):
    alarm.set(0)
    assert readable(alarm, 5)
    alarm.set(clock.now() + 1000)
    assert not alarm.clear()


def test_an_alarm_runs_on_the_clock_of_now_and_is_not_inherited(alarm):
    text = Path(f"/proc/self/fdinfo/{alarm.fileno()}").read_text()
    assert f"clockid: {time.CLOCK_BOOTTIME}" in text
    assert not os.get_inheritable(alarm.fileno())
    assert not os.get_blocking(alarm.fileno())


def test_a_failing_call_of_the_c_library_says_which_and_why():
    with pytest.raises(OSError, match="timerfd_settime: Bad file descriptor"):
        libc.call("timerfd_settime", -1, 0, bytes(32), None)
