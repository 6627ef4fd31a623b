"""Programs that tests start, and waiting for what they do."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from wgpy.io import clock

T = TypeVar("T")
Done = subprocess.CompletedProcess[str]


class LabError(Exception):
    """A condition did not come true in time, or a program of the lab failed."""


def wait_until(condition: Callable[[], T], timeout: float = 10, why: str = "") -> T:
    """Return the first truthy result of `condition`, asked every 20 ms.

    Raises:
        LabError: `timeout` seconds have passed without one.
    """
    pause, deadline = threading.Event(), clock.now() + timeout
    while not (result := condition()):
        if clock.now() > deadline:
            raise LabError(f"not within {timeout:g} s: {why or condition}")
        pause.wait(0.02)
    return result


def command(
    argv: Sequence[object],
    *,
    stdin: str | None = None,
    timeout: float = 30,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> Done:
    """Run one program to its end and return what it said; stderr is part of the failure.

    Raises:
        LabError: it ended with another code than 0 (when `check`), or not in time.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **env} if env else None,
        )
    except subprocess.TimeoutExpired as expired:
        raise LabError(f"{' '.join(words)}: still running after {timeout:g} s") from expired
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Child:
    """A running program: its log, and the ways to end it.

    The system ends it when the thread that started it dies, so that a killed test run leaves
    nothing running.
    """

    def __init__(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None):
        self.argv = list(argv)
        self.logfile = log
        # What its environment has that is not this process's.
        self.given = dict(env or {})
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env} if env else None,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        """Return everything it has written so far, stdout and stderr together."""
        return self.logfile.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 10) -> int:
        """Return its exit code once it has ended.

        Raises:
            LabError: it is still running after `timeout` seconds.
        """
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired as expired:
            raise LabError(f"{self.argv[0]} still running after {timeout:g} s") from expired

    def wait_log(self, pattern: str, timeout: float = 10) -> re.Match[str]:
        """Wait until the log matches `pattern`, and return the match.

        Raises:
            LabError: the program has ended without it, or `timeout` seconds have passed.
        """

        def found() -> re.Match[str] | None:
            ended = not self.alive
            match = re.search(pattern, self.log())
            if match is None and ended:
                raise LabError(f"{self.argv} ended without {pattern!r}:\n{self.log()}")
            return match

        result = wait_until(found, timeout, f"{pattern!r} in the log of {self.argv}")
        assert result is not None
        return result

    def stop(self, timeout: float = 5) -> int:
        """End it, by force if it does not go, and return its exit code."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()
