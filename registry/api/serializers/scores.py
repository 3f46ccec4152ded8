"""Evaluation scores."""

from typing import Any

from rest_framework import serializers

from registry.api.fields import Number, Payload, Text, Whole
from registry.models import EvaluationScore

_SMALL, _LARGE = 2**15 - 1, 2**31 - 1  # what the columns hold


class ScoreItem(Payload):
    """One benchmark's value for the model that a run made. The judge and the harness belong to its identity."""

    benchmark = Text(max_length=100)
    value = Number()
    score_id = Text(
        max_length=200,
        required=False,
        help_text="Yours to choose; derived from run, benchmark, metric, shots, judge and harness if left out.",
    )
    metric = Text(max_length=100, required=False, allow_blank=True)
    stderr = Number(required=False, allow_null=True, min_value=0, help_text="Standard error.")
    n = Whole(required=False, allow_null=True, min_value=0, max_value=_LARGE, help_text="Rows it was measured on.")
    shots = Whole(required=False, min_value=0, max_value=_SMALL)
    judge = Text(max_length=200, required=False, allow_blank=True)
    harness_version = Text(max_length=100, required=False, allow_blank=True)


class ScoreUpload(ScoreItem):
    """A score and the run whose model it is of."""

    run_id = Text(max_length=200, help_text="The run's id, or your own name for it.")
    project = Text(required=False, help_text="Slug of one of your projects.")
    study = Text(required=False, help_text="Slug of a study; the score goes to its project.")


class ScoreSerializer(serializers.ModelSerializer[EvaluationScore]):
    """A score as it is booked."""

    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    run_id = serializers.UUIDField(read_only=True)

    class Meta:
        model = EvaluationScore
        fields = [
            "id",
            "project",
            "run_id",
            "score_id",
            "benchmark",
            "metric",
            "value",
            "stderr",
            "n",
            "shots",
            "judge",
            "harness_version",
            "origin",
            "created_at",
        ]
        read_only_fields = fields
