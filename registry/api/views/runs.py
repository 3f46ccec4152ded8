"""Runs: listed, planned, submitted, uploaded, cancelled."""

from dataclasses import asdict
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounting.presets import NAMED
from registry.accounting.spec import RunSpec
from registry.api import access, batches, run_rows
from registry.api.bulk import ListParser, NDJSONParser
from registry.api.endpoint import Endpoint
from registry.api.filters import RunFilter
from registry.api.idempotency import once
from registry.api.pagination import ordered_by
from registry.api.refusals import TooLarge
from registry.api.serializers.artifacts import ArtifactSerializer
from registry.api.serializers.batches import CREATED, SAME, RunResults
from registry.api.serializers.runs import (
    RunDetailSerializer,
    RunPlanSerializer,
    RunRowSerializer,
    RunSerializer,
    UploadAnswer,
)
from registry.api.serializers.specs import RunSubmission
from registry.api.serializers.uploads import ArtifactDeclarations, RunDocument
from registry.api.views.artifacts import SPEC
from registry.api.views.stages import ATOMIC
from registry.models import Artifact, Run, Study
from registry.services import runs, uploads
from registry.services.errors import Invalid, ServiceError
from registry.services.ledger import Booked
from registry.services.runs import RunPlan, StagePlan

DOCUMENT: dict[str, Any] = {
    "schema_version": 1,
    "study": "my-study",
    "run": {
        "external_id": "kd-1b-seed0",
        "pipeline": "kd",
        "student": "allenai/OLMo-2-0425-1B",
        "student_size": "1B",
        "teacher": "allenai/OLMo-2-0325-32B-SFT",
        "workload": "tulu-3",
        "seed": 0,
        "hardware_class": "H100 80GB",
    },
    "stages": [
        {
            "record_id": "kd-1b-seed0-training",
            "kind": "student_training",
            "started_at": "2026-01-31T12:00:00Z",
            "ended_at": "2026-01-31T15:00:00Z",
            "duration_s": 10800.0,
            "components": ["gpu", "cpu"],
            "gpu_energy_j": 6480000.0,
            "cpu_energy_j": 540000.0,
        }
    ],
    "scores": [{"benchmark": "gsm8k", "value": 0.41, "n": 1319}],
}


