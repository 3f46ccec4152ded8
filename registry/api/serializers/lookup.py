"""Is there one already? The question and the answer."""

from typing import Any

from rest_framework import serializers

from registry.accounting.reuse import CUT, MAKE, USE, WAIT
from registry.api.fields import Flag, Object, Payload, Text
from registry.api.serializers.artifacts import ArtifactSerializer
from registry.services.artifacts import SHARED_KINDS


class SpecLookup(Payload):
    """The artifact that a run would need."""

    spec = Object(help_text="A run's spec, as POST runs/ takes it; its study may stand in it.")
    kind = serializers.ChoiceField(
        [(kind.value, kind.label) for kind in SHARED_KINDS],
        required=False,
        help_text="Left out: the teacher artifact of the spec's pipeline.",
    )
    every_temperature = Flag(
        required=False,
        help_text="Of a logit cache: it must hold each of distillation.temperatures, not only the run's own.",
    )
    engine = Text(
        required=False,
        max_length=200,
        help_text="What runs the teacher; transformers, as workers do, if left out.",
    )
    overlong_rows = Text(
        required=False, max_length=200, help_text="What became of rows that are too long; drop if left out."
    )
    project = Text(required=False, help_text="Slug of the project that asks.")
    study = Text(required=False, help_text="Slug of a study; its project asks.")


class NearMissSerializer(serializers.Serializer[Any]):
    """One that would have served but for some differences."""

    artifact = ArtifactSerializer()
    differences = serializers.DictField(help_text="Dotted field → its value there.")
    asked = serializers.DictField(help_text="Dotted field → its value in the request.")
    would_save_j = serializers.FloatField(
        allow_null=True,
        help_text="What adapting the request to it saves: its production energy, for as many rows; null if unknown.",
    )


class OfferSerializer(serializers.Serializer[Any]):
    """A larger capture to ask for instead, so that one artifact holds both."""

    capture = serializers.DictField(help_text="The settings that change.")
    artifact_id = serializers.UUIDField(help_text="The artifact that would then be held too.")
    reason = serializers.CharField()


class DecisionSerializer(serializers.Serializer[Any]):
    """What a run of the project would do about the request."""

    action = serializers.ChoiceField(
        [USE, CUT, WAIT, MAKE], allow_null=True, help_text="null: nobody can say before a worker has read the rows."
    )
    reason = serializers.CharField()
    artifact_id = serializers.UUIDField(allow_null=True, help_text="null where it is made outside of the workers.")
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="With wait: of the lease it is made under, if any."
    )
    offer = OfferSerializer(allow_null=True)


class ElsewhereSerializer(serializers.Serializer[Any]):
    """One of another project that would serve and that may not be used as things stand."""

    project = serializers.CharField(help_text="Whom to ask.")
    kind = serializers.CharField()
    status = serializers.CharField()
    production_energy_j = serializers.FloatField(allow_null=True)
    reason = serializers.CharField()


class LookupAnswer(serializers.Serializer[Any]):
    """What exists or is being made. Withdrawn, failed and corrupt artifacts are never named."""

    exact = ArtifactSerializer(many=True, help_text="Equal to the request.")
    covering = ArtifactSerializer(many=True, help_text="The request can be cut out of them.")
    in_progress = ArtifactSerializer(many=True, help_text="Being made right now, and would answer it.")
    near = NearMissSerializer(many=True)
    elsewhere = ElsewhereSerializer(many=True, help_text="Would answer it, and may only be asked for.")
    decision = DecisionSerializer()
