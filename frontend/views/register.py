"""Register an artifact that was made elsewhere: what determines it in words or as JSON, and what it took."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from frontend.forms import refuse
from frontend.forms_artifacts import RegisterForm
from frontend.forms_lookup import NeedForm, PresetForm, opening
from frontend.views.lookup import kind_for, read
from frontend.views.pasted import Unreadable
from registry.accounting.canonical import CanonicalError
from registry.accounting.presets import PRESETS
from registry.accounting.reuse import ArtifactRequest
from registry.accounting.spec import SpecError
from registry.models import Artifact, Project, User
from registry.selectors import home
from registry.services import artifacts, lookups, runs
from registry.services.errors import Invalid, ServiceError
from registry.workloads import catalogue
from registry.workloads.rows import WorkloadError


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def register(request: HttpRequest) -> HttpResponse:
    """The form: `?preset=`, or a lookup's settings, fill it in."""
    posted = request.method == "POST"
    given = {name: str(value) for name, value in (request.POST if posted else request.GET).items()}
    preset = given.get("preset", "")
    form = RegisterForm(
        request.POST if posted else None,
        projects=home.writable_projects(request.user),
        initial={"project": given.get("project", "")},
    )
    need = NeedForm(given if posted or "kind" in given else None, start=opening(preset))
    if posted and form.is_valid():
        artifact = _registered(form, need, request.user if isinstance(request.user, User) else None)
        if artifact is not None:
            messages.success(request, _("It is registered. Whoever asks for the same is led here."))
            return redirect("artifact", artifact.pk)
    context = {
        "form": form,
        "need": need,
        "presets": PresetForm(initial={"preset": preset}),
        "preset": preset if preset in PRESETS else "",
        "models": catalogue.models(),
        "datasets": catalogue.datasets(),
    }
    return render(request, "artifacts/register.html", context, status=400 if posted else 200)


def _registered(form: RegisterForm, need: NeedForm, user: User | None) -> Artifact | None:
    """The artifact; `None`, with the reasons beside the fields, where it cannot be."""
    project = form.cleaned_data["project"]
    pasted = form.cleaned_data["request"]
    try:
        found = _pasted(form, pasted, project, user) if pasted.strip() else _in_words(form, need, project, user)
        if found is None:
            return None
        return artifacts.declare(actor=user, project=project, item=form.item(*found), made_by_run=None)
    except Invalid as error:
        form.refuse(error.problems)
    except CanonicalError as error:
        form.refuse({"request": str(error)})
    except ServiceError as error:
        form.add_error(None, str(error))
    return None


def _in_words(
    form: RegisterForm, need: NeedForm, project: Project, user: User | None
) -> tuple[ArtifactRequest, str] | None:
    """What the fields determine, and the name of its dataset."""
    if not need.is_valid():
        return None
    kind, spec, rows = need.cleaned_data["kind"], need.cleaned_data["spec"], form.cleaned_data["rows"]
    try:
        runs.check_names(spec)
    except Invalid as error:
        refuse(need, error.problems)
        return None
    try:
        return lookups.made_elsewhere(kind, spec, project, user, rows=rows, **need.beyond), spec.dataset.id
    except WorkloadError as error:
        refuse(need, {"dataset.train_rows": str(error)})
        return None


def _pasted(form: RegisterForm, text: str, project: Project, user: User | None) -> tuple[ArtifactRequest, str] | None:
    """What the JSON determines, and the name of its dataset."""
    dataset, rows = form.cleaned_data["dataset"], form.cleaned_data["rows"]
    try:
        wanted = read(text)
        if isinstance(wanted, ArtifactRequest):
            return wanted, dataset
        return lookups.made_elsewhere(kind_for(wanted), wanted, project, user, rows=rows), dataset or wanted.dataset.id
    except SpecError as error:
        for name, sentence in error.problems.items():
            form.add_error("request", f"{name}: {sentence}")
    except (Unreadable, WorkloadError, RecursionError) as error:
        form.add_error("request", str(error))
    return None
