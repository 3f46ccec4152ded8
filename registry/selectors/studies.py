"""Studies as the pages and the REST layer see them: runs as figures, configurations as points on a frontier."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet

from registry.accounting.breakeven import ReuseBreakEven, reuse_break_even
from registry.accounting.canonical import flatten
from registry.accounting.figures import FULL, TEACHER, Charge, RunFigures, burnt
from registry.accounting.frontier import Placement, Point, points
from registry.accounting.frontier import frontier as place
from registry.accounting.stages import SFT
from registry.accounting.units import kwh
from registry.models import Run, Study
from registry.selectors.figures import Reader, figures, figures_by_study

__all__ = ["figures", "figures_by_study", "frontier"]


@dataclass(frozen=True, kw_only=True)
class Thinning:
    """What stands behind the points shown of a large study: configurations in all, partial ones, on the frontier.

    `stands_for` says by key how many configurations a shown point speaks for, itself among them.
    """

    configurations: int
    partial: int
    on_frontier: int
    frontier_shown: int
    stands_for: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class StudyFrontier:
    """A study's configurations under one scope. `placements` holds every point, the partial ones too.

    Measured and simulated runs never stand together: `simulated` says which are here, and `left_out` how many runs of
    the other kind are not. `hardware` lists the classes of hardware among the runs of this kind: with more than one,
    energies are not like for like. `burnt` is what the runs really burnt together, each artifact once; energies are in
    joules throughout.
    """

    slug: str
    scope: str
    n: int | str
    placements: tuple[Placement, ...]
    hardware: tuple[str, ...]
    burnt: Charge
    simulated: bool
    left_out: int
    thinning: Thinning | None = None  # of a study too large to show every point

    @property
    def standing(self) -> tuple[Placement, ...]:
        """Points that could be compared: complete, with energy and Q."""
        return tuple(p for p in self.placements if p.point.complete)

    @property
    def partial(self) -> tuple[Placement, ...]:
        """Points that lack something, which `point.missing` names; never on the frontier."""
        return tuple(p for p in self.placements if not p.point.complete)


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """N* of a distilled configuration against the baseline of the same student on the same hardware."""

    distilled: Point
    baseline: Point
    teacher_j: float | None
    result: ReuseBreakEven


def visible(user: Reader) -> QuerySet[Study]:
    """Studies `user` may see, newest first, with their project and the number of their runs."""
    studies: QuerySet[Study] = Study.objects.visible_to(user)
    return studies.select_related("project").annotate(run_count=Count("runs"))


def frontier(
    study: Study,
    *,
    user: Reader,
    scope: str = FULL,
    n: int | str = 1,
    hardware: str | None = None,
    simulated: bool | None = None,
) -> StudyFrontier:
    """The study's points under `scope` (and N), each placed. `hardware` keeps one class only.

    `simulated` chooses the simulated runs or the measured ones; without it, the measured ones where there are any.

    Raises `accounting.figures.ScopeError` for an unknown scope or an N below 1.
    """
    return frontier_of(study, figures(study, user), scope=scope, n=n, hardware=hardware, simulated=simulated)


def frontier_of(
    study: Study,
    runs: list[RunFigures],
    *,
    scope: str = FULL,
    n: int | str = 1,
    hardware: str | None = None,
    simulated: bool | None = None,
) -> StudyFrontier:
    """`frontier` over figures that were read already."""
    kind = shows_simulated(runs) if simulated is None else simulated
    of_kind = [run for run in runs if run.simulated == kind]
    classes = tuple(dict.fromkeys(run.hardware for run in of_kind))
    kept = [run for run in of_kind if hardware is None or run.hardware == hardware]
    workloads = tuple(dict.fromkeys(run.workload for run in kept)) if study.average_workloads else ()
    placements = place(points(kept, scope, n, study.average_workloads, workloads=workloads))
    return StudyFrontier(
        slug=study.slug,
        scope=scope,
        n=n,
        placements=placements,
        hardware=classes,
        burnt=burnt(kept),
        simulated=kind,
        left_out=len(runs) - len(of_kind),
    )


def shows_simulated(runs: list[RunFigures]) -> bool:
    """Whether these runs are shown as simulated ones unless somebody asks: only where none of them is measured."""
    return bool(runs) and all(run.simulated for run in runs)


def break_evens(full: StudyFrontier) -> tuple[BreakEven, ...]:
    """N* of every distilled configuration that has a baseline; `full` is the study's frontier in scope `full`."""
    candidates = [placement.point for placement in full.placements if placement.point.energy_j is not None]
    baselines = [point for point in candidates if point.pipeline == SFT]
    return tuple(
        _break_even(distilled, baseline)
        for distilled in candidates
        for baseline in baselines
        if distilled.by_role_j.get(TEACHER) is not None and _comparable(distilled, baseline)
    )


