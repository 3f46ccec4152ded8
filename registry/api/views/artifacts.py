"""Artifacts: found, registered, looked up before they are made again, and their files."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access, downloads, lookup
from registry.api.endpoint import Endpoint
from registry.api.filters import ArtifactFilter
from registry.api.idempotency import once
from registry.api.serializers.artifacts import (
    ArtifactDetailSerializer,
    ArtifactRegistration,
    ArtifactSerializer,
    LicencePayload,
    RequestPayload,
    SharingPayload,
    listed,
    request_from,
)
from registry.api.serializers.lookup import LookupAnswer, SpecLookup
from registry.models import Artifact, Run
from registry.services import artifacts, incoming, licences
from registry.services.errors import Missing, NotAllowed

REGISTRATION: dict[str, Any] = {
    "project": "my-lab",
    "kind": "logit_cache",
    "name": "OLMo-2 32B over TULU-3, top 100",
    "identity": {
        "teacher": {"id": "allenai/OLMo-2-0325-32B-SFT", "revision": "main", "digest": "sha256:5f1c…"},
        "tokenizer_digest": "sha256:77aa…",
        "template_digest": "sha256:09de…",
        "precision": "bf16",
    },
    "capture": {"k": 100, "temperatures": [1, 2, 4], "encoding": "fp16", "max_length": 1024},
    "row_digests": ["3b7e…", "c04d…"],
    "licence": "Apache-2.0 AND ODC-By-1.0",
    "production_energy_j": 38160000.0,
    "evidence_note": "read off the job's power log",
}
NARROWER: dict[str, Any] = {
    "licence": "Apache-2.0 AND ODC-By-1.0 AND CC-BY-NC-4.0",
    "note": "The prompts come from a source that forbids commerce.",
}
SPEC: dict[str, Any] = {
    "pipeline": "kd",
    "teacher": {"id": "smollm2-135m-instruct"},
    "student": {"id": "smollm2-135m-instruct", "drop_layers": "10-19"},
    "dataset": {"id": "tour-facts", "train_rows": 400, "validation_rows": 40, "evaluation_rows": 100},
}


class ArtifactsView(Endpoint):
    """Artifacts that others can use."""

    queryset = Artifact.objects.none()
    serializer_class = ArtifactSerializer
    filterset_class = ArtifactFilter
    scopes = {"POST": ("upload",)}

    @extend_schema(operation_id="list_artifacts", responses=ArtifactSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Artifacts, newest first. `search` looks into name, teacher, dataset and licence."""
        return self.listed(listed(access.visible(request, Artifact)))

    @extend_schema(
        operation_id="register_artifact",
        filters=False,
        request=ArtifactRegistration,
        responses={201: ArtifactDetailSerializer},
        examples=[OpenApiExample("A logit cache made elsewhere", value=REGISTRATION, request_only=True)],
    )
    @once
    @transaction.atomic
    def post(self, request: Request) -> Response:
        """Register an artifact made elsewhere, with its files where `stored` names them.

        409, with the artifact, when one answers the same request already; with `missing` while files have not arrived.
        """
        form = ArtifactRegistration(data=request.data)
        form.is_valid(raise_exception=True)
        values = dict(form.validated_data)
        project = access.Desk(request).target(values)
        made_by, stored = values.pop("run_id", None), values.pop("stored", None)
        actor = access.actor(request)
        upload = incoming.upload_of(actor, stored["upload"], stored["files"]) if stored else None
        files = incoming.gather(upload, project) if upload else []
        artifact = artifacts.register(
            actor=actor,
            project=project,
            made_by_run=access.run_of(request, made_by, project) if made_by else None,
            name=values.pop("name", "") or Artifact.Kind(values["kind"]).label,
            production_energy_j=values.pop("production_energy_j", None),
            request=request_from(values),
            licensing={key: values.pop(key) for key in licences.STATED if key in values},
            elsewhere=access.bound_project(request) is None,
            **values,
        )
        if upload:
            incoming.keep(actor=actor, artifact=artifact, upload=upload, files=files)
        return Response(_detail(artifact, request), status=201)


class ArtifactView(Endpoint):
    """One artifact."""

    queryset = Artifact.objects.none()
    serializer_class = ArtifactDetailSerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_artifact", responses=ArtifactDetailSerializer)
    def get(self, request: Request, id: UUID) -> Response:
        """The artifact, with its rows, its files and the runs that used it."""
        return Response(_detail(access.get(request, Artifact, pk=id), request))