class RunsView(Endpoint):
    """Runs."""

    queryset = Run.objects.none()
    serializer_class = RunRowSerializer
    filterset_class = RunFilter
    scopes = {"POST": ("submit",)}

    @extend_schema(operation_id="list_runs", responses=RunRowSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Runs, newest first, each in short; `fields` names more: project, origin, teacher, summary, when it ran."""
        wanted = self.fields(run_rows.KNOWN) or run_rows.SHORT
        rows = self.filter_queryset(access.visible(request, Run))
        columns = dict.fromkeys([*run_rows.columns(wanted), *ordered_by(request, self)])
        page = self.paginate_queryset(rows.values_list(*columns, named=True))
        return self.get_paginated_response(run_rows.shown(page or (), wanted))

    @extend_schema(
        operation_id="submit_run",
        filters=False,
        request=RunSubmission,
        responses={201: RunDetailSerializer},
        examples=[OpenApiExample("A run", value={"study": "tour", **SPEC}, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """Submit a run.

        With `regenerate` and no `regenerate_reason` while the teacher artifact exists: 409, with the artifact.
        """
        study, spec, options = _submission(request)
        run = runs.submit(actor=access.actor(request), study=study, spec=spec, **options)
        return Response(_detail(run, request), status=201)


class PlanView(Endpoint):
    """What submitting would do."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("read", "submit")}

    @extend_schema(
        operation_id="plan_run",
        request=RunSubmission,
        responses={200: RunPlanSerializer},
        examples=[OpenApiExample("A run", value={"study": "tour", **SPEC}, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """The stages that would run, what each is expected to cost, and the reuse decisions. Changes nothing."""
        study, spec, _ = _submission(request)
        user = None if access.bound_project(request) else access.actor(request)
        return Response(_plan(runs.plan(user=user, study=study, spec=spec), study, request))


class UploadView(Endpoint):
    """Runs measured elsewhere."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("upload",)}
    asks = ("atomic",)
    parser_classes = [ListParser, NDJSONParser]

    @extend_schema(
        operation_id="upload_run",
        parameters=[ATOMIC],
        request=PolymorphicProxySerializer(
            component_name="RunDocuments",
            serializers=[RunDocument, RunDocument(many=True)],
            resource_type_field_name=None,
            many=False,
        ),
        responses={
            201: UploadAnswer,
            200: PolymorphicProxySerializer(
                component_name="RunsUploaded",
                serializers=[UploadAnswer, RunResults],
                resource_type_field_name=None,
                many=False,
            ),
        },
        examples=[OpenApiExample("A run on a cluster", value=DOCUMENT, request_only=True)],
    )
    @once
    def post(self, request: Request) -> Response:
        """Book a whole run, or a list of them.

        One: 201 when it is new; 200 when it was here, with whatever the document adds to it. All of it is booked, or
        nothing; sending the same document again changes nothing. A list: 200 with one result per run, "created" where
        it brought anything new; with `?atomic=1` all are booked or none.
        """
        # No serializer reads it: the service checks the same fields, and a form costs more than all the booking.
        actor, within = access.actor(request), access.bound_project(request)

        def book(document: dict[str, Any]) -> Booked[uploads.UploadResult]:
            _check_document(request, document)
            result = uploads.upload_run(actor=actor, document=document, within=within)
            return Booked(result, created=result.created)

        def book_all(items: list[dict[str, Any] | Exception]) -> list[batches.Result]:
            checked = [_checked(request, item) for item in items]
            documents = [one for one in checked if isinstance(one, dict)]
            found = iter(uploads.upload_runs(actor=actor, documents=documents, within=within))
            return [
                batches.Result(_name(item), _outcome(next(found)) if isinstance(one, dict) else one)
                for item, one in zip(items, checked, strict=True)
            ]

        form = batches.Batch(id_field="external_id", book=book, book_all=book_all, show=_uploaded, weight=10)
        return batches.take(request, form)


class RunView(Endpoint):
    """One run."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []

    @extend_schema(operation_id="get_run", responses=RunDetailSerializer)
    def get(self, request: Request, id: UUID) -> Response:
        """The run in full. Its `spec` can be posted again as it is."""
        return Response(_detail(access.get(request, Run, pk=id), request))


class CancelView(Endpoint):
    """Stop a run."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("submit",)}

    @extend_schema(operation_id="cancel_run", request=None, responses={200: RunDetailSerializer})
    @once
    def post(self, request: Request, id: UUID) -> Response:
        """Cancel a queued or running run. What it burnt stays in the books."""
        run = access.get(request, Run, pk=id)
        return Response(_detail(runs.cancel(actor=access.actor(request), run=run), request))


def _submission(request: Request) -> tuple[Study, RunSpec, dict[str, Any]]:
    """Study, spec and options: the spec's fields on top, or under `spec`. Raises `Invalid` or `SpecError`."""
    if not isinstance(request.data, dict):
        raise Invalid({"body": f"{str(request.data)[:80]!r} is not an object"})
    body = dict(request.data)
    options = {"regenerate": body.pop("regenerate", False), "regenerate_reason": body.pop("regenerate_reason", "")}
    problems = {}
    if not isinstance(options["regenerate"], bool):
        problems["regenerate"] = f"{str(options['regenerate'])[:80]!r} is not true or false"
    if not isinstance(options["regenerate_reason"], str) or len(options["regenerate_reason"]) > 2000:
        problems["regenerate_reason"] = "must be a text of at most 2,000 characters"
    if isinstance(body.get("spec"), dict):
        body = {**body.pop("spec"), **body}
    slug = body.pop("study", None)
    study = access.visible(request, Study).filter(slug=slug).first() if isinstance(slug, str) else None
    if study is None:
        problems["study"] = f"{str(slug)[:80]!r} is no study that you can see" if slug else "this field is required"
    if problems:
        raise Invalid(problems)
    spec = RunSpec.from_dict(_over_preset(body))
    runs.check_pipeline(spec)
    return study, spec, options  # type: ignore[return-value]  # a missing study was refused above


def _over_preset(body: dict[str, Any]) -> dict[str, Any]:
    """The body's fields over those of the preset it names. Raises `Invalid` for a preset nobody made."""
    name = body.pop("preset", None)
    if name is None:
        return body
    if not isinstance(name, str) or name not in NAMED:
        raise Invalid({"preset": f"{str(name)[:80]!r} is no preset; known are {', '.join(NAMED)}"})
    whole = NAMED[name]().to_dict()
    for key, value in body.items():
        part = whole.get(key)
        whole[key] = {**part, **value} if isinstance(part, dict) and isinstance(value, dict) else value
    return whole


def _plan(plan: RunPlan, study: Study, request: Request) -> dict[str, Any]:
    misses = {
        miss.artifact_id for stage in plan.stages for miss in (stage.decision.near_misses if stage.decision else ())
    }
    near = {
        str(row.pk): ArtifactSerializer(row, context={"request": request}).data
        for row in access.visible(request, Artifact).filter(pk__in=misses)
    }
    return {
        "study": study.slug,
        "spec": plan.spec.to_dict(),
        "needs_reference": plan.needs_reference,
        "stages": [_stage(stage, near, request) for stage in plan.stages],
    }


def _stage(stage: StagePlan, near: dict[str, Any], request: Request) -> dict[str, Any]:
    decision = stage.decision
    misses = decision.near_misses if decision else ()
    return {
        "kind": stage.planned.kind,
        "role": stage.planned.role,
        "output": stage.planned.output,
        "action": decision.action if decision else None,
        "reason": decision.reason if decision else "",
        "artifact": ArtifactSerializer(stage.artifact, context={"request": request}).data if stage.artifact else None,
        "near": [
            {
                "artifact": near[miss.artifact_id],
                "differences": dict(miss.differences),
                "asked": dict(miss.asked),
                "would_save_j": miss.would_save_j,
            }
            for miss in misses
            if miss.artifact_id in near
        ],
        "offer": asdict(decision.offer) if decision and decision.offer else None,
        "expected_energy_j": stage.expected.energy_j,
        "expected_basis": stage.expected.basis,
        "floor": asdict(stage.expected.floor) if stage.expected.floor else None,
        "memory_bytes": stage.expected.memory_bytes,
    }


def _check_document(request: Request, document: dict[str, Any]) -> None:
    """What only the request knows: the cap, and what its token may see."""
    items = sum(len(found) for key in ("stages", "scores") if isinstance(found := document.get(key), list))
    if items > settings.MAX_LIST_ITEMS:
        raise TooLarge(f"A document may hold {settings.MAX_LIST_ITEMS:,} stages and scores, this one has {items:,}.")
    if not document.get("artifacts"):
        return
    form = ArtifactDeclarations(data={"artifacts": document["artifacts"]})
    form.is_valid(raise_exception=True)
    if access.bound_project(request) is None:
        return
    for place, item in enumerate(document["artifacts"]):
        if "use" in item and not access.visible(request, Artifact).filter(pk__in=_keys(item["use"])).exists():
            raise Invalid({f"artifacts.{place}.use": f"{item['use']!r} is no artifact this token can see"})


def _checked(request: Request, item: dict[str, Any] | Exception) -> dict[str, Any] | Exception:
    """The document, or what it is refused with before it is read."""
    if isinstance(item, Exception):
        return item
    try:
        _check_document(request, item)
    except (ServiceError, APIException) as error:
        return error
    return item


def _outcome(found: uploads.Uploaded) -> bool | Exception:
    if isinstance(found, ServiceError):
        return found
    return found.created or any(new for _, new in (*found.stages, *found.scores))


def _name(item: dict[str, Any] | Exception) -> str | None:
    """The run's own name, as far as the document could be read."""
    run = item.get("run") if isinstance(item, dict) else None
    name = run.get("external_id") if isinstance(run, dict) else None
    return name if isinstance(name, str) else None


def _keys(text: str) -> list[UUID]:
    try:
        return [UUID(text)]
    except ValueError:
        return []


@cache
def _shape() -> RunSerializer:
    """One for all answers: building it costs more than using it."""
    return RunSerializer()


def _uploaded(result: uploads.UploadResult) -> dict[str, Any]:
    return {
        "run": _shape().to_representation(result.run),
        "created": result.created,
        "stages": [
            {"index": index, "record_id": record_id, "status": CREATED if new else SAME}
            for index, (record_id, new) in enumerate(result.stages)
        ],
        "scores": [{"score_id": score_id, "status": CREATED if new else SAME} for score_id, new in result.scores],
    }


def _detail(run: Run, request: Request) -> dict[str, Any]:
    return dict(
        RunDetailSerializer(run, context={"request": request, "artifacts": access.visible(request, Artifact)}).data
    )
