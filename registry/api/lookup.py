"""Exact, covering, in-progress and near matches for a request."""

from dataclasses import asdict
from typing import Any

from rest_framework.request import Request

from registry.accounting.plan import artifact_request
from registry.accounting.reuse import MAKING, ArtifactRequest, covers, decide, near_misses, normalised
from registry.accounting.spec import RunSpec
from registry.accounting.stages import OUTPUT_OF_STAGE, STAGES_OF_PIPELINE, TEACHER_ARTIFACTS
from registry.api import access
from registry.api.serializers.artifacts import ArtifactSerializer, RequestPayload, listed, request_from
from registry.api.serializers.lookup import SpecLookup
from registry.models import Artifact, Project
from registry.services import reuse
from registry.services.errors import Invalid
from registry.workloads import catalogue

_SERIALIZER = ArtifactSerializer()  # its fields are made once, which would take longer than the queries
UNKNOWN_ROWS = "The rows of {} are read by a worker; before that, nobody can say what holds them."


def answer(request: Request) -> dict[str, Any]:
    """The answer to a lookup's body, either form. Raises what `errors` knows."""
    body = request.data if isinstance(request.data, dict) else {}
    form = (SpecLookup if "spec" in body else RequestPayload)(data=request.data)
    form.is_valid(raise_exception=True)
    values = dict(form.validated_data)
    if "spec" not in values:
        project = access.context(request, values)
        return _matches(request, project, request_from(values))
    spec_values = dict(values["spec"])
    values.setdefault("study", spec_values.pop("study", None))
    project = access.context(request, values)
    spec = RunSpec.from_dict(spec_values)
    wanted = artifact_request(_kind(values.get("kind"), spec), spec, catalogue.identities(spec))
    if wanted is None:
        return _nothing(UNKNOWN_ROWS.format(spec.dataset.id))
    return _matches(request, project, wanted)


def _kind(given: str | None, spec: RunSpec) -> str:
    outputs = [OUTPUT_OF_STAGE[stage] for stage in STAGES_OF_PIPELINE[spec.pipeline]]
    kind = given or next((output for output in outputs if output in TEACHER_ARTIFACTS), None)
    if kind is None:
        raise Invalid({"kind": f"a {spec.pipeline} run needs no teacher artifact; name the kind you look for"})
    return kind


def _matches(request: Request, project: Project, wanted: ArtifactRequest) -> dict[str, Any]:
    # A token for one project looks at that project alone.
    user = None if access.bound_project(request) else access.actor(request)
    wanted = normalised(wanted)  # once for all comparisons
    found = reuse.find(wanted, project, user)
    candidates = found.candidates
    serving = [candidate for candidate in candidates if not covers(candidate.request, wanted)]
    equal = normalised(wanted)
    making = [c.artifact_id for c in serving if c.status == MAKING]
    exact = [c.artifact_id for c in serving if c.status != MAKING and normalised(c.request) == equal]
    covering = [c.artifact_id for c in serving if c.artifact_id not in {*making, *exact}]
    near = near_misses(wanted, candidates)
    decision = decide(wanted, candidates)
    shown = _shown([*exact, *covering, *making, *(miss.artifact_id for miss in near)])
    return {
        "exact": [shown[key] for key in exact],
        "covering": [shown[key] for key in covering],
        "in_progress": [shown[key] for key in making],
        "near": [
            {
                "artifact": shown[miss.artifact_id],
                "differences": dict(miss.differences),
                "asked": dict(miss.asked),
                "would_save_j": miss.would_save_j,
            }
            for miss in near
        ],
        "elsewhere": [asdict(one) for one in found.elsewhere],
        "decision": {name: asdict(decision)[name] for name in ("action", "reason", "artifact_id", "offer")},
    }


def _nothing(reason: str) -> dict[str, Any]:
    decision = {"action": None, "reason": reason, "artifact_id": None, "offer": None}
    return {"exact": [], "covering": [], "in_progress": [], "near": [], "elsewhere": [], "decision": decision}


def _shown(keys: list[str]) -> dict[str, Any]:
    rows = listed(Artifact.objects.filter(pk__in=keys)) if keys else []
    return {str(row.pk): _SERIALIZER.to_representation(row) for row in rows}
