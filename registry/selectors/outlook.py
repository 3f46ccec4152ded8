"""A study as its reader looks at it: any axes, how sure each place is, and whether the runs compare at all."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from registry.accounting.assumptions import NOT_STATED, Assumptions
from registry.accounting.axes import ENERGY, SUITE
from registry.accounting.comparability import DATASET, HARDWARE, SOFTWARE, TEACHER, Mix, fingerprint, mixes
from registry.accounting.figures import TEACHER as TEACHER_ROLE
from registry.accounting.figures import RunFigures
from registry.accounting.frontier import Point
from registry.accounting.measures import RunMeasures
from registry.accounting.outlook import Outlook, Spot, outlook
from registry.accounting.payback import CountInterval, Substitution, count_interval, substitutions
from registry.accounting.sci import Intensity, sci
from registry.accounting.split import Part, split
from registry.accounting.uncertainty import QUICK, Bounds, Noise, bounds_of, noise
from registry.models import Run, Study
from registry.selectors import noises
from registry.selectors.measures import MOST_RUNS, measures
from registry.selectors.studies import BreakEven, shows_simulated


@dataclass(frozen=True, kw_only=True)
class StudyOutlook:
    """A study on two axes. `bounds` are by point; `mixes` say in what the runs differ that should not.

    `unread` says that the study has too many runs for records and scores to be read: then nothing is known of noise,
    bounds or mixes, and no axis but energy against Q can be had. `noise_key` names draws that are still pending.
    """

    slug: str
    assumed: Assumptions
    runs: tuple[RunMeasures, ...]
    seen: Outlook
    noise: Noise
    bounds: Mapping[str, Bounds]
    mixes: tuple[Mix, ...]
    unread: bool
    noise_key: str = ""


def kept(runs: Sequence[RunFigures], assumed: Assumptions) -> list[RunFigures]:
    """The runs that are looked at: measured or simulated, of the hardware that was chosen."""
    simulated = shows_simulated(list(runs)) if assumed.simulated is None else assumed.simulated
    return [
        run
        for run in alike(runs, assumed.alike)
        if run.simulated == simulated and (not assumed.hardware or run.hardware == assumed.hardware)
    ]


def alike(runs: Sequence[RunFigures], likeness: Mapping[str, str]) -> list[RunFigures]:
    """The runs of the software, dataset and teacher that were chosen (`LIKENESS`); all where none was."""
    if not likeness:
        return list(runs)
    prints = dict(_prints(runs))
    wanted = {what: "" if words == NOT_STATED else words for what, words in likeness.items()}
    return [run for run in runs if wanted.items() <= prints[run.run_id].items()]


def of_study(study: Study, runs: Sequence[RunFigures], assumed: Assumptions) -> StudyOutlook:
    """The study as `assumed`, over figures that were read already.

    Raises `TooManyRuns` where an axis is asked for that needs the records of more runs than can be read.
    """
    chosen = kept(runs, assumed)
    plain = (assumed.axes.cost, assumed.axes.quality) == (ENERGY, SUITE)
    unread = plain and len(chosen) > MOST_RUNS
    read = [RunMeasures(figures=run) for run in chosen] if unread else measures(study, chosen, share=assumed.share)
    workloads = tuple(dict.fromkeys(run.workload for run in chosen)) if study.average_workloads else ()
    seen = outlook(
        read,
        assumed.axes,
        average_workloads=study.average_workloads,
        workloads=workloads,
        reference=assumed.reference,
    )
    drawn, key = (_nothing_drawn(), "") if unread else _noise(study, seen, assumed)
    return StudyOutlook(
        slug=study.slug,
        assumed=assumed,
        runs=tuple(read),
        seen=seen,
        noise=drawn,
        noise_key=key if drawn.pending else "",
        bounds={} if unread else _bounds(seen),
        mixes=() if unread else _mixes(chosen),
        unread=unread,
    )


def _noise(study: Study, seen: Outlook, assumed: Assumptions) -> tuple[Noise, str]:
    """What was drawn, here or by the courier, or that it is pending; and the key it is kept under."""
    drawn = noise(seen, suite=study.suite, assumed_points=assumed.error_points, most=QUICK)
    if not drawn.pending:
        return drawn, ""
    key = noises.key_of(study, seen, assumed)
    return noises.found(study, key) or drawn, key


def _nothing_drawn() -> Noise:
    return Noise(draws=0, sources=())


def _bounds(seen: Outlook) -> dict[str, Bounds]:
    found = {spot.point.key: bounds_of(spot, seen.axes) for spot in seen.spots}
    return {key: bounds for key, bounds in found.items() if bounds is not None}


def _mixes(runs: Sequence[RunFigures]) -> tuple[Mix, ...]:
    """In what the runs' environments, datasets and teachers differ."""
    return mixes(_prints(runs))


