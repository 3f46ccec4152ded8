"""Stage: what was measured. Written once; PostgreSQL itself refuses a change. Reviews stand beside it.

Only an artifact that it is evidence of may be told later, once.
"""

from typing import Any

from django.conf import settings
from django.db import models

from registry.models.base import Origin, Owned
from registry.models.runs import Attempt, Run


class Stage(Owned):
    """A stage record as a row: its columns are `stagemeter.StageRecord`'s fields, and a test holds that."""

    # Where it belongs and who wrote it.
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.PROTECT, related_name="stages")
    attempt = models.ForeignKey(Attempt, null=True, blank=True, on_delete=models.PROTECT, related_name="stages")
    artifact = models.ForeignKey(
        "registry.Artifact",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="stages",
        help_text="What this stage worked at making; its energy is charged through it.",
    )
    origin = models.CharField(max_length=20, choices=Origin.choices)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    body_sha256 = models.CharField(max_length=64, help_text="Of the canonical record: the same again is recognised.")
    energy_j = models.FloatField(null=True, help_text="Total over the components it expects; None with a hole.")

    # The record.
    record_id = models.CharField(max_length=200, unique=True)
    schema_version = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=40)
    role = models.CharField(max_length=20)
    name = models.CharField(max_length=500, blank=True)
    parent_id = models.CharField(max_length=200, blank=True)
    rank = models.PositiveIntegerField(default=0)
    world_size = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    duration_s = models.FloatField(null=True)
    components = models.JSONField()
    gpu_energy_j = models.FloatField(null=True)
    gpu_energy_lower_j = models.FloatField(null=True)
    gpu_energy_upper_j = models.FloatField(null=True)
    gpu_method = models.CharField(max_length=500, blank=True)
    gpu_power_energy_j = models.FloatField(null=True)
    cpu_energy_j = models.FloatField(null=True)
    cpu_energy_lower_j = models.FloatField(null=True)
    cpu_energy_upper_j = models.FloatField(null=True)
    cpu_method = models.CharField(max_length=500, blank=True)
    ram_energy_j = models.FloatField(null=True)
    ram_energy_lower_j = models.FloatField(null=True)
    ram_energy_upper_j = models.FloatField(null=True)
    ram_method = models.CharField(max_length=500, blank=True)
    reported_energy_j = models.FloatField(null=True)
    reported_energy_lower_j = models.FloatField(null=True)
    reported_energy_upper_j = models.FloatField(null=True)
    reported_method = models.CharField(max_length=500, blank=True)
    idle_power_w = models.FloatField(null=True)
    sample_period_s = models.FloatField(null=True)
    samples = models.BigIntegerField(null=True)
    coverage = models.FloatField(null=True)
    longest_gap_s = models.FloatField(null=True)
    prompt_tokens = models.BigIntegerField(null=True)
    generated_tokens = models.BigIntegerField(null=True)
    trained_tokens = models.BigIntegerField(null=True)
    padding_tokens = models.BigIntegerField(null=True)
    evaluated_tokens = models.BigIntegerField(null=True)
    tokens_nominal = models.BooleanField(default=False)
    devices = models.JSONField(default=list)
    environment = models.JSONField(default=dict)
    meter = models.JSONField(default=dict)
    flags = models.JSONField(default=list)
    simulated = models.BooleanField(default=False)
    extra = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["run", "kind"]), models.Index(fields=["project", "-id"])]

    def __str__(self) -> str:
        return f"{self.kind} record {self.record_id}"

    @property
    def span_s(self) -> float:
        """Seconds it takes up on a time axis: its duration, or what lies between its ends where none is stated."""
        return (self.ended_at - self.started_at).total_seconds() if self.duration_s is None else self.duration_s

    @property
    def ran_as(self) -> tuple[Any, ...]:
        """The same for the ranks of one attempt, which run at the same time; a record by itself otherwise."""
        return (self.attempt_id, self.kind) if self.world_size > 1 else (self.record_id,)


class StageReview(models.Model):
    """A later judgement on a record: a flag, an acceptance, a withdrawal. Appended, never changed."""

    class Verdict(models.TextChoices):
        """What is said of the record."""

        FLAGGED = "flagged", "flagged"
        ACCEPTED = "accepted", "accepted"
        WITHDRAWN = "withdrawn", "withdrawn"

    stage = models.ForeignKey(Stage, on_delete=models.PROTECT, related_name="reviews")
    verdict = models.CharField(max_length=20, choices=Verdict.choices)
    code = models.CharField(max_length=40, blank=True, default="", help_text="Why, for programs.")
    reason = models.TextField()
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["at"]

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"


class GpuUse(models.Model):
    """When a record had a device for itself, by its UUID: what is looked at for two that had it at once."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+")
    uuid = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["uuid", "ended_at"], name="gpu_use_by_device")]

    def __str__(self) -> str:
        return f"{self.uuid} from {self.started_at} to {self.ended_at}"
