"""`Idempotency-Key`: the same POST again gets the same answer, for a day, and does nothing twice.

The key is written in the transaction of the work itself. A request with the same key that comes meanwhile waits for
that transaction, so there is no half-answered state to clean up; a refusal rolls the key back with everything else,
and the corrected request may come under the same key.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.http import QueryDict
from django.utils import timezone
from rest_framework.exceptions import ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from registry.api import access
from registry.api.bulk import Items
from registry.api.refusals import KeyReused
from registry.models import IdempotencyKey
from registry.services.ledger import body_digest

HEADER = "Idempotency-Key"
LIFETIME = timedelta(hours=24)
FORGOTTEN_AT_ONCE = 10  # more than one, so that the table shrinks
_KEY = re.compile(r"[\x21-\x7e]{1,200}")

View = Callable[..., Response]


def once(post: View) -> View:
    """Marks a view's `post`: it honours the `Idempotency-Key` header."""

    @wraps(post)
    def answer(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get(HEADER)
        if key is None:
            return post(view, request, *args, **kwargs)
        if not _KEY.fullmatch(key):
            raise ParseError(f"{HEADER} must be 1 to 200 visible ASCII characters without spaces.")
        return _once(key, request, lambda: post(view, request, *args, **kwargs))

    answer.honours_idempotency_key = True  # type: ignore[attr-defined]  # a test walks all views for it
    return answer


@transaction.atomic
def _once(key: str, request: Request, work: Callable[[], Response]) -> Response:
    user = access.actor(request)
    digest = body_digest({"path": request.get_full_path(), "body": _body(request.data)})
    mine = IdempotencyKey.objects.filter(user=user, key=key)
    mine.filter(created_at__lt=timezone.now() - LIFETIME).delete()
    try:
        with transaction.atomic():
            row = IdempotencyKey.objects.create(user=user, key=key, path=request.path[:200], body_sha256=digest)
    except IntegrityError:
        return _again(mine.get(), digest)
    response = work()
    # As the first answer was written: keys and times are texts in it. A secret is not kept to be repeated.
    kept = getattr(response, "kept", response.data)
    row.status, row.answer = response.status_code, json.loads(JSONRenderer().render(kept))
    row.save(update_fields=["status", "answer"])
    _forget()
    return response


def _body(data: Any) -> Any:
    """The body as JSON types; of a file in a form, and of a long list, its content's SHA-256."""
    if isinstance(data, Items):
        return data.sha256
    if not isinstance(data, QueryDict):
        return data
    return {name: [_content(item) for item in data.getlist(name)] for name in data}


def _content(item: Any) -> Any:
    if not isinstance(item, UploadedFile):
        return item
    digest = hashlib.sha256()
    for chunk in item.chunks():
        digest.update(chunk)
    item.seek(0)
    return [item.name, digest.hexdigest()]


def _forget() -> None:
    """Drop a few keys that are older than a day, found by the time in their own keys; leave those others are at."""
    edge = UUID(int=int((timezone.now() - LIFETIME).timestamp() * 1000) << 80)
    old = IdempotencyKey.objects.filter(pk__lt=edge).order_by("pk").select_for_update(skip_locked=True)
    IdempotencyKey.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])).delete()


def _again(row: IdempotencyKey, digest: str) -> Response:
    if row.body_sha256 != digest:
        raise KeyReused(
            f"The {HEADER} {row.key!r} stood for another request to {row.path} within the last day; "
            "send this one under a key of its own."
        )
    return Response(row.answer, status=row.status, headers={"Idempotency-Replayed": "true"})
