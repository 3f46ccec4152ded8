"""Evaluation scores."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access, batches
from registry.api.endpoint import Endpoint
from registry.api.filters import ScoreFilter
from registry.api.idempotency import once
from registry.api.serializers.batches import ScoreResults
from registry.api.serializers.scores import ScoreSerializer, ScoreUpload
from registry.api.views.stages import ATOMIC
from registry.models import EvaluationScore, Origin
from registry.services import scores
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


class ScoresView(Endpoint):
    """Scores of runs."""

    queryset = EvaluationScore.objects.none()
    serializer_class = ScoreSerializer
    filterset_class = ScoreFilter
    scopes = {"POST": ("upload",)}

    @extend_schema(operation_id="list_scores", responses=ScoreSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Scores, newest first."""
        return self.listed(access.visible(request, EvaluationScore).select_related("project"))

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

        def book(body: dict[str, Any]) -> Booked[EvaluationScore]:
            project = desk.target(body)
            checked = ScoreUpload(data=body)
            checked.is_valid(raise_exception=True)
            values = dict(checked.validated_data)
            run = access.run_of(request, values.pop("run_id"), project)
            return scores.record_score(run=run, origin=Origin.UPLOAD, actor=actor, **values)

        return batches.take(request, batches.Batch(id_field="score_id", book=book, show=self._show))

    def _show(self, score: EvaluationScore) -> Any:
        return ScoreSerializer(score).data
