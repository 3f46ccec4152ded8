"""Evaluation scores."""

from typing import Any

from django.urls import reverse
from rest_framework import serializers

from registry.api.fields import Number, Payload, Text, Whole
from registry.models import EvaluationScore, ScoreFile

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


class ScoreFileUpload(Payload):
    """The raw file of a score."""

    file = serializers.FileField(
        help_text="UTF-8 JSON or JSONL, or either in gzip: lm-eval's samples, AlpacaEval's annotations, …"
    )


class ScoreFileSerializer(serializers.ModelSerializer[ScoreFile]):
    """A score's raw file as it is kept, unpacked."""

    address = serializers.SerializerMethodField(help_text="Where its content is.")

    class Meta:
        model = ScoreFile
        fields = ["address", "name", "sha256", "bytes", "created_at"]
        read_only_fields = fields

    def get_address(self, file: ScoreFile) -> str:
        """Below the score's own."""
        return reverse("api:score-file", args=[file.pk])


class ScoreSerializer(serializers.ModelSerializer[EvaluationScore]):
    """A score as it is booked."""

    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    run_id = serializers.UUIDField(read_only=True)
    file = ScoreFileSerializer(read_only=True, allow_null=True, default=None, help_text="Its raw file, if it has one.")

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
            "file",
        ]
        read_only_fields = fields
