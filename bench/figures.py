"""What a measurement says: medians with their spread, limits, and how they are shown.

A figure is the median of its runs, never a single lucky one, and stands beside the lowest and
the highest. What was not measured has no figure but a reason.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple, Self

HEADER = ("bench", "what", "median", "min..max", "unit", "runs", "limit", "verdict", "wgpy is")


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
    """A limit that the product sets itself: `at_most` a value, or at least that."""

    value: float
    at_most: bool = True

    def holds(self, value: float) -> bool:
        return value <= self.value if self.at_most else value >= self.value

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {shown(self.value)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `ratio` is how many times this figure wgpy's was, run by run. Without `spread` nothing was
    measured and `note` says why; `failed` if it should have been.
    """

    bench: str
    what: str
    unit: str = ""
    spread: Spread | None = None
    limit: Limit | None = None
    ratio: Spread | None = None
    note: str = ""
    failed: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether the median keeps the limit; None if there is no limit or no figure."""
        if self.limit is None or self.spread is None:
            return None
        return self.limit.holds(self.spread.median)

    def cells(self) -> tuple[str, ...]:
        """Return the texts of the line, in the order of HEADER."""
        if self.spread is None:
            return (self.bench, self.what, "-", self.note, "", "", "", "", "")
        verdict = {True: "pass", False: "FAIL", None: ""}[self.passed]
        return (
            self.bench,
            self.what,
            shown(self.spread.median),
            f"{shown(self.spread.low)}..{shown(self.spread.high)}",
            self.unit,
            str(self.spread.runs),
            str(self.limit or ""),
            verdict,
            times(self.ratio),
        )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """Return how many times theirs ours was, run by run; None if a run of theirs was zero."""
    if not theirs or not all(theirs):
        return None
    return Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])


def compared(
    bench: str,
    unit: str,
    runs: dict[str, list[float]],
    limit: Limit | None = None,
    what: str = "",
) -> list[Row]:
    """Return a row for each subject of paired runs, by name; ours is the first."""
    names = list(runs)
    ours = runs[names[0]]
    return [
        Row(
            bench,
            f"{what}{name}",
            unit,
            Spread.of(values),
            limit=limit if name == names[0] else None,
            ratio=ratios(ours, values) if name != names[0] else None,
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
    """Return a ratio as the table shows it."""
    if ratio is None:
        return ""
    return f"{ratio.median:.2f}x ({ratio.low:.2f}..{ratio.high:.2f})"


def table(rows: Iterable[Row]) -> str:
    """Return the rows as aligned columns; what was not measured tells why across them."""
    lines = [HEADER, *(row.cells() for row in rows)]
    measured = [line for line in lines if line[2] != "-"]
    widths = [max(len(line[at]) for line in measured) for at in range(len(HEADER))]
    widths[0] = max(len(line[0]) for line in lines)
    widths[1] = max(len(line[1]) for line in lines)
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    if cells[2] == "-":
        return f"{cells[0]:{widths[0]}}  {cells[1]:{widths[1]}}  {cells[3]}"
    aligned = [
        f"{cell:>{width}}" if at in (2, 3, 5) else f"{cell:{width}}"
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()


def document(rows: Iterable[Row], machine: dict[str, str]) -> dict[str, Any]:
    """Return what `--json` writes: where it was measured, and every row with its verdict."""
    return {
        "machine": machine,
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
