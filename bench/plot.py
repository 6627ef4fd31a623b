"""The ratios to the yardstick as one SVG that needs nothing else, for light and dark pages.

Each limited figure has a bar for each of our kernels, from 1x to its ratio on a scale of
doublings, with a line from the lowest to the highest run and a tick at the limit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log2
from textwrap import wrap

from bench.figures import Row, Spread, shown
from bench.subjects import OURS, PORTABLE

WIDTH, LEFT, RIGHT, TOP = 920, 240, 210, 76
BAR, GAP = 12, 12
# Below the bars: the axis, and lines of so many characters about the machine.
AXIS, LINE, LETTERS = 26, 16, 130
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11px } .end { text-anchor: end } .middle { text-anchor: middle }
.page { fill: #ffffff } .grid { stroke: #d8dee4 } .one { stroke: #59636e; stroke-width: 1.5 }
.compiled { fill: #3b78d8 } .portable { fill: #d9902f }
.runs { stroke: #1f2328; stroke-opacity: 0.65; fill: none }
.limit { stroke: #1a7f37; stroke-width: 3 }
.FAIL { fill: #cf222e; font-weight: bold }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .page { fill: #0d1117 } .grid { stroke: #30363d }
  .one { stroke: #9198a1 } .compiled { fill: #4c8df5 } .portable { fill: #c98a2b }
  .runs { stroke: #e6edf3 } .limit { stroke: #56d364 } .FAIL { fill: #ff7b72 }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `limit` is a ratio as well, whatever it limits."""

    row: Row
    ratio: Spread
    limit: float


def plot(rows: Sequence[Row], machine: dict[str, str], yardstick: str) -> str:
    """Return the SVG of all limited figures that have a ratio."""
    groups = _groups(rows, yardstick)
    bars = [bar for group in groups.values() for bar in group]
    values = [1 / 1.9, 1.9]
    for bar in bars:
        values += [bar.ratio.low, bar.ratio.high, bar.limit]
    scale = Scale(floor(log2(min(values))), ceil(log2(max(values))))
    told = wrap("; ".join(f"{name}: {what}" for name, what in machine.items()), LETTERS)
    end = TOP + sum(len(group) * BAR + GAP for group in groups.values())
    height = end + AXIS + LINE * len(told) + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img">',
            f"<title>wgpy beside {escape(yardstick or 'nobody')}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}"/>',
            *_legend(yardstick),
            *_axis(scale, end),
            *_drawn(groups, scale),
            *(
                _text(12, end + AXIS + LINE * number, line, "small")
                for number, line in enumerate(told, 1)
            ),
            "</svg>\n",
        ]
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """From 2 ** `low` to 2 ** `high`."""

    low: int
    high: int

    def at(self, ratio: float) -> float:
        share = (log2(ratio) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def _groups(rows: Sequence[Row], yardstick: str) -> dict[tuple[str, str], list[Bar]]:
    theirs = {(row.bench, row.what): row for row in rows if row.who == yardstick}
    groups: dict[tuple[str, str], list[Bar]] = {}
    for row in rows:
        limit, ratio, other = row.limit, row.ratio, theirs.get((row.bench, row.what))
        if row.who not in (OURS, PORTABLE) or not (limit and ratio and other and other.spread):
            continue
        value = limit.value if limit.ratio else limit.value / other.spread.median
        if value > 0 and ratio.low > 0:
            groups.setdefault((row.bench, row.what), []).append(Bar(row, ratio, value))
    return groups


def _legend(yardstick: str) -> Iterator[str]:
    yield _text(12, 24, f"wgpy, times the figure of {yardstick or 'nobody'}")
    yield f'<rect class="compiled" x="12" y="36" width="24" height="{BAR}"/>'
    yield _text(42, 47, "compiled kernels")
    yield f'<rect class="portable" x="170" y="36" width="24" height="{BAR}"/>'
    yield _text(200, 47, "portable")
    yield _runs(290, 316, 42)
    yield _text(322, 47, "lowest to highest run")
    yield _line("limit", (470, 35), (470, 49))
    yield _text(478, 47, "limit: to be on its right (more), on its left (less)")


def _axis(scale: Scale, end: int) -> Iterator[str]:
    for power in range(scale.low, scale.high + 1):
        x = scale.at(2.0**power)
        yield _line("grid" if power else "one", (x, TOP - 8), (x, end))
        label = f"1/{2**-power}" if power < 0 else str(2**power)
        yield _text(x, end + 16, f"{label}x", "small middle")


def _drawn(groups: dict[tuple[str, str], list[Bar]], scale: Scale) -> Iterator[str]:
    y = float(TOP)
    for (_, what), bars in groups.items():
        limit = bars[0].row.limit
        wanted = "less" if limit and limit.at_most else "more"
        middle = y + len(bars) * BAR / 2 + 4
        yield _text(LEFT - 12, middle, f"{what} ({wanted})", "end")
        for bar in bars:
            yield from _bar(bar, scale, y)
            y += BAR
        y += GAP


def _bar(bar: Bar, scale: Scale, y: float) -> Iterator[str]:
    ends = sorted((scale.at(1), scale.at(bar.ratio.median)))
    kind = "compiled" if bar.row.who == OURS else "portable"
    yield (
        f'<rect class="{kind}" x="{ends[0]:.1f}" y="{y:.1f}"'
        f' width="{ends[1] - ends[0]:.1f}" height="{BAR - 2}"/>'
    )
    middle = y + BAR / 2 - 1
    yield _runs(scale.at(bar.ratio.low), scale.at(bar.ratio.high), middle)
    yield _line("limit", (scale.at(bar.limit), y - 1), (scale.at(bar.limit), y + BAR - 1))
    limit, spread = bar.row.limit, bar.row.spread
    said = f"{bar.ratio.median:.2f}x"
    if limit and spread:  # a limit of the figure itself is told with the figure
        said += (
            f", {limit}" if limit.ratio else f", {shown(spread.median)} {limit} {bar.row.unit}"
        )
    verdict = bar.row.verdict
    yield _text(WIDTH - RIGHT + 12, middle + 4, f"{said} {verdict}", f"small {verdict}")


def _runs(low: float, high: float, y: float) -> str:
    return f'<path class="runs" d="M{low:.1f} {y - 3:.1f}v6m0-3H{high:.1f}m0-3v6"/>'


def _line(kind: str, begin: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = begin, end
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
