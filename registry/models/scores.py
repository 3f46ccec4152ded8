"""Evaluation scores."""

from django.conf import settings
from django.db import models

from registry.accounting.quality import Mark
from registry.models.base import Origin, Owned
from registry.models.runs import Run


class EvaluationScore(Owned):
    """One benchmark's value for the model of one run. The judge and the harness belong to its identity."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="scores")
    score_id = models.CharField(max_length=200, unique=True)
    benchmark = models.CharField(max_length=100)
    metric = models.CharField(max_length=100, blank=True)
    shots = models.PositiveSmallIntegerField(default=0)
    judge = models.CharField(max_length=200, blank=True)
    harness_version = models.CharField(max_length=100, blank=True)
    value = models.FloatField()
    stderr = models.FloatField(null=True)
    n = models.PositiveIntegerField(null=True, help_text="Rows it was measured on.")
    origin = models.CharField(max_length=20, choices=Origin.choices)
    body_sha256 = models.CharField(max_length=64)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["benchmark", "-id"]
        indexes = [models.Index(fields=["run", "benchmark"])]

    def __str__(self) -> str:
        return f"{self.benchmark} {self.value}"

    def taken_as(self, other: "EvaluationScore") -> bool:
        """Whether the two may be compared; see `Mark`."""
        return self.mark().taken_as(other.mark())

    def mark(self) -> Mark:
        """What Q is formed from."""
        return Mark(self.benchmark, self.metric, self.shots, self.judge, self.value)


class ScoreFile(models.Model):
    """The raw file that a score was taken from, unpacked: a row for every question, or a document. Written once."""

    score = models.OneToOneField(EvaluationScore, primary_key=True, on_delete=models.PROTECT, related_name="file")
    name = models.CharField(max_length=40)
    storage_key = models.CharField(max_length=100, help_text="Opaque.")
    sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} of {self.score_id}"
