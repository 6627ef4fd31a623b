"""What a measurement says: medians with their spread, limits, ratios.

A figure is the median of its runs, never a single lucky one, and stands beside the lowest and
the highest. Its ratio is to the yardstick's figure, run by run: only that means anything on
another machine. What was not measured has no figure but a reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple, Self


class Spread(NamedTuple):
    """The median of some runs, the lowest and the highest, and how many they were."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the spread of one value or more."""
        return cls(median(values), min(values), max(values), len(values))


class Limit(NamedTuple):
    """A limit that the product sets itself: `at_most` a value, or at least that.

    With `ratio` it is not of the figure but of its ratio to the yardstick's.
    """

    value: float
    at_most: bool = True
    ratio: bool = False

    def holds(self, value: float) -> bool:
        return value <= self.value if self.at_most else value >= self.value

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        return f"{sign} {shown(self.value)}{'x' if self.ratio else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what of whom; of parts measured alone there is no `who`.

    `ratio` is how many times the yardstick's figure this one was, run by run. Without `spread`
    nothing was measured and `note` says why; `failed` if it should have been.
    """

    bench: str
    what: str
    who: str = ""
    unit: str = ""
    spread: Spread | None = None
    limit: Limit | None = None
    ratio: Spread | None = None
    note: str = ""
    failed: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether the median keeps the limit; None if there is no limit or no figure."""
        judged = self.ratio if self.limit and self.limit.ratio else self.spread
        if self.limit is None or judged is None:
            return None
        return self.limit.holds(judged.median)

    @property
    def verdict(self) -> str:
        return {True: "pass", False: "FAIL", None: ""}[self.passed]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """Return how many times theirs ours was, run by run; None if a run of theirs was zero."""
    if not theirs or not all(theirs):
        return None
    return Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])


def compared(
    labels: tuple[str, str, str],
    runs: Mapping[str, Sequence[float]],
    limits: Mapping[str, Limit],
    yardstick: str = "",
) -> list[Row]:
    """Return a row for each subject of paired runs, by name.

    `labels` are the bench, what was measured and its unit; `limits` are by name as well.
    """
    bench, what, unit = labels
    return [
        Row(
            bench,
            what,
            name,
            unit,
            Spread.of(values),
            limits.get(name),
            None if name == yardstick else ratios(values, runs.get(yardstick, ())),
        )
        for name, values in runs.items()
    ]


def shown(value: float) -> str:
    """Return a figure with three digits that say something."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def times(ratio: Spread | None) -> str:
    """Return a ratio as the tables show it."""
    if ratio is None:
        return ""
    return f"{ratio.median:.2f}x ({ratio.low:.2f}..{ratio.high:.2f})"


def document(rows: Iterable[Row], machine: dict[str, str], yardstick: str) -> dict[str, Any]:
    """Return what `--json` writes: where it was measured, and every row with its verdict."""
    return {
        "machine": machine,
        "yardstick": yardstick,
        "rows": [
            {
                **asdict(row),
                "spread": row.spread._asdict() if row.spread else None,
                "limit": row.limit._asdict() if row.limit else None,
                "ratio": row.ratio._asdict() if row.ratio else None,
                "passed": row.passed,
            }
            for row in rows
        ],
    }
