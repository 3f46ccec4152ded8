"""People and their tokens."""

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models
from knox.models import AbstractAuthToken

from registry.models.base import new_key


class User(AbstractUser):  # type: ignore[django-manager-missing]  # knox has no types
    """A person or a machine account."""

    id = models.UUIDField(primary_key=True, default=new_key, editable=False)

    def member_project_ids(self) -> list[uuid.UUID]:
        """Keys of the projects this user is a member of; read once per request."""
        if not hasattr(self, "_member_project_ids"):
            self._member_project_ids = list(self.memberships.values_list("project_id", flat=True))
        return self._member_project_ids

    def remember_projects(self, keys: list[uuid.UUID]) -> None:
        """Take the keys that `member_project_ids` would read from whoever has just read them."""
        self._member_project_ids = keys


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox has no types
    """A hashed token with scopes, optionally for one project only."""

    SCOPES = ("read", "upload", "submit", "manage")

    name = models.CharField(max_length=100, blank=True)
    scopes = models.JSONField(default=list)
    project = models.ForeignKey("registry.Project", null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name or 'token'} {self.token_key[:6]}…"
