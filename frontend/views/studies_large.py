"""The page of a study with very many runs: at most 2,000 points, and it says what they leave out."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from frontend.charts import crowded_frontier, energy_unit
from frontend.forms import ViewForm
from registry.accounting.figures import FULL, REUSED
from registry.models import Factor, Study
from registry.selectors import large, studies

LISTED = 200
TITLE = _("Quality against energy: the line is the frontier, pale points are dominated")


def detail(request: HttpRequest, study: Study) -> HttpResponse:
    """The frontier and the cheapest of its points; the fragment alone for htmx."""
    form = form_of(request, study)
    fragment = bool(getattr(request, "htmx", None)) and not request.htmx.boosted  # type: ignore[attr-defined]
    context: dict[str, Any] = {"study": study, "form": form}
    if form.is_valid():
        asked = asked_of(form)
        context["text"] = large.kept(study, f"page {get_language()}", asked, lambda: _fragment(request, study, asked))
    template = "studies/_large.html" if fragment else "studies/large.html"
    response = render(request, template, context, status=200 if form.is_valid() else 400)
    response["Vary"] = "HX-Request"
    return response


def form_of(request: HttpRequest, study: Study) -> ViewForm:
    """The few controls that such a study has."""
    classes, factors = large.hardware(study), Factor.objects.none()
    return ViewForm({"scope": FULL, "n": 1} | request.GET.dict(), hardware=classes, factors=factors)


def asked_of(form: ViewForm) -> dict[str, Any]:
    """What of the controls the frontier depends on."""
    return {name: form.assumptions[name] for name in ("scope", "n", "hardware", "simulated")}


def points_of(request: HttpRequest, study: Study) -> tuple[ViewForm, studies.StudyFrontier | None]:
    """The controls and the view they ask for; none where they cannot be."""
    form = form_of(request, study)
    return form, large.view(study, request.user, **asked_of(form)) if form.is_valid() else None


def _fragment(request: HttpRequest, study: Study, asked: dict[str, Any]) -> str:
    view = large.view(study, request.user, **asked)
    ordered = sorted(view.placements, key=lambda p: (not p.on_frontier, p.point.energy_j or 0.0))
    context = {
        "study": study,
        "view": view,
        "thinning": view.thinning,
        "rows": ordered[:LISTED],
        "unlisted": max(len(ordered) - LISTED, 0),
        "unit": energy_unit([placement.point.energy_j for placement in view.placements])[0],
        "figure": figure_of(view),
        "title": TITLE,
        "query": _address(asked),
    }
    return render_to_string("studies/_large_view.html", context)


def _address(asked: dict[str, Any]) -> str:
    """As the controls would have it."""
    given = asked | ({"n": 1, "reused": "on"} if asked["n"] == REUSED else {})
    spelt = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
    return urlencode({name: value for name, value in spelt.items() if value is not None})


def figure_of(view: studies.StudyFrontier) -> Any:
    """The chart; none where there is no point."""
    return crowded_frontier(view.placements) if view.placements else None
