"""A study as measured, and the same study under factors on its stages, side by side."""

from dataclasses import dataclass
from typing import Any

from registry.accounting.figures import FULL, RunFigures
from registry.accounting.transfer import Factors, transferred
from registry.accounting.units import kwh
from registry.models import Study
from registry.selectors.studies import BreakEven, StudyFrontier, break_evens, frontier_of


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One configuration: its energy in joules and whether it stands on the frontier, before and after."""

    key: str
    pipeline: str
    student: str
    hardware: str
    q: float | None
    before_j: float | None
    after_j: float | None
    stood: bool
    stands: bool


@dataclass(frozen=True, kw_only=True)
class BreakEvenPair:
    """N* of one distilled configuration, as measured and under the factors."""

    before: BreakEven
    after: BreakEven


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Both frontiers under one scope and N, what moved, and both N*. The second is a calculation, never a record."""

    factors: Factors
    before: StudyFrontier
    after: StudyFrontier
    points: tuple[Moved, ...]
    pairs: tuple[BreakEvenPair, ...]


def transfer(study: Study, runs: list[RunFigures], factors: Factors, **asked: Any) -> Transfer:
    """`runs` before and after `factors`; `asked` is what `studies.frontier_of` takes. Raises `ScopeError`."""
    moved = transferred(runs, factors)
    before, after = (frontier_of(study, figures, **asked) for figures in (runs, moved))
    once = {**asked, "scope": FULL, "n": 1}
    pairs = [break_evens(frontier_of(study, figures, **once)) for figures in (runs, moved)]
    return Transfer(
        factors=factors,
        before=before,
        after=after,
        points=tuple(_moved(one, other) for one, other in zip(before.placements, after.placements, strict=True)),
        pairs=tuple(BreakEvenPair(before=one, after=other) for one, other in zip(*pairs, strict=True)),
    )


def _moved(before: Any, after: Any) -> Moved:
    point = before.point
    return Moved(
        key=point.key,
        pipeline=point.pipeline,
        student=point.student,
        hardware=point.hardware,
        q=point.q,
        before_j=point.energy_j,
        after_j=after.point.energy_j,
        stood=before.on_frontier,
        stands=after.on_frontier,
    )


def document(study: Study, found: Transfer) -> dict[str, Any]:
    """The same as JSON types, in kWh."""
    return {
        "study": study.slug,
        "scope": found.after.scope,
        "n": str(found.after.n),
        "simulated": found.after.simulated,
        "factors": dict(found.factors.by_role),
        "measured": found.factors.as_measured,
        "points": [_point(point) for point in found.points],
        "break_even": [_pair(pair) for pair in found.pairs],
    }


def _point(point: Moved) -> dict[str, Any]:
    return {
        "key": point.key,
        "pipeline": point.pipeline,
        "student": point.student,
        "hardware": point.hardware,
        "q": point.q,
        "energy_kwh": _kwh(point.before_j),
        "transferred_kwh": _kwh(point.after_j),
        "on_frontier": point.stood,
        "transferred_on_frontier": point.stands,
    }


def _pair(pair: BreakEvenPair) -> dict[str, Any]:
    return {
        "distilled": pair.before.distilled.key,
        "baseline": pair.before.baseline.key,
        "delta_q": pair.before.result.delta_q,
        **{
            name: {
                "verdict": one.result.verdict,
                "count": one.result.count,
                "exact": None if one.result.exact is None else float(one.result.exact),
            }
            for name, one in (("measured", pair.before), ("transferred", pair.after))
        },
    }


def _kwh(energy_j: float | None) -> float | None:
    return None if energy_j is None else kwh(energy_j)
