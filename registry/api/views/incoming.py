"""Files of artifacts made elsewhere: each is sent by itself, then all are named together."""

import shutil
import tempfile
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.idempotency import once
from registry.api.parsers import OctetParser, declared_length
from registry.api.refusals import TooLarge
from registry.api.serializers.artifacts import ArtifactDetailSerializer, UploadPayload
from registry.api.serializers.incoming import FileQuery, StoredFileSerializer
from registry.api.views.artifacts import _detail
from registry.models import Artifact
from registry.services import incoming

EXAMPLE = {
    "upload": "01935a3c-0000-7000-8000-000000000000",
    "files": [{"name": "rows.jsonl", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}],
}
_CHUNK = 1 << 20
SPARE_BYTES = 2**30  # that an upload leaves on the disk it passes through


class UploadedFileView(Endpoint):
    """One file on its way into an artifact."""

    serves_rows = False
    queryset = Artifact.objects.none()
    serializer_class = StoredFileSerializer
    parser_classes = [OctetParser]
    pagination_class = None
    filter_backends = []
    scopes = {"PUT": ("upload",)}
    asks = ("sha256", "project", "study")

    @extend_schema(
        operation_id="put_artifact_file",
        parameters=[
            OpenApiParameter("sha256", str, required=True, pattern="^[0-9a-f]{64}$", description="Of the content."),
            OpenApiParameter("project", str, description="Slug; needed where you may write to several."),
            OpenApiParameter("study", str, description="Or that of a study of it."),
        ],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={200: StoredFileSerializer},
    )
    def put(self, request: Request, upload: UUID, name: str) -> Response:
        """Send one file, whole, under an id of your own choosing. Sending it again is harmless.

        Refused unless it is what its digest and its suffix say: .safetensors, .parquet, .jsonl, .json, .npz, .txt or
        .jinja, by what stands in it. What no artifact has named after a day is cleared away.
        """
        asked = FileQuery(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        values = dict(asked.validated_data)
        sha256, actor = values.pop("sha256"), access.actor(request)
        project = access.Desk(request).target(values)
        length = declared_length(request)
        incoming.check(actor=actor, project=project, name=name, bytes=length)
        with tempfile.TemporaryDirectory(prefix="stagemeter-upload-") as folder:
            path = Path(folder) / name  # which `check` has found to be a plain name
            _write(request.data, path, length)
            file = incoming.stage(actor=actor, project=project, id=upload, path=path, sha256=sha256)
        return Response(file.to_dict())


class ArtifactFilesView(Endpoint):
    """All files of an artifact."""

    queryset = Artifact.objects.none()
    serializer_class = ArtifactDetailSerializer
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("upload",)}

    @extend_schema(
        operation_id="attach_artifact_files",
        request=UploadPayload,
        responses={200: ArtifactDetailSerializer},
        examples=[OpenApiExample("Files sent before", value=EXAMPLE, request_only=True)],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Give an artifact that was registered without files those that were sent: all of them or none.

        409 with `missing` while some have not arrived. Who registered it may, and a maintainer.
        """
        artifact: Artifact = access.get(request, Artifact, pk=id)
        form = UploadPayload(data=request.data)
        form.is_valid(raise_exception=True)
        actor = access.actor(request)
        upload = incoming.upload_of(actor, form.validated_data["upload"], form.validated_data["files"])
        return Response(_detail(incoming.attach(actor=actor, artifact=artifact, upload=upload), request))


def _write(stream: IO[bytes] | Any, path: Path, declared: int | None) -> None:
    """The body to disk as it comes. Raises `TooLarge`."""
    most = min(settings.MAX_ARTIFACT_FILE_BYTES, max(0, shutil.disk_usage(path.parent).free - SPARE_BYTES))
    if (declared or 0) > most:
        raise TooLarge(f"The file has {declared} bytes; at most {most} can be taken now.")
    written = 0
    with path.open("wb") as file:
        while hasattr(stream, "read") and (chunk := stream.read(_CHUNK)):
            written += len(chunk)
            if written > most:
                raise TooLarge(f"The file has more than {most} bytes, which is as many as can be taken now.")
            file.write(chunk)
