"""One stored file over HTTP: whole, in part (RFC 9110 ranges), not at all where the client has it, or by the store."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseNotModified, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from rest_framework.request import Request

from registry import storage
from registry.services.errors import Missing

SIGNED_FOR_S = 300
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def answer(request: Request, key: str, entry: dict[str, Any]) -> HttpResponseBase:
    """The answer for the file `entry` of what is stored under `key`. Raises `Missing`.

    Whether it may be read was checked before.
    """
    etag = f'"{entry["sha256"]}"'
    if _names(request.headers.get("If-None-Match", ""), etag):
        return _with_headers(HttpResponseNotModified(), entry)
    if settings.SIGNED_DOWNLOADS:
        address = storage.signed_url(key, entry["name"], seconds=SIGNED_FOR_S)
        if address is not None:
            return HttpResponseRedirect(address, headers={"Cache-Control": "no-store"})
    asked = request.headers.get("Range", "")
    # A range of what has changed since is no range of this.
    part = _part(asked, entry["bytes"]) if request.headers.get("If-Range", etag) == etag else None
    if part == (0, 0) and asked:
        refused = HttpResponse(status=416, headers={"Content-Range": f"bytes */{entry['bytes']}"})
        return _with_headers(refused, entry)
    start, stop = part or (0, entry["bytes"])
    body = [] if request.method == "HEAD" else _content(key, entry["name"], start, stop)
    response = StreamingHttpResponse(body, status=206 if part else 200, content_type="application/octet-stream")
    response["Content-Length"] = str(stop - start)
    if part:
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{entry['bytes']}"
    return _with_headers(response, entry)


def _with_headers(response: HttpResponseBase, entry: dict[str, Any]) -> HttpResponseBase:
    response["ETag"] = f'"{entry["sha256"]}"'
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = str(content_disposition_header(True, entry["name"]))
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-cache"
    return response


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in {part.strip().removeprefix("W/") for part in header.split(",")}


def _part(header: str, size: int) -> tuple[int, int] | None:
    """From (start, stop), `None` for the whole file, (0, 0) for a range that is not in it.

    Several ranges at once, and what is no range of bytes, are answered with the whole, as the standard allows.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        start, stop = max(0, size - int(found[2])), size
    else:
        start, stop = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    return (start, stop) if start < stop else (0, 0)


def _content(key: str, name: str, start: int, stop: int) -> Iterator[bytes]:
    """The file in chunks; a missing one is noticed before the answer has begun. Raises `Missing`."""
    chunks = storage.read(key, name, start, stop)
    try:
        first = next(chunks, b"")
    except storage.StorageError as error:
        raise Missing(f"{error}.") from error
    return chain([first], chunks)