def _comparable(distilled: Point, baseline: Point) -> bool:
    ours, theirs = ((p.student, p.hardware, p.simulated, set(p.workloads)) for p in (distilled, baseline))
    return ours == theirs


def _break_even(distilled: Point, baseline: Point) -> BreakEven:
    teacher_j = distilled.by_role_j.get(TEACHER)
    result = reuse_break_even(
        teacher_j=teacher_j,
        baseline_student_j=baseline.by_role_j.get("student"),
        distilled_student_j=distilled.by_role_j.get("student"),
        baseline_q=baseline.q,
        distilled_q=distilled.q,
    )
    return BreakEven(distilled=distilled, baseline=baseline, teacher_j=teacher_j, result=result)


def distinctions(view: StudyFrontier) -> dict[str, str]:
    """What sets points apart that share pipeline and student (a sweep, other hardware), in words, by key."""
    alike: dict[tuple[str, str], list[Point]] = {}
    for placement in view.placements:
        alike.setdefault((placement.point.pipeline, placement.point.student), []).append(placement.point)
    groups = [group for group in alike.values() if len(group) > 1]
    first_runs = [point.run_ids[0] for group in groups for point in group]
    specs = {str(key): spec for key, spec in Run.objects.filter(pk__in=first_runs).values_list("pk", "spec")}
    return {key: words for group in groups for key, words in _apart(group, specs).items()}


def _apart(group: list[Point], specs: dict[str, Any]) -> dict[str, str]:
    facts = {point.key: _facts(point, specs.get(point.run_ids[0], {})) for point in group}
    names = dict.fromkeys(name for known in facts.values() for name in known)
    differing = [name for name in names if len({str(known.get(name)) for known in facts.values()}) > 1]
    return {
        key: ", ".join(
            f"{name.rpartition('.')[2].replace('_', ' ')} {known[name]}" for name in differing if name in known
        )
        for key, known in facts.items()
    }


def _facts(point: Point, spec: dict[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in flatten(spec).items() if name != "seed"}
    here = {"hardware": point.hardware, "workload": ", ".join(point.workloads)}
    return settings | here if settings else here | {"configuration": point.configuration[:8]}


def rows(view: StudyFrontier) -> list[dict[str, Any]]:
    """The points as JSON types: what the REST layer answers, what JSON and CSV downloads hold."""
    stands_for = view.thinning.stands_for if view.thinning else {}
    return [_row(p) | {"stands_for": stands_for.get(p.point.key, 1)} for p in view.placements]


def thinning(view: StudyFrontier) -> dict[str, Any] | None:
    """What the points leave out, as JSON types; `None` where every configuration is among them."""
    found = view.thinning
    if found is None:
        return None
    return {
        "configurations": found.configurations,
        "incomplete": found.partial,
        "shown": len(view.placements),
        "on_frontier": found.on_frontier,
        "frontier_shown": found.frontier_shown,
    }


def _row(placement: Placement) -> dict[str, Any]:
    point, above = placement.point, placement.dominated_by
    return {
        "key": point.key,
        "pipeline": point.pipeline,
        "student": point.student,
        "teacher": point.teacher,
        "workloads": list(point.workloads),
        "hardware": point.hardware,
        "n": point.n,
        "energy_kwh": _kwh(point.energy_j),
        "energy_sd_kwh": _kwh(point.energy_sd_j),
        "energy_by_role_kwh": {role: _kwh(energy) for role, energy in point.by_role_j.items()},
        "q": point.q,
        "q_sd": point.q_sd,
        "tokens": point.tokens,
        "tokens_nominal": point.tokens_nominal,
        "j_per_token": point.j_per_token,
        "on_frontier": placement.on_frontier,
        "dominated_by": None if above is None else above.key,
        "energy_excess_kwh": _kwh(placement.energy_excess_j),
        "q_shortfall": placement.q_shortfall,
        "complete": point.complete,
        "missing": list(point.missing),
        "origins": list(point.origins),
        "simulated": point.simulated,
        "flagged": point.flagged,
        "run_ids": list(point.run_ids),
        "left_out_run_ids": list(point.left_out_run_ids),
    }


def _kwh(energy_j: float | None) -> float | None:
    return None if energy_j is None else kwh(energy_j)
