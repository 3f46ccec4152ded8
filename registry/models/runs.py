"""Runs, their jobs and the attempts at them."""

import uuid
from collections.abc import Collection
from contextlib import suppress

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.urls import reverse

from registry.accounting.stages import TEACHER_REFERENCE
from registry.models.base import Origin, Owned, OwnedQuerySet, Words, new_key
from registry.models.projects import Study


class RunQuerySet(OwnedQuerySet["Run"]):
    """Runs by how they are named and what they are."""

    def by_name(self, name: str) -> "RunQuerySet":
        """The run of that key, or of that name given by its uploader."""
        try:
            return self.filter(pk=uuid.UUID(name))
        except ValueError:
            return self.filter(external_id=name)

    def keys_by_name(self, names: Collection[str]) -> dict[str, uuid.UUID]:
        """As `by_name`, for many names: the key of each run that is here."""
        keys = {}
        for name in names:
            with suppress(ValueError):
                keys[name] = uuid.UUID(name)
        others = set(names) - keys.keys()
        found = self.filter(models.Q(pk__in=keys.values()) | models.Q(external_id__in=others))
        here = dict(found.values_list("pk", "external_id"))
        by_key = {name: key for name, key in keys.items() if key in here}
        return by_key | {name: key for key, name in here.items() if name in others}

    def students(self) -> "RunQuerySet":
        """Without the teacher's own reference runs, which are no points on a frontier."""
        return self.exclude(pipeline=TEACHER_REFERENCE)


class Run(Owned):
    """One student taken through one pipeline with one configuration, workload and seed."""

    class Status(models.TextChoices):
        """Derived from the jobs; uploads are finished as they come."""

        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        FINISHED = "finished", "finished"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="runs")
    external_id = models.CharField(max_length=200, blank=True, help_text="The uploader's own name for the run.")
    pipeline = models.CharField(max_length=40)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.QUEUED)
    origin = models.CharField(max_length=20, choices=Origin.choices, default=Origin.WORKER)
    spec = models.JSONField(default=dict, help_text="The RunSpec; empty for an upload that brought none.")
    teacher = models.CharField(max_length=200, blank=True)
    student = models.CharField(max_length=200)
    student_size = models.CharField(max_length=40, blank=True, help_text="Such as 1B; the label on charts.")
    workload = models.CharField(max_length=200, blank=True)
    seed = models.BigIntegerField(default=0)
    configuration = models.CharField(max_length=64, help_text="Digest of the spec without seed and workload.")
    hardware_class = models.CharField(max_length=200, blank=True)
    environment = models.JSONField(default=dict)
    simulated = models.BooleanField(default=False)
    reference = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The teacher's own run on the same suite: the denominators of Q.",
    )
    regenerate_reason = models.TextField(blank=True)
    error = models.TextField(blank=True)
    submitted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    # Stored, as a search looks at the newest thousands of rows before it asks the index.
    words = models.GeneratedField(
        expression=Words("pipeline", "student", "student_size", "teacher", "workload", "external_id"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    objects = RunQuerySet.as_manager()  # type: ignore[misc]  # narrows the parent's

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["study", "status"]),
            models.Index(fields=["project", "-id"]),
            GinIndex(fields=["words"], name="run_words"),
            models.Index(fields=["study", "-id"], name="run_by_study"),
            # Holds all that the frontier of a large study needs of a run: the rows themselves are wide.
            models.Index(
                fields=["study", "configuration"],
                include=["id", "hardware_class", "workload", "simulated", "status", "pipeline"],
                name="run_by_configuration",
            ),
            # Every run that comes looks for its reference, of which a study has few among many runs.
            models.Index(
                fields=["study", "-id"], condition=models.Q(pipeline=TEACHER_REFERENCE), name="reference_by_study"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "external_id"],
                condition=~models.Q(external_id=""),
                name="external_run_once_per_project",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pipeline} {self.student_size or self.student}"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("run", args=[self.pk])


