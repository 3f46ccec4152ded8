"""What a POST of one thing, or of a list of them, is answered with."""

from typing import Any

from rest_framework import serializers

CREATED, SAME, REFUSED = "created", "same", "refused"


class ItemResult(serializers.Serializer[Any]):
    """What became of one item of a list."""

    index = serializers.IntegerField(help_text="Its place in the list, from 0.")
    status = serializers.ChoiceField([CREATED, SAME, REFUSED])
    error = serializers.DictField(required=False, help_text="Code, message and fields, as in every refusal.")


class StageRecordResult(ItemResult):
    """What became of one record of a list."""

    record_id = serializers.CharField(allow_null=True)


class ScoreResult(ItemResult):
    """What became of one score of a list."""

    score_id = serializers.CharField(allow_null=True)


class RunResult(ItemResult):
    """What became of one run of a list."""

    external_id = serializers.CharField(allow_null=True)


class RunResults(serializers.Serializer[Any]):
    """One result per run, in order. The good ones are booked, the bad ones named."""

    results = RunResult(many=True)


class StageRecordResults(serializers.Serializer[Any]):
    """One result per record, in order. The good ones are booked, the bad ones named."""

    results = StageRecordResult(many=True)


class ScoreResults(serializers.Serializer[Any]):
    """One result per score, in order. The good ones are booked, the bad ones named."""

    results = ScoreResult(many=True)
