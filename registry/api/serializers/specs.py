"""A run's spec in OpenAPI, generated from `accounting.spec`, which alone reads and checks one."""

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, cast, get_args, get_origin, get_type_hints

from rest_framework import serializers

from registry.accounting.presets import NAMED
from registry.accounting.spec import RunSpec

_MAKERS: dict[type, type[serializers.Field[Any, Any, Any, Any]]] = {
    float: serializers.FloatField,
    int: serializers.IntegerField,
    str: serializers.CharField,
}


@cache
def serializer_for(shape: type) -> type[serializers.Serializer[Any]]:
    """A serializer class with one field per field of the dataclass `shape`, named like it."""
    hints = get_type_hints(shape)
    members: dict[str, Any] = {field.name: _member(hints[field.name], field) for field in fields(shape)}
    members["__doc__"] = (shape.__doc__ or "").strip()
    return type(f"{shape.__name__}Serializer", (serializers.Serializer,), members)


def _member(hint: Any, field: Any) -> serializers.Field[Any, Any, Any, Any]:
    needed = field.default is MISSING and field.default_factory is MISSING
    options: dict[str, Any] = {"required": needed}
    if field.default is not MISSING:
        options["default"] = field.default
        del options["required"]
    if is_dataclass(hint):
        return serializer_for(cast(type, hint))(required=needed)
    if get_origin(hint) is tuple:
        return serializers.ListField(child=_MAKERS[get_args(hint)[0]](), required=needed)
    if hint is str and field.default == "":
        options["allow_blank"] = True
    return _MAKERS[hint](**options)


RunSpecSerializer = serializer_for(RunSpec)


class StoredSpecSerializer(RunSpecSerializer):  # type: ignore[valid-type, misc]  # made above
    """A run's spec with its study: POST it to runs/ as it is to run the same again."""

    study = serializers.CharField(help_text="Slug of the study that the run belongs to.")


class RunSubmission(StoredSpecSerializer):
    """A run to plan or to submit: a whole spec, or a preset's with what is said beside it in its place."""

    preset = serializers.ChoiceField(
        choices=list(NAMED), required=False, help_text="A run by name; fields beside it go before its own."
    )
    regenerate = serializers.BooleanField(
        default=False, help_text="Make the teacher artifact again although one exists; needs a reason and a maintainer."
    )
    regenerate_reason = serializers.CharField(
        required=False, allow_blank=True, help_text="Why; it is kept with the artifact."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Nothing but the study is needed beside a preset; `RunSpec.from_dict` says what is missing without one."""
        found = dict(super().get_fields())
        for name, field in found.items():
            field.required = name == "study"
        return found
