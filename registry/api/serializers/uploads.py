"""A whole run measured elsewhere, in one document."""

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from registry.api.fields import Number, Object, Payload, Text, Whole
from registry.api.serializers.artifacts import ArtifactRegistration
from registry.api.serializers.scores import ScoreItem
from registry.api.serializers.stages import StageRecordSerializer


class UploadedRun(Payload):
    """Which run it is. `external_id` is your own name for it, and makes sending it again harmless."""

    external_id = Text(max_length=200)
    pipeline = Text(max_length=40, help_text="sft, kd, synthetic_sft, teacher_reference, or a label of your own.")
    student = Text(max_length=200)
    student_size = Text(max_length=40, required=False, allow_blank=True, help_text="Such as 1B; the label on charts.")
    teacher = Text(max_length=200, required=False, allow_blank=True)
    workload = Text(max_length=200, required=False, allow_blank=True)
    seed = Whole(required=False, min_value=0, max_value=2**63 - 1)
    hardware_class = Text(max_length=200, required=False, allow_blank=True, help_text="Runs of one class compare.")
    configuration = Text(
        max_length=64,
        required=False,
        allow_blank=True,
        help_text="Runs of one configuration are one point; derived from pipeline, models and size if left out.",
    )
    environment = Object(required=False, help_text="Git commit, host class, GPU model, versions, …")


class UsedArtifact(Payload):
    """An artifact registered here that the run used, whole or a part that was cut out of it."""

    use = Text(max_length=36, help_text="Its id.")
    how = serializers.ChoiceField(["used", "cut"], required=False)
    used_share = Number(required=False, min_value=0, max_value=1, help_text="Of its tokens, where it was cut.")


class MadeArtifact(ArtifactRegistration):
    """An artifact that the run made."""

    project = study = run_id = None  # type: ignore[assignment]  # those of the document


@extend_schema_field(StageRecordSerializer(many=True))
class StageList(serializers.ListField):
    """Stage records; `stagemeter.StageRecord` reads and checks them."""

    child = Object()


@extend_schema_field(
    PolymorphicProxySerializer(
        component_name="RunArtifact",
        serializers=[UsedArtifact, MadeArtifact],
        resource_type_field_name=None,
        many=True,
    )
)
class ArtifactList(serializers.ListField):
    """Artifacts that the run used or made."""

    child = Object()

    def to_internal_value(self, data: Any) -> list[Any]:
        """The items. Raises `ValidationError` under each bad one's place."""
        items: list[Any] = super().to_internal_value(data)
        problems = {}
        for place, item in enumerate(items):
            form = (UsedArtifact if "use" in item else MadeArtifact)(data=item)
            if not form.is_valid():
                problems[str(place)] = form.errors
        if problems:
            raise serializers.ValidationError(problems)
        return items


class ArtifactDeclarations(Payload):
    """The artifacts of a document, which are registered as any other is."""

    artifacts = ArtifactList()


class RunDocument(Payload):
    """A run with its stages, its scores and its artifacts. All of it is booked, or nothing."""

    schema_version = Whole(required=False, help_text="Of the document's shape; this release reads 1.")
    study = Text(help_text="Slug of the study that the run belongs to.")
    run = UploadedRun()
    stages = StageList(required=False, help_text="Without run_id; each needs a record_id of its own.")
    scores = ScoreItem(many=True, required=False)
    artifacts = ArtifactList(required=False)
