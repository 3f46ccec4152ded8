"""Leases on making an artifact: of all who ask, one makes it, and the others wait."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.idempotency import once
from registry.api.serializers.artifacts import request_from
from registry.api.serializers.leases import LeaseAnswer, LeaseRequest
from registry.api.views.artifacts import _detail
from registry.models import Artifact, ArtifactLease
from registry.services import leases

EXAMPLE = {
    "kind": "logit_cache",
    "identity": {"teacher": {"id": "OLMo-2-32B", "revision": "main", "digest": "sha256:5f1c"}, "precision": "bf16"},
    "capture": {"k": 100, "temperatures": [1, 2, 4], "encoding": "fp16", "max_length": 1024},
    "row_digests": ["9d41", "77aa"],
    "seconds": 900,
}


class LeasesView(Endpoint):
    """Leases."""

    queryset = ArtifactLease.objects.none()
    serializer_class = LeaseAnswer
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("upload",)}

    @extend_schema(
        operation_id="lease_artifact",
        request=LeaseRequest,
        responses={200: LeaseAnswer},
        examples=[OpenApiExample("A cache that nobody has made", value=EXAMPLE, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """Ask for an artifact, to use it or else to make it: `use`, `cut`, `wait` or `make`.

        With `make` the lease is yours for `seconds`; send it along as `lease` to hold it for longer. It ends when what
        answers the request is registered. 409 for a lease that is over.
        """
        form = LeaseRequest(data=request.data)
        form.is_valid(raise_exception=True)
        values = dict(form.validated_data)
        project = access.Desk(request).target(values)
        seconds, renewed = values.pop("seconds", 900), values.pop("lease", None)
        answer = leases.lease(
            actor=access.actor(request),
            project=project,
            request=request_from(values),
            seconds=seconds,
            renewed=renewed,
            elsewhere=access.bound_project(request) is None,
        )
        found = access.visible(request, Artifact).filter(pk=answer.artifact_id).first() if answer.artifact_id else None
        return Response(_shown(answer, None if found is None else _detail(found, request)))


class LeaseView(Endpoint):
    """One lease."""

    queryset = ArtifactLease.objects.none()
    serializer_class = LeaseAnswer
    pagination_class = None
    filter_backends = []
    scopes = {"DELETE": ("upload",)}

    @extend_schema(operation_id="release_lease", responses={200: LeaseAnswer})
    def delete(self, request: Request, id: UUID) -> Response:
        """Give a lease of yours back, so that somebody else may make it."""
        held: ArtifactLease = access.get(request, ArtifactLease, pk=id, holder=access.actor(request))
        leases.release(actor=access.actor(request), held=held)
        return Response(_shown(leases.Answer(action="wait", reason="It was given back."), None))


def _shown(answer: leases.Answer, artifact: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "action": answer.action,
        "reason": answer.reason,
        "artifact": artifact,
        "lease": None if answer.lease_id is None else str(answer.lease_id),
        "expires_at": None if answer.expires_at is None else answer.expires_at.isoformat(),
    }
