"""Stage records: the ledger's own door."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access, batches
from registry.api.bulk import ListParser, NDJSONParser
from registry.api.endpoint import Endpoint
from registry.api.filters import StageFilter
from registry.api.idempotency import once
from registry.api.serializers.batches import StageRecordResults
from registry.api.serializers.stages import (
    BookedStageSerializer,
    ListedStageSerializer,
    ReviewPayload,
    StageRecordUpload,
)
from registry.models import Origin, Stage
from registry.selectors.parts import with_parents
from registry.services import ledger, reviews
from registry.services.errors import ServiceError
from registry.services.ledger import Booked, Entry
from stagemeter.errors import RecordError
from stagemeter.records import StageRecord

ATOMIC = OpenApiParameter("atomic", str, enum=["0", "1"], description="1: book all of a list, or none of it.")
EXAMPLE = {
    "record_id": "node7-2026-01-31-training",
    "study": "my-study",
    "run_id": "kd-7b-seed0",
    "kind": "student_training",
    "started_at": "2026-01-31T12:00:00Z",
    "ended_at": "2026-01-31T13:00:00Z",
    "duration_s": 3600.0,
    "components": ["gpu", "cpu"],
    "gpu_energy_j": 2160000.0,
    "gpu_method": "nvml_counter",
    "cpu_energy_j": 180000.0,
    "cpu_method": "codecarbon_process",
    "trained_tokens": 30000000,
}


class StageRecordsView(Endpoint):
    """Stage records: what was measured."""

    queryset = Stage.objects.none()
    serializer_class = ListedStageSerializer
    filterset_class = StageFilter
    scopes = {"POST": ("upload",)}
    asks = ("atomic",)
    parser_classes = [ListParser, NDJSONParser]

    @extend_schema(operation_id="list_stage_records", responses=ListedStageSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Stage records, newest first."""
        rows = (
            with_parents(access.visible(request, Stage)).select_related("project", "trace").prefetch_related("reviews")
        )
        return self.listed(rows)

    @extend_schema(
        operation_id="book_stage_records",
        filters=False,
        parameters=[ATOMIC],
        request=PolymorphicProxySerializer(
            component_name="StageRecords",
            serializers=[StageRecordUpload, StageRecordUpload(many=True)],
            resource_type_field_name=None,
            many=False,
        ),
        responses={
            201: BookedStageSerializer,
            200: PolymorphicProxySerializer(
                component_name="StageRecordsBooked",
                serializers=[BookedStageSerializer, StageRecordResults],
                resource_type_field_name=None,
                many=False,
            ),
        },
        examples=[OpenApiExample("One record", value=EXAMPLE, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """Book one record, or a list of them.

        One: 201 when it is new, 200 when the same was booked already, 409 when another body stands under its
        `record_id`. A list: 200 with one result per record; with `?atomic=1` all are booked or none.
        """
        desk, actor = access.Desk(request), access.actor(request)

        def book(body: dict[str, Any]) -> Booked[Stage]:
            project = desk.target(body)
            record = StageRecord.from_dict(body)
            return ledger.record_stage(record=record, project=project, origin=Origin.UPLOAD, actor=actor)

        def book_all(items: list[Any]) -> list[batches.Result]:
            read = [_entry(desk, item) for item in items]
            entries = [entry for entry in read if isinstance(entry, Entry)]
            outcomes = iter(ledger.record_stages(entries, origin=Origin.UPLOAD, actor=actor))
            return [
                batches.Result(one.record.record_id, next(outcomes)) if isinstance(one, Entry) else one for one in read
            ]

        form = batches.Batch(id_field="record_id", book=book, book_all=book_all, show=self._show)
        return batches.take(request, form)

    def _show(self, stage: Stage) -> Any:
        return BookedStageSerializer(stage).data


class ReviewsView(Endpoint):
    """What is said of one record."""

    queryset = Stage.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("upload",)}

    @extend_schema(
        operation_id="review_stage_record",
        request=ReviewPayload,
        responses={201: BookedStageSerializer},
        examples=[
            OpenApiExample(
                "It is true all the same",
                value={"verdict": "accepted", "reason": "The limit was raised by hand; the wall meter agrees."},
                request_only=True,
            )
        ],
    )
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Accept a doubted record with a reason, doubt one, or take one back. Needs a maintainer of its project.

        A doubted record is kept and shown, and keeps its run off the frontier until somebody accepts it.
        """
        form = ReviewPayload(data=request.data)
        form.is_valid(raise_exception=True)
        stage: Stage = access.get(request, Stage, pk=id)
        reviews.review(stage=stage, actor=access.actor(request), **form.validated_data)
        return Response(BookedStageSerializer(stage).data, status=201)


def _entry(desk: access.Desk, item: dict[str, Any] | Exception) -> Entry | batches.Result:
    """The item as an entry of the ledger, or as the refusal it is."""
    if isinstance(item, Exception):
        return batches.Result(None, item)
    try:
        project = desk.target(item)
        return Entry(record=StageRecord.from_dict(item), project=project)
    except (ServiceError, RecordError) as error:
        known = item.get("record_id")
        return batches.Result(known if isinstance(known, str) else None, error)
