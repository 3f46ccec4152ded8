"""Evaluation scores."""

from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access, batches, downloads
from registry.api.bulk import ListParser, NDJSONParser
from registry.api.endpoint import Endpoint
from registry.api.filters import ScoreFilter
from registry.api.idempotency import once
from registry.api.parsers import CappedFormParser
from registry.api.serializers.batches import ScoreResults
from registry.api.serializers.scores import ScoreFileSerializer, ScoreFileUpload, ScoreSerializer, ScoreUpload
from registry.api.views.artifacts import AnyAccept
from registry.api.views.stages import ATOMIC
from registry.models import EvaluationScore, Origin, Run, ScoreFile
from registry.services import scorefiles, scores
from registry.services.errors import Missing, ServiceError
from registry.services.ledger import Booked

EXAMPLE = {
    "study": "my-study",
    "run_id": "kd-7b-seed0",
    "benchmark": "gsm8k",
    "metric": "exact_match",
    "value": 0.612,
    "stderr": 0.013,
    "n": 1319,
    "shots": 8,
    "harness_version": "lm-eval 0.4.13",
}
FILE_EXAMPLE = {
    "file": '{"doc_id": 0, "target": "18", "exact_match": 1.0}\n{"doc_id": 1, "target": "3", "exact_match": 0.0}\n'
}


class ScoresView(Endpoint):
    """Scores of runs."""

    queryset = EvaluationScore.objects.none()
    serializer_class = ScoreSerializer
    filterset_class = ScoreFilter
    scopes = {"POST": ("upload",)}
    asks = ("atomic",)
    parser_classes = [ListParser, NDJSONParser]

    @extend_schema(operation_id="list_scores", responses=ScoreSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Scores, newest first."""
        return self.listed(access.visible(request, EvaluationScore).select_related("project", "file"))

    @extend_schema(
        operation_id="book_scores",
        filters=False,
        parameters=[ATOMIC],
        request=PolymorphicProxySerializer(
            component_name="Scores",
            serializers=[ScoreUpload, ScoreUpload(many=True)],
            resource_type_field_name=None,
            many=False,
        ),
        responses={
            201: ScoreSerializer,
            200: PolymorphicProxySerializer(
                component_name="ScoresBooked",
                serializers=[ScoreSerializer, ScoreResults],
                resource_type_field_name=None,
                many=False,
            ),
        },
        examples=[OpenApiExample("One score", value=EXAMPLE, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """Book one score, or a list of them.

        One: 201 when it is new, 200 when the same was booked already, 409 when another value stands under its
        `score_id`. A list: 200 with one result per score; with `?atomic=1` all are booked or none.
        """
        desk, actor = access.Desk(request), access.actor(request)

        def read(body: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
            project = desk.target(body)
            checked = ScoreUpload(data=body)
            checked.is_valid(raise_exception=True)
            values = dict(checked.validated_data)
            return access.run_of(request, values.pop("run_id"), project), values

        def book(body: dict[str, Any]) -> Booked[EvaluationScore]:
            run, values = read(body)
            return scores.record_score(run=run, origin=Origin.UPLOAD, actor=actor, **values)

        def book_all(items: list[Any]) -> list[batches.Result]:
            taken = [_entry(read, item) for item in items]
            entries = [entry for entry in taken if isinstance(entry, tuple)]
            found = iter(scores.record_scores(entries, origin=Origin.UPLOAD, actor=actor))
            return [batches.Result(*next(found)) if isinstance(one, tuple) else one for one in taken]

        form = batches.Batch(id_field="score_id", book=book, book_all=book_all, show=self._show)
        return batches.take(request, form)

    def _show(self, score: EvaluationScore) -> Any:
        return ScoreSerializer(score).data


class ScoreFileView(Endpoint):
    """The raw file of one score."""

    serves_rows = False
    queryset = EvaluationScore.objects.none()
    serializer_class = ScoreFileSerializer
    content_negotiation_class = AnyAccept
    pagination_class = None
    filter_backends = []
    parser_classes = [CappedFormParser]
    scopes = {"POST": ("upload",)}

    @extend_schema(
        operation_id="get_score_file",
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, id: UUID) -> HttpResponseBase:
        """The file's content, or one `Range` of it; its SHA-256 is its ETag. Whoever sees the score may read it."""
        score: EvaluationScore = access.get(request, EvaluationScore, pk=id)
        file = ScoreFile.objects.filter(score=score).first()
        if file is None:
            raise Missing(f"The score {score.score_id} has no raw file.")
        return downloads.answer(
            request, file.storage_key, {"name": file.name, "sha256": file.sha256, "bytes": file.bytes}
        )

    @extend_schema(exclude=True)
    def head(self, request: Request, id: UUID) -> HttpResponseBase:
        """What GET would answer with, without the content."""
        return self.get(request, id)

    @extend_schema(
        operation_id="upload_score_file",
        request={"multipart/form-data": ScoreFileUpload},
        responses={(201, "application/json"): ScoreFileSerializer, (200, "application/json"): ScoreFileSerializer},
        examples=[
            OpenApiExample(
                "Two rows of lm-eval", value=FILE_EXAMPLE, request_only=True, media_type="multipart/form-data"
            )
        ],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Put its raw file beside a score: JSON or JSONL in UTF-8, plain or in gzip. 201; 200 for the same again.

        It is kept unpacked under its SHA-256. Another file beside the same score is 409.
        """
        form = ScoreFileUpload(data=request.data)
        form.is_valid(raise_exception=True)
        score: EvaluationScore = access.get(request, EvaluationScore, pk=id)
        file, created = scorefiles.take(score=score, content=form.validated_data["file"], actor=access.actor(request))
        return Response(ScoreFileSerializer(file).data, status=201 if created else 200)


def _entry(read: Any, item: dict[str, Any] | Exception) -> tuple[Run, scores.Score] | batches.Result:
    """The item as a run and its score, or as the refusal it is."""
    if isinstance(item, Exception):
        return batches.Result(None, item)
    known = item.get("score_id")
    try:
        run, values = read(item)
        return run, scores.Score.from_dict(values)
    except (ServiceError, ValidationError) as error:
        return batches.Result(known if isinstance(known, str) else None, error)
