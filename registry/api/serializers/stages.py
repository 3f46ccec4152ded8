"""Stage records on the wire: exactly the fields of `stagemeter.StageRecord`, generated from it."""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from datetime import datetime
from types import NoneType
from typing import Any, get_args, get_type_hints

from django.urls import reverse
from rest_framework import serializers

from registry.api.fields import Payload, Text
from registry.models import Stage, StageReview
from registry.selectors.parts import parent_missing
from registry.selectors.traces import trace_of
from registry.services import reviews
from stagemeter.records import COMPONENTS, ROLES, STATUSES, StageRecord

_TYPES = get_type_hints(StageRecord)
_UNITS = {"_j": "Joules", "_w": "Watts", "_s": "Seconds", "_tokens": "Tokens"}
_HELP = {
    "record_id": "Yours to choose; the same record again under it is recognised. One is made if it is left out.",
    "kind": "Such as student_training. A kind of your own must name its role.",
    "role": "Filled in from a known kind.",
    "run_id": "The run's id, or your own name for it.",
    "parent_id": "The record that this one is a nested part of; only roots are summed.",
    "components": "What a total needs. One that is listed and has no energy leaves a hole in the total.",
    "devices": "One object per GPU: uuid, name, energy_j, method, flags.",
    "flags": 'Doubts of the meter itself: {"code": …, "message": …}.',
    "coverage": "Share of the duration backed by samples no further apart than two periods, 0 to 1.",
    "extra": "Foreign values.",
}


class StageRecordSerializer(serializers.Serializer[Any]):
    """One measured stage. Energies in joules, powers in watts, times in seconds; null is not measured, never zero."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """One per field of the record."""
        return {field.name: _field(field) for field in fields(StageRecord)} | super().get_fields()

    def to_representation(self, stage: Stage) -> dict[str, Any]:
        """The row as the record it was."""
        values = {field.name: getattr(stage, field.name) for field in fields(StageRecord)}
        values |= {name: None if values[name] is None else str(values[name]) for name in ("run_id", "attempt_id")}
        values |= {"started_at": stage.started_at.isoformat(), "ended_at": stage.ended_at.isoformat()}
        return values | {"parent_id": stage.parent_id or None}


class StageRecordUpload(StageRecordSerializer):
    """A record and where it belongs: name the project or a study of it, if you have more than one."""

    project = serializers.CharField(required=False, help_text="Slug of one of your projects.")
    study = serializers.CharField(required=False, help_text="Slug of a study; the record goes to its project.")


class ReviewSerializer(serializers.ModelSerializer[StageReview]):
    """What was said of a record later."""

    class Meta:
        model = StageReview
        fields = ["verdict", "code", "reason", "at"]
        read_only_fields = fields


class ReviewPayload(Payload):
    """Something to say of a record."""

    verdict = serializers.ChoiceField(
        StageReview.Verdict.values, help_text="accepted: true all the same; flagged: doubtful; withdrawn: taken back."
    )
    reason = Text(max_length=reviews.MOST_REASON)


class BookedStageSerializer(StageRecordSerializer):
    """A record with what the ledger knows about it."""

    id = serializers.UUIDField(read_only=True)
    project = serializers.CharField(read_only=True)
    artifact = serializers.UUIDField(read_only=True, allow_null=True, help_text="What it worked at making.")
    origin = serializers.CharField(read_only=True, help_text="worker, upload, import or published.")
    energy_j = serializers.FloatField(read_only=True, allow_null=True, help_text="Total; null with a hole in it.")
    missing = serializers.ListField(
        child=serializers.CharField(), read_only=True, help_text="Components that the total lacks."
    )
    withdrawn = serializers.BooleanField(read_only=True, help_text="Taken back later; counted nowhere.")
    reviews = ReviewSerializer(many=True, read_only=True, help_text="What was said of it, oldest first.")
    doubted = serializers.BooleanField(
        read_only=True, help_text="Hardly true and not accepted: its run stays off the frontier."
    )
    parent_missing = serializers.BooleanField(
        read_only=True,
        help_text="It is a part of a record that has not arrived: its energy is in no total, and the total has a hole.",
    )
    created_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, stage: Stage) -> dict[str, Any]:
        """The record, then the ledger's own columns."""
        missing = [name for name in stage.components if getattr(stage, f"{name}_energy_j") is None]
        said = sorted(stage.reviews.all(), key=lambda review: review.pk)
        standing = reviews.state(said)
        return super().to_representation(stage) | {
            "id": str(stage.pk),
            "project": stage.project.slug,
            "artifact": None if stage.artifact_id is None else str(stage.artifact_id),
            "origin": stage.origin,
            "energy_j": stage.energy_j,
            "missing": missing,
            "withdrawn": standing == StageReview.Verdict.WITHDRAWN,
            "reviews": ReviewSerializer(said, many=True).data,
            "doubted": standing == StageReview.Verdict.FLAGGED,
            "parent_missing": parent_missing(stage),
            "created_at": stage.created_at.isoformat(),
        }


class ListedStageSerializer(BookedStageSerializer):
    """A record in a list: whether it has a power trace, too."""

    trace = serializers.CharField(read_only=True, allow_null=True, help_text="Address of its power trace.")

    def to_representation(self, stage: Stage) -> dict[str, Any]:
        """The record, and the address of its trace if it has one."""
        address = None if trace_of(stage) is None else reverse("api:trace", args=[stage.pk])
        return super().to_representation(stage) | {"trace": address}


def _field(field: Field[Any]) -> serializers.Field[Any, Any, Any, Any]:
    hint = _TYPES[field.name]
    nullable = NoneType in get_args(hint)
    plain = next((part for part in get_args(hint) if part is not NoneType), hint) if nullable else hint
    options: dict[str, Any] = {"help_text": _HELP.get(field.name, _unit(field.name))}
    if nullable:
        options["allow_null"] = True
    if not (field.default is MISSING and field.default_factory is MISSING):
        options["required"] = False
    return _special(field.name, options) or _MAKERS[plain](**options)


def _unit(name: str) -> str:
    if name == "schema_version":
        return "Of the record's shape; this release knows 1."
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")


def _special(name: str, options: dict[str, Any]) -> serializers.Field[Any, Any, Any, Any] | None:
    if name == "components":
        return serializers.ListField(child=serializers.ChoiceField(COMPONENTS), **options)
    if name in ("devices", "flags"):
        return serializers.ListField(child=serializers.DictField(), **options)
    choices = {"role": ROLES, "status": STATUSES}.get(name)
    return serializers.ChoiceField(choices, **options) if choices else None


def _number(**options: Any) -> serializers.Field[Any, Any, Any, Any]:
    return serializers.FloatField(min_value=0, **options)


def _count(**options: Any) -> serializers.Field[Any, Any, Any, Any]:
    return serializers.IntegerField(min_value=0, **options)


def _text(**options: Any) -> serializers.Field[Any, Any, Any, Any]:
    return serializers.CharField(max_length=500, allow_blank=True, **options)


_MAKERS: dict[Any, Callable[..., serializers.Field[Any, Any, Any, Any]]] = {
    float: _number,
    int: _count,
    str: _text,
    bool: serializers.BooleanField,
    datetime: serializers.DateTimeField,
    dict[str, Any]: serializers.DictField,
}
