"""Any table of a page as CSV, JSON or Parquet, under the parameters of its view."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from frontend import power, tables
from frontend.views import artifacts, compare, exports, reference, studies, study_pages, transfer
from frontend.views.boards import Refused
from registry.models import Study
from registry.selectors import artifact_search, large, runs
from registry.selectors import studies as study_selectors
from registry.tables import FORMATS, columns_of

Context = Mapping[str, Any]


@require_safe
def of_study(request: HttpRequest, slug: str, name: str, form: str) -> HttpResponseBase:
    """A table of a study's pages; tables 2, 3 and 4 of the paper by their own names, as LaTeX too."""
    if name in exports.TABLES:
        return exports.table(request, slug, name, form)
    study = studies.study_of(request, slug)
    read = next((read for known, read in _STUDY_PAGES if name in known), None)
    if read is None or large.is_large(study):
        raise Http404  # of a very large study, its runs are the table
    table = next(known[name] for known, _read in _STUDY_PAGES if name in known)
    return _answer(form, f"{slug}-{name}", lambda: table(read(request, study)))


@require_safe
def of_run(request: HttpRequest, key: UUID, name: str, form: str) -> HttpResponseBase:
    """A table of a run's page."""
    found = runs.detail(key, request.user)
    if found is None or name not in tables.RUN:
        raise Http404
    return _answer(form, f"run-{name}", lambda: tables.RUN[name]({"detail": found, "power": power.rows(found)}))


@require_safe
def of_comparison(request: HttpRequest, form: str) -> HttpResponseBase:
    """The facts of several runs side by side: those that differ, or with `?all=1` every one."""
    return _answer(form, "comparison", lambda: tables.comparison(_compared(request)))


@require_safe
def of_artifact(request: HttpRequest, key: UUID, name: str, form: str) -> HttpResponseBase:
    """A table of an artifact's page."""
    detail = artifacts.found_of(request, key)
    if name not in tables.ARTIFACT:
        raise Http404
    return _answer(form, f"artifact-{name}", lambda: tables.ARTIFACT[name]({"detail": detail}))


@require_safe
def of_artifacts(request: HttpRequest, form: str) -> HttpResponseBase:
    """Every artifact that the list's own choices leave."""
    return _answer(form, "artifacts", lambda: tables.artifacts({"rows": _searched(request)}))


def _answer(form: str, name: str, rows: Callable[[], list[dict[str, Any]]]) -> HttpResponseBase:
    """The rows as a file; 400 with the reasons for assumptions that cannot be."""
    if form not in FORMATS:
        raise Http404
    try:
        found = rows()
    except Refused as error:
        return JsonResponse({"errors": error.problems}, status=400)
    columns = columns_of(found)
    return exports.answer(form, name, columns, [[row.get(column) for column in columns] for row in found])


def _study(request: HttpRequest, study: Study) -> Context:
    figures = study_selectors.figures(study, request.user)
    form = studies.form_of(request, study, figures)
    view = studies.view_of(request, study, figures, form)
    if view["view"] is None:
        raise Refused(form.errors)
    return view


def _settings(request: HttpRequest, study: Study) -> Context:
    form, seen = study_pages.seen_of(request, study)
    if seen is None:
        raise Refused(form.errors)
    return study_pages.settings_of(seen)


def _advice(request: HttpRequest, study: Study) -> Context:
    context = study_pages.advice_of(request, study)
    if "advice" not in context:
        raise Refused({**context["form"].errors, **context["wishes"].errors})
    return context


def _transfer(request: HttpRequest, study: Study) -> Context:
    form = transfer.form_of(request)
    if not form.is_valid():
        raise Refused(form.errors)
    return transfer.view_of(request, study, form)


def _claims(request: HttpRequest, study: Study) -> Context:
    return reference.claims_of(study, request.GET.get("verdict", ""))


def _compared(request: HttpRequest) -> Context:
    try:
        return compare.compared(request)
    except ValueError as error:
        raise Refused({"run": [str(error)]}) from error


def _searched(request: HttpRequest) -> list[Any]:
    try:
        asked = artifacts.asked_of(request)
        return list(artifact_search.everything(request.user, asked))
    except artifact_search.SearchError as error:
        raise Refused({"search": [str(error)]}) from error


_STUDY_PAGES: tuple[tuple[Mapping[str, tables.Table], Callable[[HttpRequest, Study], Context]], ...] = (
    (tables.STUDY, _study),
    (tables.SETTINGS, _settings),
    (tables.ADVICE, _advice),
    (tables.TRANSFER, _transfer),
    (tables.CLAIMS, _claims),
)
