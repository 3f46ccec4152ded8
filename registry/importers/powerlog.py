"""Energy out of sampled power: the trapezoid rule, split at gaps, so that nothing is bridged.

E = Σ (P_i + P_{i+1})/2 · (t_{i+1} − t_i) over neighbours no further apart than twice the usual distance (the median).
What a gap hid is in no sum: the figure is a lower bound wherever `coverage` is below 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from registry.importers.findings import flag

ENOUGH = 0.98  # coverage below this is flagged


@dataclass(frozen=True, kw_only=True)
class Power:
    """Energy in joules with how well it was sampled. Times are in seconds since 1970."""

    energy_j: float
    started_s: float
    ended_s: float
    samples: int
    period_s: float
    coverage: float
    longest_gap_s: float
    flags: list[dict[str, str]] = field(default_factory=list)


def integrate(
    samples: Iterable[tuple[float, float]], start_s: float | None = None, end_s: float | None = None
) -> Power | None:
    """The energy of samples (seconds, watts) between two times, or of all; `None` for fewer than two samples."""
    kept = sorted({t: w for t, w in samples if w >= 0}.items())
    inside = [(t, w) for t, w in kept if (start_s is None or t >= start_s) and (end_s is None or t <= end_s)]
    if len(inside) < 2:
        return None
    begin = inside[0][0] if start_s is None else start_s
    finish = inside[-1][0] if end_s is None else end_s
    steps = [(b[0] - a[0], (a[1] + b[1]) / 2) for a, b in pairwise(inside)]
    period = median(step for step, _ in steps)
    whole = [(step, watts) for step, watts in steps if step <= 2 * period]
    covered = sum(step for step, _ in whole)
    edges = [inside[0][0] - begin, finish - inside[-1][0]]
    coverage = min(1.0, covered / (finish - begin)) if finish > begin else 1.0
    longest = max(*edges, *(step for step, _ in steps))
    text = (
        f"{coverage:.1%} of the time is backed by samples, the longest gap is {longest:.1f} s; what it hid is missing"
    )
    return Power(
        energy_j=sum(step * watts for step, watts in whole),
        started_s=begin,
        ended_s=finish,
        samples=len(inside),
        period_s=period,
        coverage=coverage,
        longest_gap_s=longest,
        flags=[flag("low_coverage", text)] if coverage < ENOUGH else [],
    )
