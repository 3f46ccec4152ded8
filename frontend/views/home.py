"""The first page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from registry.selectors import home as selector


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Energy metered and spared, studies, latest runs, who is at work."""
    return render(request, "home/home.html", {"home": selector.home(request.user)})
