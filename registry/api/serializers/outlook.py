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
    pending = serializers.BooleanField(help_text="A worker draws; until then there are no probabilities. Ask again.")
    noise = serializers.ListField(child=serializers.CharField(), help_text="What was drawn.")
    assumed_errors = serializers.ListField(child=serializers.CharField(), help_text="Benchmarks.")
    unstated_errors = serializers.ListField(child=serializers.CharField(), help_text="Benchmarks taken as exact.")
    mixed = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text="By what differs among the runs: how many are of each kind.",
    )
    points = SpotSerializer(many=True)


class NamedSerializer(serializers.Serializer[Any]):
    """A configuration by name; `key` is that of its point."""

    key = serializers.CharField()
    pipeline = serializers.CharField()
    student = serializers.CharField()


class PaybackSerializer(serializers.Serializer[Any]):
    """N* of a distilled configuration against the baseline of its size."""

    distilled = NamedSerializer()
    baseline = NamedSerializer()
    teacher_kwh = serializers.FloatField(allow_null=True)
    verdict = serializers.ChoiceField(choices=["breaks_even", "never", "unknown"])
    n_star = serializers.IntegerField(allow_null=True)
    n_star_exact = serializers.FloatField(allow_null=True)
    n_star_lower = serializers.IntegerField(allow_null=True, help_text="Of 95 in 100 draws; null without an interval.")
    n_star_upper = serializers.IntegerField(allow_null=True, help_text="Null: never, or no interval.")
    never_share = serializers.FloatField(allow_null=True, help_text="Of the draws; null without an interval.")
    delta_q = serializers.FloatField(allow_null=True)
    rest_kwh = serializers.FloatField(allow_null=True, help_text="Per student as N grows without end.")


class ServingSerializer(serializers.Serializer[Any]):
    """T* against one baseline. `tokens` is null where a number of them would mean nothing."""

    verdict = serializers.ChoiceField(
        choices=["breaks_even", "until", "at_once", "equal", "never", "no_substitute", "unknown"]
    )
    tokens = serializers.FloatField(allow_null=True)
    sentence = serializers.CharField()


class SubstituteSerializer(serializers.Serializer[Any]):
    """A student in the place of a larger baseline."""

    small = NamedSerializer()
    large = NamedSerializer()
    delta_q = serializers.FloatField(allow_null=True)
    small_j_per_token = serializers.FloatField()
    large_j_per_token = serializers.FloatField()
    stated = serializers.BooleanField(help_text="A rate is an estimate of its source, not counted here.")
    against_large = ServingSerializer()
    against_same_size = ServingSerializer(allow_null=True)
    days = serializers.FloatField(allow_null=True, help_text="At `tokens_per_day`.")


class BreakEvensSerializer(serializers.Serializer[Any]):
    """When distillation pays, by reuse and by serving."""

    study = serializers.CharField()
    tolerance = serializers.FloatField(help_text="For Q, of a substitute.")
    reuse = PaybackSerializer(many=True)
    serving = SubstituteSerializer(many=True)


class RolePartSerializer(serializers.Serializer[Any]):
    """One role's energy."""

    energy_kwh = serializers.FloatField(allow_null=True)
    share = serializers.FloatField(allow_null=True)
    lost_kwh = serializers.FloatField(allow_null=True, help_text="Of it, by attempts that failed or died.")
    floor_kwh = serializers.FloatField(allow_null=True, help_text="Of an ideal run; null where no work was counted.")
    net_kwh = serializers.FloatField(allow_null=True, help_text="Without the host's idle; null if nobody knows it.")


class SplitSerializer(NamedSerializer):
    """A configuration's energy by role."""

    energy_kwh = serializers.FloatField(allow_null=True)
    sci_kg = serializers.FloatField(allow_null=True, help_text="kg CO2e per `unit`; null without a grid factor.")
    parts = serializers.DictField(child=RolePartSerializer())


