"""One thing, or a list of them: every item gets a result of its own, and a bad one spoils nothing but itself.

A list is booked a thousand items at a time (whole runs: a hundred), each part in a transaction of its own, so that
what was answered is on disk and a long list holds no lock for long. With `?atomic=1` there is one transaction, and all
are booked or none. So it is with a list sent under an `Idempotency-Key`, whose answer is kept with the work itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api.bulk import Items
from registry.api.errors import answer_to
from registry.api.refusals import Refused, TooLarge
from registry.api.serializers.batches import CREATED, REFUSED, SAME
from registry.services import summaries
from registry.services.ledger import Booked

AT_ONCE = 1000  # items in one transaction, by weight
TRIES = 3


@dataclass(frozen=True)
class Result:
    """What became of one item: whether it is new, or the error it is refused with; `id` as far as it is known."""

    id: str | None
    outcome: bool | Exception


@dataclass(frozen=True, kw_only=True)
class Batch:
    """How to book one item, or many. `book` raises what is wrong with it; `show` is the answer to a single one.

    `book_all` gets objects, or errors for those that could not even be read, and gives a result for each.
    """

    id_field: str
    book: Callable[[dict[str, Any]], Booked[Any]]
    book_all: Callable[[list[dict[str, Any] | Exception]], list[Result]]
    show: Callable[[Any], Any]
    weight: int = 1  # an item counts as that many, where it brings several rows


def take(request: Request, batch: Batch) -> Response:
    """The answer to a POST of one item (201 created, 200 the same again) or of a list (200 with results)."""
    atomic = _flag(request, "atomic")
    if isinstance(request.data, list | Items):
        return _many(batch, request.data, atomic=atomic)
    booked = batch.book(_object(request.data))
    return Response(batch.show(booked.row), status=201 if booked.created else 200)


def _many(batch: Batch, items: Sequence[Any] | Items, *, atomic: bool) -> Response:
    if len(items) > settings.MAX_LIST_ITEMS:
        raise TooLarge(f"A list may hold {settings.MAX_LIST_ITEMS:,} items, this one has {len(items):,}; split it.")
    # Under an Idempotency-Key there is a transaction already; sums are then rebuilt once, at the end, in one order.
    together = atomic or connection.in_atomic_block
    with transaction.atomic() if atomic else nullcontext(), summaries.once() if together else nullcontext():
        answers = list(_numbered(_book(batch, chunk) for chunk in _chunks(items, max(AT_ONCE // batch.weight, 1))))
        if atomic:
            _refuse_all(len(items), [(status, row) for status, row in answers if row["status"] == REFUSED])
    return Response({"results": [row for _, row in answers]})


def _refuse_all(total: int, bad: list[tuple[int, dict[str, Any]]]) -> None:
    """Raise `Refused` if any item was refused."""
    if bad:
        message = f"{len(bad)} of {total} items cannot be booked, and so none was; 'results' names them."
        clashes = {status for status, _ in bad} == {409}
        raise Refused(message, 409 if clashes else 400, [row for _, row in bad])


def _chunks(items: Iterable[Any], at_once: int) -> Iterator[list[dict[str, Any] | Exception]]:
    rest = iter(items)
    while chunk := list(islice(rest, at_once)):
        yield [_object_or_error(item) for item in chunk]


def _numbered(chunks: Iterable[list[tuple[int, dict[str, Any]]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Status and result of each item, in order, with its place in the list."""
    answers = (answer for chunk in chunks for answer in chunk)
    return ((status, {"index": index} | row) for index, (status, row) in enumerate(answers))


def _book(batch: Batch, chunk: list[dict[str, Any] | Exception]) -> list[tuple[int, dict[str, Any]]]:
    """Book a chunk in one transaction; again if it was the one that gave way to another."""
    for tries_left in reversed(range(TRIES)):
        try:
            with transaction.atomic(), summaries.once():
                results = batch.book_all([dict(item) if isinstance(item, dict) else item for item in chunk])
            break
        except OperationalError as error:
            gave_way = isinstance(error.__cause__, DeadlockDetected) and not connection.in_atomic_block
            if not (gave_way and tries_left):
                raise
    return [_answer(batch.id_field, result) for result in results]


def _answer(id_field: str, result: Result) -> tuple[int, dict[str, Any]]:
    """Status (200, or what a single item would have been refused with) and result of one item."""
    if isinstance(result.outcome, bool):
        return 200, {id_field: result.id, "status": CREATED if result.outcome else SAME}
    answer = answer_to(result.outcome)
    if answer is None:
        raise result.outcome
    status, body = answer
    return status, {id_field: result.id, "status": REFUSED, "error": body}


def _object_or_error(item: Any) -> dict[str, Any] | Exception:
    if isinstance(item, Exception):
        return item
    try:
        return _object(item)
    except ValidationError as error:
        return error


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
