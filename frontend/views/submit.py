"""From a form to a plan to a run. Nothing is kept in between: the plan page carries the spec itself."""

import json
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from frontend.forms import PresetForm, RunForm, flattened
from registry.accounting.presets import PRESETS, paper
from registry.accounting.reuse import MAKE
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.stages import PIPELINES, SFT
from registry.models import Run, Study, User
from registry.selectors import home
from registry.services import runs
from registry.services.errors import Conflict, Invalid, NotAllowed
from registry.workloads import catalogue


@require_safe
@login_required
def new(request: HttpRequest) -> HttpResponse:
    """The form: the paper's values, a preset's (`?preset=`), or those of a run to repeat (`?from=`)."""
    pipeline = request.GET.get("pipeline", SFT)
    presets = PresetForm(initial={"preset": request.GET.get("preset"), "pipeline": pipeline})
    initial = flattened(_start(request, pipeline)) | {"study": request.GET.get("study")}
    return _form_page(request, RunForm(initial=initial, studies=_studies(request)), presets)


@require_POST
@login_required
def plan(request: HttpRequest) -> HttpResponse:
    """The plan of what the form asks for; the form again, with its errors, where it cannot be planned."""
    form = RunForm(request.POST, studies=_studies(request))
    if form.is_valid():
        study: Study = form.cleaned_data["study"]
        try:
            runs.check_pipeline(form.spec)
            return _plan_page(request, study, form.spec)
        except Invalid as error:
            form.refuse(error.problems)
    return _form_page(request, form, PresetForm(), status=400)


@require_POST
@login_required
def submit(request: HttpRequest) -> HttpResponse:
    """Queue the run that the plan page showed, or say why not, on the plan page."""
    slug = request.POST.get("study", "").replace("\x00", "")
    study = _studies(request).filter(slug=slug).first()
    if study is None:
        raise Http404
    spec = _posted_spec(request.POST)
    if isinstance(spec, dict):
        return render(request, "400.html", {"problems": spec}, status=400)
    if "change" in request.POST:
        initial = flattened(spec) | {"study": study.slug}
        return _form_page(request, RunForm(initial=initial, studies=_studies(request)), PresetForm())
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
        if reason_wanted := error.problems.get("regenerate_reason"):
            return _plan_page(request, study, spec, refusal=str(reason_wanted), status=400)
        return render(request, "400.html", {"problems": error.problems}, status=400)
    return redirect(run)


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


def _form_page(request: HttpRequest, form: RunForm, presets: PresetForm, status: int = 200) -> HttpResponse:
    context = {
        "form": form,
        "presets": presets,
        "models": catalogue.models(),
        "datasets": catalogue.datasets(),
        "has_studies": _studies(request).exists(),
    }
    return render(request, "submit/new.html", context, status=status)


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
