"""JSON as it is written down, and nothing else: what two readers could understand differently is refused."""

import json
import math
import re
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, MultiPartParser

from registry.api.refusals import TooLarge

MAX_DEPTH = 64
LARGEST = 2**63 - 1  # what a database column holds
# A null character, escaped by an odd number of backslashes; "\\u0000" is six ordinary characters.
_NULL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class StrictJSONParser(BaseParser):
    """RFC 8259 in UTF-8, with a cap on size and depth. No NaN, no infinity, no key twice, no null character."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The body's value. Raises `TooLarge` and `ParseError`."""
        _check_length((parser_context or {}).get("request"), settings.MAX_BODY_BYTES)
        return loads(stream.read(settings.MAX_BODY_BYTES + 1))


def loads(raw: bytes) -> Any:
    """Read a JSON text of a whole body. Raises `TooLarge` and `ParseError`."""
    if len(raw) > settings.MAX_BODY_BYTES:
        raise _too_large(settings.MAX_BODY_BYTES)
    return decode(raw)


def decode(raw: bytes) -> Any:
    """Read a JSON text. Raises `ParseError`."""
    try:
        text = raw.decode()
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )
    except UnicodeDecodeError as error:
        raise ParseError(f"The body is not UTF-8: byte {error.start} cannot be read.") from error
    except RecursionError as error:
        raise ParseError(f"The body is nested deeper than {MAX_DEPTH} levels.") from error
    except ValueError as error:
        raise ParseError(f"The body is no JSON: {str(error)[:200]}.") from error
    _check(text, value)
    return value


def _check(text: str, value: Any) -> None:
    if _deeper_than(MAX_DEPTH, value):
        raise ParseError(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if "\\u" not in text:
        return
    plain = json.dumps(value, ensure_ascii=False)
    if _NULL.search(plain):
        raise ParseError("The body holds a null character, which no text here can.")
    try:
        plain.encode()
    except UnicodeEncodeError as error:
        raise ParseError("The body holds half of a surrogate pair, which is no character.") from error


def declared_length(request: Any) -> int | None:
    """Bytes that the body should have, by its header."""
    declared = str(request.META.get("CONTENT_LENGTH") or "") if request is not None else ""
    return int(declared) if declared.isdecimal() else None


def _check_length(request: Any, most: int) -> None:
    """Refuse by the declared length, before anything is read."""
    if (declared_length(request) or 0) > most:
        raise _too_large(most)


def _too_large(most: int) -> TooLarge:
    return TooLarge(
        f"A request may carry {most:,} bytes. A list may come in several; an artifact of more rows than that is "
        "asked for by a run's spec, which holds none, and registered as several artifacts of some of its rows each."
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number; leave a figure out that was not measured")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is beyond every number that can be kept")
    return value


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else LARGEST + 1
    if abs(value) > LARGEST:
        raise ValueError(f"{digits[:40]} is beyond 64 bits; send it as a text")
    return value


_CONTAINERS = {dict, list}


def _deeper_than(limit: int, value: Any) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        below = [outer.values() if isinstance(outer, dict) else outer for outer in level]
        # Most lists are long and flat: their types are looked at together.
        level = [
            inner
            for values in below
            if not _CONTAINERS.isdisjoint(map(type, values))
            for inner in values
            if isinstance(inner, dict | list)
        ]
    return bool(level)


class CappedFormParser(MultiPartParser):
    """A form with a file, which goes to disk as it comes. Refused by its declared length, before it is read."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The fields and the file. Raises `TooLarge` and `ParseError`."""
        _check_length((parser_context or {}).get("request"), settings.MAX_IMPORT_BYTES)
        return super().parse(stream, media_type, parser_context)


class OctetParser(BaseParser):
    """The bytes of one file, left in the stream for the view to write to disk as they come."""

    media_type = "application/octet-stream"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The stream itself. Raises `TooLarge` by the declared length."""
        _check_length((parser_context or {}).get("request"), settings.MAX_ARTIFACT_FILE_BYTES)
        return stream
