"""The shapes that every integration shares: the window of a stage, and an energy with its bounds."""

from dataclasses import dataclass, field

Flags = list[dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Window:
    """The stage in monotonic seconds, and how far apart samples were meant to be."""

    start: float
    end: float
    period_s: float

    @property
    def duration_s(self) -> float:
        """End minus start."""
        return self.end - self.start

    @property
    def gap_s(self) -> float:
        """Samples further apart than this leave a gap: two periods, and 50 ms for the scheduler."""
        return 2 * self.period_s + 0.05


@dataclass(frozen=True, kw_only=True)
class Energy:
    """A figure in joules with bounds; `None` where it could not be had."""

    value_j: float | None
    lower_j: float | None = None
    upper_j: float | None = None
    method: str = ""
    cross_check_j: float | None = None  # the averaged power, integrated
    instant_j: float | None = None  # the instant power, integrated
    flags: Flags = field(default_factory=list)
