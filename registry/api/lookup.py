"""Exact, covering, in-progress and near matches for a request."""

from dataclasses import asdict
from typing import Any

from rest_framework.request import Request

from registry.accounting.spec import RunSpec
from registry.accounting.stages import TEACHER_ARTIFACTS
from registry.api import access
from registry.api.serializers.artifacts import RequestPayload, represented, request_from
from registry.api.serializers.lookup import SpecLookup
from registry.services import lookups
from registry.services.errors import Invalid
from registry.services.lookups import Answer

_BEYOND = ("every_temperature", "engine", "overlong_rows")


def answer(request: Request) -> dict[str, Any]:
    """The answer to a lookup's body, either form. Raises what `errors` knows."""
    body = request.data if isinstance(request.data, dict) else {}
    form = (SpecLookup if "spec" in body else RequestPayload)(data=request.data)
    form.is_valid(raise_exception=True)
    values = dict(form.validated_data)
    # A token for one project looks at that project alone.
    user = None if access.bound_project(request) else access.actor(request)
    if "spec" not in values:
        project = access.context(request, values)
        return _written(lookups.answer(request_from(values), project, user), request)
    spec_values = dict(values["spec"])
    values.setdefault("study", spec_values.pop("study", None))
    project = access.context(request, values)
    spec = RunSpec.from_dict(spec_values)
    beyond = {name: values[name] for name in _BEYOND if name in values}
    kind = _kind(values.get("kind"), spec, beyond)
    return _written(lookups.of_spec(kind, spec, project, user, **beyond), request)


def _kind(given: str | None, spec: RunSpec, beyond: dict[str, Any]) -> str:
    kind = given or lookups.kind_for(spec)
    if kind is None:
        raise Invalid({"kind": f"a {spec.pipeline} run needs no teacher artifact; name the kind you look for"})
    if beyond and kind not in TEACHER_ARTIFACTS:
        raise Invalid(dict.fromkeys(beyond, f"no teacher makes a {kind}; leave it out"))
    return kind


def _written(found: Answer, request: Request) -> dict[str, Any]:
    groups = {"exact": found.exact, "covering": found.covering, "in_progress": found.making}
    shown = {key: represented(row, request) for key, row in found.artifacts.items()}
    offer = None if found.offer is None else asdict(found.offer)
    return {
        **{name: [shown[one.artifact_id] for one in group] for name, group in groups.items()},
        "near": [
            {
                "artifact": shown[miss.artifact_id],
                "differences": dict(miss.differences),
                "asked": dict(miss.asked),
                "would_save_j": miss.would_save_j,
            }
            for miss in found.near
        ],
        "elsewhere": [asdict(one) for one in found.elsewhere],
        "decision": {
            "action": found.action,
            "reason": found.reason,
            "artifact_id": found.artifact_id,
            "expires_at": None if found.expires_at is None else found.expires_at.isoformat(),
            "offer": offer,
        },
    }
