"""Studies, their frontier, and factors."""

from typing import Any

from rest_framework import serializers

from registry.api.fields import Flag, Payload, Text
from registry.models import Factor, Study


class StudySerializer(serializers.ModelSerializer[Study]):
    """Runs meant to be compared with each other."""

    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    suite = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="What Q is the mean over.")

    class Meta:
        model = Study
        fields = [
            "id",
            "project",
            "slug",
            "name",
            "description",
            "suite",
            "average_workloads",
            "origin",
            "citation",
            "created_at",
        ]
        read_only_fields = fields


class StudyCreation(Payload):
    """A new study."""

    slug = Text(max_length=80, help_text="2 to 80 lower-case letters, digits and hyphens; unique.")
    name = Text(max_length=200)
    suite = serializers.ListField(
        child=Text(max_length=100), min_length=1, max_length=100, help_text="The benchmarks that Q is the mean over."
    )
    description = Text(max_length=20_000, required=False, allow_blank=True)
    average_workloads = Flag(required=False, help_text="A point is the mean over workloads.")
    citation = Text(max_length=500, required=False, allow_blank=True)
    project = Text(required=False, help_text="Slug of one of your projects.")


class PointSerializer(serializers.Serializer[Any]):
    """One configuration: the mean over its replicates, and over workloads where the study says so. kWh here."""

    key = serializers.CharField()
    run_ids = serializers.ListField(child=serializers.UUIDField())
    left_out_run_ids = serializers.ListField(child=serializers.UUIDField(), help_text="Partial replicates.")
    pipeline = serializers.CharField()
    student = serializers.CharField()
    teacher = serializers.CharField()
    workloads = serializers.ListField(child=serializers.CharField())
    hardware = serializers.CharField()
    n = serializers.IntegerField(help_text="Runs that the means are over.")
    energy_kwh = serializers.FloatField(allow_null=True, help_text="Under the scope asked for; null with a hole.")
    energy_sd_kwh = serializers.FloatField(allow_null=True)
    energy_by_role_kwh = serializers.DictField(child=serializers.FloatField(allow_null=True))
    q = serializers.FloatField(allow_null=True, help_text="Null while the suite is incomplete.")
    q_sd = serializers.FloatField(allow_null=True)
    tokens = serializers.FloatField(allow_null=True)
    tokens_nominal = serializers.BooleanField()
    j_per_token = serializers.FloatField(allow_null=True)
    on_frontier = serializers.BooleanField()
    dominated_by = serializers.CharField(allow_null=True, help_text="Key of the nearest point that beats it.")
    energy_excess_kwh = serializers.FloatField(allow_null=True)
    q_shortfall = serializers.FloatField(allow_null=True)
    complete = serializers.BooleanField(help_text="A partial point is shown, and never on the frontier.")
    missing = serializers.ListField(child=serializers.CharField())
    origins = serializers.ListField(child=serializers.CharField())
    simulated = serializers.BooleanField()
    flagged = serializers.BooleanField()
    stands_for = serializers.IntegerField(help_text="Configurations this point speaks for, itself among them.")


class ThinningSerializer(serializers.Serializer[Any]):
    """What the points of a large study leave out: the frontier comes first, the rest by neighbourhood."""

    configurations = serializers.IntegerField()
    incomplete = serializers.IntegerField(help_text="Of them without energy or Q; not among the points.")
    shown = serializers.IntegerField()
    on_frontier = serializers.IntegerField()
    frontier_shown = serializers.IntegerField(help_text="Less than on_frontier: even the frontier is thinned.")


class FrontierSerializer(serializers.Serializer[Any]):
    """A study's points under one scope."""

    study = serializers.CharField()
    scope = serializers.CharField()
    n = serializers.CharField(help_text="N as asked for: a number, or reused.")
    hardware = serializers.ListField(
        child=serializers.CharField(), help_text="Classes among the points; with more than one, not like for like."
    )
    burnt_kwh = serializers.FloatField(allow_null=True, help_text="What the runs really burnt, each artifact once.")
    simulated = serializers.BooleanField(help_text="Whether these are the simulated runs; else all are measured.")
    left_out_runs = serializers.IntegerField(help_text="Runs of the other kind, which are not among the points.")
    thinned = ThinningSerializer(allow_null=True, help_text="Null: every configuration is among the points.")
    points = PointSerializer(many=True)


class FactorSerializer(serializers.ModelSerializer[Factor]):
    """A dated factor with its source."""

    project = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True, help_text="null: for everybody.")

    class Meta:
        model = Factor
        fields = ["id", "project", "kind", "region", "value", "source", "valid_from"]
        read_only_fields = fields
