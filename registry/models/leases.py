"""Leases: somebody outside of the workers is making an artifact, and says so while it is made."""

from django.conf import settings
from django.db import models

from registry.models.artifacts import RowSet
from registry.models.base import Owned


class ArtifactLease(Owned):
    """A lease on making what answers a request. It holds off other makers of its project until it expires or ends."""

    kind = models.CharField(max_length=30)
    fingerprint = models.CharField(max_length=64)
    family = models.CharField(max_length=64)
    identity = models.JSONField(default=dict)
    capture = models.JSONField(default=dict)
    rows = models.ForeignKey(RowSet, null=True, blank=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    holder = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Given back, or what was made is registered.")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["family", "-expires_at"], name="lease_by_family")]

    def __str__(self) -> str:
        return f"{self.kind} by {self.holder}"
