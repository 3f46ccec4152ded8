"""Look up: has somebody made this already?"""

import json
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from frontend.forms import LookupForm
from frontend.views import pasted
from frontend.views.pasted import Unreadable
from registry.accounting.canonical import CanonicalError
from registry.accounting.fingerprint import fingerprint
from registry.accounting.plan import artifact_request
from registry.accounting.presets import PRESETS
from registry.accounting.reuse import (
    MAKING,
    ArtifactRequest,
    Candidate,
    Decision,
    NearMiss,
    covers,
    decide,
    near_misses,
    normalised,
)
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.stages import OUTPUT_OF_STAGE, PIPELINES, STAGES_OF_PIPELINE, TEACHER_ARTIFACTS
from registry.models import Artifact, Project, Study, User
from registry.services import reuse
from registry.workloads import catalogue
from registry.workloads.rows import WorkloadError


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What was found for one request."""

    request: ArtifactRequest
    fingerprint: str
    exact: list[Candidate]
    covering: list[Candidate]
    making: list[Candidate]
    near: tuple[NearMiss, ...]
    elsewhere: tuple[reuse.Elsewhere, ...]
    decision: Decision

    @property
    def nothing(self) -> bool:
        """Whether nobody has anything of the kind."""
        return not (self.exact or self.covering or self.making or self.near or self.elsewhere)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def lookup(request: HttpRequest) -> HttpResponse:
    """A form for a spec or an artifact request, filled in by `?preset=&pipeline=`, and what it found."""
    studies = Study.objects.visible_to(request.user).order_by("name")
    form = LookupForm(request.POST or None, request.FILES or None, studies=studies, initial=_initial(request))
    context: dict[str, Any] = {"form": form, "presets": PRESETS, "pipelines": [p for p in PIPELINES if p != "sft"]}
    if request.method == "POST" and form.is_valid():
        try:
            wanted = read(form.cleaned_data["content"])
            context["found"] = [_matches(one, form.cleaned_data["study"].project, request.user) for one in wanted]
        except SpecError as error:
            for name, text in error.problems.items():
                form.add_error("text", f"{name}: {text}")
        except (Unreadable, WorkloadError, CanonicalError, RecursionError) as error:
            form.add_error("text", str(error))
    return render(request, "lookup/lookup.html", context, status=400 if form.errors else 200)


def read(content: str) -> list[ArtifactRequest]:
    """The teacher artifacts that a run spec needs, or the one artifact that a request names.

    Raises `Unreadable`, `SpecError`, `WorkloadError`.
    """
    document = pasted.read(content)
    if not isinstance(document, dict):
        raise Unreadable(_("Give one JSON object: a run's spec, or an artifact request with kind and identity."))
    spec = document.get("spec", document)
    if isinstance(spec, dict) and "pipeline" in spec:
        return _of_spec(RunSpec.from_dict(spec))
    return [_of_request(document)]


def _of_spec(spec: RunSpec) -> list[ArtifactRequest]:
    identities = catalogue.identities(spec)
    kinds = [OUTPUT_OF_STAGE[stage] for stage in STAGES_OF_PIPELINE[spec.pipeline]]
    needed = [kind for kind in kinds if kind in TEACHER_ARTIFACTS]
    if not needed:
        raise Unreadable(_("A run of %(name)s needs nothing from a teacher.") % {"name": spec.pipeline})
    found = [artifact_request(kind, spec, identities) for kind in needed]
    if None in found:
        raise Unreadable(
            _("Nobody has read the rows of %(name)s yet, so nobody can say what holds them.")
            % {"name": spec.dataset.id}
        )
    return [request for request in found if request is not None]


def _of_request(document: dict[str, Any]) -> ArtifactRequest:
    unknown = document.keys() - {"kind", "identity", "capture", "row_digests"}
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
    return ArtifactRequest(
        kind=document["kind"],
        identity=document["identity"],
        capture=document.get("capture", {}),
        row_digests=tuple(rows),
    )


def _matches(wanted: ArtifactRequest, project: Project, user: Any) -> Matches:
    found = reuse.find(wanted, project, user if isinstance(user, User) else None)
    candidates = found.candidates
    serving = [candidate for candidate in candidates if not covers(candidate.request, wanted)]
    same = normalised(wanted)
    ready = [candidate for candidate in serving if candidate.status != MAKING]
    exact = [candidate for candidate in ready if normalised(candidate.request) == same]
    return Matches(
        request=wanted,
        fingerprint=fingerprint(wanted),
        exact=exact,
        covering=[candidate for candidate in ready if candidate not in exact],
        making=[candidate for candidate in serving if candidate.status == MAKING],
        near=near_misses(wanted, candidates),
        elsewhere=found.elsewhere,
        decision=decide(wanted, candidates),
    )


def _initial(request: HttpRequest) -> dict[str, Any]:
    preset, pipeline = request.GET.get("preset"), request.GET.get("pipeline", "kd")
    if preset not in PRESETS or pipeline not in PIPELINES:
        return {}
    return {"text": json.dumps(PRESETS[preset](pipeline).to_dict(), indent=2)}
