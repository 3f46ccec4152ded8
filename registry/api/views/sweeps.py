"""Sweeps over REST: planned and submitted whole."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from registry.accounting.sweeps import Sweep, expand
from registry.api import access
from registry.api.endpoint import Endpoint
from registry.api.idempotency import once
from registry.api.serializers.runs import RunSerializer
from registry.api.serializers.sweeps import NeedSerializer, SweepAnswer, SweepPlanSerializer, SweepSubmission
from registry.api.views.artifacts import SPEC
from registry.models import Run, Study
from registry.services import sweeps
from registry.services.errors import Invalid

GRIDS: list[dict[str, Any]] = [
    {**SPEC, "distillation": {"temperature": [1, 2, 4], "ce_weight": [0.3, 0.5, 0.8]}},
    {
        **SPEC,
        "pipeline": "synthetic_sft",
        "decoding": {"max_new_tokens": [4, 8, 16]},
        "dataset": {**SPEC["dataset"], "train_rows": [400, 200]},
    },
]
EXAMPLE = OpenApiExample("15 runs", value={"study": "tour", "grids": GRIDS}, request_only=True)


class SweepsView(Endpoint):
    """Runs submitted together."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("submit",)}

    @extend_schema(
        operation_id="submit_sweep", request=SweepSubmission, responses={201: SweepAnswer}, examples=[EXAMPLE]
    )
    @once
    def post(self, request: Request) -> Response:
        """Submit every run that the grids stand for, or none. Whoever asks for most of an artifact makes it."""
        study, sweep = _submission(request)
        runs = sweeps.submit(actor=access.actor(request), study=study, sweep=sweep)
        return Response({"runs": RunSerializer(runs, many=True).data}, status=201)


class SweepPlanView(Endpoint):
    """What submitting the grids would do."""

    queryset = Run.objects.none()
    pagination_class = None
    filter_backends = []
    scopes = {"POST": ("read", "submit")}

    @extend_schema(
        operation_id="plan_sweep", request=SweepSubmission, responses={200: SweepPlanSerializer}, examples=[EXAMPLE]
    )
    @once
    def post(self, request: Request) -> Response:
        """The runs, the artifacts they share, and what that saves. Changes nothing."""
        study, sweep = _submission(request)
        user = None if access.bound_project(request) else access.actor(request)
        plan = sweeps.plan(user=user, study=study, sweep=sweep)
        answer = {
            "study": study.slug,
            "runs": [{"varied": sweep.values(spec), "spec": spec.to_dict()} for spec in sweep.specs],
            "left_out": sweep.left_out,
            "artifacts": NeedSerializer(plan.needs, many=True, context={"request": request}).data,
            "needs_reference": plan.needs_reference,
            "expected_energy_j": plan.burnt_j,
            "saved_j": plan.saved_j,
            "saved_by_exact_j": plan.saved_by_exact_j,
        }
        return Response(answer)


def _submission(request: Request) -> tuple[Study, Sweep]:
    form = SweepSubmission(data=request.data)
    form.is_valid(raise_exception=True)
    slug = form.validated_data["study"]
    study = access.visible(request, Study).select_related("project").filter(slug=slug).first()
    if study is None:
        raise Invalid({"study": f"{slug[:80]!r} is no study that you can see"})
    return study, expand(form.validated_data["grids"])
