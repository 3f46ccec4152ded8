"""Runs: in a list, in full, planned and uploaded."""

from functools import cache
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from registry.accounting.figures import total
from registry.api.serializers.artifacts import ArtifactSerializer
from registry.api.serializers.batches import StageRecordResult
from registry.api.serializers.lookup import NearMissSerializer, OfferSerializer
from registry.api.serializers.scores import ScoreSerializer
from registry.api.serializers.specs import RunSpecSerializer, StoredSpecSerializer
from registry.models import Job, Run, RunSummary
from registry.selectors.figures import OWN_ROLES

_ENERGIES = [f"{part}_energy_j" for part in ("data", "teacher", "student", "evaluation", "gpu", "cpu", "ram")]


class SummarySerializer(serializers.ModelSerializer[RunSummary]):
    """What the run's own records add up to, in joules. Making a shared artifact is that artifact's energy, not this."""

    missing = serializers.DictField(read_only=True, help_text="By role, what a sum lacks.")
    missing_scores = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = RunSummary
        fields = [
            *_ENERGIES,
            "reported_energy_j",
            "lost_energy_j",
            "duration_s",
            "missing",
            "quality",
            "missing_scores",
            "records",
        ]
        read_only_fields = fields


@cache
def _summary() -> SummarySerializer:
    """One for all rows: building it costs more than using it."""
    return SummarySerializer()


