"""Artifacts: outputs another run can use, and who used them."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from registry.models.base import Origin, Owned
from registry.models.runs import Job, Run


class Artifact(Owned):
    """A logit cache, a synthetic dataset, a prepared dataset or a student."""

    class Kind(models.TextChoices):
        """The first two are the teacher's."""

        LOGIT_CACHE = "logit_cache", "logit cache"
        SYNTHETIC_DATASET = "synthetic_dataset", "synthetic dataset"
        PREPARED_DATASET = "prepared_dataset", "prepared dataset"
        STUDENT = "student", "student"

    class Status(models.TextChoices):
        """Only `ready` is offered for reuse; `making` is waited for."""

        MAKING = "making", "being made"
        READY = "ready", "ready"
        FAILED = "failed", "failed"
        CORRUPT = "corrupt", "corrupt"
        WITHDRAWN = "withdrawn", "withdrawn"

    kind = models.CharField(max_length=30, choices=Kind.choices)
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.MAKING)
    origin = models.CharField(max_length=20, choices=Origin.choices, default=Origin.WORKER)
    # What it is: everything that determines it.
    fingerprint = models.CharField(max_length=64)
    family = models.CharField(max_length=64, db_index=True)
    identity = models.JSONField(default=dict)
    capture = models.JSONField(default=dict)
    row_digests = models.JSONField(default=list)
    teacher = models.CharField(max_length=200, blank=True)
    dataset = models.CharField(max_length=200, blank=True)
    # What lies there.
    storage_key = models.CharField(max_length=100, blank=True, help_text="Opaque; empty when held elsewhere.")
    manifest = models.JSONField(default=list, help_text="Files with SHA-256, bytes and media type.")
    bytes = models.BigIntegerField(null=True)
    content_sha256 = models.CharField(max_length=64, blank=True)
    meta = models.JSONField(default=dict)
    licence = models.CharField(max_length=200, blank=True, help_text="SPDX expression.")
    simulated = models.BooleanField(default=False)
    # What it cost: all energy of all attempts that made it.
    production_energy_j = models.FloatField(null=True)
    production_missing = models.JSONField(default=list)
    made_by_run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="made")
    maker_job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="makes")
    regenerate_reason = models.TextField(blank=True, help_text="Why it was made although another existed.")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    ready_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            # The promise itself: without a stated reason there is one of each, made or being made.
            models.UniqueConstraint(
                fields=["project", "fingerprint"],
                condition=Q(status__in=["making", "ready"], regenerate_reason=""),
                name="one_artifact_per_fingerprint",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The artifact's page."""
        return reverse("artifact", args=[self.pk])


class ArtifactUse(models.Model):
    """One run's use of one artifact, and how much of it: a run pays for what it used, whoever made it."""

    class How(models.TextChoices):
        """How the run came to it."""

        MADE = "made", "made it"
        USED = "used", "used it"
        CUT = "cut", "cut it"
        WAITED = "waited", "waited for it"

    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="uses")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="uses")
    how = models.CharField(max_length=20, choices=How.choices)
    used_share = models.FloatField(default=1.0, null=True, help_text="Of its tokens; None until a worker measured it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [models.UniqueConstraint(fields=["artifact", "run"], name="one_use_per_run")]

    def __str__(self) -> str:
        return f"{self.run} {self.how} {self.artifact}"
