"""The energy–quality frontier: minimise energy, maximise Q."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from registry.accounting.figures import Charge, RunFigures, charge
from registry.accounting.skyline import dominators, standing


@dataclass(frozen=True, kw_only=True)
class Point:
    """One configuration: the mean over its replicates, then over workloads where the study says so.

    `energy_sd_j` and `q_sd` are sample standard deviations over the `n` runs, `None` below two. A point that is not
    `complete` is shown but never stands on the frontier; `missing` says why.
    """

    key: str
    configuration: str
    pipeline: str
    student: str
    teacher: str
    hardware: str
    workloads: tuple[str, ...]
    run_ids: tuple[str, ...]
    left_out_run_ids: tuple[str, ...]  # partial replicates beside complete ones
    n: int
    energy_j: float | None
    energy_sd_j: float | None
    by_role_j: Mapping[str, float | None]
    q: float | None
    q_sd: float | None
    tokens: float | None
    tokens_nominal: bool
    complete: bool
    missing: tuple[str, ...]
    origins: tuple[str, ...]
    simulated: bool
    flagged: bool

    @property
    def j_per_token(self) -> float | None:
        """Energy over the tokens of the point's runs; `None` without both."""
        return None if self.energy_j is None or not self.tokens else self.energy_j / self.tokens


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a point stands. A dominated one names the nearest frontier point that beats it, and by how much."""

    point: Point
    on_frontier: bool
    dominated_by: Point | None = None
    energy_excess_j: float | None = None  # what it burns beyond the dominating point
    q_shortfall: float | None = None  # what it lacks in Q


Charged = tuple[RunFigures, Charge]


def points(
    runs: Iterable[RunFigures],
    scope: str,
    n: int | str = 1,
    average_workloads: bool = True,
    *,
    workloads: Sequence[str] = (),
) -> tuple[Point, ...]:
    """The configurations of `runs` as points, in order of first appearance. Simulated runs make points of their own.

    With `workloads` (those the study averages over), a configuration that lacks one is partial: a mean with a hole
    is not a mean. Raises `ScopeError` for an unknown scope or an N below 1.
    """
    groups: dict[tuple[str, str, str, str], list[Charged]] = {}
    for run in runs:
        workload, kind = "" if average_workloads else run.workload, "simulated" if run.simulated else ""
        key = (run.configuration, run.hardware, workload, kind)
        groups.setdefault(key, []).append((run, charge(run, scope, n)))
    wanted = tuple(workloads) if average_workloads else ()
    return tuple(_point(" · ".join(filter(None, key)), group, wanted) for key, group in groups.items())


def _usable(item: Charged) -> bool:
    run, charged = item
    return run.complete and run.q is not None and charged.energy_j is not None


def _point(key: str, group: list[Charged], wanted: tuple[str, ...]) -> Point:
    usable = [item for item in group if _usable(item)]
    counted = usable or group
    runs = [run for run, _ in counted]
    used = {run.run_id for run in runs}
    covered = tuple(dict.fromkeys(run.workload for run in runs))
    lacking = tuple(workload for workload in wanted if workload not in covered)
    energies, qualities = [c.energy_j for _, c in counted], [run.q for run in runs]
    return Point(
        key=key,
        configuration=runs[0].configuration,
        pipeline=runs[0].pipeline,
        student=runs[0].student,
        teacher=runs[0].teacher,
        hardware=runs[0].hardware,
        workloads=covered,
        run_ids=tuple(run.run_id for run in runs),
        left_out_run_ids=tuple(run.run_id for run, _ in group if run.run_id not in used),
        n=len(runs),
        energy_j=mean_over(runs, energies),
        energy_sd_j=spread(energies),
        by_role_j=_roles(counted),
        q=mean_over(runs, qualities),
        q_sd=spread(qualities),
        tokens=mean_over(runs, [run.tokens for run in runs]),
        tokens_nominal=any(run.tokens_nominal for run in runs),
        complete=bool(usable) and not lacking,
        missing=() if usable and not lacking else _missing(group, lacking),
        origins=tuple(dict.fromkeys(run.origin for run in runs)),
        simulated=runs[0].simulated,
        flagged=any(run.flagged for run in runs),
    )


def mean_over(runs: Sequence[RunFigures], values: Sequence[float | None]) -> float | None:
    """Mean over the replicates of each workload, then over workloads; `None` as soon as one value is."""
    by_workload: dict[str, list[float]] = {}
    for run, value in zip(runs, values, strict=True):
        if value is None:
            return None
        by_workload.setdefault(run.workload, []).append(value)
    return _average([_average(replicates) for replicates in by_workload.values()])


def _average(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def spread(values: Sequence[float | None]) -> float | None:
    """The sample standard deviation; `None` below two values, and as soon as one is `None`."""
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) == len(values) and len(known) > 1 else None


def _roles(counted: list[Charged]) -> dict[str, float | None]:
    """Mean energy by role in joules; a role that a run does not have costs it nothing."""
    runs = [run for run, _ in counted]
    roles = dict.fromkeys(role for _, charged in counted for role in charged.by_role)
    return {role: mean_over(runs, [charged.by_role.get(role, 0.0) for _, charged in counted]) for role in roles}


def _missing(group: list[Charged], lacking: tuple[str, ...]) -> tuple[str, ...]:
    holes = [f"workload {workload}" for workload in lacking]
    for run, charged in group:
        if _usable((run, charged)):
            continue
        holes += charged.missing
        if not run.complete:
            holes.append("stages that have not finished")
        if run.q is None:
            holes.append("Q")
    return tuple(dict.fromkeys(holes))


def frontier(candidates: Iterable[Point]) -> tuple[Placement, ...]:
    """Each point's placement, in the order given, in O(n log n).

    A point stands on the frontier when no other complete point has energy ≤ and Q ≥, one of them strictly. Exact ties
    are all kept; points that are partial or lack energy or Q never stand there and dominate nobody. Simulated points
    have a frontier of their own: they beat no measured one, and none beats them.
    """
    given = list(candidates)
    placed = [Placement(point=point, on_frontier=False) for point in given]
    for kind in (False, True):
        places = [place for place, point in enumerate(given) if _eligible(point) and point.simulated == kind]
        for place, placement in zip(places, _placed([given[place] for place in places]), strict=True):
            placed[place] = placement
    return tuple(placed)


def _eligible(point: Point) -> bool:
    return point.complete and point.energy_j is not None and point.q is not None


def _placed(eligible: list[Point]) -> list[Placement]:
    """Placements of points that all have energy and Q."""
    energy = np.array([point.energy_j for point in eligible], np.float64)
    q = np.array([point.q for point in eligible], np.float64)
    mask = standing(energy, q)
    above = dominators(energy, q, mask).tolist()
    return [
        Placement(point=point, on_frontier=True) if place < 0 else _beaten(point, eligible[place])
        for point, place in zip(eligible, above, strict=True)
    ]


def _beaten(point: Point, by: Point) -> Placement:
    return Placement(
        point=point,
        on_frontier=False,
        dominated_by=by,
        energy_excess_j=(point.energy_j or 0.0) - (by.energy_j or 0.0),
        q_shortfall=(by.q or 0.0) - (point.q or 0.0),
    )
