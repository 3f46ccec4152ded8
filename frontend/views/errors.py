"""The page for a request that failed: the database is away, or the fault is ours."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template import loader

AGAIN_AFTER_S = 5  # a database that is started again needs about that


def failed(_request: HttpRequest) -> HttpResponse:
    """503 while the database does not answer, else 500. Django calls it while the error is being handled.

    Neither page is given the request: who asks would have to be read from the database.
    """
    if isinstance(sys.exception(), OperationalError | InterfaceError):
        page = loader.render_to_string("503.html", {"seconds": AGAIN_AFTER_S})
        return HttpResponse(page, status=503, headers={"Retry-After": str(AGAIN_AFTER_S), "Cache-Control": "no-store"})
    return HttpResponse(loader.render_to_string("500.html"), status=500)
