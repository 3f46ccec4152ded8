"""Foreign files on the wire."""

import json
from typing import Any

from rest_framework import serializers

from registry.api.parsers import loads
from registry.importers.booking import KINDS, Preview, Row
from registry.models import Run

ANSWERS = {
    "runs": {"emissions": {"external_id": "sft-1b-seed0", "pipeline": "sft", "student": "allenai/OLMo-2-0425-1B"}},
    "stages": {"5b0fa12a-3dd7-45bb-9766-cc326314d9f1": "student_training"},
    "questions": {"zone": "+02:00"},
}


class AnswersField(serializers.CharField):
    """A JSON object in a form's text field, read as strictly as any body."""

    def to_internal_value(self, data: Any) -> Any:
        """The object."""
        return loads(super().to_internal_value(data).encode(errors="surrogatepass"))


class ImportUpload(serializers.Serializer[Any]):
    """A file, and what it does not say itself."""

    file = serializers.FileField(help_text="In any of the known formats; which one is seen from its content.")
    study = serializers.CharField(max_length=80, help_text="Slug of the study it goes to.")
    dry_run = serializers.ChoiceField(
        ["0", "1"], default="0", help_text="1: say what would be booked and what is still to be said; keep nothing."
    )
    redact = serializers.ChoiceField(
        ["0", "1"], default="1", help_text="0: keep host names, user names and home paths that stand in the file."
    )
    answers = AnswersField(
        required=False,
        help_text=(
            "JSON: `runs` (name in the file → external_id, pipeline, student, … or `leave_out`), `stages` (key → kind: "
            f"{', '.join(KINDS)}), `scores` (benchmarks to take), `questions` (name → answer)."
        ),
    )

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The values. Raises `ValidationError` for unknown fields too."""
        if unknown := set(data) - set(self.fields):
            raise serializers.ValidationError(
                {name: [f"unknown; known here: {', '.join(self.fields)}"] for name in unknown}
            )
        values: dict[str, Any] = super().to_internal_value(data)
        return values


class FlagSerializer(serializers.Serializer[Any]):
    """A doubt about a figure."""

    code = serializers.CharField()
    message = serializers.CharField()


class QuestionSerializer(serializers.Serializer[Any]):
    """Something the file does not say and its figures hang on."""

    name = serializers.CharField()
    text = serializers.CharField()
    choices = serializers.ListField(child=serializers.CharField())
    default = serializers.CharField(allow_blank=True, help_text="Empty: it must be answered.")


class ImportRow(serializers.Serializer[Any]):
    """A stage or a score as it would be booked."""

    what = serializers.ChoiceField(["stage", "score"])
    key = serializers.CharField(help_text="Of a stage: what it is called in `answers.stages`.")
    run = serializers.CharField(help_text="What it is called in `answers.runs`.")
    title = serializers.CharField(help_text="For people.")
    kind = serializers.CharField()
    status = serializers.ChoiceField(["new", "same", "refused", "left_out", "open"])
    energy_j = serializers.FloatField(allow_null=True, help_text="Joules; null with a hole in it.")
    duration_s = serializers.FloatField(allow_null=True)
    value = serializers.FloatField(allow_null=True)
    flags = FlagSerializer(many=True)
    problems = serializers.DictField()


class ImportAnswer(serializers.Serializer[Any]):
    """What an import came to, or would come to."""

    format = serializers.CharField()
    file = serializers.DictField(help_text="Its name, bytes and sha256.")
    kept = serializers.BooleanField(help_text="Whether it was booked: all of it, or nothing.")
    before = serializers.BooleanField(help_text="This very file was imported into the project before.")
    needed = serializers.DictField(help_text="Name under `answers` → what is still to be said.")
    questions = QuestionSerializer(many=True)
    flags = FlagSerializer(many=True)
    rows = ImportRow(many=True)
    runs = serializers.ListField(child=serializers.UUIDField(), help_text="Where it was booked.")


def answer(preview: Preview) -> dict[str, Any]:
    """The preview as JSON types."""
    findings = preview.findings
    return {
        "format": findings.format,
        "file": findings.source,
        "kept": preview.kept,
        "before": preview.before,
        "needed": dict(preview.needed),
        "questions": [{**vars(question), "choices": list(question.choices)} for question in findings.questions],
        "flags": list(findings.flags),
        "rows": [{**_fields(row), "flags": list(row.flags), "problems": dict(row.problems)} for row in preview.rows],
        "runs": [_key(run) for run in preview.runs],
    }


def _fields(row: Row) -> dict[str, Any]:
    """`label` is a word that the framework keeps for itself."""
    values = dict(vars(row))
    return values | {"title": values.pop("label")}


def _key(run: Run) -> str:
    return str(run.pk)


EXAMPLE = {"file": "emissions.csv", "study": "my-study", "dry_run": "1", "answers": json.dumps(ANSWERS)}