class BreakdownSerializer(serializers.Serializer[Any]):
    """Where the energy went."""

    study = serializers.CharField()
    scope = serializers.ChoiceField(choices=list(SCOPES))
    n = serializers.CharField()
    unit = serializers.CharField(help_text="The functional unit of SCI.")
    embodied = serializers.BooleanField(help_text="Whether SCI holds the making; else it is a lower bound.")
    points = SplitSerializer(many=True)


class SettingPointSerializer(serializers.Serializer[Any]):
    """One value of a setting."""

    key = serializers.CharField()
    value = serializers.JSONField()
    workloads = serializers.ListField(child=serializers.CharField())
    cost = serializers.FloatField(allow_null=True)
    quality = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField()
    on_frontier = serializers.BooleanField(help_text="Among the settings of the same student and workload.")


class CurveSerializer(serializers.Serializer[Any]):
    """Everything but the setting held."""

    student = serializers.CharField()
    name = serializers.CharField()
    points = SettingPointSerializer(many=True)


class SettingSerializer(serializers.Serializer[Any]):
    """One setting of one pipeline."""

    pipeline = serializers.CharField()
    setting = serializers.CharField()
    curves = CurveSerializer(many=True)


class SensitivitySerializer(serializers.Serializer[Any]):
    """What settings do."""

    study = serializers.CharField()
    cost_unit = serializers.CharField()
    settings = SettingSerializer(many=True)


class PositionSerializer(serializers.Serializer[Any]):
    """Cost and quality on one workload."""

    cost = serializers.FloatField(allow_null=True)
    quality = serializers.FloatField(allow_null=True)


class WorkloadRowSerializer(NamedSerializer):
    """A configuration on each workload, and their mean."""

    by_workload = serializers.DictField(child=PositionSerializer())
    mean = PositionSerializer(allow_null=True, help_text="Null where a workload is missing.")
    missing = serializers.ListField(child=serializers.CharField())


class WorkloadsSerializer(serializers.Serializer[Any]):
    """The study's workloads and their mean."""

    study = serializers.CharField()
    cost_unit = serializers.CharField()
    workloads = serializers.ListField(child=serializers.CharField())
    points = WorkloadRowSerializer(many=True)


class CandidateSerializer(NamedSerializer):
    """A measured configuration under the wish; energies in kWh per student."""

    verdict = serializers.ChoiceField(choices=["fits", "too_poor", "too_dear", "unknown"])
    q = serializers.FloatField(allow_null=True)
    n = serializers.IntegerField(help_text="Runs behind it.")
    rest_kwh = serializers.FloatField()
    teacher_kwh = serializers.FloatField(help_text="Whole, to be divided by `students`.")
    training_kwh = serializers.FloatField()
    j_per_token = serializers.FloatField(allow_null=True)
    serving_kwh = serializers.FloatField(allow_null=True)
    total_kwh = serializers.FloatField(allow_null=True)


class AdviceSerializer(serializers.Serializer[Any]):
    """What the study's measurements advise."""

    study = serializers.CharField()
    choice = serializers.CharField(allow_null=True, help_text="Key of the best candidate; null where none fits.")
    without_basis = serializers.ListField(child=serializers.CharField(), help_text="Sizes nobody measured.")
    candidates = CandidateSerializer(many=True)


class FactSerializer(serializers.Serializer[Any]):
    """One fact of every run, in their order."""

    group = serializers.ChoiceField(choices=["result", "stages", "scores", "settings", "environment"])
    name = serializers.CharField()
    values = serializers.ListField(child=serializers.JSONField(allow_null=True))
    differs = serializers.BooleanField()


class ComparisonSerializer(serializers.Serializer[Any]):
    """Runs side by side; energies in joules, durations in seconds."""

    runs = serializers.ListField(child=serializers.UUIDField())
    missing = serializers.ListField(child=serializers.CharField(), help_text="Not there, or not to be seen.")
    rows = FactSerializer(many=True)
