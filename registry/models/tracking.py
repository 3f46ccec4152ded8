"""Runs while an MLflow client reports them, before they are booked."""

from django.conf import settings
from django.db import models

from registry.models.base import Owned
from registry.models.projects import Study
from registry.models.runs import Run


class TrackedRun(Owned):
    """What a client says of one run of its own; when it says that the run has ended, it is booked."""

    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="tracked")
    name = models.CharField(max_length=250)
    status = models.CharField(max_length=20, default="RUNNING", help_text="MLflow's word.")
    started_ms = models.BigIntegerField(help_text="Since 1970.")
    ended_ms = models.BigIntegerField(null=True, help_text="Since 1970.")
    params = models.JSONField(default=dict)
    tags = models.JSONField(default=dict)
    run = models.ForeignKey(Run, null=True, on_delete=models.SET_NULL, related_name="+", help_text="Once booked.")
    booking = models.TextField(blank=True, help_text="What became of it when it was booked.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["study", "-id"], name="tracked_by_study")]

    def __str__(self) -> str:
        return self.name


class TrackedMetric(models.Model):
    """One value of one metric at one moment."""

    tracked = models.ForeignKey(TrackedRun, on_delete=models.CASCADE, related_name="metrics")
    key = models.CharField(max_length=250)
    value = models.FloatField()
    timestamp_ms = models.BigIntegerField()
    step = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tracked", "key", "step", "timestamp_ms"], name="one_value_per_moment")
        ]

    def __str__(self) -> str:
        return f"{self.key} {self.value}"
