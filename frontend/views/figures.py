"""Each chart as a file (SVG, PNG) and as a page to embed elsewhere, under the parameters of its view."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.text import slugify
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_safe

from frontend.views import boards
from frontend.views.boards import Board, Refused

MEDIA = {"svg": "image/svg+xml", "png": "image/png"}
THEMES = ("light", "dark", "auto")
KEPT_S = 24 * 3600
# A file that is opened by itself: it has style in it and runs nothing.
ALONE = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
ANYWHERE = "default-src 'none'; img-src data:; style-src 'self'; frame-ancestors *"


@require_safe
def of_study(request: HttpRequest, slug: str, name: str, form: str) -> HttpResponse:
    """A chart of a study's page, of its settings or of its transfer."""
    return _answer(request, lambda: boards.source_of(name)(request, slug), name, form)


@require_safe
def of_run(request: HttpRequest, key: UUID, name: str, form: str) -> HttpResponse:
    """The power of a run."""
    return _answer(request, lambda: boards.of_run(request, key), name, form)


@require_safe
def of_artifact(request: HttpRequest, key: UUID, name: str, form: str) -> HttpResponse:
    """The energy per use of an artifact."""
    return _answer(request, lambda: boards.of_artifact(request, key), name, form)


@require_safe
def of_comparison(request: HttpRequest, name: str, form: str) -> HttpResponse:
    """The power of several runs in one stage."""
    return _answer(request, lambda: boards.of_comparison(request), name, form)


@require_safe
@xframe_options_exempt
def embed_study(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """A chart of a study for a frame on another page; of a public project only, whoever asks."""
    return _embed(request, lambda: boards.source_of(name)(request, slug), name)


@require_safe
@xframe_options_exempt
def embed_run(request: HttpRequest, key: UUID, name: str) -> HttpResponse:
    """The power of a run of a public project for a frame on another page."""
    return _embed(request, lambda: boards.of_run(request, key), name)


@require_safe
@xframe_options_exempt
def embed_artifact(request: HttpRequest, key: UUID, name: str) -> HttpResponse:
    """The energy per use of an artifact of a public project for a frame on another page."""
    return _embed(request, lambda: boards.of_artifact(request, key), name)


def _answer(request: HttpRequest, read: Callable[[], Board], name: str, form: str) -> HttpResponse:
    """The chart as a file; 400 with the reasons for assumptions that cannot be."""
    if form not in MEDIA:
        raise Http404
    theme = request.GET.get("theme", "light")
    known = [theme for theme in THEMES if form == "svg" or theme != "auto"]
    if theme not in known:
        return _refused({"theme": [f"{theme[:40]!r} is no theme of a {form} figure; there are {', '.join(known)}"]})
    try:
        board = read()
    except Refused as error:
        return _refused(error.problems)
    response = HttpResponse(drawn(board, name, form=form, theme=theme), content_type=MEDIA[form])
    file = f"{slugify(board.title)[:80] or 'stagemeter'}-{name}.{form}"
    response["Content-Disposition"] = f'inline; filename="{file}"'
    response["Content-Security-Policy"] = ALONE
    return response


def _refused(problems: Mapping[str, Any]) -> JsonResponse:
    return JsonResponse({"errors": problems}, status=400)


def drawn(board: Board, name: str, *, form: str, theme: str) -> bytes:
    """A chart of the board on paper, kept for a day under everything it is made of. Raises `Http404` for no chart."""
    from frontend.drawing import Sheet, draw  # matplotlib is for those who draw

    if name not in board.charts:
        raise Http404
    figure, caption = board.charts[name]
    sheet = Sheet(title=board.title, caption=caption, notes=board.notes)
    made_of = json.dumps([figure, board.title, caption, board.notes, form, theme], sort_keys=True)
    key = f"drawing:1:{hashlib.sha256(made_of.encode()).hexdigest()}"
    found: bytes | None = cache.get(key)
    if found is None:
        found = draw(figure, sheet, form=form, theme=theme)
        cache.set(key, found, KEPT_S)
    return found


def _embed(request: HttpRequest, read: Callable[[], Board], name: str) -> HttpResponse:
    """A page with the chart and a way back, as nobody in particular sees it: no cookie decides what stands in it."""
    request.user = AnonymousUser()
    theme = request.GET.get("theme", "auto")
    if theme not in THEMES:
        return _refused({"theme": [f"{theme[:40]!r} is no theme; there are {', '.join(THEMES)}"]})
    try:
        board = read()
    except Refused as error:
        return _refused(error.problems)
    if board.project is None or not board.project.public:
        raise Http404
    picture = base64.b64encode(drawn(board, name, form="svg", theme=theme)).decode()
    context = {
        "board": board,
        "caption": board.charts[name][1],
        "theme": theme,
        "picture": picture,
        "home": request.build_absolute_uri(board.path),
    }
    response = render(request, "charts/embed.html", context)
    response["Content-Security-Policy"] = ANYWHERE
    return response
