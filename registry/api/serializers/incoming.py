"""A file on its way into an artifact."""

from typing import Any

from rest_framework import serializers

from registry.api.fields import Payload, Text


class FileQuery(Payload):
    """What its sender says of it."""

    sha256 = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="Of the content, 64 hex digits.")
    project = Text(max_length=80, required=False, help_text="Slug; needed where you may write to several.")
    study = Text(max_length=80, required=False, help_text="Or that of a study of it.")


class StoredFileSerializer(serializers.Serializer[Any]):
    """A file as it was kept."""

    name = serializers.CharField()
    sha256 = serializers.CharField()
    bytes = serializers.IntegerField()
    media_type = serializers.CharField()
