"""Webhooks of a project, and what is to be sent to them: the outbox."""

import json
from typing import Any, Self, TypeVar

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.utils import timezone

from registry.models.accounts import User
from registry.models.base import Owned, OwnedQuerySet
from registry.models.projects import Membership

Row_co = TypeVar("Row_co", bound=models.Model, covariant=True)


class AdminsOnly(OwnedQuerySet[Row_co]):
    """Rows that only the admins of their project see: an address may hold a token of somebody else's service."""

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Rows of the projects that `user` is an admin of."""
        if not user.is_authenticated:
            return self.none()
        if user.is_superuser:
            return self
        admin = {"project__memberships__user": user, "project__memberships__role": Membership.Role.ADMIN}
        return self.filter(**admin)


class Webhook(Owned):
    """An address that is told of a project's events. Its secret lies here sealed; see `services.sealing`."""

    class Format(models.TextChoices):
        """What the body of a message is."""

        STAGEMETER = "stagemeter", "Stagemeter"
        OPENLINEAGE = "openlineage", "OpenLineage"

    url = models.CharField(max_length=2000)
    events = models.JSONField(default=list)
    format = models.CharField(max_length=20, choices=Format.choices, default=Format.STAGEMETER)
    note = models.CharField(max_length=200, blank=True)
    site = models.CharField(max_length=200, help_text="This installation as its maker saw it: links begin with it.")
    sealed_secret = models.TextField()
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=300, blank=True, help_text="Why it was disabled, if nobody did it.")
    failing_since = models.DateTimeField(null=True, help_text="The first failure since something last arrived.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    objects = AdminsOnly.as_manager()  # type: ignore[misc]  # narrows the parent's

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["project"], name="enabled_webhooks", condition=models.Q(enabled=True))]

    def __str__(self) -> str:
        return self.note or self.url


class WebhookDelivery(Owned):
    """One message to one webhook, written with the event itself and kept for a month after it was settled."""

    class Status(models.TextChoices):
        """What became of it."""

        PENDING = "pending", "pending"
        DELIVERED = "delivered", "delivered"
        FAILED = "failed", "failed"

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    body = models.TextField(help_text="JSON, signed and sent as it stands here.")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(default=timezone.now, help_text="Not to be tried before.")
    sent_at = models.DateTimeField(null=True, help_text="When its name last went to the broker.")
    tried_at = models.DateTimeField(null=True)
    response_status = models.PositiveSmallIntegerField(null=True, help_text="Of the last answer; None without one.")
    error = models.CharField(max_length=300, blank=True)

    objects = AdminsOnly.as_manager()  # type: ignore[misc]  # narrows the parent's

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "webhook deliveries"
        indexes = [
            models.Index(fields=["webhook", "-id"], name="deliveries_of_webhook"),
            models.Index(fields=["due_at"], name="pending_deliveries", condition=models.Q(status="pending")),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.webhook_id}"

    @property
    def document(self) -> Any:
        """The body as JSON types."""
        return json.loads(self.body)

    @property
    def message_id(self) -> str:
        """The same at every attempt, so that a receiver can tell a repetition."""
        return f"msg_{self.pk.hex}"