class RunSerializer(serializers.ModelSerializer[Run]):
    """A run in a list."""

    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    study = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    summary = serializers.SerializerMethodField()
    simulated = serializers.SerializerMethodField(
        help_text="One simulated record marks the run, and so does an artifact whose energy was simulated."
    )
    energy_j = serializers.SerializerMethodField(
        help_text="What the run's own records add up to; null with a hole, which `summary.missing` names."
    )
    quality = serializers.FloatField(
        source="summary.quality", default=None, read_only=True, allow_null=True, help_text="Q."
    )

    class Meta:
        model = Run
        fields = [
            "id",
            "project",
            "study",
            "external_id",
            "pipeline",
            "status",
            "origin",
            "teacher",
            "student",
            "student_size",
            "workload",
            "seed",
            "hardware_class",
            "simulated",
            "energy_j",
            "quality",
            "summary",
            "created_at",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields

    @extend_schema_field(SummarySerializer(allow_null=True))
    def get_summary(self, run: Run) -> Any:
        """Null before anything was booked."""
        summary = getattr(run, "summary", None)
        return None if summary is None else _summary().to_representation(summary)

    def get_energy_j(self, run: Run) -> float | None:
        """Over the roles of its own records."""
        summary = getattr(run, "summary", None)
        if summary is None or summary.missing:
            return None
        return total([energy for role in OWN_ROLES if (energy := getattr(summary, f"{role}_energy_j")) is not None])

    def get_simulated(self, run: Run) -> bool:
        """Of the run itself or of a record."""
        summary = getattr(run, "summary", None)
        return run.simulated or bool(summary and summary.simulated)


class RunRowSerializer(RunSerializer):
    """A run in a list, in short. `fields` may name any field of a run that stands in an upload's answer."""

    class Meta(RunSerializer.Meta):
        fields = [
            "id",
            "study",
            "external_id",
            "pipeline",
            "status",
            "student",
            "student_size",
            "workload",
            "seed",
            "hardware_class",
            "simulated",
            "energy_j",
            "quality",
            "created_at",
        ]
        read_only_fields = fields


class JobSerializer(serializers.ModelSerializer[Job]):
    """A planned stage and how far it is."""

    decision = serializers.SerializerMethodField(help_text="use, cut, wait, make or later; null for nothing to decide.")
    progress = serializers.DictField(read_only=True)

    class Meta:
        model = Job
        fields = [
            "kind",
            "role",
            "position",
            "status",
            "decision",
            "artifact",
            "progress",
            "error",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields

    def get_decision(self, job: Job) -> str | None:
        """The action alone; its reason names artifacts that not everybody may see."""
        action: str | None = job.decision.get("action")
        return action


class RunUseSerializer(serializers.Serializer[Any]):
    """An artifact that the run used, as far as you may see it."""

    how = serializers.CharField(help_text="made, used, cut or waited.")
    used_share = serializers.FloatField(allow_null=True)
    artifact = ArtifactSerializer()


class RunDetailSerializer(RunSerializer):
    """A run in full."""

    spec = serializers.SerializerMethodField()
    environment = serializers.DictField(read_only=True)
    jobs = JobSerializer(many=True, read_only=True)
    scores = ScoreSerializer(many=True, read_only=True)
    uses = serializers.SerializerMethodField()
    reference = serializers.UUIDField(source="reference_id", read_only=True, allow_null=True)

    class Meta(RunSerializer.Meta):
        fields = [
            *RunSerializer.Meta.fields,
            "spec",
            "reference",
            "regenerate_reason",
            "error",
            "environment",
            "jobs",
            "scores",
            "uses",
        ]
        read_only_fields = fields

    @extend_schema_field(StoredSpecSerializer(allow_null=True))
    def get_spec(self, run: Run) -> Any:
        """Can be posted again as it is; null for an upload that brought none."""
        return {"study": run.study.slug, **run.spec} if run.spec else None

    @extend_schema_field(RunUseSerializer(many=True))
    def get_uses(self, run: Run) -> Any:
        """The artifacts it used."""
        uses = run.uses.filter(artifact__in=self.context["artifacts"]).select_related("artifact__project")
        return RunUseSerializer(uses, many=True, context=self.context).data


class FloorSerializer(serializers.Serializer[Any]):
    """The least that a stage's work can cost, if every row is as long as the spec allows."""

    energy_j = serializers.FloatField()
    duration_s = serializers.FloatField()
    bound = serializers.ChoiceField(["compute", "memory"], help_text="Which limit of the device holds.")
    device = serializers.CharField()
    devices = serializers.IntegerField()
    share = serializers.FloatField(help_text="Of the device's peak that is taken as attainable.")
    power_w = serializers.FloatField()
    precision = serializers.CharField()


class StagePlanSerializer(serializers.Serializer[Any]):
    """One stage that would run."""

    kind = serializers.CharField()
    role = serializers.CharField()
    output = serializers.CharField(allow_null=True, help_text="The kind of artifact it leaves.")
    action = serializers.CharField(allow_null=True, help_text="use, cut, wait, make or later; null for no output.")
    reason = serializers.CharField(allow_blank=True)
    artifact = ArtifactSerializer(allow_null=True)
    near = NearMissSerializer(many=True)
    offer = OfferSerializer(allow_null=True)
    expected_energy_j = serializers.FloatField(allow_null=True)
    expected_basis = serializers.CharField(help_text="Where that figure is from, or why there is none.")
    floor = FloorSerializer(allow_null=True, help_text="null where no formula or no model's shape is known.")
    memory_bytes = serializers.FloatField(allow_null=True, help_text="Of the device, at a time, by formula.")


class RunPlanSerializer(serializers.Serializer[Any]):
    """What submitting the spec would do."""

    study = serializers.CharField()
    spec = RunSpecSerializer()
    needs_reference = serializers.BooleanField(help_text="The teacher itself would be evaluated first, for Q.")
    stages = StagePlanSerializer(many=True)


class UploadedScore(serializers.Serializer[Any]):
    """What became of one score of the document."""

    score_id = serializers.CharField()
    status = serializers.ChoiceField(["created", "same"])


class UploadAnswer(serializers.Serializer[Any]):
    """What became of an uploaded document."""

    run = RunSerializer()
    created = serializers.BooleanField(help_text="Whether the run is new.")
    stages = StageRecordResult(many=True)
    scores = UploadedScore(many=True)
