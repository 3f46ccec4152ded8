"""What is computed about a study: the claims of the published one, and a transfer to other assumptions."""

from typing import Any

from rest_framework import serializers

from registry.accounting.claims import VERDICTS


class ClaimFigureSerializer(serializers.Serializer[Any]):
    """One computed number beside a claim."""

    label = serializers.CharField()  # type: ignore[assignment]  # a serializer's own `label` is of no use here
    shown = serializers.CharField(help_text="As a page shows it.")
    value = serializers.FloatField(allow_null=True, help_text="Null where the figure is a word.")
    unit = serializers.CharField()
    stated = serializers.CharField(help_text="What the paper prints, if anything.")


class ClaimSerializer(serializers.Serializer[Any]):
    """A statement of the paper and what its own tables say to it."""

    key = serializers.CharField()
    section = serializers.CharField()
    statement = serializers.CharField()
    verdict = serializers.ChoiceField(choices=list(VERDICTS))
    because = serializers.CharField()
    figures = ClaimFigureSerializer(many=True)


class ClaimsSerializer(serializers.Serializer[Any]):
    """The ledger of claims."""

    study = serializers.CharField()
    claims = ClaimSerializer(many=True)


class MovedSerializer(serializers.Serializer[Any]):
    """One configuration as measured and under the factors."""

    key = serializers.CharField()
    pipeline = serializers.CharField()
    student = serializers.CharField()
    hardware = serializers.CharField()
    q = serializers.FloatField(allow_null=True, help_text="As measured; a transfer does not change it.")
    energy_kwh = serializers.FloatField(allow_null=True)
    transferred_kwh = serializers.FloatField(allow_null=True, help_text="A calculation, not a measurement.")
    on_frontier = serializers.BooleanField()
    transferred_on_frontier = serializers.BooleanField()


class CountSerializer(serializers.Serializer[Any]):
    """N*."""

    verdict = serializers.ChoiceField(choices=["breaks_even", "never", "unknown"])
    count = serializers.IntegerField(allow_null=True)
    exact = serializers.FloatField(allow_null=True)


class MovedBreakEvenSerializer(serializers.Serializer[Any]):
    """N* of a distilled configuration against its baseline."""

    distilled = serializers.CharField(help_text="Key of the point.")
    baseline = serializers.CharField()
    delta_q = serializers.FloatField(allow_null=True)
    measured = CountSerializer()
    transferred = CountSerializer()


class TransferSerializer(serializers.Serializer[Any]):
    """A study as measured and under factors on its stages."""

    study = serializers.CharField()
    scope = serializers.CharField()
    n = serializers.CharField()
    simulated = serializers.BooleanField()
    factors = serializers.DictField(child=serializers.FloatField(), help_text="Energy of a role is multiplied by it.")
    measured = serializers.BooleanField(help_text="Whether every factor is 1.")
    points = MovedSerializer(many=True)
    break_even = MovedBreakEvenSerializer(many=True)
