"""Studies: the list, and the page with the frontier. Every set of assumptions is an address."""

import csv
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from frontend import study_charts
from frontend.charts import energy_unit
from frontend.charts_study import cost_unit, floor_chart, outlook_chart, quality_title, split_chart
from frontend.forms import KINDS, ViewForm
from frontend.forms_analysis import UNITS, AnalysisForm
from frontend.views import studies_large
from frontend.views.paging import page_of
from registry.accounting.axes import TITLES
from registry.accounting.carbon import co2e_kg
from registry.accounting.figures import FULL, TEACHER, RunFigures, total
from registry.accounting.frontier import Placement
from registry.accounting.outlook import Spot
from registry.accounting.sci import Intensity
from registry.accounting.uncertainty import Bounds, Sureness
from registry.models import Study
from registry.selectors import factors, home, large, noises, outlook, runs, studies
from registry.selectors.measures import TooManyRuns
from registry.services import draws
from registry.tables import neutral

# What a download holds of the axes beside the points in energy.
ON_AXES = ("cost", "cost_sd", "quality", "on_frontier", "dominated_by", "probability", "verdict", "cost_excess")
MOST_BARS = 24
COUNTS = (1, 2, 5, 10, 30, 100, 1000)  # students, in the table of the amortisation
TITLES_OF_CHARTS = {
    "frontier": _(
        "Quality against cost: the line is the frontier, pale points are dominated, ringed ones are not decided"
    ),
    "stages": _("Energy by stage, under the chosen scope"),
    "floor": _(
        "What an ideal run of the same work would have needed on the same device, and what was burnt above it; stages "
        "without a floor stand in the table alone"
    ),
    "amortisation": _("Energy per student when N students share the teacher's work; a star marks N*"),
}


@dataclass(frozen=True, kw_only=True)
class PointRow:
    """One line of the study's table."""

    placement: Placement
    spot: Spot
    sure: Sureness | None
    bounds: Bounds | None
    co2e_kg: float | None
    sci: Intensity | None
    group: str  # what it is coloured by, where that is not its pipeline


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """All studies, each with its small frontier."""
    page = page_of(request, studies.visible(request.user))
    return render(request, "studies/list.html", {"cards": home.cards(page.rows, request.user), "page": page})


@require_safe
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    """A study's frontier, table, stages and break-even points; the fragment alone for htmx."""
    study = study_of(request, slug)
    if large.is_large(study):
        return studies_large.detail(request, study)
    figures = studies.figures(study, request.user)
    form = form_of(request, study, figures)
    context = {"study": study, "form": form, "run_count": study.runs.count()}
    context |= view_of(request, study, figures, form)
    fragment = bool(getattr(request, "htmx", None)) and not request.htmx.boosted  # type: ignore[attr-defined]
    template = "studies/_view.html" if fragment else "studies/detail.html"
    response = render(request, template, context, status=200 if form.is_valid() else 400)
    response["Vary"] = "HX-Request"
    return response


@require_safe
def drawn(request: HttpRequest, slug: str) -> HttpResponse:
    """What a page with pending draws asks every two seconds: 204, and to load again once they are there."""
    study, key = study_of(request, slug), request.GET.get("key", "").replace("\x00", "")[:100]
    response = HttpResponse(status=204)
    if not noises.current(study, key) or noises.found(study, key):
        response["HX-Refresh"] = "true"
    return response


@require_safe
def points_json(request: HttpRequest, slug: str) -> HttpResponse:
    """The points of the same view as JSON; of a very large study those that are shown, each with what it stands for."""
    study, form, view = _points(request, slug)
    if view is None:
        return JsonResponse({"errors": form.errors}, status=400)
    assumptions = {"scope": view.scope, "n": view.n, **_axes(form), "hardware": form.assumptions["hardware"]}
    assumptions |= {"simulated": view.simulated, "left_out_runs": view.left_out, "thinned": studies.thinning(view)}
    response = JsonResponse({"study": study.slug, **assumptions, "points": _exported(request, study, form, view)})
    return _as_file(response, f"{study.slug}-{view.scope}.json")


@require_safe
def points_csv(request: HttpRequest, slug: str) -> HttpResponse:
    """As `points_json`, as CSV, safe to open in a spreadsheet."""
    study, form, view = _points(request, slug)
    if view is None:
        return JsonResponse({"errors": form.errors}, status=400)
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    write_csv(response, _exported(request, study, form, view))
    return _as_file(response, f"{study.slug}-{view.scope}.csv")


