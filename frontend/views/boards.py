"""The charts of each page with what stands around them, for whoever draws them elsewhere than on the page."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils import timezone

from frontend import stated
from frontend.templatetags.figures import called, words
from frontend.views import artifacts, compare, power, studies, studies_large, study_pages, transfer
from registry.models import Project, Study
from registry.selectors import comparison, large, outlook, runs
from registry.selectors import studies as study_selectors


class Refused(ValueError):
    """Assumptions that cannot be; `problems` says by field what is wrong."""

    def __init__(self, problems: Mapping[str, Any]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(f"{name}: {said}" for name, said in self.problems.items()))


@dataclass(frozen=True, kw_only=True)
class Board:
    """The charts of one page by name, each as plotly's JSON with its caption.

    `title` is the page's, `path` its address with the view's parameters, `notes` say under which assumptions.
    """

    title: str
    path: str
    project: Project | None
    charts: Mapping[str, tuple[Mapping[str, Any], str]]
    notes: tuple[str, ...]


def of_study(request: HttpRequest, slug: str) -> Board:
    """The charts of a study's page, of its settings and of its transfer. Raises `Http404` or `Refused`."""
    study = studies.study_of(request, slug)
    if large.is_large(study):
        return _of_large(request, study)
    figures = study_selectors.figures(study, request.user)
    form = studies.form_of(request, study, figures)
    view = studies.view_of(request, study, figures, form)
    if view["view"] is None:
        raise Refused(form.errors)
    return of_view(request, study, form, view)


def of_view(request: HttpRequest, study: Study, form: forms.Form, view: Mapping[str, Any]) -> Board:
    """The charts of a study's page whose view was computed already."""
    charts = {name: (figure, str(view["titles"][name])) for name, figure in view["charts"].items()}
    simulated = view["view"].simulated
    return _board(
        request,
        charts,
        title=study.name,
        address=study.get_absolute_url(),
        project=study.project,
        form=form,
        simulated=simulated,
    )


def _of_large(request: HttpRequest, study: Study) -> Board:
    form = studies_large.form_of(request, study)
    if not form.is_valid():
        raise Refused(form.errors)
    view = large.view(study, request.user, **studies_large.asked_of(form))
    figure = studies_large.figure_of(view)
    charts = {"frontier": (figure, str(studies_large.TITLE))} if figure else {}
    address = study.get_absolute_url()
    return _board(
        request, charts, title=study.name, address=address, project=study.project, form=form, simulated=view.simulated
    )


def of_settings(request: HttpRequest, slug: str) -> Board:
    """One chart for each setting that varies."""
    study = studies.study_of(request, slug)
    if large.is_large(study):
        raise Http404
    form, seen = study_pages.seen_of(request, study)
    if seen is None:
        raise Refused(form.errors)
    return of_found(request, study, form, seen, study_pages.settings_of(seen))


def of_found(
    request: HttpRequest, study: Study, form: forms.Form, seen: outlook.StudyOutlook, shown: Mapping[str, Any]
) -> Board:
    """The charts of settings that were looked for already."""
    charts = {name: (figure, str(shown["quality_title"])) for name, _id, _one, figure in shown["found"]}
    simulated = any(run.figures.simulated for run in seen.runs)
    address = reverse("study_settings", args=[study.slug])
    return _board(
        request, charts, title=study.name, address=address, project=study.project, form=form, simulated=simulated
    )


def of_transfer(request: HttpRequest, slug: str) -> Board:
    """The frontier under factors."""
    study, form = studies.study_of(request, slug), transfer.form_of(request)
    if not form.is_valid():
        raise Refused(form.errors)
    shown = transfer.view_of(request, study, form)
    charts = {"transfer": (shown["figure"], str(shown["title"]))} if shown["figure"] else {}
    simulated = shown["found"].after.simulated
    address = reverse("study_transfer", args=[slug])
    return _board(
        request, charts, title=study.name, address=address, project=study.project, form=form, simulated=simulated
    )


def of_run(request: HttpRequest, key: UUID) -> Board:
    """The power of a run, whole or a stretch of it."""
    found = runs.detail(key, request.user)
    if found is None:
        raise Http404
    form = power.StretchForm(request.GET)
    if not form.is_valid():
        raise Refused(form.errors)
    charts = {"power": (json.loads(power.figure_of(found, form)), str(power.TITLE))}
    run = found.run
    simulated = bool(found.figures and found.figures.simulated)
    return _board(
        request, charts, title=called(run), address=run.get_absolute_url(), project=run.project, simulated=simulated
    )


def of_artifact(request: HttpRequest, key: UUID) -> Board:
    """The energy per use of an artifact."""
    found = artifacts.found_of(request, key)
    artifact, figure = found.artifact, artifacts.use_figure(found)
    charts = {"use": (figure, str(artifacts.USE_TITLE))} if figure else {}
    address = artifact.get_absolute_url()
    return _board(
        request, charts, title=artifact.name, address=address, project=artifact.project, simulated=artifact.simulated
    )


def of_comparison(request: HttpRequest) -> Board:
    """The power of several runs, stage by stage; of no single project, so it is not embedded."""
    try:
        found = comparison.compare(request.GET.getlist("run"), request.user)
    except ValueError as error:
        raise Refused({"run": [str(error)]}) from error
    overlays = compare.charts_of(found, compare.names_of(found.runs))
    charts = {name: (figure, f"{words(kind)}: {compare.OVERLAY_TITLE}") for kind, name, _id, figure in overlays}
    simulated = any(detail.figures.simulated for detail in found.runs if detail.figures)
    address = reverse("runs_compare")
    return _board(request, charts, title="Runs side by side", address=address, project=None, simulated=simulated)


def _board(
    request: HttpRequest,
    charts: Mapping[str, tuple[Mapping[str, Any], str]],
    *,
    title: str,
    address: str,
    project: Project | None,
    form: forms.Form | None = None,
    simulated: bool,
) -> Board:
    query = request.GET.copy()
    query.pop("theme", None)
    path = f"{address}?{query.urlencode()}" if query else address
    shown = request.build_absolute_uri(address)
    notes = stated.notes(form, address=shown, today=timezone.now().date(), simulated=simulated)
    return Board(title=title, path=path, project=project, charts=charts, notes=tuple(notes))


def source_of(name: str) -> Callable[[HttpRequest, str], Board]:
    """Which of a study's pages has the chart of that name."""
    if name == "transfer":
        return of_transfer
    return of_settings if name.startswith("setting-") else of_study
