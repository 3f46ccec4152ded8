"""What leaves the house: tables in several formats, a model card's block, a citation."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from frontend import latex
from frontend.filters import RunFilter
from frontend.views.studies import study_of
from registry.accounting.frontier import Point
from registry.accounting.units import kwh
from registry.models import Study
from registry.selectors import exported, large, runs, tables
from registry.selectors import studies as study_selectors
from registry.tables import FORMATS, Columns, Rows, columns_of


class CardForm(forms.Form):
    """Assumptions of a model card's emissions."""

    pue = forms.FloatField(min_value=1, max_value=10, required=False)
    intensity = forms.FloatField(min_value=0, max_value=10, required=False)


def answer(form: str, name: str, columns: Columns, rows: Rows) -> StreamingHttpResponse:
    """The table as a file called `name`, in the format `form`."""
    media, encode = FORMATS[form]
    response = StreamingHttpResponse(encode(columns, rows), content_type=media)
    response["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


@require_safe
def all_runs(request: HttpRequest, form: str) -> HttpResponseBase:
    """The runs that the list's own filters leave, all of them: CSV, JSON or Parquet."""
    if form not in FORMATS:
        raise Http404
    seen, rows = Study.objects.visible_to(request.user), runs.visible(request.user)
    shown = RunFilter(request.GET, queryset=rows, studies=seen, whole=True)
    if shown.form.errors:
        return HttpResponse(shown.form.errors.as_json(), status=400, content_type="application/json")
    return answer(form, "runs", tables.RUN_COLUMNS, tables.run_rows(shown.qs))


@require_safe
def table(request: HttpRequest, slug: str, name: str, form: str) -> HttpResponseBase:
    """Table 2 (`totals`), 3 (`stages`) or 4 (`scores`) of the paper for this study: LaTeX, CSV, JSON or Parquet."""
    study = study_of(request, slug)
    if large.is_large(study) or name not in TABLES or form not in (*FORMATS, "tex"):
        raise Http404  # of a very large study, its runs are the table
    points = [p.point for p in study_selectors.frontier(study, user=request.user).placements]
    if form != "tex":
        rows = TABLES[name](study, points)
        columns = columns_of(rows)
        return answer(form, f"{slug}-{name}", columns, [[row.get(column) for column in columns] for row in rows])
    response = HttpResponse(_tex(study, name, points), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{slug}-{name}.tex"'
    return response


def _tex(study: Study, name: str, points: list[Point]) -> str:
    if name == "totals":
        return latex.totals(points, f"{study.name}: energy of the full pipeline and quality.")
    if name == "stages":
        return latex.stages(points, f"{study.name}: energy by stage (kWh).")
    rows = exported.scores(study, points)
    cells = [(row["pipeline"], row["student"], [row[benchmark] for benchmark in study.suite]) for row in rows]
    return latex.scores(cells, study.suite, f"{study.name}: scores by benchmark.")


def _totals(_study: Study, points: list[Point]) -> list[dict[str, Any]]:
    return [
        _named(p) | {"energy_kwh": _kwh(p.energy_j), "j_per_token": p.j_per_token, "q": p.q, "n": p.n} for p in points
    ]


def _stages(_study: Study, points: list[Point]) -> list[dict[str, Any]]:
    return [_named(p) | {f"{role}_kwh": _kwh(energy) for role, energy in p.by_role_j.items()} for p in points]


def _named(point: Point) -> dict[str, Any]:
    return {"pipeline": point.pipeline, "student": point.student, "hardware": point.hardware}


def _kwh(energy_j: float | None) -> float | None:
    return None if energy_j is None else kwh(energy_j)


TABLES: dict[str, Callable[[Study, list[Point]], list[dict[str, Any]]]] = {
    "totals": _totals,
    "stages": _stages,
    "scores": exported.scores,
}


@require_safe
def citation(request: HttpRequest, slug: str) -> HttpResponse:
    """The study as BibTeX."""
    study = study_of(request, slug)
    text = exported.bibtex(study, request.build_absolute_uri(study.get_absolute_url()))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@require_safe
def model_card(request: HttpRequest, key: UUID) -> JsonResponse:
    """The metadata block of a Hugging Face model card for the run's student, under `?intensity=` and `?pue=`."""
    found = runs.detail(key, request.user)
    if found is None:
        raise Http404
    form = CardForm(request.GET)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    pue, intensity = form.cleaned_data["pue"] or 1.0, form.cleaned_data["intensity"]
    return JsonResponse(exported.model_card(found.run, found.charged.energy_j, pue=pue, grid_kg_per_kwh=intensity))
