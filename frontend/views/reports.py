"""A study as one HTML file that opens without a network: what its page shows its reader, with its sources."""

import base64
from pathlib import Path
from typing import Any

from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe

import stagemeter
from frontend import stated
from frontend.views import boards, studies, study_pages
from frontend.views.boards import Board
from frontend.views.figures import drawn
from registry.models import Study
from registry.selectors import exported, large, outlook, runs
from registry.selectors import studies as study_selectors

# Of the file itself, wherever it lies: it loads nothing and runs nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@require_safe
def report(request: HttpRequest, slug: str) -> HttpResponse:
    """The study in the reader's view as one file; 400 with the reasons for assumptions that cannot be."""
    study = studies.study_of(request, slug)
    if large.is_large(study):
        raise Http404  # its runs and points are to be had as tables
    form, seen = study_pages.seen_of(request, study)
    if seen is None:
        return JsonResponse({"errors": form.errors}, status=400)
    view = studies.view_of(request, study, study_selectors.figures(study, request.user), form)
    settings = study_pages.settings_of(seen)
    pictures = _pictures(boards.of_view(request, study, form, view))
    pictures |= _pictures(boards.of_found(request, study, form, seen, settings))
    text = render_to_string(
        "studies/report.html",
        {
            "study": study,
            "form": form,
            **view,
            "printed": pictures,
            "in_print": True,
            "settings": settings,
            **_facts(request, study, seen),
            "stated": stated.assumptions(form),
        },
        request,
    )
    response = HttpResponse(_absolute(text, request, study))
    response["Content-Disposition"] = f'attachment; filename="{study.slug}-report.html"'
    response["Content-Security-Policy"] = f"{POLICY}; sandbox"
    return response


def _pictures(board: Board) -> dict[str, str]:
    """Each chart as the address that holds it whole, in the reader's light or dark."""
    found = {name: drawn(board, name, form="svg", theme="auto") for name in board.charts}
    return {name: f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}" for name, svg in found.items()}


def _facts(request: HttpRequest, study: Study, seen: outlook.StudyOutlook) -> dict[str, Any]:
    """What the file says beside the page: its runs, where it comes from, and when."""
    address = request.build_absolute_uri(study.get_absolute_url())
    query = request.GET.urlencode()
    shown = runs.visible(request.user).filter(pk__in=[run.figures.run_id for run in seen.runs])
    return {
        "address": f"{address}?{query}" if query else address,
        "today": timezone.now(),
        "version": stagemeter.__version__,
        "policy": POLICY,
        "style": _style(),
        "bibtex": exported.bibtex(study, address),
        "run_rows": runs.rows(shown, request.user),
    }


def _style() -> SafeString:
    """The pages' style sheet, which is ours and names no address."""
    path = finders.find("frontend/stagemeter.css")
    if not isinstance(path, str):
        raise FileNotFoundError("frontend/stagemeter.css is not among the static files")
    return mark_safe(Path(path).read_text())  # noqa: S308


def _absolute(text: str, request: HttpRequest, study: Study) -> str:
    """Links lead to the site from wherever the file lies; no text of a user's holds a bare quote."""
    origin = request.build_absolute_uri("/")
    page = request.build_absolute_uri(reverse("study", args=[study.slug]))
    return text.replace('href="/', f'href="{origin}').replace('href="?', f'href="{page}?')
