"""All implementations stand at once and take turns, so that runs are paired and interleaved.

Each run of one has its twin of the others a moment later. Two rounds go forwards, the next two
backwards: who is measured first has no advantage over the last. Whoever fails, at standing up
or at a turn, is left out and named.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from bench.figures import Limit, Row
from bench.options import Options
from bench.subjects import YARDSTICK, Company, Subject, ready
from tests.lab import Lab, LabError
from wgpy.errors import ConfigError

T = TypeVar("T")
# Of a rig that does not stand, a node that has ended, a program with another answer than usual.
FAILURES = (
    *(LabError, ConfigError, OSError, subprocess.SubprocessError),
    *(ArithmeticError, LookupError, ValueError),
)


@dataclass(frozen=True, slots=True)
class Turns:
    """What came of the turns: the figures of each run by name, and rows of those without."""

    bench: str
    company: Company
    runs: dict[str, list[Sequence[float]]]
    others: list[Row]

    def rows(
        self, at: int, what: str, unit: str, limits: Mapping[str, Limit] | None = None
    ) -> list[Row]:
        """Return the rows of one of the figures of a run."""
        values = {name: [run[at] for run in runs] for name, runs in self.runs.items()}
        return self.company.rows((self.bench, what, unit), values, limits)

    @contextmanager
    def leaving_out(self, subject: Subject) -> Iterator[None]:
        """Leave the subject out if what follows fails; ours and the yardstick must not."""
        try:
            yield
        except FAILURES as failure:
            print(
                f"\nbench: {self.bench}: {subject.name}: {type(failure).__name__}: {failure}",
                file=sys.stderr,
            )
            del self.runs[subject.name]
            note = failed_because(failure)
            failed = bool(subject.kernels) or subject.name == YARDSTICK
            self.others.append(Row(self.bench, "", subject.name, note=note, failed=failed))


def failed_because(failure: Exception) -> str:
    """Return the note of a row, in one line."""
    return f"failed: {str(failure).partition(chr(10))[0] or type(failure).__name__}"


def by_turns(
    bench: str,
    options: Options,
    rounds: int,
    stand: Callable[[Lab, Subject], T],
    measure: Callable[[T, int], Sequence[float]],
) -> Turns:
    """Let everyone have a turn in each of the rounds.

    `stand` puts up what `measure` is given at each turn, with the number of the round.
    """
    present = ready(options)
    runs: dict[str, list[Sequence[float]]] = {one.name: [] for one in present.subjects}
    turns = Turns(bench, present, runs, present.absences(bench))
    standing: dict[str, T] = {}
    with Lab() as lab:
        for one in present.subjects:
            options.say(f"{bench}: {one.name} stands up")
            with turns.leaving_out(one):
                standing[one.name] = stand(lab, one)
        for number in range(rounds):
            backwards = number // 2 % 2
            for one in present.subjects[:: -1 if backwards else 1]:
                if one.name not in runs:
                    continue
                options.say(f"{bench}: run {number + 1} of {rounds}, {one.name}")
                with turns.leaving_out(one):
                    runs[one.name].append(measure(standing[one.name], number))
    return turns
