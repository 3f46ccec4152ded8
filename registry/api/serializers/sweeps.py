"""Sweeps: grids of settings, and what submitting them would do."""

from typing import Any

from rest_framework import serializers

from registry.api.fields import Object, Payload, Text
from registry.api.serializers.artifacts import ArtifactSerializer
from registry.api.serializers.runs import RunSerializer
from registry.api.serializers.specs import RunSpecSerializer

MOST_GRIDS = 20


class SweepSubmission(Payload):
    """Runs to plan or to submit together."""

    study = Text(max_length=80, help_text="Slug of the study that the runs belong to.")
    grids = serializers.ListField(
        child=Object(),
        min_length=1,
        max_length=MOST_GRIDS,
        help_text="Each a run's spec in which any setting may hold a list of values (a setting that is a list, a list "
        "of lists): every combination is a run, and the runs of all grids are one sweep.",
    )


class PartSerializer(serializers.Serializer[Any]):
    """What one run does about the artifact."""

    run = serializers.IntegerField(source="place", help_text="Its place in `runs`, from 0.")
    action = serializers.CharField(help_text="make, use or cut.")


class NeedSerializer(serializers.Serializer[Any]):
    """One artifact that runs of the sweep share."""

    kind = serializers.CharField()
    action = serializers.CharField(help_text="make, use, wait; later: its rows are known once the data is prepared.")
    reason = serializers.CharField()
    artifact = serializers.SerializerMethodField(help_text="What exists, if it is used or waited for.")
    rows = serializers.IntegerField()
    parts = PartSerializer(many=True)
    made = serializers.IntegerField(help_text="How many are made: 1, or 0 where one exists.")
    alone = serializers.IntegerField(help_text="How many would be made if each run made its own.")
    by_exact = serializers.IntegerField(
        help_text="How many a harness makes that bakes T into a cache and generates for each length and prompt set."
    )
    expected_energy_j = serializers.FloatField(source="expected.energy_j", allow_null=True)
    expected_basis = serializers.CharField(source="expected.basis")

    def get_artifact(self, need: Any) -> dict[str, Any] | None:
        """As in a list."""
        return None if need.artifact is None else dict(ArtifactSerializer(need.artifact, context=self.context).data)


class PlannedRun(serializers.Serializer[Any]):
    """One run of the sweep."""

    varied = serializers.DictField(help_text="Dotted setting → value, of those in which the runs differ.")
    spec = RunSpecSerializer()


class SweepPlanSerializer(serializers.Serializer[Any]):
    """What submitting the grids would do. Energies in joules; null where nobody knows them yet."""

    study = serializers.CharField()
    runs = PlannedRun(many=True)
    left_out = serializers.IntegerField(
        help_text="Combinations that differ from others only in what their pipeline never reads."
    )
    artifacts = NeedSerializer(many=True)
    needs_reference = serializers.BooleanField(help_text="The teacher itself would be evaluated first, for Q.")
    expected_energy_j = serializers.FloatField(allow_null=True)
    saved_j = serializers.FloatField(
        allow_null=True, help_text="Of the teacher's work, against each run making its own artifact."
    )
    saved_by_exact_j = serializers.FloatField(
        allow_null=True, help_text="The same against a harness that shares only what is equal, temperature included."
    )


class SweepAnswer(serializers.Serializer[Any]):
    """The runs that were queued, in the order of their grids."""

    runs = RunSerializer(many=True)
