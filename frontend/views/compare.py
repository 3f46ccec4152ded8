"""Runs side by side."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from frontend import study_charts
from frontend.charts import PIPELINE_NAMES
from frontend.charts_study import StageLine, overlay_chart
from registry.selectors import comparison
from registry.selectors.comparison import Overlay
from registry.selectors.runs import RunDetail

GROUPS = {
    comparison.RESULT: _("Result"),
    comparison.STAGES: _("Stages"),
    comparison.SCORES: _("Scores"),
    comparison.SETTINGS: _("Settings"),
    comparison.ENVIRONMENT: _("Environment"),
}
OVERLAY_TITLE = _("Each run from the moment its stage began; nothing bridges a gap. The energies stand in the table.")


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """Up to twenty runs named by `?run=`, what differs or (`?all=1`) everything, with their power by stage."""
    try:
        context = compared(request)
    except ValueError as error:
        return render(request, "runs/compare.html", {"problem": str(error)}, status=400)
    found: comparison.Comparison = context["found"]
    charts = charts_of(found, [name for name, _detail in context["names"]])
    context |= {"groups": GROUPS, "charts": charts, "overlay_title": OVERLAY_TITLE}
    return render(request, "runs/compare.html", context)


def compared(request: HttpRequest) -> dict[str, Any]:
    """The facts of the runs asked for. Raises `ValueError` for too many."""
    found = comparison.compare(request.GET.getlist("run"), request.user)
    everything = bool(request.GET.get("all"))
    return {
        "found": found,
        "rows": found.rows if everything else found.differing,
        "hidden": 0 if everything else len(found.rows) - len(found.differing),
        "everything": everything,
        "names": list(zip(names_of(found.runs), found.runs, strict=True)),
    }


def charts_of(found: comparison.Comparison, names: list[str]) -> list[tuple[str, str, str, Any]]:
    """The power of each stage that several runs have a trace of."""
    power = comparison.power(found)
    return [_chart(place, kind, _lines(each, found, names)) for place, (kind, each) in enumerate(power.items())]


def _chart(place: int, kind: str, lines: list[StageLine]) -> tuple[str, str, str, Any]:
    """Stage kind, names of the chart and of its JSON, and the figure."""
    return kind, f"power-{place}", f"figure-power-{place}", study_charts.as_json(overlay_chart(lines))


def names_of(runs: tuple[RunDetail, ...]) -> list[str]:
    """Pipeline and student, with a number where several are called the same."""
    plain = [
        f"{PIPELINE_NAMES.get(d.run.pipeline, d.run.pipeline)} {d.run.student_size or d.run.student}" for d in runs
    ]
    return [
        f"{name} ({plain[: place + 1].count(name)})" if plain.count(name) > 1 else name
        for place, name in enumerate(plain)
    ]


def _lines(overlays: tuple[Overlay, ...], found: comparison.Comparison, names: list[str]) -> list[StageLine]:
    name_of = {detail.run.pk: name for detail, name in zip(found.runs, names, strict=True)}
    return [
        StageLine(
            run=name_of[overlay.run.run.pk],
            device=line.line.component.upper(),
            seconds=line.drawn.times_s,
            power_w=line.drawn.power_w,
            gaps_s=line.drawn.gaps,
        )
        for overlay in overlays
        for line in overlay.lines
    ]
