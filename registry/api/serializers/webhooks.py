"""Webhooks and their messages, as they are shown and as they are asked for."""

from typing import Any

from rest_framework import serializers

from registry.api.fields import Flag, Payload, Text
from registry.models import Webhook, WebhookDelivery
from registry.selectors.messages import NAMES
from registry.services.webhooks import LONGEST_URL


class WebhookSerializer(serializers.ModelSerializer[Webhook]):
    """A webhook. Its secret was shown once, when it was made."""

    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    events = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Webhook
        fields = [
            "id",
            "project",
            "url",
            "events",
            "format",
            "note",
            "enabled",
            "disabled_reason",
            "failing_since",
            "created_at",
        ]
        read_only_fields = fields


class WebhookWithSecret(WebhookSerializer):
    """The same with the secret, in the one answer that holds it."""

    secret = serializers.CharField(
        read_only=True, allow_null=True, help_text="Shown once; null in a repeated answer to the same Idempotency-Key."
    )

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]
        read_only_fields = fields


class WebhookChange(Payload):
    """What of a webhook may be changed."""

    url = Text(max_length=LONGEST_URL, required=False, help_text="https, at port 443 or 8443.")
    events = serializers.ListField(child=serializers.ChoiceField(choices=NAMES), max_length=100, required=False)
    note = Text(max_length=200, required=False, allow_blank=True, help_text="What it is for.")
    enabled = Flag(required=False)


class WebhookPayload(Payload):
    """A new webhook."""

    project = Text(max_length=80, required=False, help_text="Slug; needed where you may write to several.")
    url = Text(max_length=LONGEST_URL, help_text="https, at port 443 or 8443.")
    events = serializers.ListField(child=serializers.ChoiceField(choices=NAMES), max_length=100)
    format = serializers.ChoiceField(choices=Webhook.Format.choices, default=Webhook.Format.STAGEMETER)
    note = Text(max_length=200, required=False, allow_blank=True, help_text="What it is for.")


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    """One message to one webhook, and what became of it."""

    message_id = serializers.CharField(read_only=True, help_text="What `webhook-id` says, at every attempt.")

    class Meta:
        model = WebhookDelivery
        fields = [
            "id",
            "message_id",
            "webhook",
            "event",
            "status",
            "attempts",
            "created_at",
            "tried_at",
            "due_at",
            "response_status",
            "error",
            "body",
        ]
        read_only_fields = fields
