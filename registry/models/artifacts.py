"""Artifacts: outputs another run can use, and who used them."""

from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.urls import reverse

from registry.models.base import Origin, Owned, OwnedQuerySet, Words
from registry.models.runs import Job, Run

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from registry.models.accounts import User


SEARCHED = ("name", "kind", "teacher", "dataset", "licence")


class RowSet(models.Model):
    """The digests of a set of rows, kept once however many artifacts were made over them."""

    sha256 = models.CharField(primary_key=True, max_length=64, help_text="Over the sorted digests, a line each.")
    count = models.PositiveIntegerField()
    digests = models.JSONField(help_text="Sorted, each once.")
    keys = ArrayField(models.BigIntegerField(), help_text="64 bits of each digest, to find the sets that hold a row.")

    class Meta:
        indexes = [GinIndex(fields=["keys"], name="rows_by_key", fastupdate=False)]

    def __str__(self) -> str:
        return f"{self.count} rows"


class ArtifactQuerySet(OwnedQuerySet["Artifact"]):
    """Artifacts by who may see them."""

    def visible_to(self, user: "User | AnonymousUser") -> Self:
        """Those of visible projects, and those that were published to every project."""
        if user.is_authenticated and user.is_superuser:
            return self
        mine = user.member_project_ids() if user.is_authenticated else []
        shared = Q(sharing=Artifact.Sharing.SHARED) if user.is_authenticated else Q(pk__in=[])
        return self.filter(Q(project__public=True) | Q(project__in=mine) | shared)


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

    class Sharing(models.TextChoices):
        """Who may use it beside its own project."""

        PROJECT = "project", "its project alone"
        REQUEST = "request", "others are told that it exists, and may ask for it"
        SHARED = "shared", "every project"

    kind = models.CharField(max_length=30, choices=Kind.choices)
    name = models.CharField(max_length=200)
    # What people write down: handle@version. Given when it becomes ready, never changed and never given again.
    handle = models.SlugField(max_length=120, blank=True, db_index=False)
    version = models.PositiveIntegerField(null=True, blank=True)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.MAKING)
    origin = models.CharField(max_length=20, choices=Origin.choices, default=Origin.WORKER)
    # What it is: everything that determines it.
    fingerprint = models.CharField(max_length=64, db_index=True)
    family = models.CharField(max_length=64)
    identity = models.JSONField(default=dict)
    capture = models.JSONField(default=dict)
    rows = models.ForeignKey(
        RowSet,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="artifacts",
        db_index=False,
        help_text="The rows it was made over, as digests.",
    )
    prompts = models.ForeignKey(
        RowSet,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        help_text="Of a prepared dataset: its rows' prompts alone, which is what a generation is asked for.",
    )
    teacher = models.CharField(max_length=200, blank=True)
    dataset = models.CharField(max_length=200, blank=True)
    # What lies there.
    storage_key = models.CharField(max_length=100, blank=True, help_text="Opaque; empty when held elsewhere.")
    manifest = models.JSONField(default=list, help_text="Files with SHA-256, bytes and media type.")
    bytes = models.BigIntegerField(null=True)
    content_sha256 = models.CharField(max_length=64, blank=True)
    meta = models.JSONField(default=dict)
    # What may be done with it. `licence` holds what counts: derived, or narrowed by a curator with a note.
    licence = models.CharField(max_length=200, blank=True, help_text="SPDX expression.")
    teacher_licence = models.CharField(max_length=200, blank=True, help_text="SPDX expression.")
    dataset_licence = models.CharField(max_length=200, blank=True, help_text="SPDX expression.")
    licence_name = models.CharField(max_length=200, blank=True, help_text="Of a custom licence.")
    licence_link = models.URLField(max_length=500, blank=True, help_text="Where a custom licence can be read.")
    licence_note = models.TextField(blank=True, help_text="Why a curator narrowed it.")
    may_train = models.BooleanField(
        null=True, blank=True, help_text="May its outputs train other models? Empty: nobody has said."
    )
    sharing = models.CharField(max_length=20, choices=Sharing.choices, default=Sharing.PROJECT)
    simulated = models.BooleanField(default=False)
    # What it cost: all energy of all attempts that made it.
    production_energy_j = models.FloatField(null=True)
    production_missing = models.JSONField(default=list)
    evidence = models.JSONField(default=list, help_text="record_id of each stage record behind a stated energy.")
    evidence_note = models.TextField(blank=True, help_text="Where a stated energy without records comes from.")
    made_by_run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="made")
    maker_job = models.ForeignKey(Job, null=True, blank=True, on_delete=models.SET_NULL, related_name="makes")
    regenerate_reason = models.TextField(blank=True, help_text="Why it was made although another existed.")
    made_again_of = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="made_again", help_text="That other."
    )
    superseded_by = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="supersedes",
        help_text="A better one, named by a maintainer: offered before this one.",
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    ready_at = models.DateTimeField(null=True, blank=True)

    objects = ArtifactQuerySet.as_manager()  # type: ignore[misc]  # narrows the parent's

    class Meta:
        ordering = ["-id"]
        indexes = [
            GinIndex(Words(*SEARCHED), name="artifact_words"),
            models.Index(fields=["family", "rows"], name="artifact_by_family"),
            models.Index(fields=["rows", "kind", "teacher", "-id"], name="artifact_by_rows"),
            models.Index(fields=["project", "-id"], name="artifact_by_project"),
            models.Index(fields=["-production_energy_j", "-id"], name="artifact_by_energy"),
            models.Index(fields=["-bytes", "-id"], name="artifact_by_bytes"),
            models.Index(fields=["name", "id"], name="artifact_by_name"),
            models.Index(fields=["storage_key"], condition=~Q(storage_key=""), name="artifact_by_storage_key"),
        ]
        constraints = [
            # The promise itself: without a stated reason there is one of each, made or being made.
            models.UniqueConstraint(
                fields=["project", "fingerprint"],
                condition=Q(status__in=["making", "ready"], regenerate_reason=""),
                name="one_artifact_per_fingerprint",
            ),
            models.UniqueConstraint(
                fields=["project", "handle", "version"],
                condition=Q(version__isnull=False),
                name="one_artifact_per_version",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def row_digests(self) -> list[str]:
        """The digests of its rows, sorted; read `rows` along where several artifacts are listed."""
        return [] if self.rows is None else list(self.rows.digests)

    def get_absolute_url(self) -> str:
        """The artifact's page."""
        return reverse("artifact", args=[self.pk])


class ArtifactAlias(Owned):
    """A second name for one version, such as `stable`. It may move; `latest` is none, it follows from the versions."""

    handle = models.SlugField(max_length=120, db_index=False)
    alias = models.SlugField(max_length=60, db_index=False)
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="aliases")

    class Meta:
        ordering = ["alias"]
        constraints = [
            models.UniqueConstraint(fields=["project", "handle", "alias"], name="one_artifact_per_alias"),
        ]

    def __str__(self) -> str:
        return f"{self.handle}@{self.alias}"


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