class AnyAccept(DefaultContentNegotiation):
    """The file is what it is, whatever the client would rather have; refusals are JSON."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """The first renderer."""
        return renderers[0], renderers[0].media_type


class ArtifactFileView(Endpoint):
    """One file of an artifact."""

    serves_rows = False
    queryset = Artifact.objects.none()
    content_negotiation_class = AnyAccept
    pagination_class = None
    filter_backends = []

    @extend_schema(
        operation_id="get_artifact_file",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, id: UUID, name: str) -> HttpResponseBase:
        """The file's content, or one `Range` of it. Its SHA-256 stands in the artifact's `files`, and is its ETag.

        403 for who is no member of its project, where its licence is unknown or does not let others use it.

        Where the installation says so, 302 to an address of the store's own that is good for five minutes.
        """
        artifact: Artifact = access.get(request, Artifact, pk=id)
        entries = artifact.manifest if artifact.storage_key and artifact.status != Artifact.Status.CORRUPT else []
        # The name is only compared with those in the manifest; no path is ever made of what was sent.
        entry = next((entry for entry in entries if entry["name"] == name), None)
        if entry is None:
            raise Missing(f"{artifact.name} has no file of that name here; see its 'files'.")
        if (why := licences.why_members_only(artifact, request.user)) is not None:
            raise NotAllowed(why)
        return downloads.answer(request, artifact.storage_key, entry)

    @extend_schema(exclude=True)
    def head(self, request: Request, id: UUID, name: str) -> HttpResponseBase:
        """What GET would answer with, without the content."""
        return self.get(request, id, name)


class SharingView(Endpoint):
    """Who may use an artifact beside its project."""

    queryset = Artifact.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("upload",)}

    @extend_schema(
        operation_id="share_artifact",
        request=SharingPayload,
        responses=ArtifactDetailSerializer,
        examples=[OpenApiExample("Let others know of it", value={"sharing": "request"}, request_only=True)],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Publish it to every project (`shared`), let others know that it exists (`request`), or keep it (`project`).

        Needs a maintainer. 409 where its licence is unknown or does not let others use it.
        """
        artifact = access.get(request, Artifact, pk=id)
        form = SharingPayload(data=request.data)
        form.is_valid(raise_exception=True)
        licences.share(actor=access.actor(request), artifact=artifact, **form.validated_data)
        return Response(_detail(artifact, request))


class LicenceView(Endpoint):
    """What may be done with an artifact."""

    queryset = Artifact.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("upload",)}

    @extend_schema(
        operation_id="narrow_licence",
        request=LicencePayload,
        responses=ArtifactDetailSerializer,
        examples=[OpenApiExample("Not for commerce", value=NARROWER, request_only=True)],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """State a stricter licence, or the first where none is known, with a note. Needs a maintainer."""
        artifact = access.get(request, Artifact, pk=id)
        form = LicencePayload(data=request.data)
        form.is_valid(raise_exception=True)
        values = {"may_train": artifact.may_train} | form.validated_data
        licences.narrow(
            actor=access.actor(request),
            artifact=artifact,
            name=values.pop("licence_name", ""),
            link=values.pop("licence_link", ""),
            **values,
        )
        return Response(_detail(artifact, request))


class LookupView(Endpoint):
    """Is there one already?"""

    queryset = Artifact.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("read", "submit", "upload")}

    @extend_schema(
        operation_id="look_up_artifacts",
        request=PolymorphicProxySerializer(
            component_name="Lookup",
            serializers=[SpecLookup, RequestPayload],
            resource_type_field_name=None,
            many=False,
        ),
        responses={200: LookupAnswer},
        examples=[OpenApiExample("What a run would need", value={"spec": SPEC}, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """What answers a request: exactly, by being cut, once it is made, or nearly. Changes nothing.

        Ask with a run's `spec`, or with what determines the artifact. `decision` says what a run would do.
        """
        return Response(lookup.answer(request))


def _detail(artifact: Artifact, request: Request) -> dict[str, Any]:
    details = {"request": request, "runs": access.visible(request, Run)}
    return dict(ArtifactDetailSerializer(artifact, context=details).data)