def _axes(form: ViewForm) -> dict[str, str]:
    if not isinstance(form, AnalysisForm):
        return {}
    axes = form.assumptions["assumed"].axes
    return {"cost": axes.cost, "quality": axes.quality}


def _exported(request: HttpRequest, study: Study, form: ViewForm, view: studies.StudyFrontier) -> list[dict[str, Any]]:
    """The points in energy, with where they stand on the axes that were asked for."""
    plain = studies.rows(view)
    if not isinstance(form, AnalysisForm):  # of a very large study, which has no other axes
        return plain
    try:
        seen = outlook.of_study(study, studies.figures(study, request.user), form.assumptions["assumed"])
    except TooManyRuns:
        return plain
    on_axes = {row["key"]: row for row in outlook.rows(seen)}
    return [row | {name: on_axes[row["key"]][name] for name in ON_AXES} for row in plain]


def write_csv(target: Any, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV: lists joined, energies by role in columns of their own, no cell a spreadsheet would run."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    writer = csv.writer(target)
    writer.writerow(columns)
    writer.writerows([neutral(row.get(name)) for name in columns] for row in flat)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    by_role = {f"{role}_kwh": energy for role, energy in row["energy_by_role_kwh"].items()}
    plain = {name: "; ".join(v) if isinstance(v, list) else v for name, v in row.items() if not isinstance(v, dict)}
    return plain | by_role


def _as_file(response: HttpResponse, name: str) -> HttpResponse:
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def study_of(request: HttpRequest, slug: str) -> Study:
    """The study, or 404 whether it is not there or not to be seen."""
    seen = Study.objects.visible_to(request.user).select_related("project")
    study: Study | None = seen.filter(slug=slug).first()
    if study is None:
        raise Http404
    return study


def form_of(request: HttpRequest, study: Study, figures: list[RunFigures]) -> AnalysisForm:
    """The controls of the study's pages, filled from the address."""
    kind = KINDS.get(request.GET.get("simulated", ""), studies.shows_simulated(figures))
    hardware = tuple(dict.fromkeys(run.hardware for run in figures if run.simulated == kind))
    students = tuple(dict.fromkeys(run.student for run in figures if run.simulated == kind))
    given = {"scope": FULL, "n": 1, "pue": 1.0} | request.GET.dict() | {"curve": request.GET.getlist("curve")}
    known = {"hardware": hardware, "factors": factors.of_study(study), "suite": study.suite, "students": students}
    return AnalysisForm(given, **known)


def view_of(request: HttpRequest, study: Study, figures: list[RunFigures], form: AnalysisForm) -> dict[str, Any]:
    """What the fragment shows; of a form with errors, nothing but those."""
    if not form.is_valid():
        return {"view": None}
    asked = form.assumptions
    try:
        seen = outlook.of_study(study, figures, asked["assumed"])
    except TooManyRuns as error:
        form.add_error("cost", str(error))
        return {"view": None}
    draws.ask(study, seen)
    if asked["simulated"] is None:
        asked["simulated"] = studies.shows_simulated(figures)  # of all runs, before any are left out
    figures = outlook.alike(figures, asked["assumed"].alike)
    pick = asked["curves"]
    view = _frontier(study, figures, asked)
    splits = outlook.splits(seen)
    colours = outlook.fingerprints(seen, asked["colour"]) if asked["colour"] else {}
    full = _frontier(study, figures, {**asked, "scope": FULL, "n": 1})
    pairs = studies.break_evens(full)
    drawn = tuple(pair for pair in pairs if not pick or pair.distilled.student in pick)
    return {
        "view": view,
        "asked": asked,
        "outlook": seen,
        "rows": _rows(view, seen, asked, colours),
        "cost_unit": cost_unit(seen.seen)[0],
        "cost_scale": cost_unit(seen.seen)[1],
        "cost_title": TITLES[seen.seen.axes.cost],
        "quality_title": quality_title(seen.seen),
        "break_evens": pairs,
        "paybacks": outlook.paybacks(seen, pairs),
        "amortised": _amortised(drawn),
        "substitutes": [(row, row.days(asked["assumed"].tokens_per_day)) for row in outlook.substitutes(seen)],
        "splits": splits,
        "charged_j": total([placement.point.energy_j for placement in view.placements]),
        "rates": runs.stage_rates([run.figures for run in seen.runs], simulated=view.simulated),
        "burnt_co2e_kg": _co2e(view.burnt.energy_j, asked),
        "charts": _charts(view, seen, drawn, colours) | _stages(view, splits, asked["bars"]),
        "roles": _roles(view),
        "counts": COUNTS,
        "unit_name": dict(UNITS)[asked["assumed"].functional_unit],
        "apart": studies.distinctions(view),
        "unit": energy_unit([placement.point.energy_j for placement in view.placements])[0],
        "titles": TITLES_OF_CHARTS,
        "query": request.GET.urlencode(),
        "shown_hardware": {placement.point.hardware for placement in view.placements},
    }


def _frontier(study: Study, figures: list[RunFigures], asked: dict[str, Any]) -> studies.StudyFrontier:
    chosen = {name: asked[name] for name in ("scope", "n", "hardware", "simulated")}
    return studies.frontier_of(study, figures, **chosen)


def _roles(view: studies.StudyFrontier) -> list[str]:
    """Roles that any point has, in the order in which stages run."""
    there = {role for placement in view.placements for role in placement.point.by_role_j}
    known = [role for role in ("data", TEACHER, "student", "evaluation") if role in there]
    return [*known, *sorted(there - set(known))]


def _charts(
    view: studies.StudyFrontier, seen: outlook.StudyOutlook, pairs: Any, colours: dict[str, str]
) -> dict[str, Any]:
    """The charts of the page by name; the frontier over the axes that were asked for."""
    charts = study_charts.of(view, pairs)
    charts = {"amortisation": charts["amortisation"]} if "amortisation" in charts else {}
    if any(spot.cost is not None and spot.quality is not None for spot in seen.seen.spots):
        figure = outlook_chart(seen.seen, seen.noise, seen.bounds, colours=colours or None)
        charts["frontier"] = study_charts.as_json(figure)
    return charts


def _stages(view: studies.StudyFrontier, splits: Any, bars: str) -> dict[str, Any]:
    """The breakdown's chart, in energy, in percent or net of idle; none where there is nothing to draw."""
    drawn = study_charts.split_bars(view.placements, splits, net=bars == "net")
    floors = study_charts.floor_bars(view.placements, splits)
    charts = {"stages": study_charts.as_json(split_chart(drawn, shares=bars == "percent"))} if drawn else {}
    return charts | ({"floor": study_charts.as_json(floor_chart(floors[:MOST_BARS]))} if floors else {})


def _amortised(pairs: tuple[studies.BreakEven, ...]) -> list[tuple[Any, list[float | None]]]:
    """Each distilled point with its energy per student at the counts of the table."""
    found = []
    for point, teacher_j in {pair.distilled.key: (pair.distilled, pair.teacher_j) for pair in pairs}.values():
        known = point.energy_j is not None and teacher_j is not None
        rest_j = (point.energy_j or 0.0) - (teacher_j or 0.0)
        found.append((point, [rest_j + (teacher_j or 0.0) / n if known else None for n in COUNTS] + [rest_j]))
    return found


def _rows(
    view: studies.StudyFrontier, seen: outlook.StudyOutlook, asked: dict[str, Any], colours: dict[str, str]
) -> list[PointRow]:
    """The complete points, cheapest first on the chosen axis."""
    placements = {placement.point.key: placement for placement in view.placements}
    intensities = outlook.intensities(seen)
    return [
        PointRow(
            placement=placements[spot.point.key],
            spot=spot,
            sure=seen.noise.of.get(spot.point.key),
            bounds=seen.bounds.get(spot.point.key),
            co2e_kg=_co2e(spot.point.energy_j, asked),
            sci=intensities.get(spot.point.key),
            group=colours.get(spot.point.key, ""),
        )
        for spot in seen.seen.standing
    ]


def _co2e(energy_j: float | None, asked: dict[str, Any]) -> float | None:
    if asked["intensity"] is None:
        return None
    return co2e_kg(energy_j, pue=asked["pue"], grid_kg_per_kwh=asked["intensity"])


def _points(request: HttpRequest, slug: str) -> tuple[Study, ViewForm, studies.StudyFrontier | None]:
    study = study_of(request, slug)
    if large.is_large(study):
        return study, *studies_large.points_of(request, study)
    figures = studies.figures(study, request.user)
    form = form_of(request, study, figures)
    if not form.is_valid():
        return study, form, None
    asked = form.assumptions
    view = _frontier(study, outlook.alike(figures, asked["assumed"].alike), asked)
    return study, form, view
