"""From a form to a plan to runs. Nothing is kept in between: the plan page carries the spec, or the grids, itself."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from frontend.forms import PresetForm, RunForm, flattened
from frontend.spec_words import WORDS
from frontend.templatetags.figures import listed
from registry.accounting.presets import PRESETS, SWEEPS, paper
from registry.accounting.reuse import MAKE
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.stages import PIPELINES, SFT
from registry.accounting.sweeps import expand, lists_of, value_at
from registry.models import Run, Study, User
from registry.selectors import home
from registry.services import runs, sweeps
from registry.services.errors import Conflict, Invalid, NotAllowed
from registry.workloads import catalogue

Grid = dict[str, Any]
MOST_GRIDS = 20


@require_safe
@login_required
def new(request: HttpRequest) -> HttpResponse:
    """The form: the paper's values, a preset's (`?preset=`), or those of a run to repeat (`?from=`).

    Settings under their own names (`?teacher.id=`) go over these.
    """
    pipeline = request.GET.get("pipeline", SFT)
    preset = request.GET.get("preset")
    presets = PresetForm(initial={"preset": preset, "pipeline": pipeline})
    first, *others = SWEEPS[preset]() if preset in SWEEPS else [_start(request, pipeline).to_dict()]
    start = flattened(first)
    said = {name: value for name, value in request.GET.items() if name in start}
    initial = start | said | {"study": request.GET.get("study")}
    return _form_page(request, RunForm(initial=initial, studies=_studies(request)), presets, others)


@require_POST
@login_required
def plan(request: HttpRequest) -> HttpResponse:
    """The plan of what the form asks for; the form again, with its errors, where it cannot be planned."""
    form = RunForm(request.POST, studies=_studies(request))
    others = _posted_grids(request.POST)
    if isinstance(others, dict):
        return render(request, "400.html", {"problems": others}, status=400)
    if form.is_valid():
        study: Study = form.cleaned_data["study"]
        try:
            for spec in form.specs:
                runs.check_pipeline(spec)
            return _plan_of(request, study, [*others, form.grid])
        except Invalid as error:
            form.refuse(error.problems)
        except SpecError as error:
            form.refuse(error.problems)
    return _form_page(request, form, PresetForm(), others, status=400)


@require_POST
@login_required
def submit(request: HttpRequest) -> HttpResponse:
    """Queue what the plan page showed, or say why not, on the plan page; or lead back to change it."""
    slug = request.POST.get("study", "").replace("\x00", "")
    study = _studies(request).filter(slug=slug).first()
    if study is None:
        raise Http404
    if "grids" in request.POST:
        return _submit_sweep(request, study)
    spec = _posted_spec(request.POST)
    if isinstance(spec, dict):
        return render(request, "400.html", {"problems": spec}, status=400)
    if "change" in request.POST:
        return _change(request, study, spec.to_dict(), [])
    if "add" in request.POST:
        return _change(request, study, spec.to_dict(), [spec.to_dict()])
    try:
        runs.check_pipeline(spec)
        run = runs.submit(
            actor=_user(request),
            study=study,
            spec=spec,
            regenerate="regenerate" in request.POST,
            regenerate_reason=request.POST.get("regenerate_reason", ""),
        )
    except (Conflict, NotAllowed) as error:
        status = 409 if isinstance(error, Conflict) else 403
        return _plan_page(request, study, spec, refusal=str(error), status=status)
    except Invalid as error:
        if "regenerate_reason" in error.problems:  # its field is on the plan page
            return _plan_page(request, study, spec, refusal=str(error.problems["regenerate_reason"]), status=400)
        return render(request, "400.html", {"problems": error.problems}, status=400)
    return redirect(run)


def _submit_sweep(request: HttpRequest, study: Study) -> HttpResponse:
    """What the sweep's plan page asks for: queue it, change one of its grids, leave one out, or add one."""
    grids = _posted_grids(request.POST)
    if isinstance(grids, dict) or not grids:
        return render(request, "400.html", {"problems": grids or {"grids": "are none"}}, status=400)
    place = _place(request.POST, len(grids))
    if "add" in request.POST:
        return _change(request, study, grids[-1], grids)
    if "change" in request.POST:
        return _change(request, study, grids[place], grids[:place] + grids[place + 1 :])
    try:
        if "remove" in request.POST and len(grids) > 1:
            return _plan_of(request, study, grids[:place] + grids[place + 1 :])
        queued = sweeps.submit(actor=_user(request), study=study, sweep=expand(grids))
    except (SpecError, Invalid) as error:
        return render(request, "400.html", {"problems": error.problems}, status=400)
    text = ngettext("%(n)d run is queued.", "%(n)d runs are queued.", len(queued)) % {"n": len(queued)}
    messages.success(request, text)
    return redirect(f"{reverse('runs')}?{urlencode({'study': study.slug})}")


def _place(posted: QueryDict, count: int) -> int:
    """Which of the grids is meant; the last one where the number is none."""
    text = posted.get("change") or posted.get("remove") or ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 4 and int(text) < count else count - 1


def _change(request: HttpRequest, study: Study, grid: Grid, others: list[Grid]) -> HttpResponse:
    form = RunForm(initial=flattened(grid) | {"study": study.slug}, studies=_studies(request))
    return _form_page(request, form, PresetForm(), others)


