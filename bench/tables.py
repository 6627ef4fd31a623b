"""The figures as text for a terminal, and as Markdown for a README."""

from collections.abc import Iterable, Sequence

from bench.figures import Row, shown, times

HEADER = ("bench", "what", "who", "median", "min..max", "unit", "runs", "limit", "verdict")
_TO_THE_RIGHT = (3, 4, 6)


def table(rows: Iterable[Row], yardstick: str = "") -> str:
    """Return the rows as aligned columns; what was not measured tells why across them."""
    rows = list(rows)
    lines = [(*HEADER, f"of {yardstick}" if yardstick else ""), *map(_cells, rows)]
    measured = [lines[0], *(_cells(row) for row in rows if row.spread is not None)]
    widths = [max(map(len, column)) for column in zip(*measured, strict=True)]
    for at in range(3):
        widths[at] = max(len(line[at]) for line in lines)
    return "\n".join(_line(line, widths) for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    """Return the texts of a line: the columns of HEADER and the ratio."""
    if row.spread is None:
        return (row.bench, row.what, row.who, row.note)
    return (
        *(row.bench, row.what, row.who),
        shown(row.spread.median),
        f"{shown(row.spread.low)}..{shown(row.spread.high)}",
        row.unit,
        str(row.spread.runs),
        str(row.limit or ""),
        row.verdict,
        times(row.ratio),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = [
        f"{cell:>{width}}"
        if at in _TO_THE_RIGHT and len(cells) == len(widths)
        else f"{cell:{width}}"
        for at, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]
    return "  ".join(aligned).rstrip()


def markdown(rows: Iterable[Row], machine: dict[str, str], ours: Sequence[str]) -> str:
    """Return one line for each figure with everyone beside each other, and where it was.

    What is `ours` has its ratio, limit and verdict beside it.
    """
    rows = [row for row in rows if row.spread is not None or row.failed]
    compared = [row for row in rows if row.who]
    alone = [row for row in rows if not row.who]
    parts = []
    if compared:
        parts.append(_side_by_side(compared, ours))
    if alone:
        lines = [["", "runs", "median", "min..max", "unit"], ["---"] * 5]
        for row in alone:
            cells = _cells(row)
            lines += [[row.what, cells[6], *cells[3:6]]] if row.spread else []
        summary = "<details><summary>Each layer alone</summary>"
        parts.append(f"{summary}\n\n{_piped(lines)}\n\n</details>")
    parts.append("; ".join(f"{name}: {what}" for name, what in machine.items()) + ".")
    return "\n\n".join(parts)


def _side_by_side(rows: Sequence[Row], ours: Sequence[str]) -> str:
    names = list(dict.fromkeys(row.who for row in rows))
    failures = {(row.bench, row.who): row for row in rows if row.failed}
    header = ["", "runs"]
    for name in names:
        header += [name, "ratio (min..max)", "limit"] if name in ours else [name]
    lines: list[Sequence[str]] = [header, ["---"] * len(header)]
    for bench, what in dict.fromkeys((row.bench, row.what) for row in rows if row.spread):
        of = {row.who: row for row in rows if (row.bench, row.what) == (bench, what)}
        first = next(iter(of.values()))
        line = [", ".join(filter(None, (what, first.unit))), _cells(first)[6]]
        for name in names:
            line += _beside(of.get(name, failures.get((bench, name))), ours=name in ours)
        lines.append(line)
    return _piped(lines)


def _beside(row: Row | None, *, ours: bool) -> list[str]:
    if row is None or row.spread is None:
        return ["failed" if row and row.failed else ""] + ["", ""] * ours
    median = shown(row.spread.median)
    if not ours:
        return [median]
    verdict = f"**{row.verdict}**" if row.passed is False else row.verdict
    return [median, times(row.ratio), f"{row.limit or ''} {verdict}".strip()]


def _piped(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
