"""What is said of an artifact once it is published: aliases, a better one, that it is withdrawn."""

from rest_framework import serializers

from registry.api.fields import Payload, Text


class Withdrawal(Payload):
    """Why nobody is to use it any more."""

    reason = Text(max_length=2000, help_text="Whoever looks for the artifact reads it.")


class Supersession(Payload):
    """A better artifact, and why it is."""

    by = serializers.UUIDField(help_text="Another of the same kind and project.")
    reason = Text(max_length=2000, help_text="Whoever looks for the old one reads it.")


class AliasPayload(Payload):
    """A second name for this version."""

    alias = Text(max_length=60, help_text="Such as stable; begins with a letter. It moves here from another version.")
