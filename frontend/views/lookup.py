"""Before you regenerate: has somebody made this already? In words by address, or as JSON."""

import json
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.db.models import Case, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from frontend.forms import refuse
from frontend.forms_lookup import BEYOND, LookupForm, NeedForm, PresetForm, opening, written
from frontend.views import pasted
from frontend.views.pasted import Unreadable
from registry.accounting import requests
from registry.accounting.canonical import CanonicalError
from registry.accounting.fingerprint import fingerprint
from registry.accounting.plan import DETERMINING
from registry.accounting.presets import PRESETS
from registry.accounting.reuse import ArtifactRequest
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.sweeps import value_at
from registry.models import Artifact, Study, User
from registry.selectors import home
from registry.services import lookups, runs
from registry.services.errors import Invalid
from registry.services.lookups import Answer
from registry.workloads import catalogue
from registry.workloads.rows import WorkloadError


@dataclass(frozen=True, kw_only=True)
class Match:
    """One answer, and what to do with it. `run_address`: a form for a run that needs it, where there may be one."""

    answer: Answer
    artifact: Artifact | None
    run_address: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the request; empty while nobody knows its rows."""
        return fingerprint(self.answer.request) if self.answer.request else ""

    @property
    def bare(self) -> bool:
        """Whether what would serve was registered without its files, which a worker would need."""
        found = self.artifact
        return found is not None and found.status == Artifact.Status.READY and not found.storage_key

    @property
    def nothing(self) -> bool:
        """Whether nobody has anything of the kind."""
        found = self.answer
        listed = found.exact or found.covering or found.making or found.near or found.elsewhere
        return found.action is not None and found.expires_at is None and not listed


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def lookup(request: HttpRequest) -> HttpResponse:
    """The form in words (`?kind=` and settings ask, `?preset=` fills it in), the one for JSON, and what was found."""
    form = LookupForm(request.POST or None, request.FILES or None, studies=_studies(request))
    need = _need(request)
    preset = request.GET.get("preset", "")
    context: dict[str, Any] = {
        "form": form,
        "need": need,
        "presets": PresetForm(initial={"preset": preset}),
        "preset": preset if preset in PRESETS else "",
        "models": catalogue.models(),
        "datasets": catalogue.datasets(),
    }
    if request.method == "POST" and form.is_valid():
        context["found"] = _pasted(form, request)
    elif need.is_bound and need.is_valid():
        context |= _needed(need, request)
    refused = form.errors or need.errors
    return render(request, "lookup/lookup.html", context, status=400 if refused else 200)


@require_safe
@login_required
def request_json(request: HttpRequest) -> HttpResponse:
    """What the form in words asks for as one request, with the digest of each row: to lease it and to register it."""
    need = _need(request)
    found = _asked(need, request) if need.is_bound and need.is_valid() else None
    if found is None or found.request is None:
        raise Http404
    document = {"study": need.cleaned_data["study"].slug, **lookups.document(found.request)}
    headers = {"Content-Disposition": 'attachment; filename="request.json"'}
    return JsonResponse(document, headers=headers, json_dumps_params={"indent": 1})


def _need(request: HttpRequest) -> NeedForm:
    given = {name: str(value) for name, value in request.GET.items()}
    start = opening(given.get("preset", ""))
    return NeedForm(given if "kind" in given else None, start=start, studies=_studies(request))


def _studies(request: HttpRequest) -> QuerySet[Study]:
    """Those the person sees; first, and so chosen until another is, those of projects that they may submit to."""
    mine = Case(When(project__in=home.writable_projects(request.user), then=Value(0)), default=Value(1))
    studies: QuerySet[Study] = Study.objects.visible_to(request.user)
    return studies.annotate(elsewhere=mine).order_by("elsewhere", "name")


def _asked(need: NeedForm, request: HttpRequest) -> Answer | None:
    """What answers the form; `None`, with the reasons beside its fields, where its names mean nothing here."""
    values = need.cleaned_data
    try:
        runs.check_names(values["spec"])
        return lookups.of_spec(values["kind"], values["spec"], values["study"].project, _user(request), **need.beyond)
    except Invalid as error:
        refuse(need, error.problems)
    except WorkloadError as error:
        refuse(need, {"dataset.train_rows": str(error)})
    except CanonicalError as error:
        refuse(need, {"": str(error)})
    return None


def _needed(need: NeedForm, request: HttpRequest) -> dict[str, Any]:
    found = _asked(need, request)
    if found is None:
        return {}
    values = need.cleaned_data
    study, spec = values["study"], values["spec"]
    document = {"study": study.slug, "kind": values["kind"], **need.beyond, "spec": spec.to_dict()}
    makeable = not any(name in need.beyond for name in BEYOND)
    return {
        "found": [_match(found, study, request, spec if makeable else None)],
        "document": json.dumps(document, indent=2),
        "address": request.build_absolute_uri(reverse("api:lookup")),
        "server": request.build_absolute_uri("/").rstrip("/"),
        "request_address": f"{reverse('lookup_request')}?{request.GET.urlencode()}",
        "register_address": f"{reverse('artifact_register')}?{request.GET.urlencode()}&project={study.project.slug}",
    }


def _pasted(form: LookupForm, request: HttpRequest) -> list[Match]:
    """What answers the pasted document; none, with the reason beside the text, where it cannot be read."""
    study = form.cleaned_data["study"]
    try:
        wanted = read(form.cleaned_data["content"])
        if isinstance(wanted, ArtifactRequest):
            return [_match(lookups.answer(wanted, study.project, _user(request)), study, request)]
        found = lookups.of_spec(kind_for(wanted), wanted, study.project, _user(request))
        return [_match(found, study, request, wanted)]
    except SpecError as error:
        for name, text in error.problems.items():
            form.add_error("text", f"{name}: {text}")
    except (Unreadable, WorkloadError, CanonicalError, RecursionError) as error:
        form.add_error("text", str(error))
    return []


def read(content: str) -> RunSpec | ArtifactRequest:
    """A run's spec, or a request for one artifact. Raises `Unreadable`, `SpecError`."""
    document = pasted.read(content)
    if not isinstance(document, dict):
        raise Unreadable(_("Give one JSON object: a run's spec, or an artifact request with kind and identity."))
    spec = document.get("spec", document)
    if isinstance(spec, dict) and "pipeline" in spec:
        return RunSpec.from_dict(spec)
    return _request(document)