def _start(request: HttpRequest, pipeline: str) -> RunSpec:
    """The values the form opens with."""
    if pipeline not in PIPELINES:
        raise Http404
    if source := request.GET.get("from"):
        return _spec_of(request, source)
    preset = request.GET.get("preset")
    if not preset:
        return paper("1B", pipeline)
    if preset not in PRESETS:
        raise Http404
    return PRESETS[preset](pipeline)


def _spec_of(request: HttpRequest, source: str) -> RunSpec:
    try:
        run = Run.objects.visible_to(request.user).filter(pk=UUID(source)).first()
        return RunSpec.from_dict(run.spec if run else {})
    except (ValueError, SpecError) as error:
        raise Http404 from error


def _studies(request: HttpRequest) -> QuerySet[Study]:
    """Studies of the projects this person may submit to."""
    return Study.objects.filter(project__in=home.writable_projects(request.user)).order_by("name")


def _user(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("the decorator lets nobody in without an account")
    return request.user


def _form_page(
    request: HttpRequest, form: RunForm, presets: PresetForm, others: list[Grid], status: int = 200
) -> HttpResponse:
    context = {
        "form": form,
        "presets": presets,
        "models": catalogue.models(),
        "datasets": catalogue.datasets(),
        "has_studies": _studies(request).exists(),
        "others_json": json.dumps(others),
        "others": [len(expand([grid]).specs) for grid in others],
    }
    return render(request, "submit/new.html", context, status=status)


def _plan_of(request: HttpRequest, study: Study, grids: list[Grid]) -> HttpResponse:
    """The page of one run's plan, or of a sweep's. Raises `Invalid`, `SpecError`."""
    sweep = expand(grids)
    if len(sweep.specs) == 1:
        return _plan_page(request, study, sweep.specs[0])
    found = sweeps.plan(user=_user(request), study=study, sweep=sweep)
    context = {
        "plan": found,
        "study": study,
        "rows": _rows(found),
        "apart": _apart(found),
        "labels": {name: label for name, (label, _help) in WORDS.items()},
        "grids": [{"runs": len(expand([grid]).specs), "lists": lists_of(grid)} for grid in grids],
        "grids_json": json.dumps(grids),
        "made": sum(need.made for need in found.of_teacher),
        "alone": sum(need.alone for need in found.of_teacher),
        "by_exact": sum(need.by_exact for need in found.of_teacher),
    }
    return render(request, "submit/sweep.html", context)


def _rows(found: sweeps.SweepPlan) -> list[dict[str, Any]]:
    """Of each run: what tells it from the others, and what it does about the teacher's artifact."""
    parts = {part.place: (need, part) for need in found.of_teacher for part in need.parts}
    rows = []
    for place, spec in enumerate(found.sweep.specs):
        values = found.sweep.values(spec)
        need, part = parts.get(place, (None, None))
        cells = [values.get(name) for name in found.sweep.varied]
        rows.append({"number": place + 1, "cells": cells, "need": need, "part": part})
    return rows


def _apart(found: sweeps.SweepPlan) -> dict[int, str]:
    """What tells needs of one kind from each other, by their place: the settings of their runs, or the runs."""
    apart = {}
    for place, need in enumerate(found.needs):
        if need.artifact is None and [one.kind for one in found.needs].count(need.kind) > 1:
            runs_of = [found.sweep.specs[part.place] for part in need.parts]
            values = {name: {value_at(spec, name) for spec in runs_of} for name in found.sweep.varied}
            told = [f"{WORDS[name][0]} {listed(next(iter(one)))}" for name, one in values.items() if len(one) == 1]
            numbers = ", ".join(str(part.place + 1) for part in need.parts)
            apart[place] = ", ".join(told) or _("runs %(numbers)s") % {"numbers": numbers}
    return apart


def _plan_page(request: HttpRequest, study: Study, spec: RunSpec, refusal: str = "", status: int = 200) -> HttpResponse:
    found = runs.plan(user=_user(request), study=study, spec=spec)
    known = [stage.expected.energy_j for stage in found.stages]
    context: dict[str, Any] = {
        "plan": found,
        "study": study,
        "spec": spec,
        "spec_json": json.dumps(spec.to_dict()),
        "total_j": None if None in known else sum(energy for energy in known if energy is not None),
        "refusal": refusal,
        "may_regenerate": any(
            stage.planned.role == "teacher" and stage.decision and stage.decision.action != MAKE
            for stage in found.stages
        ),
        "regenerate": "regenerate" in request.POST,
        "regenerate_reason": request.POST.get("regenerate_reason", ""),
    }
    return render(request, "submit/plan.html", context, status=status)


def _posted_spec(posted: QueryDict) -> RunSpec | dict[str, str]:
    """The spec the plan page carried, or what is wrong with it."""
    try:
        return RunSpec.from_dict(json.loads(posted.get("spec", "")))
    except SpecError as error:
        return error.problems
    except (ValueError, RecursionError) as error:
        return {"spec": f"is no JSON: {error}"}


def _posted_grids(posted: QueryDict) -> list[Grid] | dict[str, str]:
    """The grids that a page carried, each of which stands for some runs; or what is wrong with them."""
    try:
        grids = json.loads(posted.get("grids") or "[]")
        if not isinstance(grids, list) or len(grids) > MOST_GRIDS:
            return {"grids": f"must be a list of at most {MOST_GRIDS}"}
        if grids:
            expand(grids)
    except SpecError as error:
        return error.problems
    except (ValueError, RecursionError) as error:
        return {"grids": f"are no JSON: {error}"}
    return grids
