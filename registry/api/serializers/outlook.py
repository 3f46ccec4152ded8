"""A study under its reader's assumptions."""

from typing import Any

from rest_framework import serializers

from registry.accounting.axes import COSTS
from registry.accounting.figures import SCOPES
from registry.accounting.uncertainty import OFF, ON, UNDECIDED


def _pair(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2, **options)


class SpotSerializer(serializers.Serializer[Any]):
    """A configuration on the axes asked for."""

    key = serializers.CharField()
    pipeline = serializers.CharField()
    student = serializers.CharField()
    hardware = serializers.CharField()
    workloads = serializers.ListField(child=serializers.CharField())
    n = serializers.IntegerField(help_text="Runs that the means are over.")
    cost = serializers.FloatField(allow_null=True, help_text="In `cost_unit`; null with a hole.")
    cost_sd = serializers.FloatField(allow_null=True)
    cost_interval = _pair(allow_null=True, help_text="95 of 100 draws; null where nothing varies.")
    quality = serializers.FloatField(allow_null=True)
    quality_sd = serializers.FloatField(allow_null=True)
    quality_interval = _pair(allow_null=True)
    energy_bounds_kwh = _pair(allow_null=True, help_text="At least and at most, by the records' bounds.")
    bounded_share = serializers.FloatField(allow_null=True, help_text="Of the energy, what has bounds.")
    on_frontier = serializers.BooleanField()
    probability = serializers.FloatField(allow_null=True, help_text="Of being on the frontier; null without draws.")
    verdict = serializers.ChoiceField(choices=[ON, OFF, UNDECIDED], allow_null=True)
    dominated_by = serializers.CharField(allow_null=True, help_text="Key of the nearest point that beats it.")
    cost_excess = serializers.FloatField(allow_null=True)
    quality_shortfall = serializers.FloatField(allow_null=True)
    complete = serializers.BooleanField()
    missing = serializers.ListField(child=serializers.CharField())
    run_ids = serializers.ListField(child=serializers.UUIDField())


class OutlookSerializer(serializers.Serializer[Any]):
    """A study's configurations on two axes."""

    study = serializers.CharField()
    cost = serializers.ChoiceField(choices=list(COSTS))
    cost_unit = serializers.CharField(help_text="Empty for a cost, whose currency is the reader's.")
    quality = serializers.CharField()
    scope = serializers.ChoiceField(choices=list(SCOPES))
    n = serializers.CharField()
    hypervolume = serializers.FloatField(allow_null=True, help_text="In cost × quality, against `reference`.")
    reference = _pair(allow_null=True, help_text="Cost and quality.")
    reference_given = serializers.BooleanField(help_text="Else the worst of both among the points.")
    draws = serializers.IntegerField(help_text="0: nothing states an error, so places stand as they are.")
    noise = serializers.ListField(child=serializers.CharField(), help_text="What was drawn.")
    assumed_errors = serializers.ListField(child=serializers.CharField(), help_text="Benchmarks.")
    unstated_errors = serializers.ListField(child=serializers.CharField(), help_text="Benchmarks taken as exact.")
    mixed = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text="By what differs among the runs: how many are of each kind.",
    )
    points = SpotSerializer(many=True)
