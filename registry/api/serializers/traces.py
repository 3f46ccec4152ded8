"""Power traces on the wire: the question, and the lines as JSON."""

import math
from typing import Any

from rest_framework import serializers

from registry.api.fields import Payload
from registry.models import Trace
from registry.selectors.traces import MAX_POINTS, POINTS, TraceLine


class TraceQuery(serializers.Serializer[Any]):
    """Which stretch, and how many points."""

    points = serializers.IntegerField(
        required=False,
        default=POINTS,
        min_value=4,
        max_value=MAX_POINTS,
        help_text="About how many samples of each line; fewer where a trace has very many lines.",
    )
    to = serializers.FloatField(required=False, help_text="Seconds since the stage began; without it, to its end.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`from` is no name that Python lets a class give."""
        begin = serializers.FloatField(
            required=False, help_text="Seconds since the stage began; without it, from its first sample."
        )
        return super().get_fields() | {"from": begin}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """`from` and `to` are finite, and in that order."""
        problems = {
            name: f"{attrs[name]} is not a finite number of seconds"
            for name in ("from", "to")
            if not math.isfinite(attrs.get(name, 0.0))
        }
        if not problems and attrs.get("from", -math.inf) > attrs.get("to", math.inf):
            problems["to"] = f"{attrs['to']} is before 'from', {attrs['from']}"
        if problems:
            raise serializers.ValidationError(problems)
        return attrs


class TraceLineSerializer(serializers.Serializer[Any]):
    """One component of one device. Its figures are those of the whole trace, its samples those asked for."""

    component = serializers.CharField(help_text="gpu, cpu or ram.")
    device = serializers.CharField(allow_blank=True, help_text="A GPU's UUID; empty for the others.")
    spacing_s = serializers.FloatField(allow_null=True, help_text="Usual distance of two samples, in seconds.")
    lowest_w = serializers.FloatField(allow_null=True, help_text="Watts.")
    mean_w = serializers.FloatField(allow_null=True, help_text="Watts, over time, without the gaps.")
    highest_w = serializers.FloatField(allow_null=True, help_text="Watts.")
    longest_gap_s = serializers.FloatField(allow_null=True, help_text="Seconds.")
    samples = serializers.IntegerField(help_text="How many there are in the stretch, with the two around it.")
    times_s = serializers.ListField(child=serializers.FloatField(), help_text="Seconds since the stage began.")
    power_w = serializers.ListField(child=serializers.FloatField(), help_text="Watts, one for each time.")
    gaps = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2),
        help_text="Stretches (from, to) without a sample, wide enough to be seen: draw no line through them.",
    )

    def to_representation(self, line: TraceLine) -> dict[str, Any]:
        """Times to the microsecond, watts to the milliwatt."""
        figures = {name: value for name, value in line.line.to_dict().items() if name in self.fields}
        return figures | {
            "samples": line.drawn.samples,
            "times_s": line.drawn.times_s.round(6).tolist(),
            "power_w": [round(watts, 3) for watts in line.drawn.power_w.tolist()],
            "gaps": [[round(start, 6), round(end, 6)] for start, end in line.drawn.gaps],
        }


class TraceUpload(Payload):
    """A power trace of one record."""

    file = serializers.FileField(
        help_text="Columns `time_us` or `time_s` since the stage began, or `timestamp` (seconds since 1970, or a date "
        "with its zone); and `component`, `device`, `power_w`, `counter_mj`, or `gpu_<n>_power_w`, `cpu_power_w`, …"
    )


class CheckSerializer(serializers.Serializer[Any]):
    """What a record claims, in joules, beside what its trace comes to."""

    component = serializers.CharField(help_text="gpu, cpu or ram.")
    device = serializers.CharField(allow_blank=True, help_text="A GPU's UUID; empty for the component as a whole.")
    claimed_j = serializers.FloatField(allow_null=True, help_text="What the record says; null where it says nothing.")
    traced_j = serializers.FloatField(
        allow_null=True, help_text="Without what gaps hid; null where the trace lacks a device that the record counts."
    )
    by = serializers.CharField(help_text="counter: the device's energy counter; power: the trapezoid rule.")
    coverage = serializers.FloatField(allow_null=True, help_text="Share of the stage backed by samples, 0 to 1.")
    difference = serializers.FloatField(
        allow_null=True, help_text="Share of the claim; 0 where what the gaps hid may explain it; null: not compared."
    )


class KeptTraceSerializer(serializers.ModelSerializer[Trace]):
    """A trace that was put beside a record."""

    id = serializers.UUIDField(source="stage_id", read_only=True, help_text="Of the record.")
    record_id = serializers.CharField(source="stage.record_id", read_only=True)
    checks = CheckSerializer(many=True, read_only=True)
    samples = serializers.SerializerMethodField(help_text="Of all lines together.")

    class Meta:
        model = Trace
        fields = ["id", "record_id", "bytes", "sha256", "sent_sha256", "samples", "checks"]
        read_only_fields = fields

    def get_samples(self, trace: Trace) -> int:
        """Readings of power that lie in it."""
        return sum(line["samples"] for line in trace.lines)


class TraceSerializer(serializers.Serializer[Any]):
    """The power trace of a stage record."""

    id = serializers.UUIDField(help_text="Of the record.")
    record_id = serializers.CharField()
    kind = serializers.CharField()
    started_at = serializers.DateTimeField()
    duration_s = serializers.FloatField(allow_null=True, help_text="Seconds.")
    simulated = serializers.BooleanField()
    bytes = serializers.IntegerField(help_text="Of the Parquet file.")
    sha256 = serializers.CharField(help_text="Of the Parquet file.")
    sent_sha256 = serializers.CharField(allow_blank=True, help_text="Of the file as it was uploaded; else empty.")
    checks = CheckSerializer(many=True, help_text="Of an uploaded one: the record's claims beside it.")
    lines = TraceLineSerializer(many=True)

    def to_representation(self, trace: Trace) -> dict[str, Any]:
        """The record's identity, the file's, and the lines given as `lines` in the context."""
        stage = trace.stage
        return {
            "id": str(stage.pk),
            "record_id": stage.record_id,
            "kind": stage.kind,
            "started_at": stage.started_at.isoformat(),
            "duration_s": stage.duration_s,
            "simulated": stage.simulated,
            "bytes": trace.bytes,
            "sha256": trace.sha256,
            "sent_sha256": trace.sent_sha256,
            "checks": trace.checks,
            "lines": TraceLineSerializer(self.context["lines"], many=True).data,
        }
