"""Projects, their members, and the studies in them."""

from typing import Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import Q
from django.urls import reverse

from registry.models.accounts import User
from registry.models.base import Origin, Owned, OwnedQuerySet, new_key


class ProjectQuerySet(OwnedQuerySet["Project"]):
    """Projects by who may see them."""

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Public projects and those `user` is a member of."""
        if user.is_authenticated and user.is_superuser:
            return self
        mine = user.member_project_ids() if user.is_authenticated else []
        return self.filter(Q(public=True) | Q(pk__in=mine))


class Project(models.Model):
    """The owner of studies, runs and artifacts."""

    id = models.UUIDField(primary_key=True, default=new_key, editable=False)
    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=200)
    public = models.BooleanField(default=False, help_text="Readable without a login.")
    quota_bytes = models.BigIntegerField(
        null=True, blank=True, help_text="Of artifact files; empty: what the installation's setting says."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.name

    def seen_by(self, user: User | AnonymousUser) -> bool:
        """Whether it is among those `visible_to` the user."""
        member = user.is_authenticated and (user.is_superuser or self.pk in user.member_project_ids())
        return self.public or member


class Membership(models.Model):
    """What one person may do in one project."""

    class Role(models.TextChoices):
        """From looking on to deciding."""

        VIEWER = "viewer", "viewer"
        SUBMITTER = "submitter", "submitter"
        MAINTAINER = "maintainer", "maintainer"
        ADMIN = "admin", "admin"

    id = models.UUIDField(primary_key=True, default=new_key, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_project")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.project}"


class Study(Owned):
    """Runs meant to be compared with each other. `suite` lists the benchmarks that Q is the mean of."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="studies")
    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    suite = models.JSONField(default=list)
    average_workloads = models.BooleanField(default=False, help_text="A point is the mean over workloads.")
    origin = models.CharField(max_length=20, choices=Origin.choices, default=Origin.WORKER)
    citation = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "studies"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The study's page."""
        return reverse("study", args=[self.slug])


class StudyChange(models.Model):
    """A mark that something a study's figures are made of has changed; the database's own triggers write them.

    All marks of a study XORed together are its version. A mark can't be missed whatever the order of commits, nobody
    waits for anybody, and the triggers fold old marks into one now and then, which leaves the version as it is.
    """

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    token = models.BigIntegerField()

    def __str__(self) -> str:
        return f"a change of {self.study_id}"