def _prints(runs: Sequence[RunFigures]) -> list[tuple[str, dict[str, str]]]:
    """Each run with its fingerprints."""
    rows = Run.objects.filter(pk__in=[run.run_id for run in runs]).order_by("id")
    found = []
    for key, environment, teacher, dataset in rows.values_list("pk", "environment", "teacher", "spec__dataset__id"):
        facts: dict[str, Any] = {**(environment or {}), "teacher": teacher, "dataset": dataset}
        found.append((str(key), {what: fingerprint(facts, what) for what in (HARDWARE, SOFTWARE, DATASET, TEACHER)}))
    return found


def fingerprints(view: StudyOutlook, what: str) -> dict[str, str]:
    """By point, its runs' fingerprint of that kind; several are joined."""
    of_run = {
        run: words for mix in view.mixes if mix.what == what for words, runs in mix.runs_of.items() for run in runs
    }
    return {
        spot.point.key: " / ".join(dict.fromkeys(of_run.get(run, "") for run in spot.point.run_ids))
        for spot in view.seen.spots
    }


def rows(view: StudyOutlook) -> list[dict[str, Any]]:
    """The spots as JSON types: what REST answers and the page's table shows."""
    return [_row(spot, view) for spot in view.seen.spots]


def _row(spot: Spot, view: StudyOutlook) -> dict[str, Any]:
    sure, bounds = view.noise.of.get(spot.point.key), view.bounds.get(spot.point.key)
    return {
        "key": spot.point.key,
        "pipeline": spot.point.pipeline,
        "student": spot.point.student,
        "hardware": spot.point.hardware,
        "workloads": list(spot.point.workloads),
        "n": spot.point.n,
        "cost": spot.cost,
        "cost_sd": spot.cost_sd,
        "cost_interval": [sure.cost.lower, sure.cost.upper] if sure and sure.cost else None,
        "quality": spot.quality,
        "quality_sd": spot.point.q_sd,
        "quality_interval": [sure.quality.lower, sure.quality.upper] if sure and sure.quality else None,
        "energy_bounds_kwh": [bounds.lower_kwh, bounds.upper_kwh] if bounds else None,
        "bounded_share": bounds.share if bounds else None,
        "on_frontier": spot.on_front,
        "probability": sure.probability if sure and view.noise.draws else None,
        "verdict": sure.verdict if sure else None,
        "dominated_by": None if spot.beaten_by is None else spot.beaten_by.key,
        "cost_excess": spot.cost_excess,
        "quality_shortfall": spot.quality_shortfall,
        "complete": spot.complete,
        "missing": list(spot.missing),
        "run_ids": list(spot.point.run_ids),
    }


@dataclass(frozen=True, kw_only=True)
class Payback:
    """A break-even by reuse with the interval that replicates and bounds give N*, and what N = ∞ would leave.

    `floor_j` is the energy per student when infinitely many share the teacher's work.
    """

    pair: BreakEven
    interval: CountInterval | None
    floor_j: float | None


def paybacks(view: StudyOutlook, pairs: Sequence[BreakEven]) -> list[Payback]:
    """The pairs of `studies.break_evens` with their intervals."""
    by_run = {run.figures.run_id: run for run in view.runs}

    def runs_of(point: Point) -> list[RunMeasures]:
        return [by_run[key] for key in point.run_ids if key in by_run]

    return [
        Payback(
            pair=pair,
            interval=None if view.unread else count_interval(runs_of(pair.distilled), runs_of(pair.baseline)),
            floor_j=_without_teacher(pair.distilled),
        )
        for pair in pairs
    ]


def _without_teacher(point: Point) -> float | None:
    parts = [energy for role, energy in point.by_role_j.items() if role != TEACHER_ROLE]
    known = [energy for energy in parts if energy is not None]
    return math.fsum(known) if len(known) == len(parts) else None


def substitutes(view: StudyOutlook) -> tuple[Substitution, ...]:
    """T* of every student in the place of a larger baseline, under the reader's tolerance (none is zero) and rates."""
    assumed = view.assumed
    own = {"j_student": assumed.j_student, "j_reference": assumed.j_reference}
    return substitutions(view.seen.standing, tolerance=assumed.tolerance or 0.0, **own)


def splits(view: StudyOutlook) -> dict[str, Mapping[str, Part]]:
    """By point, its energy by role with what was lost and what the hosts would have drawn at rest."""
    return {spot.point.key: split(spot, view.assumed.axes) for spot in view.seen.spots}


def intensities(view: StudyOutlook) -> dict[str, Intensity]:
    """By point, its SCI; empty without a grid factor."""
    found = {s.point.key: sci(s, view.assumed.axes, view.assumed.functional_unit) for s in view.seen.spots}
    return {key: intensity for key, intensity in found.items() if intensity is not None}
