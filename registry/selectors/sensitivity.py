"""What settings and workloads do in a study, and what it advises: spots with the specs of their runs."""

from dataclasses import dataclass, replace
from typing import Any

from registry.accounting.advice import Advice, Wish, advise
from registry.accounting.axes import Axes
from registry.accounting.canonical import flatten
from registry.accounting.frontier import Point
from registry.accounting.outlook import Spot, outlook, spots_of
from registry.accounting.sensitivity import Sensitivity, sensitivities
from registry.models import Run, Study
from registry.selectors.outlook import StudyOutlook


@dataclass(frozen=True, kw_only=True)
class WorkloadRow:
    """A configuration on each workload of the study, and their mean; `None` where it was not run on one."""

    point: Point
    by_workload: tuple[Spot | None, ...]
    mean: Spot


def of_settings(view: StudyOutlook) -> tuple[Sensitivity, ...]:
    """Every setting that varies within the study, by pipeline; workloads are held apart."""
    spots = spots_of(view.runs, view.assumed.axes, average_workloads=False)
    first_runs = {spot.point.run_ids[0]: spot.point.key for spot in spots}
    specs = Run.objects.filter(pk__in=list(first_runs)).exclude(spec={}).values_list("pk", "spec")
    facts: dict[str, dict[str, Any]] = {first_runs[str(key)]: flatten(spec) for key, spec in specs}
    return sensitivities(spots, facts)


def of_workloads(view: StudyOutlook) -> tuple[tuple[str, ...], tuple[WorkloadRow, ...]]:
    """The study's workloads, and each configuration on each of them beside the mean, as the paper averages."""
    names = tuple(sorted({run.figures.workload for run in view.runs}))
    apart = spots_of(view.runs, view.assumed.axes, average_workloads=False)
    found = {(*_identity(spot.point), *spot.point.workloads): spot for spot in apart}
    whole = outlook(view.runs, view.assumed.axes, average_workloads=True, workloads=names)
    rows = (
        WorkloadRow(
            point=spot.point,
            by_workload=tuple(found.get((*_identity(spot.point), name)) for name in names),
            mean=spot,
        )
        for spot in whole.spots
    )
    return names, tuple(rows)


def _identity(point: Point) -> tuple[str, str]:
    return point.configuration, point.hardware


def advice(view: StudyOutlook, study: Study, wish: Wish) -> Advice:
    """What the study's measurements advise for `wish`, in energy and Q, whatever axes the page shows."""
    workloads = tuple(dict.fromkeys(run.figures.workload for run in view.runs)) if study.average_workloads else ()
    seen = outlook(
        view.runs,
        replace(Axes(), prices=view.assumed.axes.prices),
        average_workloads=study.average_workloads,
        workloads=workloads,
    )
    return advise(seen.spots, wish)
