"""Artifacts by handle@version, and what is said of one once it is published."""

from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.idempotency import once
from registry.api.serializers.artifacts import ArtifactDetailSerializer
from registry.api.serializers.versions import AliasPayload, Supersession, Withdrawal
from registry.api.views.artifacts import _detail
from registry.models import Artifact
from registry.selectors.versions import resolve
from registry.services import artifacts, versions
from registry.services.errors import Invalid

OTHER = "01935a3c-0000-7000-8000-000000000000"


def _example(value: dict[str, str]) -> OpenApiExample:
    return OpenApiExample("As it is said", value=value, request_only=True)


class NamedArtifactView(Endpoint):
    """One artifact by the name people write down."""

    queryset = Artifact.objects.none()
    serializer_class = ArtifactDetailSerializer
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_artifact_by_name", responses=ArtifactDetailSerializer)
    def get(self, request: Request, project: str, handle: str, reference: str) -> Response:
        """The artifact that `handle@reference` means: a version such as 3, `latest` (the newest ready), or an alias."""
        found = resolve(project=project, handle=handle, reference=reference, user=request.user)
        if found is None:
            raise Http404
        return Response(_detail(access.get(request, Artifact, pk=found.pk), request))


class _Said(Endpoint):
    """Something that is said of one artifact; the answer is the artifact."""

    queryset = Artifact.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("upload",), "DELETE": ("upload",)}


class WithdrawView(_Said):
    """Take an artifact out of reuse."""

    @extend_schema(
        operation_id="withdraw_artifact",
        request=Withdrawal,
        responses={200: ArtifactDetailSerializer},
        examples=[_example({"reason": "Made with the template of another model."})],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Never offer it again, and say why. It stays in the books of the runs that used it. Needs a maintainer."""
        form = Withdrawal(data=request.data)
        form.is_valid(raise_exception=True)
        artifact: Artifact = access.get(request, Artifact, pk=id)
        artifacts.withdraw(artifact=artifact, actor=access.actor(request), **form.validated_data)
        return Response(_detail(artifact, request))


class SupersedeView(_Said):
    """Name a better artifact."""

    @extend_schema(
        operation_id="supersede_artifact",
        request=Supersession,
        responses={200: ArtifactDetailSerializer},
        examples=[_example({"by": OTHER, "reason": "Holds twice as many logits."})],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Offer it only where nothing else serves, and say which one is better and why. Needs a maintainer."""
        form = Supersession(data=request.data)
        form.is_valid(raise_exception=True)
        artifact: Artifact = access.get(request, Artifact, pk=id)
        by = access.visible(request, Artifact).filter(pk=form.validated_data["by"]).first()
        if by is None:
            raise Invalid({"by": f"{form.validated_data['by']} is no artifact that you can see"})
        reason = form.validated_data["reason"]
        versions.supersede(artifact=artifact, by=by, actor=access.actor(request), reason=reason)
        return Response(_detail(artifact, request))


class AliasesView(_Said):
    """Second names of one version."""

    @extend_schema(
        operation_id="set_alias",
        request=AliasPayload,
        responses={200: ArtifactDetailSerializer},
        examples=[_example({"alias": "stable"})],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Let an alias mean this version from now on. Needs a maintainer."""
        form = AliasPayload(data=request.data)
        form.is_valid(raise_exception=True)
        artifact: Artifact = access.get(request, Artifact, pk=id)
        versions.set_alias(artifact=artifact, actor=access.actor(request), **form.validated_data)
        return Response(_detail(artifact, request))


class AliasView(_Said):
    """One of them."""

    @extend_schema(operation_id="drop_alias", request=None, responses={200: ArtifactDetailSerializer})
    def delete(self, request: Request, id: UUID, alias: str) -> Response:
        """Take it away from this version. Needs a maintainer."""
        artifact: Artifact = access.get(request, Artifact, pk=id)
        versions.drop_alias(artifact=artifact, alias=alias, actor=access.actor(request))
        return Response(_detail(artifact, request))
