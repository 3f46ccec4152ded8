"""One JSON shape for everything the REST layer refuses.

    {"error": {"code": "invalid", "message": "one sentence", "fields": {"dotted.field": ["sentence"]}, …detail}}

`code` is for programs, `message` for people, `fields` names each bad field, and whatever stands in the way (an
artifact, a record) is named beside them.
"""

import logging
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from registry.accounting.canonical import CanonicalError
from registry.accounting.figures import ScopeError
from registry.accounting.spec import SpecError
from registry.api import access
from registry.api.refusals import Refused
from registry.models import Artifact
from registry.services.errors import Conflict, Invalid, Missing, NotAllowed
from registry.workloads.rows import WorkloadError
from stagemeter.errors import RecordError

logger = logging.getLogger(__name__)

AGAIN_AFTER_S = 5  # a database that is started again needs about that
AWAY = "The database does not answer just now; nothing of this request was kept, so send it again in a few seconds."
FOUND_BAD = "The request has fields that cannot be taken; each is named under 'fields'."

Fields = dict[str, list[str]]


def handle(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """The answer to `error`; `None` for what nobody foresaw, which is a fault and not an answer."""
    answer = answer_to(error)
    if answer is None:
        return None
    status, body = answer
    if status == 503:
        logger.error("the database failed a request", exc_info=error)
    request: Request = context["request"]
    if isinstance(error, Conflict) and "artifact" in error.detail:
        body["artifact"] = _artifact(error.detail["artifact"], request)
    set_rollback()
    return Response({"error": body}, status=status, headers=_headers(error))


def answer_to(error: Exception) -> tuple[int, dict[str, Any]] | None:
    """Status and body for an error that was foreseen."""
    for kind, answer in _ANSWERS.items():
        if isinstance(error, kind):
            return answer(error)
    return None


def body_of(code: str, message: str, fields: Fields | None = None) -> dict[str, Any]:
    """The inside of the one shape."""
    return {"code": code, "message": message, "fields": fields or {}}


def _problems(error: Any) -> tuple[int, dict[str, Any]]:
    fields = {name: [str(text)] if not isinstance(text, list) else text for name, text in error.problems.items()}
    return 400, body_of("invalid", _first(fields), fields)


def _first(fields: Fields) -> str:
    """The only problem itself, or that there are several."""
    if len(fields) == 1:
        ((name, texts),) = fields.items()
        return f"{name}: {texts[0]}"
    return FOUND_BAD


def _validation(error: exceptions.ValidationError) -> tuple[int, dict[str, Any]]:
    fields = flatten(error.detail)
    return 400, body_of("invalid", _first(fields), fields)


def flatten(detail: Any, prefix: str = "") -> Fields:
    """DRF's nested messages under dotted names; those of the whole body under `body`."""
    if isinstance(detail, Mapping):
        found: Fields = {}
        for key, inner in detail.items():
            name = "body" if key == "non_field_errors" else str(key)
            found |= flatten(inner, f"{prefix}.{name}" if prefix else name)
        return found
    if isinstance(detail, list) and any(isinstance(item, Mapping | list) for item in detail):
        return {
            name: texts
            for place, item in enumerate(detail)
            for name, texts in flatten(item, f"{prefix}.{place}" if prefix else str(place)).items()
        }
    return {prefix or "body": [str(item) for item in (detail if isinstance(detail, list) else [detail])]}


def _api(error: exceptions.APIException) -> tuple[int, dict[str, Any]]:
    detail = error.detail
    code = getattr(detail, "code", error.default_code)
    body = body_of(str(code), str(detail))
    return error.status_code, body | {"results": error.results} if isinstance(error, Refused) else body


def _conflict(error: Conflict) -> tuple[int, dict[str, Any]]:
    detail = {name: value if isinstance(value, list) else str(value) for name, value in error.detail.items()}
    return 409, body_of("conflict", error.message) | detail


def _slower(wait_s: float | None) -> str:
    again = "later" if wait_s is None else f"in {math.ceil(wait_s)} s"
    return f"More than {settings.RATE_LIMIT:,} requests in a minute; send the rest {again}, or several in one request."


def _not_found(_error: Exception) -> tuple[int, dict[str, Any]]:
    return 404, body_of("not_found", "There is nothing here that you can see.")


# The first kind that fits, so the special ones stand before the general ones.
_ANSWERS: dict[type[Exception], Callable[[Any], tuple[int, dict[str, Any]]]] = {
    Invalid: _problems,
    RecordError: _problems,
    SpecError: _problems,
    NotAllowed: lambda error: (403, body_of("not_allowed", str(error))),
    Missing: lambda error: (404, body_of("not_found", str(error))),
    Conflict: _conflict,
    CanonicalError: lambda error: (400, body_of("invalid", str(error))),
    ScopeError: lambda error: (400, body_of("invalid", str(error))),
    WorkloadError: lambda error: (400, body_of("invalid", str(error))),
    exceptions.ValidationError: _validation,
    exceptions.NotFound: lambda error: (404, body_of("not_found", str(error.detail))),
    exceptions.Throttled: lambda error: (429, body_of("too_many_requests", _slower(error.wait))),
    exceptions.APIException: _api,
    Http404: _not_found,
    PermissionDenied: lambda error: (403, body_of("not_allowed", str(error) or "You may not do this.")),
    # The whole transaction was rolled back with it: whatever was asked may be asked again.
    OperationalError: lambda _error: (503, body_of("unavailable", AWAY)),
    InterfaceError: lambda _error: (503, body_of("unavailable", AWAY)),
    RequestDataTooBig: lambda error: (413, body_of("too_large", str(error))),
}


def _headers(error: Exception) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(math.ceil(wait))
    if isinstance(error, OperationalError | InterfaceError):
        headers["Retry-After"] = str(AGAIN_AFTER_S)
    return headers


def _artifact(key: Any, request: Request) -> dict[str, Any]:
    """The artifact in the way, as far as whoever asks may see it."""
    from registry.api.serializers.artifacts import ArtifactSerializer

    row = access.visible(request, Artifact).filter(pk=uuid.UUID(str(key))).first()
    return {"id": str(key)} if row is None else dict(ArtifactSerializer(row, context={"request": request}).data)
