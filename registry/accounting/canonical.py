"""One spelling for values that mean the same: what fingerprints and comparisons are taken over."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

# RFC 8785 writes numbers as JavaScript does; beyond this, whole numbers are no longer told apart there.
LARGEST_INTEGER = 2**53 - 1


class CanonicalError(ValueError):
    """A value that JSON cannot carry unambiguously. The message names the field and the value."""


def canonical(value: Any, name: str = "value") -> Any:
    """`value` in JSON types: tuples as lists, text in Unicode NFC, whole floats as integers, no `None` in objects.

    Raises `CanonicalError` for NaN, infinities, integers beyond 2⁵³−1, keys that are no text, and other types.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, int | float):
        return _number(value, name)
    if isinstance(value, Mapping):
        return _object(value, name)
    if isinstance(value, list | tuple):
        return [canonical(item, f"{name}[{place}]") for place, item in enumerate(value)]
    raise CanonicalError(f"{name}: {value!r} is not a text, number, list or object")


def _text(value: str, name: str) -> str:
    if value.isascii():
        return value  # one spelling only, and the many digests of a request are such
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise CanonicalError(f"{name}: {value!r} holds half of a surrogate pair and is no valid text")
    return unicodedata.normalize("NFC", value)


def _number(value: float, name: str) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise CanonicalError(f"{name}: {value!r} is not a finite number")
    if abs(value) > LARGEST_INTEGER:
        raise CanonicalError(f"{name}: {value!r} is beyond ±{LARGEST_INTEGER}; send it as a text")
    return int(value) if value == int(value) else value


def _object(value: Mapping[Any, Any], name: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise CanonicalError(f"{name}: the key {key!r} is not a text")
        normal = _text(key, name)
        if normal in result:
            raise CanonicalError(f"{name}: two keys are both {normal!r} once their Unicode is normalised")
        if item is not None:
            result[normal] = canonical(item, f"{name}.{normal}")
    return result


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one level of dotted names: `{"teacher": {"id": "a"}}` → `{"teacher.id": "a"}`."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat
