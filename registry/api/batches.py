"""One thing, or a list of them: every item gets a result of its own, and a bad one spoils nothing but itself.

With `?atomic=1` all are booked or none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.errors import answer_to
from registry.api.refusals import Refused, TooLarge
from registry.api.serializers.batches import CREATED, REFUSED, SAME
from registry.services import summaries
from registry.services.ledger import Booked


@dataclass(frozen=True, kw_only=True)
class Batch:
    """How to book one item. `book` raises what is wrong with it; `show` is the answer to a single one."""

    id_field: str
    book: Callable[[dict[str, Any]], Booked[Any]]
    show: Callable[[Any], Any]


def take(request: Request, batch: Batch) -> Response:
    """The answer to a POST of one item (201 created, 200 the same again) or of a list (200 with results)."""
    unknown = request.query_params.keys() - {"atomic"}
    if unknown:  # a misspelt `atomic` would book half a list
        raise ValidationError({name[:40]: ["unknown parameter; known here: atomic"] for name in unknown})
    atomic = _flag(request, "atomic")
    if isinstance(request.data, list):
        return _many(batch, request.data, atomic=atomic)
    booked = batch.book(_object(request.data))
    return Response(batch.show(booked.row), status=201 if booked.created else 200)


def _many(batch: Batch, items: list[Any], *, atomic: bool) -> Response:
    if len(items) > settings.MAX_LIST_ITEMS:
        raise TooLarge(f"A list may hold {settings.MAX_LIST_ITEMS:,} items, this one has {len(items):,}; split it.")
    # One transaction around the savepoints: the disk is asked once, not once an item.
    with transaction.atomic():
        with summaries.once():
            statuses, found = zip(*(_one(batch, item) for item in items), strict=True) if items else ((), ())
        results = [{"index": index} | result for index, result in enumerate(found)]
        bad = [result for result in results if result["status"] == REFUSED]
        if atomic and bad:
            message = f"{len(bad)} of {len(items)} items cannot be booked, and so none was; 'results' names them."
            raise Refused(message, 409 if set(statuses) <= {200, 409} else 400, bad)
    return Response({"results": results})


def _one(batch: Batch, item: Any) -> tuple[int, dict[str, Any]]:
    """Status (200, or what a single item would have been refused with) and result of one item."""
    try:
        with transaction.atomic():
            booked = batch.book(_object(item))
    except Exception as error:
        answer = answer_to(error)
        if answer is None:
            raise
        status, body = answer
        known = item.get(batch.id_field) if isinstance(item, dict) else None
        return status, {batch.id_field: known if isinstance(known, str) else None, "status": REFUSED, "error": body}
    row_id = getattr(booked.row, batch.id_field)
    return 200, {batch.id_field: row_id, "status": CREATED if booked.created else SAME}


def _object(item: Any) -> dict[str, Any]:
    """A copy of the item, which names are taken out of on the way."""
    if not isinstance(item, dict):
        raise ValidationError({"body": [f"{str(item)[:80]!r} is not an object"]})
    return dict(item)


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "0")
    if text not in ("0", "1"):
        raise ValidationError({name: [f"{text[:40]!r} is neither 0 nor 1"]})
    return text == "1"