class RunKind(models.Model):
    """Words that runs have together: pipeline, student, size, teacher and workload of one; a trigger notes them.

    What no run has any more may still be here: it is asked for what can't be found, never for what can.
    """

    digest = models.UUIDField(db_index=True)
    words = SearchVectorField()

    class Meta:
        indexes = [GinIndex(fields=["words"], name="run_kind_words")]

    def __str__(self) -> str:
        return f"kind {self.pk}"


class RunNameWord(models.Model):
    """A word of runs' own names, but for those of digits alone; noted and kept as `RunKind`."""

    word = models.TextField(db_collation="C")

    class Meta:
        indexes = [models.Index(fields=["word"], name="run_name_word")]

    def __str__(self) -> str:
        return self.word


class RunSummary(models.Model):
    """What a run's records add up to. Kept by the ledger; `manage.py verify_ledger` rebuilds and compares it.

    Energies in joules. A column is `None` when one of its records lacks a component; `missing` says which.
    The energy of stages that made an artifact is not in here: it is that artifact's production energy.
    """

    run = models.OneToOneField(Run, primary_key=True, on_delete=models.CASCADE, related_name="summary")
    data_energy_j = models.FloatField(null=True)
    teacher_energy_j = models.FloatField(null=True)
    student_energy_j = models.FloatField(null=True)
    evaluation_energy_j = models.FloatField(null=True)
    gpu_energy_j = models.FloatField(null=True)
    cpu_energy_j = models.FloatField(null=True)
    ram_energy_j = models.FloatField(null=True)
    reported_energy_j = models.FloatField(null=True)
    lost_energy_j = models.FloatField(null=True, help_text="Of that, burnt by attempts that failed or died.")
    duration_s = models.FloatField(null=True, help_text="Of all its stages; None when one does not state it.")
    missing = models.JSONField(default=dict, help_text="By role: stages without a record, components without a figure.")
    quality = models.FloatField(null=True, help_text="Q; None while the suite is incomplete.")
    missing_scores = models.JSONField(default=list)
    simulated = models.BooleanField(default=False)
    records = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"summary of {self.run}"


class Job(Owned):
    """A planned stage: mutable, with a status and a lease. The queue's truth."""

    class Status(models.TextChoices):
        """`waiting` occupies no worker: for earlier jobs of the run, or for an artifact somebody else makes."""

        WAITING = "waiting", "waiting"
        READY = "ready", "ready"
        RUNNING = "running", "running"
        FINISHED = "finished", "finished"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"
        REUSED = "reused", "reused"

    OPEN = (Status.WAITING, Status.READY, Status.RUNNING)
    DONE = (Status.FINISHED, Status.REUSED)

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=40)
    role = models.CharField(max_length=20)
    position = models.PositiveSmallIntegerField(help_text="Jobs of a run go in this order.")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.WAITING)
    decision = models.JSONField(default=dict, help_text="Use, cut, wait or make, with the reason, for its output.")
    artifact = models.ForeignKey(
        "registry.Artifact",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="jobs",
        help_text="What it makes, uses or waits for.",
    )
    # The lease. A worker that lost it holds an old fence, and nothing it says is booked any more.
    fence = models.PositiveIntegerField(default=0)
    worker = models.CharField(max_length=200, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True, help_text="Last sent to the broker.")
    progress = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["run_id", "position"]
        indexes = [models.Index(fields=["status", "lease_expires_at"])]
        constraints = [models.UniqueConstraint(fields=["run", "position"], name="one_job_per_position")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.run}"


class Attempt(models.Model):
    """One execution of a job. A crashed one also burnt energy, and is booked too."""

    class Status(models.TextChoices):
        """How it ended."""

        RUNNING = "running", "running"
        COMPLETED = "completed", "completed"
        FAILED = "failed", "failed"
        LOST = "lost", "lost"

    id = models.UUIDField(primary_key=True, default=new_key, editable=False)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    fence = models.PositiveIntegerField()
    worker = models.CharField(max_length=200)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.RUNNING)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        ordering = ["started_at"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="attempts_are_numbered")]

    def __str__(self) -> str:
        return f"attempt {self.number} at {self.job}"
