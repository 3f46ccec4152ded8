"""Long lists: NDJSON, and JSON arrays beyond what an ordinary body may hold, never in memory as a whole.

The body is kept in a file until it is here entirely (a client that dies in the middle books nothing), its items are
counted, and then read one after the other. An item that is no good JSON is refused like any other bad item.
"""

import hashlib
import json
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from registry.api.parsers import StrictJSONParser, declared_length, decode, loads
from registry.api.refusals import TooLarge

CHUNK = 64 * 1024
IN_MEMORY = 1024 * 1024  # of a body; what is more lies on disk
MAX_ITEM_BYTES = 1024 * 1024
_BLANK = " \t\n\r"


class Items:
    """The items of a list, read from a file: iterating gives each as a value, or the `ParseError` it is refused with.

    `lines` says whether each stands in a line of its own (NDJSON) or all in one JSON array.
    """

    def __init__(self, body: "Body", *, lines: bool) -> None:
        self._body, self.sha256, self._lines = body, body.sha256, lines
        self.count = sum(1 for _ in self._texts())

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        for raw in self._texts():
            try:
                yield decode(raw)
            except ParseError as error:
                yield error

    def _texts(self) -> Iterator[bytes]:
        handle = self._body.open()
        return _lines(handle) if self._lines else _elements(handle)


class NDJSONParser(BaseParser):
    """One JSON value a line; empty lines are passed over."""

    media_type = "application/x-ndjson"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The lines' values, as `Items`. Raises `TooLarge` and `ParseError`."""
        return Items(Body(stream, parser_context), lines=True)


class ListParser(StrictJSONParser):
    """JSON; a body beyond what an ordinary one may hold must be an array, whose items are read one by one."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The body's value, or its `Items`. Raises `TooLarge` and `ParseError`."""
        declared = declared_length((parser_context or {}).get("request"))
        if declared is not None and declared <= settings.MAX_BODY_BYTES:
            return super().parse(stream, media_type, parser_context)
        body = Body(stream, parser_context)
        if body.open().read(CHUNK).lstrip(_BLANK.encode())[:1] != b"[":
            return loads(body.open().read(settings.MAX_BODY_BYTES + 1))
        return Items(body, lines=False)


class Body:
    """A request's whole body in a file, which is closed with the last user of it."""

    def __init__(self, stream: IO[Any], context: Mapping[str, Any] | None) -> None:
        """Raises `TooLarge`, and `ParseError` for a body that was cut off."""
        self.handle: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 (see __del__)
        declared = declared_length((context or {}).get("request"))
        digest, size = hashlib.sha256(), 0
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            if size > settings.MAX_BULK_BYTES:
                raise TooLarge(f"A list may come in {settings.MAX_BULK_BYTES:,} bytes; send it in parts.")
            digest.update(chunk)
            self.handle.write(chunk)
        if declared is not None and size < declared:
            raise ParseError(f"The body was cut off after {size:,} of {declared:,} bytes; nothing of it is booked.")
        self.sha256 = digest.hexdigest()

    def __del__(self) -> None:
        self.handle.close()

    def open(self) -> IO[bytes]:
        """The file from its beginning."""
        self.handle.seek(0)
        return self.handle


def _lines(handle: IO[bytes]) -> Iterator[bytes]:
    while line := handle.readline(MAX_ITEM_BYTES + 1):
        if len(line) > MAX_ITEM_BYTES:
            raise TooLarge(f"A line may hold {MAX_ITEM_BYTES:,} bytes.")
        if line.strip():
            yield line


def _elements(handle: IO[bytes]) -> Iterator[bytes]:
    """The elements of the one JSON array in the file, each as its own text. Raises `ParseError` and `TooLarge`."""
    text = _Text(handle)
    text.expect("[")
    if text.peek() == "]":
        text.expect("]")
    else:
        while True:
            yield text.value()
            if text.peek() != ",":
                break
            text.expect(",")
        text.expect("]")
    if text.peek():
        raise ParseError("The body is no JSON: something follows the list.")


class _Text:
    """A window that moves over a JSON text."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._decode = getincrementaldecoder("utf-8")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._ended = "", False

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            self._text = self._text.lstrip(_BLANK)
            if self._text or not self._more():
                return self._text[:1]

    def expect(self, character: str) -> None:
        """Step over `character`. Raises `ParseError`."""
        if self.peek() != character:
            raise ParseError(f"The body is no JSON: {character!r} is missing before {self._text[:20]!r}.")
        self._text = self._text[1:]

    def value(self) -> bytes:
        """Step over one value and give its text. Raises `ParseError` and `TooLarge`."""
        self.peek()
        while True:
            try:
                _, end = self._scan(self._text)
            except RecursionError as error:
                raise ParseError("The body is nested too deeply.") from error
            except ValueError as error:
                if not self._more():
                    raise ParseError(f"The body is no JSON: {str(error)[:200]}.") from error
            else:
                if end < len(self._text) or not self._more():  # a number might go on
                    found, self._text = self._text[:end], self._text[end:]
                    return found.encode()
            if len(self._text) > MAX_ITEM_BYTES + CHUNK:
                raise TooLarge(f"An item of a list may hold {MAX_ITEM_BYTES:,} bytes, or the list is no JSON there.")

    def _more(self) -> bool:
        if self._ended:
            return False
        chunk = self._handle.read(CHUNK)
        self._ended = not chunk
        try:
            self._text += self._decode(chunk, final=self._ended)
        except UnicodeDecodeError as error:
            raise ParseError("The body is not UTF-8.") from error
        return not self._ended