def kind_for(spec: RunSpec) -> str:
    """The teacher artifact that a run of this spec needs. Raises `Unreadable` where it needs none."""
    kind = lookups.kind_for(spec)
    if kind is None:
        raise Unreadable(_("A run of %(name)s needs nothing from a teacher.") % {"name": spec.pipeline})
    return kind


def _request(document: dict[str, Any]) -> ArtifactRequest:
    unknown = document.keys() - {"kind", "identity", "capture", "row_digests", "study"}
    shapes = {"kind": str, "identity": dict, "capture": dict, "row_digests": list}
    bad = [name for name, shape in shapes.items() if name in document and not isinstance(document[name], shape)]
    if unknown or bad or document.get("kind") not in Artifact.Kind.values or "identity" not in document:
        raise Unreadable(
            _("An artifact request has kind (one of %(kinds)s), identity and capture (objects) and row_digests (list).")
            % {"kinds": ", ".join(Artifact.Kind.values)}
        )
    rows = document.get("row_digests", [])
    if not all(isinstance(row, str) for row in rows):
        raise Unreadable(_("row_digests must be a list of texts."))
    wanted = ArtifactRequest(
        kind=document["kind"],
        identity=document["identity"],
        capture=document.get("capture", {}),
        row_digests=tuple(rows),
    )
    problems = requests.problems(wanted)
    if problems:
        raise Unreadable("; ".join(f"{name}: {text}" for name, text in problems.items()))
    return wanted


def _match(found: Answer, study: Study, request: HttpRequest, spec: RunSpec | None = None) -> Match:
    artifact = Artifact.objects.filter(pk=found.artifact_id).first() if found.artifact_id else None
    may_run = spec is not None and home.writable_projects(request.user).filter(pk=study.project_id).exists()
    match = Match(answer=found, artifact=artifact)
    return replace(match, run_address=_run_address(spec, study, found.kind)) if may_run and not match.bare else match


def _run_address(spec: RunSpec | None, study: Study, kind: str) -> str:
    """The form for a run, filled in with what the artifact is determined by."""
    if spec is None:
        return ""
    settings = {name: written(value_at(spec, name)) for name in DETERMINING.get(kind, ())}
    return f"{reverse('run_new')}?{urlencode({'pipeline': spec.pipeline, 'study': study.slug, **settings})}"


def _user(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None
