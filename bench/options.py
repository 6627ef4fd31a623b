"""What was asked of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure: `quick` is fewer and shorter runs, `base` another checkout of wgpy.

    `alone` leaves other implementations out. `say` shows progress.
    """

    quick: bool
    base: Path | None
    alone: bool
    say: Callable[[str], None]

    def runs(self, many: int, few: int) -> int:
        """Return how often to measure."""
        return few if self.quick else many
