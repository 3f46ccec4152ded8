"""Serializer fields that take JSON as it is typed: "1.5" is no number, and true is none either."""

from typing import Any

from rest_framework import serializers


class Number(serializers.FloatField):
    """A finite number. The parser has refused NaN and infinities."""

    def to_internal_value(self, value: Any) -> float:
        """A float. Raises `ValidationError` naming the value."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise serializers.ValidationError(f"{_short(value)} is not a number")
        return super().to_internal_value(value)


class Whole(serializers.IntegerField):
    """A whole number."""

    def to_internal_value(self, value: Any) -> int:
        """An int. Raises `ValidationError` naming the value."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise serializers.ValidationError(f"{_short(value)} is not a whole number")
        return super().to_internal_value(value)


class Text(serializers.CharField):
    """A text as it is, blanks included."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False} | options)

    def to_internal_value(self, value: Any) -> str:
        """A str. Raises `ValidationError` naming the value."""
        if not isinstance(value, str):
            raise serializers.ValidationError(f"{_short(value)} is not a text")
        return super().to_internal_value(value)


class Flag(serializers.BooleanField):
    """True or false."""

    def to_internal_value(self, value: Any) -> bool:
        """A bool. Raises `ValidationError` naming the value."""
        if not isinstance(value, bool):
            raise serializers.ValidationError(f"{_short(value)} is not true or false")
        return value


class Texts(serializers.ListField):
    """A list of texts, checked in one go: a request may name ten thousand rows."""

    child = Text(max_length=200)

    def to_internal_value(self, data: Any) -> list[str]:
        """The texts. Raises `ValidationError` naming each bad one by its place."""
        if isinstance(data, list) and data and set(map(type, data)) == {str}:
            lengths = set(map(len, data))
            if min(lengths) > 0 and max(lengths) <= 200 and len(data) <= (self.max_length or len(data)):
                return data
        return super().to_internal_value(data)


class Object(serializers.DictField):
    """A JSON object, its keys free."""

    child = serializers.JSONField(allow_null=True)


class Payload(serializers.Serializer[Any]):
    """A request's body. A key nobody knows is an error, not a value that goes nowhere."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The values, typed. Raises `ValidationError` naming each bad or unknown field."""
        if isinstance(data, dict) and (unknown := data.keys() - self.fields.keys()):
            known = ", ".join(self.fields)
            raise serializers.ValidationError({name: [f"unknown field; known here: {known}"] for name in unknown})
        values: dict[str, Any] = super().to_internal_value(data)
        return values


def _short(value: Any) -> str:
    return repr(value)[:80].encode("ascii", "backslashreplace").decode()
