"""The charts of a study's page, as JSON for the browser."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from frontend.charts import AmortisationCurve, Bar, amortisation_curves, frontier_chart, stage_breakdown
from frontend.charts_study import FloorBar, SplitBar
from registry.accounting.breakeven import amortised_series
from registry.accounting.figures import TEACHER
from registry.accounting.frontier import Placement, Point
from registry.accounting.split import Part
from registry.accounting.stages import KD, SYNTHETIC_SFT
from registry.selectors.studies import BreakEven, StudyFrontier

TEACHER_STAGE = {KD: "logit_caching", SYNTHETIC_SFT: "teacher_generation"}
STAGE_OF_ROLE = {"data": "preprocess", "student": "student_training", "evaluation": "evaluation"}
SHORT = {"sft": "SFT", "kd": "KD", "synthetic_sft": "Syn. SFT"}


def of(view: StudyFrontier, pairs: tuple[BreakEven, ...]) -> dict[str, Any]:
    """Figures by name; one that would be empty is left out."""
    charts: dict[str, Any] = {}
    if any(p.point.energy_j is not None and p.point.q is not None for p in view.placements):
        charts["frontier"] = as_json(frontier_chart(view.placements))
    bars = [_bar(placement.point) for placement in view.placements if placement.point.by_role_j]
    if bars:
        charts["stages"] = as_json(stage_breakdown(bars))
    curves = _curves(pairs)
    if curves:
        charts["amortisation"] = as_json(amortisation_curves(curves))
    return charts


def as_json(figure: Any) -> dict[str, Any]:
    """A plotly figure as plain JSON types."""
    plain: dict[str, Any] = json.loads(figure.to_json())
    return plain


def split_bars(
    placements: Iterable[Placement], splits: Mapping[str, Mapping[str, Part]], *, net: bool
) -> list[SplitBar]:
    """One bar for each point: what was useful by stage, or what is left net of idle, and what lost attempts burnt."""
    return [_split_bar(p.point, splits[p.point.key], net=net) for p in placements if splits.get(p.point.key)]


def floor_bars(placements: Iterable[Placement], splits: Mapping[str, Mapping[str, Part]]) -> list[FloorBar]:
    """One bar for each stage of each point that has a floor; the others stand in the table."""
    return [
        FloorBar(label=f"{label(p.point)}, {role}", energy_j=part.energy_j, floor_j=part.floor_j)
        for p in placements
        for role, part in splits.get(p.point.key, {}).items()
        if part.energy_j is not None and part.floor_j is not None
    ]


def _split_bar(point: Point, parts: Mapping[str, Part], *, net: bool) -> SplitBar:
    stages = STAGE_OF_ROLE | {"teacher": TEACHER_STAGE.get(point.pipeline, "teacher")}
    kept = {stages.get(role, role): part.net_j if net else part.useful_j for role, part in parts.items()}
    lost = None if net else math.fsum(part.lost_j or 0.0 for part in parts.values())
    return SplitBar(label=label(point), parts=kept, lost=lost)


def label(point: Point) -> str:
    """Pipeline and student, as under a bar."""
    return f"{SHORT.get(point.pipeline, point.pipeline)} {point.student}"


def _bar(point: Point) -> Bar:
    stages = STAGE_OF_ROLE | {"teacher": TEACHER_STAGE.get(point.pipeline, "teacher")}
    return Bar(label=label(point), parts_j={stages.get(role, role): energy for role, energy in point.by_role_j.items()})


def _curves(pairs: tuple[BreakEven, ...]) -> list[AmortisationCurve]:
    """Each distilled point with its baseline, over N up to a little beyond the largest N*."""
    counts = [pair.result.count for pair in pairs if pair.result.count]
    last = min(max([12, *(count + 2 for count in counts)]), 60)
    curves = [_distilled(pair, last) for pair in pairs]
    for baseline in {pair.baseline.key: pair.baseline for pair in pairs}.values():
        curves.append(_flat(baseline, last))
    return curves


def _distilled(pair: BreakEven, last: int) -> AmortisationCurve:
    point, teacher_j = pair.distilled, pair.teacher_j or 0.0
    rest_j = sum(energy for role, energy in point.by_role_j.items() if role != TEACHER and energy is not None)
    series = amortised_series(teacher_j, rest_j, range(1, last + 1))
    return AmortisationCurve(
        label=label(point),
        pipeline=point.pipeline,
        student=point.student,
        points=series,
        break_even=pair.result.count,
        asymptote_j=rest_j,
    )


def _flat(baseline: Point, last: int) -> AmortisationCurve:
    energy_j = baseline.energy_j or 0.0
    points = [(n, energy_j) for n in (1, last)]
    return AmortisationCurve(label=label(baseline), pipeline=baseline.pipeline, student=baseline.student, points=points)
